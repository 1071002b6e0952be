/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * requests.c -- from a message to a handler and back: ids, epochs, outcomes, faults, waiting.
 *
 * A request with an id is done once: its outcome is noted before anything happens, and the same id
 * again gets that outcome.  It goes on when its connection is lost.
 */
#include <stdlib.h>

#include "libxapi/base/memory.h"
#include "xapid/hypervisor/server/outcome.h"
#include "xapid/hypervisor/server/server.h"

static json_t *outcome_json(const struct outcome *o)
{
    json_t *answer = json_pack("{s:b}", "known", 1);

    if (o->error)
        json_object_set(answer, "error", o->error);
    else
        json_object_set_new(answer, "result", o->result ? json_incref(o->result) : json_object());
    return answer;
}

static struct error *run_outcome(struct request *rq, json_t **result)
{
    char id[UUID_TEXT_SIZE];
    struct outcome *o;

    read_uuid(&rq->args, "id", false, id);
    if (rq->args.bad)
        return OK; /* the caller reports it */
    o = outcome_find(rq->server->outcomes, id);
    if (o && o->state == OUTCOME_DONE) {
        *result = outcome_json(o);
    } else if (o && o->state == OUTCOME_RUNNING) {
        rq->waited = o;
        request_wait(rq, WAIT_OUTCOME, NULL, rq->deadline, NULL);
    } else {
        if (!o) {
            outcome_begin(rq->server->outcomes, id, OUTCOME_SEALED, 0);
            if (rq->server->program->sealed)
                rq->server->program->sealed(rq->server->ctx, id);
        }
        *result = json_pack("{s:b}", "known", 0);
    }
    return OK;
}

static struct error *run_watch(struct request *rq, json_t **result)
{
    (void)result;
    server_watch(rq->server, rq->connection);
    return OK;
}

/* What every program answers alike, on the loop. */
static const struct handler common[] = {
    {"watch", false, run_watch},
    {"outcome", false, run_outcome},
};

static const struct handler *find(const struct handler *handlers, size_t n, const char *call)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(handlers[i].call, call) == 0)
            return &handlers[i];
    return NULL;
}

static bool is_common(const struct handler *h)
{
    return h >= common && h < common + ARRAY_SIZE(common);
}

static const struct handler *handler_of(const struct server *server, const char *call)
{
    const struct handler *h = find(common, ARRAY_SIZE(common), call);

    return h ? h : find(server->program->handlers, server->program->n_handlers, call);
}

static struct call_fault *fault_of(struct server *server, const struct handler *h)
{
    size_t i = is_common(h) ? (size_t)(h - common)
                            : ARRAY_SIZE(common) + (size_t)(h - server->program->handlers);

    return &server->faults[i];
}

struct call_fault *call_fault_of(struct server *server, const char *call)
{
    const struct handler *h = handler_of(server, call);

    return h ? fault_of(server, h) : NULL;
}

static void request_free(struct request *rq)
{
    struct server *server = rq->server;

    timer_cancel(&rq->timer);
    if (rq->prev)
        rq->prev->next = rq->next;
    else
        server->requests = rq->next;
    if (rq->next)
        rq->next->prev = rq->prev;
    server->n_requests--;
    json_decref(rq->args_json);
    arena_release(&rq->arena);
    free(rq);
}

/* The connection breaks where a test wants it to. */
static bool lost_instead(struct request *rq, bool *fault)
{
    if (!*fault)
        return false;
    *fault = false;
    server_drop(rq->server, rq->connection);
    return true;
}

/* Those that asked again for the same id, or what became of it. */
static void finish_followers(struct server *server, struct outcome *o)
{
    struct request *next;

    for (struct request *rq = server->requests; rq; rq = next) {
        next = rq->next;
        if (rq->wait != WAIT_OUTCOME || rq->waited != o)
            continue;
        if (rq->handler->run == run_outcome) {
            json_t *answer = outcome_json(o);

            server_answer(server, rq->connection, rq->serial, NULL, answer);
            json_decref(answer);
        } else {
            server_answer(server, rq->connection, rq->serial, o->error, o->result);
        }
        request_free(rq);
    }
}

void request_finish(struct request *rq, struct error *e, json_t *result)
{
    struct server *server = rq->server;
    struct outcome *o = rq->outcome;
    json_t *error = e ? write_error(e) : NULL;

    if (o)
        outcome_end(o, error, result);
    if (!lost_instead(rq, &fault_of(server, rq->handler)->lose_answer))
        server_answer(server, rq->connection, rq->serial, error, result);
    json_decref(error);
    json_decref(result);
    request_free(rq);
    if (o)
        finish_followers(server, o);
}

