/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * event.c -- the messages of class event.
 *
 * A listener with nothing to hear is a struct waiter in a list.  Whoever takes it out of the list,
 * under the lock, answers it: a new version of the database, its timer, the end of its session, its
 * client going away, or the end of the daemon.
 */
#include "xapid/event/event.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "xapid/auth/session.h"
#include "xapid/db/member.h"
#include "xapid/db/ready.h"
#include "xapid/event/collect.h"
#include "xapid/main/xapid.h"
#include "xapid/worker/workers.h"

#define LONGEST_WAIT (24 * 3600 * USEC_PER_SEC)
/* event.next tells of the pool when nothing else happens, so that its clients know that the
 * connection lives. */
#define HEARTBEAT (30 * USEC_PER_SEC)
#define MAX_REGISTRATIONS 1000

/* Outlives the waiter where the timer runs while somebody else answers. */
struct timer_arg {
    struct events *events;
    uint64_t id;
};

struct waiter {
    struct waiter *next;
    uint64_t id;
    struct rpc_call *rpc;
    struct http_request *http;
    struct subscriptions subscriptions;
    uint64_t revision;
    bool from_start, is_next;
    ref_t session;
    struct http_timer *timer;
    struct timer_arg *timer_arg;
};

/* event.register: one set of subscriptions a session. */
struct registration {
    struct registration *next;
    ref_t session;
    uint64_t revision;
    struct arena arena;
    struct subscriptions subscriptions;
};

struct events {
    struct xapid *xapid;
    struct db_subscription *feed;
    struct mutex lock;
    struct waiter *waiters;
    struct registration *registrations;
    uint64_t last_id;
    bool wake_posted, closing;
};

/* A token made by another database, or by this one before it was restored from a backup or went on
 * alone in an emergency, must not be believed. */
static uint64_t incarnation(const struct xapid *xapid, const struct db_root *root)
{
    const struct takeover *row = root_get(root, CLASS_takeover, TAKEOVER_REF);

    return root->incarnation ^ (xapid->pool.lo >> 1) ^ (row ? (uint64_t)row->incarnation : 0);
}

/*** the answer ***/

struct reply {
    struct http_body body;
    struct arena arena;
    struct xapid *xapid;
    struct db_snap *snap;
    struct rpc_request request;
    struct event_list list;
    bool is_next;
    size_t next;
    uint64_t since; /* what the client knew: its token does not go back */
};

static void member(struct buf *out, const struct codec *codec, const char *name, bool first,
                   const char *value)
{
    codec->member_begin(out, name, first);
    codec->string(out, value);
    codec->member_end(out);
}

static void write_item(struct buf *out, const struct codec *codec, const struct codec_env *env,
                       const struct event_item *item, bool is_next)
{
    char ref[REF_TEXT_SIZE], id[24];
    const struct class_desc *class = &api_classes[item->class_id];

    snprintf(id, sizeof id, "%llu", (unsigned long long)(item->order & INT64_MAX));
    codec->struct_begin(out);
    member(out, codec, "id", true, id);
    member(out, codec, "timestamp", false, "0.0");
    member(out, codec, "class", false, class->lower);
    member(out, codec, "operation", false, enum_event_operation.names[item->operation]);
    member(out, codec, "ref", false, ref_to_text(item->ref, ref));
    if (is_next)
        member(out, codec, "obj_uuid", false,
               item->row && class->uuid_field >= 0
                   ? *(const char *const *)field_in(item->row, &api_fields[class->uuid_field])
                   : "");
    if (item->row) {
        codec->member_begin(out, "snapshot", false);
        codec->value(out, env, class->record_type, &item->row);
        codec->member_end(out);
    }
    codec->struct_end(out);
}

