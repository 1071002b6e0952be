/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * import.c -- machines come in: the records are read and checked, an intent says what will be made,
 * then disks and rows are made, then the disks are filled as the archive comes.
 *
 * Clients see the rows from the beginning and wait for them, so until the end these are held by the
 * operation; whatever breaks, they go again with the disks, by undo or by recovery.
 */
#include "xapid/transfer/import.h"

#include <string.h>

#include "libxapi/base/log.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/storage/attach.h"
#include "xapid/stream/handover.h"
#include "xapid/task/task.h"
#include "xapid/transfer/chunks.h"
#include "xapid/transfer/disk.h"
#include "xapid/transfer/import_rows.h"
#include "xapid/transfer/pack.h"

#define VDI_PREFIX "vdi:"

/*** the disks ***/

static struct import_disk *disk_of(const struct import_plan *p, const char *name)
{
    const char *slash = strchr(name, '/');

    for (size_t i = 0; slash && i < p->n_disks; i++)
        if (strlen(p->disks[i].id) == (size_t)(slash - name) &&
            strncmp(p->disks[i].id, name, (size_t)(slash - name)) == 0)
            return &p->disks[i];
    return NULL;
}

static const struct import_disk *next_disk(const struct import_plan *p)
{
    for (size_t i = 0; i < p->n_disks; i++)
        if (!p->disks[i].received)
            return &p->disks[i];
    return NULL;
}

static struct error *fill_disk(struct op *op, struct chunk_reader *reader,
                               const struct import_plan *p)
{
    struct import_disk *disk = disk_of(p, reader->tar->name);
    AUTO(open_disk) open = {0};
    size_t n;

    if (!disk || disk->received)
        return err_import_error_unexpected_file(
            op->call, arena_printf(op->call->arena, "%s/00000000", next_disk(p)->id),
            utf8_clean(op->call->arena, reader->tar->name, strlen(reader->tar->name), &n));
    TRY(open_disk(op->call, disk->vdi, true, &open));
    TRY(chunks_receive(op->call, reader, disk->id, disk->size, open.io, true));
    disk->received = true;
    return op_step(op, "filled", (double)reader->received / (double)MAX(reader->total, 1));
}

static struct error *fill_disks(struct op *op, struct tar_reader *tar, const struct import_plan *p)
{
    AUTO(chunk_reader) reader = {0};
    int64_t total = 0;
    bool found;

    for (size_t i = 0; i < p->n_disks; i++)
        total += p->disks[i].size;
    chunk_reader_init(&reader, tar, total);
    reader.ignore_checksums = p->options->force;
    reader.table = p->manifest->version < 2;
    while (next_disk(p)) {
        TRY(tar_next(op->call, tar, &found));
        if (!found)
            return err_import_error_premature_eof(op->call);
        TRY(fill_disk(op, &reader, p));
    }
    return reader.table && p->n_disks ? chunks_check_table(op->call, &reader) : OK;
}

/*** the operation ***/

static struct error *check_import(struct txn *txn, void *arg)
{
    const struct import_plan *p = arg;

    return txn_disk_plans_check(txn, &p->made);
}

static struct error *begin(struct call *call, struct import_plan *p,
                           const struct vm_import_intent *intent, struct op *op)
{
    struct op_hold holds[OP_MAX_HOLDS];
    size_t n = 0;

    TRY(disk_plans_check(call, &p->made));
    if (p->n_disks)
        op_hold_sr(holds, &n, p->options->sr, SR_OP_VDI_CREATE);
    return op_begin(call,
                    &(struct op_spec){.kind = INTENT_vm_import,
                                      .intent = intent,
                                      .n_holds = n,
                                      .holds = holds,
                                      .check = check_import,
                                      .arg = p},
                    op);
}

static struct error *make_all(struct op *op, struct import_plan *p)
{
    struct error *e;

    TRY(disk_plans_make(op, &p->made, 0.0, 0.01));
    e = import_rows_make(op, p);
    op->unknown |= db_outcome_is_unknown(e);
    TRY(e);
    return op_step(op, "recorded", 0.01);
}

