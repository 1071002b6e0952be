/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * worker.c -- a thread for each call, the way back to the loop, and who works on which domain.
 *
 * The thread makes the beginning durable, works, makes the end durable, and only then hands the
 * request back to the loop, which answers it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "xapid/hypervisor/executor/executor.h"
#include "xapid/hypervisor/server/outcome.h"

#define THREADS_MAX 1024

/* Something for the loop: a request that is done, or a function. */
struct job {
    struct job *next;
    struct executor *x;
    struct request *rq;
    struct error *e;
    json_t *result;
    void (*fn)(struct executor *x, json_t *arg);
    json_t *arg;
};

static void hand_over(struct job *job)
{
    struct executor *x = job->x;
    uint64_t one = 1;

    MUTEX_GUARD(&x->lock);
    if (x->done_last)
        x->done_last->next = job;
    else
        x->done = job;
    x->done_last = job;
    if (write(x->done_source.fd, &one, sizeof one) < 0)
        log_error("eventfd: %s", strerrordesc_np(errno));
}

void loop_post(struct executor *x, void (*fn)(struct executor *x, json_t *arg), json_t *arg)
{
    struct job *job = xcalloc(1, sizeof *job);

    job->x = x;
    job->fn = fn;
    job->arg = arg;
    hand_over(job);
}

static struct job *take_done(struct executor *x)
{
    struct job *all;

    MUTEX_GUARD(&x->lock);
    all = x->done;
    x->done = x->done_last = NULL;
    return all;
}

static void finish(struct job *job)
{
    struct request *rq = job->rq;
    const char *uuid = json_string_value(json_object_get(rq->args_json, "uuid"));
    struct server *server = rq->server;
    char name[UUID_TEXT_SIZE] = "";
    bool tell = rq->handler->changes;

    if (uuid && strlen(uuid) < sizeof name)
        memcpy(name, uuid, strlen(uuid) + 1);
    else if ((uuid = json_string_value(
                  json_object_get(json_object_get(rq->args_json, "config"), "uuid"))) &&
             strlen(uuid) < sizeof name)
        memcpy(name, uuid, strlen(uuid) + 1);
    request_finish(rq, job->e, job->result);
    if (tell)
        server_push(server, name);
    mutex_lock(&job->x->lock);
    job->x->n_threads--;
    mutex_unlock(&job->x->lock);
}

static void done_ready(struct source *source, uint32_t events)
{
    struct executor *x = container_of(source, struct executor, done_source);
    uint64_t count;
    struct job *job, *next;

    (void)events;
    if (read(source->fd, &count, sizeof count) < 0 && errno != EAGAIN)
        log_error("eventfd: %s", strerrordesc_np(errno));
    for (job = take_done(x); job; job = next) {
        next = job->next;
        if (job->fn) {
            job->fn(x, job->arg);
            json_decref(job->arg);
        } else {
            finish(job);
        }
        free(job);
    }
}

bool workers_start(struct executor *x)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    mutex_init(&x->lock);
    cond_init(&x->freed);
    cond_init(&x->world_rose);
    if (fd >= 0 && source_add(x->server->loop, &x->done_source, fd, EPOLLIN, done_ready))
        return true;
    log_error("eventfd: %s", strerrordesc_np(errno));
    return false;
}

static struct error *work(struct request *rq, json_t **result)
{
    const struct outcome *o = rq->outcome;
    struct executor *x = executor_of(rq);
    struct error *e;

    if (rq->again)
        return settle(rq, result);
    if (o)
        TRY(journal_begin(&rq->arena, x->journal, o->id, o->what, rq->handler->call,
                          rq->args_json));
    e = request_run(rq, result);
    return !e && rq->args.bad ? request_bad(rq) : e;
}

static void *run_job(void *arg)
{
    struct job *job = arg;
    struct request *rq = job->rq;
    const struct outcome *o = rq->outcome;

    job->e = work(rq, &job->result);
    if (job->e) {
        json_decref(job->result);
        job->result = NULL;
    }
    if (o) {
        json_t *error = job->e ? write_error(job->e) : NULL;

        journal_end(job->x->journal, o->id, o->what, error, job->result);
        json_decref(error);
    }
    hand_over(job);
    return NULL;
}

void worker_dispatch(struct request *rq)
{
    struct executor *x = executor_of(rq);
    struct thread thread = {0};
    struct job *job;
    bool full;

    mutex_lock(&x->lock);
    full = x->n_threads >= THREADS_MAX && !rq->again;
    x->n_threads += !full;
    mutex_unlock(&x->lock);
    if (full) {
        request_finish(
            rq, error_internal(&rq->arena, "the executor works on %d calls already", THREADS_MAX),
            NULL);
        return;
    }
    job = xcalloc(1, sizeof *job);
    job->x = x;
    job->rq = rq;
    thread_start(&thread, rq->handler->call, run_job, job);
    thread_detach(&thread);
}

bool workers_idle(struct executor *x)
{
    MUTEX_GUARD(&x->lock);
    return x->n_threads == 0;
}

/*** the world ***/

void world_changed(struct executor *x)
{
    MUTEX_GUARD(&x->lock);
    x->world++;
    cond_broadcast(&x->world_rose);
}

uint64_t world_now(struct executor *x)
{
    MUTEX_GUARD(&x->lock);
    return x->world;
}

void world_wait(struct executor *x, uint64_t seen, usec_t until)
{
    MUTEX_GUARD(&x->lock);
    while (x->world == seen && cond_wait_until(&x->world_rose, &x->lock, until))
        ;
}

/*** domains that are worked on ***/

static bool excludes(enum hold_kind a, enum hold_kind b)
{
    if (a == HOLD_BUILD || b == HOLD_BUILD)
        return true;
    return a == b;
}

static bool is_free(const struct executor *x, const char *uuid, enum hold_kind kind)
{
    for (const struct held *h = x->held; h; h = h->next)
        if (strcmp(h->uuid, uuid) == 0 && excludes(h->kind, kind))
            return false;
    return true;
}

struct error *hold_take(struct request *rq, const char *uuid, enum hold_kind kind, struct hold *out)
{
    struct executor *x = executor_of(rq);
    struct held *held;

    MUTEX_GUARD(&x->lock);
    while (!is_free(x, uuid, kind))
        if (!cond_wait_until(&x->freed, &x->lock, rq->deadline))
            return error_internal(&rq->arena, "%s: another request still works on the domain %s",
                                  rq->handler->call, uuid);
    held = xcalloc(1, sizeof *held);
    memcpy(held->uuid, uuid, strlen(uuid) + 1);
    held->kind = kind;
    held->next = x->held;
    x->held = held;
    *out = (struct hold){x, held};
    return OK;
}

void hold_release(struct hold *hold)
{
    struct executor *x = hold->x;
    struct held **at;

    if (!x)
        return;
    MUTEX_GUARD(&x->lock);
    at = &x->held;
    while (*at != hold->held)
        at = &(*at)->next;
    *at = hold->held->next;
    free(hold->held);
    cond_broadcast(&x->freed);
    hold->x = NULL;
}
