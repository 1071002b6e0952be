/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * send.c -- VM.pool_migrate, on the host where the VM runs.
 *
 * The memory goes while the guest runs; at the end the guest stands still, and the other host says
 * that everything has come.  Then one write-set decides: the VM is the other host's.  Before it
 * whatever fails lets the guest go on here; after it the domain here is only destroyed, its disks
 * closed, and the intent taken away, which tells the other host that it may let the guest run.
 */
#include <endian.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libxapi/base/log.h"
#include "libxapi/base/seam.h"
#include "libxapi/value/value.h"
#include "xapid/db/member.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/intent.h"
#include "xapid/ops/migrate/channel.h"
#include "xapid/ops/migrate/hv_end.h"
#include "xapid/ops/migrate/migrate.h"
#include "xapid/ops/vm/aside.h"
#include "xapid/ops/vm/checks.h"
#include "xapid/ops/vm/disks.h"
#include "xapid/ops/vm/lifecycle.h"
#include "xapid/ops/vm/placement.h"
#include "xapid/ops/vm/renew.h"
#include "xapid/stats/move.h"
#include "xapid/task/task.h"

#define CONNECT_WITHIN (20 * USEC_PER_SEC)
#define ARRIVES_WITHIN (600 * USEC_PER_SEC)
#define SHARE_OF_MEMORY 0.8 /* of the progress */

struct channel_guard {
    struct channel *c;
};

static void channel_guard_release(struct channel_guard *guard)
{
    channel_free(guard->c);
}

const void *migrate_intent(struct call *call, const struct intent *row, enum intent_kind kind)
{
    const void *intent;
    enum intent_kind found;

    return row && intent_kind_by_name(row->kind, &found) && found == kind &&
                   intent_of_text(call->arena, kind, row->data, &intent)
               ? intent
               : NULL;
}

bool migrate_is_leaving(struct call *call, const struct db_snap *snap, ref_t vm)
{
    struct db_walk walk;
    const struct intent *row;

    db_walk(snap, CLASS_intent, &walk);
    while ((row = db_walk_next(&walk))) {
        const struct vm_migrate_intent *intent = migrate_intent(call, row, INTENT_vm_migrate);

        if (intent && ref_equal(intent->vm, vm))
            return true;
    }
    return false;
}

/*** options ***/

struct options {
    bool live, compress, force;
    ref_t network; /* null: the way of the pool's links */
};

bool migrate_option(const struct strmap *options, const char *key)
{
    const char *value = strmap_get(options, key);

    return value && (strcmp(value, "true") == 0 || strcmp(value, "1") == 0);
}

static struct error *read_options(struct call *call, const struct strmap *map, struct options *out)
{
    const struct pool *pool = db_find(call, CLASS_pool, call->xapid->pool);
    const char *network = strmap_get(map, "network");
    const struct network *row;

    *out = (struct options){.live = migrate_option(map, "live"),
                            .force = migrate_option(map, "force")};
    out->compress = strmap_get(map, "compress") ? migrate_option(map, "compress")
                                                : pool && pool->migration_compression;
    if (!network || !*network)
        return OK;
    if (!ref_from_text(network, &out->network))
        return err_invalid_value(call, "network", network);
    return DB_GET(call, network, out->network, &row);
}

/*** the way there ***/

struct error *migrate_address(struct call *call, ref_t host, ref_t network, const char **out)
{
    struct refs pifs = db_referrers(call, FIELD_pif_network, network);

    *out = NULL;
    if (ref_is_null(network))
        return OK;
    for (size_t i = 0; i < pifs.n; i++) {
        const struct pif *pif = db_find(call, CLASS_pif, pifs.v[i]);

        if (pif && ref_equal(pif->host, host) && *pif->ip) {
            *out = pif->ip;
            return OK;
        }
    }
    return err_interface_has_no_ip(call, call_ref(call, network));
}

