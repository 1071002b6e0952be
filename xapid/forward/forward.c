/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/forward/forward.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "libxapi/codec/codec.h"
#include "libxapi/value/value.h"
#include "pool/peer/peer.h"
#include "xapid/auth/session.h"
#include "xapid/auth/session_json.h"
#include "xapid/db/member.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/registry.h"
#include "xapid/task/task.h"
#include "xapid/worker/workers.h"

#define TICK USEC_PER_SEC
#define ANSWER_WITHIN (5 * USEC_PER_SEC)
/* How often a member is asked for the calls it was given, and how long it may be silent. */
#define ASK_EVERY (3 * USEC_PER_SEC)
#define LOST_AFTER (30 * USEC_PER_SEC)
/* How long an answer is offered to who does not take it. */
#define KEEP_ANSWER (10 * 60 * USEC_PER_SEC)
#define CATCH_UP (10 * USEC_PER_SEC)
#define MAX_CALLS 2000 /* of others, running or not yet fetched; and of ours */
#define MAX_HOPS 3     /* a VM may move while a call follows it */

/* A call of another member that runs here, or has ended here. */
struct came {
    struct came *next;
    uint64_t id, member;
    json_t *request; /* until it runs */
    char *answer;    /* JSON, once it has ended */
    usec_t ended;
    struct forward *forward;
};

struct forward {
    struct xapid *xapid;
    struct mutex lock;
    struct cond changed;
    struct thread thread;
    bool stopping;
    uint64_t last_id;
    void (*run)(struct forward_came *came);
    struct forward_sent *sent;
    struct came *came;
    size_t n_sent, n_came;
    size_t n_answering; /* sent ones whose 'done' is being called */
};

/*** JSON ***/

static void ask_json(struct forward *f, uint64_t member, enum peer_kind kind, json_t *json,
                     void (*done)(void *ctx, enum peer_outcome, const void *, size_t), void *ctx)
{
    char *text = json_dumps(json, JSON_COMPACT);

    json_decref(json);
    peer_ask(f->xapid->peers, member, kind, text, text ? strlen(text) : 0, ANSWER_WITHIN, done,
             ctx);
    free(text);
}

static void answer_json(struct peer_request *request, json_t *json)
{
    char *text = json_dumps(json, JSON_COMPACT);

    json_decref(json);
    peer_answer(request, text, text ? strlen(text) : 0);
    free(text);
}

static json_t *error_json(const struct error *e)
{
    json_t *list = json_pack("[s]", e->code);

    for (size_t i = 0; i < e->n_params; i++)
        json_array_append_new(list, json_string(e->params[i]));
    return list;
}

/* NULL for what is no error. */
static struct error *error_of_json(struct arena *arena, const json_t *list)
{
    size_t n = json_array_size(list);
    struct error *e;

    if (n == 0 || !json_is_string(json_array_get(list, 0)))
        return NULL;
    e = arena_zalloc(arena, sizeof *e + n * sizeof *e->params);
    e->code = arena_strdup(arena, json_string_value(json_array_get(list, 0)));
    e->n_params = n - 1;
    for (size_t i = 1; i < n; i++) {
        const char *text = json_string_value(json_array_get(list, i));

        e->params[i - 1] = arena_strdup(arena, text ? text : "");
    }
    return e;
}

static uint64_t number_of(const json_t *json, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(json, key));
}

/*** ours: sending ***/

static const char *args_text(const struct forward_sent *s)
{
    const struct message_desc *m = s->message;
    struct buf b = {0};
    const char *text;

    xmlrpc_call_begin(&b, m->full_name);
    for (size_t i = 0; i < m->n_params; i++)
        xmlrpc_call_param(&b, m->params[i].type, (const char *)s->args + m->params[i].offset);
    xmlrpc_call_end(&b);
    text = arena_strndup(s->call->arena, b.data, b.len);
    buf_release(&b);
    return text;
}

