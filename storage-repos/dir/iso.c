/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "storage-repos/dir/iso.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "libxapi/base/call.h"
#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "libxapi/value/value.h"
#include "storage-repos/common/sr_error.h"
#include "storage-repos/common/words.h"

#define IMAGES_MAX 100000

/* Zeroed is detached. */
struct iso_state {
    char *path;
    char *place; /* where the file system is mounted that it was found in */
    int fd;
};

/* ---- the repository ---- */

static struct error *find_path(struct call *call, const struct sr_handle *sr, const char **out)
{
    const char *path = strmap_get(&sr->device_config, "location");
    struct stat s;

    if (!path)
        return sr_failed(call, SR_FAIL_ISO_LOCATION, "a local directory is wanted");
    if (path[0] != '/' || path[1] == '/')
        return sr_failed(call, SR_FAIL_ISO_PATH, "%s", path);
    if (stat(path, &s) < 0)
        return sr_failed_errno(call, SR_FAIL_ISO_PATH, errno, path);
    if (!S_ISDIR(s.st_mode))
        return sr_failed(call, SR_FAIL_ISO_PATH, "%s", path);
    *out = path;
    return OK;
}

static struct error *iso_create(struct call *call, struct sr_handle *sr, int64_t physical_size)
{
    const char *path;

    (void)physical_size;
    return find_path(call, sr, &path);
}

/* The files are not ours. */
static struct error *iso_destroy(struct call *call, struct sr_handle *sr)
{
    (void)call;
    (void)sr;
    return OK;
}

/* The longest of the places in a table of mounts that the path lies in; "" for none. */
static const char *place_in(struct call *call, const char *table, const char *path)
{
    FILE *f = setmntent(table, "re");
    const char *best = "";
    struct mntent entry;
    char line[4096];

    while (f && getmntent_r(f, &entry, line, sizeof line)) {
        size_t n = strlen(entry.mnt_dir);

        if (n >= strlen(best) && strncmp(path, entry.mnt_dir, n) == 0 &&
            (path[n] == '/' || !path[n] || strcmp(entry.mnt_dir, "/") == 0))
            best = arena_strdup(call->arena, entry.mnt_dir);
    }
    if (f)
        endmntent(f);
    return best;
}

/*
 * A folder whose disk is not mounted looks like an empty one.  Nothing of ours is in it that would
 * tell; but it was found in a mounted file system before ('place'), or the host's table of mounts
 * has it in one.
 */
static struct error *check_mounted(struct call *call, const struct sr_handle *sr, const char *path,
                                   const char *place)
{
    const char *root = sr->site && sr->site->system_root ? sr->site->system_root : "";
    const char *listed = place_in(call, arena_printf(call->arena, "%s/etc/fstab", root), path);
    const char *now = place_in(call, "/proc/self/mounts", path);

    if (strlen(listed) > strlen(place))
        place = listed;
    return strlen(now) >= strlen(place)
               ? OK
               : sr_failed(call, SR_FAIL_SR, "%s: nothing is mounted at %s", path, place);
}

static struct error *iso_attach(struct call *call, struct sr_handle *sr)
{
    struct iso_state *st = sr->state;
    const char *path;
    int fd;

    TRY(find_path(call, sr, &path));
    TRY(check_mounted(call, sr, path, ""));
    fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return sr_failed_errno(call, SR_FAIL_SR, errno, path);
    st->fd = fd;
    st->path = xstrdup(path);
    st->place = xstrdup(place_in(call, "/proc/self/mounts", path));
    return OK;
}

static void iso_detach(struct call *call, struct sr_handle *sr)
{
    struct iso_state *st = sr->state;

    (void)call;
    if (!st->path)
        return;
    close(st->fd);
    free(st->path);
    free(st->place);
    st->path = st->place = NULL;
}

/* As dir_check_there; but whose a directory is nothing in it says, so one that is there will do. */
static struct error *check_there(struct call *call, const struct sr_handle *sr)
{
    const struct iso_state *st = sr->state;
    struct stat was, is;
    int fd, rc, err;

