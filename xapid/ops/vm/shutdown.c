/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * shutdown.c -- VM.clean_shutdown, hard_shutdown, shutdown and power_state_reset.
 *
 * A hard shutdown cannot be taken back once it has begun, so after a crash it is finished.  A clean
 * one asked the guest for something: after a crash it is finished where the guest has done so, else
 * dropped.
 */
#include "libxapi/base/log.h"
#include "libxapi/base/seam.h"
#include "xapid/forward/forward.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/vm/cut_off.h"
#include "xapid/ops/vm/image.h"
#include "xapid/ops/vm/lifecycle.h"
#include "xapid/ops/vm/plans.h"
#include "xapid/ops/vm/power.h"

/* Time for the guest to say that it heard (three quarters of it), and then to end. */
#define ACK_TIMEOUT (80 * USEC_PER_SEC)
#define WAIT_SLICE USEC_PER_SEC
#define BRIEF_WAIT (10 * USEC_PER_SEC)

struct error *vm_wait_end(struct op *op, const struct vm *vm)
{
    struct call *call = op->call;
    usec_t patience = call->xapid->options.end_wait, deadline = clock_mono() + patience;

    while (clock_mono() < deadline) {
        struct hv_request rq = op_hv_request(op, NULL);
        enum hv_reason reason;
        struct error *e;

        rq.timeout = WAIT_SLICE;
        e = hv_wait_death(call->xapid->hv, &rq, vm->uuid, &reason);
        TRY(vm_step(op, vm->ref, "waiting", 0.5));
        if (!e || hv_failure_of(e) == HV_NO_DOMAIN)
            return OK;
        if (hv_failure_of(e) != HV_UNKNOWN)
            return vm_hv_error(call, vm, e);
    }
    return err_vm_shutdown_timeout(
        call, call_ref(call, vm->ref),
        arena_printf(call->arena, "%lld", (long long)(patience / USEC_PER_SEC)));
}

bool vm_wait_end_briefly(struct op *op, const struct vm *vm)
{
    struct hv_request rq = op_hv_request(op, NULL);
    enum hv_reason reason;

    rq.timeout = BRIEF_WAIT;
    return !hv_wait_death(op->call->xapid->hv, &rq, vm->uuid, &reason);
}

/*** recording ***/

static struct error *record_ended(struct txn *txn, void *arg)
{
    const ref_t *vm = arg;

    if (!txn_find(txn, CLASS_vm, *vm))
        return OK;
    TRY(txn_vm_halted(txn, *vm));
    TXN_SET(txn, vm, *vm, ha_always_run, false);
    return OK;
}

/* It had ended already, with the operation that was overruled or by itself.  That somebody wants it
 * to rest is recorded all the same, or HA would start it again. */
static struct error *record_rest(struct txn *txn, void *arg)
{
    const ref_t *ref = arg;
    const struct vm *vm = txn_find(txn, CLASS_vm, *ref);

    if (vm && vm->ha_always_run)
        TXN_SET(txn, vm, *ref, ha_always_run, false);
    return OK;
}

/*** clean ***/

static struct error *check_shutdown(struct txn *txn, void *arg)
{
    const struct vm_shutdown_intent *intent = arg;
    const struct vm *vm;

    TRY(txn_vm_check(txn, intent->vm, intent->hard ? VM_OP_HARD_SHUTDOWN : VM_OP_CLEAN_SHUTDOWN,
                     &vm));
    return vm->power_state == VM_RUNNING || vm->power_state == VM_PAUSED
               ? host_is_here(txn_call(txn), vm->resident_on)
               : OK;
}

static struct error *begin(struct call *call, const struct vm_shutdown_intent *intent,
                           struct op *op)
{
    struct op_hold holds[OP_MAX_HOLDS] = {
        {CLASS_vm, intent->vm, intent->hard ? VM_OP_HARD_SHUTDOWN : VM_OP_CLEAN_SHUTDOWN}};
    const struct vdi *image = db_find(call, CLASS_vdi, intent->image);
    size_t n = 1;

