/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * suspend.c -- VM.suspend, resume and resume_on.
 *
 * The image's disk is recorded before the memory is saved, so that it can be attached; what does not come to an end removes it again.  Once the memory is
 * saved the guest cannot go on where it was: what fails then brings it back from the image.
 *
 * A resumed guest has run: its image must never be used again.  So that it runs is recorded first, while the intent still stands, and then the image is
 * removed.
 */
#include "libxapi/base/log.h"
#include "libxapi/value/value.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/storage/vdi_ops.h"
#include "xapid/ops/vm/checks.h"
#include "xapid/ops/vm/image.h"
#include "xapid/ops/vm/lifecycle.h"
#include "xapid/ops/vm/placement.h"
#include "xapid/ops/vm/power.h"

#define SAVE_TIMEOUT (3600 * USEC_PER_SEC)

/*** the image's disk ***/

static struct vdi_plan image_plan(const struct vm_suspend_intent *intent)
{
    return (struct vdi_plan){
        .vdi = intent->image,
        .sr = intent->sr,
        .how = VDI_EMPTY,
        .name_label = "Suspend image",
        .name_description = "Memory of a suspended VM",
        .virtual_size = intent->size,
        .own_fields = true,
        .type = VDI_TYPE_SUSPEND,
    };
}

struct made {
    const struct vdi_plan *plan;
    const struct vdi_made *made;
};

static struct error *record_made(struct txn *txn, void *arg)
{
    const struct made *m = arg;

    return txn_find(txn, CLASS_vdi, m->plan->vdi) ? OK : txn_vdi_made(txn, m->plan, m->made);
}

static struct error *make_disk(struct op *op, const struct vm_suspend_intent *intent)
{
    struct vdi_plan plan = image_plan(intent);
    struct vdi_made made;

    TRY(vdi_make(op->call, &plan, 0.0, 0.1, &made));
    return db_update(op->call, record_made, &(struct made){&plan, &made});
}

static struct error *record_gone(struct txn *txn, void *arg)
{
    txn_vdi_gone(txn, arg);
    return OK;
}

static struct error *drop_disk(struct call *call, const struct vm_suspend_intent *intent)
{
    struct vdi_plan plan = image_plan(intent);
    struct vdi_gone gone = {0};

    if (!db_find(call, CLASS_vdi, intent->image))
        return vdi_unmake(call, &plan);
    TRY(vdi_erase(call, intent->image, &gone));
    return db_update(call, record_gone, &gone);
}

static struct error *choose_sr(struct call *call, const struct vm *vm, ref_t *sr)
{
    const struct pool *pool = db_find(call, CLASS_pool, call->xapid->pool);
    const struct host *host = db_find(call, CLASS_host, call->xapid->host);
    const ref_t choice[] = {vm->suspend_sr, pool ? pool->suspend_image_sr : REF_NULL, host ? host->suspend_image_sr : REF_NULL};

    for (size_t i = 0; i < ARRAY_SIZE(choice); i++) {
        if (db_find(call, CLASS_sr, choice[i])) {
            *sr = choice[i];
            return OK;
        }
    }
    return err_vm_no_suspend_sr(call, call_ref(call, vm->ref));
}

/*** suspend ***/

struct suspended {
    const struct vm_suspend_intent *intent;
    int64_t size;
};

static struct error *record_suspended(struct txn *txn, void *arg)
{
    const struct suspended *s = arg;

    TRY(txn_vm_suspended(txn, s->intent->vm, s->intent->image));
    if (s->size)
        txn_strmap_put(txn, FIELD_vdi_other_config, s->intent->image, VM_IMAGE_SIZE_KEY,
                       arena_printf(txn_arena(txn), "%lld", (long long)s->size));
    return OK;
}

static struct error *record_halted(struct txn *txn, void *arg)
{
    const struct vm_suspend_intent *intent = arg;

    return txn_find(txn, CLASS_vm, intent->vm) ? txn_vm_halted(txn, intent->vm) : OK;
}

struct back {
    ref_t vm;
    int domid;
};

static struct error *record_back(struct txn *txn, void *arg)
{
    const struct back *b = arg;

    return txn_vm_started(txn, b->vm, b->domid, false);
}

/* The saved guest runs on, in a new domain. */
static struct error *bring_back(struct op *op, const struct vm *vm, const struct vm_image *image)
{
    struct call *call = op->call;
    struct refs old = vm_disks_attached(call, vm->ref);
    AUTO(vm_disks) disks = {0};
    AUTO(domain) domain = {0};
    struct hv_domain_config config;

