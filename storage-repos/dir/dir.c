/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* dir.c -- the drivers "ext", "file" and "dummy": the repository as a whole. */
#include "storage-repos/dir/dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "libxapi/base/call.h"
#include "libxapi/base/memory.h"
#include "libxapi/value/value.h"
#include "storage-repos/dir/image.h"

#define MARK ".xapid-sr"
#define DUMMY_PATH "/run/xapid-dummy-"

/* A repository opened for the length of one function. */
static void dir_state_release(struct dir_state *st)
{
    if (!st->path)
        return;
    close(st->fd);
    free(st->path);
    st->path = NULL;
}

/* ---- where it is ---- */

/* A dummy's directory is made by us, in memory that the host's end takes away. */
static bool is_dummy(const struct sr_handle *sr)
{
    return strcmp(sr->driver->type, "dummy") == 0;
}

static struct error *find_path(struct call *call, const struct sr_handle *sr, const char **out)
{
    const char *path = strmap_get(&sr->device_config, "location");
    char *copy;

    if (is_dummy(sr))
        path = arena_printf(call->arena, DUMMY_PATH "%s", sr->uuid);
    if (!path && strcmp(sr->driver->type, "ext") == 0) {
        path = strmap_get(&sr->device_config, "device");
        if (!path)
            return sr_failed(call, SR_FAIL_NO_DEVICE, "a directory is wanted");
    }
    if (!path)
        return sr_failed(call, SR_FAIL_NO_LOCATION, "a directory is wanted");
    if (path[0] != '/' || strlen(path) > 1000 || strstr(path, "/../"))
        return sr_failed(call, SR_FAIL_SR, "%s: not an absolute path", path);
    copy = arena_strdup(call->arena, path);
    for (size_t n = strlen(copy); n > 1 && copy[n - 1] == '/'; n--)
        copy[n - 1] = '\0';
    *out = copy;
    return OK;
}

static struct error *open_dir(struct call *call, const char *path, struct dir_state *st)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return sr_failed_errno(call, SR_FAIL_SR, errno, path);
    st->fd = fd;
    st->path = xstrdup(path);
    return OK;
}

/* ---- whose it is ---- */

/* "" where there is no mark. */
static struct error *read_mark(struct call *call, const struct dir_state *st, const char **uuid)
{
    char text[UUID_TEXT_SIZE] = "";
    int fd = openat(st->fd, MARK, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    ssize_t n;

    *uuid = "";
    if (fd < 0)
        return errno == ENOENT ? OK : sr_failed_errno(call, SR_FAIL_SR, errno, st->path);
    n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n < 0)
        return sr_failed_errno(call, SR_FAIL_SR, EIO, st->path);
    *uuid = arena_strdup(call->arena, text);
    return OK;
}

static struct error *write_mark(struct call *call, const struct dir_state *st, const char *uuid)
{
    static const char temp[] = MARK ".tmp";
    const char *line = arena_printf(call->arena, "%s\n", uuid);
    int fd = openat(st->fd, temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    ssize_t n;
    int err;

    if (fd < 0)
        return sr_failed_errno(call, SR_FAIL_SR_CREATE, errno, st->path);
    n = write(fd, line, strlen(line));
    err = n < 0 ? errno : ENOSPC;
    close(fd);
    if (n != (ssize_t)strlen(line))
        return sr_failed_errno(call, SR_FAIL_SR_CREATE, err, st->path);
    return dir_publish(call, st, temp, MARK);
}

/* ---- create and destroy ---- */

/* The folder above is synced too, so that the directory itself survives. */
static struct error *make_folder(struct call *call, const char *path)
{
    char *above = arena_strdup(call->arena, path);
    char *slash = strrchr(above, '/');
    int fd, rc;

    if (mkdir(path, 0700) < 0)
        return errno == EEXIST ? OK : sr_failed_errno(call, SR_FAIL_SR_CREATE, errno, path);
    slash[slash == above ? 1 : 0] = '\0';
    fd = open(above, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return sr_failed_errno(call, SR_FAIL_SR_CREATE, errno, above);
    rc = fsync(fd);
    close(fd);
    return rc < 0 ? sr_failed(call, SR_FAIL_SR_CREATE, "%s could not be synced", above) : OK;
}

static struct error *dir_create(struct call *call, struct sr_handle *sr, int64_t physical_size)
{
    AUTO(dir_state) st = {0};
    const char *path, *owner;

