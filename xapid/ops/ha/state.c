/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/ha/state.h"

#include <string.h>

#include "libxapi/base/log.h"
#include "libxapi/value/value.h"
#include "xapid/db/row.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/ha/facts.h"
#include "xapid/ops/ha/orphans.h"
#include "xapid/ops/intent.h"
#include "xapid/ops/message.h"
#include "xapid/ops/op.h"
#include "xapid/ops/vm/domain.h"
#include "xapid/task/task.h"

/*** the plan ***/

void txn_ha_note_plan(struct txn *txn, int64_t to_tolerate)
{
    struct call *call = txn_call(txn);
    const struct pool *pool = txn_find(txn, CLASS_pool, call->xapid->pool);
    struct ha_verdict worst;
    struct ha_facts facts;
    int64_t most;
    bool over;

    if (!pool)
        return;
    ha_gather(call, txn_snap(txn), NULL, &facts);
    most =
        ha_max_failures(call->arena, &facts.problem, MIN((size_t)to_tolerate, facts.limit), &worst);
    over = most < to_tolerate;
    if (most < to_tolerate && (most != pool->ha_plan_exists_for || !pool->ha_overcommitted))
        log_warning("HA: %lld failures are to be tolerated, but there is a plan for %lld only: %s",
                    (long long)to_tolerate, (long long)MAX(most, (int64_t)0),
                    worst.exists ? "more would leave no majority of the hosts"
                                 : ha_explain(call, txn_snap(txn), &facts, &worst));
    most = MAX(most, (int64_t)0);
    if (over != pool->ha_overcommitted)
        TXN_SET(txn, pool, pool->ref, ha_overcommitted, over);
    if (over && !pool->ha_overcommitted)
        txn_alert(txn, "HA_POOL_OVERCOMMITTED", CLS_POOL, pool->uuid,
                  arena_printf(txn_arena(txn),
                               "The failure of %lld hosts is to be tolerated, but protected VMs "
                               "could be restarted after %lld only.",
                               (long long)to_tolerate, (long long)most));
    if (most < pool->ha_plan_exists_for)
        txn_alert(txn, "HA_POOL_DROP_IN_PLAN_EXISTS_FOR", CLS_POOL, pool->uuid,
                  arena_printf(txn_arena(txn),
                               "The failover plan covers %lld hosts, no longer %lld.",
                               (long long)most, (long long)pool->ha_plan_exists_for));
    if (most != pool->ha_plan_exists_for)
        TXN_SET(txn, pool, pool->ref, ha_plan_exists_for, most);
}

/*** who sees whom ***/

static struct strings armed_hosts(struct txn *txn)
{
    size_t count = snap_root(txn_snap(txn))->tables[CLASS_host].count;
    const char **uuids = arena_array(txn_arena(txn), const char *, count + 1);
    struct strings out = {0, uuids};
    const struct host *host;
    struct db_walk walk;

    db_walk(txn_snap(txn), CLASS_host, &walk);
    while ((host = db_walk_next(&walk))) {
        const struct host_state *state = host_state_of(txn_snap(txn), host->ref);

        if (state && state->ha_armed)
            uuids[out.n++] = host->uuid;
    }
    return out;
}

static bool same_members(const struct strings *a, const struct strings *b)
{
    bool same = a->n == b->n;

    for (size_t i = 0; same && i < a->n; i++)
        same = strings_contain(b, a->v[i]);
    return same;
}

void txn_ha_note_peers(struct txn *txn, bool enabled)
{
    struct strings armed = enabled ? armed_hosts(txn) : (struct strings){0};
    const struct host *host;
    struct db_walk walk;

    db_walk(txn_snap(txn), CLASS_host, &walk);
    while ((host = db_walk_next(&walk))) {
        struct strings peers = strings_contain(&armed, host->uuid) ? armed : (struct strings){0};

        if (!same_members(&host->ha_network_peers, &peers) && txn_find(txn, CLASS_host, host->ref))
            TXN_SET(txn, host, host->ref, ha_network_peers, peers);
    }
}

/*** a dead host ***/

const struct host_state *host_state_of(const struct db_snap *snap, ref_t host)
{
    struct index_walk walk;
    ref_t ref;

    index_walk(snap_root(snap), &api_fields[FIELD_host_state_host], host, &walk);
    return index_next(&walk, &ref) ? root_get(snap_root(snap), CLASS_host_state, ref) : NULL;
}

const struct host *ha_first_not(struct call *call, bool armed)
{
    const struct host *host;
    struct db_walk walk;

    db_walk(call->snap, CLASS_host, &walk);
    while ((host = db_walk_next(&walk))) {
        const struct host_metrics *m = db_find(call, CLASS_host_metrics, host->metrics);
        const struct host_state *state = host_state_of(call->snap, host->ref);

        if (m && m->live && state && state->ha_armed != armed)
            return host;
    }
    return NULL;
}

bool ha_takes_vms(struct call *call, const struct db_snap *snap, ref_t host)
{
    const struct pool *pool = root_get(snap_root(snap), CLASS_pool, call->xapid->pool);
    const struct host_state *state = host_state_of(snap, host);

    return !pool || !pool->ha_enabled || (state && state->ha_armed);
}

/* The VM whose device it is; null for what is none. */
static ref_t vm_of(struct txn *txn, const struct op_hold *hold)
{
    const void *row = txn_find(txn, hold->class_id, hold->ref);

    if (!row)
        return REF_NULL;
    switch (hold->class_id) {
    case CLASS_vm:
        return hold->ref;
    case CLASS_vbd:
        return ((const struct vbd *)row)->vm;
    case CLASS_vif:
        return ((const struct vif *)row)->vm;
    default:
        return REF_NULL;
    }
}

