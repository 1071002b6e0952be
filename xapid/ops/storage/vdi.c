/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vdi.c -- disks come and go: VDI.create, clone, snapshot, copy, destroy.
 *
 * What is made here is made under the intent vdi_make: until its commit nothing refers to the file,
 * so whatever happens before it is undone by removing the file, by the guard or by recovery.
 */
#include <string.h>

#include "libxapi/base/log.h"
#include "libxapi/value/value.h"
#include "xapid/ops/storage/attach.h"
#include "xapid/ops/storage/check.h"
#include "xapid/ops/storage/making.h"
#include "xapid/ops/storage/vdi_copy.h"
#include "xapid/ops/storage/vdi_ops.h"

/*** making ***/

void making_release(struct making *m)
{
    struct error *e;

    if (!m->plan || !op_may_undo(m->op))
        return;
    e = vdi_unmake(m->op->call, m->plan);
    if (!e)
        return;
    log_error("an unfinished disk is removed later: %s", error_line(m->op->call->arena, e));
    op_leave(m->op);
}

void making_keep(struct making *m)
{
    m->plan = NULL;
}

struct error *op_commit_forward(struct op *op, db_txn_fn *fn, void *arg)
{
    struct error *e = op_commit(op, fn, arg);

    if (!e || op->unknown)
        return e;
    /* In two steps then; a crash between them is recovery's matter like any other. */
    e = db_update(op->call, fn, arg);
    if (e)
        op->unknown = true; /* keeps the intent: recovery will record it */
    else
        op_abort(op);
    return e;
}

struct make_ctx {
    const struct vdi_plan *plan;
    const struct vdi_made *made;
    enum vdi_operations vdi_op;
    enum storage_operations sr_op;
};

static struct error *check_make(struct txn *txn, void *arg)
{
    const struct make_ctx *m = arg;
    const struct vdi *source;
    const struct sr *sr;

    TRY(txn_sr_check(txn, m->plan->sr, m->sr_op, &sr));
    return m->plan->how == VDI_EMPTY ? OK : txn_vdi_check_source(txn, m->plan, m->vdi_op, &source);
}

static struct error *record_made(struct txn *txn, void *arg)
{
    const struct make_ctx *m = arg;

    return txn_vdi_made(txn, m->plan, m->made);
}

struct error *making_begin(struct call *call, const struct vdi_plan *plan,
                           enum vdi_operations vdi_op, enum storage_operations sr_op, struct op *op)
{
    struct vdi_make_intent intent = {plan->vdi, plan->source, plan->sr, plan->how};
    struct make_ctx m = {plan, NULL, vdi_op, sr_op};
    struct op_hold holds[OP_MAX_HOLDS];
    size_t n = 0;

    if (plan->how != VDI_EMPTY)
        holds[n++] = (struct op_hold){CLASS_vdi, plan->source, (int)vdi_op};
    op_hold_sr(holds, &n, plan->sr, sr_op);
    return op_begin(call,
                    &(struct op_spec){.kind = INTENT_vdi_make,
                                      .intent = &intent,
                                      .n_holds = n,
                                      .holds = holds,
                                      .check = check_make,
                                      .arg = &m},
                    op);
}

struct error *making_commit(struct op *op, const struct vdi_plan *plan, const struct vdi_made *made)
{
    struct make_ctx m = {.plan = plan, .made = made};

    return op_commit(op, record_made, &m);
}

static struct error *run_make(struct call *call, struct vdi_plan *plan, enum vdi_operations vdi_op,
                              enum storage_operations sr_op, ref_t *result)
{
    AUTO(op) op = {0};
    AUTO(making) making = {0};
    struct vdi_made made;

    TRY(making_begin(call, plan, vdi_op, sr_op, &op));
    TRY(vdi_plan_check(call, plan));
    making = (struct making){&op, plan};
    plan->intent = op.intent;
    TRY(op_step(&op, "begun", 0.05));
    TRY(vdi_make(call, plan, 0.1, 0.9, &made));
    TRY(op_step(&op, "made", 0.9));
    TRY(making_commit(&op, plan, &made));
    making_keep(&making);
    *result = plan->vdi;
    /* The sizes come right at the next look anyway. */
    error_ignore(sr_refresh_sizes(call, plan->sr));
    return OK;
}

