/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/join/receive.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "libxapi/base/log.h"
#include "libxapi/base/seam.h"
#include "pool/peer/peer.h"
#include "xapid/db/dump.h"
#include "xapid/db/level.h"
#include "xapid/db/member.h"
#include "xapid/db/row.h"
#include "xapid/join/checks.h"
#include "xapid/join/leave.h"
#include "xapid/join/link.h"
#include "xapid/join/merge.h"
#include "xapid/join/takeover.h"
#include "xapid/join/witness.h"
#include "xapid/main/members.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/faults.h"
#include "xapid/ops/message.h"
#include "xapid/stream/handover.h"

#define PIECE ((size_t)64 << 10)
#define DATABASE_LIMIT ((int64_t)1 << 30)
/* Of a write-set; the rest is for what is written with the rows. */
#define BATCH (LOG_MAX_WRITE_SET / 2)
/* Tests want to see many. */
#define SMALL_BATCH ((size_t)16 << 10)
#define GIVEN_UP_AFTER (3600 * USEC_PER_SEC)
/* Until a member is sure that it knows all that was decided. */
#define SURE_WITHIN (10 * USEC_PER_SEC)

static struct error *refused(struct call *call)
{
    return err_operation_not_allowed(call, "This attempt to join the pool was given up.");
}

static const struct joining *find(const struct db_snap *snap, const char *token)
{
    const struct joining *row;
    struct db_walk walk;

    db_walk(snap, CLASS_joining, &walk);
    while ((row = db_walk_next(&walk)))
        if (strcmp(row->token, token) == 0)
            return row;
    return NULL;
}

/*** giving up ***/

struct undo {
    const char *token;
    ref_t part;
};

static struct error *refuse_txn(struct txn *txn, void *arg)
{
    const struct undo *u = arg;
    const struct joining *row = find(txn_snap(txn), u->token);

    if (row && txn_find(txn, CLASS_joining, row->ref))
        txn_destroy(txn, CLASS_joining, row->ref);
    return OK;
}

static struct error *undo_part_txn(struct txn *txn, void *arg)
{
    const struct undo *u = arg;
    const struct joining_part *part = txn_find(txn, CLASS_joining_part, u->part);
    int class_id;
    ref_t ref;

    for (size_t i = 0; part && i < part->rows.n; i++)
        if (merge_name_read(part->rows.v[i], &class_id, &ref) && txn_find(txn, class_id, ref))
            txn_destroy(txn, class_id, ref);
    if (part)
        txn_destroy(txn, CLASS_joining_part, part->ref);
    return OK;
}

/* A part of that token; null where there is none. */
static ref_t part_of(const struct call *call, const char *token)
{
    const struct joining_part *row;
    struct db_walk walk;

    db_walk(call->snap, CLASS_joining_part, &walk);
    while ((row = db_walk_next(&walk)))
        if (strcmp(row->token, token) == 0)
            return row->ref;
    return REF_NULL;
}

/* First no more can come, then what came goes. */
static struct error *give_up(struct call *call, const char *token)
{
    struct undo u = {.token = token};

    TRY(db_update(call, refuse_txn, &u));
    while (u.part = part_of(call, token), !ref_is_null(u.part))
        TRY(db_update(call, undo_part_txn, &u));
    return OK;
}

/*** asked ***/

static bool is_in(const struct call *call, const char *token)
{
    const struct host_state *state;
    struct db_walk walk;

    db_walk(call->snap, CLASS_host_state, &walk);
    while ((state = db_walk_next(&walk)))
        if (strcmp(state->joined_by, token) == 0)
            return true;
    return false;
}

/* What this member has not applied yet could say otherwise. */
static struct error *be_sure(struct call *call)
{
    bool sure = db_barrier(call->xapid->db, clock_mono() + SURE_WITHIN);

    call_refresh(call);
    return sure ? OK : error_internal(call->arena, "the pool has no coordinator that could decide");
}

static struct error *tell_fate(struct call *call, const char *token, json_t **out)
{
    bool in;

    if (!*token)
        return refused(call);
    TRY(be_sure(call));
    if (!is_in(call, token))
        TRY(give_up(call, token));
    in = is_in(call, token);
    *out = json_pack("{s:s}", "state", in ? "in" : "no");
    return OK;
}

/*** begun ***/

static struct error *begin_txn(struct txn *txn, void *arg)
{
    const struct joining *row = arg;

    txn_create(txn, CLASS_joining, row);
    return OK;
}