static json_t *request_json(const struct forward_sent *s)
{
    struct call *call = s->call;
    json_t *json =
        json_pack("{s:s, s:s, s:I, s:i}", "message", s->message->full_name, "args", args_text(s),
                  "revision", (json_int_t)snap_root(call->snap)->revision, "hops", call->hops + 1);

    if (call->session)
        json_object_set_new(json, "session", session_to_json(call->arena, call->session));
    if (call->task)
        json_object_set_new(json, "task",
                            json_pack("{s:s, s:s, s:s}", "ref",
                                      ref_text(call->arena, call->task->ref), "key",
                                      call->task->key, "name", call->task->name));
    return json;
}

/* With the lock held: it is answered soon, with 'answer' (taken over) or as lost. */
static void end_sent(struct forward *f, struct forward_sent *s, json_t *answer)
{
    if (s->over) {
        json_decref(answer);
        return;
    }
    s->over = true;
    s->answer = answer;
    cond_signal(&f->changed);
}

static struct forward_sent *find_sent(struct forward *f, uint64_t member, uint64_t id)
{
    struct forward_sent *s = f->sent;

    while (s && !(s->id == id && s->member == member))
        s = s->next;
    return s;
}

struct asked {
    struct forward *forward;
    uint64_t member, id;
};

/* The member has taken the call, or refuses it; where that is not known, its status will say. */
static void on_taken(void *ctx, enum peer_outcome outcome, const void *data, size_t size)
{
    struct asked *a = ctx;
    struct forward *f = a->forward;
    json_t *json = outcome == PEER_ANSWERED ? json_loadb(data, size, 0, NULL) : NULL;
    struct forward_sent *s;

    mutex_lock(&f->lock);
    s = find_sent(f, a->member, a->id);
    if (s && (outcome == PEER_UNSENT || json_object_get(json, "error")))
        end_sent(f, s, json_incref(json));
    else if (s)
        s->under_way = true;
    mutex_unlock(&f->lock);
    json_decref(json);
    free(a);
}

static bool put_sent(struct forward *f, struct forward_sent *s, uint64_t *id)
{
    MUTEX_GUARD(&f->lock);
    if (f->stopping || f->n_sent >= MAX_CALLS)
        return false;
    s->forward = f;
    s->id = *id = ++f->last_id;
    s->heard = clock_mono();
    s->next = f->sent;
    f->sent = s;
    f->n_sent++;
    cond_signal(&f->changed);
    return true;
}

bool forward_send(struct forward_sent *s, const struct error *e)
{
    struct call *call = s->call;
    struct forward *f = call->xapid->forward;
    uint64_t member, id;
    struct asked *a;
    json_t *json;

    if (!f || !error_is(e, "CANNOT_CONTACT_HOST") || ref_is_null(call->elsewhere) || call->wrote ||
        call->hops >= MAX_HOPS)
        return false;
    member = host_member(call, call->elsewhere);
    json = member ? request_json(s) : NULL;
    s->member = member;
    if (!json || !put_sent(f, s, &id)) {
        json_decref(json);
        return false;
    }
    /* From here on it may be answered, and gone, at any time. */
    a = xmalloc(sizeof *a);
    *a = (struct asked){f, member, id};
    json_object_set_new(json, "id", json_integer((json_int_t)id));
    ask_json(f, member, PEER_CALL, json, on_taken, a);
    return true;
}

/*** ours: the end ***/

static struct error *lost(struct call *call)
{
    return err_cannot_contact_host(call, call_ref(call, call->elsewhere));
}

static struct error *read_answer(struct call *call, const json_t *answer, const struct wire **value)
{
    const char *text = arena_strdup(call->arena, member_text(answer, "result"));
    uint64_t revision = number_of(answer, "revision");
    struct error *e =
        answer ? error_of_json(call->arena, json_object_get(answer, "error")) : lost(call);

    /* What was done there shows here before the client hears of it. */
    if (revision && !db_wait(call->xapid->db, revision - 1, clock_mono() + CATCH_UP))
        log_error("a call that another host ran has ended, and its changes have not arrived");
    call_refresh(call);
    if (e || xmlrpc_read_value(call->arena, text, strlen(text), value))
        return e;
    return error_internal(call->arena, "the answer of the host that ran it cannot be read");
}