static struct error *open_channel(struct op *op, const struct vm_migrate_intent *intent,
                                  struct channel **out)
{
    struct call *call = op->call;
    struct peer_stream *stream;
    struct log_member member = {0};
    const char *host;
    const void *none;
    struct error *e;

    TRY(host_log_member(call, intent->destination, &member));
    TRY(migrate_address(call, intent->destination, intent->network, &host));
    e = peer_stream_open(call->arena, call->xapid->peers, member.id, PEER_STREAM_MIGRATE,
                         member.address, host, CONNECT_WITHIN, &stream);
    if (e) {
        log_warning("no way to move a VM: %s", error_line(call->arena, e));
        return err_cannot_contact_host(call, call_ref(call, intent->destination));
    }
    *out = channel_new(stream, intent->compress);
    TRY(channel_send_word(call, *out, PIECE_BEGIN, op->intent));
    return channel_expect(call->arena, *out, PIECE_READY, &none);
}

/*** memory ***/

static struct error *look_around(struct op *op, const struct vm *vm, const struct channel *c)
{
    int64_t expected = MAX(vm->memory_target, (int64_t)1);
    double sent = (double)MIN(channel_bytes(c), expected) / (double)expected;

    task_progress(op->call, 0.1 + SHARE_OF_MEMORY * sent);
    TRY(task_check(op->call));
    return vm_overruled(op, vm->ref);
}

static struct error *carry(struct op *op, const struct vm *vm, struct hv_end *end,
                           struct channel *c)
{
    struct arena *arena = op->call->arena;
    char *data = arena_alloc(arena, CHANNEL_MEMORY);
    usec_t next = 0;
    bool ended;
    size_t n;

    do {
        TRY(hv_end_read(end, data, CHANNEL_MEMORY, &n, &ended));
        if (n)
            TRY(channel_send_memory(arena, c, data, n));
        else if (!ended)
            TRY(channel_send(arena, c, PIECE_ALIVE, NULL, 0));
        if (clock_mono() >= next) {
            TRY(look_around(op, vm, c));
            next = clock_mono() + USEC_PER_SEC;
        }
    } while (!ended);
    return OK;
}

/* The guest stands still: the last figures of it here are known. */
static struct error *send_stats(struct op *op, const struct vm *vm, struct channel *c)
{
    struct error *e = OK;
    AUTO(buf) data = {0};

    if (!stats_vm_pack(op->call->xapid->stats, vm->uuid, &data))
        return OK;
    for (size_t at = 0; !e && at < data.len; at += CHANNEL_MEMORY)
        e = channel_send(op->call->arena, c, PIECE_STATS, data.data + at,
                         MIN(data.len - at, CHANNEL_MEMORY));
    return e;
}

/* A disk whose server has died has lost what was not flushed: the guest, which was told that it is
 * written, does not go on elsewhere without it.  What dies from now on loses nothing. */
static struct error *flush_disks(struct op *op, const struct vm *vm,
                                 const struct vm_migrate_intent *intent)
{
    struct call *call = op->call;
    struct error *e = vm_disks_flush(call, vm->ref);

    return e ? err_vm_migrate_failed(call, call_ref(call, vm->ref),
                                     call_ref(call, call->xapid->host),
                                     call_ref(call, intent->destination),
                                     arena_printf(call->arena,
                                                  "What the VM has written to its disks cannot be "
                                                  "made durable: %s",
                                                  error_line(call->arena, e)))
             : OK;
}

/* Until the other host has it all, and says under which intent. */
static struct error *send_memory(struct op *op, const struct vm *vm,
                                 const struct vm_migrate_intent *intent, struct channel *c,
                                 ref_t *theirs)
{
    struct arena *arena = op->call->arena;
    AUTO(hv_end) end = {0};

    TRY(hv_end_out(op, vm->uuid, intent->live, &end));
    TRY(carry(op, vm, &end, c));
    TRY(hv_end_finish(&end, NULL));
    TRY(send_stats(op, vm, c));
    TRY(channel_send_end(arena, c));
    TRY(flush_disks(op, vm, intent)); /* the other host builds meanwhile */
    TRY(channel_expect_word(op->call, c, PIECE_RECEIVED, theirs));
    return vm_step(op, vm->ref, "sent", 0.9);
}