static json_t *known_hosts(const struct call *call)
{
    json_t *list = json_array();
    const struct certificate *c;
    const struct host *host;
    struct db_walk walk;

    db_walk(call->snap, CLASS_certificate, &walk);
    while ((c = db_walk_next(&walk))) {
        host = c->type == CERTIFICATE_TYPE_HOST ? db_find(call, CLASS_host, c->host) : NULL;
        if (host)
            json_array_append_new(list, json_pack("{s:s, s:s}", "address", host->address,
                                                  "fingerprint", c->fingerprint_sha256));
    }
    return list;
}

static json_t *known_members(const struct call *call)
{
    json_t *list = json_array();
    const struct host_state *state;
    struct db_walk walk;

    db_walk(call->snap, CLASS_host_state, &walk);
    while ((state = db_walk_next(&walk)))
        if (*state->address)
            json_array_append_new(list, json_string(state->address));
    return list;
}

static struct error *check_begin(struct call *call, const struct joining *row)
{
    const struct departed *gone;
    struct db_walk walk;
    uint8_t uuid[16];
    uint64_t id;

    if (!*members_address(call->arena, call->xapid->members))
        return err_operation_not_allowed(
            call, "The pool's host has no address where others reach it (--pool-address).");
    if (!uuid_from_text(row->host_uuid, uuid) || !member_id_of(row->member, &id) ||
        !peer_address_ok(row->address))
        return err_invalid_value(call, "begin", row->host_uuid);
    /* Above all this one itself, which would wait for its own frozen database. */
    if (db_referrers(call, FIELD_host_uuid, index_key_string(row->host_uuid)).n)
        return err_operation_not_allowed(
            call, "The pool has this host already; a host cannot join itself.");
    db_walk(call->snap, CLASS_departed, &walk);
    while ((gone = db_walk_next(&walk)))
        if (strcmp(gone->host_uuid, row->host_uuid) == 0 && !ref_is_null(gone->host))
            return err_operation_not_allowed(
                call, "What the pool still knows of this host is being removed.");
    return OK;
}

/* An earlier attempt of that host that nobody goes on with: its daemon begins one only when it
 * knows the end of the last. */
static struct error *end_earlier(struct call *call, const char *uuid)
{
    const struct joining *row;
    struct db_walk walk;

    do {
        db_walk(call->snap, CLASS_joining, &walk);
        while ((row = db_walk_next(&walk)) && strcmp(row->host_uuid, uuid) != 0)
            ;
        if (row)
            TRY(give_up(call, arena_strdup(call->arena, row->token)));
    } while (row);
    return OK;
}

static const char *new_token(struct arena *arena)
{
    return arena_printf(arena, "%016llx%016llx", (unsigned long long)random_u64(),
                        (unsigned long long)random_u64());
}

static const char *param(const struct http_request *request, const char *name)
{
    const char *text = http_query(request, name);

    return text ? text : "";
}

static struct error *begin(struct call *call, const struct http_request *request, json_t **out)
{
    struct joining row;

    row_defaults(&api_classes[CLASS_joining], &row);
    row.ref = ref_new();
    row.token = new_token(call->arena);
    row.host_uuid = param(request, "begin");
    row.member = param(request, "member");
    row.address = param(request, "address");
    row.since = clock_wall();
    TRY(be_sure(call));
    TRY(check_begin(call, &row));
    TRY(end_earlier(call, row.host_uuid));
    TRY(db_update(call, begin_txn, &row));
    *out = json_pack("{s:s, s:o, s:o}", "token", row.token, "hosts", known_hosts(call), "members",
                     known_members(call));
    return OK;
}

/*** the host with all it has ***/

struct arrival {
    ref_t joining;
    const char *token;
    struct merge merge;
    size_t batch;
};

static struct error *still_wanted(struct txn *txn, const struct arrival *a,
                                  const struct joining **row)
{
    *row = txn_find(txn, CLASS_joining, a->joining);
    return *row ? OK : refused(txn_call(txn));
}

static struct error *part_txn(struct txn *txn, void *arg)
{
    const struct arrival *a = arg;
    const struct joining *joining;
    struct joining_part part;

    TRY(still_wanted(txn, a, &joining));
    merge_write(txn, &a->merge, a->batch);
    row_defaults(&api_classes[CLASS_joining_part], &part);
    part.ref = ref_new();
    part.token = a->token;
    part.rows = merge_names(txn_arena(txn), &a->merge, a->batch);
    txn_create(txn, CLASS_joining_part, &part);
    return OK;
}

