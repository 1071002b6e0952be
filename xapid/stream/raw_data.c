/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/stream/raw_data.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "xapid/db/db.h"
#include "xapid/ops/storage/vdi_copy.h"
#include "xapid/task/task.h"

#define CHUNK ((size_t)1024 * 1024)
#define PIECE ((size_t)64 * 1024)
/* A client that sends or takes nothing for that long has gone. */
#define IDLE_LIMIT (10 * 60 * USEC_PER_SEC)
/* How often somebody waiting for data looks whether the task was cancelled. */
#define LOOK (1 * USEC_PER_SEC)

/* A buffer that goes with the scope. */
struct room {
    char *p;
};

static void room_release(struct room *r)
{
    free(r->p);
}

/*** reading ***/

/* Some bytes, or 0 at the end of the body or the connection. */
static struct error *read_some(struct call *call, struct raw_stream *s, void *out, size_t n,
                               size_t *got)
{
    usec_t deadline = clock_mono() + IDLE_LIMIT;
    ssize_t r = -1;

    *got = 0;
    if (s->has_first && n) {
        s->has_first = false;
        *(char *)out = s->first;
        *got = 1;
        return OK;
    }
    if (s->length >= 0)
        n = (size_t)MIN((int64_t)n, s->length - s->taken);
    while (!s->ended && n && r < 0) {
        TRY(task_check(call));
        r = http_stream_read(s->http, out, n, LOOK);
        if (r < 0 && (errno != ETIMEDOUT || clock_mono() > deadline))
            s->ended = true;
    }
    if (r <= 0) {
        s->ended = true;
        return OK;
    }
    s->taken += r;
    *got = (size_t)r;
    return OK;
}

/* As many as there are, up to n. */
static struct error *read_full(struct call *call, struct raw_stream *s, char *out, size_t n,
                               size_t *got)
{
    size_t some = 1;

    *got = 0;
    while (*got < n && some) {
        TRY(read_some(call, s, out + *got, n - *got, &some));
        *got += some;
    }
    return OK;
}

struct error *raw_wait_data(struct call *call, struct raw_stream *s)
{
    size_t got;

    TRY(read_some(call, s, &s->first, 1, &got));
    s->has_first = got == 1;
    return got ? OK : err_import_error_premature_eof(call);
}

/*** writing to the disk ***/

static struct error *too_much(struct call *call, const struct raw_stream *s)
{
    return err_vdi_too_small(call, call_ref(call, s->vdi), "");
}

static struct error *write_data(struct call *call, const struct raw_stream *s, struct vdi_io *io,
                                int64_t at, const char *p, size_t n)
{
    if (at < 0 || at > vdi_io_size(io) || (int64_t)n > vdi_io_size(io) - at)
        return too_much(call, s);
    for (size_t i = 0; i < n; i += PIECE) {
        size_t m = MIN(PIECE, n - i);

        if (!all_zero(p + i, m))
            TRY(vdi_io_write(call, io, at + (int64_t)i, p + i, m));
        else if (!s->fresh)
            TRY(vdi_io_zero(call, io, at + (int64_t)i, (int64_t)m));
    }
    return OK;
}

/* Progress, and a newer version of the database than the one from hours ago. */
static void tick(struct call *call, int64_t done, int64_t size)
{
    size_t held = call->n_held;

    task_progress(call, 0.01 + 0.98 * (size ? MIN((double)done / (double)size, 1.0) : 1.0));
    call_refresh(call);
    call_drop_held(call, held);
}

static struct error *receive_plain(struct call *call, struct raw_stream *s, struct vdi_io *io,
                                   char *room)
{
    int64_t at = 0, size = vdi_io_size(io);
    size_t got = CHUNK;

    while (got == CHUNK) {
        TRY(read_full(call, s, room, CHUNK, &got));
        TRY(write_data(call, s, io, at, room, got));
        at += (int64_t)got;
        tick(call, at, size);
    }
    if (s->length >= 0 && s->length <= size && s->taken < s->length)
        return err_import_error_premature_eof(call);
    return OK;
}

/* One frame; *last at the end mark. */
static struct error *receive_frame(struct call *call, struct raw_stream *s, struct vdi_io *io,
                                   char *room, bool *last)
{
    unsigned char head[12];
    uint64_t offset;
    uint32_t left;
    size_t got;

    TRY(read_full(call, s, (char *)head, sizeof head, &got));
    if (got < sizeof head)
        return err_import_error_premature_eof(call);
    memcpy(&offset, head, sizeof offset);
    memcpy(&left, head + sizeof offset, sizeof left);
    offset = le64toh(offset);
    left = le32toh(left);
    *last = left == 0;
    if (offset > INT64_MAX)
        return too_much(call, s);
    while (left) {
        TRY(read_full(call, s, room, MIN(left, CHUNK), &got));
        if (got < MIN(left, CHUNK))
            return err_import_error_premature_eof(call);
        TRY(write_data(call, s, io, (int64_t)offset, room, got));
        offset += got;
        left -= (uint32_t)got;
        tick(call, (int64_t)offset, vdi_io_size(io));
    }
    return OK;
}

struct error *raw_receive(struct call *call, struct raw_stream *s, struct vdi_io *io)
{
    AUTO(room) room = {xmalloc(CHUNK)};
    bool last = false;

    if (!s->chunked)
        TRY(receive_plain(call, s, io, room.p));
    while (s->chunked && !last)
        TRY(receive_frame(call, s, io, room.p, &last));
    return vdi_io_flush(call, io);
}

/*** answering ***/

bool raw_answer(struct call *call, struct raw_stream *s, ref_t task)
{
    const struct http_pair headers[] = {{"Content-Type", "application/octet-stream"},
                                        {"task-id", call_ref(call, task)}};

    return http_stream_start(s->http, 200, -1, ref_is_null(task) ? 1 : 2, headers);
}

static const char *file_name(struct call *call, ref_t ref)
{
    const struct vdi *vdi = db_find(call, CLASS_vdi, ref);

    return arena_printf(call->arena, "attachment; filename=\"%s.raw\"", vdi ? vdi->uuid : "disk");
}

struct error *raw_send(struct call *call, struct raw_stream *s, struct vdi_io *io, ref_t vdi)
{
    const struct http_pair headers[] = {{"Content-Type", "application/octet-stream"},
                                        {"Content-Disposition", file_name(call, vdi)},
                                        {"task-id", call->task ? call->task->key : ""}};
    AUTO(room) room = {xmalloc(CHUNK)};
    int64_t size = vdi_io_size(io);

    if (!http_stream_start(s->http, 200, size, ARRAY_SIZE(headers), headers))
        return err_client_error(call);
    for (int64_t at = 0; at < size; at += (int64_t)CHUNK) {
        size_t n = (size_t)MIN((int64_t)CHUNK, size - at);

        TRY(task_check(call));
        TRY(vdi_io_read(call, io, at, room.p, n));
        if (!http_stream_write(s->http, room.p, n, IDLE_LIMIT))
            return err_client_error(call);
        tick(call, at + (int64_t)n, size);
    }
    return OK;
}
