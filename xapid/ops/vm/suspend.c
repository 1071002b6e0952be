/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * suspend.c -- VM.suspend, resume and resume_on.
 *
 * The image's disk is recorded before the memory is saved, so that it can be attached; what does
 * not come to an end removes it again.  Once the memory is saved the guest cannot go on where it
 * was: what fails then brings it back from the image.
 *
 * A resumed guest has run: its image must never be used again.  So that it runs is recorded first,
 * while the intent still stands, and then the image is removed.
 */
#include "libxapi/base/log.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/vm/aside.h"
#include "xapid/ops/vm/checks.h"
#include "xapid/ops/vm/lifecycle.h"
#include "xapid/ops/vm/placement.h"
#include "xapid/ops/vm/plans.h"
#include "xapid/ops/vm/power.h"

/*** suspend ***/

struct suspended {
    const struct vm_suspend_intent *intent;
    int64_t size;
};

static struct error *record_suspended(struct txn *txn, void *arg)
{
    const struct suspended *s = arg;

    txn_vm_image_size(txn, s->intent->image, s->size);
    return txn_vm_suspended(txn, s->intent->vm, s->intent->image);
}

/* From here on the guest exists only as the image.  What fails brings it back; what fails even then
 * halts the VM. */
static struct error *after_save(struct op *op, const struct vm *vm,
                                const struct vm_suspend_intent *intent, struct vm_image *image)
{
    struct call *call = op->call;
    struct refs disks = vm_disks_attached(call, vm->ref);
    struct suspended s = {intent, 0};
    struct error *e = vm_step(op, vm->ref, "saved", 0.6), *e2;

    if (!e)
        e = vm_image_store(image, &s.size);
    if (!e)
        e = vm_step(op, vm->ref, "stored", 0.8);
    if (!e)
        e = domain_end(op, vm, "destroy");
    if (!e)
        e = op_step(op, "destroyed", 0.9);
    if (!e)
        vm_disks_detach(call, &disks);
    if (!e)
        e = op_commit(op, record_suspended, &s);
    if (!e || !op_may_undo(op))
        return e;
    e2 = vm_bring_back(op, vm, image);
    if (e2)
        vm_give_up(op, vm, e2);
    return e;
}

static struct error *check_suspend(struct txn *txn, void *arg)
{
    const struct vm_suspend_intent *intent = arg;
    const struct vm *vm;
    const struct sr *sr;

    TRY(txn_vm_check(txn, intent->vm, VM_OP_SUSPEND, &vm));
    return txn_sr_check(txn, intent->sr, SR_OP_VDI_CREATE, &sr);
}

static struct error *suspend(struct op *op, const struct vm_suspend_intent *intent)
{
    AUTO(vm_image) image = {0};
    const struct vm *vm;

    TRY(vm_image_make_disk(op, intent->image, intent->sr, intent->size));
    TRY(vm_step(op, intent->vm, "made", 0.1));
    TRY(DB_GET(op->call, vm, intent->vm, &vm));
    TRY(vm_image_for_writing(op, intent->image, &image));
    TRY(vm_save(op, vm, &image));
    return after_save(op, vm, intent, &image);
}

struct error *vm_suspend(struct call *call, const struct vm_suspend_args *args)
{
    struct vm_suspend_intent intent = {.vm = args->vm, .image = ref_new()};
    struct op_hold holds[OP_MAX_HOLDS] = {{CLASS_vm, args->vm, VM_OP_SUSPEND}};
    struct vdi_plan plan;
    AUTO(op) op = {0};
    const struct vm *vm;
    struct error *e;
    size_t n = 1;

