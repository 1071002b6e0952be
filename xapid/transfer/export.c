/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * export.c -- a machine goes out: records first, then its disks, piece by piece.
 *
 * The machine is held as long as that takes (operation "export"), and with it its snapshots where
 * they go along.  Nothing is made here, so nothing has to be undone.
 */
#include "xapid/transfer/export.h"

#include <string.h>

#include "libxapi/base/log.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/storage/vdi_ops.h"
#include "xapid/ops/vm/lifecycle.h"
#include "xapid/stream/handover.h"
#include "xapid/task/task.h"
#include "xapid/transfer/chunks.h"
#include "xapid/transfer/disk.h"
#include "xapid/transfer/inventory.h"
#include "xapid/transfer/pack.h"

struct outgoing {
    struct handover *h;
    struct call *call;
    struct inventory inventory;
    enum packing packing;
    ref_t vm;
    size_t n_disks;
    struct inventory_disk *disks;
};

/*** what is asked for ***/

static struct refusal read_vm(struct outgoing *x)
{
    const char *text = http_param(x->h->request, "ref");
    struct error *e;

    if (!text)
        text = http_param(x->h->request, "uuid");
    if (!text)
        return refuse(400, err_invalid_value(x->call, "uuid", ""));
    e = handover_find(x->call, CLASS_vm, text, &x->vm);
    return e ? refuse(404, e) : (struct refusal){0};
}

/* A comma list. */
static bool excludes(const struct http_request *request, const char *what)
{
    const char *list = http_param(request, "excluded_device_types");
    size_t n = strlen(what);

    while (list && *list) {
        size_t len = strcspn(list, ",");

        if (len == n && strncmp(list, what, n) == 0)
            return true;
        list += len + (list[len] == ',');
    }
    return false;
}

static void read_options(struct outgoing *x, bool snapshots, bool power_state)
{
    const struct http_request *r = x->h->request;

    x->inventory.options = (struct inventory_options){
        .snapshots = handover_flag(r, "export_snapshots", snapshots),
        .preserve_power_state = handover_flag(r, "preserve_power_state", power_state),
        .no_vbd = excludes(r, "vbd"),
        .no_vif = excludes(r, "vif"),
        .no_vgpu = excludes(r, "vgpu"),
        .no_vtpm = excludes(r, "vtpm"),
    };
}

/* The answer's head; without a length the archive ends with the connection. */
static struct error *start_answer(struct outgoing *x, struct http_stream *stream, int64_t length)
{
    const struct http_pair headers[] = {
        {"Content-Type", "application/octet-stream"},
        {"Content-Disposition", "attachment; filename=\"export.xva\""},
        {"task-id", x->call->task ? x->call->task->key : ""}};

    return http_stream_start(stream, 200, length, ARRAY_SIZE(headers), headers)
               ? OK
               : err_client_error(x->call);
}

/*** the operation ***/

/* A suspended machine has its disks still, but does not write to them. */
static bool lies_still(struct txn *txn, const struct vm *vm, ref_t vdi)
{
    struct refs vbds = txn_referrers(txn, FIELD_vbd_vdi, vdi);
    bool attached = false;

    for (size_t i = 0; vm->power_state == VM_SUSPENDED && i < vbds.n; i++) {
        const struct vbd *vbd = txn_find(txn, CLASS_vbd, vbds.v[i]);

        if (vbd && vbd->currently_attached && !ref_equal(vbd->vm, vm->ref))
            return false;
        attached |= vbd && vbd->currently_attached;
    }
    return attached;
}

static struct error *check_export(struct txn *txn, void *arg)
{
    const struct outgoing *x = arg;
    const struct vdi *vdi;
    const struct vm *vm;

    TRY(txn_vm_check(txn, x->vm, VM_OP_EXPORT, &vm));
    for (size_t i = 0; i < x->n_disks; i++)
        if (!lies_still(txn, vm, x->disks[i].vdi))
            TRY(txn_vdi_check(txn, x->disks[i].vdi, VDI_OP_COPY, &vdi));
    return OK;
}