/* On a worker. */
static void answer_sent(void *arg)
{
    struct forward_sent *s = arg;
    struct forward *f = s->forward;
    const struct wire *value = NULL;
    struct error *e = read_answer(s->call, s->answer, &value);

    json_decref(s->answer);
    s->done(s, e, value);
    mutex_lock(&f->lock);
    f->n_answering--;
    cond_signal(&f->changed);
    mutex_unlock(&f->lock);
}

static void serve_done(void *ctx, struct peer_request *request)
{
    struct forward *f = ctx;
    json_t *json = json_loadb(request->data, request->size, 0, NULL);
    struct forward_sent *s;

    mutex_lock(&f->lock);
    s = find_sent(f, request->from, number_of(json, "id"));
    if (s)
        end_sent(f, s, json_incref(json));
    mutex_unlock(&f->lock);
    json_decref(json);
    peer_answer(request, "{}", 2);
}

/*** ours: waited for ***/

struct waited {
    struct forward_sent sent; /* first */
    struct mutex lock;
    struct cond changed;
    bool over;
    struct error *e;
    const struct wire *value;
};

static void waited_done(struct forward_sent *sent, struct error *e, const struct wire *value)
{
    struct waited *w = (struct waited *)sent;

    MUTEX_GUARD(&w->lock);
    w->over = true;
    w->e = e;
    w->value = value;
    cond_signal(&w->changed);
}

static struct error *wait_for(struct waited *w)
{
    mutex_lock(&w->lock);
    while (!w->over)
        cond_wait(&w->changed, &w->lock);
    mutex_unlock(&w->lock);
    return w->e;
}

struct error *forward_run(struct call *call, int message, const void *args, void *result)
{
    const struct message_desc *m = &api_messages[message];
    struct waited w = {.sent = {.call = call, .message = m, .args = args, .done = waited_done}};
    bool wrote = call->wrote;
    struct error *e;

    call->elsewhere = REF_NULL;
    call->wrote = false; /* what was written before does not keep this message here */
    e = api_implementations[message](call, args, result);
    if (!e)
        return OK;
    mutex_init(&w.lock);
    cond_init(&w.changed);
    if (forward_send(&w.sent, e)) {
        e = wait_for(&w);
        if (!e && m->result->kind != TYPE_VOID)
            e = wire_to_result(call->arena, m->result, w.value, result);
    }
    call->wrote |= wrote;
    cond_release(&w.changed);
    mutex_release(&w.lock);
    return e;
}

/*** ours: still known? ***/

static bool lists(const json_t *ids, uint64_t id)
{
    size_t i;
    const json_t *one;

    json_array_foreach(ids, i, one) if ((uint64_t)json_integer_value(one) == id) return true;
    return false;
}

struct inquiry {
    struct forward *forward;
    uint64_t member;
    json_t *ids;
};

static void on_status(void *ctx, enum peer_outcome outcome, const void *data, size_t size)
{
    struct inquiry *q = ctx;
    struct forward *f = q->forward;
    json_t *json = outcome == PEER_ANSWERED ? json_loadb(data, size, 0, NULL) : NULL;
    const json_t *known = json_object_get(json, "ids");

    mutex_lock(&f->lock);
    for (struct forward_sent *s = f->sent; s && json_is_array(known); s = s->next) {
        if (s->member != q->member || !lists(q->ids, s->id))
            continue;
        if (lists(known, s->id))
            s->heard = clock_mono();
        else
            end_sent(f, s, NULL);
    }
    mutex_unlock(&f->lock);
    json_decref(q->ids);
    json_decref(json);
    free(q);
}

/* With the lock held: a question to the member of each call that waits, one for all of its calls;
 * in a list of JSON objects {"member","ids"}. */
