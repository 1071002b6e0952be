/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * task.c -- waiting for tasks: by events, or by asking again and again where a server gives none.
 */
#include "libxapi/client/client.h"

#include <string.h>

#include "api_types.h"
#include "libxapi/base/seam.h"

/* One event.from.  The server's and our own timeout both bound it. */
#define EVENT_WAIT (30 * USEC_PER_SEC)
/* A server that has nothing to tell and does not wait either would be asked without a pause. */
#define TOO_SOON (50 * USEC_PER_MSEC)
#define POLL_FIRST (100 * USEC_PER_MSEC)
#define POLL_LAST (2 * USEC_PER_SEC)

struct waiting {
    struct xapi_session *session;
    struct arena *round; /* ends with each question */
    ref_t task;
    void (*progress)(void *ctx, double done);
    void *ctx;
    double told; /* the progress told last */
};

static bool has_ended(const struct task *t)
{
    return t->status == TASK_SUCCESS || t->status == TASK_FAILURE || t->status == TASK_CANCELLED;
}

static void tell(struct waiting *w, const struct task *t)
{
    if (w->progress && t->progress != w->told)
        w->progress(w->ctx, t->progress);
    w->told = t->progress;
}

/* The task's own error, in the session's arena; OK where it succeeded. */
static struct error *outcome(struct waiting *w, const struct task *t, const char **result)
{
    struct arena *arena = &w->session->arena;
    struct error *e;

    if (t->status == TASK_SUCCESS) {
        if (result)
            *result = arena_strdup(arena, t->result);
        return OK;
    }
    if (t->error_info.n == 0 && t->status == TASK_CANCELLED)
        return error_new(arena, "TASK_CANCELLED", 1, ref_text(arena, w->task));
    if (t->error_info.n == 0)
        return error_internal(arena, "the task failed without saying why");
    e = arena_zalloc(arena, sizeof(*e) + (t->error_info.n - 1) * sizeof(e->params[0]));
    e->code = arena_strdup(arena, t->error_info.v[0]);
    e->n_params = t->error_info.n - 1;
    for (size_t i = 0; i < e->n_params; i++)
        e->params[i] = arena_strdup(arena, t->error_info.v[i + 1]);
    return e;
}

/* What a round found. */
enum seen { SEEN_NOTHING, SEEN_PENDING, SEEN_ENDED };

/* The newest word on the task among the events. */
static enum seen look(struct waiting *w, const struct xapi_events *events, const struct task **out)
{
    const struct task *newest = NULL;

    for (size_t i = 0; i < events->n; i++) {
        const struct xapi_event *e = &events->v[i];

        if (e->class && e->class->id == CLASS_task && e->snapshot && ref_equal(e->ref, w->task))
            newest = e->snapshot;
    }
    if (!newest)
        return SEEN_NOTHING;
    tell(w, newest);
    *out = newest;
    return has_ended(newest) ? SEEN_ENDED : SEEN_PENDING;
}

/* Copies what must outlive a round; 'e' may lie in the round's arena. */
static struct error *keep(struct waiting *w, struct error *e)
{
    return e ? error_copy(&w->session->arena, e) : OK;
}

/* One question.  *seen says whether *task has ended. */
static struct error *ask(struct waiting *w, enum seen *seen, const struct task **task)
{
    struct {
        ref_t self;
    } args = {w->task};
    struct error *e = client_message(w->session, w->round, MSG_task_get_record, &args, task);

    if (e)
        return keep(w, e);
    tell(w, *task);
    *seen = has_ended(*task) ? SEEN_ENDED : SEEN_PENDING;
    return OK;
}

/* Sees whether there is anything to wait for. */
static struct error *first_look(struct waiting *w, bool *ended, const char **result)
{
    enum seen seen = SEEN_NOTHING;
    const struct task *task = NULL;

    TRY(ask(w, &seen, &task));
    *ended = seen == SEEN_ENDED;
    return *ended ? outcome(w, task, result) : OK;
}

static struct error *wait_by_polling(struct waiting *w, const char **result)
{
    usec_t delay = POLL_FIRST;

    for (;;) {
        enum seen seen = SEEN_NOTHING;
        const struct task *task = NULL;

        TRY(ask(w, &seen, &task));
        if (seen == SEEN_ENDED)
            return outcome(w, task, result);
        arena_release(w->round);
        clock_sleep(delay);
        delay = MIN(delay + delay / 2, POLL_LAST);
    }
}

/*
 * Waits by events.  *usable is false where events do not serve here: then nothing was found out.
 * A round without news of the task asks for its record, so that one whose end was missed, or that
 * is gone, is not waited for for ever.
 */
static struct error *wait_by_events(struct waiting *w, bool *usable, const char **result)
{
    char text[REF_TEXT_SIZE];
    char subject[REF_TEXT_SIZE + 8] = "task/";
    const char *classes[] = {subject};
    AUTO(buf) token = {0};

    strcat(subject, ref_to_text(w->task, text));
    buf_reserve(&token, 1);
    token.data[0] = '\0';
    for (;;) {
        enum seen seen = SEEN_NOTHING;
        const struct task *task = NULL;
        usec_t began = clock_mono();
        struct xapi_events events;
        struct error *e;

        e = client_events(w->session, w->round, (struct strings){1, classes}, token.data,
                          EVENT_WAIT, &events);
        if (error_is(e, "SESSION_INVALID") || error_is(e, "CANNOT_CONTACT_HOST"))
            return keep(w, e);
        *usable = !e && (events.n > 0 || clock_mono() - began >= TOO_SOON);
        if (!*usable)
            return OK;
        seen = look(w, &events, &task);
        token.len = 0;
        token.data[0] = '\0';
        buf_puts(&token, events.token);
        if (seen == SEEN_NOTHING)
            TRY(ask(w, &seen, &task));
        if (seen == SEEN_ENDED)
            return outcome(w, task, result);
        arena_release(w->round);
    }
}

struct error *xapi_task_wait(struct xapi_session *s, ref_t task,
                             void (*progress)(void *ctx, double done), void *ctx,
                             const char **result)
{
    AUTO(arena) round = {0};
    struct waiting w = {s, &round, task, progress, ctx, -1.0};
    struct {
        ref_t self;
    } args = {task};
    bool usable = false, ended = false;
    struct error *e;

    if (result)
        *result = "";
    e = first_look(&w, &ended, result);
    if (!e && !ended)
        e = wait_by_events(&w, &usable, result);
    if (!e && !ended && !usable)
        e = wait_by_polling(&w, result);
    if (error_is(e, "SESSION_INVALID") || error_is(e, "CANNOT_CONTACT_HOST"))
        return e;
    /* The server removes it by itself later; that it is gone already is no matter. */
    error_ignore(client_message(s, &round, MSG_task_destroy, &args, NULL));
    return e;
}

struct error *xapi_task_result(struct xapi_session *s, int message, const char *text, void *result)
{
    const struct type *type = api_messages[message].result;
    const struct wire *value;

    if (type->kind == TYPE_VOID)
        return OK;
    if (!xmlrpc_read_value(&s->arena, text, strlen(text), &value))
        return error_internal(&s->arena, "the task's result is no XML-RPC value: %s", text);
    return wire_to_result(&s->arena, type, value, result);
}
