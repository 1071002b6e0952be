/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* dispatch.c -- finds the message, its session and arguments, and has it run. */
#include <string.h>

#include "libxapi/base/log.h"
#include "libxapi/base/seam.h"
#include "xapid/auth/agents.h"
#include "xapid/auth/audit.h"
#include "xapid/auth/auth.h"
#include "xapid/auth/callers.h"
#include "xapid/auth/rbac.h"
#include "xapid/auth/session.h"
#include "xapid/db/db.h"
#include "xapid/event/event.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/network/reached.h"
#include "xapid/ops/registry.h"
#include "xapid/rpc/rpc.h"
#include "xapid/task/task.h"
#include "xapid/task/timing.h"
#include "xapid/trace/trace.h"
#include "xapid/worker/workers.h"

/* How long a refusal waits to be made sure of. */
#define JUDGE_WITHIN (5 * USEC_PER_SEC)

/*** answering ***/

static void send_reply(struct rpc_call *rpc, const struct buf *body)
{
    static const struct http_pair headers[] = {
        {"cache-control", "no-cache, no-store"},
        {"Access-Control-Allow-Origin", "*"},
        {"Access-Control-Allow-Headers", "X-Requested-With"},
    };
    struct http_response response = {
        .status = 200,
        .content_type = rpc->request.protocol == RPC_XML ? "text/xml" : "application/json",
        .n_headers = ARRAY_SIZE(headers),
        .headers = headers,
        .data = body->data,
        .size = body->len,
    };

    http_reply(rpc->http, &response);
}

static void note_time(struct rpc_call *rpc, const struct error *e)
{
    const struct auth_session *session = rpc->call.session;
    struct span span = {.name = rpc->message->full_name,
                        .user = session ? session->user : NULL,
                        .parent = rpc->parent,
                        .took = clock_mono() - rpc->started,
                        .error = e};

    timing_note(rpc->call.xapid->timings, rpc->message->id, span.took);
    trace_note(&rpc->call, &span);
}

/* An error as the log may have it.  A session that is not known here may be good elsewhere. */
static const char *logged(struct rpc_call *rpc, const struct error *e)
{
    return rpc->message->flags & MESSAGE_SECRET || error_is(e, "SESSION_INVALID")
               ? e->code
               : error_line(rpc->call.arena, e);
}

/* The end of every call that is not an Async one's first answer: log, audit, let go. */
static void finish(struct rpc_call *rpc, const struct error *e)
{
    struct call *call = &rpc->call;

    if (e && rpc->message && !(rpc->message->flags & MESSAGE_PURE))
        log_info("%s by %s: %s", rpc->name, call->session ? call->session->user : "nobody",
                 logged(rpc, e));
    if (rpc->message && !(rpc->message->flags & MESSAGE_PURE))
        audit_call(call, rpc->message, rpc->args, e);
    if (rpc->message)
        note_time(rpc, e);
    if (call->snap && !call->copy)
        session_saw(call->session, snap_root(call->snap)->revision);
    call_release(call);
}

static void answer_error(struct rpc_call *rpc, struct error *e)
{
    struct buf body = {0};

    rpc_failure(&body, &rpc->request, e);
    send_reply(rpc, &body);
    buf_release(&body);
}

void rpc_answer_value(struct rpc_call *rpc, struct buf *value)
{
    struct buf body = {0};

    if (rpc->came) {
        rpc->came->call = rpc->call;
        forward_finish(rpc->came, OK, value->data);
        buf_release(value);
        return;
    }
    rpc_success_begin(&body, &rpc->request);
    buf_add(&body, value->data, value->len);
    rpc_success_end(&body, &rpc->request);
    buf_release(value);
    finish(rpc, OK);
    send_reply(rpc, &body);
    buf_release(&body);
}

/* The XML-RPC text of a result, whatever the client speaks. */
static struct buf result_text(struct rpc_call *rpc, const void *result)
{
    struct codec_env env;
    struct buf value = {0};

