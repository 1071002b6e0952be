/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * transmit.c -- requests and their replies.
 *
 * Whatever a client asks for goes through one piece of memory: once the head of a reply is sent, a
 * disk that then cannot be read ends the connection, which the protocol allows for that.
 */
#include "xapid/nbd/transmit.h"

#include <stdlib.h>

#include "libxapi/base/memory.h"

#define PIECE ((size_t)1 << 20)
/* Runs that one reply tells of; a client asks again for what follows. */
#define EXTENTS_MAX 512

struct request {
    unsigned flags, type;
    uint64_t cookie, offset;
    uint32_t length;
};

struct session {
    struct nbd_wire *wire;
    struct nbd_disk *disk;
    bool structured, block_status;
    int64_t from, start, end; /* what was found last: a hole from 'from' on, and then data */
    uint8_t *piece;
};

/* ---- heads of replies ---- */

static bool send_simple(struct session *s, const struct request *rq, enum nbd_error error)
{
    uint8_t head[16];

    nbd_put64(nbd_put32(nbd_put32(head, NBD_SIMPLE_MAGIC), error), rq->cookie);
    return s->wire->write(s->wire, head, sizeof head);
}

/* A chunk is the whole reply here; 'more' bytes follow its first ones. */
static bool send_chunk(struct session *s, const struct request *rq, enum nbd_chunk type,
                       const uint8_t *data, size_t n, uint32_t more)
{
    uint8_t head[20], *p = nbd_put32(head, NBD_STRUCTURED_MAGIC);

    p = nbd_put16(nbd_put16(p, NBD_REPLY_FLAG_DONE), type);
    nbd_put32(nbd_put64(p, rq->cookie), (uint32_t)n + more);
    return s->wire->write(s->wire, head, sizeof head) &&
           (n == 0 || s->wire->write(s->wire, data, n));
}

static bool send_error(struct session *s, const struct request *rq, enum nbd_error error)
{
    uint8_t data[6];

    if (!s->structured)
        return send_simple(s, rq, error);
    nbd_put16(nbd_put32(data, error), 0);
    return send_chunk(s, rq, NBD_CHUNK_ERROR, data, sizeof data, 0);
}

/* ---- read ---- */

static bool send_hole(struct session *s, const struct request *rq)
{
    uint8_t data[12];

    nbd_put32(nbd_put64(data, rq->offset), rq->length);
    return send_chunk(s, rq, NBD_CHUNK_HOLE, data, sizeof data, 0);
}

static bool send_data_head(struct session *s, const struct request *rq)
{
    uint8_t offset[8];

    nbd_put64(offset, rq->offset);
    return s->structured ? send_chunk(s, rq, NBD_CHUNK_DATA, offset, sizeof offset, rq->length)
                         : send_simple(s, rq, NBD_OK);
}

static bool send_data(struct session *s, const struct request *rq)
{
    for (uint32_t done = 0; done < rq->length;) {
        size_t n = MIN(PIECE, (size_t)(rq->length - done));
        enum nbd_error e = s->disk->read(s->disk, (int64_t)(rq->offset + done), s->piece, n);

        if (e)
            return done == 0 && send_error(s, rq, e);
        if ((done == 0 && !send_data_head(s, rq)) || !s->wire->write(s->wire, s->piece, n))
            return false;
        done += (uint32_t)n;
    }
    return true;
}

/*
 * As nbd_disk.data.  Of a disk that nobody writes to what was found stays true: else each question
 * about a hole of terabytes would have it searched again to its end.
 */
static enum nbd_error find_data(struct session *s, int64_t at, int64_t limit, int64_t *start,
                                int64_t *end)
{
    enum nbd_error e;

    if (!s->disk->still)
        return s->disk->data(s->disk, at, limit, start, end);
    if (at < s->from || at >= s->end) {
        s->from = s->end = 0;
        e = s->disk->data(s->disk, at, s->disk->size, start, end);
        if (e)
            return e;
        s->from = at;
        s->start = *start;
        s->end = *end;
    }
    *start = MIN(MAX(s->start, at), limit);
    *end = MIN(s->end, limit);
    return NBD_OK;
}

/* Only of a disk that nobody writes to: of others to ask costs more than to read. */
static bool is_hole(struct session *s, const struct request *rq)
{
    int64_t at = (int64_t)rq->offset, start, end;

    return s->disk->still && !find_data(s, at, at + rq->length, &start, &end) &&
           start >= at + rq->length; /* where it fails reading it will tell */
}

