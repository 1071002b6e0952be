/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * replica.h -- a copy of a pool's database on a disk, from which another pool can take machines
 * over.
 *
 * The disk has two halves, each with a head of one block and a dump of the database behind it
 * (xapid/db/dump.h).  They are written in turn, the head last: whatever happens while one is
 * written, the other is whole.  A head is text, so that people can read it:
 *
 *   XAPID-DATABASE 1
 *   pool <uuid>
 *   number <rises with each copy>
 *   size <bytes>
 *   sha256 <of the dump>
 */
#pragma once

#include "storage-repos/sr.h"
#include "xapid/db/root.h"

#define REPLICA_BLOCK 4096
/* Of a disk that is made for it; thin. */
#define REPLICA_DISK_SIZE ((int64_t)2 << 30)

struct replica_head {
    char pool[UUID_TEXT_SIZE];
    uint64_t number;
    int64_t size;
    char sha256[65];
};

/* False for a block that is none. */
bool replica_head_read(const char block[REPLICA_BLOCK], struct replica_head *out);
void replica_head_write(const struct replica_head *head, char block[REPLICA_BLOCK]);

/* Writes a copy in the place of the older one.  Durable when it returns. */
MUST_CHECK struct error *replica_write(struct call *call, struct vdi_io *io,
                                       const struct db_root *root, const char *pool);
/* The newest copy that is whole; the caller has a reference to it.  COULD_NOT_IMPORT_DATABASE. */
MUST_CHECK struct error *replica_read(struct call *call, struct vdi_io *io, struct db_root **root);
/* The uuid of the pool whose database it is; "" where there is none. */
MUST_CHECK struct error *replica_pool(struct call *call, struct vdi_io *io, const char **pool);
