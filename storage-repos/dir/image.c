/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* image.c -- which images there are, how they depend on each other, and which are needed no more.
 */
#include "storage-repos/dir/image.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libxapi/base/call.h"
#include "libxapi/base/log.h"
#include "libxapi/value/value.h"
#include "storage-repos/datapath/datapath.h"

#define ENDING ".qcow2"
#define IMAGES_MAX 100000
#define MANY 100 /* images that are all looked at while somebody waits */
#define SOME_MAX ((size_t)20 * DIR_CHAIN_MAX) /* longer chains count as broken */

/* "U" for "U.qcow2", in the arena; NULL if the name does not end so. */
static const char *without_ending(struct call *call, const char *name, const char *ending)
{
    size_t n = strlen(name), end = strlen(ending);

    if (n <= end || strcmp(name + n - end, ending) != 0)
        return NULL;
    return arena_strndup(call->arena, name, n - end);
}

/* ---- one file ---- */

/* Fills the image; NULL, or what is wrong with it. */
static const char *examine(struct call *call, int fd, struct dir_image *image)
{
    struct qcow2_head head;
    const char *why = NULL, *parent;
    struct stat s;

    if (fstat(fd, &s) < 0) {
        image->failed = image->unread = true;
        return strerrordesc_np(errno);
    }
    if (!S_ISREG(s.st_mode))
        return "it is no file";
    switch (qcow2_read_head(call, fd, &head, &why)) {
    case QCOW2_FOREIGN:
        return why;
    case QCOW2_UNREAD:
        image->failed = image->unread = true;
        return why;
    case QCOW2_BROKEN:
        image->unread = true;
        return why;
    case QCOW2_GOOD:
        break;
    }
    parent = head.backing[0] ? without_ending(call, head.backing, ENDING) : "";
    if (!parent || (parent[0] && !dir_location_ok(parent)))
        return "its parent is no image of this repository";
    image->parent = parent;
    if (!dir_location_ok(image->location))
        return "its name is no uuid";
    image->inode = s.st_ino;
    image->links = s.st_nlink;
    image->virtual_size = head.virtual_size;
    image->physical = (int64_t)s.st_blocks * 512;
    image->good = true;
    return NULL;
}

/* The host's lack, not the storage's: nothing can be said of any file. */
static bool is_host_short(int err)
{
    return err == EMFILE || err == ENFILE || err == ENOMEM;
}

MUST_CHECK static struct error *add_file(struct call *call, const struct dir_state *st,
                                         const char *name, bool loud, struct dir_list *list)
{
    struct dir_image *image = &list->v[list->n];
    int fd;

    *image = (struct dir_image){.location = without_ending(call, name, ENDING), .parent = ""};
    if (!image->location || name[0] == '.')
        return OK;
    fd = openat(st->fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT)
        return OK;
    if (fd < 0 && is_host_short(errno))
        return sr_failed_errno(call, SR_FAIL_SCAN, errno, name);
    if (fd < 0) {
        image->why = strerrordesc_np(errno);
        image->failed = errno != ELOOP; /* a link is no image, and stays none */
        image->unread = true;
    } else {
        image->why = examine(call, fd, image);
        close(fd);
    }
    list->unsure |= image->unread;
    if (image->why && loud)
        log_error("%s/%s is left %s: %s", st->path, name,
                  dir_location_ok(image->location) ? "as it is known" : "out", image->why);
    list->n++;
    return OK;
}

/* What is left of a disk whose data was destroyed; one that still has its image is not there yet.
 */