static struct error *begin(struct outgoing *x, struct op *op)
{
    struct op_hold holds[OP_MAX_HOLDS] = {{CLASS_vm, x->vm, VM_OP_EXPORT}};
    struct vm_export_intent intent = {x->vm};
    size_t n = 1;

    for (size_t i = 0; i < x->inventory.n && n < OP_MAX_HOLDS; i++) {
        const struct row *row = x->inventory.v[i].row;

        if (row->row_class == CLASS_vm && !ref_equal(row->ref, x->vm))
            holds[n++] = (struct op_hold){CLASS_vm, row->ref, VM_OP_EXPORT};
    }
    for (size_t i = 0; i < x->n_disks && n < OP_MAX_HOLDS; i++)
        holds[n++] = (struct op_hold){CLASS_vdi, x->disks[i].vdi, VDI_OP_COPY};
    return op_begin(x->call,
                    &(struct op_spec){.kind = INTENT_vm_export,
                                      .intent = &intent,
                                      .n_holds = n,
                                      .holds = holds,
                                      .check = check_export,
                                      .arg = x},
                    op);
}

struct error *vm_export_recover(struct call *call, struct op *op,
                                const struct vm_export_intent *intent)
{
    (void)call;
    (void)op;
    (void)intent;
    return OK;
}

/*** the archive ***/

static struct error *send_disks(struct outgoing *x, struct sink *to)
{
    AUTO(chunk_writer) writer = {0};
    int64_t total = 0;

    for (size_t i = 0; i < x->n_disks; i++)
        total += x->disks[i].size;
    chunk_writer_init(&writer, to, total);
    for (size_t i = 0; i < x->n_disks; i++) {
        AUTO(open_disk) disk = {0};

        TRY(open_disk(x->call, x->disks[i].vdi, false, &disk));
        TRY(chunks_send(x->call, &writer, x->disks[i].id, disk.io));
    }
    return OK;
}

static struct error *send_archive(struct outgoing *x, const struct buf *manifest, struct sink *to)
{
    TRY(tar_member(x->call, to, MANIFEST_NAME, manifest->data, manifest->len));
    TRY(send_disks(x, to));
    return tar_end(x->call, to);
}

static struct error *send_packed(struct outgoing *x, const struct buf *manifest,
                                 struct stream_sink *stream)
{
    AUTO(packer) packer = {0};

    TRY(packer_open(x->call, x->packing, &stream->sink, &packer));
    TRY(send_archive(x, manifest, packer_sink(&packer)));
    TRY(packer_finish(x->call, &packer));
    return stream_sink_flush(x->call, stream);
}

/* The head, then what 'send' writes; a negative length is not known before. */
static struct error *answer(struct outgoing *x, const struct buf *manifest, int64_t length,
                            struct error *(*send)(struct outgoing *x, const struct buf *manifest,
                                                  struct stream_sink *stream))
{
    AUTO(stream_sink) sink = {0};
    struct http_stream *stream = handover_take(x->h);
    struct error *e;

    stream_sink_init(&sink, stream);
    e = start_answer(x, stream, length);
    if (!e)
        e = send(x, manifest, &sink);
    http_stream_close(stream);
    return e;
}

static struct error *send_all(struct outgoing *x)
{
    AUTO(buf) manifest = {0};

    inventory_write(x->call, &x->inventory, &manifest);
    return answer(x, &manifest, -1, send_packed);
}

static struct error *export_held(struct outgoing *x)
{
    AUTO(op) op = {0};

    TRY(begin(x, &op));
    TRY(op_step(&op, "exporting", 0.0));
    TRY(send_all(x));
    TRY(op_step(&op, "exported", 1.0));
    return op_commit(&op, NULL, NULL);
}

/* The records as they are now: from here on no newer version is looked at until they are written.
 */
static struct error *take_stock(struct outgoing *x)
{
    const struct vm *vm;

    TRY(DB_GET(x->call, vm, x->vm, &vm));
    TRY(vm_check_unless_busy(x->call, vm, VM_OP_EXPORT));
    inventory_add_vm(x->call, &x->inventory, vm);
    x->n_disks = inventory_disks(x->call, &x->inventory, &x->disks);
    return OK;
}