/* From the beginning each time: finishing one may have freed any other. */
static struct request *next_waiting(struct server *server, enum wait_kind wait, const void *subject)
{
    struct request *rq = server->requests;

    while (rq && (rq->wait != wait || rq->subject != subject))
        rq = rq->next;
    return rq;
}

void requests_wake(struct server *server, enum wait_kind wait, const void *subject,
                   const struct error *e, json_t *result)
{
    struct request *rq;

    while ((rq = next_waiting(server, wait, subject))) {
        rq->wait = WAIT_NOTHING;
        request_finish(rq, error_copy(&rq->arena, e), json_incref(result));
    }
}

static void run(struct request *rq);

static void request_timer(struct timer *timer)
{
    struct request *rq = container_of(timer, struct request, timer);

    if (rq->wait == WAIT_DELAY) {
        rq->wait = WAIT_NOTHING;
        run(rq);
    } else if (rq->expired) {
        rq->expired(rq);
    } else {
        request_finish(
            rq, error_internal(&rq->arena, FAILURE_UNKNOWN "%s: not yet", rq->handler->call), NULL);
    }
}

void request_wait(struct request *rq, enum wait_kind wait, const void *subject, usec_t at,
                  void (*expired)(struct request *rq))
{
    rq->wait = wait;
    rq->subject = subject;
    rq->expired = expired;
    timer_set(rq->server->loop, &rq->timer, at, request_timer);
}

static struct error *injected(struct request *rq, struct call_fault *f)
{
    struct error *e;

    if (!f->fail_text)
        return OK;
    e = *f->fail_code
            ? error_new(&rq->arena, arena_strdup(&rq->arena, f->fail_code), 1, f->fail_text)
            : error_new(&rq->arena, "INTERNAL_ERROR", 1, f->fail_text);
    free(f->fail_code);
    free(f->fail_text);
    f->fail_code = f->fail_text = NULL;
    return e;
}

/* A handler that waits may have been woken, and the request freed, before it returns. */
static bool still_there(struct server *server, const struct request *rq)
{
    struct request *r = server->requests;

    while (r && r != rq)
        r = r->next;
    return r != NULL;
}

struct error *request_bad(struct request *rq)
{
    return error_internal(&rq->arena, "%s: the argument '%s' is missing or wrong",
                          rq->handler->call, rq->args.bad);
}

struct error *request_run(struct request *rq, json_t **result)
{
    return rq->handler->run(rq, result);
}

static void run(struct request *rq)
{
    struct server *server = rq->server;
    struct error *e = injected(rq, fault_of(server, rq->handler));
    json_t *result = NULL;

    if (!e && server->program->dispatch && !is_common(rq->handler)) {
        rq->wait = WAIT_THREAD;
        server->program->dispatch(rq);
        return;
    }
    if (!e)
        e = rq->handler->run(rq, &result);
    if (!still_there(server, rq) || rq->wait != WAIT_NOTHING)
        return;
    if (!e && rq->args.bad) {
        json_decref(result);
        result = NULL;
        e = request_bad(rq);
    }
    request_finish(rq, e, result);
}

static void see_epoch(struct server *server, uint64_t epoch)
{
    if (epoch <= server->epoch)
        return;
    server->epoch = epoch;
    if (server->program->epoch_rose)
        server->program->epoch_rose(server->ctx, epoch);
}

/* Whether it may be done at all; *again: it was, or is being done, and has been dealt with. */
static struct error *admit(struct request *rq, const char *id, uint64_t epoch, bool *again)
{
    struct server *server = rq->server;
    struct outcome *o = *id ? outcome_find(server->outcomes, id) : NULL;
    uint64_t what = *id ? outcome_hash(rq->handler->call, rq->args_json) : 0;

    *again = o && o->state != OUTCOME_SEALED && o->what == what;
    if (*again)
        rq->waited = o;
    if (*again)
        return OK;
    if (o && o->state == OUTCOME_SEALED)
        return error_internal(&rq->arena, "hypervisor: %s: this request was given up",
                              rq->handler->call);
    if (o)
        return error_internal(&rq->arena, "hypervisor: %s: the id was used for another request",
                              rq->handler->call);
    if (rq->handler->changes && epoch < server->epoch)
        return error_internal(&rq->arena, FAILURE_STALE "%llu, already seen: %llu",
                              (unsigned long long)epoch, (unsigned long long)server->epoch);
    see_epoch(server, epoch);
    if (*id)
        rq->outcome = outcome_begin(server->outcomes, id, OUTCOME_RUNNING, what);
    return OK;
}

