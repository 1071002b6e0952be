/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vhd.c -- VHD: a copy of the footer, a header, the table of blocks, the blocks, each behind a
 * bitmap of its sectors, the footer.  Or, of a fixed one, which is only read: the content, the
 * footer.  All numbers are big-endian.
 */
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "xapid/db/db.h"
#include "xapid/transfer/disk.h"
#include "xapid/transfer/image.h"

#define SECTOR 512
#define BLOCK ((int64_t)2 * 1024 * 1024)
#define BITMAP ((int64_t)512) /* of a block of ours */
#define UNUSED_BLOCK 0xffffffffu
/* Of a fixed one, what is read and written at a time. */
#define PIECE ((size_t)1024 * 1024)
/* Limits on what is read. */
#define MAX_BLOCK ((int64_t)256 * 1024 * 1024)
#define MAX_BITMAP 65536
#define MAX_ENTRIES (1u << 21)
#define MAX_GAP ((int64_t)16 * 1024 * 1024)
/* 2000-01-01, where the format's dates begin. */
#define EPOCH 946684800
#define FIXED 2
#define DYNAMIC 3
#define DIFFERENCING 4

struct footer {
    char cookie[8];
    uint32_t features, version;
    uint64_t data_offset;
    uint32_t date;
    char creator[4];
    uint32_t creator_version, creator_os;
    uint64_t original_size, size;
    uint16_t cylinders;
    uint8_t heads, sectors;
    uint32_t type, checksum;
    uint8_t uuid[16], saved, reserved[427];
} __attribute__((packed));
_Static_assert(sizeof(struct footer) == SECTOR, "a footer is a sector");

struct header {
    char cookie[8];
    uint64_t data_offset, table_offset;
    uint32_t version, entries, block_size, checksum;
    uint8_t parent_uuid[16];
    uint32_t parent_date, reserved;
    uint8_t parent_name[512], locators[192], reserved2[256];
} __attribute__((packed));
_Static_assert(sizeof(struct header) == 2 * SECTOR, "a header is two sectors");

/* The complement of the sum of all bytes but its own. */
static uint32_t checksum(const void *p, size_t n, size_t at)
{
    const uint8_t *bytes = p;
    uint32_t sum = 0;

    for (size_t i = 0; i < n; i++)
        if (i < at || i >= at + sizeof sum)
            sum += bytes[i];
    return ~sum;
}

/*** writing ***/

struct error *vhd_check_size(struct call *call, const struct image_disk *disk)
{
    if (vdi_io_size(disk->io) <= VHD_MAX)
        return OK;
    return err_vdi_too_large(call, ref_text(call->arena, disk->vdi),
                             arena_printf(call->arena, "%lld", (long long)VHD_MAX));
}

/* Cylinders, heads and sectors, as the format's description computes them. */
static void geometry(int64_t bytes, struct footer *f)
{
    uint32_t total = (uint32_t)MIN(bytes / SECTOR, (int64_t)65535 * 16 * 255), sectors = 255,
             heads = 16, tracks;

    tracks = total / sectors;
    if (total < 65535u * 16 * 63) {
        sectors = 17;
        tracks = total / sectors;
        heads = MAX((tracks + 1023) / 1024, 4u);
        if (tracks >= heads * 1024 || heads > 16) {
            sectors = 31;
            heads = 16;
            tracks = total / sectors;
        }
        if (tracks >= heads * 1024) {
            sectors = 63;
            heads = 16;
            tracks = total / sectors;
        }
    }
    f->cylinders = htobe16((uint16_t)(tracks / heads));
    f->heads = (uint8_t)heads;
    f->sectors = (uint8_t)sectors;
}

static void make_footer(const struct image_disk *disk, int64_t size, struct footer *f)
{
    uint8_t uuid[16];

    *f = (struct footer){.features = htobe32(2),
                         .version = htobe32(0x10000),
                         .data_offset = htobe64(SECTOR),
                         .date = htobe32((uint32_t)(clock_wall() / USEC_PER_SEC - EPOCH)),
                         .creator = "tap", /* then readers go by the size, not by the geometry */
                         .creator_version = htobe32(0x10003),
                         .original_size = htobe64((uint64_t)size),
                         .size = htobe64((uint64_t)size),
                         .type = htobe32(disk->base ? DIFFERENCING : DYNAMIC)};
    memcpy(f->cookie, "conectix", sizeof f->cookie);
    geometry(size, f);
    if (uuid_from_text(disk->uuid, uuid))
        memcpy(f->uuid, uuid, sizeof uuid);
    f->checksum = htobe32(checksum(f, sizeof *f, offsetof(struct footer, checksum)));
}

