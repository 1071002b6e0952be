/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * export.h -- within xapid/nbd: a disk of the database as an NBD export.
 *
 * Its name is "/<uuid>?session_id=<reference>", as VDI.get_nbd_info tells it: who may call that,
 * with this session, may read the disk.  While it is open a VBD of the control domain holds it,
 * whose other_config says for whom.
 */
#pragma once

#include "xapid/db/db.h"
#include "xapid/nbd/protocol.h"

/* The key in a VBD's other_config: the address of the client. */
#define NBD_CLIENT_KEY "nbd-client"

struct vdi_io;

/* One connection's; zero but for the first three is nothing open. */
struct nbd_export {
    struct nbd_disk disk; /* first */
    struct xapid *xapid;
    const char *client;
    ref_t vdi, vbd; /* held; null: not */
    bool attached;
    struct vdi_io *io;
};

/* For struct nbd_negotiation; 'ctx' is the struct nbd_export. */
struct nbd_facts;
uint32_t nbd_export_find(void *ctx, const char *name, size_t n, struct nbd_facts *out,
                         const char **why);
uint32_t nbd_export_open(void *ctx, const char *name, size_t n, struct nbd_disk **out,
                         const char **why);
void nbd_export_release(struct nbd_export *export);
