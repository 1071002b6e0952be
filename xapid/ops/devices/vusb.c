/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vusb.c -- virtual USB devices: VUSB.create, destroy, unplug.
 *
 * A device is given to its VM by the VM's start; only taking it away while the VM runs is an
 * operation with an effect.  Recovery asks the hypervisor what became of that.
 */
#include "xapid/ops/devices/vusb.h"

#include <string.h>

#include "libxapi/value/value.h"
#include "xapid/db/row.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/hotplug.h"
#include "xapid/ops/storage/check.h"
#include "xapid/ops/storage/making.h"
#include "xapid/ops/vm/domain.h"
#include "xapid/ops/vm/lifecycle.h"
#include "xapid/ops/vm/passthrough.h"

#define VUSB_LIMIT 6

/*** create and destroy ***/

static struct error *create_txn(struct txn *txn, void *arg)
{
    const struct vusb *row = arg;
    struct refs of_vm = txn_referrers(txn, FIELD_vusb_vm, row->vm);
    struct refs of_group = txn_referrers(txn, FIELD_vusb_usb_group, row->usb_group);
    struct call *call = txn_call(txn);
    const struct usb_group *group;
    const struct vm *vm;
    const char *model;

    TRY(TXN_GET(txn, vm, row->vm, &vm));
    TRY(TXN_GET(txn, usb_group, row->usb_group, &group));
    if (of_vm.n >= VUSB_LIMIT)
        return err_too_many_vusbs(call, arena_printf(call->arena, "%d", VUSB_LIMIT));
    if (of_group.n)
        return err_usb_group_conflict(call, call_ref(call, row->usb_group));
    if (vm->power_state != VM_HALTED)
        return err_vm_bad_power_state(call, call_ref(call, row->vm), "halted",
                                      vm_power_state_text(vm->power_state));
    model = strmap_get(&vm->platform, "device-model");
    if (model && strcmp(model, "qemu-trad") == 0)
        return err_invalid_value(call, "platform:device-model", model);
    txn_create(txn, CLASS_vusb, row);
    return OK;
}

struct error *vusb_create(struct call *call, const struct vusb_create_args *args, ref_t *result)
{
    char uuid[UUID_TEXT_SIZE];
    struct vusb row;

    row_defaults(&api_classes[CLASS_vusb], &row);
    row.ref = ref_new();
    row.uuid = uuid_new(uuid);
    row.vm = args->vm;
    row.usb_group = args->usb_group;
    row.other_config = args->other_config;
    TRY(vm_update(call, create_txn, &row));
    *result = row.ref;
    return OK;
}

static struct error *destroy_txn(struct txn *txn, void *arg)
{
    ref_t ref = *(const ref_t *)arg;
    struct call *call = txn_call(txn);
    const struct vusb *vusb;
    const struct vm *vm;

    TRY(TXN_GET(txn, vusb, ref, &vusb));
    vm = txn_find(txn, CLASS_vm, vusb->vm);
    if (vusb->currently_attached)
        return err_operation_not_allowed(call, arena_printf(call->arena,
                                                            "VUSB '%s' still attached to '%s'",
                                                            vusb->uuid, vm ? vm->uuid : ""));
    if (vusb->current_operations.n)
        return busy_error(call, CLASS_vusb, ref, &enum_vusb_operations, &vusb->current_operations);
    if (vm && vm_is_changing(vm))
        return busy_error(call, CLASS_vm, vm->ref, &enum_vm_operations, &vm->current_operations);
    txn_destroy(txn, CLASS_vusb, ref);
    return OK;
}

struct error *vusb_destroy(struct call *call, const struct vusb_destroy_args *args)
{
    ref_t ref = args->self;

    return vm_update(call, destroy_txn, &ref);
}

/*** unplug ***/

uint64_t vusb_allowed(const struct db_snap *snap, const struct vusb *vusb)
{
    const struct vm *vm = root_get(snap_root(snap), CLASS_vm, vusb->vm);

    return vm && vusb->currently_attached && !vusb->current_operations.n && !vm_is_changing(vm) &&
                   (vm->power_state == VM_RUNNING || vm->power_state == VM_PAUSED)
               ? 1ull << VUSB_OP_UNPLUG
               : 0;
}

static struct error *check_unplug(struct txn *txn, void *arg)
{
    ref_t ref = *(const ref_t *)arg;
    struct call *call = txn_call(txn);
    const struct vusb *vusb;
    const struct vm *vm;

    TRY(TXN_GET(txn, vusb, ref, &vusb));
    TRY(TXN_GET(txn, vm, vusb->vm, &vm));
    if (vusb->current_operations.n)
        return busy_error(call, CLASS_vusb, ref, &enum_vusb_operations, &vusb->current_operations);
    if (vm_is_changing(vm))
        return busy_error(call, CLASS_vm, vm->ref, &enum_vm_operations, &vm->current_operations);
    TRY(txn_check_has_domain(txn, vm->ref));
    return vusb->currently_attached ? OK : err_device_already_detached(call, call_ref(call, ref));
}

static struct error *record_detached(struct txn *txn, void *arg)
{
    txn_vusb_detached(txn, *(const ref_t *)arg);
    return OK;
}

struct error *vusb_unplug(struct call *call, const struct vusb_unplug_args *args)
{
    struct vusb_unplug_intent intent = {args->self};
    ref_t ref = args->self;
    const struct vusb *vusb;
    struct hv_request rq;
    const char *vm_uuid;
    struct error *e;
    AUTO(op) op = {0};

    TRY(op_begin(call,
                 &(struct op_spec){.kind = INTENT_vusb_unplug,
                                   .intent = &intent,
                                   .n_holds = 1,
                                   .holds = &(struct op_hold){CLASS_vusb, ref, VUSB_OP_UNPLUG},
                                   .check = check_unplug,
                                   .arg = &ref},
                 &op));
    TRY(op_step(&op, "begun", 0.1));
    TRY(DB_GET(call, vusb, ref, &vusb));
    vm_uuid = ((const struct vm *)db_find(call, CLASS_vm, vusb->vm))->uuid;
    rq = op_hv_request(&op, "unplug");
    e = hv_usb_unplug(call->xapid->hv, &rq, vm_uuid, vusb->uuid);
    TRY(hotplug_settle(&op, "unplug", e));
    error_ignore(op_step(&op, "unplugged", 0.8)); /* it is, whatever comes */
    return op_commit_forward(&op, record_detached, &ref);
}

struct error *vusb_unplug_recover(struct call *call, struct op *op,
                                  const struct vusb_unplug_intent *intent)
{
    ref_t ref = intent->vusb;
    bool happened;

    (void)call;
    TRY(hotplug_happened(op, "unplug", &happened));
    return happened ? op_commit(op, record_detached, &ref) : OK;
}
