/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* files.c -- names, durability and the lock of a directory of images. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "libxapi/base/call.h"
#include "libxapi/base/log.h"
#include "libxapi/base/seam.h"
#include "storage-repos/dir/image.h"

#define LOCK_TIMEOUT (120 * USEC_PER_SEC)
#define LOCK_RETRY (5 * USEC_PER_MSEC)

bool dir_location_ok(const char *location)
{
    uint8_t bytes[16];

    return strlen(location) == UUID_TEXT_SIZE - 1 && uuid_from_text(location, bytes) &&
           !strpbrk(location, "ABCDEF");
}

void dir_image_name(const char *location, char out[DIR_NAME_SIZE])
{
    snprintf(out, DIR_NAME_SIZE, "%.36s.qcow2", location);
}

void dir_meta_name(const char *location, char out[DIR_NAME_SIZE])
{
    snprintf(out, DIR_NAME_SIZE, "%.36s.json", location);
}

void dir_trace_name(const char *location, char out[DIR_NAME_SIZE])
{
    snprintf(out, DIR_NAME_SIZE, "%.36s.cbt", location);
}

void dir_temp_name(const char *location, const char *what, char out[DIR_NAME_SIZE])
{
    snprintf(out, DIR_NAME_SIZE, ".%.36s.%.8s.tmp", location, what);
}

const char *dir_path(struct call *call, const struct dir_state *st, const char *name)
{
    return arena_printf(call->arena, "%s/%s", st->path, name);
}

struct error *dir_check_location(struct call *call, const struct sr_handle *sr,
                                 const char *location)
{
    return dir_location_ok(location) ? OK : vdi_missing(call, sr->uuid, location);
}

void dir_step(const struct dir_state *st, const char *name)
{
    if (st->step)
        st->step(st->step_ctx, name);
}

struct error *dir_sync(struct call *call, const struct dir_state *st)
{
    return fsync(st->fd) < 0 ? sr_failed_errno(call, SR_FAIL_SR, errno, st->path) : OK;
}

struct error *dir_sync_file(struct call *call, const struct dir_state *st, const char *name)
{
    int fd = openat(st->fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    int rc, err;

    if (fd < 0)
        return sr_failed_errno(call, SR_FAIL_VDI, errno, dir_path(call, st, name));
    rc = fsync(fd);
    err = errno;
    close(fd);
    return rc < 0 ? sr_failed_errno(call, SR_FAIL_VDI, err, dir_path(call, st, name)) : OK;
}

struct error *dir_publish(struct call *call, const struct dir_state *st, const char *temp,
                          const char *name)
{
    TRY(dir_sync_file(call, st, temp));
    if (renameat(st->fd, temp, st->fd, name) < 0)
        return sr_failed_errno(call, SR_FAIL_VDI, errno, name);
    return dir_sync(call, st);
}

struct error *dir_unlink(struct call *call, const struct dir_state *st, const char *name)
{
    if (unlinkat(st->fd, name, 0) < 0 && errno != ENOENT)
        return sr_failed_errno(call, SR_FAIL_VDI_REMOVE, errno, dir_path(call, st, name));
    return OK;
}

struct error *dir_make_temp(struct call *call, const struct dir_state *st, const char *temp,
                            int64_t size, const char *backing)
{
    TRY(dir_unlink(call, st, temp));
    return qcow2_create(call, dir_path(call, st, temp), size, backing);
}

void dir_remove_temps(const struct dir_state *st, const char *location)
{
    static const char *const whats[] = {"new", "leaf", "json", "cbt"};
    char name[DIR_NAME_SIZE];

    for (size_t i = 0; i < ARRAY_SIZE(whats); i++) {
        dir_temp_name(location, whats[i], name);
        if (unlinkat(st->fd, name, 0) < 0 && errno != ENOENT)
            log_warning("%s/%s stays behind: %s", st->path, name, strerrordesc_np(errno));
    }
}

struct error *dir_lock(struct call *call, const struct dir_state *st, struct dir_lock *out)
{
    usec_t deadline = clock_mono() + LOCK_TIMEOUT;
    int fd = openat(st->fd, ".xapid-lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        return sr_failed_errno(call, SR_FAIL_LOCK, errno, st->path);
    out->fd = fd;
    while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return sr_failed_errno(call, SR_FAIL_LOCK, errno, st->path);
        if (clock_mono() > deadline)
            return sr_failed(call, SR_FAIL_LOCK, "%s: somebody else holds the lock", st->path);
        clock_sleep(LOCK_RETRY);
    }
    return OK;
}

void dir_lock_release(struct dir_lock *lock)
{
    if (lock->fd)
        close(lock->fd);
    lock->fd = 0;
}