struct error *vdi_make_recover(struct call *call, struct op *op,
                               const struct vdi_make_intent *intent)
{
    struct vdi_plan plan = {.vdi = intent->vdi,
                            .source = intent->source,
                            .sr = intent->sr,
                            .how = (enum vdi_how)intent->how};

    (void)op;
    return vdi_unmake(call, &plan);
}

/*** VDI.create ***/

struct error *vdi_create(struct call *call, const struct vdi_create_args *args, ref_t *result)
{
    const struct vdi *given = args->args;
    const struct sr *sr;
    struct vdi_plan plan = {.vdi = ref_new(),
                            .sr = given->sr,
                            .how = VDI_EMPTY,
                            .name_label = given->name_label,
                            .name_description = given->name_description,
                            .virtual_size = given->virtual_size,
                            .own_fields = true,
                            .type = given->type,
                            .sharable = given->sharable,
                            .read_only = given->read_only,
                            .other_config = given->other_config,
                            .xenstore_data = given->xenstore_data,
                            .sm_config = given->sm_config,
                            .tags = given->tags};

    TRY(DB_GET(call, sr, given->sr, &sr));
    return run_make(call, &plan, VDI_OP_BLOCKED, SR_OP_VDI_CREATE, result);
}

/*** clone, snapshot, copy ***/

static struct error *plan_of(struct call *call, ref_t source, enum vdi_how how,
                             struct vdi_plan *out)
{
    const struct vdi *vdi;

    TRY(DB_GET(call, vdi, source, &vdi));
    *out = (struct vdi_plan){.vdi = ref_new(), .source = source, .sr = vdi->sr, .how = how};
    return OK;
}

struct error *vdi_clone(struct call *call, const struct vdi_clone_args *args, ref_t *result)
{
    struct vdi_plan plan;

    TRY(plan_of(call, args->vdi, VDI_CLONE, &plan));
    return run_make(call, &plan, VDI_OP_CLONE, SR_OP_VDI_CLONE, result);
}

struct error *vdi_snapshot(struct call *call, const struct vdi_snapshot_args *args, ref_t *result)
{
    struct vdi_plan plan;

    TRY(plan_of(call, args->vdi, VDI_SNAPSHOT, &plan));
    return run_make(call, &plan, VDI_OP_SNAPSHOT, SR_OP_VDI_SNAPSHOT, result);
}

static struct error *check_transfer(struct txn *txn, void *arg)
{
    const struct vdi_copy_args *a = arg;
    struct call *call = txn_call(txn);
    const struct vdi *source, *into;

    TRY(txn_vdi_check(txn, a->vdi, VDI_OP_COPY, &source));
    TRY(TXN_GET(txn, vdi, a->into_vdi, &into));
    TRY(txn_vdi_check(txn, a->into_vdi, VDI_OP_BLOCKED, &into));
    TRY(txn_vdi_check_attach(txn, a->into_vdi, REF_NULL, true));
    if (into->virtual_size < source->virtual_size)
        return err_vdi_too_small(
            call, call_ref(call, a->into_vdi),
            arena_printf(call->arena, "%lld", (long long)source->virtual_size));
    return OK;
}

/* A disk this scope has attached. */
struct attached {
    struct call *call;
    ref_t vdi;
};

static void attached_release(struct attached *a)
{
    if (a->call)
        vdi_path_detach(a->call, a->vdi);
}

static struct error *attach(struct call *call, ref_t vdi, bool writable, struct attached *a,
                            struct vdi_path *path)
{
    TRY(vdi_path_attach(call, vdi, writable, path));
    *a = (struct attached){call, vdi};
    return OK;
}

static struct error *transfer(struct call *call, const struct vdi_copy_args *args)
{
    AUTO(attached) from = {0};
    AUTO(attached) to = {0};
    AUTO(attached) base = {0};
    struct vdi_path from_path, to_path, base_path;
    struct data_copy copy = {.from = &from_path, .to = &to_path, .start = 0.05, .end = 0.95};

    TRY(attach(call, args->vdi, false, &from, &from_path));
    TRY(attach(call, args->into_vdi, true, &to, &to_path));
    if (!ref_is_null(args->base_vdi)) {
        TRY(attach(call, args->base_vdi, false, &base, &base_path));
        copy.base = &base_path;
    }
    return data_copy(call, &copy);
}

