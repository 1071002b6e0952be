/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * renew.c -- VM.restart_device_models, and VM.pool_migrate within a host: a guest goes on in a new
 * domain of the same host, and with it in a new process of the device model, as that is installed
 * by now.
 *
 * To the guest it is a suspend that is over at once (aside.h).
 */
#include "libxapi/base/log.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/vm/aside.h"
#include "xapid/ops/vm/checks.h"
#include "xapid/ops/vm/lifecycle.h"
#include "xapid/ops/vm/power.h"
#include "xapid/ops/vm/renew.h"

static struct error *check_renew(struct txn *txn, void *arg)
{
    const struct op_hold *hold = arg;
    const struct vm *vm;

    return txn_vm_check(txn, hold->ref, (enum vm_operations)hold->operation, &vm);
}

/* Once the guest is saved it goes on in another domain, cancelled or not. */
static struct error *renew(struct op *op, const struct vm *vm)
{
    AUTO(vm_image) image = {0};
    struct error *e;

    TRY(vm_image_for_writing(op, REF_NULL, &image));
    TRY(vm_step(op, vm->ref, "prepared", 0.1));
    TRY(vm_save(op, vm, &image));
    error_ignore(vm_step(op, vm->ref, "saved", 0.5));
    e = vm_bring_back(op, vm, &image);
    if (e)
        vm_give_up(op, vm, e);
    return e;
}

struct error *vm_renew_as(struct call *call, ref_t ref, enum vm_operations as)
{
    const struct vm_renew_intent intent = {ref};
    struct op_hold hold = {CLASS_vm, ref, (int)as};
    AUTO(op) op = {0};
    const struct vm *vm;

    TRY(DB_GET(call, vm, ref, &vm));
    TRY(host_is_here(call, vm->resident_on));
    TRY(op_begin(call,
                 &(struct op_spec){.kind = INTENT_vm_renew,
                                   .intent = &intent,
                                   .n_holds = 1,
                                   .holds = &hold,
                                   .check = check_renew,
                                   .arg = &hold},
                 &op));
    TRY(DB_GET(call, vm, intent.vm, &vm));
    TRY(renew(&op, vm));
    /* All is recorded; what is left is to let go. */
    error_ignore(op_step(&op, "back", 0.9));
    error_ignore(op_commit(&op, NULL, NULL));
    return OK;
}

struct error *vm_restart_device_models(struct call *call,
                                       const struct vm_restart_device_models_args *args)
{
    const struct vm *vm;

    TRY(DB_GET(call, vm, args->self, &vm));
    TRY(vm_check_unless_busy(call, vm, VM_OP_SUSPEND));
    if (!vm_needs_hvm(vm))
        return err_operation_not_allowed(call, "A paravirtual machine has no device model.");
    return vm_renew_as(call, args->self, VM_OP_SUSPEND);
}

struct error *vm_renew_recover(struct call *call, struct op *op,
                               const struct vm_renew_intent *intent)
{
    (void)call;
    TRY(vm_recover_aside(op, intent->vm, REF_NULL));
    return op_commit(op, NULL, NULL);
}
