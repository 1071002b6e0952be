/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* implicit.c -- the messages every class has: getters, setters, records, look-ups.  The tables say
 * all there is to know about them. */
#include <stdlib.h>
#include <string.h>

#include "libxapi/base/memory.h"
#include "xapid/auth/session.h"
#include "xapid/db/filter.h"
#include "xapid/db/ready.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/allowed.h"
#include "xapid/ops/setters.h"
#include "xapid/rpc/rpc.h"
#include "xapid/worker/workers.h"

/* A list of more rows is prepared on a worker, so that the loop is not held up. */
#define ROWS_ON_LOOP 100

/*** records ***/

struct env_ctx {
    struct xapid *xapid;
    struct db_snap *snap;
};

static const void *field_value(const struct codec_env *env, const void *row,
                               const struct field_desc *f)
{
    const struct env_ctx *ctx = env->ctx;
    struct refs *refs;

    if (f->flags & FIELD_COMPUTED)
        return allowed_operations(env->arena, ctx->xapid, ctx->snap, row);
    refs = arena_new(env->arena, struct refs);
    *refs = db_derived(env->arena, ctx->snap, f, ((const struct row *)row)->ref);
    return refs;
}

void rpc_env(struct codec_env *env, struct arena *arena, struct xapid *xapid, struct db_snap *snap)
{
    struct env_ctx *ctx = arena_new(arena, struct env_ctx);

    *ctx = (struct env_ctx){xapid, snap};
    *env = (struct codec_env){.arena = arena, .field_value = field_value, .ctx = ctx};
}

/* Rows of a class that is not in the database: sessions. */
static struct error *find_row(struct rpc_call *rpc, const struct class_desc *class, ref_t ref,
                              const void **row)
{
    if (class->id != CLASS_session)
        return db_get(&rpc->call, class->id, ref, row);
    *row = session_record(rpc->call.xapid->sessions, rpc->call.arena, ref);
    return *row ? OK : err_handle_invalid(&rpc->call, class->name, call_ref(&rpc->call, ref));
}

/*** reading one thing ***/

static struct error *get_field(struct rpc_call *rpc, const void **value)
{
    const struct field_desc *f = &api_fields[rpc->message->field];
    const void *row;
    struct codec_env env;

    TRY(find_row(rpc, &api_classes[f->class_id], *(const ref_t *)rpc->args, &row));
    rpc_env(&env, rpc->call.arena, rpc->call.xapid, rpc->call.snap);
    *value = field_is_stored(f) ? field_in(row, f) : field_value(&env, row, f);
    return OK;
}

static struct error *get_by_uuid(struct rpc_call *rpc, const struct class_desc *class, ref_t *ref)
{
    const char *uuid = *(const char *const *)rpc->args;

    if (class->id == CLASS_session) {
        struct refs all = session_refs(rpc->call.xapid->sessions, rpc->call.arena, NULL);

        for (size_t i = 0; i < all.n; i++) {
            const struct session *s =
                session_record(rpc->call.xapid->sessions, rpc->call.arena, all.v[i]);

            *ref = all.v[i];
            if (s && strcmp(s->uuid, uuid) == 0)
                return OK;
        }
        return err_uuid_invalid(&rpc->call, class->name, uuid);
    }
    return db_by_uuid(&rpc->call, class->id, uuid, ref);
}

static struct refs get_by_name_label(struct rpc_call *rpc, const struct class_desc *class)
{
    return db_referrers(&rpc->call, class->name_label_field,
                        index_key_string(*(const char *const *)rpc->args));
}

/*** reading many ***/

static struct error *select_rows(struct rpc_call *rpc, const struct class_desc *class,
                                 bool filtered, struct rows *out)
{
    const struct db_root *root = snap_root(rpc->call.snap);
    struct filter *filter;
    struct db_walk walk;
    struct codec_env env;
    const void *row;

    if (filtered) {
        rpc_env(&env, rpc->call.arena, rpc->call.xapid, rpc->call.snap);
        TRY(filter_parse(rpc->call.arena, class, *(const char *const *)rpc->args, &filter));
        return filter_rows(rpc->call.arena, filter, root, &env, out);
    }
    *out = (struct rows){
        0, arena_alloc(rpc->call.arena, (root->tables[class->id].count + 1) * sizeof *out->v)};
    db_walk(rpc->call.snap, class->id, &walk);
    while ((row = db_walk_next(&walk)))
        out->v[out->n++] = row;
    return OK;
}

