/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memory.c -- how much memory a VM may have, and what a running one is told to reach.
 *
 * For a halted VM all is a change of records.  For a running one the dynamic range and the new
 * target are recorded with the intent, and the hypervisor is told afterwards; after a crash it is
 * told again.
 */
#include <string.h>

#include "libxapi/base/seam.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/ha/guard.h"
#include "xapid/ops/vm/change.h"
#include "xapid/ops/vm/checks.h"
#include "xapid/ops/vm/domain.h"
#include "xapid/ops/vm/placement.h"
#include "xapid/ops/vm/squeezer.h"
#include "xapid/task/task.h"

#define MIB ((int64_t)1 << 20)
#define WAIT_SECONDS 256
#define WAIT_SLICE USEC_PER_SEC

/*** ranges ***/

struct limits {
    int64_t static_min, static_max, dynamic_min, dynamic_max;
};

static struct limits limits_of(const struct vm *vm)
{
    return (struct limits){vm->memory_static_min, vm->memory_static_max, vm->memory_dynamic_min,
                           vm->memory_dynamic_max};
}

static struct error *set_limits(struct txn *txn, const struct vm *vm, const struct limits *l)
{
    struct vm after = *vm;

    after.memory_static_min = l->static_min;
    after.memory_static_max = l->static_max;
    after.memory_dynamic_min = l->dynamic_min;
    after.memory_dynamic_max = l->dynamic_max;
    TRY(vm_check_memory(txn_call(txn), &after));
    TRY(txn_ha_check_vm(txn, &after));
    TXN_SET(txn, vm, vm->ref, memory_static_min, l->static_min);
    TXN_SET(txn, vm, vm->ref, memory_static_max, l->static_max);
    TXN_SET(txn, vm, vm->ref, memory_dynamic_min, l->dynamic_min);
    TXN_SET(txn, vm, vm->ref, memory_dynamic_max, l->dynamic_max);
    TXN_SET(txn, vm, vm->ref, memory_overhead, vm_memory_overhead(&after));
    return OK;
}

/*** static ***/

static struct error *change_static_max(struct txn *txn, const struct vm *vm, const void *args)
{
    const struct vm_set_memory_static_max_args *a = args;
    struct limits l = limits_of(vm);

    l.static_max = a->value;
    return set_limits(txn, vm, &l);
}

struct error *vm_set_memory_static_max(struct call *call,
                                       const struct vm_set_memory_static_max_args *args)
{
    return vm_change(call, args->self, VM_OP_CHANGING_STATIC_RANGE, change_static_max, args);
}

static struct error *change_static_min(struct txn *txn, const struct vm *vm, const void *args)
{
    const struct vm_set_memory_static_min_args *a = args;
    struct limits l = limits_of(vm);

    l.static_min = a->value;
    return set_limits(txn, vm, &l);
}

struct error *vm_set_memory_static_min(struct call *call,
                                       const struct vm_set_memory_static_min_args *args)
{
    return vm_change(call, args->self, VM_OP_CHANGING_STATIC_RANGE, change_static_min, args);
}

static struct error *change_static_range(struct txn *txn, const struct vm *vm, const void *args)
{
    const struct vm_set_memory_static_range_args *a = args;
    struct limits l = limits_of(vm);

    l.static_min = a->min;
    l.static_max = a->max;
    return set_limits(txn, vm, &l);
}

struct error *vm_set_memory_static_range(struct call *call,
                                         const struct vm_set_memory_static_range_args *args)
{
    return vm_change(call, args->self, VM_OP_CHANGING_STATIC_RANGE, change_static_range, args);
}

static struct error *change_limits(struct txn *txn, const struct vm *vm, const void *args)
{
    const struct vm_set_memory_limits_args *a = args;

    return set_limits(
        txn, vm, &(struct limits){a->static_min, a->static_max, a->dynamic_min, a->dynamic_max});
}

struct error *vm_set_memory_limits(struct call *call, const struct vm_set_memory_limits_args *args)
{
    return vm_change(call, args->self, VM_OP_CHANGING_MEMORY_LIMITS, change_limits, args);
}

static struct error *change_memory(struct txn *txn, const struct vm *vm, const void *args)
{
    const struct vm_set_memory_args *a = args;

    return set_limits(txn, vm,
                      &(struct limits){vm->memory_static_min, a->value, a->value, a->value});
}