static const struct host *elsewhere(struct outgoing *x)
{
    ref_t *v = arena_array(x->call->arena, ref_t, x->n_disks + 1);

    for (size_t i = 0; i < x->n_disks; i++)
        v[i] = x->disks[i].sr;
    return disks_elsewhere(x->call, &(struct refs){x->n_disks, v});
}

static void finish(struct outgoing *x, struct error *e)
{
    if (e && x->h->request) {
        handover_refuse(x->h, (struct refusal){500, error_line(x->call->arena, e), e});
        return;
    }
    task_end(x->call, e, e ? NULL : "");
    if (e)
        log_info("%s: %s", x->h->action, error_line(x->call->arena, e));
}

static void run_export(struct handover *h)
{
    struct outgoing x = {.h = h, .call = &h->call};
    struct refusal r = read_vm(&x);
    const struct host *other;
    struct error *e;

    if (r.status) {
        handover_refuse(h, r);
        return;
    }
    read_options(&x, false, false);
    x.packing = packing_named(http_param(h->request, "use_compression"));
    e = handover_own_task(h, "VM.export");
    if (!e)
        e = take_stock(&x);
    other = e ? NULL : elsewhere(&x);
    if (other)
        handover_elsewhere(h, other);
    else
        finish(&x, e ? e : export_held(&x));
}

/*** records alone ***/

static bool belongs_to_all(const struct vm *vm, bool dom0)
{
    const char *mark = strmap_get(&vm->other_config, "default_template");

    return !vm->is_default_template && !(mark && strcmp(mark, "true") == 0) && !vm->is_a_snapshot &&
           (dom0 || !vm->is_control_domain);
}

static struct error *stock_metadata(struct outgoing *x, bool all)
{
    bool dom0 = handover_flag(x->h->request, "include_dom0", true);
    const struct vm *vm;
    struct db_walk walk;

    if (!all) {
        TRY(DB_GET(x->call, vm, x->vm, &vm));
        TRY(vm_check(x->call, x->call->snap, vm, VM_OP_METADATA_EXPORT));
        inventory_add_vm(x->call, &x->inventory, vm);
        return OK;
    }
    db_walk(x->call->snap, CLASS_vm, &walk);
    while ((vm = db_walk_next(&walk)))
        if (belongs_to_all(vm, dom0))
            inventory_add_vm(x->call, &x->inventory, vm);
    return OK;
}

static struct error *send_manifest(struct outgoing *x, const struct buf *manifest,
                                   struct stream_sink *sink)
{
    TRY(tar_member(x->call, &sink->sink, MANIFEST_NAME, manifest->data, manifest->len));
    TRY(tar_end(x->call, &sink->sink));
    return stream_sink_flush(x->call, sink);
}

/* One version of the database is exported, so nothing need be held meanwhile. */
static struct error *send_metadata(struct outgoing *x)
{
    AUTO(buf) manifest = {0};

    inventory_write(x->call, &x->inventory, &manifest);
    return answer(x, &manifest, tar_size((int64_t)manifest.len) + 2 * (int64_t)TAR_BLOCK,
                  send_manifest);
}

static void run_metadata(struct handover *h)
{
    struct outgoing x = {.h = h, .call = &h->call};
    bool all = handover_flag(h->request, "all", false);
    struct refusal r = all ? (struct refusal){0} : read_vm(&x);
    struct error *e;

    if (r.status) {
        handover_refuse(h, r);
        return;
    }
    read_options(&x, true, true);
    e = handover_own_task(h, "VM.export_metadata");
    if (!e)
        e = stock_metadata(&x, all);
    finish(&x, e ? e : send_metadata(&x));
}

/*** the handlers ***/

static void begin_get(struct http_request *request, void *ctx, const char *action,
                      void (*run)(struct handover *h))
{
    if (request->method == HTTP_M_HEAD)
        http_error(request, 501, "An export has no head.");
    else
        handover_begin(ctx, request, action, run);
}

void export_vm(struct http_request *request, void *ctx)
{
    begin_get(request, ctx, "get_export", run_export);
}

void export_metadata(struct http_request *request, void *ctx)
{
    begin_get(request, ctx, "get_export_metadata", run_metadata);
}
