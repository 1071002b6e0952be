/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vbd.c -- records of virtual block devices: VBD.create, destroy, set_mode. */
#include <string.h>

#include "libxapi/value/value.h"
#include "xapid/db/ready.h"
#include "xapid/db/row.h"
#include "xapid/ops/ha/guard.h"
#include "xapid/ops/storage/check.h"
#include "xapid/ops/vm/device.h"
#include "xapid/ops/vm/lifecycle.h"

#define FLOPPY_DEVICES 2

/*** create ***/

/* Disks that a VM may be given; the others belong to xapid. */
static bool type_ok(enum vdi_type type)
{
    return type != VDI_TYPE_HA_STATEFILE && type != VDI_TYPE_REDO_LOG &&
           type != VDI_TYPE_CBT_METADATA;
}

static struct error *check_disk(struct txn *txn, const struct vbd *row)
{
    struct call *call = txn_call(txn);
    const struct vdi *vdi;
    const struct vm *vm;

    TRY(TXN_GET(txn, vm, row->vm, &vm));
    TRY(TXN_GET(txn, vdi, row->vdi, &vdi));
    TRY(txn_ha_check_sr(txn, vm, vdi->sr));
    if (!type_ok(vdi->type))
        return err_vdi_incompatible_type(call, call_ref(call, row->vdi),
                                         enum_name(&enum_vdi_type, (int)vdi->type));
    if (!vdi->managed)
        return err_vdi_not_managed(call, call_ref(call, row->vdi));
    return OK;
}

static struct error *check_kind(struct txn *txn, const struct vbd *row)
{
    struct call *call = txn_call(txn);
    const struct vdi *vdi;

    if (!row->empty)
        TRY(check_disk(txn, row));
    if (row->type == VBD_TYPE_CD && row->mode != VBD_RO)
        return err_vbd_cds_must_be_readonly(call);
    if (row->type == VBD_TYPE_DISK && row->empty)
        return err_vbd_not_removable_media(call, "in progress");
    if (row->empty)
        return OK;
    TRY(TXN_GET(txn, vdi, row->vdi, &vdi));
    return row->mode == VBD_RW && vdi->read_only ? err_vdi_readonly(call, call_ref(call, row->vdi))
                                                 : OK;
}

/* Replaces row->userdevice by the number of a free position. */
static struct error *choose_device(struct txn *txn, struct vbd *row)
{
    struct refs others = txn_referrers(txn, FIELD_vbd_vm, row->vm);
    bool autodetect = strcmp(row->userdevice, "autodetect") == 0;
    int limit = row->type == VBD_TYPE_FLOPPY ? FLOPPY_DEVICES : VBD_DEVICES;
    int number = vbd_device_number(row->userdevice);
    struct call *call = txn_call(txn);
    bool used[VBD_DEVICES] = {false};

    if (!autodetect && (number < 0 || number >= limit))
        return err_invalid_device(call, row->userdevice);
    for (size_t i = 0; i < others.n; i++) {
        const struct vbd *other = txn_find(txn, CLASS_vbd, others.v[i]);
        int n = other ? vbd_device_number(other->userdevice) : -1;

        if (n >= 0)
            used[n] = true;
    }
    if (autodetect) {
        for (number = 0; number < limit && used[number]; number++)
            ;
        if (number == limit)
            return err_invalid_device(call, row->userdevice);
    } else if (used[number]) {
        return err_device_already_exists(call, row->userdevice);
    }
    row->userdevice = arena_printf(txn_arena(txn), "%d", number);
    return OK;
}

static struct error *create_txn(struct txn *txn, void *arg)
{
    struct vbd row = *(const struct vbd *)arg;
    const struct vm *vm;

    TRY(TXN_GET(txn, vm, row.vm, &vm));
    TRY(check_kind(txn, &row));
    if (row.empty)
        row.vdi = REF_NULL;
    TRY(choose_device(txn, &row));
    /* Only a suspended VM has devices reserved; the others get theirs when they are plugged. */
    if (vm->power_state != VM_SUSPENDED)
        row.currently_attached = false;
    if (!row.currently_attached)
        row.device = "";
    txn_create(txn, CLASS_vbd, &row);
    return OK;
}

struct error *vbd_create(struct call *call, const struct vbd_create_args *args, ref_t *result)
{
    struct vbd row = *args->args;
    char uuid[UUID_TEXT_SIZE];

    row.ref = ref_new();
    row.uuid = uuid_new(uuid);
    TRY(db_update(call, create_txn, &row));
    *result = row.ref;
    return OK;
}

/*** destroy ***/

static struct error *destroy_txn(struct txn *txn, void *arg)
{
    ref_t ref = *(const ref_t *)arg;
    struct call *call = txn_call(txn);
    const struct vbd *vbd;
    const struct vm *vm;

    TRY(TXN_GET(txn, vbd, ref, &vbd));
    vm = txn_find(txn, CLASS_vm, vbd->vm);
    if (vbd->currently_attached)
        return err_operation_not_allowed(call, arena_printf(call->arena,
                                                            "VBD '%s' still attached to '%s'",
                                                            vbd->uuid, vm ? vm->uuid : ""));
    if (vbd->current_operations.n)
        return busy_error(call, CLASS_vbd, ref, &enum_vbd_operations, &vbd->current_operations);
    if (vm && vm_is_changing(vm))
        return busy_error(call, CLASS_vm, vm->ref, &enum_vm_operations, &vm->current_operations);
    txn_destroy(txn, CLASS_vbd, ref);
    return OK;
}

struct error *vbd_destroy(struct call *call, const struct vbd_destroy_args *args)
{
    ref_t ref = args->self;

    return db_update(call, destroy_txn, &ref);
}

/*** set_mode ***/

static struct error *mode_txn(struct txn *txn, void *arg)
{
    const struct vbd_set_mode_args *a = arg;
    struct call *call = txn_call(txn);
    const struct vbd *vbd;
    const struct vdi *vdi;
    const struct vm *vm;

    TRY(TXN_GET(txn, vbd, a->self, &vbd));
    TRY(TXN_GET(txn, vm, vbd->vm, &vm));
    if (vm->power_state != VM_HALTED)
        return err_vm_bad_power_state(call, call_ref(call, vm->ref), "halted",
                                      vm_power_state_text(vm->power_state));
    vdi = txn_find(txn, CLASS_vdi, vbd->vdi);
    if (a->value == VBD_RW && vbd->type == VBD_TYPE_CD)
        return err_vbd_cds_must_be_readonly(call);
    if (a->value == VBD_RW && vdi && vdi->read_only)
        return err_vdi_readonly(call, call_ref(call, vdi->ref));
    TXN_SET(txn, vbd, a->self, mode, a->value);
    return OK;
}

struct error *vbd_set_mode(struct call *call, const struct vbd_set_mode_args *args)
{
    return db_update(call, mode_txn, (void *)args);
}

static struct error *attachable_txn(struct txn *txn, void *arg)
{
    const struct vbd *vbd;

    return txn_vbd_check(txn, *(const ref_t *)arg, VBD_OP_ATTACH, &vbd);
}

struct error *vbd_assert_attachable(struct call *call,
                                    const struct vbd_assert_attachable_args *args)
{
    ref_t ref = args->self;

    return db_update(call, attachable_txn, &ref);
}