static struct refs refs_of(struct arena *arena, const struct rows *rows)
{
    ref_t *v = arena_alloc(arena, (rows->n + 1) * sizeof *v);

    for (size_t i = 0; i < rows->n; i++)
        v[i] = ((const struct row *)rows->v[i])->ref;
    return (struct refs){rows->n, v};
}

/* A map of records, written row by row as the socket takes it. */
struct records_body {
    struct http_body body;
    struct arena arena;
    struct xapid *xapid;
    struct db_snap *snap;
    const struct codec *codec;
    struct rpc_request request;
    const struct class_desc *class;
    size_t n, next;
    const void **rows;
};

static void write_record(struct buf *out, const struct codec *codec, const struct codec_env *env,
                         const struct class_desc *class, const void *row, bool first)
{
    char ref[REF_TEXT_SIZE];

    codec->member_begin(out, ref_to_text(((const struct row *)row)->ref, ref), first);
    codec->value(out, env, class->record_type, &row);
    codec->member_end(out);
}

static bool records_next(struct http_body *body, struct buf *out, size_t want)
{
    struct records_body *b = (struct records_body *)body;
    size_t start = out->len;

    while (b->next < b->n && out->len - start < want) {
        struct arena scratch = {0};
        struct codec_env env;

        rpc_env(&env, &scratch, b->xapid, b->snap);
        env.written = row_written;
        if (b->next == 0) {
            rpc_success_begin(out, &b->request);
            b->codec->struct_begin(out);
        }
        write_record(out, b->codec, &env, b->class, b->rows[b->next], b->next == 0);
        arena_release(&scratch);
        if (++b->next == b->n) {
            b->codec->struct_end(out);
            rpc_success_end(out, &b->request);
        }
    }
    return b->next < b->n;
}

static void records_release(struct http_body *body)
{
    struct records_body *b = (struct records_body *)body;

    db_snap_unref(b->snap);
    arena_release(&b->arena);
    free(b);
}

static struct records_body *records_new(struct rpc_call *rpc, const struct class_desc *class,
                                        const struct rows *rows)
{
    struct records_body *b = xcalloc(1, sizeof *b);
    struct buf count = {.count_only = true};

    b->body.next = records_next;
    b->body.release = records_release;
    b->xapid = rpc->call.xapid;
    b->snap = db_snap_ref(rpc->call.snap);
    b->codec = codec_of(rpc->request.protocol);
    b->request = (struct rpc_request){
        .protocol = rpc->request.protocol,
        .id = rpc->request.id ? arena_strdup(&b->arena, rpc->request.id) : NULL};
    b->class = class;
    b->n = rows->n;
    b->rows = arena_memdup(&b->arena, rows->v, rows->n * sizeof *rows->v);
    /* The same walk twice: once to know the length, once for the bytes. */
    records_next(&b->body, &count, SIZE_MAX);
    b->body.size = (int64_t)count.len;
    b->next = 0;
    return b;
}

static void answer_records(struct rpc_call *rpc, const struct class_desc *class,
                           const struct rows *rows)
{
    static const struct http_pair headers[] = {{"cache-control", "no-cache, no-store"},
                                               {"Access-Control-Allow-Origin", "*"}};
    struct http_request *http = rpc->http;
    struct http_response response = {
        .status = 200,
        .content_type = rpc->request.protocol == RPC_XML ? "text/xml" : "application/json",
        .n_headers = ARRAY_SIZE(headers),
        .headers = headers,
    };
    struct buf empty = {0};

    if (rows->n == 0) {
        codec_of(rpc->request.protocol)->struct_begin(&empty);
        codec_of(rpc->request.protocol)->struct_end(&empty);
        rpc_answer_value(rpc, &empty);
        return;
    }
    response.body = &records_new(rpc, class, rows)->body;
    call_release(&rpc->call);
    http_reply(http, &response);
}

static void answer_many(void *arg)
{
    struct rpc_call *rpc = arg;
    const struct class_desc *class = &api_classes[rpc->message->class_id];
    bool filtered = rpc->message->kind == MESSAGE_GET_ALL_WHERE ||
                    rpc->message->kind == MESSAGE_GET_ALL_RECORDS_WHERE;
    struct rows rows = {0};
    struct error *e = select_rows(rpc, class, filtered, &rows);
    struct refs refs = refs_of(rpc->call.arena, &rows);

    if (e || rpc->message->kind == MESSAGE_GET_ALL || rpc->message->kind == MESSAGE_GET_ALL_WHERE)
        rpc_answer(rpc, e, &refs);
    else
        answer_records(rpc, class, &rows);
}