    TRY(check_mounted(call, sr, st->path, st->place));
    if (stat(st->path, &is) < 0 || fstat(st->fd, &was) < 0)
        return sr_failed_errno(call, SR_FAIL_SR, errno, st->path);
    if (was.st_dev == is.st_dev && was.st_ino == is.st_ino)
        return OK;
    fd = open(st->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return sr_failed_errno(call, SR_FAIL_SR, errno, st->path);
    rc = dup3(fd, st->fd, O_CLOEXEC);
    err = errno;
    close(fd);
    return rc < 0 ? sr_failed_errno(call, SR_FAIL_SR, err, st->path) : OK;
}

/* ---- images ---- */

/* A plain name, text for the wire, that ends in .iso. */
static bool name_ok(const char *name)
{
    size_t n = strlen(name);

    return n > 4 && n <= 255 && name[0] != '.' && !strchr(name, '/') &&
           strcasecmp(name + n - 4, ".iso") == 0;
}

/* The form of UTF-8 only; enough that no codec chokes on it. */
static bool utf8_ok(const char *s)
{
    size_t more = 0;
    uint32_t v = 0, least = 0;

    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;

        if (more) {
            if ((c & 0xc0) != 0x80)
                return false;
            v = v << 6 | (c & 0x3f);
            if (--more == 0 && (v < least || v > 0x10ffff || (v >= 0xd800 && v < 0xe000)))
                return false;
        } else if (c >= 0x80) {
            more = c >= 0xf0 && c < 0xf8   ? 3
                   : c >= 0xe0 && c < 0xf0 ? 2
                   : c >= 0xc0 && c < 0xe0 ? 1
                                           : 0;
            if (!more)
                return false;
            v = c & (0x3f >> more);
            least = more == 1 ? 0x80 : more == 2 ? 0x800 : 0x10000;
        } else if (c < 0x20 || c == 0x7f) {
            return false;
        }
    }
    return more == 0;
}

/* Fills 'info'; VDI_MISSING if there is no such file. */
static struct error *examine(struct call *call, const struct sr_handle *sr, const char *name,
                             struct vdi_info *info)
{
    const struct iso_state *st = sr->state;
    int rc, err;
    struct stat s;

    rc = fstatat(st->fd, name, &s, 0);
    err = errno;
    *info = (struct vdi_info){.location = arena_strdup(call->arena, name),
                              .uuid = sr_name_uuid(call, sr->uuid, name),
                              .read_only = true,
                              .name_label = arena_strdup(call->arena, name),
                              .name_description = "",
                              .parent = ""};
    if (rc < 0 && err != ENOENT && err != ELOOP)
        return sr_failed_errno(call, SR_FAIL_VDI, err, name);
    if (rc < 0 || !S_ISREG(s.st_mode))
        return vdi_missing(call, sr->uuid, name);
    info->virtual_size = s.st_size;
    info->physical_utilisation = (int64_t)s.st_blocks * 512;
    return OK;
}

static struct error *iso_vdi_stat(struct call *call, struct sr_handle *sr, const char *location,
                                  struct vdi_info *info)
{
    TRY(check_there(call, sr));
    if (!name_ok(location) || !utf8_ok(location))
        return vdi_missing(call, sr->uuid, location);
    return examine(call, sr, location, info);
}

struct images {
    struct vdi_info *v;
    size_t n, size;
};

static void add(struct call *call, const struct sr_handle *sr, const char *name,
                struct images *list)
{
    struct error *e;

