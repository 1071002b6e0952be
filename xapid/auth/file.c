/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/auth/file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

struct fd {
    int fd; /* -1: none */
};

static void fd_release(struct fd *f)
{
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
}

static struct error *failed(struct arena *arena, const char *what, const char *path)
{
    return error_internal(arena, "cannot %s %s: %s", what, path, strerror(errno));
}

static const char *folder_of(struct arena *arena, const char *path)
{
    return dirname(arena_strdup(arena, path));
}

struct error *secret_file_read(struct arena *arena, const char *path, size_t limit, char **text,
                               size_t *size)
{
    AUTO(fd) f = {open(path, O_RDONLY | O_CLOEXEC)};
    char *data;
    size_t n = 0;

    *text = NULL;
    *size = 0;
    if (f.fd < 0)
        return errno == ENOENT ? OK : failed(arena, "open", path);
    data = arena_alloc(arena, limit + 2);
    while (n <= limit) {
        ssize_t got = read(f.fd, data + n, limit + 1 - n);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return failed(arena, "read", path);
        if (got == 0)
            break;
        n += (size_t)got;
    }
    if (n > limit)
        return error_internal(arena, "%s is larger than %zu bytes", path, limit);
    data[n] = '\0';
    *text = data;
    *size = n;
    return OK;
}

static bool write_all(int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t done = write(fd, p, n);

        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return false;
        p += done;
        n -= (size_t)done;
    }
    return true;
}

static struct error *folder_sync(struct arena *arena, const char *path)
{
    const char *folder = folder_of(arena, path);
    AUTO(fd) f = {open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)};

    if (f.fd < 0 || fsync(f.fd) < 0)
        return failed(arena, "sync", folder);
    return OK;
}

struct error *secret_file_replace(struct arena *arena, const char *path, const char *text,
                                  size_t size)
{
    const char *beside = arena_printf(arena, "%s.new", path);
    AUTO(fd) f = {-1};

    /* Left by a writer that was killed: the folder's lock says that none is at work. */
    unlink(beside);
    f.fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (f.fd < 0)
        return failed(arena, "create", beside);
    if (!write_all(f.fd, text, size) || fsync(f.fd) < 0 || rename(beside, path) < 0) {
        struct error *e = failed(arena, "write", path);

        unlink(beside);
        return e;
    }
    return folder_sync(arena, path);
}

struct error *file_lock_take(struct arena *arena, const char *path, struct file_lock *out)
{
    const char *folder = folder_of(arena, path);
    AUTO(fd) f = {open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    int rc;

    if (f.fd < 0)
        return failed(arena, "open", folder);
    do
        rc = flock(f.fd, LOCK_EX);
    while (rc < 0 && errno == EINTR);
    if (rc < 0)
        return failed(arena, "lock", folder);
    out->fd = f.fd;
    f.fd = -1;
    return OK;
}

void file_lock_release(struct file_lock *lock)
{
    if (lock->fd)
        close(lock->fd);
    lock->fd = 0;
}
