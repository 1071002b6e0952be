/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * odds.c -- messages of a VM that are a line or two: VM.hard_reboot_internal,
 * atomic_set_resident_on, set_snapshot_schedule, retrieve_wlb_recommendations.
 */
#include "xapid/main/xapid.h"
#include "xapid/ops/vm/change.h"

struct error *vm_hard_reboot_internal(struct call *call,
                                      const struct vm_hard_reboot_internal_args *args)
{
    return vm_hard_reboot(call, &(struct vm_hard_reboot_args){args->vm});
}

/* A host tells that the VM runs there now, and what was reserved for that is used up. */
static struct error *change_residence(struct txn *txn, const struct vm *vm, const void *args)
{
    const struct vm_atomic_set_resident_on_args *a = args;
    const struct host *host;

    TRY(TXN_GET(txn, host, a->host, &host));
    TXN_SET(txn, vm, vm->ref, resident_on, a->host);
    TXN_SET(txn, vm, vm->ref, scheduled_to_be_resident_on, REF_NULL);
    return OK;
}

struct error *vm_atomic_set_resident_on(struct call *call,
                                        const struct vm_atomic_set_resident_on_args *args)
{
    return vm_change(call, args->vm, VM_CHANGE_ALWAYS, change_residence, args);
}

static struct error *change_schedule(struct txn *txn, const struct vm *vm, const void *args)
{
    const struct vm_set_snapshot_schedule_args *a = args;
    const struct vmss *vmss;

    if (!ref_is_null(a->value))
        TRY(TXN_GET(txn, vmss, a->value, &vmss));
    if (vm->is_control_domain || vm->is_a_template || vm->is_a_snapshot)
        return err_operation_not_allowed(
            txn_call(txn), "Neither a template nor a control domain can have a snapshot schedule.");
    TXN_SET(txn, vm, vm->ref, snapshot_schedule, a->value);
    return OK;
}

struct error *vm_set_snapshot_schedule(struct call *call,
                                       const struct vm_set_snapshot_schedule_args *args)
{
    return vm_change(call, args->self, VM_CHANGE_ALWAYS, change_schedule, args);
}

/* Pools cannot be given a workload balancing server, so no pool has one. */
struct error *vm_retrieve_wlb_recommendations(
    struct call *call, const struct vm_retrieve_wlb_recommendations_args *args, struct map *result)
{
    const struct vm *vm;

    (void)result;
    TRY(DB_GET(call, vm, args->vm, &vm));
    return err_wlb_not_initialized(call);
}
