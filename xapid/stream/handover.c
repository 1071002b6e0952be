/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/stream/handover.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "libxapi/base/log.h"
#include "libxapi/base/seam.h"
#include "xapid/main/xapid.h"
#include "xapid/stream/relay.h"
#include "xapid/task/task.h"
#include "xapid/worker/workers.h"

#define PIECE ((size_t)256 << 10)
/* How often somebody waiting for data looks whether the task was cancelled. */
#define LOOK (1 * USEC_PER_SEC)

/*** from the loop to a worker ***/

struct asked {
    struct xapid *xapid;
    const char *action;
    void (*run)(struct handover *h);
};

/* What travels to the worker. */
struct job {
    struct handover h; /* first */
    void (*run)(struct handover *h);
};

static ref_t task_of(const struct http_request *request)
{
    const char *text = http_param(request, "task_id");
    ref_t ref;

    if (!text)
        text = http_header(request, "task-id");
    return text && ref_from_text(text, &ref) ? ref : REF_NULL;
}

static struct job *job_new(struct http_request *request, const struct asked *asked)
{
    struct arena *arena = arena_new_self();
    struct job *job = arena_new(arena, struct job);

    call_init_internal(&job->h.call, asked->xapid, arena);
    job->h.request = request;
    job->h.action = asked->action;
    job->h.task = task_of(request);
    job->run = asked->run;
    return job;
}

static void job_free(struct job *job)
{
    struct arena *arena = job->h.call.arena;
    struct xapid *xapid = job->h.call.xapid;

    job->h.call.session = NULL; /* counted by 'who' */
    call_release(&job->h.call);
    auth_http_release(xapid, &job->h.who);
    arena_free_self(arena);
}

static void run_job(void *arg)
{
    struct job *job = arg;
    struct handover *h = &job->h;
    struct error *e = OK;

    h->call.session = h->who.session;
    if (!ref_is_null(h->task))
        e = task_begin(&h->call, h->action, false, h->task);
    if (e)
        handover_refuse(h, refuse(404, e));
    else
        job->run(h);
    job_free(job);
}

/* Who may not do it fails the task, too: somebody waits for it. */
static void fail_task(void *arg)
{
    struct job *job = arg;
    struct handover *h = &job->h;
    struct error *e = task_begin(&h->call, h->action, false, h->task);

    if (!e)
        task_end(&h->call,
                 error_new(h->call.arena, "RBAC_PERMISSION_DENIED", 2, h->action,
                           "The session's role does not suffice."),
                 NULL);
    job_free(job);
}

static void authenticated(struct http_request *request, void *ctx, struct error *e,
                          const struct auth_http_who *who)
{
    const struct asked *asked = ctx;
    struct job *job = job_new(request, asked);

    if (!e) {
        job->h.who = *who;
        if (workers_run(asked->xapid->workers, run_job, job))
            return;
        http_error(request, 503, "too many transfers are under way");
        job_free(job);
        return;
    }
    job->h.request = NULL;
    if (!error_is(e, "RBAC_PERMISSION_DENIED") || ref_is_null(job->h.task) ||
        !workers_run(asked->xapid->workers, fail_task, job))
        job_free(job);
    auth_http_refuse(request, asked->action, e);
}

void handover_begin(struct xapid *xapid, struct http_request *request, const char *action,
                    void (*run)(struct handover *h))
{
    struct asked *asked = arena_new(request->arena, struct asked);

    *asked = (struct asked){xapid, action, run};
    auth_http(xapid, request, action, authenticated, asked);
}

void handover_begin_open(struct xapid *xapid, struct http_request *request, const char *action,
                         void (*run)(struct handover *h))
{
    struct job *job = job_new(request, &(struct asked){xapid, action, run});

    job->h.task = REF_NULL;
    if (workers_run(xapid->workers, run_job, job))
        return;
    http_error(request, 503, "too many transfers are under way");
    job_free(job);
}

/*** answers ***/

struct refusal refuse(int status, struct error *e)
{
    return (struct refusal){status, e->code, e};
}

void handover_refuse(struct handover *h, struct refusal r)
{
    struct http_request *request = h->request;

    h->request = NULL;
    task_end(&h->call, r.e, NULL);
    http_error(request, r.status, r.why);
}