/* The decision: with the host's state it is a member. */
static struct error *decide_txn(struct txn *txn, void *arg)
{
    const struct arrival *a = arg;
    const struct joining_part *part;
    const struct coordinator *office;
    const struct joining *joining;
    struct host_state state = *a->merge.state;
    struct db_walk walk;

    TRY(still_wanted(txn, a, &joining));
    /* It may have risen since the checks. */
    office = txn_find(txn, CLASS_coordinator, COORDINATOR);
    if (office && state.level < office->level)
        return refused(txn_call(txn));
    merge_write(txn, &a->merge, a->batch);
    state.member = joining->member;
    state.address = joining->address;
    state.joined_by = joining->token;
    state.boot = "";     /* its first start as a member enables it, as a boot does */
    state.identity = ""; /* its address has the one of now */
    txn_create(txn, CLASS_host_state, &state);
    txn_destroy(txn, CLASS_joining, joining->ref);
    db_walk(txn_snap(txn), CLASS_joining_part, &walk);
    while ((part = db_walk_next(&walk)))
        if (strcmp(part->token, a->token) == 0)
            txn_destroy(txn, CLASS_joining_part, part->ref);
    return OK;
}

static struct error *write_all(struct call *call, struct arrival *a)
{
    TRY(faults_step(call, "pool_join_member", "checked"));
    for (; a->batch + 1 < a->merge.n_batches; a->batch++) {
        TRY(db_update(call, part_txn, a));
        TRY(faults_step(call, "pool_join_member", "part"));
    }
    TRY(faults_step(call, "pool_join_member", "decide"));
    TRY(db_update(call, decide_txn, a));
    faults_step_ignored(call, "pool_join_member", "decided");
    return OK;
}

static struct error *take_in(struct call *call, const char *token, const struct db_root *host,
                             bool force)
{
    const struct join_sides sides = {call, host, snap_root(call->snap)};
    const struct joining *row = find(call->snap, token);
    const struct host *who = join_host_of(host);
    struct arrival a = {.token = token};

    if (!row)
        return refused(call);
    TRY(join_check(&sides, force));
    if (strcmp(who->uuid, row->host_uuid) != 0)
        return err_operation_not_allowed(call, "The database that came is of another host.");
    a.joining = row->ref;
    merge_plan(call->arena, host, snap_root(call->snap),
               call->xapid->faults ? SMALL_BATCH : (size_t)BATCH, &a.merge);
    if (!a.merge.state)
        return error_internal(call->arena, "the database that came does not know its own state");
    TRY(write_all(call, &a));
    log_info("host %s (%s) has joined the pool, with %zu rows in %zu parts", who->name_label,
             who->uuid, a.merge.n, a.merge.n_batches);
    return OK;
}

static struct error *read_database(struct call *call, struct body *body, struct dump_reader *reader)
{
    char *piece = arena_alloc(call->arena, PIECE);
    size_t n;

    do
        TRY(body_read(call, body, piece, PIECE, &n));
    while (dump_reader_feed(reader, piece, n) && n);
    return OK;
}

static struct error *receive(struct call *call, struct body *body, const char *token, bool force,
                             json_t **out)
{
    struct dump_reader *reader = dump_reader_new();
    struct db_root *host = NULL;
    struct error *e;

    e = read_database(call, body, reader);
    if (!e)
        e = dump_reader_end(call->arena, reader, &host);
    dump_reader_free(reader);
    call_refresh(call);
    if (!e)
        e = take_in(call, token, host, force);
    root_unref(host);
    if (!e)
        *out = json_pack("{s:s}", "state", "in");
    /* A failure to do so is for whoever asks, or for join_sweep. */
    if (e && !db_outcome_is_unknown(e))
        error_ignore(give_up(call, token));
    return e;
}

/*** requests ***/

static void answer(struct handover *h, struct http_stream *stream, struct error *e, json_t *json)
{
    const struct http_pair type = {"Content-Type", "application/json"};
    char *text;

    if (e) {
        log_info("a host does not join: %s", error_line(h->call.arena, e));
        json = join_error_json(e);
    }
    text = json_dumps(json, JSON_COMPACT);
    json_decref(json);
    if (!http_stream_start(stream, 200, (int64_t)strlen(text), 1, &type) ||
        !http_stream_write(stream, text, strlen(text), HANDOVER_IDLE))
        log_info("a joining host did not wait for its answer");
    free(text);
    http_stream_close(stream);
}

static void answer_fate(struct handover *h)
{
    const char *token = arena_strdup(h->call.arena, param(h->request, "ask"));
    json_t *json = NULL;
    struct error *e = tell_fate(&h->call, token, &json);

    answer(h, handover_take(h), e, json);
}

