/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * http.c -- who asks for which history, in which form.
 *
 * On the loop only the request is looked at; a worker copies and writes.  What another host samples
 * is found by redirecting to it.
 */
#include <errno.h>
#include <stdlib.h>

#include "libxapi/base/memory.h"
#include "libxapi/value/value.h"
#include "xapid/auth/auth.h"
#include "xapid/main/xapid.h"
#include "xapid/stats/accept.h"
#include "xapid/stats/table.h"
#include "xapid/stream/relay.h"
#include "xapid/worker/workers.h"

#define LIST_MAX 4096 /* uuids in a query */

static const struct http_pair any_origin = {"Access-Control-Allow-Origin", "*"};

/* One request, from the loop to a worker. */
struct asked {
    struct xapid *xapid;
    struct http_request *request;
    const char *action; /* the permission it takes */
    void (*run)(struct asked *asked);
};

/*** answering ***/

struct text_body {
    struct http_body body;
    struct buf text;
    size_t sent;
};

static bool text_next(struct http_body *body, struct buf *out, size_t want)
{
    struct text_body *t = container_of(body, struct text_body, body);
    size_t n = MIN(want, t->text.len - t->sent);

    buf_add(out, t->text.data + t->sent, n);
    t->sent += n;
    return t->sent < t->text.len;
}

static void text_release(struct http_body *body)
{
    struct text_body *t = container_of(body, struct text_body, body);

    buf_release(&t->text);
    free(t);
}

/* Takes the text; 'close': whole databases are sent as they always were, for old clients. */
static void reply(struct http_request *request, const char *type, struct buf *text, bool close)
{
    struct text_body *t = xcalloc(1, sizeof *t);

    t->text = *text;
    *text = (struct buf){0};
    t->body = (struct http_body){(int64_t)t->text.len, text_next, text_release};
    http_reply(request, &(struct http_response){.status = 200,
                                                .content_type = type,
                                                .n_headers = 1,
                                                .headers = &any_origin,
                                                .body = &t->body,
                                                .close = close});
}

static bool wants_json(const struct http_request *request)
{
    const char *accept = http_header(request, "accept");

    return accept ? accept_prefers_json(accept) : http_query(request, "json") != NULL;
}

static const char *type_of(bool json)
{
    return json ? "application/json" : "text/xml";
}

static void redirect(struct http_request *request, const char *address)
{
    bool v6 = strchr(address, ':') != NULL;
    struct http_pair headers[] = {
        {"Location", arena_printf(request->arena, "https://%s%s%s%s", v6 ? "[" : "", address,
                                  v6 ? "]" : "", request->target)},
        any_origin};

    http_reply(request, &(struct http_response){.status = 302,
                                                .content_type = "text/plain",
                                                .n_headers = ARRAY_SIZE(headers),
                                                .headers = headers,
                                                .data = "",
                                                .close = true});
}

/* 503 where it does not live. */
static void send_to_host(struct call *call, struct http_request *request, ref_t ref,
                         const char *more)
{
    const struct host *host = db_find(call, CLASS_host, ref);
    const struct host_metrics *m = host ? db_find(call, CLASS_host_metrics, host->metrics) : NULL;
    const char *address;

    if (!host || !m || !m->live || !*host->address) {
        http_error(request, 503, "The host that has these statistics does not answer.");
        return;
    }
    address = arena_strdup(call->arena, host->address);
    request->target = arena_printf(request->arena, "%s%s", request->target, more);
    if (!relay_is_needed(call, ref) || !relay_request(call, request, ref))
        redirect(request, address);
}

/*** whole databases ***/

/* A copy of what is sampled here; NULL where it is not. */
static struct rrd *copy_live(struct stats *stats, enum stats_owner owner, const char *uuid)
{
    MUTEX_GUARD(&stats->table.lock);
    struct object *o = table_find(&stats->table, owner, uuid);

    return o ? rrd_copy(o->rrd) : NULL;
}

static struct rrd *copy_sampled(struct stats *stats, enum stats_owner owner, const char *uuid)
{
    struct rrd *rrd = copy_live(stats, owner, uuid);

    if (rrd)
        return rrd;
    stats_sample(stats); /* it may be younger than the last sample */
    return copy_live(stats, owner, uuid);
}

