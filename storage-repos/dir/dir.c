/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* dir.c -- the drivers "ext", "file" and "dummy": the repository as a whole. */
#include "storage-repos/dir/dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "libxapi/base/call.h"
#include "libxapi/base/log.h"
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
    int err;

    *uuid = "";
    if (fd < 0)
        return errno == ENOENT ? OK : sr_failed_errno(call, SR_FAIL_SR, errno, st->path);
    n = read(fd, text, sizeof text - 1);
    err = errno;
    close(fd);
    if (n < 0)
        return sr_failed_errno(call, SR_FAIL_SR, err, st->path);
    *uuid = arena_strdup(call->arena, text);
    return OK;
}

static struct error *check_mark(struct call *call, const struct dir_state *st, const char *uuid)
{
    const char *owner;

    TRY(read_mark(call, st, &owner));
    if (strcmp(owner, uuid) == 0)
        return OK;
    return sr_failed(call, SR_FAIL_SR,
                     owner[0] ? "%s belongs to another repository"
                              : "%s is not a repository; is its disk mounted?",
                     st->path);
}

/* A file system that has failed for good can be mounted anew only when nobody has it open: then the
 * descriptor becomes one in which nothing can be looked for, and no disk called missing. */
static void let_go_of_failed(const struct dir_state *st)
{
    int fd = openat(st->fd, MARK, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    bool failed = fd < 0 && (errno == EIO || errno == ESTALE || errno == ESHUTDOWN);

    if (fd >= 0)
        close(fd);
    fd = failed ? open("/dev/null", O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    if (dup3(fd, st->fd, O_CLOEXEC) >= 0)
        log_warning("%s has failed; it can be mounted anew", st->path);
    close(fd);
}

static struct error *open_marked(struct call *call, const struct sr_handle *sr,
                                 struct dir_state *now)
{
    const struct dir_state *st = sr->state;

    TRY(open_dir(call, st->path, now));
    return check_mark(call, now, sr->uuid);
}

/*
 * A descriptor goes on showing what was removed, or is no longer mounted: there nothing would be
 * found, and all disks were gone.  Where the repository has come back as another directory, the
 * descriptor becomes that one's, in one step, for others may be using it.
 */
struct error *dir_check_there(struct call *call, const struct sr_handle *sr)
{
    const struct dir_state *st = sr->state;
    AUTO(dir_state) now = {0};
    struct stat was, is;
    struct error *e;

    if (sr->crowded)
        return OK; /* a process of its own, which has just attached it */
    e = open_marked(call, sr, &now);
    if (e)
        let_go_of_failed(st);
    TRY(e);
    if (fstat(st->fd, &was) < 0 || fstat(now.fd, &is) < 0)
        return sr_failed_errno(call, SR_FAIL_SR, errno, st->path);
    if (was.st_dev == is.st_dev && was.st_ino == is.st_ino)
        return OK;
    if (dup3(now.fd, st->fd, O_CLOEXEC) < 0)
        return sr_failed_errno(call, SR_FAIL_SR, errno, st->path);
    log_warning("%s is another directory now; the repository goes on there", st->path);
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
    err = n < 0 ? errno : n < (ssize_t)strlen(line) ? ENOSPC : fsync(fd) < 0 ? errno : 0;
    close(fd);
    if (!err && renameat(st->fd, temp, st->fd, MARK) < 0)
        err = errno;
    if (!err && fsync(st->fd) < 0)
        err = errno;
    return err ? sr_failed_errno(call, SR_FAIL_SR_CREATE, err, st->path) : OK;
}

/* ---- create and destroy ---- */

/* The folder above is synced too, so that the directory itself survives. */
static struct error *make_folder(struct call *call, const char *path, bool *made)
{
    char *above = arena_strdup(call->arena, path);
    char *slash = strrchr(above, '/');
    int fd, rc, err;

    if (mkdir(path, 0700) < 0)
        return errno == EEXIST ? OK : sr_failed_errno(call, SR_FAIL_SR_CREATE, errno, path);
    *made = true;
    slash[slash == above ? 1 : 0] = '\0';
    fd = open(above, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return sr_failed_errno(call, SR_FAIL_SR_CREATE, errno, above);
    rc = fsync(fd);
    err = errno;
    close(fd);
    return rc < 0 ? sr_failed_errno(call, SR_FAIL_SR_CREATE, err, above) : OK;
}

static struct error *mark_as_ours(struct call *call, const char *path, const char *uuid)
{
    AUTO(dir_state) st = {0};
    const char *owner;
    struct error *e;

    TRY(open_dir(call, path, &st));
    TRY(read_mark(call, &st, &owner));
    if (owner[0])
        return strcmp(owner, uuid) == 0 ? OK : error_new(call->arena, "SR_DEVICE_IN_USE", 0);
    e = write_mark(call, &st, uuid);
    if (e) { /* as it was before */
        unlinkat(st.fd, MARK ".tmp", 0);
        unlinkat(st.fd, MARK, 0);
    }
    return e;
}

static struct error *dir_create(struct call *call, struct sr_handle *sr, int64_t physical_size)
{
    const char *path;
    bool made = false;
    struct error *e;

    (void)physical_size; /* as much as the file system has */
    TRY(find_path(call, sr, &path));
    e = make_folder(call, path, &made);
    if (!e)
        e = mark_as_ours(call, path, sr->uuid);
    if (e && made && rmdir(path) < 0)
        log_warning("%s stays behind: %s", path, strerrordesc_np(errno));
    return e;
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

/* Unlinks what 'which' picks, but not the mark; all that can be, whatever fails. */
static struct error *remove_files(struct call *call, const struct dir_state *st,
                                  bool (*which)(const char *name))
{
    int fd = openat(st->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;
    struct error *e = OK;

    if (!d) {
        int err = errno;

        if (fd >= 0)
            close(fd);
        return sr_failed_errno(call, SR_FAIL_SR_DELETE, err, st->path);
    }
    errno = 0;
    while ((entry = readdir(d)) != NULL) {
        if (which(entry->d_name) && strcmp(entry->d_name, MARK) != 0 &&
            unlinkat(st->fd, entry->d_name, 0) < 0 && errno != ENOENT)
            e = sr_failed_errno(call, SR_FAIL_SR_DELETE, errno, dir_path(call, st, entry->d_name));
        errno = 0;
    }
    if (errno)
        e = sr_failed_errno(call, SR_FAIL_SR_DELETE, errno, st->path);
    closedir(d);
    return e;
}

/* They do no harm. */
static void tidy_up(struct call *call, const struct dir_state *st)
{
    struct error *e = remove_files(call, st, is_stale_sidecar);

    if (e)
        log_warning("%s: what was left half written stays: %s", st->path,
                    error_line(call->arena, e));
}

static struct error *destroy_locked(struct call *call, struct dir_state *st)
{
    AUTO(dir_lock) lock = {0};

    TRY(dir_lock(call, st, &lock));
    TRY(dir_collect(call, st));
    TRY(check_empty(call, st));
    TRY(remove_files(call, st, is_ours));
    /* Last: until then a repeat finds its way. */
    if (unlinkat(st->fd, MARK, 0) < 0 && errno != ENOENT)
        return sr_failed_errno(call, SR_FAIL_SR_DELETE, errno, st->path);
    return OK;
}

static struct error *dir_destroy(struct call *call, struct sr_handle *sr)
{
    AUTO(dir_state) st = {0};
    const char *path, *owner;

    TRY(find_path(call, sr, &path));
    if (access(path, F_OK) < 0 && errno == ENOENT)
        return OK; /* it was done before */
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
    const char *path;
    struct error *e;

    if (is_dummy(sr))
        TRY(dir_create(call, sr, 0));
    TRY(find_path(call, sr, &path));
    TRY(open_dir(call, path, st));
    e = check_mark(call, st, sr->uuid);
    if (e)
        dir_state_release(st);
    else if (!sr->crowded)
        tidy_up(call, st);
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
    struct statvfs fs;

    *out = (struct sr_stat_info){0};
    TRY(dir_check_there(call, sr));
    if (fstatvfs(st->fd, &fs) < 0)
        return sr_failed_errno(call, SR_FAIL_SR, errno, st->path);
    out->physical_size = (int64_t)fs.f_blocks * (int64_t)fs.f_frsize;
    out->physical_utilisation = (int64_t)(fs.f_blocks - fs.f_bfree) * (int64_t)fs.f_frsize;
    return OK;
}

/* False for what is no disk.  What has the name of one and is none any more keeps its record. */
static bool show(struct call *call, const struct dir_state *st, const struct dir_image *image,
                 struct vdi_info *out)
{
    struct error *e = OK;

    if (image->good || image->stripped)
        e = dir_info(call, st, image, out);
    else if (!dir_location_ok(image->location))
        return false;
    if (e)
        log_error("%s/%s is left as it is known: %s", st->path, image->location,
                  error_line(call->arena, e));
    if (e || !(image->good || image->stripped))
        *out = (struct vdi_info){.location = image->location,
                                 .uuid = image->location,
                                 .name_label = "",
                                 .name_description = "",
                                 .parent = image->parent,
                                 .unknown = true,
                                 .damaged = e || image->failed ? NULL : image->why};
    return true;
}

static struct error *dir_scan(struct call *call, struct sr_handle *sr, size_t *n,
                              struct vdi_info **out)
{
    const struct dir_state *st = sr->state;
    struct dir_list list;
    struct vdi_info *v;

    *n = 0;
    TRY(dir_check_there(call, sr));
    TRY(dir_list(call, st, true, &list));
    v = arena_array(call->arena, struct vdi_info, list.n + 1);
    for (size_t i = 0; i < list.n; i++)
        if (show(call, st, &list.v[i], &v[*n]))
            ++*n;
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
