/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vcpus.c -- VM.set_VCPUs_number_live: the hypervisor is told, then it is recorded.  After a crash
 * the record follows the domain. */
#include "xapid/main/xapid.h"
#include "xapid/ops/vm/domain.h"
#include "xapid/ops/vm/lifecycle.h"

static struct error *check_vcpus(struct txn *txn, void *arg)
{
    const struct vm_vcpus_intent *intent = arg;
    struct call *call = txn_call(txn);
    const struct vm *vm;

    TRY(txn_vm_check(txn, intent->vm, VM_OP_CHANGING_VCPUS_LIVE, &vm));
    if (intent->vcpus < 1 || intent->vcpus > vm->vcpus_max)
        return err_invalid_value(call, "nvcpu",
                                 arena_printf(call->arena, "%lld", (long long)intent->vcpus));
    return OK;
}

static struct error *record_vcpus(struct txn *txn, void *arg)
{
    const struct vm_vcpus_intent *intent = arg;
    const struct vm *vm = txn_find(txn, CLASS_vm, intent->vm);

    if (!vm)
        return OK;
    TXN_SET(txn, vm, vm->ref, vcpus_at_startup, intent->vcpus);
    if (txn_find(txn, CLASS_vm_metrics, vm->metrics))
        TXN_SET(txn, vm_metrics, vm->metrics, vcpus_number, intent->vcpus);
    return OK;
}

static struct error *tell(struct op *op, const struct vm *vm, int64_t vcpus, const char *what)
{
    struct hv_request rq = op_hv_request(op, what);

    return vm_hv_error(op->call, vm, hv_set_vcpus(op->call->xapid->hv, &rq, vm->uuid, (int)vcpus));
}

struct error *vm_set_vcpus_number_live(struct call *call,
                                       const struct vm_set_vcpus_number_live_args *args)
{
    const struct vm_vcpus_intent intent = {args->self, args->nvcpu};
    AUTO(op) op = {0};
    const struct vm *vm;
    struct error *e;

    TRY(DB_GET(call, vm, args->self, &vm));
    TRY(vm_check_unless_busy(call, vm, VM_OP_CHANGING_VCPUS_LIVE));
    TRY(host_is_here(call, vm->resident_on));
    TRY(op_begin(call,
                 &(struct op_spec){
                     .kind = INTENT_vm_vcpus,
                     .intent = &intent,
                     .n_holds = 1,
                     .holds = &(struct op_hold){CLASS_vm, args->self, VM_OP_CHANGING_VCPUS_LIVE},
                     .check = check_vcpus,
                     .arg = (void *)&intent},
                 &op));
    TRY(tell(&op, vm, args->nvcpu, "set"));
    e = vm_step(&op, args->self, "told", 0.8);
    if (!e)
        e = op_commit(&op, record_vcpus, (void *)&intent);
    if (e && op_may_undo(&op))
        error_ignore(tell(&op, vm, vm->vcpus_at_startup,
                          "undo")); /* the first error is the one to be told */
    return e;
}

struct error *vm_vcpus_recover(struct call *call, struct op *op,
                               const struct vm_vcpus_intent *intent)
{
    const struct vm *vm = db_find(call, CLASS_vm, intent->vm);
    const struct hv_domain *found = NULL;
    static const char *const what[] = {"set", "undo", NULL};
    struct vm_vcpus_intent actual = *intent;

    if (!vm || (vm->power_state != VM_RUNNING && vm->power_state != VM_PAUSED))
        return op_commit(op, NULL, NULL);
    TRY(domain_settle(op, vm, what, &found));
    if (!found)
        return op_commit(op, NULL, NULL);
    actual.vcpus = found->vcpus;
    return op_commit(op, record_vcpus, &actual);
}