    TRY(DB_GET(call, vm, args->vm, &vm));
    TRY(vm_check_unless_busy(call, vm, VM_OP_SUSPEND));
    TRY(host_is_here(call, vm->resident_on));
    TRY(vm_image_choose_sr(call, vm, &intent.sr));
    intent.size = vm_image_room(vm);
    plan = vm_image_plan(intent.image, intent.sr, intent.size);
    TRY(vdi_plan_check(call, &plan));
    op_hold_sr(holds, &n, intent.sr, SR_OP_VDI_CREATE);
    TRY(op_begin(call,
                 &(struct op_spec){.kind = INTENT_vm_suspend,
                                   .intent = &intent,
                                   .n_holds = n,
                                   .holds = holds,
                                   .check = check_suspend,
                                   .arg = &intent},
                 &op));
    e = suspend(&op, &intent);
    if (e && op_may_undo(&op))
        vm_image_undo(&op, intent.image, intent.sr);
    TRY(e);
    vm = db_find(call, CLASS_vm, args->vm);
    if (vm)
        vm_alert(call, vm, "VM_SUSPENDED", "was suspended");
    return OK;
}

struct error *vm_suspend_recover(struct call *call, struct op *op,
                                 const struct vm_suspend_intent *intent)
{
    static const char *const what[] = {"save", "destroy", "saved", "build", "unpause", NULL};
    const struct vm *vm = db_find(call, CLASS_vm, intent->vm);
    const struct hv_domain *found = NULL;
    AUTO(vm_image) image = {0};
    bool saved = false;

    /* Where the VM is held no longer it was lost with this host, and may run elsewhere by now. */
    if (!vm || vm->power_state == VM_HALTED || !op_holds(op, CLASS_vm, intent->vm)) {
        TRY(vm_image_drop_disk(call, intent->image, intent->sr));
        return op_commit(op, NULL, NULL);
    }
    TRY(domain_outcome(op, "save", &saved));
    TRY(domain_settle(op, vm, what, &found));
    if (saved && (!found || (found->state == HV_SHUTDOWN && found->reason == HV_SUSPEND)) &&
        db_find(call, CLASS_vdi, intent->image)) {
        TRY(vm_image_for_writing(op, intent->image, &image));
        if (vm_image_exists(&image)) {
            struct error *e;

            uuid_new(op->id);
            e = after_save(op, vm, intent, &image);
            if (!e || !op_may_undo(op))
                return e;
        }
    }
    /* It runs on, was brought back, or is lost, and then vms_reconcile says so. */
    vm_image_release(&image);
    TRY(vm_image_drop_disk(call, intent->image, intent->sr));
    return op_commit(op, NULL, NULL);
}

/*** resume ***/

struct resume {
    struct vm_resume_intent *intent;
    enum vm_operations operation;
};

static struct error *check_resume(struct txn *txn, void *arg)
{
    const struct resume *r = arg;
    const struct vm *vm;

    TRY(txn_vm_check(txn, r->intent->vm, r->operation, &vm));
    if (!ref_equal(vm->suspend_vdi, r->intent->image))
        return err_vm_has_no_suspend_vdi(txn_call(txn), call_ref(txn_call(txn), vm->ref));
    TRY(txn_host_reserve(txn, r->intent->host, vm));
    return txn_vm_disks_reserve(txn, vm);
}

struct resumed {
    const struct vm_resume_intent *intent;
    int domid;
};

static struct error *record_resumed(struct txn *txn, void *arg)
{
    const struct resumed *r = arg;

    TRY(txn_vm_started(txn, r->intent->vm, r->domid, r->intent->start_paused));
    TXN_SET(txn, vm, r->intent->vm, suspend_vdi, REF_NULL);
    return OK;
}

static struct error *record_not_resumed(struct txn *txn, void *arg)
{
    const struct vm_resume_intent *intent = arg;

    txn_vm_not_started(txn, intent->vm, intent->old_target, true);
    return OK;
}

static struct error *run_resume(struct op *op, const struct vm_resume_intent *intent)
{
    struct call *call = op->call;
    AUTO(vm_disks) disks = {0};
    AUTO(vm_image) image = {0};
    AUTO(domain) domain = {0};
    struct hv_domain_config config;
    const struct vm *vm;
    struct error *e;

