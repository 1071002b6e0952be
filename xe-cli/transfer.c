/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* transfer.c -- files to and from the server's HTTP handlers. */
#include "xe-cli/transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "xe-cli/objects.h"

const char *transfer_encode(struct xe *xe, const char *text)
{
    char *out = arena_alloc(&xe->arena, 3 * strlen(text) + 1), *to = out;

    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;

        if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
            strchr("-_.~", c)) {
            *to++ = (char)c;
        } else {
            *to++ = '%';
            *to++ = "0123456789ABCDEF"[c >> 4];
            *to++ = "0123456789ABCDEF"[c & 15];
        }
    }
    *to = '\0';
    return out;
}

static const char *with_task(struct xe *xe, const char *path, const char *task)
{
    return arena_printf(&xe->arena, "%s%ctask_id=%s", path, strchr(path, '?') ? '&' : '?', task);
}

/* The handler has usually said in the task why it failed, which tells more than the transfer does.
 */
static struct error *failure(struct xe *xe, const char *task, struct error *transfer)
{
    const struct wire *record = NULL;
    struct strings info = {0};
    struct error *e = xe_call(xe, &record, "task.get_record", "r", task);

    if (!e)
        info = xe_wire_set(&xe->arena, xe_member(record, "error_info"));
    /* The transfer's own error is what counts, not that its task could not be removed. */
    error_ignore(xe_call(xe, NULL, "task.destroy", "r", task));
    if (!info.n)
        return transfer;
    e = arena_zalloc(&xe->arena, sizeof *e + info.n * sizeof e->params[0]);
    e->code = info.v[0];
    e->n_params = info.n - 1;
    memcpy(e->params, info.v + 1, e->n_params * sizeof e->params[0]);
    return e;
}

static struct error *begin(struct xe *xe, const char *label, const char **task)
{
    return xe_call_text(xe, task, "task.create", "ss", label, "");
}

/* The transfer is done; the task may still be at work, with its own idea of the outcome. */
static struct error *finish(struct xe *xe, const char *task, struct error *e, const char **result)
{
    const char *text = NULL;

    if (e)
        return failure(xe, task, e);
    TRY(xe->server->wait(xe->server, task, NULL, NULL, &text));
    if (result)
        *result = text ? text : "";
    return OK;
}

struct error *transfer_get(struct xe *xe, const char *label, const char *path, const char *file)
{
    int fd = *file ? open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600) : dup(STDOUT_FILENO);
    const char *task = NULL;
    struct error *e;

    if (fd < 0) {
        out_error(&xe->out, "Operation failed. Error: %s: %s\n", file, strerror(errno));
        return error_new(&xe->arena, XE_EXIT, 1, "1");
    }
    e = begin(xe, label, &task);
    if (!e)
        e = finish(xe, task, xe->server->download(xe->server, with_task(xe, path, task), fd), NULL);
    if (close(fd) < 0 && !e)
        e = xe_fail(xe, "%s: %s", file, strerror(errno));
    if (e && *file)
        unlink(file);
    return e;
}

struct error *transfer_put(struct xe *xe, const char *label, const char *path, const char *file,
                           const char **result)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    const char *task = NULL;
    struct stat st;
    struct error *e;

    if (fd < 0 || fstat(fd, &st) < 0) {
        out_error(&xe->out, "Operation failed. Error: file '%s': %s\n", file, strerror(errno));
        if (fd >= 0)
            close(fd);
        return error_new(&xe->arena, XE_EXIT, 1, "1");
    }
    e = begin(xe, label, &task);
    if (!e)
        e = finish(xe, task,
                   xe->server->upload(
                       xe->server, with_task(xe, path, task), fd,
                       S_ISREG(st.st_mode) ? st.st_size : -1,
                       xe->out.terminal || args_get(&xe->params, "progress") ? out_progress : NULL,
                       &xe->out),
                   result);
    close(fd);
    return e;
}