static void write_counts(struct buf *out, const struct codec *codec, const struct db_root *root)
{
    bool first = true;

    codec->struct_begin(out);
    for (size_t i = 0; i < api_n_classes; i++) {
        if (!(api_classes[i].flags & (CLASS_PUBLIC_DB | CLASS_STORED)) ||
            api_classes[i].flags & CLASS_INTERNAL)
            continue;
        codec->member_begin(out, api_classes[i].lower, first);
        codec->typed_int(out, root->tables[i].count);
        codec->member_end(out);
        first = false;
    }
    codec->struct_end(out);
}

static void write_head(struct buf *out, struct reply *r, const struct codec *codec)
{
    rpc_success_begin(out, &r->request);
    if (!r->is_next) {
        codec->struct_begin(out);
        codec->member_begin(out, "events", true);
    }
    codec->array_begin(out);
}

static void write_tail(struct buf *out, struct reply *r, const struct codec *codec)
{
    const struct db_root *root = snap_root(r->snap);
    uint64_t revision = MAX(root->revision, r->since);
    char token[TOKEN_SIZE];

    codec->array_end(out);
    if (!r->is_next) {
        codec->member_end(out);
        codec->member_begin(out, "valid_ref_counts", false);
        write_counts(out, codec, root);
        codec->member_end(out);
        member(out, codec, "token", false,
               token_text(revision, incarnation(r->xapid, root), token));
        codec->struct_end(out);
    }
    rpc_success_end(out, &r->request);
}

static bool reply_next(struct http_body *body, struct buf *out, size_t want)
{
    struct reply *r = (struct reply *)body;
    const struct codec *codec = codec_of(r->request.protocol);
    size_t start = out->len;

    if (r->next == 0)
        write_head(out, r, codec);
    while (r->next < r->list.n && out->len - start < want) {
        struct arena scratch = {0};
        struct codec_env env;

        rpc_env(&env, &scratch, r->xapid, r->snap);
        env.written = row_written;
        if (r->next > 0)
            codec->array_next(out);
        write_item(out, codec, &env, &r->list.v[r->next++], r->is_next);
        arena_release(&scratch);
    }
    if (r->next < r->list.n)
        return true;
    write_tail(out, r, codec);
    return false;
}

static void reply_release(struct http_body *body)
{
    struct reply *r = (struct reply *)body;

    db_snap_unref(r->snap);
    arena_release(&r->arena);
    free(r);
}

/* Answers with what happened up to the call's snapshot. */
static void answer(struct rpc_call *rpc, const struct subscriptions *s, uint64_t revision,
                   bool from_start, bool is_next)
{
    static const struct http_pair headers[] = {{"cache-control", "no-cache, no-store"},
                                               {"Access-Control-Allow-Origin", "*"}};
    struct reply *r = xcalloc(1, sizeof *r);
    struct buf count = {.count_only = true};
    struct http_request *http = rpc->http;
    struct http_response response = {
        .status = 200,
        .content_type = rpc->request.protocol == RPC_XML ? "text/xml" : "application/json",
        .n_headers = ARRAY_SIZE(headers),
        .headers = headers,
    };

    r->body.next = reply_next;
    r->body.release = reply_release;
    r->xapid = rpc->call.xapid;
    r->snap = db_snap_ref(rpc->call.snap);
    r->request = (struct rpc_request){
        .protocol = rpc->request.protocol,
        .id = rpc->request.id ? arena_strdup(&r->arena, rpc->request.id) : NULL};
    r->is_next = is_next;
    r->since = from_start ? 0 : revision;
    session_saw(rpc->call.session, snap_root(r->snap)->revision);
    events_collect(&r->arena, snap_root(r->snap), s, revision, from_start, &r->list);
    if (is_next && r->list.n == 0) {
        struct event_item *pool = arena_new(&r->arena, struct event_item);

        *pool = (struct event_item){CLASS_pool, rpc->call.xapid->pool, EVENT_MOD,
                                    root_get(snap_root(r->snap), CLASS_pool, rpc->call.xapid->pool),
                                    snap_root(r->snap)->revision};
        r->list = (struct event_list){pool->row ? 1 : 0, pool};
    }
    reply_next(&r->body, &count, SIZE_MAX);
    r->body.size = (int64_t)count.len;
    r->next = 0;
    call_release(&rpc->call);
    response.body = &r->body;
    http_reply(http, &response);
}