static void answer_left(struct handover *h)
{
    enum leave_word word = leave_word_of(h->call.xapid, param(h->request, "left"));

    answer(h, handover_take(h), OK, json_pack("{s:s}", "state", leave_word_text(word)));
}

/* Who asks shows no session, only the number that was its own; it is taken back under the
 * certificate that the pool knows. */
static struct error *take_back(struct call *call, const struct http_request *request, json_t **out)
{
    TRY(be_sure(call));
    TRY(takeover_take_back(call, param(request, "return"), param(request, "member"),
                           param(request, "address")));
    *out = json_pack("{s:s, s:o}", "state", "in", "members", known_members(call));
    return OK;
}

static void answer_return(struct handover *h)
{
    json_t *json = NULL;
    struct error *e = take_back(&h->call, h->request, &json);

    answer(h, handover_take(h), e, json);
}

/*** the witness ***/

static struct error *take_witness(struct call *call, const struct http_request *request,
                                  json_t **out)
{
    struct witness_asks asks = {param(request, "witness"), param(request, "address"),
                                param(request, "name"), 1};

    if (*param(request, "level") && !int_from_text(param(request, "level"), &asks.level))
        return err_invalid_value(call, "level", param(request, "level"));
    TRY(be_sure(call));
    TRY(witness_add(call, &asks));
    *out = json_pack("{s:s, s:o}", "state", "in", "members", known_members(call));
    return OK;
}

static struct error *lose_witness(struct call *call, const struct http_request *request,
                                  json_t **out)
{
    TRY(be_sure(call));
    TRY(witness_remove(call, param(request, "unwitness")));
    *out = json_pack("{s:s}", "state", "left");
    return OK;
}

static void answer_witness(struct handover *h)
{
    json_t *json = NULL;
    struct error *e = http_query(h->request, "witness") ? take_witness(&h->call, h->request, &json)
                                                        : lose_witness(&h->call, h->request, &json);

    answer(h, handover_take(h), e, json);
}

static void answer_begin(struct handover *h)
{
    json_t *json = NULL;
    struct error *e = begin(&h->call, h->request, &json);

    answer(h, handover_take(h), e, json);
}

static void answer_database(struct handover *h)
{
    const char *token = arena_strdup(h->call.arena, param(h->request, "token"));
    bool force = handover_flag(h->request, "force", false);
    struct body body = {.length = h->request->content_length};
    struct error *e;
    json_t *json = NULL;

    if (body.length < 0 || body.length > DATABASE_LIMIT) {
        handover_refuse_length(h);
        return;
    }
    body.http = handover_take(h);
    e = http_stream_continue(body.http) ? receive(&h->call, &body, token, force, &json)
                                        : err_client_error(&h->call);
    answer(h, body.http, e, json);
}

void join_post(struct http_request *request, void *ctx)
{
    if (http_query(request, "left"))
        handover_begin_open(ctx, request, "join", answer_left);
    else if (http_query(request, "return"))
        handover_begin_open(ctx, request, "join", answer_return);
    else if (http_query(request, "ask"))
        handover_begin_open(ctx, request, "join", answer_fate);
    else if (http_query(request, "witness") || http_query(request, "unwitness"))
        handover_begin(ctx, request, "put_pool_xml_db_sync", answer_witness);
    else
        handover_begin(ctx, request, "put_pool_xml_db_sync",
                       http_query(request, "begin") ? answer_begin : answer_database);
}

/*** what was left ***/

/* Nobody has gone on with it, or its end was not seen to. */
static const char *abandoned(struct call *call)
{
    const struct joining_part *part;
    const struct joining *row;
    struct db_walk walk;

    db_walk(call->snap, CLASS_joining, &walk);
    while ((row = db_walk_next(&walk)))
        if (row->since + GIVEN_UP_AFTER < clock_wall())
            return arena_strdup(call->arena, row->token);
    db_walk(call->snap, CLASS_joining_part, &walk);
    while ((part = db_walk_next(&walk)))
        if (!find(call->snap, part->token))
            return arena_strdup(call->arena, part->token);
    return NULL;
}

void join_sweep(struct call *call)
{
    const char *token;
    struct error *e = OK;

    while (!e && db_leads(call->xapid->db) && (token = abandoned(call)))
        e = give_up(call, token);
    if (e)
        log_info("what a host that did not join has left is removed later: %s",
                 error_line(call->arena, e));
}
