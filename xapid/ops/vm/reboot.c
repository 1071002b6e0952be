/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * reboot.c -- VM.clean_reboot and hard_reboot: the old domain ends, a new one is built on the same
 * host.
 *
 * From the end of the old domain on there is no way back: what fails then leaves the VM halted.
 * After a crash the reboot is finished, but a clean one whose guest does not end soon is dropped.
 */
#include "libxapi/base/log.h"
#include "xapid/forward/forward.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/host/cpu.h"
#include "xapid/ops/vm/lifecycle.h"
#include "xapid/ops/vm/power.h"

#define ACK_TIMEOUT (80 * USEC_PER_SEC)

struct restarted {
    ref_t vm;
    int domid;
};

static struct error *record_restarted(struct txn *txn, void *arg)
{
    const struct restarted *r = arg;

    return txn_vm_started(txn, r->vm, r->domid, false);
}

static struct error *record_halted(struct txn *txn, void *arg)
{
    const ref_t *vm = arg;

    return txn_find(txn, CLASS_vm, *vm) ? txn_vm_halted(txn, *vm) : OK;
}

/* Only now: until the old domain had ended its guest might have gone on. */
static struct error *record_boot(struct txn *txn, void *arg)
{
    const struct vm *vm;

    TRY(TXN_GET(txn, vm, *(const ref_t *)arg, &vm));
    txn_vm_will_boot(txn, vm);
    return OK;
}

static struct error *build_again(struct op *op, const struct vm *vm)
{
    ref_t ref = vm->ref;
    AUTO(vm_disks) disks = {0};
    AUTO(domain) domain = {0};
    struct hv_domain_config config;

    TRY(vm_step(op, vm->ref, "ended", 0.4));
    TRY(vm_disks_put_back(op->call, vm->ref));
    TRY(vm_disks_attach(op, vm, &disks));
    TRY(op_update(op, record_boot, &ref));
    TRY(DB_GET(op->call, vm, ref, &vm));
    TRY(domain_config(op->call, vm, &disks, &config));
    TRY(domain_build(op, vm, &config, NULL, &domain));
    TRY(vm_step(op, vm->ref, "built", 0.8));
    TRY(domain_unpause(op, &domain));
    TRY(vm_step(op, vm->ref, "unpaused", 0.9));
    TRY(op_commit(op, record_restarted, &(struct restarted){vm->ref, domain.domid}));
    domain_keep(&domain);
    vm_disks_keep(&disks);
    return OK;
}

struct error *vm_rebuild(struct op *op, const struct vm *vm)
{
    ref_t ref = vm->ref;
    struct refs disks;
    struct error *e, *e2;

    disks = vm_disks_attached(op->call, ref);
    TRY(domain_end(op, vm, "old"));
    vm_disks_detach(op->call, &disks);
    e = build_again(op, vm);
    if (!e || !op_may_undo(op))
        return e;
    e2 = op_update(op, record_halted, &ref);
    if (e2)
        log_error("VM %s could not be built again, and that it is halted could not be recorded: %s",
                  vm->uuid, error_line(op->call->arena, e2));
    return e;
}

static struct error *check_reboot(struct txn *txn, void *arg)
{
    const struct vm_reboot_intent *intent = arg;
    const struct vm *vm;

    return txn_vm_check(txn, intent->vm, intent->hard ? VM_OP_HARD_REBOOT : VM_OP_CLEAN_REBOOT,
                        &vm);
}

static struct error *begin(struct call *call, const struct vm_reboot_intent *intent, struct op *op)
{
    struct op_hold hold = {CLASS_vm, intent->vm,
                           intent->hard ? VM_OP_HARD_REBOOT : VM_OP_CLEAN_REBOOT};

    return op_begin(call,
                    &(struct op_spec){.kind = INTENT_vm_reboot,
                                      .intent = intent,
                                      .n_holds = 1,
                                      .holds = &hold,
                                      .check = check_reboot,
                                      .arg = (void *)intent},
                    op);
}

