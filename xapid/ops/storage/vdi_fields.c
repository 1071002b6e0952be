/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vdi_fields.c -- disks that exist: their size, their names, single fields. */
#include <string.h>

#include "libxapi/value/value.h"
#include "xapid/db/ready.h"
#include "xapid/db/row.h"
#include "xapid/ops/storage/attach.h"
#include "xapid/ops/storage/making.h"
#include "xapid/ops/storage/vdi_ops.h"

/*** size ***/

struct resize_ctx {
    ref_t vdi;
    enum vdi_operations vdi_op;
    enum storage_operations sr_op;
    struct vdi_info info;
};

static struct error *check_resize(struct txn *txn, void *arg)
{
    const struct resize_ctx *r = arg;
    const struct vdi *vdi;
    const struct sr *sr;

    TRY(TXN_GET(txn, vdi, r->vdi, &vdi));
    TRY(txn_sr_check(txn, vdi->sr, r->sr_op, &sr));
    return txn_vdi_check(txn, r->vdi, r->vdi_op, &vdi);
}

static struct error *record_size(struct txn *txn, void *arg)
{
    const struct resize_ctx *r = arg;

    if (!txn_find(txn, CLASS_vdi, r->vdi))
        return OK;
    TXN_SET(txn, vdi, r->vdi, virtual_size, r->info.virtual_size);
    TXN_SET(txn, vdi, r->vdi, physical_utilisation, r->info.physical_utilisation);
    return OK;
}

/* Grows it to 'size', or where that is 0 only asks what it has. */
static struct error *ask_size(struct call *call, ref_t ref, int64_t size, struct vdi_info *info)
{
    AUTO(sr_use) use = {0};
    const struct vdi *vdi;
    struct error *e;

    TRY(DB_GET(call, vdi, ref, &vdi));
    TRY(sr_use(call, vdi->sr, &use));
    e = size ? use.handle->driver->vdi_resize(call, use.handle, vdi->location, size, info)
             : use.handle->driver->vdi_stat(call, use.handle, vdi->location, info);
    return vdi_error(call, e, vdi->sr, ref);
}

static struct error *resize(struct call *call, ref_t ref, int64_t size, struct resize_ctx *r)
{
    struct vdi_resize_intent intent = {ref};
    const struct vdi *vdi;
    AUTO(op) op = {0};
    ref_t sr;

    TRY(DB_GET(call, vdi, ref, &vdi));
    sr = vdi->sr;
    r->vdi = ref;
    TRY(op_begin(call,
                 &(struct op_spec){.kind = INTENT_vdi_resize,
                                   .intent = &intent,
                                   .n_holds = 2,
                                   .holds = (struct op_hold[]){{CLASS_vdi, ref, (int)r->vdi_op},
                                                               {CLASS_sr, sr, (int)r->sr_op}},
                                   .check = check_resize,
                                   .arg = r},
                 &op));
    TRY(op_step(&op, "begun", 0.1));
    TRY(DB_GET(call, vdi, ref, &vdi));
    if (size < 1 || size < vdi->virtual_size)
        return err_vdi_too_small(call, call_ref(call, ref),
                                 arena_printf(call->arena, "%lld", (long long)vdi->virtual_size));
    TRY(ask_size(call, ref, size, &r->info));
    error_ignore(op_step(&op, "grown", 0.9)); /* there is no way back */
    TRY(op_commit_forward(&op, record_size, r));
    error_ignore(sr_refresh_sizes(call, sr)); /* comes right at the next look anyway */
    return OK;
}

struct error *vdi_resize(struct call *call, const struct vdi_resize_args *args)
{
    return resize(call, args->vdi, args->size,
                  &(struct resize_ctx){.vdi_op = VDI_OP_RESIZE, .sr_op = SR_OP_VDI_RESIZE});
}

struct error *vdi_resize_online(struct call *call, const struct vdi_resize_online_args *args)
{
    return resize(
        call, args->vdi, args->size,
        &(struct resize_ctx){.vdi_op = VDI_OP_RESIZE_ONLINE, .sr_op = SR_OP_VDI_RESIZE_ONLINE});
}

