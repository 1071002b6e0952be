/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* here.c -- the files and the terminal of this program. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "xe-cli/transfer.h"

static struct error *here_load(struct xe *xe, const char *what, const char *path, const char **text)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    AUTO(buf) buf = {0};
    char chunk[65536];
    ssize_t n = -1;

    if (fd >= 0) {
        while (buf.len <= XE_FILE_LIMIT && (n = read(fd, chunk, sizeof chunk)) > 0)
            buf_add(&buf, chunk, (size_t)n);
        close(fd);
    }
    if (n < 0) {
        out_error(&xe->out, "Failed to read %s\n", what);
        return xe_exit(xe);
    }
    if (buf.len > XE_FILE_LIMIT)
        return xe_fail(xe, "%s is larger than %zu MiB", path, XE_FILE_LIMIT >> 20);
    *text = arena_strndup(&xe->arena, buf.data ? buf.data : "", buf.len);
    return OK;
}

/* The file is opened before the task is made: a wrong name leaves no task behind. */
static struct error *here_get(struct xe *xe, const char *label, const char *path, const char *file)
{
    int fd = *file ? open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600) : dup(STDOUT_FILENO);
    const char *task = NULL;
    struct error *e;

    if (fd < 0) {
        out_error(&xe->out, "Operation failed. Error: %s: %s\n", file, strerror(errno));
        return xe_exit(xe);
    }
    e = transfer_begin(xe, label, &path, &task);
    if (!e)
        e = transfer_finish(xe, task, xe->server->download(xe->server, path, fd), NULL);
    if (close(fd) < 0 && !e)
        e = xe_fail(xe, "%s: %s", file, strerror(errno));
    if (e && *file)
        unlink(file);
    return e;
}

static struct error *here_put(struct xe *xe, const char *label, const char *path, const char *file,
                              const char **result)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    bool bar = xe->out.terminal || args_get(&xe->params, "progress");
    const char *task = NULL;
    struct stat st;
    struct error *e;

    if (fd < 0 || fstat(fd, &st) < 0) {
        out_error(&xe->out, "Operation failed. Error: file '%s': %s\n", file, strerror(errno));
        if (fd >= 0)
            close(fd);
        return xe_exit(xe);
    }
    e = transfer_begin(xe, label, &path, &task);
    if (!e)
        e = transfer_finish(xe, task,
                            xe->server->upload(xe->server, path, fd,
                                               S_ISREG(st.st_mode) ? st.st_size : -1,
                                               bar ? out_progress : NULL, &xe->out),
                            result);
    close(fd);
    return e;
}

static struct error *here_console(struct xe *xe, const char *path)
{
    return xe->server->console(xe->server, path);
}

const struct xe_io xe_here = {here_load, here_get, here_put, here_console};
