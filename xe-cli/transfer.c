/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* transfer.c -- files to and from the server's HTTP handlers. */
#include "xe-cli/transfer.h"

#include <string.h>

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

struct error *transfer_begin(struct xe *xe, const char *label, const char **path, const char **task)
{
    TRY(xe_call_text(xe, task, "task.create", "ss", label, ""));
    *path =
        arena_printf(&xe->arena, "%s%ctask_id=%s", *path, strchr(*path, '?') ? '&' : '?', *task);
    return OK;
}

/* The transfer is done; the task may still be at work, with its own idea of the outcome. */
struct error *transfer_finish(struct xe *xe, const char *task, struct error *e, const char **result)
{
    const char *text = NULL;

    if (e)
        return failure(xe, task, e);
    TRY(xe_wait(xe, task, false, &text));
    if (result)
        *result = text ? text : "";
    return OK;
}

struct error *transfer_get(struct xe *xe, const char *label, const char *path, const char *file)
{
    return xe->io->get(xe, label, path, file);
}

struct error *transfer_put(struct xe *xe, const char *label, const char *path, const char *file,
                           const char **result)
{
    return xe->io->put(xe, label, path, file, result);
}
