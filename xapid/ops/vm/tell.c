/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tell.c -- what a running VM is told: VM.send_sysrq, send_trigger, s3_suspend, s3_resume.
 */
#include "xapid/ops/vm/tell.h"

#include <string.h>

#include "xapid/main/xapid.h"
#include "xapid/ops/vm/checks.h"
#include "xapid/ops/vm/lifecycle.h"

struct telling {
    ref_t vm;
    enum vm_operations operation;
};

static struct error *check_tell(struct txn *txn, void *arg)
{
    const struct telling *t = arg;
    const struct vm *vm;

    TRY(txn_vm_check(txn, t->vm, t->operation, &vm));
    return vm->power_state == VM_RUNNING || vm->power_state == VM_PAUSED
               ? host_is_here(txn_call(txn), vm->resident_on)
               : OK;
}

struct error *vm_tell(struct call *call, ref_t ref, enum vm_operations operation, vm_tell_fn *fn,
                      void *arg)
{
    const struct vm_told_intent intent = {.vm = ref};
    struct telling t = {ref, operation};
    AUTO(op) op = {0};
    const struct vm *vm;

    TRY(DB_GET(call, vm, ref, &vm));
    TRY(vm_check_unless_busy(call, vm, operation));
    TRY(op_begin(call,
                 &(struct op_spec){.kind = INTENT_vm_told,
                                   .intent = &intent,
                                   .n_holds = 1,
                                   .holds = &(struct op_hold){CLASS_vm, ref, (int)operation},
                                   .check = check_tell,
                                   .arg = &t},
                 &op));
    TRY(DB_GET(call, vm, ref, &vm));
    TRY(fn(&op, vm, arg));
    return op_commit(&op, NULL, NULL);
}

struct error *vm_told_recover(struct call *call, struct op *op, const struct vm_told_intent *intent)
{
    (void)call, (void)intent;
    return op_commit(op, NULL, NULL);
}

/*** keys and buttons ***/

static struct error *send_key(struct op *op, const struct vm *vm, void *arg)
{
    struct hv_request rq = op_hv_request(op, "key");
    const char *key = arg;

    return vm_hv_error(op->call, vm, hv_sysrq(op->call->xapid->hv, &rq, vm->uuid, *key));
}

struct error *vm_send_sysrq(struct call *call, const struct vm_send_sysrq_args *args)
{
    const char *key = args->key;

    if (strlen(key) != 1 || *key <= ' ' || *key > '~')
        return err_invalid_value(call, "key", key);
    return vm_tell(call, args->vm, VM_OP_SEND_SYSRQ, send_key, (void *)key);
}

static struct error *send_trigger(struct op *op, const struct vm *vm, void *arg)
{
    struct hv_request rq = op_hv_request(op, "trigger");
    const enum hv_trigger *trigger = arg;
    bool acpi = *trigger == HV_TRIGGER_POWER || *trigger == HV_TRIGGER_SLEEP ||
                *trigger == HV_TRIGGER_S3RESUME;

    if (acpi && vm_domain_type(vm) == DOMAIN_TYPE_PV)
        return err_vm_hvm_required(op->call, call_ref(op->call, vm->ref));
    return vm_hv_error(op->call, vm, hv_trigger(op->call->xapid->hv, &rq, vm->uuid, *trigger));
}

static struct error *trigger(struct call *call, ref_t vm, enum hv_trigger which)
{
    return vm_tell(call, vm, VM_OP_SEND_TRIGGER, send_trigger, &which);
}

struct error *vm_send_trigger(struct call *call, const struct vm_send_trigger_args *args)
{
    static const char *const names[] = {"power", "sleep", "nmi", "init", "reset", "s3resume"};

    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (strcmp(names[i], args->trigger) == 0)
            return trigger(call, args->vm, (enum hv_trigger)i);
    return err_invalid_value(call, "trigger", args->trigger);
}

struct error *vm_s3_suspend(struct call *call, const struct vm_s3_suspend_args *args)
{
    return trigger(call, args->vm, HV_TRIGGER_SLEEP);
}

struct error *vm_s3_resume(struct call *call, const struct vm_s3_resume_args *args)
{
    return trigger(call, args->vm, HV_TRIGGER_S3RESUME);
}
