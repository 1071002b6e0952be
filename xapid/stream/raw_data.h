/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* raw_data.h -- the bytes of a transfer between a connection and a disk. */
#pragma once

#include "storage-repos/sr.h"
#include "xapid/http/http.h"

struct raw_stream {
    struct http_stream *http;
    int64_t length; /* of the body, as announced; -1: until the end of the connection */
    int64_t taken;  /* bytes read of it */
    bool chunked;   /* the private framing: offset (64 bits), length (32 bits), little-endian, data;
                       a length of 0 ends it */
    bool fresh;     /* the disk reads as zeroes */
    ref_t vdi;      /* for errors */
    bool has_first; /* raw_wait_data has read the first byte */
    char first;
    bool ended; /* nothing more comes */
};

/* The answer's head: the upload may begin.  False where the client has gone. */
MUST_CHECK bool raw_answer(struct call *call, struct raw_stream *s, ref_t task);
/* Waits for the first byte, which raw_receive then finds; IMPORT_ERROR_PREMATURE_EOF where none
 * comes. */
MUST_CHECK struct error *raw_wait_data(struct call *call, struct raw_stream *s);
/*
 * Writes what comes to the disk and makes it durable.  More than fits is VDI_TOO_SMALL; less than
 * announced IMPORT_ERROR_PREMATURE_EOF, unless the announced length does not fit the disk either:
 * clients that do not know the length announce an absurd one.
 */
MUST_CHECK struct error *raw_receive(struct call *call, struct raw_stream *s, struct vdi_io *io);
/* Sends head and contents. */
MUST_CHECK struct error *raw_send(struct call *call, struct raw_stream *s, struct vdi_io *io,
                                  ref_t vdi);
