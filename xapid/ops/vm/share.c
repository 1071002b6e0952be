/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/vm/share.h"

#include "xapid/main/xapid.h"
#include "xapid/ops/vm/checks.h"
#include "xapid/ops/vm/lifecycle.h"
#include "xapid/ops/vm/placement.h"
#include "xapid/ops/vm/squeeze.h"
#include "xapid/ops/vm/squeezer.h"

bool vm_can_balloon(struct xapid *xapid, const struct db_snap *snap, const struct vm *vm)
{
    /* One that can only have what it has need not be looked at. */
    if (vm->memory_dynamic_min == vm->memory_dynamic_max &&
        vm->memory_target == vm->memory_dynamic_max)
        return false;
    return vm->power_state == VM_RUNNING && !vm->is_control_domain && vm->memory_target > 0 &&
           !vm->current_operations.n && vm_has_feature(snap, vm, "feature-balloon") &&
           !squeezer_knows_uncooperative(xapid->squeezer, vm->ref);
}

/* Calls fn for each VM on the host that can balloon, but 'except'. */
static void each_balloon(struct xapid *xapid, const struct db_snap *snap, ref_t host, ref_t except,
                         void (*fn)(void *ctx, const struct vm *vm), void *ctx)
{
    struct index_walk walk;
    ref_t ref;

    index_walk(snap_root(snap), &api_fields[FIELD_vm_resident_on], host, &walk);
    while (index_next(&walk, &ref)) {
        const struct vm *vm = root_get(snap_root(snap), CLASS_vm, ref);

        if (!ref_equal(ref, except) && vm_can_balloon(xapid, snap, vm))
            fn(ctx, vm);
    }
}

static void add_reclaimable(void *ctx, const struct vm *vm)
{
    int64_t *sum = ctx;

    *sum += MAX(vm->memory_target - vm->memory_dynamic_min, 0);
}

int64_t host_memory_reclaimable(struct xapid *xapid, const struct db_snap *snap,
                                const struct host *host, ref_t except)
{
    int64_t sum = 0;

    each_balloon(xapid, snap, host->ref, except, add_reclaimable, &sum);
    return sum;
}

struct sharing {
    size_t n, room;
    const struct vm **vms;
    int64_t targets; /* sum of what they have */
};

static void add_sharer(void *ctx, const struct vm *vm)
{
    struct sharing *s = ctx;

    if (s->n < s->room)
        s->vms[s->n++] = vm;
    s->targets += vm->memory_target;
}

int64_t vm_memory_least(const struct vm *vm)
{
    return vm->power_state == VM_SUSPENDED && vm->memory_target > 0
               ? MAX(vm->memory_dynamic_min, MIN(vm->memory_target, vm->memory_dynamic_max))
               : vm->memory_dynamic_min;
}

/* One that comes running from another host is as large as it is. */
static struct squeeze_range range_of(const struct vm *vm, const struct vm *newcomer)
{
    bool moves = vm == newcomer && vm->power_state == VM_RUNNING && vm->memory_target > 0;

    return moves
               ? (struct squeeze_range){.min = vm->memory_target, .max = vm->memory_target}
               : (struct squeeze_range){.min = vm_memory_least(vm), .max = vm->memory_dynamic_max};
}

static struct error *not_enough(struct call *call, const struct vm *vm, int64_t free)
{
    return err_host_not_enough_free_memory(
        call,
        arena_printf(call->arena, "%lld",
                     (long long)(vm_memory_least(vm) + vm_memory_overhead(vm))),
        arena_printf(call->arena, "%lld", (long long)MAX(free, 0)));
}

/* A guest is not told of every page that comes free. */
static bool is_worth_telling(const struct vm *vm, const struct squeeze_range *range)
{
    int64_t more = range->target - vm->memory_target;

    return more < 0 || more >= SQUEEZE_TOLERANCE || (more > 0 && range->target == range->max);
}

struct error *txn_host_share(struct txn *txn, const struct host *host, const struct vm *newcomer)
{
    ref_t except = newcomer ? newcomer->ref : REF_NULL;
    const struct db_snap *snap = txn_snap(txn);
    struct call *call = txn_call(txn);
    struct sharing s = {0};
    struct squeeze_range *v;
    int64_t available;
    bool fits;

    /* Whoever comes to the host or goes meanwhile makes this a conflict. */
    s.room = txn_referrers(txn, FIELD_vm_resident_on, host->ref).n;
    txn_referrers(txn, FIELD_vm_scheduled_to_be_resident_on, host->ref);
    s.vms = arena_array(txn_arena(txn), const struct vm *, s.room + 1);
    each_balloon(call->xapid, snap, host->ref, except, add_sharer, &s);
    available = host_memory_free(snap, host, except) + s.targets;
    if (newcomer) {
        available -= vm_memory_overhead(newcomer);
        s.vms[s.n++] = newcomer;
    }
    v = arena_array(txn_arena(txn), struct squeeze_range, s.n + 1);
    for (size_t i = 0; i < s.n; i++)
        v[i] = range_of(s.vms[i], newcomer);
    fits = squeeze_share(available, s.n, v);
    if (!fits && newcomer)
        return not_enough(call, newcomer,
                          host_memory_free(snap, host, except) +
                              host_memory_reclaimable(call->xapid, snap, host, except));
    for (size_t i = 0; i < s.n; i++)
        if (s.vms[i] == newcomer || is_worth_telling(s.vms[i], &v[i]))
            TXN_SET(txn, vm, s.vms[i]->ref, memory_target, v[i].target);
    return OK;
}
