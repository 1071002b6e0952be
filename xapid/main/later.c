/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/main/later.h"

#include "xapid/auth/auth.h"
#include "xapid/main/xapid.h"
#include "xapid/task/task.h"
#include "xapid/worker/workers.h"

/* The task is failed after the answer was given, so it has memory of its own. */
struct later {
    struct call call;
    ref_t task;
    const char *path;
};

static void later_free(struct later *l)
{
    struct arena *arena = l->call.arena;

    call_release(&l->call);
    arena_free_self(arena);
}

static void fail_task(void *arg)
{
    struct later *l = arg;
    struct error *e = task_begin(&l->call, l->path, false, l->task);

    if (!e)
        task_end(&l->call, err_not_implemented(&l->call, l->path), NULL);
    /* A task that does not exist has nobody waiting for it. */
    error_ignore(e);
    later_free(l);
}

static void with_session(struct http_request *request, void *ctx, struct error *e,
                         const struct auth_http_who *who)
{
    struct xapid *xapid = ctx;
    const char *task = http_param(request, "task_id");
    struct auth_http_who mine = e ? (struct auth_http_who){0} : *who;
    ref_t ref;

    if (!e && task && ref_from_text(task, &ref) && !ref_is_null(ref)) {
        struct arena *arena = arena_new_self();
        struct later *l = arena_new(arena, struct later);

        call_init_internal(&l->call, xapid, arena);
        l->task = ref;
        l->path = arena_strdup(arena, request->path);
        if (!workers_run(xapid->workers, fail_task, l))
            later_free(l);
    }
    if (!e)
        auth_http_release(xapid, &mine);
    http_error(request, 501, "This handler is not implemented yet.");
}

void later_answer(struct http_request *request, void *ctx)
{
    auth_http(ctx, request, NULL, with_session, ctx);
}
