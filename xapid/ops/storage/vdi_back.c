/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vdi_back.c -- disks that go back: VDI.revert to a snapshot, and at each start of a VM where
 * on_boot is reset.
 *
 * A revert makes a copy of the snapshot, which takes the disk's place in one moment; the disk stays
 * the same object.  Until that moment it can be undone, afterwards and after a crash it is
 * finished. A disk that is to go back at each start is forked when that is set: its own image is
 * then empty, and only has to be made empty again.
 */
#include "libxapi/base/log.h"
#include "libxapi/value/value.h"
#include "xapid/db/ready.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/storage/attach.h"
#include "xapid/ops/storage/coalesce.h"
#include "xapid/ops/storage/making.h"
#include "xapid/ops/storage/scan.h"
#include "xapid/ops/storage/vdi_ops.h"

/*** VDI.revert ***/

static struct error *check_revert(struct txn *txn, void *arg)
{
    const struct vdi_revert_intent *intent = arg;
    const struct vdi *vdi;
    const struct sr *sr;

    TRY(txn_vdi_check(txn, intent->snapshot, VDI_OP_REVERT_FROM, &vdi));
    TRY(txn_vdi_check(txn, intent->vdi, VDI_OP_REVERT_TO, &vdi));
    return txn_sr_check(txn, vdi->sr, SR_OP_VDI_REVERT, &sr);
}

struct reverted {
    const struct vdi_plan *plan; /* of the copy that takes the disk's place */
    struct vdi_made made;
    ref_t vdi;
    struct vdi_info info;
    struct refs bases; /* only the old content needed them */
};

static struct error *record_reverted(struct txn *txn, void *arg)
{
    const struct reverted *r = arg;
    const struct vdi *vdi;

    TRY(TXN_GET(txn, vdi, r->vdi, &vdi));
    txn_vdi_forked(txn, r->plan, &r->made);
    txn_vdi_seen(txn, vdi, &r->info, false);
    txn_vdi_gone(txn, &(struct vdi_gone){.bases = r->bases});
    return OK;
}

static struct error *replace(struct call *call, struct reverted *r)
{
    AUTO(sr_use) use = {0};
    const struct vdi *vdi;

    TRY(DB_GET(call, vdi, r->vdi, &vdi));
    TRY(sr_use(call, vdi->sr, &use));
    TRY(vdi_error(call,
                  use.handle->driver->vdi_replace(call, use.handle, vdi->location,
                                                  vdi_uuid_for(call->arena, r->plan->vdi),
                                                  &r->info),
                  vdi->sr, vdi->ref));
    r->bases = vdi_bases_gone(call, &use, vdi->sr);
    return OK;
}

static struct error *run_revert(struct op *op, const struct vdi_plan *plan, ref_t vdi)
{
    struct reverted r = {.plan = plan, .vdi = vdi};
    AUTO(making) making = {op, plan};

    TRY(op_step(op, "begun", 0.1));
    TRY(vdi_make(op->call, plan, 0.1, 0.6, &r.made));
    TRY(op_step(op, "copied", 0.6));
    TRY(replace(op->call, &r));
    making_keep(&making);
    /* The old content is gone: there is only forward from here, cancelled or not. */
    error_ignore(op_step(op, "replaced", 0.9));
    return op_commit_forward(op, record_reverted, &r);
}

struct error *vdi_revert(struct call *call, const struct vdi_revert_args *args)
{
    struct vdi_revert_intent intent = {.snapshot = args->snapshot, .copy = ref_new()};
    const struct vdi *snapshot, *vdi;
    struct vdi_plan plan;
    AUTO(op) op = {0};

    TRY(DB_GET(call, vdi, args->snapshot, &snapshot));
    vdi = db_find(call, CLASS_vdi, snapshot->snapshot_of);
    if (!vdi || !ref_equal(vdi->sr, snapshot->sr))
        return err_operation_not_allowed(
            call, "The disk that the snapshot was taken of does not exist there any more; clone "
                  "the snapshot instead.");
    intent.vdi = vdi->ref;
    plan = (struct vdi_plan){
        .vdi = intent.copy, .source = intent.snapshot, .sr = vdi->sr, .how = VDI_CLONE};
    TRY(op_begin(call,
                 &(struct op_spec){
                     .kind = INTENT_vdi_revert,
                     .intent = &intent,
                     .n_holds = 3,
                     .holds = (struct op_hold[]){{CLASS_vdi, intent.vdi, VDI_OP_REVERT_TO},
                                                 {CLASS_vdi, intent.snapshot, VDI_OP_REVERT_FROM},
                                                 {CLASS_sr, plan.sr, SR_OP_VDI_REVERT}},
                     .check = check_revert,
                     .arg = &intent},
                 &op));
    TRY(run_revert(&op, &plan, intent.vdi));
    coalescer_kick(call->xapid->coalescer, plan.sr, false);
    error_ignore(sr_refresh_sizes(call, plan.sr)); /* comes right at the next look anyway */
    return OK;
}

/* Whether the disk has the old content or the new one: nobody has used it since, so it may as well
 * be replaced again. */