/* What cannot be removed now is removed at the next start. */
static void undo(struct op *op, const struct vm_import_intent *intent)
{
    struct error *e = op_may_undo(op) ? import_rows_drop(op->call, intent) : OK;

    if (!e)
        return;
    log_error("an unfinished import is removed at the next start: %s",
              error_line(op->call->arena, e));
    op->unknown = true;
}

static struct error *run(struct call *call, struct tar_reader *tar, struct import_plan *p)
{
    struct vm_import_intent intent = import_rows_intent(call, p, call->task->key);
    AUTO(op) op = {0};
    struct error *e, *kept;

    TRY(begin(call, p, &intent, &op));
    e = make_all(&op, p);
    if (e) {
        undo(&op, &intent);
        return e;
    }
    e = fill_disks(&op, tar, p);
    if (e && p->options->force && op_may_undo(&op)) {
        /* What has come is wanted all the same. */
        kept = import_rows_finish(&op, &intent);
        if (!kept)
            return e;
    }
    if (!e)
        e = import_rows_finish(&op, &intent);
    if (e)
        undo(&op, &intent);
    return e;
}

struct error *vm_import_recover(struct call *call, struct op *op,
                                const struct vm_import_intent *intent)
{
    if (intent->complete)
        return import_rows_finish(op, intent);
    TRY(import_rows_drop(call, intent));
    return op_commit(op, NULL, NULL);
}

/* The machines themselves; where there are only snapshots, those. */
static struct refs result_of(struct call *call, const struct import_plan *p)
{
    ref_t *v = arena_array(call->arena, ref_t, p->n_vms + 1);
    size_t n = 0;

    for (size_t i = 0; i < p->n_vms; i++)
        if (!p->vms[i].row.is_a_snapshot)
            v[n++] = p->vms[i].row.ref;
    return (struct refs){n, v};
}

/* What the manifest says; 'tar' is NULL where no disks follow. */
static struct error *import_manifest(struct call *call, struct tar_reader *tar,
                                     struct manifest *manifest,
                                     const struct import_options *options, struct refs *vms)
{
    struct import_plan plan;

    TRY(import_plan_make(call, manifest, options, &plan));
    if (options->dry_run || plan.n_vms == 0)
        return OK;
    TRY(run(call, tar, &plan));
    *vms = result_of(call, &plan);
    if (plan.n_disks) /* comes right at the next look anyway */
        error_ignore(sr_refresh_sizes(call, options->sr));
    return OK;
}

struct error *import_from(struct call *call, struct source *from,
                          const struct import_options *options, struct refs *vms)
{
    int64_t limit = options->metadata ? MANIFEST_MAX_ALONE : MANIFEST_MAX;
    AUTO(unpacker) unpacker = {0};
    struct tar_reader tar;
    struct manifest manifest;

    *vms = (struct refs){0};
    TRY(unpacker_open(call, from, &unpacker));
    tar_reader_init(&tar, &unpacker.source);
    TRY(manifest_receive(call, &tar, limit, &manifest));
    return import_manifest(call, &tar, &manifest, options, vms);
}

struct error *import_records(struct call *call, const char *text, size_t n,
                             const struct import_options *options, struct refs *vms)
{
    struct manifest manifest;

    *vms = (struct refs){0};
    TRY(manifest_read(call, text, n, &manifest));
    return import_manifest(call, NULL, &manifest, options, vms);
}

/*** the request ***/

struct incoming {
    struct handover *h;
    struct call *call;
    struct import_options options;
};

static struct refusal check_sr(struct incoming *in)
{
    const struct sr *sr = db_find(in->call, CLASS_sr, in->options.sr);

    if (!sr)
        return refuse(400, err_default_sr_not_found(in->call, call_ref(in->call, in->options.sr)));
    if (strcmp(sr->content_type, "iso") == 0)
        return refuse(400, err_sr_operation_not_supported(in->call, call_ref(in->call, sr->ref)));
    return (struct refusal){0};
}