/* Takes the database; 404 without one. */
static void reply_rrd(struct http_request *request, struct rrd *rrd)
{
    bool json = wants_json(request);
    struct buf text = {0};

    if (!rrd) {
        http_error(request, 404, "There are no statistics of it here.");
        return;
    }
    if (json)
        rrd_write_json(&text, rrd);
    else
        rrd_write_xml(&text, rrd);
    rrd_free(rrd);
    reply(request, type_of(json), &text, true);
}

static void run_host(struct asked *a)
{
    AUTO(arena) arena = {0};
    const struct host *host;
    struct rrd *rrd = NULL;
    struct call call;

    call_init_internal(&call, a->xapid, &arena);
    host = db_find(&call, CLASS_host, a->xapid->host);
    if (host)
        rrd = copy_sampled(a->xapid->stats, OWNER_HOST, host->uuid);
    call_release(&call);
    reply_rrd(a->request, rrd);
}

/* The uuid of the query; NULL with a 400 where it is missing or none. */
static const char *uuid_asked(struct http_request *request)
{
    const char *uuid = http_query(request, "uuid");
    uint8_t bytes[16];

    if (uuid && uuid_from_text(uuid, bytes))
        return uuid;
    http_error(request, 400, uuid ? "uuid is no uuid." : "uuid is missing.");
    return NULL;
}

/* Of a VM that does not run: from the file here, or where the coordinator has one. */
static void reply_archive(struct call *call, struct http_request *request, const char *uuid)
{
    const struct pool *pool = db_find(call, CLASS_pool, call->xapid->pool);
    struct rrd *rrd = store_load(call->xapid->stats, OWNER_VM, uuid);
    bool asked_already = http_query(request, "rrd_unarchive") != NULL;

    if (rrd || asked_already || !pool || ref_equal(pool->master, call->xapid->host))
        reply_rrd(request, rrd);
    else
        send_to_host(call, request, pool->master, "&rrd_unarchive=");
}

static void reply_vm(struct call *call, struct http_request *request, const char *uuid)
{
    struct rrd *rrd = copy_live(call->xapid->stats, OWNER_VM, uuid);
    const struct vm *vm;
    ref_t ref;

    if (rrd) {
        reply_rrd(request, rrd);
    } else if (db_by_uuid(call, CLASS_vm, uuid, &ref)) {
        http_error(request, 404, "There is no such VM.");
    } else {
        vm = db_find(call, CLASS_vm, ref);
        if (!vm || ref_is_null(vm->resident_on))
            reply_archive(call, request, uuid);
        else if (ref_equal(vm->resident_on, call->xapid->host))
            reply_rrd(request, copy_sampled(call->xapid->stats, OWNER_VM, uuid));
        else
            send_to_host(call, request, vm->resident_on, "");
    }
}

static void run_vm(struct asked *a)
{
    const char *uuid = uuid_asked(a->request);
    AUTO(arena) arena = {0};
    struct call call;

    if (!uuid)
        return;
    call_init_internal(&call, a->xapid, &arena);
    reply_vm(&call, a->request, uuid);
    call_release(&call);
}

/* A host to which the repository is attached; null: none. */
static ref_t host_of_sr(struct call *call, const char *uuid)
{
    struct refs pbds;
    ref_t sr;

    if (db_by_uuid(call, CLASS_sr, uuid, &sr))
        return REF_NULL;
    pbds = db_referrers(call, FIELD_pbd_sr, sr);
    for (size_t i = 0; i < pbds.n; i++) {
        const struct pbd *pbd = db_find(call, CLASS_pbd, pbds.v[i]);

        if (pbd && pbd->currently_attached)
            return pbd->host;
    }
    return REF_NULL;
}

static void reply_sr(struct call *call, struct http_request *request, const char *uuid)
{
    struct rrd *rrd = copy_sampled(call->xapid->stats, OWNER_SR, uuid);
    ref_t host = rrd ? REF_NULL : host_of_sr(call, uuid);

    if (ref_is_null(host) || ref_equal(host, call->xapid->host))
        reply_rrd(request, rrd);
    else
        send_to_host(call, request, host, "");
}

static void run_sr(struct asked *a)
{
    const char *uuid = uuid_asked(a->request);
    AUTO(arena) arena = {0};
    struct call call;

    if (!uuid)
        return;
    call_init_internal(&call, a->xapid, &arena);
    reply_sr(&call, a->request, uuid);
    call_release(&call);
}

/*** updates ***/