bool implicit_read(struct rpc_call *rpc)
{
    const struct class_desc *class = &api_classes[rpc->message->class_id];
    const void *value = NULL;
    struct error *e;
    struct refs refs;
    ref_t ref = REF_NULL;

    switch ((enum message_kind)rpc->message->kind) {
    case MESSAGE_GET:
        e = get_field(rpc, &value);
        rpc_answer(rpc, e, value);
        return true;
    case MESSAGE_GET_RECORD:
        e = find_row(rpc, class, *(const ref_t *)rpc->args, &value);
        rpc_answer(rpc, e, &value);
        return true;
    case MESSAGE_GET_BY_UUID:
        e = get_by_uuid(rpc, class, &ref);
        rpc_answer(rpc, e, &ref);
        return true;
    case MESSAGE_GET_BY_NAME_LABEL:
        refs = get_by_name_label(rpc, class);
        rpc_answer(rpc, OK, &refs);
        return true;
    case MESSAGE_GET_ALL:
    case MESSAGE_GET_ALL_WHERE:
    case MESSAGE_GET_ALL_RECORDS:
    case MESSAGE_GET_ALL_RECORDS_WHERE:
        if (snap_root(rpc->call.snap)->tables[class->id].count <= ROWS_ON_LOOP ||
            !workers_run(rpc->call.xapid->workers, answer_many, rpc))
            answer_many(rpc);
        return true;
    default:
        return false;
    }
}

/*** writing ***/

static struct error *session_write(struct rpc_call *rpc, const struct field_desc *f)
{
    ref_t self = *(const ref_t *)rpc->args;
    const struct session *s = session_record(rpc->call.xapid->sessions, rpc->call.arena, self);
    const char *base = rpc->args;
    struct strmap map;

    if (!s || f->id != FIELD_session_other_config)
        return err_handle_invalid(&rpc->call, "session", call_ref(&rpc->call, self));
    map = s->other_config;
    if (rpc->message->kind == MESSAGE_SET)
        map = *(const struct strmap *)(base + rpc->message->params[1].offset);
    else if (rpc->message->kind == MESSAGE_REMOVE)
        map = strmap_without(rpc->call.arena, map,
                             *(const char *const *)(base + rpc->message->params[1].offset));
    else if (strmap_get(&map, *(const char *const *)(base + rpc->message->params[1].offset)))
        return err_map_duplicate_key(&rpc->call, "session", f->name, call_ref(&rpc->call, self),
                                     *(const char *const *)(base + rpc->message->params[1].offset));
    else
        map = strmap_with(rpc->call.arena, map,
                          *(const char *const *)(base + rpc->message->params[1].offset),
                          *(const char *const *)(base + rpc->message->params[2].offset));
    session_set_other_config(rpc->call.xapid->sessions, self, &map);
    return OK;
}

static struct error *write_field(struct rpc_call *rpc)
{
    const struct message_desc *m = rpc->message;
    const struct field_desc *f = &api_fields[m->field];
    const char *args = rpc->args;
    ref_t self = *(const ref_t *)rpc->args;
    const void *second = args + m->params[1].offset;
    bool is_map = f->type->kind == TYPE_MAP;
    struct db_member member = {f->id, self, second, NULL};
    struct db_set set = {f->id, self, second};

    if (f->class_id == CLASS_session)
        return session_write(rpc, f);
    switch ((enum message_kind)m->kind) {
    case MESSAGE_SET:
        return setter_run(&rpc->call, f, &set);
    case MESSAGE_ADD:
        if (!is_map)
            return db_update(&rpc->call, db_set_add_txn, &member);
        member.value = args + m->params[2].offset;
        return db_update(&rpc->call, db_map_add_txn, &member);
    case MESSAGE_REMOVE:
        return db_update(&rpc->call, is_map ? db_map_remove_txn : db_set_remove_txn, &member);
    default:
        return error_internal(rpc->call.arena, "message %s has no implementation", m->full_name);
    }
}

struct error *implicit_write(struct rpc_call *rpc)
{
    const struct field_desc *f = &api_fields[rpc->message->field];
    ref_t self = *(const ref_t *)rpc->args;
    const void *before =
        f->class_id == CLASS_session ? NULL : db_find(&rpc->call, f->class_id, self);

    TRY(write_field(rpc));
    setter_after(&rpc->call, f, self, before);
    return OK;
}