static struct refusal read_sr(struct incoming *in)
{
    const char *text = http_param(in->h->request, "sr_id");
    const struct pool *pool = db_find(in->call, CLASS_pool, in->call->xapid->pool);
    struct error *e;

    if (!text || !*text)
        text = http_param(in->h->request, "sr_uuid");
    if (!text || !*text) {
        in->options.sr = pool ? pool->default_sr : REF_NULL;
        return check_sr(in);
    }
    e = handover_find(in->call, CLASS_sr, text, &in->options.sr);
    return e ? refuse(404, e) : check_sr(in);
}

/* "vdi:<uuid>=<uuid>" in the query. */
static struct strmap read_mappings(struct incoming *in)
{
    const struct http_request *r = in->h->request;
    struct strmap map = {0};

    for (size_t i = 0; i < r->n_query; i++)
        if (strncmp(r->query[i].name, VDI_PREFIX, strlen(VDI_PREFIX)) == 0)
            map = strmap_with(in->call->arena, map,
                              arena_strdup(in->call->arena, r->query[i].name + strlen(VDI_PREFIX)),
                              arena_strdup(in->call->arena, r->query[i].value));
    return map;
}

static struct refusal read_request(struct incoming *in, bool metadata)
{
    const struct http_request *r = in->h->request;

    in->options = (struct import_options){.metadata = metadata,
                                          .restore = handover_flag(r, "restore", false),
                                          .force = handover_flag(r, "force", false)};
    if (http_header(r, "transfer-encoding"))
        return refuse(403, err_import_error_cannot_handle_chunked(in->call));
    if (!metadata)
        return read_sr(in);
    in->options.dry_run = handover_flag(r, "dry_run", false);
    in->options.vdi = read_mappings(in);
    return (struct refusal){0};
}

static const char *result_text(struct call *call, const struct refs *vms)
{
    AUTO(buf) text = {0};

    codec_xmlrpc.array_begin(&text);
    for (size_t i = 0; i < vms->n; i++) {
        if (i)
            codec_xmlrpc.array_next(&text);
        codec_xmlrpc.ref(&text, vms->v[i]);
    }
    codec_xmlrpc.array_end(&text);
    return arena_strdup(call->arena, text.data);
}

static struct error *receive(struct incoming *in, struct body *body, struct refs *vms)
{
    struct body_source source;

    if (!body_answer(in->call, body, in->h->task))
        return err_client_error(in->call);
    TRY(body_wait(in->call, body));
    TRY(handover_own_task(in->h, in->options.metadata ? "VM.metadata_import" : "VM.import"));
    body_source_init(&source, body);
    return import_from(in->call, &source.source, &in->options, vms);
}

static void run_import(struct handover *h, bool metadata)
{
    struct incoming in = {.h = h, .call = &h->call};
    struct refusal r = read_request(&in, metadata);
    struct body body = {.length = h->request->content_length};
    const struct host *other = NULL;
    struct refs vms;
    struct error *e;

    if (r.status) {
        handover_refuse(h, r);
        return;
    }
    if (!metadata)
        other = disks_elsewhere(in.call, &(struct refs){1, &in.options.sr});
    if (other) {
        handover_elsewhere(h, other);
        return;
    }
    body.http = handover_take(h);
    e = receive(&in, &body, &vms);
    if (e && in.call->task)
        log_info("%s: %s", h->action, error_line(in.call->arena, e));
    task_end(in.call, e, e ? NULL : result_text(in.call, &vms));
    http_stream_close(body.http);
}

static void run_vm(struct handover *h)
{
    run_import(h, false);
}

static void run_metadata(struct handover *h)
{
    run_import(h, true);
}

void import_vm(struct http_request *request, void *ctx)
{
    handover_begin(ctx, request, "put_import", run_vm);
}

void import_metadata(struct http_request *request, void *ctx)
{
    handover_begin(ctx, request, "put_import_metadata", run_metadata);
}
