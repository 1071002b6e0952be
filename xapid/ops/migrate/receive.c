/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * receive.c -- the host to which a VM moves.
 *
 * Asked by a stream alone: what is wanted is in the sender's intent, which every member has.  The
 * domain is built, paused and without disks, while its memory comes.  Then this host waits: for the
 * sender's intent to go.  If the VM is this host's by then, its disks are opened and it runs; if
 * not, the domain goes.  So nothing here depends on the connection once the memory has come.
 */
#include <stdlib.h>
#include <string.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "libxapi/value/value.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/intent.h"
#include "xapid/ops/migrate/channel.h"
#include "xapid/ops/migrate/hv_end.h"
#include "xapid/ops/migrate/migrate.h"
#include "xapid/ops/network/guards.h"
#include "xapid/ops/vm/device.h"
#include "xapid/ops/vm/domain.h"
#include "xapid/stats/move.h"
#include "xapid/worker/workers.h"

/*** what is prepared ***/

/* The sender still wants it, and it is wanted of us. */
static struct error *check_receive(struct txn *txn, void *arg)
{
    const struct vm_receive_intent *intent = arg;
    struct call *call = txn_call(txn);
    const struct intent *row = txn_find(txn, CLASS_intent, intent->sender);
    const struct vm_migrate_intent *theirs = migrate_intent(call, row, INTENT_vm_migrate);
    const struct vm *vm;

    if (!theirs || !ref_equal(theirs->destination, call->xapid->host) ||
        !ref_equal(theirs->vm, intent->vm))
        return error_internal(call->arena, "nobody wants to send this VM here");
    TRY(TXN_GET(txn, vm, intent->vm, &vm));
    return ref_equal(vm->resident_on, row->host)
               ? OK
               : error_internal(call->arena, "the VM does not run on the host that sends it");
}

struct received {
    struct op *op;
    struct vm_receive_intent intent;
};

static struct error *record_received(struct txn *txn, void *arg)
{
    const struct received *r = arg;

    TRY(check_receive(txn, (void *)&r->intent));
    TXN_SET(txn, intent, r->op->intent, data,
            intent_to_text(txn_arena(txn), r->op->kind, &r->intent));
    return OK;
}

/* Interfaces that were unplugged stay so. */
static void keep_plugged(struct call *call, const struct vm *vm, struct hv_domain_config *out)
{
    struct refs vifs = db_referrers(call, FIELD_vif_vm, vm->ref);
    struct hv_nic *nics = arena_array(call->arena, struct hv_nic, out->n_nics + 1);
    size_t n = 0;

    for (size_t i = 0; i < vifs.n; i++) {
        const struct vif *vif = db_find(call, CLASS_vif, vifs.v[i]);

        for (size_t k = 0; vif->currently_attached && k < out->n_nics; k++)
            if (out->nics[k].device == vif_device_number(vif->device))
                nics[n++] = out->nics[k];
    }
    out->n_nics = n;
    out->nics = nics;
}

/* As the VM is now, not as it will boot. */
static struct error *config_of(struct call *call, const struct vm *vm, struct hv_domain_config *out)
{
    static const struct vm_disks none;
    const struct vm_metrics *metrics = db_find(call, CLASS_vm_metrics, vm->metrics);

    TRY(domain_config(call, vm, &none, out));
    keep_plugged(call, vm, out);
    out->kernel = out->ramdisk = out->bootloader = "";
    if (metrics && metrics->vcpus_number > 0)
        out->vcpus = (int)MIN(metrics->vcpus_number, vm->vcpus_max);
    return OK;
}

static struct error *take_stats(struct arena *arena, struct buf *stats, const void *data,
                                size_t size)
{
    if (size > STATS_MOVE_MAX - stats->len)
        return error_internal(arena, "the other host sends too many statistics");
    buf_add(stats, data, size);
    return OK;
}

static struct error *take_memory(struct op *op, struct channel *c, struct hv_end *end,
                                 struct buf *stats)
{
    struct arena *arena = op->call->arena;
    enum piece_kind kind;
    const void *data;
    size_t size;

    while (true) {
        TRY(channel_receive(arena, c, &kind, &data, &size));
        if (kind == PIECE_END)
            break;
        if (kind == PIECE_MEMORY)
            TRY(hv_end_write(end, data, size));
        else if (kind == PIECE_STATS)
            TRY(take_stats(arena, stats, data, size));
        else
            return error_internal(arena, "the other host says what has no place here");
    }
    hv_end_shut(end);
    while (!hv_end_is_over(end))
        TRY(channel_send(arena, c, PIECE_ALIVE, NULL, 0));
    return OK;
}

