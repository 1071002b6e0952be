/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/stream/database.h"

#include <string.h>

#include "libxapi/base/log.h"
#include "xapid/db/dump.h"
#include "xapid/db/replace.h"
#include "xapid/db/row.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/op.h"
#include "xapid/stream/handover.h"
#include "xapid/task/task.h"

#define PIECE ((size_t)64 << 10)
#define DUMP_LIMIT ((int64_t)1 << 30)
/* So that the client has its answer and can log out. */
#define RESTART_DELAY (2 * USEC_PER_SEC)

/*** dump ***/

static void send_dump(struct handover *h)
{
    const struct http_pair type = {"Content-Type", "text/xml"};
    struct http_stream *stream = handover_take(h);
    struct dump_writer writer;
    struct buf piece = {0};
    bool more = true, sent = http_stream_start(stream, 200, -1, 1, &type);

    dump_begin(snap_root(h->call.snap), &writer);
    while (sent && more) {
        piece.len = 0;
        more = dump_next(&writer, &piece, PIECE);
        sent = http_stream_write(stream, piece.data, piece.len, HANDOVER_IDLE);
    }
    buf_release(&piece);
    http_stream_close(stream);
    task_end(&h->call, sent ? OK : err_client_error(&h->call), sent ? "<value></value>" : NULL);
}

void database_get(struct http_request *request, void *ctx)
{
    if (request->method == HTTP_M_HEAD)
        http_error(request, 501, "A dump has no head.");
    else
        handover_begin(ctx, request, "get_pool_xml_db_sync", send_dump);
}

/*** restore ***/

/* What follows a fault is read away: the client sends it in any case. */
static struct error *read_dump(struct call *call, struct body *body, struct dump_reader *reader)
{
    char *piece = arena_alloc(call->arena, PIECE);
    size_t n;

    do
        TRY(body_read(call, body, piece, PIECE, &n));
    while (dump_reader_feed(reader, piece, n) && n);
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

/* Takes what was staged away again, unless it is kept. */
struct staged {
    struct op *op;
    const char *dir;
};

static void staged_release(struct staged *s)
{
    struct arena *arena;
    struct error *e;

    if (!s->dir || !op_may_undo(s->op))
        return;
    arena = s->op->call->arena;
    e = db_replace_unstage(arena, s->dir);
    if (e)
        log_error("%s", error_line(arena, e));
}

/* From the commit on the new database is the one that the next start finds. */
static struct error *put_in_place(struct call *call, const struct db_root *root)
{
    const struct database_restore_intent intent = {call->xapid->host};
    const char *dir = arena_printf(call->arena, "%s/db", call->xapid->options.state_dir);
    AUTO(op) op = {0};
    AUTO(staged) staged = {0};

    TRY(op_begin(call, &(struct op_spec){.kind = INTENT_database_restore, .intent = &intent}, &op));
    TRY(op_step(&op, "begun", 0.5));
    staged = (struct staged){&op, dir};
    TRY(db_replace_stage(call->arena, dir, root));
    TRY(op_step(&op, "staged", 0.9));
    TRY(op_commit(&op, NULL, NULL));
    staged.dir = NULL;
    return OK;
}

/* Nothing: a start that finds another database staged takes it before it looks for intents. */
struct error *database_restore_recover(struct call *call, struct op *op,
                                       const struct database_restore_intent *intent)
{
    (void)call, (void)intent;
    return op_commit(op, NULL, NULL);
}

static struct error *restore(struct call *call, struct dump_reader *reader, bool dry_run,
                             bool *staged)
{
    struct db_root *root;
    struct error *e;

    if (db_has_others(call->xapid->db))
        return err_operation_not_allowed(
            call, "A dump is restored on a host that is alone; its pool has other members.");
    TRY(dump_reader_end(call->arena, reader, &root));
    e = check_identity(call, root);
    if (!e && !dry_run) {
        call_refresh(call);
        keep_office(call, root);
        e = put_in_place(call, root);
        *staged = !e;
    }
    root_unref(root);
    return e;
}

static struct error *take_dump(struct call *call, struct body *body, bool dry_run, bool *staged)
{
    struct dump_reader *reader;
    struct error *e;

    if (!http_stream_continue(body->http))
        return err_client_error(call);
    reader = dump_reader_new();
    e = read_dump(call, body, reader);
    if (!e)
        e = restore(call, reader, dry_run, staged);
    dump_reader_free(reader);
    return e;
}

static void receive_dump(struct handover *h)
{
    struct body body = {.length = h->request->content_length};
    bool dry_run = handover_flag(h->request, "dry_run", false), staged = false;
    struct error *e;

    if (body.length < 0 || body.length > DUMP_LIMIT) {
        handover_refuse_length(h);
        return;
    }
    body.http = handover_take(h);
    e = take_dump(&h->call, &body, dry_run, &staged);
    task_end(&h->call, e, e ? NULL : "<value></value>");
    if (staged)
        db_fail(h->call.xapid->db, "The database was replaced by a backup; xapid starts again.");
    body_done(&h->call, &body, h->action, e);
    if (staged)
        xapid_restart_soon(h->call.xapid, RESTART_DELAY);
}

void database_put(struct http_request *request, void *ctx)
{
    handover_begin(ctx, request, "put_pool_xml_db_sync", receive_dump);
}
