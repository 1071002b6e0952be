/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * far_disk.h -- reading a disk that another host of the pool has and this one does not.
 *
 * A stream of the pool's own (pool/peer/stream.h) carries NBD for one named disk of one intent of
 * ours, and what that holds may be read.  The other host serves it as long as the stream
 * lives, so it ends with either daemon, and leaves nothing behind.
 */
#pragma once

#include "storage-repos/sr.h"
#include "xapid/ops/op.h"

struct peer_stream;

/* Zero: none. */
struct far_disk {
    struct far_stream *stream;
};

/* For vdi_io_open, of which there may be one at a time; 'intent' holds the disk, or its VM.
 * CANNOT_CONTACT_HOST, and what the other host says. */
MUST_CHECK struct error *far_disk_open(struct call *call, ref_t intent, ref_t vdi,
                                       struct far_disk *out, struct vdi_path *path);
/* Guard: nobody has it open any more. */
void far_disk_release(struct far_disk *disk);

/* For peers_serve_streams: 'ctx' is the struct xapid. */
void far_disk_serve(void *ctx, struct peer_stream *stream);
