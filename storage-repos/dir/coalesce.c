/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * coalesce.c -- a hidden image and the only one that lies on it become one.
 *
 * Names: B is the base, C what lies on it.  What C holds itself is written into B, and then B takes
 * the place of C:
 *
 *   1. B.json says that B is changing           under the lock
 *   2. B grows to C's size; C's data is written into B, durably          without it: takes long
 *   3. rename: B.qcow2 becomes C.qcow2          under the lock
 *   4. B.json goes
 *
 * Why nobody notices: until 3 everybody reads B through C, and what changes in B is only what C
 * holds anyway.  After it B has all that C had, and lies on what it lay on before.  Who had the old
 * files open goes on with them; they stay as they are, without a name.  So it may end at any line,
 * and be done again from its beginning, or not at all.
 *
 * While data is copied anybody may do anything: write to C, fork, remove or revert it.  3 is done
 * only if the file that was C is still the only one on B, was not written since 1 and is not open
 * for writing; whatever name it has by now is the one B gets.  Two things read B itself: vdi_reset
 * of C, which fails once 1 is done, and a fork of an empty C, which then freezes C like any other.
 * An empty C needs no copy, and all is done under one lock.
 *
 * Between looking whether somebody writes to C and 3, a lock of qemu's keeps new writers out: one
 * that comes then tries again, by the name, and opens B; one that had opened C just before, and is
 * not locked out, finds that the name is another file's and begins anew (check_name in
 * datapath/datapath.c).  Where other hosts may have C open it
 * keeps everybody out, for a file without a name is not theirs any more.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "libxapi/base/call.h"
#include "storage-repos/common/absorb.h"
#include "storage-repos/datapath/datapath.h"
#include "storage-repos/dir/image.h"

struct work {
    struct call *call;
    struct sr_handle *sr;
    const struct dir_state *st;
    const struct vdi_coalesce *what;
    bool (*progress)(void *ctx, double done);
    void *ctx;
    ino_t base, upper; /* their files */
    int64_t base_size, size;
    struct stat before; /* of the upper one */
    bool done;
};

/* One at a time in a repository, whichever host's. */
static struct error *take_turn(struct call *call, const struct dir_state *st, struct dir_lock *out)
{
    int fd = openat(st->fd, ".xapid-coalesce", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        return sr_failed_errno(call, SR_FAIL_LOCK, errno, st->path);
    out->fd = fd;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        return OK;
    return errno == EWOULDBLOCK
               ? sr_failed(call, SR_FAIL_LOCK, "%s: other images are being coalesced", st->path)
               : sr_failed_errno(call, SR_FAIL_LOCK, errno, st->path);
}

static struct error *not_now(const struct work *w)
{
    return vdi_in_use(w->call, w->what->location, "coalesce");
}

/* The only image on the base; NULL where there are others, or something waits to be compared with
 * it (changed.c). */
static const struct dir_image *only_child(const struct dir_list *list, const struct dir_image *base)
{
    const struct dir_image *child = NULL;

    for (size_t i = 0; i < list->n; i++) {
        const struct dir_image *image = &list->v[i];

        if (strcmp(image->parent, base->location) != 0)
            continue;
        if (child || !image->good)
            return NULL;
        child = image;
    }
    return child;
}

/* Both as they are now; VDI_IN_USE where they are not to be touched.  With two names for one file a
 * fork is under way. */
static struct error *find_both(const struct work *w, const struct dir_list *list,
                               const struct dir_image **base, const struct dir_image **upper)
{
    struct dir_meta meta;

    TRY(dir_check_sure(w->call, list, SR_FAIL_VDI, w->what->base));
    *base = dir_find(list, w->what->base);
    *upper = *base ? only_child(list, *base) : NULL;
    if (!*upper || (*base)->links != 1 || (*upper)->links != 1)
        return not_now(w);
    TRY(dir_meta_read(w->call, w->st, (*base)->location, &meta));
    return meta.hidden ? OK : not_now(w);
}

/*** taking its place ***/

/* An image that nobody begins to write to. */
struct guard {
    int fd;
};

static void guard_release(struct guard *g)
{
    if (g->fd)
        close(g->fd);
    g->fd = 0;
}

static struct error *keep_unwritten(const struct work *w, const char *name, struct guard *g)
{
    struct stat now;
    int fd = openat(w->st->fd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

    if (fd < 0)
        return sr_failed_errno(w->call, SR_FAIL_VDI, errno, name);
    g->fd = fd;
    if (w->sr->crowded ? !qcow2_keep_all_out(fd)
                       : !qcow2_keep_writers_out(fd) || qcow2_has_writer(fd))
        return not_now(w);
    if (fstat(fd, &now) < 0)
        return sr_failed_errno(w->call, SR_FAIL_VDI, errno, name);
    return now.st_ino == w->before.st_ino && now.st_size == w->before.st_size &&
                   now.st_mtim.tv_sec == w->before.st_mtim.tv_sec &&
                   now.st_mtim.tv_nsec == w->before.st_mtim.tv_nsec
               ? OK
               : not_now(w);
}

/* Steps 3 and 4; the lock is held. */
static struct error *take_place(struct work *w)
{
    const struct dir_image *base, *upper;
    char from[DIR_NAME_SIZE], to[DIR_NAME_SIZE];
    AUTO(guard) guard = {0};
    struct dir_list list;