/*** the decision ***/

struct decision {
    struct op *op;
    const struct vm_migrate_intent *intent;
    ref_t theirs;
};

static bool has_others(const struct vm *vm, const char *key)
{
    for (size_t i = 0; i < vm->current_operations.n; i++)
        if (strcmp(vm->current_operations.v[i].key, key) != 0)
            return true;
    return false;
}

static bool host_is_live(struct txn *txn, ref_t ref)
{
    const struct host *host = txn_find(txn, CLASS_host, ref);
    const struct host_metrics *m = host ? txn_find(txn, CLASS_host_metrics, host->metrics) : NULL;

    return m && m->live;
}

/*
 * The VM becomes the other host's, and so does what held it; the sender's intent stays, holding
 * nothing.  Made twice it is made once.  It relies on the receiver's row: that cannot have given
 * up.
 */
static struct error *decide(struct txn *txn, void *arg)
{
    const struct decision *d = arg;
    struct call *call = txn_call(txn);
    const struct vm_receive_intent *theirs;
    const struct intent *mine, *row;
    const struct vm *vm;

    TRY(TXN_GET(txn, vm, d->intent->vm, &vm));
    if (ref_equal(vm->resident_on, d->intent->destination))
        return OK;
    mine = txn_find(txn, CLASS_intent, d->op->intent);
    row = txn_find(txn, CLASS_intent, d->theirs);
    theirs = migrate_intent(call, row, INTENT_vm_receive);
    if (!mine || !theirs || !theirs->received || !ref_equal(theirs->sender, d->op->intent) ||
        !ref_equal(row->host, d->intent->destination))
        return error_internal(call->arena, "the other host has given up");
    /* Nobody would look after a VM on a host that is dead already. */
    if (!host_is_live(txn, d->intent->destination))
        return err_host_not_live(call);
    if (has_others(vm, d->op->task_key) || vm->power_state != VM_RUNNING)
        return err_task_cancelled(call, d->op->task_key);
    TRY(txn_vm_moved(txn, vm->ref, d->intent->destination, (int)theirs->domid));
    TXN_SET(txn, intent, row->ref, holds, mine->holds);
    TXN_SET(txn, intent, mine->ref, holds, (struct strings){0});
    return OK;
}

/* What may have been decided is asked again until it is known; only the daemon's end leaves that to
 * recovery. */
static struct error *decide_for_sure(struct decision *d)
{
    struct call *call = d->op->call;
    struct error *e;

    do
        e = db_update(call, decide, d);
    while (db_outcome_is_unknown(e) && !xapid_is_stopping(call->xapid));
    d->op->unknown = db_outcome_is_unknown(e);
    return e;
}

/*** after it ***/

/* A while, or until something was written. */
static void pause_briefly(struct call *call)
{
    db_wait(call->xapid->db, snap_root(call->snap)->revision, clock_mono() + USEC_PER_SEC);
    call_refresh(call);
}

bool migrate_wait_gone(struct call *call, ref_t intent, usec_t within)
{
    usec_t deadline = clock_mono() + within;

    call_refresh(call);
    while (db_find(call, CLASS_intent, intent) && !xapid_is_stopping(call->xapid) &&
           (!within || clock_mono() < deadline))
        pause_briefly(call);
    return !db_find(call, CLASS_intent, intent);
}

struct error *op_commit_for_sure(struct op *op, db_txn_fn *fn, void *arg)
{
    ref_t intent = op->intent;
    struct error *e = op_commit(op, fn, arg);

    while (e && !xapid_is_stopping(op->call->xapid)) {
        pause_briefly(op->call);
        if (!db_find(op->call, CLASS_intent, intent))
            return OK;
        op->unknown = false;
        e = op_commit(op, fn, arg);
    }
    op->unknown |= e != OK;
    return e;
}

