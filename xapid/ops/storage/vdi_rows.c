/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vdi_rows.c -- records of disks whose data is there already, or stays: VDI.introduce, forget, and
 * what storage drivers and joining hosts write themselves. */
#include <string.h>

#include "libxapi/value/value.h"
#include "xapid/db/row.h"
#include "xapid/ops/rows.h"
#include "xapid/ops/storage/attach.h"
#include "xapid/ops/storage/vdi_ops.h"

static struct error *check_unknown(struct txn *txn, const struct vdi *row)
{
    struct refs others = txn_referrers(txn, FIELD_vdi_sr, row->sr);
    struct call *call = txn_call(txn);

    for (size_t i = 0; i < others.n; i++) {
        const struct vdi *other = txn_find(txn, CLASS_vdi, others.v[i]);

        if (other && strcmp(other->location, row->location) == 0)
            return err_location_not_unique(call, call_ref(call, row->sr), row->location);
    }
    return OK;
}

static struct error *introduce_txn(struct txn *txn, void *arg)
{
    const struct vdi *row = arg;
    const struct sr *sr;

    TRY(txn_sr_check(txn, row->sr, SR_OP_VDI_INTRODUCE, &sr));
    TRY(check_unknown(txn, row));
    txn_create(txn, CLASS_vdi, row);
    return OK;
}

struct error *vdi_introduce(struct call *call, const struct vdi_introduce_args *args, ref_t *result)
{
    char uuid[UUID_TEXT_SIZE];
    AUTO(sr_use) use = {0};
    struct vdi_info info;
    const struct sr *sr;
    struct vdi row;

    TRY(DB_GET(call, sr, args->sr, &sr));
    TRY(sr_use(call, args->sr, &use));
    if (!(use.handle->driver->features & SR_F_VDI_INTRODUCE))
        return err_sr_operation_not_supported(call, call_ref(call, args->sr));
    TRY(use.handle->driver->vdi_stat(call, use.handle, args->location, &info));
    row_defaults(&api_classes[CLASS_vdi], &row);
    row.ref = ref_new();
    row.uuid = args->uuid[0] ? args->uuid : uuid_new(uuid);
    row.name_label = args->name_label;
    row.name_description = args->name_description;
    row.sr = args->sr;
    row.type = args->type;
    row.sharable = args->sharable;
    row.read_only = args->read_only || info.read_only;
    row.other_config = args->other_config;
    row.location = info.location;
    row.xenstore_data = args->xenstore_data;
    row.sm_config = args->sm_config;
    row.managed = args->managed;
    row.virtual_size = info.virtual_size;
    row.physical_utilisation = info.physical_utilisation;
    row.metadata_of_pool = args->metadata_of_pool;
    row.is_a_snapshot = args->is_a_snapshot;
    row.snapshot_time = args->snapshot_time;
    row.snapshot_of = args->snapshot_of;
    row.on_boot = ON_BOOT_PERSIST;
    TRY(db_update(call, introduce_txn, &row));
    *result = row.ref;
    return OK;
}

static struct error *forget_txn(struct txn *txn, void *arg)
{
    ref_t ref = *(const ref_t *)arg;
    struct vdi_gone gone = {.vdi = ref};
    const struct vdi *vdi;
    const struct sr *sr;

    TRY(TXN_GET(txn, vdi, ref, &vdi));
    TRY(txn_sr_check(txn, vdi->sr, SR_OP_VDI_FORGET, &sr));
    TRY(txn_vdi_check(txn, ref, VDI_OP_FORGET, &vdi));
    txn_vdi_gone(txn, &gone);
    return OK;
}

struct error *vdi_forget(struct call *call, const struct vdi_forget_args *args)
{
    ref_t ref = args->vdi;

    return db_update(call, forget_txn, &ref);
}

/*** rows as they are given: for drivers, and for hosts that join ***/

static struct error *insert_txn(struct txn *txn, void *arg)
{
    const struct vdi *row = arg;
    const struct sr *sr;

    TRY(TXN_GET(txn, sr, row->sr, &sr));
    if (txn_referrers(txn, FIELD_vdi_uuid, index_key_string(row->uuid)).n)
        return err_db_uniqueness_constraint_violation(txn_call(txn), "VDI", "uuid", row->uuid);
    TRY(check_unknown(txn, row));
    txn_create(txn, CLASS_vdi, row);
    return OK;
}

struct error *vdi_db_introduce(struct call *call, const struct vdi_db_introduce_args *args,
                               ref_t *result)
{
    char uuid[UUID_TEXT_SIZE];
    uint8_t bytes[16];
    struct vdi row;

    if (args->uuid[0] && !uuid_from_text(args->uuid, bytes))
        return err_uuid_invalid(call, "VDI", args->uuid);
    TRY(check_room(call, CLASS_vdi));
    row_defaults(&api_classes[CLASS_vdi], &row);
    row.ref = ref_new();
    row.uuid = args->uuid[0] ? args->uuid : uuid_new(uuid);
    row.name_label = args->name_label;
    row.name_description = args->name_description;
    row.sr = args->sr;
    row.type = args->type;
    row.sharable = args->sharable;
    row.read_only = args->read_only;
    row.other_config = args->other_config;
    row.location = args->location;
    row.xenstore_data = args->xenstore_data;
    row.sm_config = args->sm_config;
    row.managed = args->managed;
    row.virtual_size = args->virtual_size;
    row.physical_utilisation = args->physical_utilisation;
    row.metadata_of_pool = args->metadata_of_pool;
    row.is_a_snapshot = args->is_a_snapshot;
    row.snapshot_time = args->snapshot_time;
    row.snapshot_of = args->snapshot_of;
    row.cbt_enabled = args->cbt_enabled;
    row.on_boot = ON_BOOT_PERSIST;
    TRY(db_update(call, insert_txn, &row));
    *result = row.ref;
    return OK;
}

struct error *vdi_pool_introduce(struct call *call, const struct vdi_pool_introduce_args *args,
                                 ref_t *result)
{
    struct vdi_db_introduce_args same;

    /* Two messages with the same parameters. */
    _Static_assert(sizeof same == sizeof *args, "the parameters differ");
    memcpy(&same, args, sizeof same);
    return vdi_db_introduce(call, &same, result);
}

static struct error *db_forget_txn(struct txn *txn, void *arg)
{
    const struct vdi_gone *gone = arg;
    const struct vdi *vdi;

    TRY(TXN_GET(txn, vdi, gone->vdi, &vdi));
    txn_vdi_gone(txn, gone);
    return OK;
}

struct error *vdi_db_forget(struct call *call, const struct vdi_db_forget_args *args)
{
    return db_update(call, db_forget_txn, &(struct vdi_gone){.vdi = args->vdi});
}
