/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * copy.c -- VM.clone, copy, snapshot and csvm: the disks are made, then one write-set records disks and VM.  Until then nothing can be seen of them, and
 * after a crash the disks are removed.
 */
#include <string.h>

#include "xapid/main/xapid.h"
#include "xapid/ops/vm/domain.h"
#include "xapid/ops/vm/lifecycle.h"
#include "xapid/ops/vm/twin.h"

struct copying {
    struct vm_copy_intent intent;
    enum vm_operations operation;
    enum twin_how how;
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

static struct error *check_copy(struct txn *txn, void *arg)
{
    const struct copying *c = arg;
    const struct vm *vm;

    TRY(txn_vm_check(txn, c->intent.vm, c->operation, &vm));
    return txn_disk_plans_check(txn, &c->plans);
}

static struct error *record_copy(struct txn *txn, void *arg)
{
    const struct copying *c = arg;
    const struct twin twin = {
        .how = c->how, .source = c->intent.vm, .twin = c->intent.copy, .name = c->intent.name, .plans = &c->plans};

    TRY(txn_disk_plans_made(txn, &c->plans));
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

static void tell(struct call *call, const struct copying *c)
{
    const struct vm *vm = db_find(call, CLASS_vm, c->intent.vm), *twin = db_find(call, CLASS_vm, c->intent.copy);

    if (!vm || !twin)
        return;
    if (c->how == TWIN_SNAPSHOT)
        vm_alert(call, vm, "VM_SNAPSHOTTED", arena_printf(call->arena, "was snapshotted as '%s' (uuid: %s)", twin->name_label, twin->uuid));
    else
        vm_alert(call, vm, "VM_CLONED", arena_printf(call->arena, "was cloned to '%s' (uuid: %s)", twin->name_label, twin->uuid));
}

static struct error *copy(struct call *call, struct copying *c, ref_t *result)
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
    TRY(make(&op, c));
    tell(call, c);
    *result = c->intent.copy;
    return OK;
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

struct error *vm_copy_recover(struct call *call, struct op *op, const struct vm_copy_intent *intent)
{
    struct disk_plans plans;

    if (!disk_plans_read(call->arena, &intent->disks, &plans))
        return error_internal(call->arena, "the intent's list of disks cannot be read");
    TRY(disk_plans_unmake(call, &plans));
    return op_commit(op, NULL, NULL);
}
