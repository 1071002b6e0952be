/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * power.c -- host.shutdown and reboot: the machine is told to go down once nothing runs on it.
 *
 * What remains after a crash is only the lock: either the machine was told, and the next start of
 * the daemon is after its next boot, or it was not, and somebody asks again.
 */
#include "libxapi/base/log.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/host/here.h"
#include "xapid/ops/host/system.h"
#include "xapid/ops/op.h"

/* Not in use: disabled, so that nothing new comes, and without VMs. */
static struct error *check_idle(struct txn *txn, void *arg)
{
    const struct host_power_intent *intent = arg;
    struct call *call = txn_call(txn);
    const struct host *host;
    struct refs vms;

    TRY(TXN_GET(txn, host, intent->host, &host));
    if (host->enabled)
        return err_host_not_disabled(call);
    if (host->current_operations.n)
        return err_other_operation_in_progress(call, "host", call_ref(call, host->ref), "", "");
    vms = txn_referrers(txn, FIELD_vm_resident_on, host->ref);
    for (size_t i = 0; i < vms.n; i++) {
        const struct vm *vm = txn_find(txn, CLASS_vm, vms.v[i]);

        if (vm && !vm->is_control_domain)
            return err_host_in_use(call, call_ref(call, host->ref), "VM", call_ref(call, vm->ref));
    }
    return OK;
}

/* What the daemon owes before the machine goes: nothing may be only in memory. */
static void prepare(struct call *call)
{
    db_flush_lazy(call->xapid->db);
}

struct error *host_prepare_for_poweroff(struct call *call,
                                        const struct host_prepare_for_poweroff_args *args)
{
    TRY(host_check_here(call, args->host));
    prepare(call);
    return OK;
}

static struct error *go_down(struct call *call, ref_t host, bool reboot)
{
    struct host_power_intent intent = {.host = host, .reboot = reboot};
    struct op_hold hold = {CLASS_host, host, reboot ? HOST_OP_REBOOT : HOST_OP_SHUTDOWN};
    AUTO(op) op = {0};

    TRY(host_check_here(call, host));
    TRY(op_begin(call,
                 &(struct op_spec){.kind = INTENT_host_power,
                                   .intent = &intent,
                                   .n_holds = 1,
                                   .holds = &hold,
                                   .check = check_idle,
                                   .arg = &intent},
                 &op));
    prepare(call);
    TRY(op_step(&op, "prepared", 0.5));
    log_info("the host is told to %s", reboot ? "reboot" : "power off");
    /* Returns when it was ordered: the answer still reaches the client. */
    TRY(SYSTEM_RUN(call, NULL, "systemctl", "--no-block", reboot ? "reboot" : "poweroff"));
    return op_commit(&op, NULL, NULL);
}

struct error *host_shutdown(struct call *call, const struct host_shutdown_args *args)
{
    return go_down(call, args->host, false);
}

struct error *host_reboot(struct call *call, const struct host_reboot_args *args)
{
    return go_down(call, args->host, true);
}

struct error *host_power_recover(struct call *call, struct op *op,
                                 const struct host_power_intent *intent)
{
    (void)call, (void)intent;
    return op_commit(op, NULL, NULL);
}
