/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/hotplug.h"

#include "xapid/main/xapid.h"
#include "xapid/ops/vm/domain.h"
#include "xapid/ops/vm/lifecycle.h"
#include "xapid/ops/host/here.h"

struct error *hotplug_settle(struct op *op, const char *what, struct error *e)
{
    struct hv_request rq = op_hv_request(op, what);
    struct error *outcome = OK, *failure;
    bool known = false;

    if (!e || hv_failure_of(e) != HV_UNKNOWN)
        return e;
    failure = hv_outcome(op->call->xapid->hv, &rq, &known, &outcome);
    if (failure) {
        op->unknown = true;
        return failure;
    }
    return known ? outcome : e;
}

struct error *hotplug_happened(struct op *op, const char *what, bool *happened)
{
    struct hv_request rq = op_hv_request(op, what);
    struct error *outcome = OK;
    bool known = false;

    TRY(hv_outcome(op->call->xapid->hv, &rq, &known, &outcome));
    *happened = known && !outcome;
    return OK;
}

struct error *hotplug_refused(struct call *call, struct error *e, const char *type, ref_t ref)
{
    if (error_is(e, "DEVICE_DETACH_REJECTED"))
        return err_device_detach_rejected(call, type, call_ref(call, ref),
                                          e->n_params > 2 ? e->params[2] : "");
    if (error_is(e, "DEVICE_DETACH_TIMEOUT"))
        return err_device_detach_timeout(call, type, call_ref(call, ref));
    return e;
}

struct error *txn_check_has_domain(struct txn *txn, ref_t ref)
{
    struct call *call = txn_call(txn);
    const struct vm *vm;

    TRY(TXN_GET(txn, vm, ref, &vm));
    if (vm->power_state != VM_RUNNING && vm->power_state != VM_PAUSED)
        return err_vm_bad_power_state(call, call_ref(call, ref), "running",
                                      vm_power_state_text(vm->power_state));
    return host_is_here(call, vm->resident_on);
}