MUST_CHECK static struct error *add_trace(struct call *call, const struct dir_state *st,
                                          const char *name, bool loud, struct dir_list *list)
{
    struct dir_image *image = &list->v[list->n];
    const char *location = without_ending(call, name, ".cbt");
    char image_name[DIR_NAME_SIZE];
    struct dir_trace trace;
    struct error *e;
    struct stat s;
    bool good;

    if (!location || !dir_location_ok(location))
        return OK;
    dir_image_name(location, image_name);
    if (fstatat(st->fd, image_name, &s, AT_SYMLINK_NOFOLLOW) == 0)
        return OK;
    if (errno != ENOENT)
        return sr_failed_errno(call, SR_FAIL_SCAN, errno, image_name);
    e = dir_trace_read(call, st, location, &trace, &good);
    if (e) {
        *image = (struct dir_image){.location = location,
                                    .parent = "",
                                    .why = error_line(call->arena, e),
                                    .failed = true,
                                    .unread = true};
        list->unsure = true;
        list->n++;
        if (loud)
            log_error("%s/%s is left as it is known: %s", st->path, name, image->why);
    } else if (good) {
        *image = (struct dir_image){.location = location,
                                    .stripped = true,
                                    .why = "its data was destroyed",
                                    .all = trace.all,
                                    .virtual_size = trace.virtual_size,
                                    .parent = trace.parent};
        list->n++;
    } else {
        *image = (struct dir_image){
            .location = location, .parent = "", .why = "its trace is not what was written"};
        list->n++;
        if (loud)
            log_error("%s/%s is left as it is known: %s", st->path, name, image->why);
    }
    return OK;
}

/* ---- all of them ---- */

static int by_location(const void *a, const void *b)
{
    return strcmp(((const struct dir_image *)a)->location, ((const struct dir_image *)b)->location);
}

static struct dir_image *find_any(const struct dir_list *list, const char *location)
{
    struct dir_image key = {.location = location};

    return list->n ? bsearch(&key, list->v, list->n, sizeof *list->v, by_location) : NULL;
}

struct dir_image *dir_find(const struct dir_list *list, const char *location)
{
    struct dir_image *image = find_any(list, location);

    return image && image->good ? image : NULL;
}

struct dir_image *dir_find_stripped(const struct dir_list *list, const char *location)
{
    struct dir_image *image = find_any(list, location);

    return image && image->stripped ? image : NULL;
}

const struct dir_image *dir_find_any(const struct dir_list *list, const char *location)
{
    return find_any(list, location);
}

struct error *dir_check_sure(struct call *call, const struct dir_list *list, enum sr_failure which,
                             const char *location)
{
    size_t i = 0;

    if (!list->unsure)
        return OK;
    while (i + 1 < list->n && !list->v[i].unread)
        i++;
    return sr_failed(call, which, "%s: %s may depend on it, and cannot be read: %s", location,
                     list->v[i].location, list->v[i].why);
}

static void count_children(struct dir_list *list)
{
    for (size_t i = 0; i < list->n; i++) {
        struct dir_image *parent = list->v[i].parent[0] ? find_any(list, list->v[i].parent) : NULL;

        if (parent && !list->v[i].stripped)
            parent->children++;
    }
}

static void make_room(struct call *call, struct dir_list *list, size_t *size)
{
    struct dir_image *v;

    if (list->n < *size)
        return;
    *size = *size ? *size * 2 : 64;
    v = arena_array(call->arena, struct dir_image, *size);
    if (list->n)
        memcpy(v, list->v, list->n * sizeof *v);
    list->v = v;
}

static struct error *open_listing(struct call *call, const struct dir_state *st, DIR **out)
{
    int fd = openat(st->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    int err = errno;

    if (!d && fd >= 0)
        close(fd);
    *out = d;
    return d ? OK : sr_failed_errno(call, SR_FAIL_SCAN, err, st->path);
}

static struct error *read_entries(struct call *call, const struct dir_state *st, DIR *d, bool loud,
                                  struct dir_list *list)
{
    struct dirent *entry;
    size_t size = 0;

    errno = 0;
    while ((entry = readdir(d)) != NULL) {
        if (list->n == IMAGES_MAX)
            return sr_failed(call, SR_FAIL_SCAN, "%s: more than %d images", st->path, IMAGES_MAX);
        make_room(call, list, &size);
        TRY(add_file(call, st, entry->d_name, loud, list));
        make_room(call, list, &size);
        TRY(add_trace(call, st, entry->d_name, loud, list));
        errno = 0;
    }
    return errno ? sr_failed_errno(call, SR_FAIL_SCAN, errno, st->path) : OK;
}

struct error *dir_list(struct call *call, const struct dir_state *st, bool loud,
                       struct dir_list *out)
{
    struct error *e;
    DIR *d;