    rpc_env(&env, rpc->call.arena, rpc->call.xapid, rpc->call.snap);
    codec_xmlrpc.value(&value, &env, rpc->message->result, result);
    return value;
}

static void end_task(struct rpc_call *rpc, const struct error *e, const void *result)
{
    struct buf value = {0};

    if (!e && !ref_is_null(rpc->call.task->ref))
        value = result_text(rpc, result);
    task_end(&rpc->call, e, value.data);
    buf_release(&value);
}

static void answer_came(struct rpc_call *rpc, const struct error *e, const void *result)
{
    struct forward_came *came = rpc->came;
    struct buf value = {0};

    if (!e)
        value = result_text(rpc, result);
    came->call = rpc->call;
    forward_finish(came, e, value.data);
    buf_release(&value);
}

void rpc_answer(struct rpc_call *rpc, struct error *e, const void *result)
{
    struct codec_env env;
    struct buf body = {0};

    if (rpc->came) {
        answer_came(rpc, e, result);
        return;
    }
    if (rpc->call.task)
        end_task(rpc, e, result);
    if (rpc->answered) {
        /* An Async call gave its task long ago; the request is gone, and the call lives in an arena
         * of its own. */
        struct arena *arena = rpc->call.arena;

        finish(rpc, e);
        arena_free_self(arena);
        return;
    }
    if (e) {
        rpc_failure(&body, &rpc->request, e);
    } else {
        rpc_env(&env, rpc->call.arena, rpc->call.xapid, rpc->call.snap);
        rpc_success_begin(&body, &rpc->request);
        codec_of(rpc->request.protocol)->value(&body, &env, rpc->message->result, result);
        rpc_success_end(&body, &rpc->request);
    }
    finish(rpc, e);
    send_reply(rpc, &body);
    buf_release(&body);
}

/*** system messages ***/

static void list_methods(struct rpc_call *rpc)
{
    const struct codec *codec = codec_of(rpc->request.protocol);
    struct buf body = {0};
    bool first = true;

    rpc_bare_begin(&body, &rpc->request);
    codec->array_begin(&body);
    for (size_t i = 0; i < api_n_messages; i++) {
        const struct message_desc *m = &api_messages[i];

        if (api_classes[m->class_id].flags & CLASS_INTERNAL)
            continue;
        if (!first)
            codec->array_next(&body);
        first = false;
        codec->string(&body, m->full_name);
    }
    codec->array_end(&body);
    rpc_bare_end(&body, &rpc->request);
    send_reply(rpc, &body);
    buf_release(&body);
}

static bool system_message(struct rpc_call *rpc)
{
    static const char alive[] = "system.isAlive:";
    struct buf value = {0};

    if (strcmp(rpc->request.method, "system.listMethods") == 0) {
        list_methods(rpc);
        return true;
    }
    if (strncmp(rpc->request.method, alive, sizeof alive - 1) != 0)
        return false;
    codec_of(rpc->request.protocol)
        ->string(&value, rpc->request.n_params && rpc->request.params[0].text
                             ? rpc->request.params[0].text
                             : rpc->request.method + sizeof alive - 1);
    rpc_answer_value(rpc, &value);
    return true;
}

/*** finding out what is asked ***/

static struct error *find_message(struct rpc_call *rpc)
{
    const char *name = rpc->request.method;

    rpc->name = name;
    if (strncmp(name, "Async.", 6) == 0) {
        rpc->async = true;
        name += 6;
    }
    rpc->message = api_message_by_name(name);
    if (!rpc->message || (api_classes[rpc->message->class_id].flags & CLASS_INTERNAL)) {
        rpc->message = NULL;
        return extension_find(rpc);
    }
    if (rpc->async && !(rpc->message->flags & MESSAGE_ASYNC))
        return error_new(
            rpc->call.arena, "Fault", 1,
            arena_printf(rpc->call.arena, "No async mode for this operation (rpc: %s)", name));
    return OK;
}

static struct error *check_count(struct rpc_call *rpc)
{
    const struct message_desc *m = rpc->message;
    size_t session = m->flags & MESSAGE_NO_SESSION ? 0 : 1;
    size_t given = rpc->request.n_params;