/*** waiting ***/

static struct waiter *take_out(struct waiter **p)
{
    struct waiter *w = *p;

    *p = w->next;
    return w;
}

static void waiter_free(struct waiter *w)
{
    if (w->timer && http_timer_cancel(w->timer))
        free(w->timer_arg);
    free(w);
}

static struct registration *find_registration(struct events *ev, ref_t session)
{
    struct registration *r = ev->registrations;

    while (r && !ref_equal(r->session, session))
        r = r->next;
    return r;
}

/* event.next of this session has told of everything up to 'revision'. */
static void advance(struct events *ev, ref_t session, uint64_t revision)
{
    struct registration *r;

    MUTEX_GUARD(&ev->lock);
    r = find_registration(ev, session);
    if (r)
        r->revision = MAX(r->revision, revision);
}

static void answer_waiter(struct waiter *w)
{
    struct rpc_call *rpc = w->rpc;
    struct subscriptions s = w->subscriptions;
    uint64_t revision = w->revision;
    bool from_start = w->from_start, is_next = w->is_next;

    waiter_free(w);
    call_refresh(&rpc->call);
    /* A snapshot of the log may have taken the place of many changes, and remembers not all. */
    if (!from_start && revision < snap_root(rpc->call.snap)->forgotten) {
        rpc_answer(rpc, err_events_lost(&rpc->call), NULL);
        return;
    }
    if (is_next)
        advance(rpc->call.xapid->events, rpc->call.session->ref,
                snap_root(rpc->call.snap)->revision);
    answer(rpc, &s, revision, from_start, is_next);
}

static void on_timeout(void *arg)
{
    struct timer_arg *t = arg;
    struct events *ev = t->events;
    struct waiter **p, *w = NULL;

    mutex_lock(&ev->lock);
    for (p = &ev->waiters; *p && (*p)->id != t->id; p = &(*p)->next)
        ;
    if (*p)
        w = take_out(p);
    mutex_unlock(&ev->lock);
    if (w)
        answer_waiter(w); /* its timer_cancel sees that the timer has run */
    free(t);
}

static void on_gone(struct http_request *request, void *arg)
{
    struct events *ev = arg;
    struct waiter **p, *w = NULL;

    mutex_lock(&ev->lock);
    for (p = &ev->waiters; *p && (*p)->http != request; p = &(*p)->next)
        ;
    if (*p)
        w = take_out(p);
    mutex_unlock(&ev->lock);
    if (w)
        answer_waiter(w); /* nobody reads it, but every request is answered */
}

/* Answers those that have something to hear; on a loop thread. */
static void wake(void *arg)
{
    struct events *ev = arg;
    struct db_snap *snap;
    struct waiter **p, *ready = NULL;

    mutex_lock(&ev->lock);
    ev->wake_posted = false;
    mutex_unlock(&ev->lock);
    snap = db_snapshot(ev->xapid->db);
    mutex_lock(&ev->lock);
    p = &ev->waiters;
    while (*p) {
        if ((*p)->revision < snap_root(snap)->forgotten ||
            events_any(snap_root(snap), &(*p)->subscriptions, (*p)->revision)) {
            struct waiter *w = take_out(p);

            w->next = ready;
            ready = w;
        } else {
            /* Nothing up to here was for it: the next look starts from here. */
            (*p)->revision = MAX((*p)->revision, snap_root(snap)->revision);
            p = &(*p)->next;
        }
    }
    mutex_unlock(&ev->lock);
    db_snap_unref(snap);
    while (ready) {
        struct waiter *next = ready->next;

        answer_waiter(ready);
        ready = next;
    }
}