static const char *const *values_of(struct http_request *request, const char *name, size_t *n)
{
    const char **v = arena_array(request->arena, const char *, request->n_query + 1);

    *n = 0;
    for (size_t i = 0; i < request->n_query && *n < LIST_MAX; i++)
        if (strcmp(request->query[i].name, name) == 0)
            v[(*n)++] = request->query[i].value;
    return v;
}

/* NULL, or what is wrong with the query. */
static const char *read_query(struct http_request *request, struct update_query *out)
{
    const char *start = http_query(request, "start"), *interval = http_query(request, "interval");
    const char *cf = http_query(request, "cf"), *host = http_query(request, "host");

    *out = (struct update_query){.interval = RRD_STEP, .cf = -1, .json = wants_json(request)};
    if (!start || !int_from_text(start, &out->start) || llabs(out->start) > INT64_MAX / 4)
        return "start is missing or no number.";
    if (interval && (!int_from_text(interval, &out->interval) || out->interval < 0 ||
                     out->interval > INT32_MAX))
        return "interval is no number of seconds.";
    if (cf && *cf)
        out->cf = rrd_name_index(rrd_cf_names, cf);
    if (cf && *cf && out->cf < 0)
        return "cf is none of AVERAGE, MIN, MAX and LAST.";
    out->host = host && strcmp(host, "true") == 0;
    out->vms = values_of(request, "vm_uuid", &out->n_vms);
    out->srs = values_of(request, "sr_uuid", &out->n_srs);
    out->all_vms = out->n_vms == 0;
    return NULL;
}

static bool is_sampled(struct stats *stats, enum stats_owner owner, const char *uuid)
{
    MUTEX_GUARD(&stats->table.lock);
    return table_find(&stats->table, owner, uuid) != NULL;
}

static ref_t host_of_vm(struct call *call, const char *uuid)
{
    const struct vm *vm;
    ref_t ref;

    if (db_by_uuid(call, CLASS_vm, uuid, &ref))
        return REF_NULL;
    vm = db_find(call, CLASS_vm, ref);
    return vm ? vm->resident_on : REF_NULL;
}

/* Notes where that one is; false where the answer is to come from here. */
static bool note_place(struct call *call, enum stats_owner owner, const char *uuid, ref_t *place)
{
    ref_t host;

    if (is_sampled(call->xapid->stats, owner, uuid))
        return false;
    host = owner == OWNER_SR ? host_of_sr(call, uuid) : host_of_vm(call, uuid);
    if (ref_is_null(host))
        return true;
    if (ref_equal(host, call->xapid->host) || (!ref_is_null(*place) && !ref_equal(host, *place)))
        return false;
    *place = host;
    return true;
}

/* The one other host where everything is that was asked for by name; null: there is none. */
static ref_t host_of_all(struct call *call, const struct update_query *query)
{
    ref_t place = REF_NULL;

    if (query->host || query->all_vms)
        return REF_NULL;
    for (size_t i = 0; i < query->n_vms; i++)
        if (!note_place(call, OWNER_VM, query->vms[i], &place))
            return REF_NULL;
    for (size_t i = 0; i < query->n_srs; i++)
        if (!note_place(call, OWNER_SR, query->srs[i], &place))
            return REF_NULL;
    return place;
}

/* Who names machines means those, wherever they run; who names none means this host. */
static bool is_sent_on(struct asked *a, const struct update_query *query)
{
    AUTO(arena) arena = {0};
    struct call call;
    ref_t host;

    call_init_internal(&call, a->xapid, &arena);
    host = host_of_all(&call, query);
    if (!ref_is_null(host))
        send_to_host(&call, a->request, host, "");
    call_release(&call);
    return !ref_is_null(host);
}

static void run_updates(struct asked *a)
{
    struct update_query query;
    const char *wrong = read_query(a->request, &query);
    struct buf text = {0};

    if (wrong) {
        http_error(a->request, 400, wrong);
    } else if (is_sent_on(a, &query)) {
        return;
    } else if (updates_write(a->xapid->stats, &query, &text)) {
        reply(a->request, type_of(query.json), &text, false);
    } else {
        http_error(a->request, 400, "This would be too much: ask for fewer VMs or less time.");
    }
}

/*** upload ***/

/* Both take the statistics. */
static void put_archive(struct stats *stats, enum stats_owner owner, const char *uuid,
                        struct rrd *rrd)
{
    MUTEX_GUARD(&stats->sampling); /* under which files are written */