    if (image)
        op_hold_sr(holds, &n, image->sr, SR_OP_VDI_DESTROY);
    return op_begin(call,
                    &(struct op_spec){.kind = INTENT_vm_shutdown,
                                      .intent = intent,
                                      .n_holds = n,
                                      .holds = holds,
                                      .check = check_shutdown,
                                      .arg = (void *)intent},
                    op);
}

struct error *vm_clean_shutdown(struct call *call, const struct vm_clean_shutdown_args *args)
{
    const struct vm_shutdown_intent intent = {.vm = args->vm};
    struct hv_request rq;
    AUTO(op) op = {0};
    const struct vm *vm;
    struct refs disks;
    struct error *e;

    TRY(DB_GET(call, vm, args->vm, &vm));
    if (vm_is_cut_off(call, vm))
        return vm_do_cut_off(call, vm, VM_OP_CLEAN_SHUTDOWN);
    TRY(vm_check_unless_busy(call, vm, VM_OP_CLEAN_SHUTDOWN));
    TRY(begin(call, &intent, &op));
    TRY(DB_GET(call, vm, args->vm, &vm));

    rq = op_hv_request(&op, "ask");
    rq.timeout = ACK_TIMEOUT;
    e = hv_shutdown_request(call->xapid->hv, &rq, vm->uuid, HV_POWEROFF);
    /* Without an answer the guest may have heard all the same: a harder operation may have come, or
     * it just ends. */
    TRY(vm_step(&op, args->vm, "asked", 0.2));
    if (e && hv_failure_of(e) != HV_UNKNOWN && hv_failure_of(e) != HV_NO_DOMAIN)
        return vm_hv_error(call, vm, e);
    TRY(vm_wait_end(&op, vm));
    disks = vm_disks_attached(call, args->vm);
    TRY(domain_end(&op, vm, "destroy"));
    TRY(op_step(&op, "destroyed", 0.9));
    vm_disks_detach(call, &disks);
    TRY(op_commit(&op, record_ended, (void *)&args->vm));
    vm_alert(call, vm, "VM_SHUTDOWN", "was shut down");
    return OK;
}

/*** hard ***/

struct ended {
    struct op *op;
    struct vm_shutdown_intent intent;
};

/* From here on its image is nobody's, and the intent says which that is: not always the one it had
 * when the operation began. */
static struct error *record_ended_without_image(struct txn *txn, void *arg)
{
    struct ended *ended = arg;

    txn_intent_set(txn, ended->op, &ended->intent);
    return record_ended(txn, &ended->intent.vm);
}

/* Ends whatever the VM is by now: those it overruled may have ended, suspended or started it. */
static struct error *end_hard(struct op *op, const struct vm_shutdown_intent *intent)
{
    struct call *call = op->call;
    struct refs disks = {0};
    const struct vm *vm;
    struct ended ended = {op, *intent};
    struct error *e;

    TRY(DB_GET(call, vm, intent->vm, &vm));
    ended.intent.image = vm->suspend_vdi;
    if (vm->power_state == VM_HALTED)
        return op_commit(op, record_rest, (void *)&intent->vm);
    if (vm->power_state != VM_SUSPENDED) {
        disks = vm_disks_attached(call, vm->ref);
        TRY(domain_end(op, vm, "destroy"));
        TRY(op_step(op, "destroyed", 0.7));
        vm_disks_detach(call, &disks);
    }
    if (ref_is_null(ended.intent.image))
        return op_commit(op, record_ended, (void *)&intent->vm);
    e = op_update(op, record_ended_without_image, &ended);
    op->unknown = db_outcome_is_unknown(e);
    return e ? e : vm_image_end(op, ended.intent.image);
}

struct error *vm_hard_shutdown(struct call *call, const struct vm_hard_shutdown_args *args)
{
    struct vm_shutdown_intent intent = {.vm = args->vm, .hard = true};
    AUTO(op) op = {0};
    const struct vm *vm;

