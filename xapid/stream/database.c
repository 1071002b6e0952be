/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/stream/database.h"

#include <string.h>
#include <strings.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "xapid/auth/auth.h"
#include "xapid/db/db.h"
#include "xapid/db/dump.h"
#include "xapid/db/replace.h"
#include "xapid/db/row.h"
#include "xapid/main/xapid.h"
#include "xapid/task/task.h"
#include "xapid/worker/workers.h"

#define GET_ACTION "get_pool_xml_db_sync"
#define PUT_ACTION "put_pool_xml_db_sync"
#define PIECE ((size_t)64 << 10)
#define DUMP_LIMIT ((int64_t)1 << 30)
#define TIMEOUT (60 * USEC_PER_SEC)
/* So that the client has its answer and can log out. */
#define RESTART_DELAY (2 * USEC_PER_SEC)

/* One request, in an arena of its own: it ends before the task does. */
struct transfer {
    struct call call;
    struct http_request *request; /* NULL once answered or taken over */
    struct auth_http_who who;
    int64_t length;
    bool dry_run;
};

static void transfer_free(struct transfer *t)
{
    struct arena *arena = t->call.arena;
    struct xapid *xapid = t->call.xapid;

    t->call.session = NULL; /* counted by 'who' */
    call_release(&t->call);
    auth_http_release(xapid, &t->who);
    arena_free_self(arena);
}

static void begin(struct http_request *request, struct xapid *xapid,
                  const struct auth_http_who *who, void (*run)(void *arg))
{
    struct arena *arena = arena_new_self();
    struct transfer *t = arena_new(arena, struct transfer);
    const char *dry_run = http_query(request, "dry_run");

    call_init_internal(&t->call, xapid, arena);
    t->request = request;
    t->who = *who;
    t->length = request->content_length;
    t->dry_run = dry_run && strcmp(dry_run, "false") != 0;
    if (workers_run(xapid->workers, run, t))
        return;
    http_error(request, 503, NULL);
    transfer_free(t);
}

static struct error *own_task(struct transfer *t, const char *name)
{
    const char *text = http_param(t->request, "task_id");
    ref_t ref;

    t->call.session = t->who.session;
    if (!text)
        text = http_header(t->request, "task-id");
    if (!text || !ref_from_text(text, &ref) || ref_is_null(ref))
        return OK;
    return task_begin(&t->call, name, false, ref);
}

/*** dump ***/

static void send_dump(void *arg)
{
    const struct http_pair type = {"Content-Type", "text/xml"};
    struct transfer *t = arg;
    struct error *e = own_task(t, GET_ACTION);
    struct http_stream *stream;
    struct dump_writer writer;
    struct buf piece = {0};
    bool more = true, sent;

    if (e) {
        http_error(t->request, 404, error_line(t->call.arena, e));
        transfer_free(t);
        return;
    }
    stream = http_take_over(t->request);
    sent = http_stream_start(stream, 200, -1, 1, &type);
    dump_begin(snap_root(t->call.snap), &writer);
    while (sent && more) {
        piece.len = 0;
        more = dump_next(&writer, &piece, PIECE);
        sent = http_stream_write(stream, piece.data, piece.len, TIMEOUT);
    }
    buf_release(&piece);
    http_stream_close(stream);
    task_end(&t->call, sent ? OK : err_client_error(&t->call), "<value></value>");
    transfer_free(t);
}

static void dump_authenticated(struct http_request *request, void *ctx, struct error *e,
                               const struct auth_http_who *who)
{
    if (e)
        auth_http_refuse(request, GET_ACTION, e);
    else
        begin(request, ctx, who, send_dump);
}

void database_get(struct http_request *request, void *ctx)
{
    auth_http(ctx, request, GET_ACTION, dump_authenticated, ctx);
}

/*** restore ***/

static struct error *read_dump(struct transfer *t, struct http_stream *stream,
                               struct dump_reader *reader)
{
    char *piece = arena_alloc(t->call.arena, PIECE);
    int64_t left = t->length;

    while (left > 0) {
        ssize_t n = http_stream_read(stream, piece, (size_t)MIN((int64_t)PIECE, left), TIMEOUT);

        if (n <= 0)
            return err_client_error(&t->call);
        TRY(task_check(&t->call));
        /* What follows a fault is read away: the client sends it in any case. */
        if (!dump_reader_feed(reader, piece, (size_t)n))
            return OK;
        left -= n;
    }
    return OK;
}