static json_t *questions(struct forward *f)
{
    json_t *all = json_array();

    for (struct forward_sent *s = f->sent; s; s = s->next) {
        json_t *of = NULL, *one;
        size_t i;

        json_array_foreach(all, i, one) if (number_of(one, "member") == s->member) of = one;
        if (!of) {
            of = json_pack("{s:I, s:[]}", "member", (json_int_t)s->member, "ids");
            json_array_append_new(all, of);
        }
        if (s->under_way && !s->over)
            json_array_append_new(json_object_get(of, "ids"), json_integer((json_int_t)s->id));
    }
    return all;
}

static void ask_status(struct forward *f, json_t *all)
{
    size_t i;
    json_t *one;

    json_array_foreach(all, i, one)
    {
        struct inquiry *q = xmalloc(sizeof *q);

        *q =
            (struct inquiry){f, number_of(one, "member"), json_incref(json_object_get(one, "ids"))};
        ask_json(f, q->member, PEER_CALL_STATUS, json_pack("{s:O}", "ids", q->ids), on_status, q);
    }
    json_decref(all);
}

static void give_up_silent(struct forward *f, usec_t now)
{
    for (struct forward_sent *s = f->sent; s; s = s->next)
        if (!s->over && now > s->heard + LOST_AFTER)
            end_sent(f, s, NULL);
}

/*** others': running ***/

static struct came **find_came(struct forward *f, uint64_t member, uint64_t id)
{
    struct came **p = &f->came;

    while (*p && !((*p)->id == id && (*p)->member == member))
        p = &(*p)->next;
    return p;
}

static void came_free(struct came *c)
{
    json_decref(c->request);
    free(c->answer);
    free(c);
}

/* It was fetched. */
static void on_fetched(void *ctx, enum peer_outcome outcome, const void *data, size_t size)
{
    struct asked *a = ctx;
    struct forward *f = a->forward;
    struct came **p, *c = NULL;

    (void)data, (void)size;
    mutex_lock(&f->lock);
    p = find_came(f, a->member, a->id);
    if (outcome == PEER_ANSWERED && *p) {
        c = *p;
        *p = c->next;
        f->n_came--;
    }
    mutex_unlock(&f->lock);
    if (c)
        came_free(c);
    free(a);
}

/* With the lock held. */
static void offer(struct forward *f, const struct came *c)
{
    struct asked *a = xmalloc(sizeof *a);

    *a = (struct asked){f, c->member, c->id};
    peer_ask(f->xapid->peers, c->member, PEER_CALL_DONE, c->answer, strlen(c->answer),
             ANSWER_WITHIN, on_fetched, a);
}

static const char *answer_text(struct forward_came *came, const struct error *e, const char *value)
{
    struct db_snap *snap = db_snapshot(came->call.xapid->db);
    json_t *json = e ? json_pack("{s:o}", "error", error_json(e))
                     : json_pack("{s:s}", "result", value ? value : "");
    char *text;

    json_object_set_new(json, "id", json_integer((json_int_t)came->id));
    json_object_set_new(json, "revision", json_integer((json_int_t)snap_root(snap)->revision));
    db_snap_unref(snap);
    text = json_dumps(json, JSON_COMPACT);
    json_decref(json);
    return text ? text : xstrdup("{}");
}

void forward_finish(struct forward_came *came, const struct error *e, const char *value)
{
    struct forward *f = came->forward;
    uint64_t member = came->member, id = came->id;
    const char *text = answer_text(came, e, value);
    struct arena *arena = came->call.arena;
    struct came *c;

    task_leave(&came->call);
    call_release(&came->call);
    arena_free_self(arena);
    mutex_lock(&f->lock);
    c = *find_came(f, member, id); /* stays until it is fetched */
    c->answer = (char *)text;
    c->ended = clock_mono();
    offer(f, c);
    cond_signal(&f->changed);
    mutex_unlock(&f->lock);
}

static void take_session(struct call *call, const json_t *json)
{
    struct auth_session who;

    if (!session_of_json(call->arena, json, &who))
        return;
    call->session = session_stand_in(call->xapid->sessions, &who);
    call->originator = call->session->originator;
}