    /* Too many are ignored where some are optional, as the reference does. */
    if (given >= session + m->n_required &&
        (given <= session + m->n_params || m->n_required < m->n_params))
        return OK;
    return err_message_parameter_count_mismatch(
        &rpc->call, rpc->message->full_name, arena_printf(rpc->call.arena, "%d", m->n_required),
        arena_printf(rpc->call.arena, "%zd", MAX((ssize_t)given - (ssize_t)session, (ssize_t)0)));
}

struct error *rpc_find_session(struct rpc_call *rpc)
{
    const char *text;
    ref_t ref;

    text = rpc->request.params[0].text ? rpc->request.params[0].text : "";
    if (ref_from_text(text, &ref) && !ref_is_null(ref))
        rpc->call.session = session_find(rpc->call.xapid->sessions, ref);
    if (!rpc->call.session)
        return err_session_invalid(&rpc->call, text);
    rpc->call.originator = rpc->call.session->originator;
    if (rpc->call.session->copy) {
        rpc->call.copy = rpc->call.session->copy;
        call_refresh(&rpc->call);
    }
    return OK;
}

static struct error *decode_args(struct rpc_call *rpc)
{
    const struct message_desc *m = rpc->message;
    size_t first = m->flags & MESSAGE_NO_SESSION ? 0 : 1;

    rpc->args = arena_zalloc(rpc->call.arena, MAX(m->args_size, (uint16_t)1));
    for (size_t i = 0; i < m->n_params; i++) {
        const struct param_desc *p = &m->params[i];
        char *place = (char *)rpc->args + p->offset;

        if (first + i < rpc->request.n_params)
            TRY(wire_to_value(rpc->call.arena, p->type, &rpc->request.params[first + i], p->name,
                              place));
        else if (p->default_value)
            memcpy(place, p->default_value, p->type->size);
        else
            value_empty(p->type, place);
    }
    return OK;
}

static struct error *check_call(struct rpc_call *rpc)
{
    if (rpc->request.bad_utf8)
        return err_invalid_value(&rpc->call, "Invalid UTF-8 string in parameter", "");
    TRY(find_message(rpc));
    if (rpc->extension)
        return OK;
    TRY(check_count(rpc));
    if (!(rpc->message->flags & MESSAGE_NO_SESSION))
        TRY(rpc_find_session(rpc));
    TRY(decode_args(rpc));
    TRY(rbac_check(&rpc->call, rpc->message, rpc->args));
    if (rpc->message->flags & MESSAGE_PENDING)
        return err_not_implemented(&rpc->call, rpc->message->full_name);
    return OK;
}

/*** running ***/

/* A result buffer of the right size for any message. */
static void *result_of(struct rpc_call *rpc)
{
    const struct type *t = rpc->message->result;
    void *result = arena_zalloc(rpc->call.arena, MAX(t->size, (uint16_t)8));

    if (t->kind != TYPE_VOID && t->kind != TYPE_RECORD)
        value_empty(t, result);
    return result;
}

/* A message on an object that is not there is refused as such, whatever else is wrong with it. */
static struct error *check_object(struct rpc_call *rpc)
{
    const struct message_desc *m = rpc->message;
    const struct param_desc *self = m->n_params ? &m->params[0] : NULL;
    const void *row;

    if (!self || self->type->kind != TYPE_REF || self->type->class_id != m->class_id ||
        !(api_classes[m->class_id].flags & CLASS_STORED))
        return OK;
    return db_get(&rpc->call, m->class_id, *(const ref_t *)((const char *)rpc->args + self->offset),
                  &row);
}

static struct error *carry_out(struct rpc_call *rpc, void **result)
{
    message_fn *fn = api_implementations[rpc->message->id];

    *result = result_of(rpc);
    call_refresh(&rpc->call);
    rpc->call.elsewhere = REF_NULL;
    TRY(check_object(rpc));
    return fn ? fn(&rpc->call, rpc->args, *result) : implicit_write(rpc);
}