static struct error *ask_guest(struct op *op, const struct vm *vm)
{
    struct hv_request rq = op_hv_request(op, "ask");
    struct error *e;

    rq.timeout = ACK_TIMEOUT;
    e = hv_shutdown_request(op->call->xapid->hv, &rq, vm->uuid, HV_REBOOT);
    TRY(vm_step(op, vm->ref, "asked", 0.1));
    if (e && hv_failure_of(e) != HV_UNKNOWN && hv_failure_of(e) != HV_NO_DOMAIN)
        return vm_hv_error(op->call, vm, e);
    return vm_wait_end(op, vm);
}

static struct error *reboot(struct call *call, ref_t vm_ref, bool hard)
{
    struct vm_reboot_intent intent = {.vm = vm_ref, .hard = hard};
    AUTO(op) op = {0};
    const struct vm *vm;

    TRY(DB_GET(call, vm, vm_ref, &vm));
    TRY(vm_check_unless_busy(call, vm, hard ? VM_OP_HARD_REBOOT : VM_OP_CLEAN_REBOOT));
    TRY(host_is_here(call, vm->resident_on));
    intent.domid = vm->domid;
    TRY(begin(call, &intent, &op));
    if (hard)
        TRY(vm_overrule(&op, vm_ref));
    if (hard && vm_runs_elsewhere(call, vm_ref)) { /* moved just before */
        struct vm_hard_reboot_args args = {vm_ref};

        TRY(op_commit(&op, NULL, NULL));
        return forward_run(call, MSG_vm_hard_reboot, &args, NULL);
    }
    TRY(DB_GET(call, vm, vm_ref, &vm));
    /* Those it overruled may have ended the VM just before. */
    if (vm->power_state != VM_RUNNING && vm->power_state != VM_PAUSED)
        return err_vm_bad_power_state(call, call_ref(call, vm_ref), "running",
                                      vm_power_state_text(vm->power_state));
    if (!hard)
        TRY(ask_guest(&op, vm));
    TRY(vm_rebuild(&op, vm));
    vm_alert(call, vm, "VM_REBOOTED", hard ? "was forcibly rebooted" : "was rebooted");
    return OK;
}

struct error *vm_clean_reboot(struct call *call, const struct vm_clean_reboot_args *args)
{
    return reboot(call, args->vm, false);
}

struct error *vm_hard_reboot(struct call *call, const struct vm_hard_reboot_args *args)
{
    return reboot(call, args->vm, true);
}

struct error *vm_reboot_recover(struct call *call, struct op *op,
                                const struct vm_reboot_intent *intent)
{
    static const char *const what[] = {"ask", "old", "build", "unpause", NULL};
    const struct vm *vm = db_find(call, CLASS_vm, intent->vm);
    const struct hv_domain *found = NULL;
    bool alive, asked;
    struct error *e;

    if (!vm || vm->power_state == VM_HALTED || vm->power_state == VM_SUSPENDED ||
        vm_runs_elsewhere(call, intent->vm))
        return op_commit(op, NULL, NULL);
    TRY(domain_outcome(op, "ask", &asked));
    TRY(domain_settle(op, vm, what, &found));
    alive = found && found->state != HV_SHUTDOWN;
    if (alive && found->domid == intent->domid && !intent->hard &&
        !(asked && vm_wait_end_briefly(op, vm)))
        return op_commit(op, NULL, NULL);
    if (alive && found->domid != intent->domid && found->state == HV_RUNNING)
        return op_commit(op, record_restarted, &(struct restarted){vm->ref, found->domid});
    uuid_new(op->id); /* the old ids have had their outcomes */
    e = vm_rebuild(op, vm);
    if (e && op_may_undo(op)) {
        log_error("VM %s could not be rebooted after all and is halted: %s", vm->uuid,
                  error_line(call->arena, e));
        return op_commit(op, NULL, NULL);
    }
    return e;
}