static void make_header(const struct image_disk *disk, int64_t blocks, struct header *h)
{
    uint8_t uuid[16];

    *h = (struct header){.data_offset = UINT64_MAX,
                         .table_offset = htobe64(3 * SECTOR),
                         .version = htobe32(0x10000),
                         .entries = htobe32((uint32_t)blocks),
                         .block_size = htobe32((uint32_t)BLOCK)};
    memcpy(h->cookie, "cxsparse", sizeof h->cookie);
    if (disk->base && uuid_from_text(disk->base_uuid, uuid)) {
        const char *name = disk->base_uuid;

        memcpy(h->parent_uuid, uuid, sizeof uuid);
        for (size_t i = 0; name[i]; i++) /* UTF-16 */
            h->parent_name[2 * i + 1] = (uint8_t)name[i];
        memcpy(h->parent_name + 2 * strlen(name), "\0.\0v\0h\0d", 8);
    }
    h->checksum = htobe32(checksum(h, sizeof *h, offsetof(struct header, checksum)));
}

static int64_t table_size(int64_t blocks)
{
    return (blocks * 4 + SECTOR - 1) / SECTOR * SECTOR;
}

static struct error *send_table(struct call *call, const struct unit_map *map, struct sink *to)
{
    int64_t next = (3 * SECTOR + table_size(map->n)) / SECTOR;

    for (int64_t i = 0; i < table_size(map->n) / 4; i++) {
        bool used = i < map->n && unit_map_has(map, i);
        uint32_t entry = htobe32(used ? (uint32_t)next : UNUSED_BLOCK);

        TRY(sink_write(call, to, &entry, sizeof entry));
        next += used ? (BITMAP + BLOCK) / SECTOR : 0;
    }
    return OK;
}

static struct error *send_blocks(struct call *call, const struct image_disk *disk,
                                 const struct unit_map *map, struct sink *to)
{
    AUTO(room) room = {xmalloc((size_t)(BITMAP + BLOCK))};
    int64_t done = 0;

    memset(room.p, 0xff, (size_t)BITMAP);
    for (int64_t i = unit_map_next(map, 0, map->n); i < map->n;
         i = unit_map_next(map, i + 1, map->n)) {
        TRY(image_read_unit(call, disk, map, i, room.p + BITMAP));
        TRY(sink_write(call, to, room.p, (size_t)(BITMAP + BLOCK)));
        TRY(transfer_tick(call, (double)++done / (double)map->set));
    }
    return OK;
}

struct error *vhd_send(struct call *call, const struct image_disk *disk, struct sink *to)
{
    int64_t size = (vdi_io_size(disk->io) + SECTOR - 1) / SECTOR * SECTOR;
    AUTO(unit_map) map = {0};
    struct footer footer;
    struct header header;

    TRY(unit_map_make(call, disk, BLOCK, &map));
    make_footer(disk, size, &footer);
    make_header(disk, map.n, &header);
    TRY(sink_write(call, to, &footer, sizeof footer));
    TRY(sink_write(call, to, &header, sizeof header));
    TRY(send_table(call, &map, to));
    TRY(send_blocks(call, disk, &map, to));
    return sink_write(call, to, &footer, sizeof footer);
}

/*** reading ***/

struct vhd {
    struct image_reader reader;
    int64_t size, block, bitmap;
    bool difference;
    uint32_t n; /* of entries that count */
    struct entry {
        uint32_t sector, block;
    } * v; /* those in use, in the order of the file; allocated */
    uint32_t used;
};

static void vhd_release(struct vhd *v)
{
    free(v->v);
}

static struct error *bad(struct call *call, const char *why)
{
    return image_bad(call, "VHD", why);
}

static bool is_footer(const struct footer *f)
{
    return memcmp(f->cookie, "conectix", sizeof f->cookie) == 0;
}

static struct error *check_footer(struct call *call, const struct footer *f)
{
    if (be32toh(f->checksum) != checksum(f, sizeof *f, offsetof(struct footer, checksum)))
        return bad(call, "the checksum of its footer does not fit");
    return OK;
}