/* Refusals that rest on what the database says, and come before anything is done. */
static bool is_judgement(const struct rpc_call *rpc, const struct error *e)
{
    static const char *const codes[] = {"HANDLE_INVALID", "UUID_INVALID", "MAP_DUPLICATE_KEY",
                                        "VM_BAD_POWER_STATE"};

    if (error_is(e, "HOST_IN_EMERGENCY_MODE"))
        return false; /* it rests on nothing else */
    if (!api_implementations[rpc->message->id])
        return true;
    for (size_t i = 0; i < ARRAY_SIZE(codes); i++)
        if (error_is(e, codes[i]))
            return true;
    return false;
}

/*
 * A member that does not lead may be a little behind.  A read may be, but a change must not be
 * refused for what is not so any more: before its client hears of it everything acknowledged
 * anywhere is here, and the call is judged again.
 */
static struct error *judge_again(struct rpc_call *rpc, struct error *e, void **result)
{
    struct db *db = rpc->call.xapid->db;

    if (!e || rpc->call.wrote || db_leads(db) || !is_judgement(rpc, e))
        return e;
    if (db_barrier(db, clock_mono() + JUDGE_WITHIN))
        return carry_out(rpc, result);
    return error_internal(
        rpc->call.arena,
        "this member of the pool has no contact with the others, so it cannot tell "
        "whether this still holds: %s",
        error_line(rpc->call.arena, e));
}

/*** on another host ***/

static void forwarded(struct forward_sent *sent, struct error *e, const struct wire *value)
{
    struct rpc_call *rpc = container_of(sent, struct rpc_call, sent);
    void *result = result_of(rpc);

    if (rpc->message->flags & MESSAGE_CUSTOM_REPLY) {
        extension_answer(rpc, e, value);
        return;
    }
    if (!e)
        e = wire_to_result(rpc->call.arena, rpc->message->result, value, result);
    rpc_answer(rpc, e, result);
}

bool rpc_forward(struct rpc_call *rpc, const struct error *e)
{
    rpc->sent = (struct forward_sent){
        .call = &rpc->call, .message = rpc->message, .args = rpc->args, .done = forwarded};
    return forward_send(&rpc->sent, e);
}

static void run_on_worker(void *arg)
{
    struct rpc_call *rpc = arg;
    struct error *e;
    void *result;

    rpc->call.wrote = false; /* the task's row does not count */
    e = judge_again(rpc, carry_out(rpc, &result), &result);
    if (rpc_forward(rpc, e))
        return;
    /* What the operation wrote is in what is encoded now. */
    call_refresh(&rpc->call);
    rpc_answer(rpc, e, result);
}

void rpc_run_came(struct forward_came *came)
{
    struct rpc_call *rpc = arena_new(came->call.arena, struct rpc_call);

    rpc->call = came->call;
    rpc->message = came->message;
    rpc->args = came->args;
    rpc->name = came->message->full_name;
    rpc->started = clock_mono();
    rpc->came = came;
    if (rpc->message->flags & MESSAGE_CUSTOM_REPLY)
        extension_call(rpc);
    else
        run_on_worker(rpc);
}

struct error *rpc_too_many(struct rpc_call *rpc)
{
    return error_internal(rpc->call.arena, "xapid has too many calls waiting; try again later");
}

static void to_worker(struct rpc_call *rpc)
{
    if (!workers_run(rpc->call.xapid->workers, run_on_worker, rpc))
        rpc_answer(rpc, rpc_too_many(rpc), NULL);
}

/* The client's own task: header task-id. */
ref_t rpc_task_of_client(const struct rpc_call *rpc)
{
    const char *text = http_header(rpc->http, "task-id");
    ref_t ref = REF_NULL;

    if (text && !ref_from_text(text, &ref))
        ref = REF_NULL;
    return ref;
}

/* Moves the call out of the request's arena: the request ends with the answer, the call goes on. */
static struct rpc_call *detach(struct rpc_call *rpc)
{
    struct arena *arena = arena_new_self();
    struct rpc_call *copy = arena_memdup(arena, rpc, sizeof *rpc);
    const struct message_desc *m = rpc->message;