    store_save(stats, owner, uuid, rrd);
    rrd_free(rrd);
}

void stats_replace(struct stats *stats, enum stats_owner owner, const char *uuid, struct rrd *rrd)
{
    MUTEX_GUARD(&stats->sampling); /* a VM that starts meanwhile begins with it */
    struct object *o;

    mutex_lock(&stats->table.lock);
    o = table_find(&stats->table, owner, uuid);
    if (o) {
        struct rrd *old = o->rrd;

        o->rrd = rrd;
        rrd = old;
        o->saved = SAVE_NEXT;
    }
    mutex_unlock(&stats->table.lock);
    if (!o)
        store_save(stats, owner, uuid, rrd);
    rrd_free(rrd);
}

static void put_rrd(struct call *call, struct http_request *request, const char *uuid)
{
    const struct pool *pool = db_find(call, CLASS_pool, call->xapid->pool);
    bool archive = http_query(request, "archive") != NULL;
    enum stats_owner owner = OWNER_VM;
    struct rrd *rrd;
    const char *why;
    ref_t ref;

    if (db_by_uuid(call, CLASS_host, uuid, &ref) == OK)
        owner = OWNER_HOST;
    else if (db_by_uuid(call, CLASS_vm, uuid, &ref) != OK) {
        http_error(request, 404, "There is no such VM or host.");
        return;
    }
    if (owner == OWNER_HOST && !archive) {
        http_error(request, 400, "The statistics of a host can only be archived.");
        return;
    }
    if (archive && pool && !ref_equal(pool->master, call->xapid->host)) {
        send_to_host(call, request, pool->master, "");
        return;
    }
    rrd = rrd_read_xml(request->body, request->body_size, &why);
    if (!rrd) {
        http_error(request, 400, why);
        return;
    }
    if (archive)
        put_archive(call->xapid->stats, owner, uuid, rrd);
    else
        stats_replace(call->xapid->stats, owner, uuid, rrd);
    http_reply(request, &(struct http_response){.status = 200, .data = ""});
}

static void run_put(struct asked *a)
{
    const char *uuid = uuid_asked(a->request);
    AUTO(arena) arena = {0};
    struct call call;

    if (!uuid)
        return;
    call_init_internal(&call, a->xapid, &arena);
    put_rrd(&call, a->request, uuid);
    call_release(&call);
}

/*** metrics ***/

static void run_metrics(struct asked *a)
{
    struct buf text = {0};

    metrics_write(a->xapid->stats, &text);
    reply(a->request, "application/openmetrics-text; version=1.0.0; charset=utf-8", &text, false);
}

/*** from the loop to a worker ***/

static void run(void *arg)
{
    struct asked *a = arg;

    a->run(a); /* answers, with which 'a' is gone */
}

static void authenticated(struct http_request *request, void *ctx, struct error *e,
                          const struct auth_http_who *found)
{
    struct asked *a = ctx;
    struct auth_http_who who;

    if (e) {
        auth_http_refuse(request, a->action, e);
        return;
    }
    who = *found;
    auth_http_release(a->xapid, &who);
    if (!workers_run(a->xapid->workers, run, a))
        http_error(request, 503, "too much work is waiting");
}

static void begin(struct http_request *request, void *ctx, const char *action,
                  void (*fn)(struct asked *asked))
{
    struct asked *a = arena_new(request->arena, struct asked);

    *a = (struct asked){ctx, request, action, fn};
    auth_http(ctx, request, action, authenticated, a);
}

void stats_get_host(struct http_request *request, void *ctx)
{
    begin(request, ctx, "host_rrd", run_host);
}

void stats_get_vm(struct http_request *request, void *ctx)
{
    begin(request, ctx, "vm_rrd", run_vm);
}

void stats_get_sr(struct http_request *request, void *ctx)
{
    begin(request, ctx, "sr_rrd", run_sr);
}

void stats_get_updates(struct http_request *request, void *ctx)
{
    begin(request, ctx, "rrd_updates", run_updates);
}

void stats_put(struct http_request *request, void *ctx)
{
    begin(request, ctx, "rrd", run_put);
}

/* No handler of the XenAPI: who may read rates may read counters. */
void stats_get_metrics(struct http_request *request, void *ctx)
{
    begin(request, ctx, "rrd_updates", run_metrics);
}