static void on_change(void *ctx, uint64_t revision)
{
    struct events *ev = ctx;

    (void)revision;
    MUTEX_GUARD(&ev->lock);
    if (ev->wake_posted || !ev->waiters || ev->closing)
        return;
    ev->wake_posted = true;
    http_post(ev->xapid->http, wake, ev);
}

static void on_session_end(void *ctx, ref_t session)
{
    struct events *ev = ctx;
    struct waiter **p, *gone = NULL;

    mutex_lock(&ev->lock);
    p = &ev->waiters;
    while (*p) {
        if (ref_equal((*p)->session, session)) {
            struct waiter *w = take_out(p);

            w->next = gone;
            gone = w;
        } else {
            p = &(*p)->next;
        }
    }
    for (struct registration **r = &ev->registrations; *r; r = &(*r)->next) {
        if (ref_equal((*r)->session, session)) {
            struct registration *old = *r;

            *r = old->next;
            arena_release(&old->arena);
            free(old);
            break;
        }
    }
    mutex_unlock(&ev->lock);
    while (gone) {
        struct waiter *next = gone->next;
        struct rpc_call *rpc = gone->rpc;

        waiter_free(gone);
        rpc_answer(rpc, err_session_invalid(&rpc->call, call_ref(&rpc->call, session)), NULL);
        gone = next;
    }
}

static void wait_for_event(struct events *ev, struct rpc_call *rpc, const struct subscriptions *s,
                           uint64_t revision, usec_t timeout, bool is_next)
{
    struct waiter *w = xcalloc(1, sizeof *w);
    struct db_snap *snap;
    bool late, gone;

    w->rpc = rpc;
    w->http = rpc->http;
    w->subscriptions = *s;
    w->revision = revision;
    w->is_next = is_next;
    w->session = rpc->call.session->ref;
    w->timer_arg = xcalloc(1, sizeof *w->timer_arg);
    w->timer_arg->events = ev;
    /* A snapshot must not be held for hours. */
    call_let_go(&rpc->call);
    if (!rpc->on_worker)
        http_on_gone(rpc->http, on_gone, ev);
    mutex_lock(&ev->lock);
    /* On a worker on_gone may have run already; if not yet, it waits for the lock. */
    gone = rpc->on_worker && http_client_gone(rpc->http);
    if (ev->closing || gone) {
        mutex_unlock(&ev->lock);
        free(w->timer_arg);
        answer_waiter(w);
        return;
    }
    w->timer_arg->id = w->id = ++ev->last_id;
    w->timer = http_timer_start(ev->xapid->http, timeout, on_timeout, w->timer_arg);
    w->next = ev->waiters;
    ev->waiters = w;
    mutex_unlock(&ev->lock);
    /* What was published between the look and the entry into the list woke nobody. */
    snap = db_snapshot(ev->xapid->db);
    late = snap_root(snap)->revision > revision;
    db_snap_unref(snap);
    if (late)
        on_change(ev, 0);
}

/*** event.from ***/

struct from {
    struct subscriptions subscriptions;
    uint64_t revision;
    bool from_start;
};

static struct error *parse_from(struct rpc_call *rpc, const struct event_from_args *args,
                                struct from *out)
{
    const struct db_root *root = snap_root(rpc->call.snap);
    uint64_t made_by;

    TRY(subscriptions_parse(&rpc->call, args->classes, &out->subscriptions));
    out->from_start = *args->token == '\0';
    if (out->from_start)
        return OK;
    TRY(token_parse(&rpc->call, args->token, &out->revision, &made_by));
    /* What another member has applied already comes here too: it is waited for. */
    if (made_by != incarnation(rpc->call.xapid, root) || out->revision < root->forgotten ||
        (out->revision > root->revision && !db_has_others(rpc->call.xapid->db)))
        return err_events_lost(&rpc->call);
    return OK;
}