static bool answer_read(struct session *s, const struct request *rq)
{
    return s->structured && is_hole(s, rq) ? send_hole(s, rq) : send_data(s, rq);
}

/* ---- block status ---- */

static uint8_t *add_extent(uint8_t *p, int64_t n, uint32_t state)
{
    return n > 0 ? nbd_put32(nbd_put32(p, (uint32_t)n), state) : p;
}

static bool answer_status(struct session *s, const struct request *rq)
{
    size_t at_most = rq->flags & NBD_CMD_FLAG_REQ_ONE ? 1 : EXTENTS_MAX;
    uint8_t data[4 + 8 * EXTENTS_MAX], *p = nbd_put32(data, NBD_CONTEXT_ID);
    int64_t at = (int64_t)rq->offset, end = at + rq->length;
    uint8_t *last = data + 4 + 8 * at_most;

    while (at < end && p < last) {
        int64_t start, stop;
        enum nbd_error e = find_data(s, at, end, &start, &stop);

        if (e)
            return send_error(s, rq, e);
        start = MIN(start, end);
        stop = MIN(MAX(stop, start), end);
        if (stop <= at)
            return send_error(s, rq, NBD_EIO);
        p = add_extent(p, start - at, NBD_STATE_HOLE | NBD_STATE_ZERO);
        if (p < last)
            p = add_extent(p, stop - start, 0);
        at = stop;
    }
    return send_chunk(s, rq, NBD_CHUNK_STATUS, data, (size_t)(p - data), 0);
}

/* ---- requests ---- */

static enum nbd_error judge(const struct session *s, const struct request *rq)
{
    uint64_t size = (uint64_t)s->disk->size;

    switch (rq->type) {
    case NBD_CMD_WRITE:
    case NBD_CMD_TRIM:
    case NBD_CMD_WRITE_ZEROES:
        return NBD_EPERM;
    case NBD_CMD_FLUSH:
        return NBD_OK;
    case NBD_CMD_READ:
        if (rq->length > NBD_REQUEST_MAX)
            return NBD_EOVERFLOW;
        break;
    case NBD_CMD_BLOCK_STATUS:
        if (!s->block_status)
            return NBD_EINVAL;
        break;
    default:
        return NBD_EINVAL;
    }
    return rq->length == 0 || rq->offset > size || rq->length > size - rq->offset ? NBD_EINVAL
                                                                                  : NBD_OK;
}

static bool skip(struct session *s, uint32_t n)
{
    while (n) {
        size_t part = MIN(PIECE, (size_t)n);

        if (!s->wire->read(s->wire, s->piece, part))
            return false;
        n -= (uint32_t)part;
    }
    return true;
}

static bool answer(struct session *s, const struct request *rq)
{
    enum nbd_error e = judge(s, rq);

    if (rq->type == NBD_CMD_WRITE && (rq->length > NBD_REQUEST_MAX || !skip(s, rq->length)))
        return false;
    if (e)
        return send_error(s, rq, e);
    if (rq->type == NBD_CMD_READ)
        return answer_read(s, rq);
    if (rq->type == NBD_CMD_BLOCK_STATUS)
        return answer_status(s, rq);
    return s->structured ? send_chunk(s, rq, NBD_CHUNK_NONE, NULL, 0, 0)
                         : send_simple(s, rq, NBD_OK);
}

static bool take_request(struct session *s, struct request *out)
{
    uint8_t b[28];

    if (!s->wire->read(s->wire, b, sizeof b) || nbd_get32(b) != NBD_REQUEST_MAGIC)
        return false;
    *out = (struct request){.flags = nbd_get16(b + 4),
                            .type = nbd_get16(b + 6),
                            .cookie = nbd_get64(b + 8),
                            .offset = nbd_get64(b + 16),
                            .length = nbd_get32(b + 24)};
    return out->type != NBD_CMD_DISC;
}

void nbd_transmit(const struct nbd_negotiation *agreed)
{
    struct session s = {.wire = agreed->wire,
                        .disk = agreed->disk,
                        .structured = agreed->structured,
                        .block_status = agreed->block_status,
                        .piece = xmalloc(PIECE)};
    struct request rq;

    while (take_request(&s, &rq) && answer(&s, &rq))
        ;
    free(s.piece);
}
