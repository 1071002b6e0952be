/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cbt.c -- changed blocks: VDI.enable_cbt, disable_cbt, data_destroy, list_changed_blocks.
 *
 * Tracking needs no work: what has changed is read from the images when it is asked for
 * (storage-repos/dir/changed.c).  That it is on is a mark on the record, which snapshots inherit.
 */
#include <openssl/evp.h>

#include "libxapi/base/log.h"
#include "libxapi/base/seam.h"
#include "libxapi/value/value.h"
#include "xapid/db/ready.h"
#include "xapid/ops/storage/attach.h"
#include "xapid/ops/storage/making.h"
#include "xapid/ops/storage/vdi_ops.h"

/* Somebody who has just stopped reading a disk over the network may not be gone for a moment. */
#define LEAVING_TIME (4 * USEC_PER_SEC)
#define LOOK_AGAIN (50 * USEC_PER_MSEC)

/*** on and off ***/

struct tracking {
    ref_t vdi;
    bool on;
};

static struct error *set_tracking(struct txn *txn, void *arg)
{
    const struct tracking *t = arg;
    const struct vdi *vdi;

    TRY(txn_vdi_check(txn, t->vdi, t->on ? VDI_OP_ENABLE_CBT : VDI_OP_DISABLE_CBT, &vdi));
    if (vdi->cbt_enabled != t->on)
        TXN_SET(txn, vdi, t->vdi, cbt_enabled, t->on);
    return OK;
}

struct error *vdi_enable_cbt(struct call *call, const struct vdi_enable_cbt_args *args)
{
    return db_update(call, set_tracking, &(struct tracking){args->self, true});
}

struct error *vdi_disable_cbt(struct call *call, const struct vdi_disable_cbt_args *args)
{
    return db_update(call, set_tracking, &(struct tracking){args->self, false});
}

struct error *vdi_set_cbt_enabled(struct call *call, const struct vdi_set_cbt_enabled_args *args)
{
    return CALL_SET(call, vdi, args->self, cbt_enabled, args->value);
}

/*** VDI.data_destroy ***/

struct stripped {
    ref_t vdi;
    struct refs bases; /* only its data needed them */
};

static struct error *check_data_destroy(struct txn *txn, void *arg)
{
    ref_t ref = *(const ref_t *)arg;
    const struct vdi *vdi;
    const struct sr *sr;

    TRY(txn_vdi_check(txn, ref, VDI_OP_DATA_DESTROY, &vdi));
    return txn_sr_check(txn, vdi->sr, SR_OP_VDI_DATA_DESTROY, &sr);
}

static struct error *record_stripped(struct txn *txn, void *arg)
{
    const struct stripped *s = arg;

    if (!txn_find(txn, CLASS_vdi, s->vdi))
        return OK;
    TXN_SET(txn, vdi, s->vdi, type, VDI_TYPE_CBT_METADATA);
    TXN_SET(txn, vdi, s->vdi, physical_utilisation, 0);
    txn_vdi_gone(txn, &(struct vdi_gone){.bases = s->bases});
    return OK;
}

static struct error *strip(struct call *call, ref_t ref, struct stripped *out)
{
    const struct vdi *vdi;
    AUTO(sr_use) use = {0};

    *out = (struct stripped){.vdi = ref};
    TRY(DB_GET(call, vdi, ref, &vdi));
    TRY(sr_use(call, vdi->sr, &use));
    TRY(vdi_error(call, use.handle->driver->vdi_strip(call, use.handle, vdi->location), vdi->sr,
                  ref));
    out->bases = vdi_bases_gone(call, &use, vdi->sr);
    return OK;
}

static bool is_attached(struct call *call, ref_t vdi)
{
    struct refs vbds;

    call_refresh(call);
    vbds = db_referrers(call, FIELD_vbd_vdi, vdi);
    for (size_t i = 0; i < vbds.n; i++)
        if (((const struct vbd *)db_find(call, CLASS_vbd, vbds.v[i]))->currently_attached)
            return true;
    return false;
}

/* If it stays attached the check says so. */
static void wait_for_readers(struct call *call, ref_t vdi)
{
    usec_t deadline = clock_mono() + LEAVING_TIME;
    size_t held = call->n_held;

    while (is_attached(call, vdi) && clock_mono() < deadline) {
        call_drop_held(call, held);
        clock_sleep(LOOK_AGAIN);
    }
}

struct error *vdi_data_destroy(struct call *call, const struct vdi_data_destroy_args *args)
{
    struct vdi_data_destroy_intent intent = {args->self};
    struct stripped stripped;
    const struct vdi *vdi;
    ref_t sr;
    AUTO(op) op = {0};