static void begin(struct request *rq, const char *id, uint64_t epoch)
{
    struct call_fault *f = fault_of(rq->server, rq->handler);
    struct error *e;
    bool again;

    /* Reads may be done twice: what they answered is not worth remembering. */
    e = admit(rq, rq->handler->changes ? id : "", epoch, &again);
    if (e) {
        request_finish(rq, e, NULL);
    } else if (again && rq->waited->state == OUTCOME_DONE) {
        server_answer(rq->server, rq->connection, rq->serial, rq->waited->error,
                      rq->waited->result);
        request_free(rq);
    } else if (again) {
        request_wait(rq, WAIT_OUTCOME, NULL, rq->deadline, NULL);
    } else if (f->delay) {
        request_wait(rq, WAIT_DELAY, NULL, loop_now(rq->server->loop) + f->delay, NULL);
    } else {
        run(rq);
    }
}

static struct request *request_new(struct server *server, uint64_t connection,
                                   const struct handler *handler, const json_t *message)
{
    struct request *rq = xcalloc(1, sizeof *rq);

    rq->server = server;
    rq->handler = handler;
    rq->connection = connection;
    rq->args_json = json_incref(json_object_get(message, "args"));
    rq->args = reader_of(&rq->arena, rq->args_json);
    rq->next = server->requests;
    if (rq->next)
        rq->next->prev = rq;
    server->requests = rq;
    server->n_requests++;
    return rq;
}

static void refuse(struct server *server, uint64_t connection, uint64_t serial, struct error *e)
{
    json_t *error = write_error(e);

    server_answer(server, connection, serial, error, NULL);
    json_decref(error);
}

bool request_arrived(struct server *server, uint64_t connection, const json_t *message)
{
    AUTO(arena) arena = {0};
    struct reader r = reader_of(&arena, message);
    const char *call = read_text(&r, "call", 64);
    uint64_t serial = (uint64_t)read_int(&r, "serial", 0, INT64_MAX);
    uint64_t epoch = (uint64_t)read_int(&r, "epoch", 0, INT64_MAX);
    usec_t timeout = read_int(&r, "timeout_ms", 1, INT32_MAX) * USEC_PER_MSEC;
    const struct handler *handler = handler_of(server, call);
    char id[UUID_TEXT_SIZE];
    struct request *rq;

    read_uuid(&r, "id", true, id);
    if (r.bad || !json_is_object(json_object_get(message, "args")))
        return false;
    if (!handler || server->n_requests >= REQUESTS_MAX) {
        refuse(server, connection, serial,
               error_internal(&arena, "hypervisor: %s: %s", call,
                              handler ? "too many requests" : "no such call"));
        return true;
    }
    rq = request_new(server, connection, handler, message);
    rq->serial = serial;
    rq->deadline = loop_now(server->loop) + timeout;
    if (lost_instead(rq, &fault_of(server, handler)->lose_request)) {
        request_free(rq);
        return true;
    }
    begin(rq, id, epoch);
    return true;
}

void requests_orphan(struct server *server, uint64_t connection)
{
    struct request *next;

    for (struct request *rq = server->requests; rq; rq = next) {
        next = rq->next;
        if (rq->connection != connection)
            continue;
        rq->connection = 0;
        if (!rq->outcome && !rq->handler->changes && rq->wait != WAIT_THREAD)
            request_free(rq);
    }
}

void request_again(struct server *server, const struct handler *handler, const char *id,
                   uint64_t what, json_t *args, bool noted)
{
    json_t *message = json_object();
    struct request *rq;

    if (json_object_set_new(message, "args", args) < 0)
        abort(); /* out of memory */
    rq = request_new(server, 0, handler, message);
    json_decref(message);
    rq->deadline = INT64_MAX;
    rq->again = true;
    rq->noted = noted;
    rq->outcome = outcome_begin(server->outcomes, id, OUTCOME_RUNNING, what);
    run(rq);
}

static size_t calls(const struct server *server)
{
    return ARRAY_SIZE(common) + server->program->n_handlers;
}

void requests_start(struct server *server)
{
    server->faults = xcalloc(calls(server), sizeof server->faults[0]);
    server->outcomes = outcomes_new();
}

void requests_stop(struct server *server)
{
    while (server->requests)
        request_free(server->requests);
    outcomes_free(server->outcomes);
    for (size_t i = 0; i < calls(server); i++) {
        free(server->faults[i].fail_code);
        free(server->faults[i].fail_text);
    }
    free(server->faults);
}