/* As long as the sender's intent stands: it goes when that host is dead. */
static bool is_wanted(void *ctx)
{
    const struct op *op = ctx;
    const struct vm_receive_intent *intent =
        migrate_intent(op->call, db_find(op->call, CLASS_intent, op->intent), INTENT_vm_receive);

    call_refresh(op->call);
    return intent && db_find(op->call, CLASS_intent, intent->sender);
}

static struct error *build(struct op *op, const struct vm *vm, struct channel *c, int *domid)
{
    struct hv_domain_config config;
    AUTO(hv_end) end = {0};
    AUTO(buf) stats = {0};

    TRY(vm_make_room(op, vm->ref));
    TRY(config_of(op->call, vm, &config));
    TRY(hv_end_in(op, &config, &end));
    channel_while(c, is_wanted, op);
    TRY(channel_send(op->call->arena, c, PIECE_READY, NULL, 0));
    TRY(op_step(op, "begun", 0.1));
    TRY(take_memory(op, c, &end, &stats));
    TRY(vm_hv_error(op->call, vm, hv_end_finish(&end, domid)));
    TRY(vm_guard(op->call, vm, *domid));
    if (stats.len)
        stats_vm_unpack(op->call->xapid->stats, vm->uuid, stats.data, stats.len);
    return OK;
}

static struct error *undo(struct op *op, const struct vm *vm)
{
    static const char *const what[] = {"in", NULL};
    const struct hv_domain *found = NULL;

    TRY(domain_settle(op, vm, what, &found));
    return found ? domain_end(op, vm, "undo") : OK;
}

/*** the end ***/

static struct error *record_lost(struct txn *txn, void *arg)
{
    ref_t vm = *(const ref_t *)arg;

    return txn_find(txn, CLASS_vm, vm) ? txn_vm_halted(txn, vm) : OK;
}

static struct error *open_disks(struct op *op, const struct vm *vm, struct vm_disks *disks)
{
    struct call *call = op->call;

    TRY(vm_disks_attach(op, vm, disks));
    for (size_t i = 0; i < disks->n; i++) {
        struct hv_request rq =
            op_hv_request(op, arena_printf(call->arena, "disk %s", disks->hv[i].device));

        TRY(vm_hv_error(call, vm, hv_disk_plug(call->xapid->hv, &rq, vm->uuid, &disks->hv[i])));
    }
    return OK;
}

/* The VM is ours, and nobody else has anything of it any more. */
static struct error *let_run(struct op *op, const struct vm *vm)
{
    struct hv_request rq = op_hv_request(op, NULL);
    const struct hv_domain *found = NULL;
    struct domain domain = {op, vm->uuid, 0};
    AUTO(vm_disks) disks = {0};

    TRY(vm_overruled(op, vm->ref));
    TRY(hv_get(op->call->xapid->hv, &rq, vm->uuid, &found));
    if (!found || found->state == HV_SHUTDOWN)
        return error_internal(op->call->arena, "its domain is gone");
    TRY(open_disks(op, vm, &disks));
    error_ignore(op_step(op, "opened", 0.9));
    TRY(vm_overruled(op, vm->ref));
    if (found->state != HV_RUNNING)
        TRY(domain_unpause(op, &domain));
    error_ignore(op_step(op, "unpaused", 0.95));
    vm_disks_keep(&disks);
    return OK;
}

/* With the sender's intent gone.  What held the VM at the sender's holds it here by now, so the op
 * is taken up anew. */
static struct error *finish(struct call *call, ref_t intent_ref)
{
    const struct intent *row = db_find(call, CLASS_intent, intent_ref);
    const struct vm_receive_intent *intent;
    const struct vm *vm;
    struct error *e;
    struct op op;

    if (!row || !op_adopt(call, row, &op, (const void **)&intent))
        return OK;
    vm = db_find(call, CLASS_vm, intent->vm);
    if (!vm)
        return op_commit(&op, NULL, NULL);
    if (!intent->received || !ref_equal(vm->resident_on, call->xapid->host)) {
        TRY(undo(&op, vm));
        return op_commit(&op, NULL, NULL);
    }
    e = let_run(&op, vm);
    if (!e)
        return op_commit_for_sure(&op, NULL, NULL);
    error_ignore(domain_end(&op, vm, NULL));
    TRY(op_commit_for_sure(&op, record_lost, (void *)&intent->vm));
    if (!error_is(e, "TASK_CANCELLED"))
        vm_alert(call, vm, "VM_CRASHED", "was lost on its way to another host: it is halted");
    return e;
}

static void await(struct call *call, ref_t intent_ref, ref_t sender)
{
    struct error *e = OK;

    if (migrate_wait_gone(call, sender, 0))
        e = finish(call, intent_ref);
    if (e)
        log_error("receiving a VM: %s", error_line(call->arena, e));
}

/*** the stream ***/