    copy->call.arena = arena;
    copy->http = NULL;
    copy->call.http = NULL;
    copy->name = arena_strdup(arena, rpc->name);
    copy->args = arena_zalloc(arena, MAX(m->args_size, (uint16_t)1));
    copy->call.originator = copy->call.session ? copy->call.session->originator : NULL;
    for (size_t i = 0; i < m->n_params; i++)
        value_copy(arena, m->params[i].type, (char *)rpc->args + m->params[i].offset,
                   (char *)copy->args + m->params[i].offset);
    db_snap_ref(copy->call.snap);
    if (copy->call.session)
        copy->call.session = session_find(copy->call.xapid->sessions, copy->call.session->ref);
    return copy;
}

static void start_async(void *arg)
{
    struct rpc_call *rpc = arg;
    struct rpc_call *own = detach(rpc);
    struct buf value = {0};
    struct error *e = task_begin(&own->call, own->name, true, rpc_task_of_client(rpc));

    if (e) {
        struct arena *arena = own->call.arena;

        e = error_copy(rpc->call.arena, e);
        call_release(&own->call);
        arena_free_self(arena);
        rpc_answer(rpc, e, NULL);
        return;
    }
    own->answered = true;
    if (!own->call.copy)
        session_saw(own->call.session, snap_root(own->call.snap)->revision);
    codec_of(rpc->request.protocol)->ref(&value, own->call.task->ref);
    /* The audit line is the task's matter. */
    rpc->message = NULL;
    rpc_answer_value(rpc, &value);
    run_on_worker(own);
}

static void start_sync(void *arg)
{
    struct rpc_call *rpc = arg;
    ref_t existing = rpc_task_of_client(rpc);
    struct error *e = task_begin(&rpc->call, rpc->message->full_name, false, existing);

    if (e)
        rpc_answer(rpc, e, NULL);
    else
        run_on_worker(rpc);
}

/* Who logs in says which program it is. */
static void log_in(struct rpc_call *rpc)
{
    agents_note(rpc->call.xapid->agents, http_header(rpc->http, "user-agent"));
    auth_call(rpc);
}

static void refuse(struct rpc_call *rpc, struct error *e)
{
    finish(rpc, e);
    answer_error(rpc, e);
}

static void run(struct rpc_call *rpc)
{
    bool own_task = rpc->message->kind == MESSAGE_EXPLICIT ||
                    rpc->message->kind == MESSAGE_CREATE || rpc->message->kind == MESSAGE_DESTROY;

    if (rpc->message->flags & MESSAGE_CUSTOM_REPLY) {
        if (rpc->message->class_id == CLASS_event && rpc->call.copy)
            refuse(rpc, err_operation_not_allowed(&rpc->call,
                                                  "Nothing happens in a copy of a database."));
        else if (rpc->message->class_id == CLASS_event)
            events_call(rpc);
        else if (rpc->message->class_id == CLASS_host)
            extension_call(rpc);
        else
            log_in(rpc);
        return;
    }
    if (implicit_read(rpc))
        return;
    if (!own_task)
        to_worker(rpc);
    else if (!workers_run(rpc->call.xapid->workers, rpc->async ? start_async : start_sync, rpc))
        rpc_answer(rpc, rpc_too_many(rpc), NULL);
}

/*** where the session is ***/

/* A change of the management interface waits for this. */
static void note_reached(struct rpc_call *rpc)
{
    struct reached *reached = rpc->call.xapid->reached;

    if (*rpc->http->peer && reached_is_awaited(reached))
        reached_note(reached, http_local_address(rpc->http), rpc->http->peer);
}

static void check_and_run(struct rpc_call *rpc)
{
    struct error *e = check_call(rpc);

    if (e) {
        refuse(rpc, e);
        return;
    }
    rpc->call.http = rpc->http;
    if (rpc->call.session)
        note_reached(rpc);
    run(rpc);
}

struct bringing {
    struct rpc_call *rpc;
    ref_t session;
};