static void from_on_worker(void *arg)
{
    struct rpc_call *rpc = arg;
    struct from from;

    /* Parsed once already, so this cannot fail but for a token that has become too old. */
    struct error *e = parse_from(rpc, rpc->args, &from);

    if (e)
        rpc_answer(rpc, e, NULL);
    else
        answer(rpc, &from.subscriptions, from.revision, from.from_start, false);
}

static void event_from(struct events *ev, struct rpc_call *rpc)
{
    const struct event_from_args *args = rpc->args;
    struct from from = {0};
    struct error *e = parse_from(rpc, args, &from);
    usec_t timeout = LONGEST_WAIT;

    if (e) {
        rpc_answer(rpc, e, NULL);
        return;
    }
    if (isfinite(args->timeout) && args->timeout >= 0 &&
        args->timeout * USEC_PER_SEC < (double)LONGEST_WAIT)
        timeout = (usec_t)(args->timeout * USEC_PER_SEC);
    if (from.from_start) {
        if (!workers_run(rpc->call.xapid->workers, from_on_worker, rpc))
            from_on_worker(rpc);
    } else if (timeout == 0 ||
               events_any(snap_root(rpc->call.snap), &from.subscriptions, from.revision)) {
        answer(rpc, &from.subscriptions, from.revision, false, false);
    } else {
        wait_for_event(ev, rpc, &from.subscriptions, from.revision, timeout, false);
    }
}

/*** the old messages ***/

static size_t count_registrations(const struct events *ev)
{
    size_t n = 0;

    for (const struct registration *r = ev->registrations; r; r = r->next)
        n++;
    return n;
}

struct error *event_register(struct call *call, const struct event_register_args *args)
{
    struct events *ev = call->xapid->events;
    struct subscriptions s;
    struct registration *r;
    struct subscription *both;

    TRY(subscriptions_parse(call, args->classes, &s));
    MUTEX_GUARD(&ev->lock);
    r = find_registration(ev, call->session->ref);
    if (!r) {
        if (count_registrations(ev) >= MAX_REGISTRATIONS)
            return error_internal(call->arena, "too many sessions are registered for events");
        r = xcalloc(1, sizeof *r);
        r->session = call->session->ref;
        r->revision = snap_root(call->snap)->revision;
        r->next = ev->registrations;
        ev->registrations = r;
    }
    if (r->subscriptions.n + s.n > SUBSCRIPTION_MAX)
        return err_event_subscription_parse_failure(call, "too many subscriptions");
    both = arena_alloc(&r->arena, (r->subscriptions.n + s.n) * sizeof *both);
    if (r->subscriptions.n)
        memcpy(both, r->subscriptions.v, r->subscriptions.n * sizeof *both);
    if (s.n)
        memcpy(both + r->subscriptions.n, s.v, s.n * sizeof *both);
    r->subscriptions = (struct subscriptions){r->subscriptions.n + s.n, both};
    return OK;
}

struct error *event_unregister(struct call *call, const struct event_unregister_args *args)
{
    struct events *ev = call->xapid->events;
    struct subscriptions s;
    struct registration *r;
    size_t kept = 0;

    TRY(subscriptions_parse(call, args->classes, &s));
    MUTEX_GUARD(&ev->lock);
    r = find_registration(ev, call->session->ref);
    for (size_t i = 0; r && i < r->subscriptions.n; i++) {
        bool drop = false;

        for (size_t j = 0; j < s.n; j++)
            drop |= s.v[j].class_id == r->subscriptions.v[i].class_id &&
                    ref_equal(s.v[j].ref, r->subscriptions.v[i].ref);
        if (!drop)
            r->subscriptions.v[kept++] = r->subscriptions.v[i];
    }
    if (r)
        r->subscriptions.n = kept;
    return OK;
}