    (void)physical_size; /* as much as the file system has */
    TRY(find_path(call, sr, &path));
    TRY(make_folder(call, path));
    TRY(open_dir(call, path, &st));
    TRY(read_mark(call, &st, &owner));
    if (owner[0] && strcmp(owner, sr->uuid) != 0)
        return error_new(call->arena, "SR_DEVICE_IN_USE", 0);
    return owner[0] ? OK : write_mark(call, &st, sr->uuid);
}

static struct error *check_empty(struct call *call, const struct dir_state *st)
{
    struct dir_list list;

    TRY(dir_list(call, st, false, &list));
    if (list.n)
        return error_new(call->arena, "SR_NOT_EMPTY", 0);
    return OK;
}

/* Names of our making: "U.json" and what begins with ".xapid" or ends in ".tmp"; images were shown
 * to be gone. */
static bool is_ours(const char *name)
{
    size_t n = strlen(name);
    char uuid[UUID_TEXT_SIZE] = "";

    if (strncmp(name, ".xapid-", 7) == 0)
        return true;
    if (name[0] == '.' && n > 41 && strcmp(name + n - 4, ".tmp") == 0)
        name++;
    else if (n != 41 || strcmp(name + 36, ".json") != 0)
        return false;
    memcpy(uuid, name, 36);
    return dir_location_ok(uuid);
}

/* What a kill between writing a sidecar and its rename left: nobody knows of it. */
static bool is_stale_sidecar(const char *name)
{
    size_t n = strlen(name);

    return n > 9 && strcmp(name + n - 9, ".json.tmp") == 0 && is_ours(name);
}

/* Unlinks what 'which' picks, but not the mark. */
static struct error *remove_files(struct call *call, const struct dir_state *st,
                                  bool (*which)(const char *name))
{
    int fd = openat(st->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;

    if (!d) {
        int err = errno;

        if (fd >= 0)
            close(fd);
        return sr_failed_errno(call, SR_FAIL_SR_DELETE, err, st->path);
    }
    while ((entry = readdir(d)) != NULL)
        if (which(entry->d_name) && strcmp(entry->d_name, MARK) != 0)
            unlinkat(st->fd, entry->d_name, 0);
    closedir(d);
    return OK;
}

static struct error *destroy_locked(struct call *call, struct dir_state *st)
{
    AUTO(dir_lock) lock = {0};

    TRY(dir_lock(call, st, &lock));
    TRY(dir_collect(call, st));
    TRY(check_empty(call, st));
    TRY(remove_files(call, st, is_ours));
    return dir_unlink(call, st, MARK); /* last: until then a repeat finds its way */
}

static struct error *dir_destroy(struct call *call, struct sr_handle *sr)
{
    AUTO(dir_state) st = {0};
    const char *path, *owner;

    TRY(find_path(call, sr, &path));
    if (access(path, F_OK) < 0 && errno == ENOENT)
        return OK;
    TRY(open_dir(call, path, &st));
    TRY(read_mark(call, &st, &owner));
    if (owner[0] && strcmp(owner, sr->uuid) != 0)
        return sr_failed(call, SR_FAIL_SR_DELETE, "%s belongs to another repository", path);
    if (owner[0])
        TRY(destroy_locked(call, &st));
    if (rmdir(path) < 0 && errno != ENOTEMPTY && errno != EBUSY && errno != ENOENT &&
        errno != EEXIST)
        return sr_failed_errno(call, SR_FAIL_SR_DELETE, errno, path);
    return OK;
}

/* ---- attach, detach, stat, scan ---- */

static struct error *dir_attach(struct call *call, struct sr_handle *sr)
{
    struct dir_state *st = sr->state;
    const char *path, *owner;
    struct error *e;

    if (is_dummy(sr))
        TRY(dir_create(call, sr, 0));
    TRY(find_path(call, sr, &path));
    TRY(open_dir(call, path, st));
    e = read_mark(call, st, &owner);
    if (!e && strcmp(owner, sr->uuid) != 0)
        e = sr_failed(call, SR_FAIL_SR,
                      owner[0] ? "%s belongs to another repository"
                               : "%s is not a repository; is its disk mounted?",
                      path);
    if (!e && !sr->crowded)
        e = remove_files(call, st, is_stale_sidecar);
    if (e)
        dir_state_release(st);
    return e;
}

static void dir_detach(struct call *call, struct sr_handle *sr)
{
    (void)call;
    dir_state_release(sr->state);
}

static struct error *dir_stat(struct call *call, struct sr_handle *sr, struct sr_stat_info *out)
{
    const struct dir_state *st = sr->state;
    struct dir_list list;
    struct statvfs fs;

    *out = (struct sr_stat_info){0};
    if (fstatvfs(st->fd, &fs) < 0)
        return sr_failed_errno(call, SR_FAIL_SR, errno, st->path);
    out->physical_size = (int64_t)fs.f_blocks * (int64_t)fs.f_frsize;
    out->physical_utilisation = (int64_t)(fs.f_blocks - fs.f_bfree) * (int64_t)fs.f_frsize;
    TRY(dir_list(call, st, false, &list));
    for (size_t i = 0; i < list.n; i++)
        if (list.v[i].good && !list.v[i].children)
            out->virtual_allocation += list.v[i].virtual_size;
    return OK;
}

static struct error *dir_scan(struct call *call, struct sr_handle *sr, size_t *n,
                              struct vdi_info **out)
{
    const struct dir_state *st = sr->state;
    struct dir_list list;
    struct vdi_info *v;

    *n = 0;
    TRY(dir_list(call, st, true, &list));
    v = arena_array(call->arena, struct vdi_info, list.n + 1);
    for (size_t i = 0; i < list.n; i++)
        if (list.v[i].good || list.v[i].stripped)
            TRY(dir_info(call, st, &list.v[i], &v[(*n)++]));
    *out = v;
    return OK;
}

#define DIR_FEATURES                                                                               \
    (SR_F_CREATE | SR_F_SCAN | SR_F_STATS | SR_F_VDI_CREATE | SR_F_VDI_DELETE | SR_F_VDI_ATTACH |  \
     SR_F_VDI_RESIZE | SR_F_VDI_CLONE | SR_F_VDI_SNAPSHOT | SR_F_THIN | SR_F_VDI_REVERT |          \
     SR_F_VDI_RESET | SR_F_VDI_CBT | SR_F_VDI_COALESCE)

#define DIR_SLOTS                                                                                  \
    .features = DIR_FEATURES, .state_size = sizeof(struct dir_state), .create = dir_create,        \
    .destroy = dir_destroy, .attach = dir_attach, .detach = dir_detach, .stat = dir_stat,          \
    .scan = dir_scan, .vdi_create = dir_vdi_create, .vdi_delete = dir_vdi_delete,                  \
    .vdi_stat = dir_vdi_stat, .vdi_resize = dir_vdi_resize, .vdi_fork = dir_vdi_fork,              \
    .vdi_copy = dir_vdi_copy, .vdi_describe = dir_vdi_describe, .vdi_attach = dir_vdi_attach,      \
    .vdi_detach = dir_vdi_detach, .vdi_replace = dir_vdi_replace, .vdi_reset = dir_vdi_reset,      \
    .vdi_strip = dir_vdi_strip, .vdi_changed = dir_vdi_changed, .vdi_coalesce = dir_vdi_coalesce

static const struct strpair ext_help[] = {
    {"location", "Directory that holds the images"},
    {"device", "The same, for clients that only know this key"},
    {NULL, NULL}};

static const struct strpair file_help[] = {{"location", "Directory that holds the images"},
                                           {NULL, NULL}};

const struct sr_driver sr_ext = {.type = "ext",
                                 .name_label = "Local file system",
                                 .description = "Disks as qcow2 files in a local file system",
                                 .config_help = ext_help,
                                 DIR_SLOTS};

const struct sr_driver sr_file = {.type = "file",
                                  .name_label = "Local path",
                                  .description = "Disks as qcow2 files in a directory",
                                  .config_help = file_help,
                                  DIR_SLOTS};

static const struct strpair no_help[] = {{NULL, NULL}};

const struct sr_driver sr_dummy = {.type = "dummy",
                                   .name_label = "Dummy",
                                   .description =
                                       "Disks in the host's memory, gone when it ends: for tests",
                                   .config_help = no_help,
                                   DIR_SLOTS};
