/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * revert.c -- VM.revert: a VM becomes again what a snapshot of it says.
 *
 * First copies of the snapshot's disks are made, which can fail without harm.  Then the VM is
 * halted, and one write-set puts the snapshot's settings, disks and interfaces in place of the
 * VM's.  From then on it is done: what is left is to remove the old disks.  After a crash the
 * records tell which side of that write-set it was.
 */
#include <string.h>

#include "libxapi/base/log.h"
#include "libxapi/value/value.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/vm/device.h"
#include "xapid/ops/vm/dump.h"
#include "xapid/ops/vm/lifecycle.h"
#include "xapid/ops/vm/power.h"
#include "xapid/ops/vm/twin.h"

/* How often a revert is planned for a VM whose disks change meanwhile. */
#define MAX_TRIES 5

struct reverting {
    struct vm_revert_intent intent;
    bool stale; /* the VM has other disks than it was planned for */
    struct disk_plans plans;
};

/*** what is to be done ***/

static void plan_disk(struct call *call, struct disk_plans *plans, ref_t source)
{
    const struct vdi *vdi = db_find(call, CLASS_vdi, source);

    if (vdi)
        disk_plans_add(call->arena, plans,
                       &(struct vdi_plan){
                           .vdi = ref_new(), .source = source, .sr = vdi->sr, .how = VDI_CLONE});
}

static void plan_disks(struct call *call, struct disk_plans *plans, const struct vm *snapshot)
{
    struct refs vbds = db_referrers(call, FIELD_vbd_vm, snapshot->ref);

    for (size_t i = 0; i < vbds.n; i++) {
        const struct vbd *vbd = db_find(call, CLASS_vbd, vbds.v[i]);

        if (vbd->type != VBD_TYPE_CD && !vbd->empty)
            plan_disk(call, plans, vbd->vdi);
    }
    if (snapshot->power_state == VM_SUSPENDED)
        plan_disk(call, plans, snapshot->suspend_vdi);
}

/* A disk that only this VM uses. */
static bool is_own(const struct db_snap *snap, ref_t vm, ref_t vdi)
{
    struct index_walk walk;
    ref_t ref;

    index_walk(snap_root(snap), &api_fields[FIELD_vbd_vdi], vdi, &walk);
    while (index_next(&walk, &ref))
        if (!ref_equal(((const struct vbd *)root_get(snap_root(snap), CLASS_vbd, ref))->vm, vm))
            return false;
    return root_get(snap_root(snap), CLASS_vdi, vdi) != NULL;
}

static struct refs old_disks(struct arena *arena, const struct db_snap *snap, const struct vm *vm)
{
    ref_t *v = arena_array(arena, ref_t, VBD_DEVICES + 2);
    struct refs old = {0, v};
    struct index_walk walk;
    ref_t ref;

    index_walk(snap_root(snap), &api_fields[FIELD_vbd_vm], vm->ref, &walk);
    while (index_next(&walk, &ref) && old.n < VBD_DEVICES) {
        const struct vbd *vbd = root_get(snap_root(snap), CLASS_vbd, ref);

        if (vbd->type != VBD_TYPE_CD && is_own(snap, vm->ref, vbd->vdi) &&
            !refs_contain(&old, vbd->vdi))
            v[old.n++] = vbd->vdi;
    }
    if (root_get(snap_root(snap), CLASS_vdi, vm->suspend_vdi))
        v[old.n++] = vm->suspend_vdi;
    return old;
}

static bool same_set(const struct refs *a, const struct refs *b)
{
    for (size_t i = 0; i < a->n; i++)
        if (!refs_contain(b, a->v[i]))
            return false;
    return a->n == b->n;
}

static struct error *check_vm(struct call *call, const struct vm *vm)
{
    if (vm->is_a_template)
        return error_new(call->arena, "VM_IS_TEMPLATE", 2, call_ref(call, vm->ref), "reverting");
    if (vm->current_operations.n)
        return err_other_operation_in_progress(
            call, "VM", call_ref(call, vm->ref),
            enum_vm_operations.names[vm->current_operations.v[0].value],
            vm->current_operations.v[0].key);
    return OK;
}

static struct error *check_revert(struct txn *txn, void *arg)
{
    struct reverting *r = arg;
    const struct vm *snapshot, *vm;
    struct refs old;

    TRY(txn_vm_check(txn, r->intent.snapshot, VM_OP_REVERT, &snapshot));
    TRY(TXN_GET(txn, vm, r->intent.vm, &vm));
    TRY(check_vm(txn_call(txn), vm));
    txn_referrers(txn, FIELD_vbd_vm, vm->ref);
    old = old_disks(txn_arena(txn), txn_snap(txn), vm);
    r->stale = !same_set(&old, &r->intent.old);
    if (r->stale)
        return error_internal(txn_call(txn)->arena, "the VM's disks change too often");
    return txn_disk_plans_check(txn, &r->plans);
}

/*** the write-set ***/