/* The dump is of this host, as its pool's coordinator: nobody else could go on with it. */
static struct error *check_identity(struct call *call, const struct db_root *root)
{
    const struct host *me = db_find(call, CLASS_host, call->xapid->host);
    const struct pool *pool = root_get(root, CLASS_pool, call->xapid->pool);
    const struct host *host = root_get(root, CLASS_host, call->xapid->host);

    if (!pool || !host || !me || strcmp(host->uuid, me->uuid) != 0 ||
        !ref_equal(pool->master, host->ref))
        return err_operation_not_allowed(
            call, "The dump is of another pool, or another host was its coordinator.");
    return OK;
}

/* The epoch goes on from the present one: an older one would be refused by what carries out effects
 * outside the database. */
static void keep_office(const struct call *call, struct db_root *root)
{
    const struct coordinator *now;
    struct coordinator row;
    struct db_walk walk;

    db_walk(call->snap, CLASS_coordinator, &walk);
    now = db_walk_next(&walk);
    if (!now)
        return;
    row = *now;
    row.row_created = row.row_version = root->revision;
    root_put(root, row_new(&api_classes[CLASS_coordinator], &row), root->revision);
}

static struct error *restore(struct transfer *t, struct dump_reader *reader, bool *staged)
{
    struct call *call = &t->call;
    struct db_root *root;
    struct error *e;

    if (db_has_others(call->xapid->db))
        return err_operation_not_allowed(
            call, "A dump is restored on a host that is alone; its pool has other members.");
    TRY(dump_reader_end(call->arena, reader, &root));
    e = check_identity(call, root);
    if (!e && !t->dry_run) {
        call_refresh(call);
        keep_office(call, root);
        e = db_replace_stage(
            call->arena, arena_printf(call->arena, "%s/db", call->xapid->options.state_dir), root);
        *staged = !e;
    }
    root_unref(root);
    return e;
}

static struct error *take_dump(struct transfer *t, struct http_stream *stream, bool *staged)
{
    struct dump_reader *reader = dump_reader_new();
    struct error *e = read_dump(t, stream, reader);

    if (!e)
        e = restore(t, reader, staged);
    dump_reader_free(reader);
    return e;
}

static void restart(void *arg)
{
    const struct xapid *xapid = arg;

    if (xapid->options.restart)
        xapid->options.restart();
}

static void restart_soon(struct xapid *xapid)
{
    MUTEX_GUARD(&xapid->timer_lock); /* the server goes only afterwards */
    if (!xapid->stopping)
        http_post_after(xapid->http, RESTART_DELAY, restart, xapid);
}

static void receive_dump(void *arg)
{
    struct transfer *t = arg;
    struct xapid *xapid = t->call.xapid;
    struct error *e = own_task(t, PUT_ACTION);
    struct http_stream *stream;
    bool staged = false;

    if (e || t->length < 0 || t->length > DUMP_LIMIT) {
        http_error(t->request, e ? 404 : t->length < 0 ? 411 : 413, NULL);
        task_end(&t->call, e ? e : err_client_error(&t->call), NULL);
        transfer_free(t);
        return;
    }
    stream = http_take_over(t->request);
    e = http_stream_continue(stream) ? take_dump(t, stream, &staged) : err_client_error(&t->call);
    task_end(&t->call, e, e ? NULL : "<value></value>");
    if (staged)
        db_fail(xapid->db, "The database was replaced by a backup; xapid starts again.");
    if (e)
        http_stream_error(stream, 500, error_line(t->call.arena, e));
    else if (!http_stream_start(stream, 200, 0, 0, NULL))
        log_info("the client of a restore did not wait for the answer");
    http_stream_close(stream);
    if (e)
        log_info("%s: %s", PUT_ACTION, error_line(t->call.arena, e));
    transfer_free(t);
    if (staged)
        restart_soon(xapid);
}

static void restore_authenticated(struct http_request *request, void *ctx, struct error *e,
                                  const struct auth_http_who *who)
{
    if (e)
        auth_http_refuse(request, PUT_ACTION, e);
    else
        begin(request, ctx, who, receive_dump);
}

void database_put(struct http_request *request, void *ctx)
{
    auth_http(ctx, request, PUT_ACTION, restore_authenticated, ctx);
}