    if (!name_ok(name))
        return;
    if (!utf8_ok(name)) {
        log_warning("%s: an image is left out, its name is not UTF-8 text",
                    ((const struct iso_state *)sr->state)->path);
        return;
    }
    if (list->n == list->size) {
        struct vdi_info *v;

        list->size = list->size ? list->size * 2 : 64;
        v = arena_array(call->arena, struct vdi_info, list->size);
        if (list->n)
            memcpy(v, list->v, list->n * sizeof *v);
        list->v = v;
    }
    e = examine(call, sr, name, &list->v[list->n]);
    if (error_is(e, "VDI_MISSING"))
        return;
    if (e)
        log_error("%s/%s is left as it is known: %s", ((const struct iso_state *)sr->state)->path,
                  name, error_line(call->arena, e));
    list->v[list->n++].unknown = e != OK;
}

static int by_location(const void *a, const void *b)
{
    return strcmp(((const struct vdi_info *)a)->location, ((const struct vdi_info *)b)->location);
}

static struct error *iso_scan(struct call *call, struct sr_handle *sr, size_t *n,
                              struct vdi_info **out)
{
    const struct iso_state *st = sr->state;
    struct images list = {0};
    struct dirent *entry;
    int fd, err;
    DIR *d;

    TRY(check_there(call, sr));
    fd = openat(st->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        err = errno;
        if (fd >= 0)
            close(fd);
        return sr_failed_errno(call, SR_FAIL_SCAN, err, st->path);
    }
    errno = 0;
    while (list.n < IMAGES_MAX && (entry = readdir(d)) != NULL) {
        add(call, sr, entry->d_name, &list);
        errno = 0;
    }
    err = errno;
    closedir(d);
    if (err)
        return sr_failed_errno(call, SR_FAIL_SCAN, err, st->path);
    if (list.n == IMAGES_MAX)
        return sr_failed(call, SR_FAIL_SCAN, "%s: more than %d images", st->path, IMAGES_MAX);
    if (list.n)
        qsort(list.v, list.n, sizeof *list.v, by_location);
    *n = list.n;
    *out = list.v;
    return OK;
}

static struct error *iso_stat(struct call *call, struct sr_handle *sr, struct sr_stat_info *out)
{
    const struct iso_state *st = sr->state;
    struct statvfs fs;

    *out = (struct sr_stat_info){0};
    TRY(check_there(call, sr));
    if (fstatvfs(st->fd, &fs) < 0)
        return sr_failed_errno(call, SR_FAIL_SR, errno, st->path);
    out->physical_size = (int64_t)fs.f_blocks * (int64_t)fs.f_frsize;
    out->physical_utilisation = (int64_t)(fs.f_blocks - fs.f_bfree) * (int64_t)fs.f_frsize;
    return OK;
}

static struct error *iso_vdi_attach(struct call *call, struct sr_handle *sr, const char *location,
                                    bool writable, struct vdi_path *out)
{
    const struct iso_state *st = sr->state;
    struct vdi_info info;

    TRY(iso_vdi_stat(call, sr, location, &info));
    if (writable)
        return vdi_readonly(call, location);
    *out = (struct vdi_path){.path = arena_printf(call->arena, "%s/%s", st->path, location),
                             .format = "raw"};
    return OK;
}

static void iso_vdi_detach(struct call *call, struct sr_handle *sr, const char *location)
{
    (void)call;
    (void)sr;
    (void)location;
}

static const struct strpair iso_help[] = {
    {"location", "Local directory that holds the images"},
    {"legacy_mode", "true: the location is a local directory, nothing is mounted (always so)"},
    {NULL, NULL}};

const struct sr_driver sr_iso = {
    .type = "iso",
    .name_label = "ISO",
    .description = "CD images in a local directory",
    .features = SR_F_CREATE | SR_F_SCAN | SR_F_STATS | SR_F_VDI_ATTACH,
    .state_size = sizeof(struct iso_state),
    .config_help = iso_help,
    .create = iso_create,
    .destroy = iso_destroy,
    .attach = iso_attach,
    .detach = iso_detach,
    .stat = iso_stat,
    .scan = iso_scan,
    .vdi_stat = iso_vdi_stat,
    .vdi_attach = iso_vdi_attach,
    .vdi_detach = iso_vdi_detach,
};