struct error *vm_set_memory(struct call *call, const struct vm_set_memory_args *args)
{
    return vm_change(call, args->self, VM_OP_CHANGING_MEMORY_LIMITS, change_memory, args);
}

/*** dynamic ***/

struct dynamic {
    ref_t vm;
    enum vm_operations operation;
    bool has_min, has_max;
    int64_t min, max;
    int64_t target; /* found out by the check */
};

static struct limits dynamic_limits(const struct vm *vm, const struct dynamic *d)
{
    struct limits l = limits_of(vm);

    l.dynamic_min = d->has_min ? d->min : l.dynamic_min;
    l.dynamic_max = d->has_max ? d->max : l.dynamic_max;
    return l;
}

/* As much of the new range as the host has. */
static int64_t new_target(const struct db_snap *snap, const struct vm *vm, const struct limits *l)
{
    const struct host *host = root_get(snap_root(snap), CLASS_host, vm->resident_on);
    struct vm after = *vm;

    after.memory_dynamic_max = l->dynamic_max;
    return MAX(l->dynamic_min, host
                                   ? vm_memory_target(&after, host_memory_free(snap, host, vm->ref))
                                   : l->dynamic_max);
}

static struct error *change_dynamic(struct txn *txn, const struct vm *vm, const void *args)
{
    struct limits l = dynamic_limits(vm, args);

    return set_limits(txn, vm, &l);
}

static struct error *check_dynamic(struct txn *txn, void *arg)
{
    const struct dynamic *d = arg;
    const struct vm *vm;
    struct limits l;

    TRY(txn_vm_check(txn, d->vm, d->operation, &vm));
    l = dynamic_limits(vm, d);
    TRY(set_limits(txn, vm, &l));
    txn_referrers(txn, FIELD_vm_resident_on, vm->resident_on);
    /* If others came meanwhile it may be too much: then the hypervisor refuses it. */
    TXN_SET(txn, vm, d->vm, memory_target, d->target);
    return OK;
}

static struct error *tell(struct op *op, const struct vm *vm, int64_t target)
{
    struct hv_request rq = op_hv_request(op, "set");

    return vm_hv_error(op->call, vm, hv_set_memory(op->call->xapid->hv, &rq, vm->uuid, target));
}

struct target {
    ref_t vm;
    int64_t bytes;
};

static struct error *record_target(struct txn *txn, void *arg)
{
    const struct target *t = arg;

    TXN_SET(txn, vm, t->vm, memory_target, t->bytes);
    return OK;
}

static struct error *change_live(struct call *call, struct dynamic *d, const struct vm *vm)
{
    struct limits l = dynamic_limits(vm, d);
    struct vm_memory_intent intent = {.vm = d->vm};
    AUTO(op) op = {0};
    struct error *e;
    bool has;

    TRY(host_is_here(call, vm->resident_on));
    intent.target = d->target = new_target(call->snap, vm, &l);
    TRY(op_begin(call,
                 &(struct op_spec){.kind = INTENT_vm_memory,
                                   .intent = &intent,
                                   .n_holds = 1,
                                   .holds = &(struct op_hold){CLASS_vm, d->vm, (int)d->operation},
                                   .check = check_dynamic,
                                   .arg = d},
                 &op));
    e = d->target > vm->memory_target
            ? squeezer_wait_room(&op, d->vm, d->target - vm->memory_target, &has)
            : OK;
    if (!e)
        e = tell(&op, vm, d->target);
    if (e)
        error_ignore(
            db_update(call, record_target,
                      &(struct target){
                          d->vm, vm->memory_target})); /* the first error is the one to be told */
    TRY(e);
    /* Range and target are recorded and the domain was told: nothing that fails from here on
     * changes that. */
    error_ignore(vm_step(&op, d->vm, "told", 0.9));
    e = op_commit(&op, NULL, NULL);
    if (e && op_may_undo(&op)) {
        op_abort(&op);
        e = OK;
    }
    squeezer_kick(call->xapid->squeezer);
    return e;
}

static struct error *set_dynamic(struct call *call, struct dynamic d)
{
    const struct vm *vm;

    TRY(DB_GET(call, vm, d.vm, &vm));
    TRY(vm_check_unless_busy(call, vm, d.operation));
    if (vm->power_state == VM_RUNNING && !vm->is_control_domain)
        return change_live(call, &d, vm);
    return vm_change(call, d.vm, d.operation, change_dynamic, &d);
}