    *out = (struct dir_list){0};
    TRY(open_listing(call, st, &d));
    e = read_entries(call, st, d, loud, out);
    closedir(d);
    TRY(e);
    if (out->n)
        qsort(out->v, out->n, sizeof *out->v, by_location);
    count_children(out);
    return OK;
}

/* Adds a location, unless it is among those before, and says what it lies upon; "" for nothing. */
static struct error *add_one(struct call *call, const struct dir_state *st, const char *location,
                             struct dir_list *list, const char **parent)
{
    char name[DIR_NAME_SIZE];
    size_t before = list->n;

    *parent = "";
    if (!dir_location_ok(location))
        return OK;
    for (size_t i = 0; i < list->n; i++)
        if (strcmp(list->v[i].location, location) == 0)
            return OK;
    dir_image_name(location, name);
    TRY(add_file(call, st, name, false, list));
    dir_trace_name(location, name);
    if (list->n == before)
        TRY(add_trace(call, st, name, false, list));
    if (list->n > before)
        *parent = list->v[before].parent;
    return OK;
}

struct error *dir_list_some(struct call *call, const struct dir_state *st, size_t n,
                            const char *const *locations, struct dir_list *out)
{
    size_t size = 0;
    DIR *d;

    *out = (struct dir_list){0};
    /* Over NFS what other hosts have renamed is seen from now on. */
    TRY(open_listing(call, st, &d));
    closedir(d);
    for (size_t i = 0; i < n; i++) {
        const char *location = locations[i];

        while (*location && out->n < SOME_MAX) {
            make_room(call, out, &size);
            TRY(add_one(call, st, location, out, &location));
        }
    }
    if (out->n)
        qsort(out->v, out->n, sizeof *out->v, by_location);
    count_children(out);
    return OK;
}

size_t dir_chain_length(const struct dir_list *list, const struct dir_image *image)
{
    size_t n = 1;

    while (image->parent[0]) {
        image = dir_find(list, image->parent);
        if (!image || ++n > 10 * DIR_CHAIN_MAX)
            return 0;
    }
    return n;
}

struct error *dir_check_chain(struct call *call, const struct dir_list *list,
                              const struct dir_image *image)
{
    const char *location = image->location;

    for (size_t n = 1; image->parent[0]; n++) {
        const char *parent = image->parent;

        image = find_any(list, parent);
        if (!image || n > 10 * DIR_CHAIN_MAX)
            return sr_failed(call, SR_FAIL_VDI, "%s: a part of its chain is missing: %s", location,
                             parent);
        if (!image->good)
            return sr_failed(call, SR_FAIL_VDI, "%s: it lies on %s: %s", location, parent,
                             image->why);
    }
    return OK;
}

struct error *dir_get(struct call *call, const struct sr_handle *sr, const struct dir_list *list,
                      const char *location, struct dir_image **out)
{
    struct dir_image *image = dir_location_ok(location) ? find_any(list, location) : NULL;

    if (!image)
        return vdi_missing(call, sr->uuid, location);
    if (!image->good)
        return sr_failed(call, SR_FAIL_VDI, "%s: %s", location, image->why);
    *out = image;
    return OK;
}

struct datapath *dir_served(struct call *call, const struct sr_handle *sr, const char *location)
{
    char name[DIR_NAME_SIZE];