    TRY(domain_end(op, vm, "saved"));
    vm_disks_detach(call, &old);
    TRY(vm_disks_attach(op, vm, &disks));
    TRY(domain_config(call, vm, &disks, &config));
    TRY(domain_build(op, vm, &config, image->path, &domain));
    TRY(domain_unpause(op, &domain));
    TRY(db_update(call, record_back, &(struct back){vm->ref, domain.domid}));
    domain_keep(&domain);
    vm_disks_keep(&disks);
    return OK;
}

/* From here on the guest exists only as the image.  What fails brings it back; what fails even then halts the VM. */
static struct error *after_save(struct op *op, const struct vm *vm, const struct vm_suspend_intent *intent, struct vm_image *image)
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
        e = op_commit(op, record_suspended, &s);
    if (!e)
        vm_disks_detach(call, &disks);
    if (!e || !op_may_undo(op))
        return e;
    /* Who cut it short wants the VM ended anyway. */
    e2 = vm_overruled(op, vm->ref);
    if (!e2)
        e2 = bring_back(op, vm, image);
    if (!e2)
        return e;
    log_warning("VM %s could not be suspended and is halted: %s", vm->uuid, error_line(call->arena, e2));
    error_ignore(domain_end(op, vm, "give-up")); /* a domain that is left is found by the watch */
    e2 = db_update(call, record_halted, (void *)intent);
    if (e2)
        log_error("that VM %s is halted could not be recorded: %s", vm->uuid, error_line(call->arena, e2));
    return e;
}

/* The save's answer may have been lost; then the domain says whether it was done. */
static struct error *save(struct op *op, const struct vm *vm, const struct vm_image *image)
{
    static const char *const what[] = {"save", NULL};
    struct hv_request rq = op_hv_request(op, "save");
    const struct hv_domain *found;
    struct error *e;

    rq.timeout = SAVE_TIMEOUT;
    e = hv_save(op->call->xapid->hv, &rq, vm->uuid, image->path);
    if (!e || hv_failure_of(e) != HV_UNKNOWN)
        return vm_hv_error(op->call, vm, e);
    TRY(domain_settle(op, vm, what, &found));
    return found && found->state == HV_SHUTDOWN && found->reason == HV_SUSPEND && vm_image_exists(image) ? OK : e;
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

    TRY(make_disk(op, intent));
    TRY(vm_step(op, intent->vm, "made", 0.1));
    TRY(DB_GET(op->call, vm, intent->vm, &vm));
    TRY(vm_image_for_writing(op, intent->image, &image));
    TRY(save(op, vm, &image));
    return after_save(op, vm, intent, &image);
}

struct error *vm_suspend(struct call *call, const struct vm_suspend_args *args)
{
    struct vm_suspend_intent intent = {.vm = args->vm, .image = ref_new()};
    struct op_hold holds[OP_MAX_HOLDS] = {{CLASS_vm, args->vm, VM_OP_SUSPEND}};
    struct vdi_plan plan;
    AUTO(op) op = {0};
    const struct vm *vm;
    struct error *e, *e2;
    size_t n = 1;

    TRY(DB_GET(call, vm, args->vm, &vm));
    TRY(vm_check_unless_busy(call, vm, VM_OP_SUSPEND));
    TRY(vm_host_is_here(call, vm->resident_on));
    TRY(choose_sr(call, vm, &intent.sr));
    intent.size = vm_image_room(vm);
    plan = image_plan(&intent);
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
    if (e && op_may_undo(&op)) {
        e2 = drop_disk(call, &intent);
        if (e2)
            log_warning("the disk of a memory image is left over: %s", error_line(call->arena, e2));
    }
    if (e)
        return e;
    vm = db_find(call, CLASS_vm, args->vm);
    if (vm)
        vm_alert(call, vm, "VM_SUSPENDED", "was suspended");
    return OK;
}

struct error *vm_suspend_recover(struct call *call, struct op *op, const struct vm_suspend_intent *intent)
{
    static const char *const what[] = {"save", "destroy", "saved", "build", "unpause", NULL};
    const struct vm *vm = db_find(call, CLASS_vm, intent->vm);
    const struct hv_domain *found = NULL;
    AUTO(vm_image) image = {0};
    bool saved = false;