/* Nothing of the VM stays here; then the intent goes.  There is no way back, so it is tried until
 * it is done; the daemon's end leaves it to recovery. */
static void leave(struct op *op, const struct vm *vm, const struct refs *disks)
{
    struct call *call = op->call;
    struct error *e = domain_end(op, vm, "leave");

    for (; e && !xapid_is_stopping(call->xapid); e = domain_end(op, vm, NULL)) {
        log_error("VM %s has moved; its domain here is not gone yet: %s", vm->uuid,
                  error_line(call->arena, e));
        pause_briefly(call);
    }
    op->unknown = e;
    if (e)
        return;
    error_ignore(op_step(op, "left", 0.95));
    vm_disks_detach(call, disks);
    error_ignore(op_step(op, "closed", 0.96));
    error_ignore(op_commit_for_sure(op, NULL, NULL));
}

/* Until the other host has taken its intent away. */
static struct error *wait_for_arrival(struct call *call, const struct vm_migrate_intent *intent,
                                      ref_t theirs)
{
    bool settled = migrate_wait_gone(call, theirs, ARRIVES_WITHIN);
    const struct vm *vm;

    TRY(DB_GET(call, vm, intent->vm, &vm));
    if (settled && vm->power_state == VM_RUNNING)
        return OK;
    return err_vm_migrate_failed(
        call, call_ref(call, intent->vm), call_ref(call, call->xapid->host),
        call_ref(call, intent->destination),
        "The VM has moved, but the other host has not let it run; its log says why.");
}

/*** before it ***/

static struct error *record_stays(struct txn *txn, void *arg)
{
    const struct vm_migrate_intent *intent = arg;

    if (txn_find(txn, CLASS_vm, intent->vm))
        TXN_SET(txn, vm, intent->vm, scheduled_to_be_resident_on, REF_NULL);
    return OK;
}

/* The guest goes on here if it has stopped. */
static struct error *go_on_here(struct op *op, const struct vm *vm)
{
    static const char *const what[] = {"out", NULL};
    const struct hv_domain *found = NULL;
    struct hv_request rq;

    TRY(domain_settle(op, vm, what, &found));
    if (!found || found->state != HV_SHUTDOWN || found->reason != HV_SUSPEND)
        return OK;
    rq = op_hv_request(op, "resume");
    return hv_resume(op->call->xapid->hv, &rq, vm->uuid);
}

static void stay(struct op *op, const struct vm *vm, const struct vm_migrate_intent *intent)
{
    struct call *call = op->call;
    struct error *e;

    if (!op_may_undo(op))
        return;
    e = go_on_here(op, vm);
    if (e)
        vm_give_up(op, vm, e);
    e = op_update(op, record_stays, (void *)intent);
    if (e)
        log_error("what a VM that stays was promised elsewhere stays promised: %s",
                  error_line(call->arena, e));
}

static struct error *send(struct op *op, const struct vm *vm,
                          const struct vm_migrate_intent *intent, ref_t *theirs)
{
    AUTO(channel_guard) channel = {0};
    struct decision decision = {.op = op, .intent = intent};
    struct error *e;

    e = open_channel(op, intent, &channel.c);
    if (!e)
        e = vm_step(op, vm->ref, "connected", 0.1);
    if (!e)
        e = send_memory(op, vm, intent, channel.c, theirs);
    decision.theirs = *theirs;
    if (!e)
        return decide_for_sure(&decision);
    return channel.c && error_is(e, "INTERNAL_ERROR")
               ? channel_reason(op->call->arena, channel.c, e)
               : e;
}

/*** the operation ***/

struct migrate {
    struct vm_migrate_intent intent;
    unsigned skip; /* of migrate_check */
};

static struct error *check_migrate(struct txn *txn, void *arg)
{
    const struct migrate *m = arg;
    const struct host *host;
    const struct vm *vm;