    dir_image_name(location, name);
    return sr->datapath && datapath_writes(call, sr->datapath, dir_path(call, sr->state, name))
               ? sr->datapath
               : NULL;
}

struct error *dir_check_unwritten(struct call *call, const struct dir_state *st,
                                  const char *location, const char *operation)
{
    char name[DIR_NAME_SIZE];
    bool writer;
    int fd;

    dir_image_name(location, name);
    fd = openat(st->fd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return errno == ENOENT ? OK : sr_failed_errno(call, SR_FAIL_VDI, errno, name);
    writer = qcow2_has_writer(fd);
    close(fd);
    return writer ? vdi_in_use(call, location, operation) : OK;
}

struct error *dir_info(struct call *call, const struct dir_state *st, const struct dir_image *image,
                       struct vdi_info *out)
{
    struct dir_meta meta;

    TRY(dir_meta_read(call, st, image->location, &meta));
    *out = (struct vdi_info){.location = image->location,
                             .uuid = image->location,
                             .virtual_size = image->virtual_size,
                             .physical_utilisation = image->physical,
                             .name_label = meta.name_label,
                             .name_description = meta.name_description,
                             .parent = image->parent,
                             .hidden = meta.hidden || image->children,
                             .stripped = image->stripped,
                             .sm_config = meta.sm_config};
    out->read_only = out->hidden;
    out->sm_config = strmap_with(call->arena, out->sm_config, "image-format", "qcow2");
    out->sm_config = image->parent[0]
                         ? strmap_with(call->arena, out->sm_config, "vhd-parent", image->parent)
                         : strmap_without(call->arena, out->sm_config, "vhd-parent");
    return OK;
}

/* ---- what is needed no more ---- */

static struct error *remove_image(struct call *call, const struct dir_state *st,
                                  const char *location)
{
    char name[DIR_NAME_SIZE];

    dir_image_name(location, name);
    TRY(dir_unlink(call, st, name));
    dir_step(st, "unneeded parent gone");
    /* Were its mark to go first, a power cut would show it to users. */
    TRY(dir_sync(call, st));
    dir_meta_name(location, name);
    return dir_unlink(call, st, name);
}

/* With two names for one file, a fork is under way that will refer to it (see fork.c). */
static struct error *is_unneeded(struct call *call, const struct dir_state *st,
                                 const struct dir_image *image, bool *out)
{
    struct dir_meta meta;

    *out = false;
    if (!image->good || image->children || image->links != 1)
        return OK;
    TRY(dir_meta_read(call, st, image->location, &meta));
    *out = meta.hidden;
    return OK;
}

/*
 * The sidecar of a hidden image that is gone or never came.  Only of hidden ones: those are written
 * under the lock, that of a new disk may be waiting for its image.
 */
static void remove_orphan(struct call *call, const struct dir_state *st,
                          const struct dir_list *list, const char *name)
{
    const char *location = without_ending(call, name, ".json");
    struct dir_meta meta;

    if (!location || !dir_location_ok(location) || find_any(list, location))
        return;
    /* One that cannot be read is left to the next time. */
    if (dir_meta_read(call, st, location, &meta) == OK && meta.hidden &&
        unlinkat(st->fd, name, 0) < 0 && errno != ENOENT)
        log_warning("%s/%s stays behind: %s", st->path, name, strerrordesc_np(errno));
}

static struct error *remove_orphans(struct call *call, const struct dir_state *st,
                                    const struct dir_list *list)
{
    struct dirent *entry;
    DIR *d;

    TRY(open_listing(call, st, &d));
    while ((entry = readdir(d)) != NULL)
        remove_orphan(call, st, list, entry->d_name);
    closedir(d);
    return OK;
}

/* Up the chain: a parent may have lost its last child just now. */
static struct error *remove_unneeded(struct call *call, const struct dir_state *st,
                                     const struct dir_list *list, struct dir_image *image)
{
    bool unneeded;

    while (image) {
        TRY(is_unneeded(call, st, image, &unneeded));
        if (!unneeded)
            return OK;
        TRY(remove_image(call, st, image->location));
        image->good = false;
        image = dir_find(list, image->parent);
        if (image)
            image->children--;
    }
    return OK;
}

struct error *dir_has_many(struct call *call, const struct dir_state *st, bool *out)
{
    const struct dirent *entry;
    size_t n = 0;
    DIR *d;

    TRY(open_listing(call, st, &d));
    while (n <= MANY && (entry = readdir(d)) != NULL) {
        size_t length = strlen(entry->d_name), end = strlen(ENDING);

        n += length > end && strcmp(entry->d_name + length - end, ENDING) == 0;
    }
    closedir(d);
    *out = n > MANY;
    return OK;
}

struct error *dir_collect(struct call *call, const struct dir_state *st)
{
    struct dir_list list;

    TRY(dir_list(call, st, false, &list));
    if (list.unsure) {
        log_warning("%s: images that cannot be read keep hidden ones from being removed", st->path);
        return OK;
    }
    for (size_t i = 0; i < list.n; i++)
        TRY(remove_unneeded(call, st, &list, &list.v[i]));
    TRY(remove_orphans(call, st, &list));
    return dir_sync(call, st);
}