/* Splits what an operation holds: the VMs that are halted and their devices, and the rest. */
static void split_holds(struct txn *txn, const struct op *op, const struct refs *vms,
                        struct op *halted, struct op *rest)
{
    *halted = *rest = *op;
    halted->n_holds = rest->n_holds = 0;
    for (size_t i = 0; i < op->n_holds; i++) {
        struct op *to = refs_contain(vms, vm_of(txn, &op->holds[i])) ? halted : rest;

        to->holds[to->n_holds++] = op->holds[i];
    }
}

/*
 * Its daemon's operations on VMs that are halted with it will never go on: the VMs and their
 * devices are let go, and where nothing else was held the intent goes too.  A suspend leaves behind
 * an image that nobody needs.  That, and whatever else it had begun on storage, is others' to undo
 * (orphans.h); the VM is held until then, for its disks are half way.  The rest waits for the host.
 */
static void drop_operations(struct txn *txn, ref_t host, const struct refs *vms)
{
    struct call *call = txn_call(txn);
    const struct intent *row;
    struct db_walk walk;

    db_walk(txn_snap(txn), CLASS_intent, &walk);
    while ((row = db_walk_next(&walk))) {
        struct op op, halted, rest;
        const void *intent;
        bool has_left;

        if (!ref_equal(row->host, host) || !txn_find(txn, CLASS_intent, row->ref) ||
            !op_adopt(call, row, &op, &intent))
            continue;
        split_holds(txn, &op, vms, &halted, &rest);
        /* A VM that had moved away has nothing here any more: its new host may let it run. */
        has_left = op.kind == INTENT_vm_migrate && !op.n_holds;
        if (!has_left && (!halted.n_holds || (rest.n_holds && op.kind != INTENT_vm_suspend))) {
            txn_orphan(txn, row->ref, &op);
            continue;
        }
        txn_unhold(txn, &halted);
        if (!rest.n_holds) {
            txn_destroy(txn, CLASS_intent, row->ref);
            continue;
        }
        TXN_SET(txn, intent, row->ref, holds,
                intent_holds(txn_arena(txn), op.task_key, rest.n_holds, rest.holds));
        txn_orphan(txn, row->ref, &rest);
    }
}

static void try_again(struct txn *txn, ref_t vm)
{
    struct ha_restart row;

    row_defaults(&api_classes[CLASS_ha_restart], &row);
    row.ref = ref_new();
    row.vm = vm;
    row.best_effort = true;
    txn_create(txn, CLASS_ha_restart, &row);
}

static struct error *halt(struct txn *txn, const struct vm *vm)
{
    const struct pool *pool = txn_find(txn, CLASS_pool, txn_call(txn)->xapid->pool);

    if (pool && pool->ha_enabled && strcmp(vm->ha_restart_priority, "best-effort") == 0)
        try_again(txn, vm->ref);
    return txn_vm_halted(txn, vm->ref);
}

/* Whoever carried out a restart there does so no longer. */
static void drop_restarts(struct txn *txn, ref_t host)
{
    const struct ha_restart *row;
    struct db_walk walk;

    db_walk(txn_snap(txn), CLASS_ha_restart, &walk);
    while ((row = db_walk_next(&walk))) {
        if (!ref_equal(row->host, host) || !txn_find(txn, CLASS_ha_restart, row->ref))
            continue;
        if (row->best_effort)
            TXN_SET(txn, ha_restart, row->ref, host, REF_NULL);
        else
            txn_destroy(txn, CLASS_ha_restart, row->ref);
    }
}

struct error *txn_host_dead(struct txn *txn, ref_t ref)
{
    struct refs on = txn_referrers(txn, FIELD_vm_resident_on, ref);
    struct refs coming = txn_referrers(txn, FIELD_vm_scheduled_to_be_resident_on, ref);
    const struct host_state *state = host_state_of(txn_snap(txn), ref);
    const struct host *host;
    ref_t *gone = arena_array(txn_arena(txn), ref_t, on.n + coming.n + 1);
    struct refs halted = {0, gone};

    TRY(TXN_GET(txn, host, ref, &host));
    for (size_t i = 0; i < on.n; i++) {
        const struct vm *vm = txn_find(txn, CLASS_vm, on.v[i]);

        if (!vm || vm->is_control_domain)
            continue;
        TRY(halt(txn, vm));
        gone[halted.n++] = vm->ref;
    }
    for (size_t i = 0; i < coming.n; i++) {
        const struct vm *vm = txn_find(txn, CLASS_vm, coming.v[i]);

        if (!vm || refs_contain(&on, vm->ref))
            continue;
        if (ref_is_null(vm->resident_on))
            txn_vm_not_started(txn, vm->ref, vm->memory_target, vm->power_state == VM_SUSPENDED);
        else
            TXN_SET(txn, vm, vm->ref, scheduled_to_be_resident_on, REF_NULL);
        gone[halted.n++] = vm->ref;
    }
    drop_operations(txn, ref, &halted);
    drop_restarts(txn, ref);
    TRY(txn_tasks_lost(txn, ref));
    if (txn_find(txn, CLASS_host_metrics, host->metrics))
        TXN_SET(txn, host_metrics, host->metrics, live, false);
    if (state && txn_find(txn, CLASS_host_state, state->ref)) {
        TXN_SET(txn, host_state, state->ref, ha_armed, false);
        TXN_SET(txn, host_state, state->ref, ha_failed, true);
    }
    txn_alert(txn, "HA_HOST_FAILED", CLS_HOST, host->uuid,
              arena_printf(txn_arena(txn), "Host '%s' has failed: it was not heard of any more.",
                           host->name_label));
    return OK;
}
