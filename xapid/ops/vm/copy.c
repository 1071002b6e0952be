/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * copy.c -- VM.clone, copy, snapshot, checkpoint and csvm: the disks are made, then one write-set
 * records disks and VM.  Until then nothing can be seen of them, and after a crash the disks are
 * removed.
 *
 * A disk that a running guest writes to is snapshotted under its writes where the data path serves
 * it.  Without that, and for several disks, which have to be of one moment, the guest is set aside
 * meanwhile (aside.h); a checkpoint keeps the image of its memory that this makes.
 */
#include <string.h>

#include "libxapi/value/value.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/storage/attach.h"
#include "xapid/ops/vm/aside.h"
#include "xapid/ops/vm/lifecycle.h"
#include "xapid/ops/vm/snapshots.h"
#include "xapid/ops/vm/twin.h"

/* How often a copy is planned for a VM whose power state changes meanwhile. */
#define MAX_TRIES 5

struct copying {
    struct vm_copy_intent intent;
    int64_t image_size;              /* bytes, of a checkpoint of a running VM */
    enum vm_power_state power_state; /* that all this was planned for */
    bool stale;                      /* and that it no longer has */
    enum vm_operations operation;
    enum twin_how how;
    bool scheduled;
    enum vdi_how disk_how;
    ref_t sr;            /* for the copies; null: where the source is */
    struct refs ignored; /* disks that are left out */
    struct disk_plans plans;
};

/*** what is to be made ***/

static void plan_disk(struct call *call, struct copying *c, ref_t source)
{
    const struct vdi *vdi = db_find(call, CLASS_vdi, source);
    bool moves = c->disk_how == VDI_COPY && !ref_is_null(c->sr);
    struct vdi_plan plan = {.source = source, .how = c->disk_how};

    if (!vdi || refs_contain(&c->ignored, source))
        return;
    plan.vdi = ref_new();
    plan.sr = moves ? c->sr : vdi->sr;
    disk_plans_add(call->arena, &c->plans, &plan);
}

static void plan_disks(struct call *call, struct copying *c, const struct vm *vm)
{
    struct refs vbds = db_referrers(call, FIELD_vbd_vm, vm->ref);

    for (size_t i = 0; i < vbds.n; i++) {
        const struct vbd *vbd = db_find(call, CLASS_vbd, vbds.v[i]);

        if (vbd->type != VBD_TYPE_CD && !vbd->empty)
            plan_disk(call, c, vbd->vdi);
    }
    if (vm->power_state == VM_SUSPENDED)
        plan_disk(call, c, vm->suspend_vdi);
}

/*** doing it ***/

/* Whether somebody writes to disks that are to be snapshotted, in a way that the guest has to let
 * go of them. */
static bool is_written(struct call *call, const struct db_snap *snap, const struct copying *c,
                       const struct vm *vm)
{
    size_t served = 0, written = 0;
    struct index_walk walk;
    ref_t ref;

    if (vm->power_state != VM_RUNNING && vm->power_state != VM_PAUSED)
        return false;
    index_walk(snap_root(snap), &api_fields[FIELD_vbd_vm], vm->ref, &walk);
    while (index_next(&walk, &ref)) {
        const struct vbd *vbd = root_get(snap_root(snap), CLASS_vbd, ref);

        if (!vbd->currently_attached || vbd->mode != VBD_RW ||
            ref_is_null(disk_plans_of(&c->plans, vbd->vdi)))
            continue;
        written++;
        served += vdi_is_served(call, vbd->vdi);
    }
    return written > 1 || served < written;
}

static bool is_live(struct call *call, const struct db_snap *snap, const struct copying *c,
                    const struct vm *vm)
{
    return is_written(call, snap, c, vm) ||
           (c->how == TWIN_CHECKPOINT && vm->power_state != VM_SUSPENDED);
}

static struct error *check_copy(struct txn *txn, void *arg)
{
    struct copying *c = arg;
    const struct vm *vm;

    TRY(txn_vm_check(txn, c->intent.vm, c->operation, &vm));
    txn_referrers(txn, FIELD_vbd_vm, vm->ref);
    c->stale = vm->power_state != c->power_state ||
               is_live(txn_call(txn), txn_snap(txn), c, vm) != c->intent.live;
    if (c->stale)
        return error_internal(txn_call(txn)->arena, "the VM's power state changes too often");
    return txn_disk_plans_check(txn, &c->plans);
}

static struct error *record_copy(struct txn *txn, void *arg)
{
    const struct copying *c = arg;
    const struct twin twin = {.how = c->how,
                              .source = c->intent.vm,
                              .twin = c->intent.copy,
                              .name = c->intent.name,
                              .plans = &c->plans,
                              .scheduled = c->scheduled,
                              .image = c->intent.image};

    TRY(txn_disk_plans_made(txn, &c->plans));
    txn_vm_image_size(txn, c->intent.image, c->image_size);
    return txn_vm_twin(txn, &twin);
}

