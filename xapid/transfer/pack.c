/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/transfer/pack.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "libxapi/base/memory.h"

#define ROOM ((size_t)128 * 1024)
/* Fast: disks are gigabytes, and a slow one holds up a host. */
#define GZIP_LEVEL 1
#define ZSTD_LEVEL 1
/* Adds the header of gzip to zlib's data; for reading, accepts it. */
#define GZIP_WINDOW (15 + 16)
/* A sender may ask the reader for a window of gigabytes: 32 MiB are what we give. */
#define ZSTD_WINDOW_LOG 25
#define MAGIC 4

enum packing packing_named(const char *text)
{
    if (!text)
        return PACK_NONE;
    if (strcmp(text, "true") == 0 || strcmp(text, "gzip") == 0)
        return PACK_GZIP;
    return strcmp(text, "zstd") == 0 ? PACK_ZSTD : PACK_NONE;
}

static struct error *broken(struct call *call, const char *kind, const char *why)
{
    return err_import_error(call,
                            arena_printf(call->arena, "The %s data is damaged: %s.", kind, why));
}

/*** out ***/

struct packer_state {
    enum packing packing;
    z_stream z;
    ZSTD_CCtx *zstd;
    char room[ROOM];
};

static struct error *gzip_out(struct call *call, struct packer *p, const void *data, size_t n,
                              int flush)
{
    z_stream *z = &p->state->z;
    int r;

    z->next_in = (Bytef *)data;
    z->avail_in = (uInt)n;
    do {
        z->next_out = (Bytef *)p->state->room;
        z->avail_out = ROOM;
        r = deflate(z, flush);
        TRY(sink_write(call, p->to, p->state->room, ROOM - z->avail_out));
    } while (z->avail_out == 0 || (flush == Z_FINISH && r == Z_OK));
    return OK;
}

static struct error *zstd_out(struct call *call, struct packer *p, const void *data, size_t n,
                              ZSTD_EndDirective how)
{
    ZSTD_inBuffer in = {data, n, 0};
    size_t left;

    do {
        ZSTD_outBuffer out = {p->state->room, ROOM, 0};

        left = ZSTD_compressStream2(p->state->zstd, &out, &in, how);
        if (ZSTD_isError(left))
            return error_internal(call->arena, "zstd: %s", ZSTD_getErrorName(left));
        TRY(sink_write(call, p->to, p->state->room, out.pos));
    } while (in.pos < in.size || (how == ZSTD_e_end && left));
    return OK;
}

static struct error *packer_write(struct sink *sink, struct call *call, const void *data, size_t n)
{
    struct packer *p = container_of(sink, struct packer, sink);

    return p->state->packing == PACK_GZIP ? gzip_out(call, p, data, n, Z_NO_FLUSH)
                                          : zstd_out(call, p, data, n, ZSTD_e_continue);
}

struct error *packer_open(struct call *call, enum packing packing, struct sink *to,
                          struct packer *out)
{
    *out = (struct packer){{packer_write}, to, NULL};
    if (packing == PACK_NONE)
        return OK;
    out->state = xcalloc(1, sizeof *out->state);
    out->state->packing = packing;
    if (packing == PACK_GZIP) {
        if (deflateInit2(&out->state->z, GZIP_LEVEL, Z_DEFLATED, GZIP_WINDOW, 8,
                         Z_DEFAULT_STRATEGY) != Z_OK)
            return error_internal(call->arena, "gzip: no memory");
        return OK;
    }
    out->state->zstd = ZSTD_createCCtx();
    if (!out->state->zstd)
        return error_internal(call->arena, "zstd: no memory");
    ZSTD_CCtx_setParameter(out->state->zstd, ZSTD_c_compressionLevel, ZSTD_LEVEL);
    return OK;
}

struct sink *packer_sink(struct packer *p)
{
    return p->state ? &p->sink : p->to;
}

struct error *packer_finish(struct call *call, struct packer *p)
{
    if (!p->state)
        return OK;
    return p->state->packing == PACK_GZIP ? gzip_out(call, p, "", 0, Z_FINISH)
                                          : zstd_out(call, p, "", 0, ZSTD_e_end);
}

void packer_release(struct packer *p)
{
    if (!p->state)
        return;
    if (p->state->packing == PACK_GZIP)
        deflateEnd(&p->state->z);
    ZSTD_freeCCtx(p->state->zstd);
    free(p->state);
    p->state = NULL;
}

/*** in ***/

struct unpacker_state {
    enum packing packing;
    z_stream z;
    ZSTD_DCtx *zstd;
    size_t start, end; /* of what lies unread in 'room' */
    bool inside;       /* of a member or frame that has not ended */
    char room[ROOM];
};