static struct error *read_footer(struct call *call, struct vhd *v, const struct footer *f,
                                 int64_t *header_at)
{
    uint32_t type = be32toh(f->type);

    TRY(check_footer(call, f));
    if (type != DYNAMIC && type != DIFFERENCING)
        return bad(call, "it begins with a footer, and is neither dynamic nor differencing");
    v->difference = type == DIFFERENCING;
    v->size = (int64_t)be64toh(f->size);
    *header_at = (int64_t)be64toh(f->data_offset);
    if (v->size <= 0 || v->size > VHD_MAX || *header_at < SECTOR || *header_at > MAX_GAP)
        return bad(call, "its size is none");
    return OK;
}

static struct error *read_header(struct call *call, struct vhd *v, int64_t *table_at)
{
    struct header h;
    int64_t needed;

    TRY(image_take(call, &v->reader, &h, sizeof h));
    if (memcmp(h.cookie, "cxsparse", sizeof h.cookie) != 0 ||
        be32toh(h.checksum) != checksum(&h, sizeof h, offsetof(struct header, checksum)))
        return bad(call, "its header is damaged");
    v->block = be32toh(h.block_size);
    if (v->block < SECTOR * 8 || v->block > MAX_BLOCK || (v->block & (v->block - 1)) != 0)
        return bad(call, "its block size is none");
    v->bitmap = (v->block / SECTOR / 8 + SECTOR - 1) / SECTOR * SECTOR;
    needed = (v->size + v->block - 1) / v->block;
    *table_at = (int64_t)MIN(be64toh(h.table_offset), (uint64_t)INT64_MAX);
    if (be32toh(h.entries) < needed || needed > MAX_ENTRIES || *table_at > MAX_GAP)
        return bad(call, "its table of blocks is too short or too long");
    v->n = (uint32_t)needed;
    return OK;
}

static int by_sector(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;

    return x->sector < y->sector ? -1 : x->sector > y->sector;
}

static struct error *read_table(struct call *call, struct vhd *v)
{
    uint32_t piece[1024];

    v->v = xmalloc(((size_t)v->n + 1) * sizeof *v->v);
    for (uint32_t i = 0; i < v->n; i += ARRAY_SIZE(piece)) {
        uint32_t m = MIN((uint32_t)ARRAY_SIZE(piece), v->n - i);

        TRY(image_take(call, &v->reader, piece, m * sizeof *piece));
        for (uint32_t k = 0; k < m; k++)
            if (be32toh(piece[k]) != UNUSED_BLOCK)
                v->v[v->used++] = (struct entry){be32toh(piece[k]), i + k};
    }
    qsort(v->v, v->used, sizeof *v->v, by_sector);
    return OK;
}

/* 64 KiB of a block, of which 'bits' says which sectors it has: of others it has nothing. */
static struct error *copy_piece(struct call *call, struct vhd *v, const struct image_disk *disk,
                                int64_t at, int64_t n, const uint8_t *bits, char *room)
{
    for (int64_t i = 0; i < n / SECTOR;) {
        bool has = bits[i / 8] >> (7 - i % 8) & 1;
        int64_t run = 1;

        while (i + run < n / SECTOR && (bits[(i + run) / 8] >> (7 - (i + run) % 8) & 1) == has)
            run++;
        if (has)
            TRY(image_copy(call, &v->reader, disk, at + i * SECTOR, run * SECTOR, room));
        else
            TRY(image_go(call, &v->reader, "VHD", v->reader.at + run * SECTOR));
        i += run;
    }
    return OK;
}

static struct error *read_block(struct call *call, struct vhd *v, const struct image_disk *disk,
                                const struct entry *entry, char *room)
{
    uint8_t bits[MAX_BITMAP];
    int64_t at = entry->block * v->block;

    TRY(image_go(call, &v->reader, "VHD", (int64_t)entry->sector * SECTOR));
    TRY(image_take(call, &v->reader, bits, (size_t)v->bitmap));
    for (int64_t i = 0; i < v->block; i += IMAGE_PIECE)
        TRY(copy_piece(call, v, disk, at + i, MIN(IMAGE_PIECE, v->block - i), bits + i / SECTOR / 8,
                       room));
    return OK;
}

/*** reading a fixed one ***/

/* Clients that do not know the length announce an absurd one. */
static bool is_announced(const struct image_disk *disk)
{
    return disk->announced > 0 && disk->announced <= VHD_MAX + SECTOR;
}