static struct error *make(struct op *op, struct copying *c)
{
    AUTO(disk_plans) plans = c->plans;
    struct error *e = disk_plans_make(op, &plans, 0.0, 0.9);

    c->plans = plans;
    if (!e)
        e = op_commit(op, record_copy, c);
    if (!e)
        disk_plans_keep(&plans);
    return e;
}

/*** with the guest aside ***/

/* Between the guest's save and its return: the disks, and where the memory is kept. */
static struct error *make_meanwhile(struct op *op, struct copying *c, const struct vm *vm,
                                    struct vm_image *image, struct disk_plans *plans)
{
    TRY(vm_step(op, vm->ref, "saved", 0.3));
    TRY(vm_set_aside(op, vm, image));
    TRY(vm_step(op, vm->ref, "aside", 0.4));
    TRY(disk_plans_make(op, plans, 0.4, 0.6));
    if (!ref_is_null(c->intent.image))
        TRY(vm_image_store(image, &c->image_size));
    return vm_step(op, vm->ref, "stored", 0.7);
}

static struct error *save(struct op *op, const struct copying *c, const struct vm *vm,
                          const struct vm_image *image)
{
    struct error *e = vm_save(op, vm, image);

    return e && c->how == TWIN_CHECKPOINT
               ? err_vm_checkpoint_suspend_failed(op->call, call_ref(op->call, vm->ref))
               : e;
}

/* The guest comes back whether or not the disks could be made; then all is recorded or nothing. */
static struct error *make_aside(struct op *op, struct copying *c)
{
    struct call *call = op->call;
    AUTO(disk_plans) plans = c->plans;
    AUTO(vm_image) image = {0};
    struct error *e, *back;
    const struct vm *vm;

    TRY(DB_GET(call, vm, c->intent.vm, &vm));
    if (!ref_is_null(c->intent.image))
        TRY(vm_image_make_disk(op, c->intent.image, c->intent.sr, vm_image_room(vm)));
    TRY(vm_image_for_writing(op, c->intent.image, &image));
    TRY(vm_step(op, vm->ref, "prepared", 0.1));
    TRY(save(op, c, vm, &image));
    e = make_meanwhile(op, c, vm, &image, &plans);
    c->plans = plans;
    back = vm_bring_back(op, vm, &image);
    if (back) {
        vm_give_up(op, vm, back);
        return e ? e
               : c->how == TWIN_CHECKPOINT
                   ? err_vm_checkpoint_resume_failed(call, call_ref(call, vm->ref))
                   : back;
    }
    TRY(e);
    TRY(op_step(op, "back", 0.9));
    TRY(op_commit(op, record_copy, c));
    disk_plans_keep(&plans);
    return OK;
}

static struct error *make_any(struct op *op, struct copying *c)
{
    struct error *e;

    if (!c->intent.live)
        return make(op, c);
    e = make_aside(op, c);
    if (e && op_may_undo(op) && !ref_is_null(c->intent.image))
        vm_image_undo(op, c->intent.image, c->intent.sr);
    return e;
}

/* What has to be known before the intent is recorded. */
static struct error *plan_live(struct call *call, struct copying *c, const struct vm *vm)
{
    struct vdi_plan plan;

    c->power_state = vm->power_state;
    c->intent.live = is_live(call, call->snap, c, vm);
    if (!c->intent.live)
        return OK;
    TRY(host_is_here(call, vm->resident_on));
    if (c->how != TWIN_CHECKPOINT)
        return OK;
    TRY(vm_image_choose_sr(call, vm, &c->intent.sr));
    c->intent.image = ref_new();
    plan = vm_image_plan(c->intent.image, c->intent.sr, vm_image_room(vm));
    return vdi_plan_check(call, &plan);
}

/*** the messages ***/

static void tell(struct call *call, const struct copying *c)
{
    const struct vm *vm = db_find(call, CLASS_vm, c->intent.vm),
                    *twin = db_find(call, CLASS_vm, c->intent.copy);

    if (!vm || !twin)
        return;
    if (c->how == TWIN_CHECKPOINT)
        vm_alert(call, vm, "VM_CHECKPOINTED",
                 arena_printf(call->arena, "was checkpointed as '%s' (uuid: %s)", twin->name_label,
                              twin->uuid));
    else if (c->how == TWIN_SNAPSHOT)
        vm_alert(call, vm, "VM_SNAPSHOTTED",
                 arena_printf(call->arena, "was snapshotted as '%s' (uuid: %s)", twin->name_label,
                              twin->uuid));
    else
        vm_alert(call, vm, "VM_CLONED",
                 arena_printf(call->arena, "was cloned to '%s' (uuid: %s)", twin->name_label,
                              twin->uuid));
}

static struct error *try_copy(struct call *call, struct copying *c, ref_t *result)
{
    struct op_hold holds[OP_MAX_HOLDS] = {{CLASS_vm, c->intent.vm, (int)c->operation}};
    AUTO(op) op = {0};
    const struct vm *vm;
    const struct sr *sr;
    size_t n = 1;

