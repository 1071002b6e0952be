/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/migrate/channel.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include <zstd.h>

#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "xapid/main/xapid.h"

#define LEVEL 1
#define LOOK_EVERY USEC_PER_SEC
#define REASON_WITHIN (2 * USEC_PER_SEC)
#define CATCHES_UP_WITHIN (20 * USEC_PER_SEC)

struct channel {
    struct peer_stream *stream;
    XXH64_state_t *sum;
    int64_t bytes;
    ZSTD_CCtx *packer; /* NULL: memory is sent as it is */
    ZSTD_DCtx *unpacker;
    bool (*wanted)(void *ctx); /* NULL: as long as something may come */
    void *ctx;
    uint8_t piece[PIECE_HEAD + PIECE_MAX], plain[PIECE_MAX];
};

struct channel *channel_new(struct peer_stream *stream, bool pack)
{
    struct channel *c = xcalloc(1, sizeof *c);

    c->stream = stream;
    c->sum = XXH64_createState();
    c->packer = pack ? ZSTD_createCCtx() : NULL;
    c->unpacker = ZSTD_createDCtx();
    if (!c->sum || !c->unpacker || (pack && !c->packer))
        abort(); /* out of memory */
    XXH64_reset(c->sum, 0);
    return c;
}

void channel_while(struct channel *c, bool (*wanted)(void *ctx), void *ctx)
{
    c->wanted = wanted;
    c->ctx = ctx;
}

void channel_free(struct channel *c)
{
    if (!c)
        return;
    peer_stream_close(c->stream);
    XXH64_freeState(c->sum);
    ZSTD_freeCCtx(c->packer);
    ZSTD_freeDCtx(c->unpacker);
    free(c);
}

uint64_t channel_from(const struct channel *c)
{
    return peer_stream_from(c->stream);
}

int64_t channel_bytes(const struct channel *c)
{
    return c->bytes;
}

static struct error *broken(struct arena *arena, const struct channel *c)
{
    return error_internal(arena, "the connection to the other host: %s",
                          peer_stream_trouble(c->stream));
}

static struct error *nonsense(struct arena *arena)
{
    return error_internal(arena, "the other host says what has no place here");
}

/*** sending ***/

/* What lies in 'piece' behind the head. */
static struct error *send_piece(struct arena *arena, struct channel *c, enum piece_kind kind,
                                size_t size)
{
    piece_head_write(c->piece, kind, size);
    return peer_stream_write(c->stream, c->piece, PIECE_HEAD + size, CHANNEL_SILENCE) ==
                   PEER_IO_DONE
               ? OK
               : broken(arena, c);
}

struct error *channel_send(struct arena *arena, struct channel *c, enum piece_kind kind,
                           const void *data, size_t size)
{
    size = MIN(size, PIECE_MAX);
    if (size)
        memcpy(c->piece + PIECE_HEAD, data, size);
    return send_piece(arena, c, kind, size);
}

struct error *channel_send_memory(struct arena *arena, struct channel *c, const void *data,
                                  size_t size)
{
    size_t n;

    XXH64_update(c->sum, data, size);
    c->bytes += (int64_t)size;
    if (!c->packer)
        return channel_send(arena, c, PIECE_MEMORY, data, size);
    n = ZSTD_compressCCtx(c->packer, c->piece + PIECE_HEAD, PIECE_MAX, data, size, LEVEL);
    if (ZSTD_isError(n))
        return error_internal(arena, "packing: %s", ZSTD_getErrorName(n));
    return send_piece(arena, c, PIECE_PACKED, n);
}

struct error *channel_send_end(struct arena *arena, struct channel *c)
{
    struct piece_end end = {(uint64_t)c->bytes, XXH64_digest(c->sum)};
    uint8_t bytes[PIECE_END_SIZE];

    piece_end_write(bytes, &end);
    return channel_send(arena, c, PIECE_END, bytes, sizeof bytes);
}

/*** receiving ***/