/* What can be seen before anything is written; 'v->size' is 0 where nothing was announced. */
static struct error *begin_fixed(struct call *call, struct vhd *v, const struct image_disk *disk)
{
    if (!is_announced(disk))
        return OK;
    v->size = disk->announced - SECTOR;
    if (v->size < SECTOR || v->size % SECTOR)
        return bad(call, "it does not begin as a dynamic one does, nor has it the length of a "
                         "fixed one, whole sectors and a footer");
    return image_check_room(call, disk, v->size);
}

/* All has come but for the last sector, which is that. */
static struct error *end_fixed(struct call *call, const struct vhd *v,
                               const struct image_disk *disk, const struct footer *f)
{
    int64_t content = v->reader.at - SECTOR;

    if (!is_footer(f) && is_announced(disk) && v->reader.at < disk->announced)
        return err_import_error_premature_eof(call);
    if (!is_footer(f))
        return bad(call, "it neither begins nor ends as one does: it was cut off, or is something "
                         "else");
    TRY(check_footer(call, f));
    if (be32toh(f->type) != FIXED)
        return bad(call, "it ends as a dynamic one does, but does not begin so");
    if ((int64_t)be64toh(f->size) != content)
        return bad(call,
                   arena_printf(call->arena, "its footer is of a disk of %lld bytes, and %lld came",
                                (long long)be64toh(f->size), (long long)content));
    return OK;
}

static struct error *write_fixed(struct call *call, const struct vhd *v,
                                 const struct image_disk *disk, int64_t at, const char *p, size_t n)
{
    int64_t size = vdi_io_size(disk->io);

    if (at > size || (int64_t)n > size - at)
        return err_vdi_too_small(call, ref_text(call->arena, disk->vdi),
                                 v->size ? arena_printf(call->arena, "%lld", (long long)v->size)
                                         : "");
    TRY(disk_write(call, disk->io, true, at, p, n));
    return transfer_tick(call, (double)at / (double)(v->size ? v->size : size));
}

/*
 * Nothing says that it is one but its last sector: so of what has come the last sector is held back
 * until more comes.  'first' is the beginning.
 */
static struct error *receive_fixed(struct call *call, struct vhd *v, const struct image_disk *disk,
                                   const struct footer *first)
{
    AUTO(room) room = {xmalloc(SECTOR + PIECE)};
    int64_t at = 0;
    size_t got = PIECE;

    TRY(begin_fixed(call, v, disk));
    TRY(vdi_io_zero(call, disk->io, 0, vdi_io_size(disk->io)));
    memcpy(room.p, first, SECTOR);
    while (got == PIECE) {
        TRY(source_read(call, v->reader.from, room.p + SECTOR, PIECE, &got));
        v->reader.at += (int64_t)got;
        if (got)
            TRY(write_fixed(call, v, disk, at, room.p, got));
        memmove(room.p, room.p + got, SECTOR);
        at += (int64_t)got;
    }
    TRY(end_fixed(call, v, disk, (const struct footer *)room.p));
    return vdi_io_flush(call, disk->io);
}

/*** reading any ***/

static struct error *receive_blocks(struct call *call, struct vhd *v, const struct image_disk *disk,
                                    const struct footer *first)
{
    AUTO(room) room = {xmalloc((size_t)IMAGE_PIECE)};
    int64_t at = 0;

    TRY(read_footer(call, v, first, &at));
    TRY(image_check_room(call, disk, v->size));
    TRY(image_go(call, &v->reader, "VHD", at));
    TRY(read_header(call, v, &at));
    TRY(image_go(call, &v->reader, "VHD", at));
    TRY(read_table(call, v));
    if (!v->difference)
        TRY(vdi_io_zero(call, disk->io, 0, vdi_io_size(disk->io)));
    for (uint32_t i = 0; i < v->used; i++) {
        TRY(read_block(call, v, disk, &v->v[i], room.p));
        TRY(transfer_tick(call, (double)i / (double)v->used));
    }
    return vdi_io_flush(call, disk->io);
}

struct error *vhd_receive(struct call *call, struct source *from, const struct image_disk *disk)
{
    AUTO(vhd) v = {.reader = {from, 0}};
    struct footer first;

    TRY(image_take(call, &v.reader, &first, sizeof first));
    return is_footer(&first) ? receive_blocks(call, &v, disk, &first)
                             : receive_fixed(call, &v, disk, &first);
}