struct error *vm_memory_recover(struct call *call, struct op *op,
                                const struct vm_memory_intent *intent)
{
    const struct vm *vm = db_find(call, CLASS_vm, intent->vm);

    /* A VM that ended meanwhile, or a host that has become too full: nothing depends on it. */
    if (vm && vm->power_state == VM_RUNNING)
        error_ignore(tell(op, vm, intent->target));
    return op_commit(op, NULL, NULL);
}

struct error *vm_set_memory_dynamic_max(struct call *call,
                                        const struct vm_set_memory_dynamic_max_args *args)
{
    return set_dynamic(call, (struct dynamic){.vm = args->self,
                                              .operation = VM_OP_CHANGING_DYNAMIC_RANGE,
                                              .has_max = true,
                                              .max = args->value});
}

struct error *vm_set_memory_dynamic_min(struct call *call,
                                        const struct vm_set_memory_dynamic_min_args *args)
{
    return set_dynamic(call, (struct dynamic){.vm = args->self,
                                              .operation = VM_OP_CHANGING_DYNAMIC_RANGE,
                                              .has_min = true,
                                              .min = args->value});
}

struct error *vm_set_memory_dynamic_range(struct call *call,
                                          const struct vm_set_memory_dynamic_range_args *args)
{
    return set_dynamic(call, (struct dynamic){.vm = args->self,
                                              .operation = VM_OP_CHANGING_DYNAMIC_RANGE,
                                              .has_min = true,
                                              .has_max = true,
                                              .min = args->min,
                                              .max = args->max});
}

struct error *vm_set_memory_target_live(struct call *call,
                                        const struct vm_set_memory_target_live_args *args)
{
    return set_dynamic(call, (struct dynamic){.vm = args->self,
                                              .operation = VM_OP_CHANGING_MEMORY_LIVE,
                                              .has_min = true,
                                              .has_max = true,
                                              .min = args->target,
                                              .max = args->target});
}

/*** looking ***/

struct error *vm_wait_memory_target_live(struct call *call,
                                         const struct vm_wait_memory_target_live_args *args)
{
    usec_t deadline = clock_mono() + WAIT_SECONDS * USEC_PER_SEC;
    const struct vm *vm;

    for (;;) {
        struct hv_request rq = {.arena = call->arena, .epoch = xapid_epoch(call->xapid)};
        const struct hv_domain *d;

        call_refresh(call);
        TRY(DB_GET(call, vm, args->self, &vm));
        TRY(vm_check_unless_busy(call, vm, VM_OP_AWAITING_MEMORY_LIVE));
        TRY(host_is_here(call, vm->resident_on));
        TRY(hv_get(call->xapid->hv, &rq, vm->uuid, &d));
        if (d && d->memory - d->memory_target <= MIB && d->memory_target - d->memory <= MIB)
            return OK;
        if (clock_mono() >= deadline)
            return err_vm_memory_target_wait_timeout(call);
        TRY(task_check(call));
        db_wait(call->xapid->db, snap_root(call->snap)->revision, clock_mono() + WAIT_SLICE);
    }
}

struct error *vm_get_cooperative(struct call *call, const struct vm_get_cooperative_args *args,
                                 bool *result)
{
    const struct vm *vm;

    TRY(DB_GET(call, vm, args->self, &vm));
    *result = !squeezer_knows_uncooperative(call->xapid->squeezer, vm->ref);
    return OK;
}

struct error *vm_compute_memory_overhead(struct call *call,
                                         const struct vm_compute_memory_overhead_args *args,
                                         int64_t *result)
{
    const struct vm *vm;

    TRY(DB_GET(call, vm, args->vm, &vm));
    *result = vm_memory_overhead(vm);
    return OK;
}

static bool fits(const struct vm *vm, int64_t static_max, int64_t total)
{
    struct vm with = *vm;

    with.memory_static_max = static_max;
    return static_max + vm_memory_overhead(&with) <= total;
}

struct error *vm_maximise_memory(struct call *call, const struct vm_maximise_memory_args *args,
                                 int64_t *result)
{
    int64_t low = 0, high = args->total / MIB + 1; /* MiB: 'low' fits, 'high' does not */
    const struct vm *vm;

    TRY(DB_GET(call, vm, args->self, &vm));
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;

        if (fits(vm, middle * MIB, args->total))
            low = middle;
        else
            high = middle;
    }
    /* Rounded: what is left over serves the guesses in the overhead. */
    *result = (args->approximate ? low / 16 * 16 : low) * MIB;
    return OK;
}