void handover_refuse_length(struct handover *h)
{
    bool absent = h->request->content_length < 0;

    handover_refuse(h, refuse(absent ? 411 : 413, err_invalid_value(&h->call, "Content-Length",
                                                                    absent ? "" : "too large")));
}

static void redirect(struct handover *h, const char *address)
{
    bool v6 = strchr(address, ':') != NULL;
    const struct http_pair headers[] = {
        {"Location", arena_printf(h->call.arena, "https://%s%s%s%s", v6 ? "[" : "", address,
                                  v6 ? "]" : "", h->request->target)}};

    http_reply(h->request, &(struct http_response){.status = 302,
                                                   .content_type = "text/plain",
                                                   .n_headers = ARRAY_SIZE(headers),
                                                   .headers = headers,
                                                   .data = "",
                                                   .close = true});
}

void handover_elsewhere(struct handover *h, const struct host *host)
{
    const char *address = arena_strdup(h->call.arena, host->address);

    /* Its outcome is the other host's to tell. */
    task_leave(&h->call);
    if (!relay_is_needed(&h->call, host->ref) || !relay_request(&h->call, h->request, host->ref))
        redirect(h, address);
    h->request = NULL;
}

struct http_stream *handover_take(struct handover *h)
{
    struct http_stream *stream = http_take_over(h->request);

    h->request = NULL;
    return stream;
}

struct error *handover_own_task(struct handover *h, const char *name)
{
    return h->call.task ? OK : task_begin(&h->call, name, true, REF_NULL);
}

/*** parameters ***/

struct error *handover_find(struct call *call, int class_id, const char *text, ref_t *out)
{
    const void *row;

    if (!ref_from_text(text, out) || ref_is_null(*out))
        return db_by_uuid(call, class_id, text, out);
    return db_get(call, class_id, *out, &row);
}

bool handover_flag(const struct http_request *request, const char *name, bool otherwise)
{
    const char *text = http_param(request, name);

    return text ? strcmp(text, "false") != 0 : otherwise;
}

/*** the body ***/

bool body_answer(struct call *call, struct body *body, ref_t task)
{
    const struct http_pair headers[] = {{"Content-Type", "application/octet-stream"},
                                        {"task-id", call_ref(call, task)}};

    return http_stream_continue(body->http) &&
           http_stream_start(body->http, 200, -1, ref_is_null(task) ? 1 : 2, headers);
}

struct error *body_read(struct call *call, struct body *body, void *out, size_t n, size_t *got)
{
    usec_t deadline = clock_mono() + HANDOVER_IDLE;
    ssize_t r = -1;

    *got = 0;
    if (body->has_first && n) {
        body->has_first = false;
        *(char *)out = body->first;
        *got = 1;
        return OK;
    }
    if (body->length >= 0)
        n = (size_t)MIN((int64_t)n, body->length - body->taken);
    while (!body->ended && n && r < 0) {
        TRY(task_check(call));
        r = http_stream_read(body->http, out, n, LOOK);
        if (r < 0 && (errno != ETIMEDOUT || clock_mono() > deadline))
            body->ended = true;
    }
    if (r <= 0) {
        body->ended = true;
        return OK;
    }
    body->taken += r;
    *got = (size_t)r;
    return OK;
}

struct error *body_wait(struct call *call, struct body *body)
{
    size_t got;

    TRY(body_read(call, body, &body->first, 1, &got));
    body->has_first = got == 1;
    return got ? OK : err_import_error_premature_eof(call);
}

static struct error *write_piece(struct call *call, int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t done = write(fd, p, n);

        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return error_internal(call->arena, "the data cannot be written: %s", strerror(errno));
        p += done;
        n -= (size_t)done;
    }
    return OK;
}

struct error *body_save(struct call *call, struct body *body, int fd)
{
    char *piece = arena_alloc(call->arena, PIECE);
    size_t n;

    do {
        TRY(body_read(call, body, piece, PIECE, &n));
        TRY(write_piece(call, fd, piece, n));
    } while (n);
    return body->length < 0 || body->taken == body->length ? OK : err_client_error(call);
}

void body_done(struct call *call, struct body *body, const char *action, const struct error *e)
{
    if (e)
        log_info("%s: %s", action, error_line(call->arena, e));
    if (e)
        http_stream_error(body->http, 500, error_line(call->arena, e));
    else if (!http_stream_start(body->http, 200, 0, 0, NULL))
        log_info("%s: the client did not wait for the answer", action);
    http_stream_close(body->http);
}
