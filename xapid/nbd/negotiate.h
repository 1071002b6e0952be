/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * negotiate.h -- within xapid/nbd: the first phase, in which client and server agree on TLS, on how
 * replies look and on what is read.  Knows nothing of sockets and disks.
 */
#pragma once

#include "xapid/nbd/protocol.h"

/* Bytes of an option's data, and how many options a client may send. */
#define NBD_OPTION_MAX 8192
#define NBD_OPTIONS_MAX 64

/* What an export is, before it is opened. */
struct nbd_facts {
    int64_t size;
    bool still;
};

struct nbd_negotiation {
    struct nbd_wire *wire;
    bool need_tls; /* nothing but TLS is talked about before it is there */
    /* Whether there is such an export for this client: NBD_REP_ACK, or an NBD_REP_ERR_... and
     * '*why', a sentence.  'name' has n bytes and no NUL inside. */
    uint32_t (*find)(void *ctx, const char *name, size_t n, struct nbd_facts *out,
                     const char **why);
    /* The same, and it is held from here on. */
    uint32_t (*open)(void *ctx, const char *name, size_t n, struct nbd_disk **out,
                     const char **why);
    void *ctx;

    /* What was agreed. */
    bool structured, block_status;
    struct nbd_disk *disk;

    bool no_zeroes;
    char context_of[NBD_OPTION_MAX + 1]; /* block_status is for this export */
    uint8_t data[NBD_OPTION_MAX + 1];
};

/* True where both may go on with requests for n->disk; else the connection is to be closed. */
MUST_CHECK bool nbd_negotiate(struct nbd_negotiation *n);

/* The flags a client is told of an export. */
unsigned nbd_export_flags(const struct nbd_negotiation *n, bool still);