static void take_task(struct call *call, const json_t *json)
{
    ref_t ref;

    if (member_ref(json, "ref", &ref))
        task_join(call, arena_strdup(call->arena, member_text(json, "name")), ref,
                  arena_strdup(call->arena, member_text(json, "key")));
}

static struct error *take_args(struct forward_came *came, const char *text)
{
    const struct message_desc *m = came->message;
    struct arena *arena = came->call.arena;
    struct rpc_request request;
    const char *why = "";

    came->args = arena_zalloc(arena, MAX(m->args_size, (uint16_t)1));
    if (!xmlrpc_read_request(arena, arena_strdup(arena, text), strlen(text), &request, &why))
        return error_internal(arena, "a call of another host cannot be read: %s", why);
    if (request.n_params != m->n_params)
        return error_internal(arena, "a call of another host has other parameters");
    for (size_t i = 0; i < m->n_params; i++)
        TRY(wire_to_value(arena, m->params[i].type, &request.params[i], m->params[i].name,
                          (char *)came->args + m->params[i].offset));
    return OK;
}

/* A database at least as new as what the other member has decided on. */
static struct error *take_state(struct call *call, uint64_t revision)
{
    if (revision && !db_wait(call->xapid->db, revision - 1, clock_mono() + CATCH_UP))
        return err_cannot_contact_host(call, call_ref(call, call->xapid->host));
    call_refresh(call);
    return OK;
}

static struct error *take_call(struct forward_came *came, const json_t *json)
{
    struct call *call = &came->call;

    came->message = api_message_by_name(member_text(json, "message"));
    if (!came->message)
        return err_message_method_unknown(call, member_text(json, "message"));
    call->hops = (int)number_of(json, "hops");
    take_session(call, json_object_get(json, "session"));
    take_task(call, json_object_get(json, "task"));
    TRY(take_args(came, member_text(json, "args")));
    return take_state(call, number_of(json, "revision"));
}

/* On a worker. */
static void run_came(void *arg)
{
    struct came *c = arg;
    struct arena *arena = arena_new_self();
    struct forward_came *came = arena_new(arena, struct forward_came);
    struct error *e;

    came->forward = c->forward;
    came->id = c->id;
    came->member = c->member;
    came->call.arena = arena;
    came->call.xapid = c->forward->xapid;
    came->call.snap = db_snapshot(came->call.xapid->db);
    e = take_call(came, c->request);
    json_decref(c->request);
    c->request = NULL;
    if (e)
        forward_finish(came, e, NULL);
    else
        c->forward->run(came);
}

static bool put_came(struct forward *f, struct came *c)
{
    MUTEX_GUARD(&f->lock);
    if (f->stopping || f->n_came >= MAX_CALLS)
        return false;
    c->next = f->came;
    f->came = c;
    f->n_came++;
    return true;
}

static void drop_came(struct forward *f, struct came *c)
{
    struct came **p;

    mutex_lock(&f->lock);
    p = find_came(f, c->member, c->id);
    *p = c->next;
    f->n_came--;
    mutex_unlock(&f->lock);
    came_free(c);
}

static void serve_call(void *ctx, struct peer_request *request)
{
    static const char busy[] = "{\"error\":[\"INTERNAL_ERROR\",\"the host that must run it has too "
                               "many calls waiting; try again later\"]}";
    struct forward *f = ctx;
    struct came *c = xcalloc(1, sizeof *c);

    c->forward = f;
    c->member = request->from;
    c->request = json_loadb(request->data, request->size, 0, NULL);
    c->id = number_of(c->request, "id");
    if (!put_came(f, c)) {
        came_free(c);
    } else if (!workers_run(f->xapid->workers, run_came, c)) {
        drop_came(f, c);
    } else {
        peer_answer(request, "{}", 2);
        return;
    }
    peer_answer(request, busy, sizeof busy - 1);
}