/* Fills an empty room; it stays empty at the end of the data. */
static struct error *refill(struct call *call, struct unpacker *u)
{
    struct unpacker_state *s = u->state;

    if (s->start < s->end)
        return OK;
    s->start = 0;
    return u->from->read(u->from, call, s->room, ROOM, &s->end);
}

static struct error *plain_in(struct call *call, struct unpacker *u, void *out, size_t n,
                              size_t *got)
{
    struct unpacker_state *s = u->state;

    /* The first bytes, which were looked at; then without a detour. */
    if (s->start == s->end)
        return u->from->read(u->from, call, out, n, got);
    *got = MIN(n, s->end - s->start);
    memcpy(out, s->room + s->start, *got);
    s->start += *got;
    return OK;
}

/* Another member may follow, as "cat a.gz b.gz" makes them. */
static struct error *gzip_step(struct call *call, struct unpacker_state *s, void *out, size_t n,
                               size_t *got)
{
    int r;

    if (!s->inside && inflateReset(&s->z) != Z_OK)
        return error_internal(call->arena, "gzip: cannot begin");
    s->inside = true;
    s->z.next_in = (Bytef *)s->room + s->start;
    s->z.avail_in = (uInt)(s->end - s->start);
    s->z.next_out = out;
    s->z.avail_out = (uInt)n;
    r = inflate(&s->z, Z_NO_FLUSH);
    s->start = s->end - s->z.avail_in;
    *got = n - s->z.avail_out;
    if (r == Z_STREAM_END)
        s->inside = false;
    else if (r != Z_OK && r != Z_BUF_ERROR)
        return broken(call, "gzip", s->z.msg ? s->z.msg : "it cannot be read");
    return OK;
}

static struct error *zstd_step(struct call *call, struct unpacker_state *s, void *out, size_t n,
                               size_t *got)
{
    ZSTD_inBuffer in = {s->room, s->end, s->start};
    ZSTD_outBuffer to = {out, n, 0};
    size_t r = ZSTD_decompressStream(s->zstd, &to, &in);

    if (ZSTD_isError(r))
        return broken(call, "zstd", ZSTD_getErrorName(r));
    s->start = in.pos;
    *got = to.pos;
    s->inside = r != 0;
    return OK;
}

static struct error *unpacker_read(struct source *source, struct call *call, void *out, size_t n,
                                   size_t *got)
{
    struct unpacker *u = container_of(source, struct unpacker, source);
    struct unpacker_state *s = u->state;
    bool ended = false;

    *got = 0;
    if (s->packing == PACK_NONE)
        return plain_in(call, u, out, n, got);
    n = MIN(n, (size_t)1 << 30);
    while (!*got && n && !ended) {
        size_t before;

        TRY(refill(call, u));
        before = s->end - s->start;
        if (before == 0 && !s->inside)
            return OK;
        TRY(s->packing == PACK_GZIP ? gzip_step(call, s, out, n, got)
                                    : zstd_step(call, s, out, n, got));
        ended = before == 0 && !*got;
    }
    return ended ? err_import_error_premature_eof(call) : OK;
}

static struct error *begin(struct call *call, struct unpacker_state *s)
{
    static const uint8_t gzip[] = {0x1f, 0x8b}, zstd[] = {0x28, 0xb5, 0x2f, 0xfd};

    if (s->end >= sizeof gzip && memcmp(s->room, gzip, sizeof gzip) == 0) {
        s->packing = PACK_GZIP;
        return inflateInit2(&s->z, GZIP_WINDOW) == Z_OK
                   ? OK
                   : error_internal(call->arena, "gzip: no memory");
    }
    if (s->end < sizeof zstd || memcmp(s->room, zstd, sizeof zstd) != 0)
        return OK;
    s->zstd = ZSTD_createDCtx();
    if (!s->zstd)
        return error_internal(call->arena, "zstd: no memory");
    s->packing = PACK_ZSTD;
    ZSTD_DCtx_setParameter(s->zstd, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG);
    return OK;
}

struct error *unpacker_open(struct call *call, struct source *from, struct unpacker *out)
{
    *out = (struct unpacker){{unpacker_read}, from, xcalloc(1, sizeof *out->state)};
    TRY(source_read(call, from, out->state->room, MAGIC, &out->state->end));
    if (out->state->end == 0)
        return err_import_error_premature_eof(call);
    return begin(call, out->state);
}

void unpacker_release(struct unpacker *u)
{
    if (!u->state)
        return;
    if (u->state->packing == PACK_GZIP)
        inflateEnd(&u->state->z);
    ZSTD_freeDCtx(u->state->zstd);
    free(u->state);
    u->state = NULL;
}
