/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * changed.c -- in which blocks two disks may differ, read from the images themselves.
 *
 * Nothing is recorded while a disk is written: what was written since a snapshot lies in the images
 * above the one that both have in common, and nowhere else.  So the blocks that those images hold
 * are all that can differ, and this is as true as the data is: after kill -9 and after a power cut,
 * with clones and disks that went back to a snapshot.  A block that was written with what it held
 * before counts as changed.
 *
 *     from   to           from was a snapshot of to: both lie on B.  What is held by C and by to's
 *       \    |            own image may have changed; from's own image is empty.
 *        \   C
 *         \ /
 *          B
 *
 * A disk whose data was destroyed still has its place: its trace names the image it lay on.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "libxapi/base/call.h"
#include "storage-repos/dir/image.h"

/* Larger ones would make bitmaps that nobody can take. */
#define SIZE_MAX_TRACKED ((int64_t)1 << 46)

/* ---- destroying data ---- */

static struct error *is_empty(struct call *call, const struct dir_state *st, const char *location,
                              bool *out)
{
    char name[DIR_NAME_SIZE];
    int fd, err;

    dir_image_name(location, name);
    fd = openat(st->fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return sr_failed_errno(call, SR_FAIL_VDI, errno, name);
    errno = 0;
    *out = qcow2_is_empty(fd);
    err = errno;
    close(fd);
    return *out || !err ? OK : sr_failed_errno(call, SR_FAIL_VDI, err, name);
}

/* Where the disk stays to be: on an image that is a base for good.  Any other might be written once
 * nothing lies on it any more, and would then not tell what the disk was. */
static struct error *trace_of(struct call *call, const struct dir_state *st,
                              const struct dir_image *image, struct dir_trace *out)
{
    struct dir_meta parent = {.hidden = false};
    bool empty;

    TRY(is_empty(call, st, image->location, &empty));
    if (image->parent[0])
        TRY(dir_meta_read(call, st, image->parent, &parent));
    *out = (struct dir_trace){.parent = parent.hidden ? image->parent : "",
                              .virtual_size = image->virtual_size,
                              .all = !empty};
    return OK;
}

/* The trace is durable before the image goes, so at every moment the disk is there as one of them.
 */
struct error *dir_vdi_strip(struct call *call, struct sr_handle *sr, const char *location)
{
    const struct dir_state *st = sr->state;
    char name[DIR_NAME_SIZE];
    AUTO(dir_lock) lock = {0};
    struct dir_image *image;
    struct dir_trace trace;
    struct dir_list list;

    TRY(dir_check_location(call, sr, location));
    TRY(dir_check_there(call, sr));
    TRY(dir_lock(call, st, &lock));
    TRY(dir_list(call, st, false, &list));
    if (!dir_find_stripped(&list, location)) {
        TRY(dir_get(call, sr, &list, location, &image));
        if (image->children)
            return vdi_in_use(call, location, "data_destroy");
        TRY(dir_check_unwritten(call, st, location, "data_destroy"));
        TRY(trace_of(call, st, image, &trace));
        TRY(dir_trace_write(call, st, location, &trace));
        dir_image_name(location, name);
        TRY(dir_unlink(call, st, name));
        dir_step(st, "data gone");
    }
    TRY(dir_sync(call, st));
    return dir_collect(call, st);
}

/* ---- comparing ---- */

/* One of the two disks. */
struct side {
    const struct dir_image *image;
    const char *top; /* location of the first image of its chain, "" for none */
    size_t above;    /* images of it, from the first on, that the other does not lie upon */
};

static struct error *find_side(struct call *call, const struct sr_handle *sr,
                               const struct dir_list *list, const char *location, struct side *out)
{
    struct dir_image *image = dir_find_stripped(list, location);

    if (!image)
        TRY(dir_get(call, sr, list, location, &image));
    *out = (struct side){image, image->stripped ? image->parent : image->location, 0};
    return OK;
}

/* The place of an image in a chain, from 0; -1 where it is not in it. */
static int place_in(const struct dir_list *list, const char *top, const char *location)
{
    const struct dir_image *image = dir_find(list, top);

    for (int i = 0; image && i < 10 * DIR_CHAIN_MAX; i++) {
        if (strcmp(image->location, location) == 0)
            return i;
        image = image->parent[0] ? dir_find(list, image->parent) : NULL;
    }
    return -1;
}

/* A base that lost its mark and has nothing on it may have been written to since. */
static bool is_sure(const struct side *a, const struct side *b, const struct dir_image *common)
{
    return common->children || (!a->image->stripped && !b->image->stripped);
}

/* False where they have no image in common. */
static bool find_common(const struct dir_list *list, struct side *a, struct side *b)
{
    const struct dir_image *image = dir_find(list, a->top);

    for (a->above = 0; image && a->above < 10 * DIR_CHAIN_MAX; a->above++) {
        int place = place_in(list, b->top, image->location);

        if (place >= 0) {
            b->above = (size_t)place;
            return is_sure(a, b, image);
        }
        image = image->parent[0] ? dir_find(list, image->parent) : NULL;
    }
    return false;
}

static void mark(struct vdi_changes *c, int64_t offset, int64_t n)
{
    int64_t end = MIN((offset + n + VDI_BLOCK - 1) / VDI_BLOCK, c->n_blocks);

    for (int64_t block = offset / VDI_BLOCK; block < end; block++)
        c->bits[block / 8] |= (uint8_t)(0x80 >> (block % 8));
}

struct marking {
    struct vdi_changes *changes;
    size_t above;
};

static void mark_if_above(void *ctx, int64_t offset, int64_t n, uint32_t depth)
{
    const struct marking *m = ctx;

    if (depth && depth <= m->above)
        mark(m->changes, offset, n);
}

static struct error *mark_side(struct call *call, const struct dir_state *st,
                               const struct side *side, struct vdi_changes *changes)
{
    char name[DIR_NAME_SIZE];

    if (side->image->stripped && side->image->all)
        mark(changes, 0, side->image->virtual_size);
    if (!side->above)
        return OK;
    dir_image_name(side->top, name);
    return vdi_image_depths(call, dir_path(call, st, name), mark_if_above,
                            &(struct marking){changes, side->above});
}

struct error *dir_vdi_changed(struct call *call, struct sr_handle *sr, const char *from,
                              const char *to, struct vdi_changes *out)
{
    const struct dir_state *st = sr->state;
    struct side a, b;
    struct dir_list list;
    int64_t size;

    TRY(dir_check_there(call, sr));
    TRY(dir_list(call, st, false, &list));
    TRY(find_side(call, sr, &list, from, &a));
    TRY(find_side(call, sr, &list, to, &b));
    size = b.image->virtual_size;
    if (!find_common(&list, &a, &b))
        return sr_failed(call, SR_FAIL_CHANGED_BLOCKS, "%s and %s have nothing in common", from,
                         to);
    if (size > SIZE_MAX_TRACKED)
        return sr_failed(call, SR_FAIL_CHANGED_BLOCKS, "%s is too large", to);
    out->n_blocks = (size + VDI_BLOCK - 1) / VDI_BLOCK;
    out->n = (size_t)((out->n_blocks + 7) / 8);
    out->bits = arena_zalloc(call->arena, out->n);
    if (size > a.image->virtual_size)
        mark(out, a.image->virtual_size, size - a.image->virtual_size);
    TRY(mark_side(call, st, &a, out));
    return mark_side(call, st, &b, out);
}