    if (!vm || vm->power_state == VM_HALTED) {
        TRY(drop_disk(call, intent));
        return op_commit(op, NULL, NULL);
    }
    TRY(domain_outcome(op, "save", &saved));
    TRY(domain_settle(op, vm, what, &found));
    if (saved && (!found || (found->state == HV_SHUTDOWN && found->reason == HV_SUSPEND)) && db_find(call, CLASS_vdi, intent->image)) {
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
    TRY(drop_disk(call, intent));
    return op_commit(op, NULL, NULL);
}

/*** resume ***/

struct resume {
    const struct vm_resume_intent *intent;
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

    txn_vm_not_started(txn, intent->vm, true);
    return OK;
}

/* The guest runs and that is recorded; an image that cannot be removed now stays as a disk nobody uses. */
static struct error *finish_resume(struct op *op, const struct vm_resume_intent *intent)
{
    struct vdi_gone gone = {0};
    struct error *e = op_step(op, "recorded", 0.95);

    if (!e)
        e = vdi_erase(op->call, intent->image, &gone);
    if (e) {
        log_warning("the memory image of a VM that was resumed is left over: %s", error_line(op->call->arena, e));
        return op_commit(op, NULL, NULL);
    }
    return op_commit(op, record_gone, &gone);
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
    e = db_update(call, record_resumed, &(struct resumed){intent, domain.domid});
    if (db_outcome_is_unknown(e))
        op->unknown = true;
    TRY(e);
    domain_keep(&domain);
    vm_disks_keep(&disks);
    return OK;
}

static struct error *resume(struct call *call, struct vm_resume_intent *intent, bool force, enum vm_operations operation)
{
    const struct placement_rules rules = {.memory = true, .enabled = true};
    struct resume r = {intent, operation};
    AUTO(op) op = {0};
    const struct host *host;
    const struct vm *vm;
    struct error *e, *e2;

    TRY(DB_GET(call, vm, intent->vm, &vm));
    TRY(vm_check_unless_busy(call, vm, operation));
    TRY(vm_check_bootable(call, vm, force));
    intent->image = vm->suspend_vdi;
    if (!db_find(call, CLASS_vdi, intent->image))
        return err_vm_has_no_suspend_vdi(call, call_ref(call, vm->ref));
    if (ref_is_null(intent->host)) {
        TRY(host_choose(call, vm, &intent->host));
    } else {
        TRY(DB_GET(call, host, intent->host, &host));
        TRY(host_can_run(call, call->snap, host, vm, rules));
    }
    TRY(vm_host_is_here(call, intent->host));
    TRY(op_begin(call,
                 &(struct op_spec){.kind = INTENT_vm_resume,
                                   .intent = intent,
                                   .n_holds = 1,
                                   .holds = &(struct op_hold){CLASS_vm, intent->vm, (int)operation},
                                   .check = check_resume,
                                   .arg = &r},
                 &op));
    e = run_resume(&op, intent);
    if (e && op_may_undo(&op)) {
        e2 = db_update(call, record_not_resumed, intent);
        if (e2)
            log_error("what a failed resume reserved stays reserved: %s", error_line(call->arena, e2));
    }
    TRY(e);
    vm = db_find(call, CLASS_vm, intent->vm);
    if (vm)
        vm_alert(call, vm, "VM_RESUMED", "was resumed");
    return finish_resume(&op, intent);
}

struct error *vm_resume(struct call *call, const struct vm_resume_args *args)
{
    return resume(call, &(struct vm_resume_intent){.vm = args->vm, .start_paused = args->start_paused}, args->force, VM_OP_RESUME);
}

struct error *vm_resume_on(struct call *call, const struct vm_resume_on_args *args)
{
    return resume(call, &(struct vm_resume_intent){.vm = args->vm, .host = args->host, .start_paused = args->start_paused}, args->force,
                  VM_OP_RESUME_ON);
}

struct error *vm_resume_recover(struct call *call, struct op *op, const struct vm_resume_intent *intent)
{
    static const char *const what[] = {"build", "unpause", NULL};
    const struct vm *vm = db_find(call, CLASS_vm, intent->vm);
    const struct hv_domain *found = NULL;

    if (!vm)
        return op_commit(op, NULL, NULL);
    if (vm->power_state != VM_SUSPENDED)
        return ref_equal(vm->suspend_vdi, intent->image) ? op_commit(op, NULL, NULL) : finish_resume(op, intent);
    TRY(domain_settle(op, vm, what, &found));
    if (found && (found->state == HV_RUNNING || (found->state == HV_PAUSED && intent->start_paused))) {
        TRY(db_update(call, record_resumed, &(struct resumed){intent, found->domid}));
        return finish_resume(op, intent);
    }
    TRY(domain_end(op, vm, "undo"));
    return op_commit(op, record_not_resumed, (void *)intent);
}