    TRY(DB_GET(call, vm, args->vm, &vm));
    if (vm_is_cut_off(call, vm))
        return vm_do_cut_off(call, vm, VM_OP_HARD_SHUTDOWN);
    TRY(vm_check_unless_busy(call, vm, VM_OP_HARD_SHUTDOWN));
    intent.image = vm->suspend_vdi;
    TRY(begin(call, &intent, &op));
    TRY(vm_overrule(&op, args->vm));
    if (vm_runs_elsewhere(call, args->vm)) { /* resumed, or moved, just before */
        TRY(op_commit(&op, NULL, NULL));
        return forward_run(call, MSG_vm_hard_shutdown, args, NULL);
    }
    TRY(end_hard(&op, &intent));
    vm = db_find(call, CLASS_vm, args->vm);
    if (vm)
        vm_alert(call, vm, "VM_SHUTDOWN", "was forcibly shut down");
    return OK;
}

/* The same where no operation is under way, as of HA, that starts it again. */
static struct error *check_rest(struct txn *txn, void *arg)
{
    struct call *call = txn_call(txn);
    const struct vm *vm;

    TRY(TXN_GET(txn, vm, *(const ref_t *)arg, &vm));
    if (vm->power_state != VM_HALTED || vm->current_operations.n)
        return err_vm_bad_power_state(call, call_ref(call, vm->ref), "halted",
                                      vm_power_state_text(vm->power_state));
    return record_rest(txn, arg);
}

struct error *vm_shutdown(struct call *call, const struct vm_shutdown_args *args)
{
    const struct vm *vm;
    struct error *e;

    TRY(DB_GET(call, vm, args->vm, &vm));
    TRY(vm_check_unless_busy(call, vm, VM_OP_SHUTDOWN));
    e = vm_clean_shutdown(call, &(struct vm_clean_shutdown_args){args->vm});
    if (!e || error_is(e, "TASK_CANCELLED"))
        return e;
    call_refresh(call);
    vm = db_find(call, CLASS_vm, args->vm);
    if (vm && vm->power_state == VM_HALTED) {
        e = db_update(call, check_rest, (void *)&args->vm);
        if (!error_is(e, "VM_BAD_POWER_STATE"))
            return e;
    }
    return vm_hard_shutdown(call, &(struct vm_hard_shutdown_args){args->vm});
}

struct error *vm_shutdown_recover(struct call *call, struct op *op,
                                  const struct vm_shutdown_intent *intent)
{
    static const char *const what[] = {"ask", "destroy", NULL};
    const struct vm *vm = db_find(call, CLASS_vm, intent->vm);
    const struct hv_domain *found = NULL;
    bool asked;

    if ((!vm || vm->power_state == VM_HALTED) && !intent->hard)
        return op_commit(op, NULL, NULL);
    if (!vm || vm->power_state == VM_HALTED) {
        TRY(op_update(op, record_rest, (void *)&intent->vm));
        return vm_image_end(op, intent->image);
    }
    if (vm_runs_elsewhere(call, intent->vm)) /* without the image it had */
        return ref_equal(vm->suspend_vdi, intent->image) ? op_commit(op, NULL, NULL)
                                                         : vm_image_end(op, intent->image);
    if (vm->power_state == VM_SUSPENDED)
        return intent->hard ? end_hard(op, intent) : op_commit(op, NULL, NULL);
    TRY(domain_outcome(op, "ask", &asked));
    TRY(domain_settle(op, vm, what, &found));
    if (found && found->state != HV_SHUTDOWN && !intent->hard &&
        !(asked && vm_wait_end_briefly(op, vm)))
        return op_commit(op, NULL, NULL);
    uuid_new(op->id); /* "destroy" may have been done, in vain: it is asked for again */
    return end_hard(op, intent);
}

/*** the administrator knows better ***/

static struct error *reset_txn(struct txn *txn, void *arg)
{
    const ref_t *ref = arg;
    const struct vm *vm;

    TRY(txn_vm_check(txn, *ref, VM_OP_POWER_STATE_RESET, &vm));
    return txn_vm_halted(txn, *ref);
}

struct error *vm_power_state_reset(struct call *call, const struct vm_power_state_reset_args *args)
{
    const struct vm *vm;
    ref_t ref = args->vm;

    TRY(DB_GET(call, vm, ref, &vm));
    if (vm->is_control_domain)
        return err_cannot_reset_control_domain(call, call_ref(call, ref));
    TRY(vm_update(call, reset_txn, &ref));
    log_warning("VM %s (%s) was recorded as halted by request", vm->uuid, vm->name_label);
    return OK;
}
