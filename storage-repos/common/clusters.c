/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * clusters.c -- see clusters.h.  The map of a qcow2 image is a table of tables: an entry of the
 * first says where one of the second lies, an entry of that where a cluster does.  Of the second
 * ones a page is kept for each image, since disks are read from the front to the back.
 */
#include "storage-repos/common/clusters.h"

#include <endian.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libxapi/base/arena.h"
#include "libxapi/base/call.h"
#include "libxapi/base/memory.h"
#include "storage-repos/common/qcow2.h"

#define CHAIN_MAX ((size_t)256)
#define PAGE 512                            /* entries, at most */
#define MAP_MAX ((int64_t)16 * 1024 * 1024) /* bytes, of all first tables */
#define MAP_FIELD 40                        /* where the header says where that is */
#define PLACE 0x00fffffffffffe00ull
#define COMPRESSED (1ull << 62)
#define ZERO 1ull

enum place { NOWHERE, ZEROES, IN_FILE, UNKNOWN };

struct image {
    int fd;
    int bits;
    bool has_zeroes; /* of clusters it may say that they are zero */
    int64_t size;
    int64_t n;         /* of the first table's entries */
    uint64_t *map;     /* they, as stored; allocated */
    int64_t per_table; /* entries of one of the second ones */
    int64_t entries;   /* of a page of such */
    int64_t page;      /* which one is kept; -1: none */
    uint64_t v[PAGE];  /* in the order of this machine */
};

struct clusters {
    size_t n;
    int64_t map_size;           /* bytes, of all of them */
    struct image *v[CHAIN_MAX]; /* from the disk downwards; allocated */
};

/*** opening ***/

/* Whoever makes an image larger may move its first table, and put something else there: so it is
 * read once, as qemu does, and then looked whether it was still the one. */
static bool load_map(struct image *image, int64_t at)
{
    size_t n = (size_t)image->n * sizeof *image->map;
    uint64_t now;

    image->map = xmalloc(n + 1);
    return qcow2_pread(image->fd, image->map, n, at) == (ssize_t)n &&
           qcow2_pread(image->fd, &now, sizeof now, MAP_FIELD) == sizeof now &&
           (int64_t)be64toh(now) == at;
}

static bool fill(struct call *call, struct clusters *c, struct image *image, const char **backing)
{
    struct qcow2_head head;
    const char *why;
    struct stat st;

    if (fstat(image->fd, &st) < 0 || !S_ISREG(st.st_mode) ||
        qcow2_read_head(call, image->fd, &head, &why) != QCOW2_GOOD || head.extended)
        return false;
    c->map_size += head.map_entries * (int64_t)sizeof *image->map;
    if (c->map_size > MAP_MAX)
        return false;
    image->n = head.map_entries;
    if (!load_map(image, head.map_at))
        return false;
    image->bits = head.cluster_bits;
    image->has_zeroes = head.version >= 3;
    image->size = head.virtual_size;
    image->per_table = (int64_t)1 << (head.cluster_bits - 3);
    image->entries = MIN(image->per_table, (int64_t)PAGE);
    image->page = -1;
    *backing = head.backing;
    return true;
}

/* Adds one; what lies below it has to be beside it. */
static bool add(struct call *call, struct clusters *c, const char *path, const char **backing)
{
    int fd = c->n < CHAIN_MAX ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK) : -1;

    if (fd < 0)
        return false;
    c->v[c->n] = xcalloc(1, sizeof *c->v[c->n]);
    c->v[c->n]->fd = fd;
    return fill(call, c, c->v[c->n++], backing) && !strpbrk(*backing, "/:");
}

struct clusters *clusters_open(struct call *call, const char *path)
{
    const char *slash = strrchr(path, '/'), *backing = "";
    struct clusters *c = xcalloc(1, sizeof *c);
    bool good = slash && add(call, c, path, &backing);

    while (good && *backing) {
        path = arena_printf(call->arena, "%.*s/%s", (int)(slash - path), path, backing);
        slash = strrchr(path, '/');
        good = add(call, c, path, &backing);
    }
    if (good)
        return c;
    clusters_close(c);
    return NULL;
}

void clusters_close(struct clusters *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->n; i++) {
        close(c->v[i]->fd);
        free(c->v[i]->map);
        free(c->v[i]);
    }
    free(c);
}

/*** where something is ***/

static bool load_page(struct image *image, int64_t page)
{
    int64_t first = page * image->entries;
    size_t n = (size_t)image->entries * sizeof *image->v;
    int64_t table;

    if (image->page == page)
        return true;
    image->page = -1;
    if (first / image->per_table >= image->n)
        return false;
    table = (int64_t)(be64toh(image->map[first / image->per_table]) & PLACE);
    if (table % ((int64_t)1 << image->bits))
        return false;
    if (!table)
        memset(image->v, 0, n);
    else if (qcow2_pread(image->fd, image->v, n, table + first % image->per_table * 8) !=
             (ssize_t)n)
        return false;
    for (int64_t i = 0; i < image->entries; i++)
        image->v[i] = be64toh(image->v[i]);
    image->page = page;
    return true;
}

static enum place place_of(const struct image *image, uint64_t entry)
{
    if (entry & COMPRESSED)
        return UNKNOWN;
    if (entry & ZERO)
        return image->has_zeroes ? ZEROES : UNKNOWN;
    if (!(entry & PLACE))
        return NOWHERE;
    return (entry & PLACE) % (1ull << image->bits) ? UNKNOWN : IN_FILE;
}

/* Where the bytes at 'offset' are in this image, and how many of the *n are in the same place; *at
 * of those in the file. */
static enum place find(struct image *image, int64_t offset, int64_t *n, int64_t *at)
{
    int64_t i = offset >> image->bits, rest = offset & (((int64_t)1 << image->bits) - 1), run = 1;
    enum place place;
    uint64_t first;

    if (!load_page(image, i / image->entries))
        return UNKNOWN;
    i %= image->entries;
    first = image->v[i] & PLACE;
    place = place_of(image, image->v[i]);
    while (
        i + run < image->entries && (run << image->bits) - rest < *n &&
        place_of(image, image->v[i + run]) == place &&
        (place != IN_FILE || (image->v[i + run] & PLACE) == first + ((uint64_t)run << image->bits)))
        run++;
    *n = MIN(*n, (run << image->bits) - rest);
    *at = (int64_t)first + rest;
    return place;
}

size_t clusters_read(struct clusters *c, int64_t offset, void *buf, size_t size)
{
    enum place place = NOWHERE;
    int64_t n = (int64_t)size, at = 0;
    struct image *image = NULL;

    for (size_t i = 0; i < c->n && place == NOWHERE; i++) {
        image = c->v[i];
        if (offset >= image->size) /* nothing shines through from below what ends before */
            place = ZEROES;
        else
            n = MIN(n, image->size - offset);
        if (place == NOWHERE)
            place = find(image, offset, &n, &at);
    }
    if (place == UNKNOWN)
        return 0;
    if (place == IN_FILE)
        return qcow2_pread(image->fd, buf, (size_t)n, at) == n ? (size_t)n : 0;
    memset(buf, 0, (size_t)n);
    return (size_t)n;
}
