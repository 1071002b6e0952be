/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * flow.h -- bytes on their way in and out of a transfer: sources to read, sinks to write, put one
 * behind the other (connection, compression, archive).
 */
#pragma once

#include "libxapi/base/call.h"
#include "xapid/stream/handover.h"

struct source {
    /* Some bytes, at least one; *got is 0 only at the end. */
    struct error *(*read)(struct source *s, struct call *call, void *out, size_t n, size_t *got);
};

struct sink {
    struct error *(*write)(struct sink *s, struct call *call, const void *p, size_t n);
};

/* As many as there are, up to n. */
MUST_CHECK struct error *source_read(struct call *call, struct source *s, void *out, size_t n,
                                     size_t *got);
/* n bytes; IMPORT_ERROR_PREMATURE_EOF where there are less. */
MUST_CHECK struct error *source_read_exactly(struct call *call, struct source *s, void *out,
                                             size_t n);
/* Reads n bytes away. */
MUST_CHECK struct error *source_skip(struct call *call, struct source *s, int64_t n);
MUST_CHECK struct error *sink_write(struct call *call, struct sink *s, const void *p, size_t n);
/* n bytes of zero. */
MUST_CHECK struct error *sink_zeroes(struct call *call, struct sink *s, int64_t n);

/* Bytes in memory. */
struct memory_source {
    struct source source;
    const char *p;
    size_t left;
};
void memory_source_init(struct memory_source *m, const void *p, size_t n);

/* The body of an upload, which outlives it. */
struct body_source {
    struct source source;
    struct body *body;
};
void body_source_init(struct body_source *b, struct body *body);

/* The answer's connection; small writes are gathered. */
#define STREAM_SINK_ROOM ((size_t)64 * 1024)
struct stream_sink {
    struct sink sink;
    struct http_stream *http;
    char *room; /* allocated */
    size_t used;
};
void stream_sink_init(struct stream_sink *s, struct http_stream *http);
/* What was gathered goes out; CLIENT_ERROR where the client has gone. */
MUST_CHECK struct error *stream_sink_flush(struct call *call, struct stream_sink *s);
void stream_sink_release(struct stream_sink *s);

/* A buffer that goes with the scope. */
struct room {
    char *p;
};
void room_release(struct room *room);

/*
 * Long transfers: tells the task how far it is, asks whether it was cancelled, and lets go of the
 * version of the database of hours ago.
 */
MUST_CHECK struct error *transfer_tick(struct call *call, double done);