    TRY(vm_make_room(op, intent->vm));
    TRY(vm_step(op, intent->vm, "room", 0.1));
    TRY(DB_GET(call, vm, intent->vm, &vm));
    TRY(vm_disks_attach(op, vm, &disks));
    TRY(vm_image_for_reading(op, intent->image, &image));
    TRY(vm_step(op, vm->ref, "attached", 0.4));
    TRY(domain_config(call, vm, &disks, &config));
    TRY(domain_build(op, vm, &config, image.path, &domain));
    TRY(vm_step(op, vm->ref, "built", 0.8));
    if (!intent->start_paused)
        TRY(domain_unpause(op, &domain));
    TRY(vm_step(op, vm->ref, "unpaused", 0.9));
    e = op_update(op, record_resumed, &(struct resumed){intent, domain.domid});
    if (db_outcome_is_unknown(e))
        op->unknown = true;
    TRY(e);
    domain_keep(&domain);
    vm_disks_keep(&disks);
    return OK;
}

/* On the host that is asked for, or (null) the best. */
static struct error *begin_resume(struct call *call, const struct vm *vm, struct resume *r,
                                  ref_t asked, struct op *op)
{
    const struct op_hold hold = {CLASS_vm, vm->ref, (int)r->operation};
    const struct op_spec spec = {.kind = INTENT_vm_resume,
                                 .intent = r->intent,
                                 .n_holds = 1,
                                 .holds = &hold,
                                 .check = check_resume,
                                 .arg = r};
    struct error *e;
    int tries = 0;

    do {
        TRY(vm_choose_host(call, vm, asked, &r->intent->host));
        e = op_begin(call, &spec, op);
    } while (e && vm_choose_again(call, e, asked, &tries));
    return e;
}

static struct error *resume(struct call *call, struct vm_resume_intent *intent, bool force,
                            enum vm_operations operation)
{
    struct resume r = {intent, operation};
    AUTO(op) op = {0};
    const struct vm *vm;
    struct error *e, *e2;

    TRY(DB_GET(call, vm, intent->vm, &vm));
    TRY(vm_check_unless_busy(call, vm, operation));
    TRY(vm_check_bootable(call, vm, force));
    intent->image = vm->suspend_vdi;
    intent->old_target = vm->memory_target;
    if (!db_find(call, CLASS_vdi, intent->image))
        return err_vm_has_no_suspend_vdi(call, call_ref(call, vm->ref));
    TRY(begin_resume(call, vm, &r, intent->host, &op));
    e = run_resume(&op, intent);
    if (e && op_may_undo(&op)) {
        e2 = op_update(&op, record_not_resumed, intent);
        if (e2)
            log_error("what a failed resume reserved stays reserved: %s",
                      error_line(call->arena, e2));
    }
    TRY(e);
    vm = db_find(call, CLASS_vm, intent->vm);
    if (vm)
        vm_alert(call, vm, "VM_RESUMED", "was resumed");
    return vm_image_end(&op, intent->image);
}

struct error *vm_resume(struct call *call, const struct vm_resume_args *args)
{
    return resume(call,
                  &(struct vm_resume_intent){.vm = args->vm, .start_paused = args->start_paused},
                  args->force, VM_OP_RESUME);
}

struct error *vm_resume_on(struct call *call, const struct vm_resume_on_args *args)
{
    return resume(call,
                  &(struct vm_resume_intent){
                      .vm = args->vm, .host = args->host, .start_paused = args->start_paused},
                  args->force, VM_OP_RESUME_ON);
}

struct error *vm_resume_recover(struct call *call, struct op *op,
                                const struct vm_resume_intent *intent)
{
    static const char *const what[] = {"build", "unpause", NULL};
    const struct vm *vm = db_find(call, CLASS_vm, intent->vm);
    const struct hv_domain *found = NULL;

    /* It was resumed, or halted or destroyed when it was lost with this host; by now it may even be
     * suspended again, with another image. */
    if (!vm || !ref_equal(vm->suspend_vdi, intent->image))
        return vm_image_end(op, intent->image);
    if (vm->power_state != VM_SUSPENDED)
        return op_commit(op, NULL, NULL);
    TRY(domain_settle(op, vm, what, &found));
    if (found &&
        (found->state == HV_RUNNING || (found->state == HV_PAUSED && intent->start_paused))) {
        TRY(op_update(op, record_resumed, &(struct resumed){intent, found->domid}));
        return vm_image_end(op, intent->image);
    }
    TRY(domain_end(op, vm, "undo"));
    return op_commit(op, record_not_resumed, (void *)intent);
}
