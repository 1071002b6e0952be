/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* raw_data.h -- the bytes of a disk as they are, between a connection and a disk. */
#pragma once

#include "storage-repos/sr.h"
#include "xapid/transfer/flow.h"

struct raw_stream {
    struct body *body;
    bool chunked; /* the private framing: offset (64 bits), length (32 bits), little-endian, data; a
                     length of 0 ends it */
    bool fresh;   /* the disk reads as zeroes */
    ref_t vdi;    /* for errors */
};

/*
 * Writes what comes to the disk and makes it durable.  More than fits is VDI_TOO_SMALL; less than
 * announced IMPORT_ERROR_PREMATURE_EOF, unless the announced length does not fit the disk either:
 * clients that do not know the length announce an absurd one.
 */
MUST_CHECK struct error *raw_receive(struct call *call, struct raw_stream *s, struct vdi_io *io);
/* Sends all of the disk. */
MUST_CHECK struct error *raw_send(struct call *call, struct vdi_io *io, struct sink *to);