static void replace_devices(struct txn *txn, const struct reverting *r)
{
    ref_t vm = r->intent.vm, snapshot = r->intent.snapshot;
    struct refs old_vbds = txn_referrers(txn, FIELD_vbd_vm, vm),
                old_vifs = txn_referrers(txn, FIELD_vif_vm, vm);
    struct refs vbds = txn_referrers(txn, FIELD_vbd_vm, snapshot),
                vifs = txn_referrers(txn, FIELD_vif_vm, snapshot);

    for (size_t i = 0; i < old_vbds.n; i++)
        txn_destroy(txn, CLASS_vbd, old_vbds.v[i]);
    for (size_t i = 0; i < old_vifs.n; i++)
        txn_destroy(txn, CLASS_vif, old_vifs.v[i]);
    for (size_t i = 0; i < vbds.n; i++) {
        const struct vbd *vbd = txn_find(txn, CLASS_vbd, vbds.v[i]);

        txn_vbd_twin(txn, vbd, vm, disk_plans_of(&r->plans, vbd->vdi));
    }
    for (size_t i = 0; i < vifs.n; i++)
        txn_vif_twin(txn, txn_find(txn, CLASS_vif, vifs.v[i]), vm, NULL);
}

/* Snapshots of a disk that was replaced are now snapshots of the new one. */
static void move_snapshots(struct txn *txn, const struct reverting *r)
{
    for (size_t i = 0; i < r->plans.n; i++) {
        const struct vdi *source = txn_find(txn, CLASS_vdi, r->plans.v[i].source);
        struct refs siblings;

        if (!source || ref_is_null(source->snapshot_of))
            continue;
        siblings = txn_referrers(txn, FIELD_vdi_snapshot_of, source->snapshot_of);
        for (size_t j = 0; j < siblings.n; j++)
            TXN_SET(txn, vdi, siblings.v[j], snapshot_of, r->plans.v[i].vdi);
    }
}

static void restore_settings(struct txn *txn, const struct vm *snapshot, ref_t vm)
{
    struct vm_setting *settings;
    struct vm plain = *snapshot;
    const char *text = snapshot->snapshot_metadata;
    size_t n;

    if (!vm_undump(txn_arena(txn), txn_snap(txn), text, &n, &settings)) {
        /* One that came from elsewhere: its own fields are the best there is. */
        plain.is_a_template = false;
        if (!vm_undump(txn_arena(txn), txn_snap(txn), vm_dump(txn_arena(txn), &plain), &n,
                       &settings))
            n = 0;
    }
    for (size_t i = 0; i < n; i++)
        txn_set_value(txn, settings[i].field->id, vm, settings[i].value);
}

static struct error *record_reverted(struct txn *txn, void *arg)
{
    const struct reverting *r = arg;
    const struct vm *snapshot, *vm;
    ref_t image;

    TRY(TXN_GET(txn, vm, r->intent.snapshot, &snapshot));
    TRY(TXN_GET(txn, vm, r->intent.vm, &vm));
    TRY(txn_disk_plans_made(txn, &r->plans));
    TRY(txn_vm_halted(txn, vm->ref));
    replace_devices(txn, r);
    move_snapshots(txn, r);
    restore_settings(txn, snapshot, vm->ref);
    image = disk_plans_of(&r->plans, snapshot->suspend_vdi);
    if (!ref_is_null(image)) {
        TXN_SET(txn, vm, vm->ref, power_state, VM_SUSPENDED);
        TXN_SET(txn, vm, vm->ref, suspend_vdi, image);
        TXN_SET(txn, vm, vm->ref, last_booted_record, snapshot->last_booted_record);
    }
    if (*vm->generation_id)
        TXN_SET(txn, vm, vm->ref, generation_id,
                uuid_new(arena_alloc(txn_arena(txn), UUID_TEXT_SIZE)));
    TXN_SET(txn, vm, vm->ref, parent, snapshot->ref);
    return OK;
}

/*** doing it ***/

static struct error *record_halted(struct txn *txn, void *arg)
{
    const ref_t *vm = arg;

    return txn_vm_halted(txn, *vm);
}

static struct error *halt(struct op *op, ref_t vm_ref)
{
    const struct vm *vm;
    struct refs disks;

    TRY(DB_GET(op->call, vm, vm_ref, &vm));
    if (vm->power_state != VM_RUNNING && vm->power_state != VM_PAUSED)
        return OK;
    TRY(host_is_here(op->call, vm->resident_on));
    disks = vm_disks_attached(op->call, vm_ref);
    TRY(domain_end(op, vm, "destroy"));
    TRY(db_update(op->call, record_halted, &vm_ref));
    vm_disks_detach(op->call, &disks);
    return OK;
}

static struct error *swap(struct op *op, struct reverting *r)
{
    AUTO(disk_plans) plans = r->plans;
    struct error *e = disk_plans_make(op, &plans, 0.0, 0.7);

    r->plans = plans;
    if (!e)
        e = op_step(op, "made", 0.7);
    if (!e)
        e = halt(op, r->intent.vm);
    if (!e)
        e = op_step(op, "halted", 0.75);
    if (!e)
        e = db_update(op->call, record_reverted, r);
    if (db_outcome_is_unknown(e))
        op->unknown = true;
    if (!e)
        disk_plans_keep(&plans);
    return e;
}

