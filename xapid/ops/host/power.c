/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * power.c -- host.shutdown and reboot: the machine is told to go down once nothing runs on it; and
 * what follows when it has booted.
 *
 * What remains after a crash is only the lock: either the machine was told, and the next start of
 * the daemon is after its next boot, or it was not, and somebody asks again.
 */
#include <string.h>

#include "libxapi/base/log.h"
#include "xapid/hypervisor/hv.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/ha/ha.h"
#include "xapid/ops/host/coordinator.h"
#include "xapid/ops/host/here.h"
#include "xapid/ops/host/settle.h"
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

/* What the daemon owes before the machine goes: nothing may be only in memory, and no watchdog may
 * cut the way down short. */
static struct error *prepare(struct call *call)
{
    db_flush_lazy(call->xapid->db);
    return ha_leave(call);
}

struct error *host_prepare_for_poweroff(struct call *call,
                                        const struct host_prepare_for_poweroff_args *args)
{
    TRY(host_check_here(call, args->host));
    return prepare(call);
}

/* Returns when it was ordered: the answer still reaches the client. */
static struct error *order(struct call *call, struct op *op, bool reboot)
{
    TRY(op_step(op, "prepared", 0.3));
    coordinator_step_down(call);
    TRY(op_step(op, "stepped", 0.8));
    log_info("the host is told to %s", reboot ? "reboot" : "power off");
    return SYSTEM_RUN(call, NULL, "systemctl", "--no-block", reboot ? "reboot" : "poweroff");
}

static struct error *go_down(struct call *call, ref_t host, bool reboot)
{
    struct host_power_intent intent = {.host = host, .reboot = reboot};
    struct op_hold hold = {CLASS_host, host, reboot ? HOST_OP_REBOOT : HOST_OP_SHUTDOWN};
    AUTO(op) op = {0};
    struct error *e;

    TRY(host_check_here(call, host));
    TRY(op_begin(call,
                 &(struct op_spec){.kind = INTENT_host_power,
                                   .intent = &intent,
                                   .n_holds = 1,
                                   .holds = &hold,
                                   .check = check_idle,
                                   .arg = &intent},
                 &op));
    TRY(prepare(call));
    e = order(call, &op, reboot);
    if (!e)
        return op_commit(&op, NULL, NULL);
    ha_stay(call->xapid);
    return e;
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

/*** after a boot ***/

/* A host that was disabled for a while is enabled by its next boot, unless host.disable was told
 * otherwise; a daemon that is restarted changes nothing. */
static struct error *booted_txn(struct txn *txn, void *arg)
{
    const struct host_state *state = NULL;
    ref_t host = txn_call(txn)->xapid->host;
    struct refs states = txn_referrers(txn, FIELD_host_state_host, host);
    const char *boot = arg;

    if (states.n)
        state = txn_find(txn, CLASS_host_state, states.v[0]);
    if (!state || strcmp(state->boot, boot) == 0)
        return OK;
    TXN_SET(txn, host_state, state->ref, boot, boot);
    if (state->auto_enable)
        TXN_SET(txn, host, host, enabled, true);
    return OK;
}

void power_settle(struct call *call)
{
    struct hv_request rq = {.arena = call->arena};
    struct hv_host_info info;
    struct error *e;

    e = hv_host(call->xapid->hv, &rq, &info);
    /* One that does not tell its boots is booted with each start of the daemon. */
    if (!e)
        e = db_update(call, booted_txn,
                      (void *)(*info.boot_id ? info.boot_id
                                             : arena_printf(call->arena, "%lld",
                                                            (long long)call->xapid->started)));
    if (e)
        log_warning("whether this host is to be enabled after its boot was not settled: %s",
                    error_line(call->arena, e));
}