    TRY(txn_vm_check(txn, m->intent.vm, VM_OP_POOL_MIGRATE, &vm));
    TRY(TXN_GET(txn, host, m->intent.destination, &host));
    TRY(migrate_check(txn_call(txn), txn_snap(txn), vm, host, m->skip));
    return txn_host_reserve(txn, host->ref, vm);
}

/* What went wrong between the hosts is told with both of them. */
static struct error *told(struct call *call, const struct vm_migrate_intent *intent,
                          struct error *e)
{
    if (!error_is(e, "INTERNAL_ERROR"))
        return e;
    return err_vm_migrate_failed(call, call_ref(call, intent->vm),
                                 call_ref(call, call->xapid->host),
                                 call_ref(call, intent->destination), error_line(call->arena, e));
}

static const char *name_of(struct call *call, ref_t ref)
{
    const struct host *host = db_find(call, CLASS_host, ref);

    return host ? host->name_label : "";
}

static struct error *move_to(struct call *call, struct migrate *m)
{
    const struct vm_migrate_intent *intent = &m->intent;
    ref_t theirs = REF_NULL;
    AUTO(op) op = {0};
    struct refs disks;
    const struct vm *vm;
    struct error *e;

    TRY(op_begin(
        call,
        &(struct op_spec){.kind = INTENT_vm_migrate,
                          .intent = intent,
                          .n_holds = 1,
                          .holds = &(struct op_hold){CLASS_vm, intent->vm, VM_OP_POOL_MIGRATE},
                          .check = check_migrate,
                          .arg = m},
        &op));
    TRY(DB_GET(call, vm, intent->vm, &vm));
    disks = vm_disks_attached(call, vm->ref);
    e = send(&op, vm, intent, &theirs);
    if (e) {
        stay(&op, vm, intent);
        return told(call, intent, e);
    }
    op.n_holds = 0;
    error_ignore(op_step(&op, "decided", 0.93));
    leave(&op, vm, &disks);
    TRY(wait_for_arrival(call, intent, theirs));
    TRY(DB_GET(call, vm, intent->vm, &vm));
    vm_alert(call, vm, "VM_MIGRATED",
             arena_printf(call->arena, "was migrated from '%s' to '%s'",
                          name_of(call, call->xapid->host), name_of(call, intent->destination)));
    return OK;
}

struct error *vm_pool_migrate(struct call *call, const struct vm_pool_migrate_args *args)
{
    struct migrate m = {.intent = {.vm = args->vm, .destination = args->host}};
    const struct host *host;
    struct options options;
    const struct vm *vm;

    TRY(DB_GET(call, vm, args->vm, &vm));
    TRY(vm_check_unless_busy(call, vm, VM_OP_POOL_MIGRATE));
    TRY(DB_GET(call, host, args->host, &host));
    TRY(host_is_here(call, vm->resident_on));
    TRY(read_options(call, &args->options, &options));
    /* Within the host there is nothing to be sent anywhere. */
    if (ref_equal(args->host, call->xapid->host))
        return vm_renew_as(call, args->vm, VM_OP_POOL_MIGRATE);
    m.skip = options.force ? MIGRATE_ANY_PROCESSOR : 0;
    TRY(migrate_check(call, call->snap, vm, host, m.skip));
    if (!call->xapid->peers)
        return err_cannot_contact_host(call, call_ref(call, args->host));
    m.intent.live = options.live;
    m.intent.compress = options.compress;
    m.intent.network = options.network;
    return move_to(call, &m);
}

struct error *vm_migrate_recover(struct call *call, struct op *op,
                                 const struct vm_migrate_intent *intent)
{
    const struct vm *vm = db_find(call, CLASS_vm, intent->vm);
    struct refs disks;

    if (!vm)
        return op_commit(op, NULL, NULL);
    if (!ref_equal(vm->resident_on, intent->destination)) {
        TRY(go_on_here(op, vm));
        return op_commit(op, record_stays, (void *)intent);
    }
    disks = vm_disks_attached(call, vm->ref);
    /* Counted, so that they can be closed. */
    vm_disks_adopt(call, vm);
    leave(op, vm, &disks);
    return OK;
}
