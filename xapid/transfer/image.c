/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* image.c -- what VHD, qcow2 and VMDK have in common. */
#include "xapid/transfer/image.h"

#include <stdlib.h>
#include <string.h>

#include "libxapi/base/memory.h"
#include "xapid/transfer/disk.h"

/*** which units ***/

static void mark(struct unit_map *map, int64_t i)
{
    uint8_t **page = &map->pages[i / UNIT_PAGE];

    if (!*page)
        *page = xcalloc(1, (size_t)UNIT_PAGE / 8);
    (*page)[i % UNIT_PAGE / 8] |= (uint8_t)(1 << i % 8);
    map->set++;
}

bool unit_map_has(const struct unit_map *map, int64_t i)
{
    const uint8_t *page = map->pages[i / UNIT_PAGE];

    return page && (page[i % UNIT_PAGE / 8] >> i % 8 & 1);
}

int64_t unit_map_next(const struct unit_map *map, int64_t i, int64_t end)
{
    end = MIN(end, map->n);
    while (i < end && !unit_map_has(map, i))
        i = map->pages[i / UNIT_PAGE] ? i + 1 : (i / UNIT_PAGE + 1) * UNIT_PAGE;
    return MIN(i, end);
}

void unit_map_release(struct unit_map *map)
{
    for (int64_t i = 0; map->pages && i < map->n; i += UNIT_PAGE)
        free(map->pages[i / UNIT_PAGE]);
    free(map->pages);
    map->pages = NULL;
}

/* n bytes of a disk; zeroes where it is shorter or has nothing. */
static struct error *read_some(struct call *call, struct vdi_io *io, bool hole, int64_t at,
                               int64_t n, char *room)
{
    int64_t have = hole ? 0 : MAX(MIN(n, vdi_io_size(io) - at), (int64_t)0);

    memset(room + have, 0, (size_t)(n - have));
    return have ? vdi_io_read(call, io, at, room, (size_t)have) : OK;
}

struct comparison {
    struct vdi_run ours, theirs;
    char here[IMAGE_PIECE], there[IMAGE_PIECE];
};

static struct error *compare_piece(struct call *call, const struct image_disk *d,
                                   struct comparison *c, int64_t at, int64_t n, bool *differs)
{
    bool no_ours = false, no_theirs = false;

    TRY(disk_is_hole(call, &c->ours, d->io, at, n, &no_ours));
    TRY(disk_is_hole(call, &c->theirs, d->base, at, n, &no_theirs));
    if (no_ours && no_theirs)
        return OK;
    TRY(read_some(call, d->io, no_ours, at, n, c->here));
    TRY(read_some(call, d->base, no_theirs, at, n, c->there));
    *differs = memcmp(c->here, c->there, (size_t)n) != 0;
    return OK;
}

static struct error *unit_differs(struct call *call, const struct image_disk *d,
                                  struct comparison *c, int64_t at, int64_t n, bool *differs)
{
    *differs = false;
    for (int64_t i = 0; i < n && !*differs; i += IMAGE_PIECE)
        TRY(compare_piece(call, d, c, at + i, MIN(IMAGE_PIECE, n - i), differs));
    return OK;
}

/* The first unit from i on in which there is something, here or in the base; beyond the last one
 * where there is nothing more. */
static struct error *next_unit(struct call *call, const struct image_disk *d, struct comparison *c,
                               int64_t unit, int64_t *i)
{
    int64_t ours, theirs = INT64_MAX;

    TRY(vdi_io_next(call, d->io, &c->ours, *i * unit, &ours));
    if (d->base)
        TRY(vdi_io_next(call, d->base, &c->theirs, *i * unit, &theirs));
    *i = MIN(ours, theirs) / unit;
    return OK;
}

struct error *unit_map_make(struct call *call, const struct image_disk *disk, int64_t unit,
                            struct unit_map *out)
{
    int64_t size = vdi_io_size(disk->io);
    AUTO(room) room = {0};
    struct comparison *c;

    room.p = xcalloc(1, sizeof *c);
    c = (struct comparison *)room.p;
    *out = (struct unit_map){.unit = unit, .n = (size + unit - 1) / unit};
    out->pages = xcalloc((size_t)(out->n / UNIT_PAGE + 1), sizeof *out->pages);
    for (int64_t i = 0; i < out->n; i++) {
        bool wanted = true;

        TRY(next_unit(call, disk, c, unit, &i));
        if (i < out->n && disk->base)
            TRY(unit_differs(call, disk, c, i * unit, MIN(unit, size - i * unit), &wanted));
        if (i < out->n && wanted)
            mark(out, i);
        TRY(transfer_tick(call, disk->base ? 0.5 * (double)i / (double)out->n : 0.0));
    }
    return OK;
}

struct error *image_read_unit(struct call *call, const struct image_disk *disk,
                              const struct unit_map *map, int64_t i, char *room)
{
    return read_some(call, disk->io, false, i * map->unit, map->unit, room);
}

/*** reading ***/

struct error *image_bad(struct call *call, const char *kind, const char *why)
{
    return error_new(call->arena, "VDI_IO_ERROR", 1,
                     arena_printf(call->arena, "The %s image cannot be read: %s.", kind, why));
}

struct error *image_take(struct call *call, struct image_reader *r, void *out, size_t n)
{
    r->at += (int64_t)n;
    return source_read_exactly(call, r->from, out, n);
}

struct error *image_go(struct call *call, struct image_reader *r, const char *kind, int64_t to)
{
    int64_t n = to - r->at;

    if (n < 0)
        return image_bad(call, kind,
                         "its tables come after their data, so that it cannot be read as a stream; "
                         "a copy made with qemu-img convert can");
    r->at = to;
    return source_skip(call, r->from, n);
}

struct error *image_check_room(struct call *call, const struct image_disk *disk, int64_t size)
{
    if (size <= vdi_io_size(disk->io))
        return OK;
    return err_vdi_too_small(call, ref_text(call->arena, disk->vdi),
                             arena_printf(call->arena, "%lld", (long long)size));
}

struct error *image_copy(struct call *call, struct image_reader *r, const struct image_disk *disk,
                         int64_t at, int64_t n, char room[static 65536])
{
    while (n) {
        int64_t part = MIN(n, IMAGE_PIECE);
        int64_t fits = MAX(MIN(part, vdi_io_size(disk->io) - at), (int64_t)0);

        TRY(image_take(call, r, room, (size_t)part));
        if (fits)
            TRY(disk_write(call, disk->io, false, at, room, (size_t)fits));
        at += part;
        n -= part;
    }
    return OK;
}
