/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* pause.c -- VM.pause and VM.unpause.  After a crash the record follows what the domain does. */
#include "xapid/main/xapid.h"
#include "xapid/ops/vm/cut_off.h"
#include "xapid/ops/vm/domain.h"
#include "xapid/ops/vm/lifecycle.h"

static struct error *check_pause(struct txn *txn, void *arg)
{
    const struct vm_pause_intent *intent = arg;
    const struct vm *vm;

    return txn_vm_check(txn, intent->vm, intent->pause ? VM_OP_PAUSE : VM_OP_UNPAUSE, &vm);
}

struct paused {
    ref_t vm;
    bool paused;
};

static struct error *record_paused(struct txn *txn, void *arg)
{
    const struct paused *p = arg;

    TXN_SET(txn, vm, p->vm, power_state, p->paused ? VM_PAUSED : VM_RUNNING);
    return OK;
}

static struct error *tell(struct op *op, const struct vm *vm, const char *what, bool pause)
{
    struct hv *hv = op->call->xapid->hv;
    struct hv_request rq = op_hv_request(op, what);

    return vm_hv_error(op->call, vm,
                       pause ? hv_pause(hv, &rq, vm->uuid) : hv_unpause(hv, &rq, vm->uuid));
}

static struct error *set_paused(struct call *call, ref_t vm_ref, bool pause)
{
    const struct vm_pause_intent intent = {vm_ref, pause};
    enum vm_operations operation = pause ? VM_OP_PAUSE : VM_OP_UNPAUSE;
    AUTO(op) op = {0};
    const struct vm *vm;
    struct error *e;

    TRY(DB_GET(call, vm, vm_ref, &vm));
    if (vm_is_cut_off(call, vm))
        return vm_do_cut_off(call, vm, operation);
    TRY(vm_check_unless_busy(call, vm, operation));
    TRY(host_is_here(call, vm->resident_on));
    TRY(op_begin(call,
                 &(struct op_spec){.kind = INTENT_vm_pause,
                                   .intent = &intent,
                                   .n_holds = 1,
                                   .holds = &(struct op_hold){CLASS_vm, vm_ref, (int)operation},
                                   .check = check_pause,
                                   .arg = (void *)&intent},
                 &op));
    TRY(tell(&op, vm, "set", pause));
    e = vm_step(&op, vm_ref, "done", 0.9);
    if (!e)
        e = op_commit(&op, record_paused, &(struct paused){vm_ref, pause});
    if (e && op_may_undo(&op))
        error_ignore(tell(&op, vm, "undo", !pause)); /* the first error is the one to be told */
    if (e)
        return e;
    vm_alert(call, vm, pause ? "VM_PAUSED" : "VM_UNPAUSED", pause ? "was paused" : "was unpaused");
    return OK;
}

struct error *vm_pause(struct call *call, const struct vm_pause_args *args)
{
    return set_paused(call, args->vm, true);
}

struct error *vm_unpause(struct call *call, const struct vm_unpause_args *args)
{
    return set_paused(call, args->vm, false);
}

struct error *vm_pause_recover(struct call *call, struct op *op,
                               const struct vm_pause_intent *intent)
{
    static const char *const what[] = {"set", NULL};
    const struct vm *vm = db_find(call, CLASS_vm, intent->vm);
    const struct hv_domain *found = NULL;

    if (!vm || (vm->power_state != VM_RUNNING && vm->power_state != VM_PAUSED))
        return op_commit(op, NULL, NULL);
    TRY(domain_settle(op, vm, what, &found));
    /* A domain that has ended or is gone is found by vms_reconcile. */
    if (!found || found->state == HV_SHUTDOWN)
        return op_commit(op, NULL, NULL);
    return op_commit(op, record_paused, &(struct paused){vm->ref, found->state == HV_PAUSED});
}