static void serve_status(void *ctx, struct peer_request *request)
{
    struct forward *f = ctx;
    json_t *json = json_loadb(request->data, request->size, 0, NULL), *known = json_array();
    const json_t *one;
    size_t i;

    mutex_lock(&f->lock);
    json_array_foreach(json_object_get(json, "ids"), i,
                       one) if (*find_came(f, request->from, (uint64_t)json_integer_value(one)))
        json_array_append_new(known, json_integer(json_integer_value(one)));
    mutex_unlock(&f->lock);
    json_decref(json);
    answer_json(request, json_pack("{s:o}", "ids", known));
}

/* With the lock held: answers that were not fetched are offered again, old ones dropped. */
static void offer_again(struct forward *f, usec_t now)
{
    struct came **p = &f->came;

    while (*p) {
        struct came *c = *p;

        if (c->answer && now > c->ended + KEEP_ANSWER) {
            *p = c->next;
            f->n_came--;
            came_free(c);
            continue;
        }
        if (c->answer && now > c->ended + TICK)
            offer(f, c);
        p = &c->next;
    }
}

/*** the thread ***/

/* With the lock held, which it lets go of meanwhile. */
static void answer_ended(struct forward *f)
{
    struct forward_sent **p = &f->sent;

    while (*p) {
        struct forward_sent *s = *p;

        if (!s->over) {
            p = &s->next;
            continue;
        }
        *p = s->next;
        f->n_sent--;
        f->n_answering++;
        mutex_unlock(&f->lock);
        if (!workers_run(f->xapid->workers, answer_sent, s))
            answer_sent(s);
        mutex_lock(&f->lock);
        p = &f->sent;
    }
}

static void *forward_thread(void *arg)
{
    struct forward *f = arg;
    usec_t tick = 0, asked = 0;

    mutex_lock(&f->lock);
    while (!f->stopping) {
        usec_t now = clock_mono();

        answer_ended(f);
        if (now >= tick) {
            give_up_silent(f, now);
            offer_again(f, now);
            tick = now + TICK;
        }
        if (f->sent && now >= asked + ASK_EVERY) {
            json_t *all = questions(f);

            asked = now;
            mutex_unlock(&f->lock);
            ask_status(f, all);
            mutex_lock(&f->lock);
            continue;
        }
        if (f->sent || f->came)
            cond_wait_until(&f->changed, &f->lock, tick);
        else
            cond_wait(&f->changed, &f->lock);
    }
    for (struct forward_sent *s = f->sent; s; s = s->next)
        end_sent(f, s, NULL);
    answer_ended(f);
    while (f->n_answering)
        cond_wait(&f->changed, &f->lock);
    mutex_unlock(&f->lock);
    return NULL;
}

/*** life ***/

struct forward *forward_new(struct xapid *xapid, void (*run)(struct forward_came *came))
{
    struct forward *f = xcalloc(1, sizeof *f);

    f->xapid = xapid;
    f->run = run;
    /* A daemon that was started again must not take the answers to its forerunner's calls. */
    f->last_id = random_u64() >> 12;
    mutex_init(&f->lock);
    cond_init(&f->changed);
    peers_serve(xapid->peers, PEER_CALL, serve_call, f);
    peers_serve(xapid->peers, PEER_CALL_DONE, serve_done, f);
    peers_serve(xapid->peers, PEER_CALL_STATUS, serve_status, f);
    thread_start(&f->thread, "forward", forward_thread, f);
    return f;
}

void forward_stop(struct forward *f)
{
    if (!f)
        return;
    peers_serve(f->xapid->peers, PEER_CALL, NULL, NULL);
    peers_serve(f->xapid->peers, PEER_CALL_DONE, NULL, NULL);
    peers_serve(f->xapid->peers, PEER_CALL_STATUS, NULL, NULL);
    mutex_lock(&f->lock);
    f->stopping = true;
    cond_broadcast(&f->changed);
    mutex_unlock(&f->lock);
    thread_join(&f->thread);
}

void forward_free(struct forward *f)
{
    if (!f)
        return;
    while (f->came) {
        struct came *next = f->came->next;

        came_free(f->came);
        f->came = next;
    }
    cond_release(&f->changed);
    mutex_release(&f->lock);
    free(f);
}