/* Some bytes; waits in slices, for it may not be worth waiting any more. */
static struct error *read_some(struct arena *arena, struct channel *c, uint8_t *to, size_t room,
                               size_t *n, usec_t silence)
{
    usec_t deadline = clock_mono() + silence;
    enum peer_io io;

    do {
        io = peer_stream_read(c->stream, to, room, n, MIN(silence, LOOK_EVERY));
        if (io == PEER_IO_DONE)
            return OK;
        if (c->wanted && !c->wanted(c->ctx))
            return error_internal(arena, "nobody wants it any more");
    } while (io == PEER_IO_LATE && clock_mono() < deadline);
    return broken(arena, c);
}

static struct error *read_all(struct arena *arena, struct channel *c, uint8_t *to, size_t size,
                              usec_t silence)
{
    size_t n;

    for (; size; to += n, size -= n)
        TRY(read_some(arena, c, to, size, &n, silence));
    return OK;
}

static struct error *read_piece(struct arena *arena, struct channel *c, usec_t silence,
                                enum piece_kind *kind, size_t *size)
{
    do {
        TRY(read_all(arena, c, c->piece, PIECE_HEAD, silence));
        if (!piece_head_read(c->piece, kind, size))
            return nonsense(arena);
        TRY(read_all(arena, c, c->piece + PIECE_HEAD, *size, silence));
    } while (*kind == PIECE_ALIVE);
    return OK;
}

static struct error *check_end(struct arena *arena, const struct channel *c)
{
    struct piece_end end = piece_end_read(c->piece + PIECE_HEAD);

    if (end.bytes == (uint64_t)c->bytes && end.sum == XXH64_digest(c->sum))
        return OK;
    return error_internal(arena, "what was sent has changed on the way");
}

static struct error *unpack(struct arena *arena, struct channel *c, const void **data, size_t *size)
{
    *size =
        ZSTD_decompressDCtx(c->unpacker, c->plain, sizeof c->plain, c->piece + PIECE_HEAD, *size);
    *data = c->plain;
    return ZSTD_isError(*size) || !*size ? nonsense(arena) : OK;
}

struct error *channel_receive(struct arena *arena, struct channel *c, enum piece_kind *kind,
                              const void **data, size_t *size)
{
    TRY(read_piece(arena, c, CHANNEL_SILENCE, kind, size));
    *data = c->piece + PIECE_HEAD;
    if (*kind == PIECE_FAILED)
        return error_internal(arena, "the other host: %.*s", (int)*size, (const char *)*data);
    if (*kind == PIECE_END)
        return check_end(arena, c);
    if (*kind == PIECE_PACKED)
        TRY(unpack(arena, c, data, size));
    if (*kind == PIECE_PACKED || *kind == PIECE_MEMORY) {
        *kind = PIECE_MEMORY;
        XXH64_update(c->sum, *data, *size);
        c->bytes += (int64_t)*size;
    }
    return OK;
}

struct error *channel_expect(struct arena *arena, struct channel *c, enum piece_kind kind,
                             const void **data)
{
    enum piece_kind got;
    size_t size;

    TRY(channel_receive(arena, c, &got, data, &size));
    return got == kind ? OK : nonsense(arena);
}

struct error *channel_send_word(struct call *call, struct channel *c, enum piece_kind kind,
                                ref_t intent)
{
    struct piece_word word;
    uint8_t bytes[PIECE_WORD_SIZE];

    call_refresh(call);
    word.revision = snap_root(call->snap)->revision;
    memcpy(word.intent, &intent, sizeof word.intent);
    piece_word_write(bytes, &word);
    return channel_send(call->arena, c, kind, bytes, sizeof bytes);
}

struct error *channel_expect_word(struct call *call, struct channel *c, enum piece_kind kind,
                                  ref_t *intent)
{
    struct piece_word word;
    const void *data;

    TRY(channel_expect(call->arena, c, kind, &data));
    word = piece_word_read(data);
    memcpy(intent, word.intent, sizeof word.intent);
    if (word.revision)
        db_wait(call->xapid->db, word.revision - 1, clock_mono() + CATCHES_UP_WITHIN);
    call_refresh(call);
    return OK;
}

struct error *channel_reason(struct arena *arena, struct channel *c, struct error *e)
{
    enum piece_kind kind;
    size_t size;

    if (!e || read_piece(arena, c, REASON_WITHIN, &kind, &size) || kind != PIECE_FAILED)
        return e;
    return error_internal(arena, "the other host: %.*s", (int)size,
                          (const char *)c->piece + PIECE_HEAD);
}
