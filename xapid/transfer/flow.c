/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/transfer/flow.h"

#include <stdlib.h>
#include <string.h>

#include "libxapi/base/memory.h"
#include "xapid/task/task.h"

#define SKIP ((size_t)16 * 1024)

struct error *source_read(struct call *call, struct source *s, void *out, size_t n, size_t *got)
{
    size_t some = 1;

    for (*got = 0; *got < n && some; *got += some)
        TRY(s->read(s, call, (char *)out + *got, n - *got, &some));
    return OK;
}

struct error *source_read_exactly(struct call *call, struct source *s, void *out, size_t n)
{
    size_t got;

    TRY(source_read(call, s, out, n, &got));
    return got == n ? OK : err_import_error_premature_eof(call);
}

struct error *source_skip(struct call *call, struct source *s, int64_t n)
{
    char waste[SKIP];

    while (n > 0) {
        size_t part = (size_t)MIN(n, (int64_t)sizeof waste);

        TRY(source_read_exactly(call, s, waste, part));
        n -= (int64_t)part;
    }
    return OK;
}

struct error *sink_write(struct call *call, struct sink *s, const void *p, size_t n)
{
    return n ? s->write(s, call, p, n) : OK;
}

struct error *sink_zeroes(struct call *call, struct sink *s, int64_t n)
{
    static const char zeroes[SKIP];

    while (n > 0) {
        size_t part = (size_t)MIN(n, (int64_t)sizeof zeroes);

        TRY(sink_write(call, s, zeroes, part));
        n -= (int64_t)part;
    }
    return OK;
}

/*** memory ***/

static struct error *memory_read(struct source *s, struct call *call, void *out, size_t n,
                                 size_t *got)
{
    struct memory_source *m = container_of(s, struct memory_source, source);

    (void)call;
    *got = MIN(n, m->left);
    if (*got)
        memcpy(out, m->p, *got);
    m->p += *got;
    m->left -= *got;
    return OK;
}

void memory_source_init(struct memory_source *m, const void *p, size_t n)
{
    *m = (struct memory_source){{memory_read}, p, n};
}

/*** the connection ***/

static struct error *body_source_read(struct source *s, struct call *call, void *out, size_t n,
                                      size_t *got)
{
    return body_read(call, container_of(s, struct body_source, source)->body, out, n, got);
}

void body_source_init(struct body_source *b, struct body *body)
{
    *b = (struct body_source){{body_source_read}, body};
}

static struct error *stream_out(struct call *call, struct stream_sink *s, const void *p, size_t n)
{
    return http_stream_write(s->http, p, n, HANDOVER_IDLE) ? OK : err_client_error(call);
}

struct error *stream_sink_flush(struct call *call, struct stream_sink *s)
{
    size_t n = s->used;

    s->used = 0;
    return n ? stream_out(call, s, s->room, n) : OK;
}

static struct error *stream_write(struct sink *sink, struct call *call, const void *p, size_t n)
{
    struct stream_sink *s = container_of(sink, struct stream_sink, sink);

    if (n > STREAM_SINK_ROOM - s->used)
        TRY(stream_sink_flush(call, s));
    if (n >= STREAM_SINK_ROOM)
        return stream_out(call, s, p, n);
    memcpy(s->room + s->used, p, n);
    s->used += n;
    return OK;
}

void stream_sink_init(struct stream_sink *s, struct http_stream *http)
{
    *s = (struct stream_sink){
        .sink = {stream_write}, .http = http, .room = xmalloc(STREAM_SINK_ROOM)};
}

void stream_sink_release(struct stream_sink *s)
{
    free(s->room);
    s->room = NULL;
}

/*** small things ***/

void room_release(struct room *room)
{
    free(room->p);
}

struct error *transfer_tick(struct call *call, double done)
{
    size_t held = call->n_held;

    TRY(task_check(call));
    task_progress(call, MIN(done, 1.0));
    if (!call->xapid)
        return OK;
    call_refresh(call);
    call_drop_held(call, held);
    return OK;
}