/* The domain is there, and recorded as received; or an error, and nothing is left. */
static struct error *receive(struct call *call, struct channel *c, struct received *r,
                             struct op *op)
{
    const struct vm *vm;
    int domid = 0;
    struct error *e;

    TRY(op_begin(call,
                 &(struct op_spec){.kind = INTENT_vm_receive,
                                   .intent = &r->intent,
                                   .check = check_receive,
                                   .arg = &r->intent},
                 op));
    TRY(DB_GET(call, vm, r->intent.vm, &vm));
    e = build(op, vm, c, &domid);
    if (!e)
        e = op_step(op, "built", 0.5);
    r->op = op;
    r->intent.received = true;
    r->intent.domid = domid;
    if (!e)
        e = db_update(call, record_received, r);
    if (!e || db_outcome_is_unknown(e)) {
        op->unknown = true; /* from here on the row is what counts */
        return OK;
    }
    /* An intent that could not be undone stays, and is undone at the next start. */
    op->unknown = undo(op, vm) != OK;
    return e;
}

static void serve(struct call *call, struct channel *c)
{
    const struct vm_migrate_intent *theirs;
    struct received r = {0};
    AUTO(op) op = {0};
    struct error *e = channel_expect_word(call, c, PIECE_BEGIN, &r.intent.sender);

    if (!e) {
        theirs =
            migrate_intent(call, db_find(call, CLASS_intent, r.intent.sender), INTENT_vm_migrate);
        r.intent.vm = theirs ? theirs->vm : REF_NULL;
        e = receive(call, c, &r, &op);
    }
    if (e) {
        log_warning("a VM that was to come here does not: %s", error_line(call->arena, e));
        error_ignore(channel_send(call->arena, c, PIECE_FAILED, error_line(call->arena, e),
                                  strlen(error_line(call->arena, e))));
        return;
    }
    error_ignore(op_step(&op, "received", 0.6));
    /* If it does not hear of it the sender goes on by itself, and its intent goes. */
    error_ignore(channel_send_word(call, c, PIECE_RECEIVED, op.intent));
    await(call, op.intent, r.intent.sender);
}

struct job {
    struct xapid *xapid;
    struct peer_stream *stream; /* NULL: of an earlier life */
    ref_t intent, sender;
};

static void run(void *arg)
{
    struct job *job = arg;
    AUTO(arena) arena = {0};
    struct channel *c;
    struct call call;

    call_init_internal(&call, job->xapid, &arena);
    if (job->stream) {
        c = channel_new(job->stream, false);
        serve(&call, c);
        channel_free(c);
    } else {
        await(&call, job->intent, job->sender);
    }
    call_release(&call);
    free(job);
}

void migrate_serve(void *ctx, struct peer_stream *stream)
{
    struct xapid *xapid = ctx;
    struct job *job = xcalloc(1, sizeof *job);

    *job = (struct job){.xapid = xapid, .stream = stream};
    if (workers_run(xapid->workers, run, job))
        return;
    peer_stream_close(stream);
    free(job);
}

/* What this host recorded last may come back through the log only now. */
static struct error *check_not_received(struct txn *txn, void *arg)
{
    struct call *call = txn_call(txn);
    const struct intent *row =
        root_get(snap_root(txn_snap(txn)), CLASS_intent, *(const ref_t *)arg);
    const struct vm_receive_intent *intent = migrate_intent(call, row, INTENT_vm_receive);

    return intent && intent->received
               ? error_internal(call->arena, "the VM is recorded as received by now")
               : OK;
}

struct error *vm_receive_recover(struct call *call, struct op *op,
                                 const struct vm_receive_intent *intent)
{
    const struct vm *vm = db_find(call, CLASS_vm, intent->vm);
    struct job *job;

    if (!intent->received) {
        if (vm)
            TRY(undo(op, vm));
        return op_commit(op, check_not_received, &op->intent);
    }
    /* It may have been decided: what to do shows when the sender's intent goes. */
    op->unknown = true;
    job = xcalloc(1, sizeof *job);
    *job = (struct job){.xapid = call->xapid, .intent = op->intent, .sender = intent->sender};
    if (workers_run(call->xapid->workers, run, job))
        return OK;
    free(job);
    return error_internal(call->arena, "too much to do at once");
}

bool migrate_is_arriving(struct call *call, const struct db_snap *snap, ref_t vm)
{
    struct db_walk walk;
    const struct intent *row;

    db_walk(snap, CLASS_intent, &walk);
    while ((row = db_walk_next(&walk))) {
        const struct vm_receive_intent *intent = ref_equal(row->host, call->xapid->host)
                                                     ? migrate_intent(call, row, INTENT_vm_receive)
                                                     : NULL;

        if (intent && ref_equal(intent->vm, vm))
            return true;
    }
    return false;
}