    TRY(dir_list(w->call, w->st, false, &list));
    TRY(find_both(w, &list, &base, &upper));
    if (base->inode != w->base || upper->inode != w->upper)
        return not_now(w);
    dir_image_name(base->location, from);
    dir_image_name(upper->location, to);
    TRY(keep_unwritten(w, to, &guard));
    TRY(dir_publish(w->call, w->st, from, to));
    dir_step(w->st, "base has taken its place");
    dir_meta_name(base->location, from);
    TRY(dir_unlink(w->call, w->st, from));
    dir_step(w->st, "sidecar gone");
    return dir_sync(w->call, w->st);
}

/*** the data ***/

static struct error *grow_base(const struct work *w)
{
    char name[DIR_NAME_SIZE];

    if (w->base_size >= w->size)
        return OK;
    dir_image_name(w->what->base, name);
    TRY(qcow2_resize_shared(w->call, dir_path(w->call, w->st, name), w->size));
    dir_step(w->st, "base grown");
    return OK;
}

static struct error *copy_data(const struct work *w)
{
    char upper[DIR_NAME_SIZE], base[DIR_NAME_SIZE];
    struct absorb a = {.speed = w->what->speed, .progress = w->progress, .ctx = w->ctx};

    dir_image_name(w->what->location, upper);
    dir_image_name(w->what->base, base);
    a.upper = dir_path(w->call, w->st, upper);
    a.lower = dir_path(w->call, w->st, base);
    TRY(absorb_image(w->call, &a));
    dir_step(w->st, "data in base");
    return OK;
}

/*** beginning ***/

static struct error *look_at_upper(struct work *w, const struct dir_image *upper, bool *empty)
{
    char name[DIR_NAME_SIZE];
    AUTO(guard) file = {0};
    int fd;

    if (strcmp(upper->location, w->what->location) != 0)
        return not_now(w);
    dir_image_name(upper->location, name);
    fd = openat(w->st->fd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return sr_failed_errno(w->call, SR_FAIL_VDI, errno, name);
    file.fd = fd;
    if (fstat(fd, &w->before) < 0)
        return sr_failed_errno(w->call, SR_FAIL_VDI, errno, name);
    if (qcow2_has_writer(fd) || w->before.st_ino != upper->inode)
        return not_now(w);
    *empty = qcow2_is_empty(fd);
    w->upper = upper->inode;
    w->size = upper->virtual_size;
    return OK;
}

/* Step 1; or all of it, where there is nothing to copy. */
static struct error *begin(struct work *w)
{
    const struct dir_image *base, *upper;
    AUTO(dir_lock) lock = {0};
    struct dir_meta meta;
    struct dir_list list;
    bool empty = false;

    TRY(dir_lock(w->call, w->st, &lock));
    TRY(dir_list(w->call, w->st, false, &list));
    if (!dir_find_any(&list, w->what->base)) {
        w->done = true;
        return dir_collect(w->call, w->st); /* its sidecar may be there still */
    }
    TRY(find_both(w, &list, &base, &upper));
    TRY(look_at_upper(w, upper, &empty));
    w->base = base->inode;
    w->base_size = base->virtual_size;
    if (empty) {
        w->done = true;
        TRY(grow_base(w));
        return take_place(w);
    }
    TRY(dir_meta_read(w->call, w->st, base->location, &meta));
    meta.changing = true;
    return dir_meta_write(w->call, w->st, base->location, &meta);
}

static struct error *end(struct work *w)
{
    AUTO(dir_lock) lock = {0};

    TRY(dir_lock(w->call, w->st, &lock));
    return take_place(w);
}

struct error *dir_vdi_coalesce(struct call *call, struct sr_handle *sr,
                               const struct vdi_coalesce *what,
                               bool (*progress)(void *ctx, double done), void *ctx)
{
    struct work w = {
        .call = call, .sr = sr, .st = sr->state, .what = what, .progress = progress, .ctx = ctx};
    AUTO(dir_lock) turn = {0};

    TRY(dir_check_location(call, sr, what->location));
    TRY(dir_check_location(call, sr, what->base));
    TRY(dir_check_there(call, sr));
    TRY(take_turn(call, w.st, &turn));
    TRY(begin(&w));
    if (w.done)
        return OK;
    TRY(grow_base(&w));
    TRY(copy_data(&w));
    return end(&w);
}