struct error *vdi_revert_recover(struct call *call, struct op *op,
                                 const struct vdi_revert_intent *intent)
{
    const struct vdi *vdi = db_find(call, CLASS_vdi, intent->vdi);
    struct vdi_plan plan = {.vdi = intent->copy, .source = intent->snapshot, .how = VDI_CLONE};
    struct error *e;

    if (!vdi)
        return OK;
    plan.sr = vdi->sr;
    e = run_revert(op, &plan, intent->vdi);
    if (!e || error_is(e, "SR_NOT_ATTACHED") || error_is(e, "SR_HAS_NO_PBDS"))
        return e; /* again when the storage is there */
    log_warning("disk %s did not go back to its snapshot: %s", vdi->uuid,
                error_line(call->arena, e));
    return OK;
}

/*** on_boot ***/

struct error *vdi_put_back(struct call *call, ref_t ref)
{
    const struct vdi *vdi = db_find(call, CLASS_vdi, ref);
    AUTO(sr_use) use = {0};

    if (!vdi || vdi->on_boot != ON_BOOT_RESET || vdi_is_attached(call, ref))
        return OK;
    TRY(sr_use(call, vdi->sr, &use));
    if (!(use.handle->driver->features & SR_F_VDI_RESET))
        return err_sr_operation_not_supported(call, call_ref(call, vdi->sr));
    return vdi_error(call, use.handle->driver->vdi_reset(call, use.handle, vdi->location), vdi->sr,
                     ref);
}

struct boot_mode {
    ref_t vdi;
    enum on_boot value;
    const struct vdi_plan *plan; /* of the fork, for reset */
    struct vdi_made made;
};

static struct error *check_on_boot(struct txn *txn, void *arg)
{
    const struct boot_mode *b = arg;
    const struct vdi *vdi;
    const struct sr *sr;

    TRY(txn_vdi_check(txn, b->vdi, VDI_OP_SET_ON_BOOT, &vdi));
    if (b->value == ON_BOOT_RESET && vdi->sharable)
        return err_vdi_is_sharable(txn_call(txn));
    return txn_sr_check(txn, vdi->sr, SR_OP_VDI_SET_ON_BOOT, &sr);
}

static struct error *record_on_boot(struct txn *txn, void *arg)
{
    const struct boot_mode *b = arg;

    TRY(check_on_boot(txn, arg));
    TXN_SET(txn, vdi, b->vdi, on_boot, b->value);
    return OK;
}

static struct error *record_forked(struct txn *txn, void *arg)
{
    const struct boot_mode *b = arg;

    txn_vdi_forked(txn, b->plan, &b->made);
    TXN_SET(txn, vdi, b->vdi, on_boot, ON_BOOT_RESET);
    return OK;
}

/* A snapshot that goes again leaves the disk as an empty image on what it holds now. */
static struct error *reset_from_now_on(struct call *call, struct boot_mode *b, ref_t sr)
{
    struct vdi_on_boot_intent intent = {b->vdi, ref_new()};
    struct vdi_plan plan = {.vdi = intent.copy, .source = b->vdi, .sr = sr, .how = VDI_SNAPSHOT};
    AUTO(op) op = {0};
    AUTO(making) making = {0};

    b->plan = &plan;
    TRY(op_begin(
        call,
        &(struct op_spec){.kind = INTENT_vdi_on_boot,
                          .intent = &intent,
                          .n_holds = 2,
                          .holds = (struct op_hold[]){{CLASS_vdi, b->vdi, VDI_OP_SET_ON_BOOT},
                                                      {CLASS_sr, sr, SR_OP_VDI_SET_ON_BOOT}},
                          .check = check_on_boot,
                          .arg = b},
        &op));
    making = (struct making){&op, &plan};
    TRY(op_step(&op, "begun", 0.1));
    TRY(vdi_make(call, &plan, 0.1, 0.6, &b->made));
    TRY(op_step(&op, "forked", 0.6));
    TRY(vdi_unmake(call, &plan));
    TRY(op_step(&op, "empty", 0.9));
    TRY(op_commit(&op, record_forked, b));
    making_keep(&making);
    return OK;
}

struct error *vdi_set_on_boot(struct call *call, const struct vdi_set_on_boot_args *args)
{
    struct boot_mode b = {.vdi = args->self, .value = args->value};
    const struct vdi *vdi;

    TRY(DB_GET(call, vdi, args->self, &vdi));
    if (args->value == ON_BOOT_RESET && vdi->on_boot != ON_BOOT_RESET)
        return reset_from_now_on(call, &b, vdi->sr);
    return db_update(call, record_on_boot, &b);
}

/* The disk has kept its content, on whatever image it lies. */
struct error *vdi_on_boot_recover(struct call *call, struct op *op,
                                  const struct vdi_on_boot_intent *intent)
{
    const struct vdi *vdi = db_find(call, CLASS_vdi, intent->vdi);

    (void)op;
    if (!vdi)
        return OK;
    return vdi_unmake(
        call, &(struct vdi_plan){
                  .vdi = intent->copy, .source = intent->vdi, .sr = vdi->sr, .how = VDI_SNAPSHOT});
}
