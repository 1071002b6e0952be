/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/transfer/raw_data.h"

#include <endian.h>
#include <string.h>

#include "libxapi/base/memory.h"
#include "xapid/db/db.h"
#include "xapid/transfer/disk.h"

#define CHUNK ((size_t)128 * 1024) /* of what comes: between two the disk's server goes on */
#define PIECE ((size_t)256 * 1024) /* of what is sent: small enough to stay in the cache */

/*** reading ***/

/* As many as there are, up to n. */
static struct error *read_full(struct call *call, struct raw_stream *s, char *out, size_t n,
                               size_t *got)
{
    size_t some = 1;

    for (*got = 0; *got < n && some; *got += some)
        TRY(body_read(call, s->body, out + *got, n - *got, &some));
    return OK;
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
    return disk_write(call, io, s->fresh, at, p, n);
}

static struct error *tick(struct call *call, int64_t done, int64_t size)
{
    return transfer_tick(call, 0.01 + 0.98 * (size ? MIN((double)done / (double)size, 1.0) : 1.0));
}

static struct error *receive_plain(struct call *call, struct raw_stream *s, struct vdi_io *io,
                                   char *room)
{
    const struct body *body = s->body;
    int64_t at = 0, size = vdi_io_size(io);
    size_t got = CHUNK;

    while (got == CHUNK) {
        TRY(read_full(call, s, room, CHUNK, &got));
        TRY(write_data(call, s, io, at, room, got));
        at += (int64_t)got;
        TRY(tick(call, at, size));
    }
    if (body->length >= 0 && body->length <= size && body->taken < body->length)
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
        TRY(tick(call, (int64_t)offset, vdi_io_size(io)));
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

struct error *raw_send(struct call *call, struct vdi_io *io, struct sink *to)
{
    AUTO(room) room = {xmalloc(PIECE)};
    int64_t size = vdi_io_size(io);
    struct vdi_run run = {0};
    bool hole;

    for (int64_t at = 0; at < size; at += (int64_t)PIECE) {
        size_t n = (size_t)MIN((int64_t)PIECE, size - at);

        TRY(disk_is_hole(call, &run, io, at, (int64_t)n, &hole));
        if (hole)
            memset(room.p, 0, n);
        else
            TRY(vdi_io_read(call, io, at, room.p, n));
        TRY(sink_write(call, to, room.p, n));
        TRY(tick(call, at + (int64_t)n, size));
    }
    return OK;
}