static struct error *copy_into(struct call *call, const struct vdi_copy_args *args, ref_t *result)
{
    struct vdi_transfer_intent intent = {args->into_vdi, args->vdi};
    const struct op_hold holds[] = {{CLASS_vdi, args->vdi, VDI_OP_COPY},
                                    {CLASS_vdi, args->into_vdi, VDI_OP_BLOCKED}};
    const struct vdi *vdi;
    AUTO(op) op = {0};

    TRY(DB_GET(call, vdi, args->into_vdi, &vdi));
    if (ref_equal(args->vdi, args->into_vdi))
        return err_vdi_in_use(call, call_ref(call, args->vdi), "copy");
    if (!ref_is_null(args->base_vdi))
        TRY(DB_GET(call, vdi, args->base_vdi, &vdi));
    TRY(op_begin(call,
                 &(struct op_spec){.kind = INTENT_vdi_transfer,
                                   .intent = &intent,
                                   .n_holds = ARRAY_SIZE(holds),
                                   .holds = holds,
                                   .check = check_transfer,
                                   .arg = (void *)args},
                 &op));
    TRY(op_step(&op, "begun", 0.05));
    TRY(transfer(call, args));
    TRY(op_step(&op, "copied", 0.95));
    TRY(op_commit(&op, NULL, NULL));
    *result = args->into_vdi;
    return OK;
}

/* The target's contents are whatever they are: it was given to be overwritten. */
struct error *vdi_transfer_recover(struct call *call, struct op *op,
                                   const struct vdi_transfer_intent *intent)
{
    (void)call;
    (void)op;
    (void)intent;
    return OK;
}

struct error *vdi_copy(struct call *call, const struct vdi_copy_args *args, ref_t *result)
{
    struct vdi_plan plan;
    const struct sr *sr;

    TRY(plan_of(call, args->vdi, VDI_COPY, &plan));
    if (!ref_is_null(args->into_vdi))
        return copy_into(call, args, result);
    TRY(DB_GET(call, sr, args->sr, &sr));
    plan.sr = args->sr;
    return run_make(call, &plan, VDI_OP_COPY, SR_OP_VDI_CREATE, result);
}

/*** VDI.destroy ***/

static struct error *check_destroy(struct txn *txn, void *arg)
{
    const struct vdi *vdi;
    const struct sr *sr;
    ref_t ref = *(const ref_t *)arg;

    TRY(TXN_GET(txn, vdi, ref, &vdi));
    TRY(txn_sr_check(txn, vdi->sr, SR_OP_VDI_DESTROY, &sr));
    return txn_vdi_check(txn, ref, VDI_OP_DESTROY, &vdi);
}

static struct error *record_gone(struct txn *txn, void *arg)
{
    txn_vdi_gone(txn, arg);
    return OK;
}

struct error *vdi_destroy(struct call *call, const struct vdi_destroy_args *args)
{
    struct vdi_destroy_intent intent = {args->self};
    ref_t ref = args->self, sr;
    const struct vdi *vdi;
    struct vdi_gone gone;
    AUTO(op) op = {0};

    TRY(DB_GET(call, vdi, ref, &vdi));
    sr = vdi->sr;
    TRY(op_begin(call,
                 &(struct op_spec){.kind = INTENT_vdi_destroy,
                                   .intent = &intent,
                                   .n_holds = 2,
                                   .holds = (struct op_hold[]){{CLASS_vdi, ref, VDI_OP_DESTROY},
                                                               {CLASS_sr, sr, SR_OP_VDI_DESTROY}},
                                   .check = check_destroy,
                                   .arg = &ref},
                 &op));
    TRY(op_step(&op, "begun", 0.1));
    TRY(vdi_erase(call, ref, &gone));
    /* The file is gone: there is only forward from here, cancelled or not. */
    error_ignore(op_step(&op, "erased", 0.8));
    TRY(op_commit_forward(&op, record_gone, &gone));
    error_ignore(sr_refresh_sizes(call, sr)); /* comes right at the next look anyway */
    return OK;
}

struct error *vdi_destroy_recover(struct call *call, struct op *op,
                                  const struct vdi_destroy_intent *intent)
{
    struct vdi_gone gone;
    struct error *e = vdi_erase(call, intent->vdi, &gone);

    if (error_is(e, "SR_NOT_ATTACHED") || error_is(e, "SR_HAS_NO_PBDS"))
        return e; /* again when the storage is there */
    if (e) {
        log_warning("a disk that was to be destroyed stays: %s", error_line(call->arena, e));
        return OK;
    }
    return op_commit(op, record_gone, &gone);
}