    TRY(DB_GET(call, vm, c->intent.vm, &vm));
    TRY(vm_check_unless_busy(call, vm, c->operation));
    if (!ref_is_null(c->sr))
        TRY(DB_GET(call, sr, c->sr, &sr));
    plan_disks(call, c, vm);
    TRY(disk_plans_check(call, &c->plans));
    TRY(plan_live(call, c, vm));
    if (!ref_is_null(c->intent.sr))
        op_hold_sr(holds, &n, c->intent.sr, SR_OP_VDI_CREATE);
    TRY(disk_plans_hold(call, &c->plans, holds, &n));
    c->intent.copy = ref_new();
    c->intent.disks = disk_plans_text(call->arena, &c->plans);
    TRY(op_begin(call,
                 &(struct op_spec){.kind = INTENT_vm_copy,
                                   .intent = &c->intent,
                                   .n_holds = n,
                                   .holds = holds,
                                   .check = check_copy,
                                   .arg = c},
                 &op));
    TRY(make_any(&op, c));
    tell(call, c);
    *result = c->intent.copy;
    return OK;
}

/* A VM that started or stopped while its turn was waited for is planned for again. */
static struct error *copy(struct call *call, const struct copying *asked, ref_t *result)
{
    struct copying c;
    struct error *e = OK;

    for (int i = 0; i < MAX_TRIES; i++) {
        c = *asked;
        e = try_copy(call, &c, result);
        if (!c.stale)
            break;
        call_refresh(call);
    }
    return e;
}

struct error *vm_clone(struct call *call, const struct vm_clone_args *args, ref_t *result)
{
    struct copying c = {
        .intent = {.vm = args->vm, .how = "clone", .name = args->new_name},
        .operation = VM_OP_CLONE,
        .how = TWIN_CLONE,
        .disk_how = VDI_CLONE,
    };

    return copy(call, &c, result);
}

struct error *vm_csvm(struct call *call, const struct vm_csvm_args *args, ref_t *result)
{
    const struct vm *vm;
    struct copying c = {
        .intent = {.vm = args->vm, .how = "clone"},
        .operation = VM_OP_CSVM,
        .how = TWIN_CLONE,
        .disk_how = VDI_CLONE,
    };

    TRY(DB_GET(call, vm, args->vm, &vm));
    c.intent.name = arena_printf(call->arena, "%s-cloned-suspended", vm->name_label);
    return copy(call, &c, result);
}

struct error *vm_copy(struct call *call, const struct vm_copy_args *args, ref_t *result)
{
    struct copying c = {
        .intent = {.vm = args->vm, .how = "copy", .name = args->new_name},
        .operation = VM_OP_COPY,
        .how = TWIN_COPY,
        .disk_how = VDI_COPY,
        .sr = args->sr,
    };

    return copy(call, &c, result);
}

struct error *vm_snapshot(struct call *call, const struct vm_snapshot_args *args, ref_t *result)
{
    struct copying c = {
        .intent = {.vm = args->vm, .how = "snapshot", .name = args->new_name},
        .operation = VM_OP_SNAPSHOT,
        .how = TWIN_SNAPSHOT,
        .disk_how = VDI_SNAPSHOT,
        .ignored = args->ignore_vdis,
    };

    return copy(call, &c, result);
}

struct error *vm_checkpoint(struct call *call, const struct vm_checkpoint_args *args, ref_t *result)
{
    struct copying c = {
        .intent = {.vm = args->vm, .how = "checkpoint", .name = args->new_name},
        .operation = VM_OP_CHECKPOINT,
        .how = TWIN_CHECKPOINT,
        .disk_how = VDI_SNAPSHOT,
    };

    return copy(call, &c, result);
}

struct error *vm_snapshot_scheduled(struct call *call, ref_t vm, const char *name, bool checkpoint,
                                    ref_t *result)
{
    struct copying c = {
        .intent = {.vm = vm, .how = checkpoint ? "checkpoint" : "snapshot", .name = name},
        .operation = checkpoint ? VM_OP_CHECKPOINT : VM_OP_SNAPSHOT,
        .how = checkpoint ? TWIN_CHECKPOINT : TWIN_SNAPSHOT,
        .scheduled = true,
        .disk_how = VDI_SNAPSHOT,
    };

    return copy(call, &c, result);
}

/*** after a crash ***/

struct error *vm_copy_recover(struct call *call, struct op *op, const struct vm_copy_intent *intent)
{
    struct disk_plans plans;

    if (!disk_plans_read(call->arena, &intent->disks, &plans))
        return error_internal(call->arena, "the intent's list of disks cannot be read");
    TRY(disk_plans_unmake(call, &plans));
    if (intent->live)
        TRY(vm_recover_aside(op, intent->vm, intent->image));
    if (!ref_is_null(intent->image))
        TRY(vm_image_drop_disk(call, intent->image, intent->sr));
    return op_commit(op, NULL, NULL);
}