static void event_next(struct events *ev, struct rpc_call *rpc)
{
    struct subscriptions s = {0};
    struct registration *r;
    uint64_t revision = 0, now = snap_root(rpc->call.snap)->revision;
    bool lost = false;

    mutex_lock(&ev->lock);
    r = find_registration(ev, rpc->call.session->ref);
    if (r) {
        s.n = r->subscriptions.n;
        s.v = arena_memdup(rpc->call.arena, r->subscriptions.v, s.n * sizeof *s.v);
        revision = r->revision;
        lost = revision < snap_root(rpc->call.snap)->forgotten;
    }
    mutex_unlock(&ev->lock);
    if (!r) {
        rpc_answer(
            rpc,
            err_session_not_registered(&rpc->call, call_ref(&rpc->call, rpc->call.session->ref)),
            NULL);
    } else if (lost) {
        rpc_answer(rpc, err_events_lost(&rpc->call), NULL);
    } else if (events_any(snap_root(rpc->call.snap), &s, revision)) {
        advance(ev, rpc->call.session->ref, now);
        answer(rpc, &s, revision, false, true);
    } else {
        wait_for_event(ev, rpc, &s, revision, HEARTBEAT, true);
    }
}

struct error *event_get_current_id(struct call *call, int64_t *result)
{
    *result = (int64_t)snap_root(call->snap)->revision;
    return OK;
}

struct touch {
    int class_id;
    ref_t ref;
};

static struct error *inject_txn(struct txn *txn, void *arg)
{
    const struct touch *t = arg;
    const void *row;

    TRY(txn_get(txn, t->class_id, t->ref, &row));
    txn_touch(txn, t->class_id, t->ref);
    return OK;
}

struct error *event_inject(struct call *call, const struct event_inject_args *args,
                           const char **result)
{
    const struct class_desc *class = api_class_by_lower(args->class);
    struct touch t;
    char token[TOKEN_SIZE];

    if (!class || !(class->flags & CLASS_STORED) || class->flags & CLASS_INTERNAL ||
        !ref_from_text(args->ref, &t.ref))
        return err_handle_invalid(call, args->class, args->ref);
    t.class_id = class->id;
    TRY(db_update(call, inject_txn, &t));
    /* Just before the event: whoever starts from here hears of it. */
    *result = arena_strdup(call->arena,
                           token_text(root_modified(snap_root(call->snap), t.class_id, t.ref) - 1,
                                      incarnation(call->xapid, snap_root(call->snap)), token));
    return OK;
}

void events_expect(struct rpc_call *rpc)
{
    http_on_gone(rpc->http, on_gone, rpc->call.xapid->events);
}

void events_call(struct rpc_call *rpc)
{
    struct events *ev = rpc->call.xapid->events;

    if (rpc->message->id == MSG_event_from)
        event_from(ev, rpc);
    else
        event_next(ev, rpc);
}

/*** life ***/

struct events *events_new(struct xapid *xapid)
{
    struct events *ev = xcalloc(1, sizeof *ev);

    ev->xapid = xapid;
    mutex_init(&ev->lock);
    ev->feed = db_subscribe(xapid->db, on_change, ev);
    sessions_on_end(xapid->sessions, on_session_end, ev);
    return ev;
}

void events_stop(struct events *ev)
{
    struct waiter *w;

    if (!ev)
        return;
    db_unsubscribe(ev->xapid->db, ev->feed);
    mutex_lock(&ev->lock);
    ev->closing = true;
    w = ev->waiters;
    ev->waiters = NULL;
    mutex_unlock(&ev->lock);
    while (w) {
        struct waiter *next = w->next;

        answer_waiter(w);
        w = next;
    }
}

void events_free(struct events *ev)
{
    if (!ev)
        return;
    while (ev->registrations) {
        struct registration *next = ev->registrations->next;

        arena_release(&ev->registrations->arena);
        free(ev->registrations);
        ev->registrations = next;
    }
    mutex_release(&ev->lock);
    free(ev);
}