    wait_for_readers(call, args->self);
    TRY(DB_GET(call, vdi, args->self, &vdi));
    sr = vdi->sr;
    TRY(op_begin(
        call,
        &(struct op_spec){.kind = INTENT_vdi_data_destroy,
                          .intent = &intent,
                          .n_holds = 2,
                          .holds = (struct op_hold[]){{CLASS_vdi, args->self, VDI_OP_DATA_DESTROY},
                                                      {CLASS_sr, sr, SR_OP_VDI_DATA_DESTROY}},
                          .check = check_data_destroy,
                          .arg = &intent.vdi},
        &op));
    TRY(op_step(&op, "begun", 0.1));
    TRY(strip(call, args->self, &stripped));
    /* The data is gone: there is only forward from here, cancelled or not. */
    error_ignore(op_step(&op, "destroyed", 0.8));
    TRY(op_commit_forward(&op, record_stripped, &stripped));
    error_ignore(sr_refresh_sizes(call, sr)); /* comes right at the next look anyway */
    return OK;
}

struct error *vdi_data_destroy_recover(struct call *call, struct op *op,
                                       const struct vdi_data_destroy_intent *intent)
{
    struct stripped stripped;
    struct error *e;

    if (!db_find(call, CLASS_vdi, intent->vdi))
        return OK;
    e = strip(call, intent->vdi, &stripped);
    if (error_is(e, "SR_NOT_ATTACHED") || error_is(e, "SR_HAS_NO_PBDS"))
        return e; /* again when the storage is there */
    if (e) {
        log_warning("the data of a snapshot stays: %s", error_line(call->arena, e));
        return OK;
    }
    return op_commit(op, record_stripped, &stripped);
}

/*** VDI.list_changed_blocks ***/

static struct error *check_listing(struct txn *txn, void *arg)
{
    const struct vdi_list_changed_blocks_args *a = arg;
    struct call *call = txn_call(txn);
    const struct vdi *from, *to;
    const struct sr *sr;

    TRY(txn_vdi_check(txn, a->vdi_from, VDI_OP_LIST_CHANGED_BLOCKS, &from));
    TRY(txn_vdi_check(txn, a->vdi_to, VDI_OP_LIST_CHANGED_BLOCKS, &to));
    if (!ref_equal(from->sr, to->sr))
        return err_operation_not_allowed(call, "The disks are in different repositories.");
    return txn_sr_check(txn, to->sr, SR_OP_VDI_LIST_CHANGED_BLOCKS, &sr);
}

static struct error *find_changes(struct call *call, const struct vdi_list_changed_blocks_args *a,
                                  struct vdi_changes *out)
{
    const struct vdi *from, *to;
    AUTO(sr_use) use = {0};

    TRY(DB_GET(call, vdi, a->vdi_from, &from));
    TRY(DB_GET(call, vdi, a->vdi_to, &to));
    TRY(sr_use(call, to->sr, &use));
    return vdi_error(
        call, use.handle->driver->vdi_changed(call, use.handle, from->location, to->location, out),
        to->sr, a->vdi_to);
}

static const char *base64(struct call *call, const struct vdi_changes *changes)
{
    char *text = arena_alloc(call->arena, (changes->n + 2) / 3 * 4 + 1);

    EVP_EncodeBlock((unsigned char *)text, changes->bits, (int)changes->n);
    return text;
}

struct error *vdi_list_changed_blocks(struct call *call,
                                      const struct vdi_list_changed_blocks_args *args,
                                      const char **result)
{
    /* As for a copy that goes nowhere. */
    struct vdi_transfer_intent intent = {REF_NULL, args->vdi_from};
    const struct op_hold holds[] = {{CLASS_vdi, args->vdi_to, VDI_OP_LIST_CHANGED_BLOCKS},
                                    {CLASS_vdi, args->vdi_from, VDI_OP_LIST_CHANGED_BLOCKS}};
    struct vdi_changes changes;
    const struct vdi *vdi;
    AUTO(op) op = {0};

    TRY(DB_GET(call, vdi, args->vdi_from, &vdi));
    TRY(DB_GET(call, vdi, args->vdi_to, &vdi));
    TRY(op_begin(call,
                 &(struct op_spec){.kind = INTENT_vdi_transfer,
                                   .intent = &intent,
                                   .n_holds = ref_equal(args->vdi_from, args->vdi_to) ? 1 : 2,
                                   .holds = holds,
                                   .check = check_listing,
                                   .arg = (void *)args},
                 &op));
    TRY(find_changes(call, args, &changes));
    *result = base64(call, &changes);
    return OK;
}