/* On a worker: the call goes on here, with a version of the database as new as any that the session
 * has seen. */
static void bring_session(void *arg)
{
    struct bringing *b = arg;
    struct rpc_call *rpc = b->rpc;
    struct error *e = session_bring(rpc->call.xapid->sessions, rpc->call.arena, b->session);

    rpc->call.snap = db_snapshot(rpc->call.xapid->db);
    if (e)
        refuse(rpc, e);
    else
        check_and_run(rpc);
}

static const struct message_desc *message_asked(const struct rpc_call *rpc)
{
    const char *name = rpc->request.method;

    return api_message_by_name(name + (strncmp(name, "Async.", 6) == 0 ? 6 : 0));
}

/* A long poll that leaves its loop's thread hears from there that its client has gone. */
static void expect_end(struct rpc_call *rpc, const struct message_desc *m)
{
    if (!rpc->on_worker && m && m->flags & MESSAGE_CUSTOM_REPLY && m->class_id == CLASS_event)
        events_expect(rpc);
}

/* True where the session is in use on another member, and the call goes on once it is here. */
static bool is_elsewhere(struct rpc_call *rpc)
{
    const struct message_desc *m = message_asked(rpc);
    struct bringing *b;
    const char *text;
    ref_t ref;

    if (!m || m->flags & MESSAGE_NO_SESSION || !rpc->request.n_params)
        return false;
    text = rpc->request.params[0].text;
    if (!text || !ref_from_text(text, &ref) || ref_is_null(ref) ||
        !session_is_elsewhere(rpc->call.xapid->sessions, ref))
        return false;
    call_let_go(&rpc->call);
    expect_end(rpc, m);
    rpc->on_worker = true;
    b = arena_new(rpc->call.arena, struct bringing);
    *b = (struct bringing){rpc, ref};
    if (!workers_run(rpc->call.xapid->workers, bring_session, b))
        refuse(rpc, rpc_too_many(rpc));
    return true;
}

/*** clients that are held back ***/

static void begin(struct rpc_call *rpc)
{
    rpc->call.snap = db_snapshot(rpc->call.xapid->db);
    if (!system_message(rpc) && !is_elsewhere(rpc))
        check_and_run(rpc);
}

static void begin_late(void *arg)
{
    begin(arg);
}

static void has_waited(void *arg)
{
    struct rpc_call *rpc = arg;

    if (!workers_run(rpc->call.xapid->workers, begin_late, rpc))
        refuse(rpc, rpc_too_many(rpc));
}

/* True where the call's client has used up its tokens: the call goes on once there are new ones. */
static bool is_held_back(struct rpc_call *rpc)
{
    struct xapid *xapid = rpc->call.xapid;
    const char *agent = http_header(rpc->http, "user-agent");
    usec_t wait = callers_count_call(xapid, agent ? agent : "", rpc->http->peer);

    if (!wait)
        return false;
    expect_end(rpc, message_asked(rpc));
    rpc->on_worker = true;
    http_post_after(xapid->http, wait, has_waited, rpc);
    return true;
}

/*** the handlers ***/

static void post(struct http_request *http, struct xapid *xapid, bool json)
{
    struct rpc_call *rpc = arena_new(http->arena, struct rpc_call);
    const char *why = "";
    bool ok;

    rpc->http = http;
    rpc->call.arena = http->arena;
    rpc->call.xapid = xapid;
    rpc->started = clock_mono();
    trace_parent_read(http_header(http, "traceparent"), &rpc->parent);
    ok = json ? jsonrpc_read_request(http->arena, http->body, http->body_size, &rpc->request, &why)
              : xmlrpc_read_request(http->arena, http->body, http->body_size, &rpc->request, &why);
    if (!ok) {
        http_error(http, 500, why);
        return;
    }
    rpc->name = rpc->request.method;
    if (!is_held_back(rpc))
        begin(rpc);
}

void rpc_post_xml(struct http_request *request, void *ctx)
{
    post(request, ctx, false);
}

void rpc_post_json(struct http_request *request, void *ctx)
{
    post(request, ctx, true);
}