/* The VM is what it shall be.  A disk that cannot be removed now stays as a disk of no VM. */
static struct error *clean_up(struct op *op, const struct vm_revert_intent *intent)
{
    struct vdi_gone *gone = arena_array(op->call->arena, struct vdi_gone, intent->old.n + 1);
    size_t n = 0;

    for (size_t i = 0; i < intent->old.n; i++) {
        struct error *e = op_step(op, "old-disk", 0.8);

        if (!e && db_find(op->call, CLASS_vdi, intent->old.v[i]))
            e = vdi_erase(op->call, intent->old.v[i], &gone[n]);
        if (e)
            log_warning("a disk that a revert replaced is left over: %s",
                        error_line(op->call->arena, e));
        else if (!ref_is_null(gone[n].vdi))
            n++;
    }
    return op_commit_gone(op, n, gone);
}

static struct error *begin(struct call *call, struct reverting *r, struct op *op)
{
    struct op_hold holds[OP_MAX_HOLDS] = {{CLASS_vm, r->intent.snapshot, VM_OP_REVERT},
                                          {CLASS_vm, r->intent.vm, VM_OP_REVERTING}};
    size_t n = 2;

    for (size_t i = 0; i < r->intent.old.n; i++) {
        const struct vdi *vdi = db_find(call, CLASS_vdi, r->intent.old.v[i]);

        if (vdi && !op_hold_sr(holds, &n, vdi->sr, SR_OP_VDI_DESTROY))
            return err_operation_not_allowed(
                call,
                "The VM's disks are on more storage repositories than one operation can hold.");
    }
    TRY(disk_plans_hold(call, &r->plans, holds, &n));
    return op_begin(call,
                    &(struct op_spec){.kind = INTENT_vm_revert,
                                      .intent = &r->intent,
                                      .n_holds = n,
                                      .holds = holds,
                                      .check = check_revert,
                                      .arg = r},
                    op);
}

static struct error *try_revert(struct call *call, struct reverting *r)
{
    const struct vm *snapshot, *vm;
    AUTO(op) op = {0};

    TRY(DB_GET(call, vm, r->intent.snapshot, &snapshot));
    TRY(vm_check_unless_busy(call, snapshot, VM_OP_REVERT));
    vm = db_find(call, CLASS_vm, snapshot->snapshot_of);
    if (!vm)
        return err_operation_not_allowed(
            call, "The VM of this snapshot does not exist any more; clone the snapshot instead.");
    r->intent.vm = vm->ref;
    plan_disks(call, &r->plans, snapshot);
    TRY(disk_plans_check(call, &r->plans));
    r->intent.disks = disk_plans_text(call->arena, &r->plans);
    r->intent.old = old_disks(call->arena, call->snap, vm);
    TRY(begin(call, r, &op));
    TRY(swap(&op, r));
    vm = db_find(call, CLASS_vm, r->intent.vm);
    snapshot = db_find(call, CLASS_vm, r->intent.snapshot);
    if (vm && snapshot)
        vm_alert(call, vm, "VM_SNAPSHOT_REVERTED",
                 arena_printf(call->arena, "was reverted to the snapshot '%s' (uuid: %s)",
                              snapshot->name_label, snapshot->uuid));
    return clean_up(&op, &r->intent);
}

struct error *vm_revert(struct call *call, const struct vm_revert_args *args)
{
    struct error *e = OK;

    for (int i = 0; i < MAX_TRIES; i++) {
        struct reverting r = {.intent = {.snapshot = args->snapshot}};

        e = try_revert(call, &r);
        if (!r.stale)
            break;
        call_refresh(call);
    }
    return e;
}

/* Whether record_reverted took place: it recorded the new disks, and took the old ones from the VM.
 */
static bool was_swapped(struct call *call, const struct vm_revert_intent *intent,
                        const struct disk_plans *plans)
{
    struct refs vbds = db_referrers(call, FIELD_vbd_vm, intent->vm);

    if (plans->n)
        return db_find(call, CLASS_vdi, plans->v[0].vdi) != NULL;
    for (size_t i = 0; i < vbds.n; i++)
        if (refs_contain(&intent->old,
                         ((const struct vbd *)db_find(call, CLASS_vbd, vbds.v[i]))->vdi))
            return false;
    return true;
}

struct error *vm_revert_recover(struct call *call, struct op *op,
                                const struct vm_revert_intent *intent)
{
    const struct vm *vm = db_find(call, CLASS_vm, intent->vm);
    struct disk_plans plans;

    if (!disk_plans_read(call->arena, &intent->disks, &plans))
        return error_internal(call->arena, "the intent's list of disks cannot be read");
    if (!vm || was_swapped(call, intent, &plans))
        return clean_up(op, intent);
    TRY(disk_plans_unmake(call, &plans));
    return op_commit(op, NULL, NULL);
}