struct error *vdi_resize_recover(struct call *call, struct op *op,
                                 const struct vdi_resize_intent *intent)
{
    struct resize_ctx r = {.vdi = intent->vdi};

    if (!db_find(call, CLASS_vdi, intent->vdi))
        return OK;
    TRY(ask_size(call, intent->vdi, 0, &r.info));
    return op_commit(op, record_size, &r);
}

/*** names ***/

/* The storage first: should the record not follow, the next scan brings it. */
static struct error *describe(struct call *call, ref_t ref, const char *label,
                              const char *description)
{
    AUTO(sr_use) use = {0};
    const struct vdi *vdi;

    TRY(DB_GET(call, vdi, ref, &vdi));
    TRY(sr_use(call, vdi->sr, &use));
    if (!use.handle->driver->vdi_describe)
        return OK;
    return vdi_error(call,
                     use.handle->driver->vdi_describe(
                         call, use.handle, vdi->location, label ? label : vdi->name_label,
                         description ? description : vdi->name_description),
                     vdi->sr, ref);
}

struct error *vdi_set_name_label(struct call *call, const struct vdi_set_name_label_args *args)
{
    TRY(describe(call, args->self, args->value, NULL));
    return CALL_SET(call, vdi, args->self, name_label, args->value);
}

struct error *vdi_set_name_description(struct call *call,
                                       const struct vdi_set_name_description_args *args)
{
    TRY(describe(call, args->self, NULL, args->value));
    return CALL_SET(call, vdi, args->self, name_description, args->value);
}

static struct error *check_update(struct txn *txn, void *arg)
{
    const struct vdi *vdi;

    return txn_vdi_check(txn, *(const ref_t *)arg, VDI_OP_UPDATE, &vdi);
}

struct error *vdi_update(struct call *call, const struct vdi_update_args *args)
{
    ref_t ref = args->vdi;

    TRY(db_update(call, check_update, &ref));
    return describe(call, ref, NULL, NULL);
}

/*** single fields ***/

struct error *vdi_set_allow_caching(struct call *call,
                                    const struct vdi_set_allow_caching_args *args)
{
    return CALL_SET(call, vdi, args->self, allow_caching, args->value);
}

struct error *vdi_set_managed(struct call *call, const struct vdi_set_managed_args *args)
{
    return CALL_SET(call, vdi, args->self, managed, args->value);
}

struct error *vdi_set_sharable(struct call *call, const struct vdi_set_sharable_args *args)
{
    return CALL_SET(call, vdi, args->self, sharable, args->value);
}

struct error *vdi_set_read_only(struct call *call, const struct vdi_set_read_only_args *args)
{
    return CALL_SET(call, vdi, args->self, read_only, args->value);
}

struct error *vdi_set_missing(struct call *call, const struct vdi_set_missing_args *args)
{
    return CALL_SET(call, vdi, args->self, missing, args->value);
}

struct error *vdi_set_virtual_size(struct call *call, const struct vdi_set_virtual_size_args *args)
{
    return CALL_SET(call, vdi, args->self, virtual_size, args->value);
}

struct error *vdi_set_physical_utilisation(struct call *call,
                                           const struct vdi_set_physical_utilisation_args *args)
{
    return CALL_SET(call, vdi, args->self, physical_utilisation, args->value);
}

struct error *vdi_set_is_a_snapshot(struct call *call,
                                    const struct vdi_set_is_a_snapshot_args *args)
{
    return CALL_SET(call, vdi, args->self, is_a_snapshot, args->value);
}

struct error *vdi_set_snapshot_of(struct call *call, const struct vdi_set_snapshot_of_args *args)
{
    return CALL_SET(call, vdi, args->self, snapshot_of, args->value);
}

struct error *vdi_set_snapshot_time(struct call *call,
                                    const struct vdi_set_snapshot_time_args *args)
{
    return CALL_SET(call, vdi, args->self, snapshot_time, args->value);
}

struct error *vdi_set_metadata_of_pool(struct call *call,
                                       const struct vdi_set_metadata_of_pool_args *args)
{
    return CALL_SET(call, vdi, args->self, metadata_of_pool, args->value);
}
