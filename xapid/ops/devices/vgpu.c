/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vgpu.c -- virtual GPUs of a VM: what it is to be given when it starts. */
#include <string.h>

#include "libxapi/value/value.h"
#include "xapid/db/row.h"
#include "xapid/ops/devices/refresh.h"
#include "xapid/ops/vm/lifecycle.h"

/* Places on a guest's PCI bus. */
#define VGPU_LIMIT 16

/* The number of a place; -1: it is none. */
static int device_number(const char *text)
{
    int64_t n;

    return int_from_text(text, &n) && n >= 0 && n < VGPU_LIMIT ? (int)n : -1;
}

/* Null stands for the whole card. */
static struct error *choose_type(struct txn *txn, struct vgpu *row, const struct vgpu_type **out)
{
    const struct vgpu_type *type;
    struct db_walk walk;

    if (!ref_is_null(row->type))
        return TXN_GET(txn, vgpu_type, row->type, out);
    db_walk(txn_snap(txn), CLASS_vgpu_type, &walk);
    while ((type = db_walk_next(&walk)))
        if (strcmp(type->identifier, PASSTHROUGH_TYPE) == 0) {
            row->type = type->ref;
            return TXN_GET(txn, vgpu_type, type->ref, out);
        }
    /* Only a host with a graphics processor has made it. */
    return err_gpu_group_contains_no_pgpus(txn_call(txn), call_ref(txn_call(txn), row->gpu_group));
}

static struct error *check_others(struct txn *txn, const struct vgpu *row,
                                  const struct vgpu_type *type)
{
    struct refs others = txn_referrers(txn, FIELD_vgpu_vm, row->vm);
    struct call *call = txn_call(txn);

    for (size_t i = 0; i < others.n; i++) {
        const struct vgpu *other = txn_find(txn, CLASS_vgpu, others.v[i]);

        if (strcmp(other->device, row->device) == 0)
            return err_device_already_exists(call, row->device);
        if (!refs_contain(&type->compatible_types_in_vm, other->type))
            return err_vgpu_type_not_compatible(call, call_ref(call, row->type));
    }
    return others.n < VGPU_LIMIT ? OK : err_vm_pci_bus_full(call, call_ref(call, row->vm));
}

static struct error *create_txn(struct txn *txn, void *arg)
{
    struct vgpu row = *(const struct vgpu *)arg;
    struct call *call = txn_call(txn);
    const struct vgpu_type *type;
    const struct gpu_group *group;
    const struct vm *vm;

    TRY(TXN_GET(txn, vm, row.vm, &vm));
    TRY(TXN_GET(txn, gpu_group, row.gpu_group, &group));
    if (vm->power_state != VM_HALTED)
        return err_vm_bad_power_state(call, call_ref(call, row.vm), "halted",
                                      vm_power_state_text(vm->power_state));
    TRY(choose_type(txn, &row, &type));
    TRY(check_others(txn, &row, type));
    txn_create(txn, CLASS_vgpu, &row);
    return OK;
}

struct error *vgpu_create(struct call *call, const struct vgpu_create_args *args, ref_t *result)
{
    int number = device_number(args->device);
    char uuid[UUID_TEXT_SIZE];
    struct vgpu row;

    if (number < 0)
        return err_invalid_device(call, args->device);
    row_defaults(&api_classes[CLASS_vgpu], &row);
    row.ref = ref_new();
    row.uuid = uuid_new(uuid);
    row.vm = args->vm;
    row.gpu_group = args->gpu_group;
    row.device = arena_printf(call->arena, "%d", number);
    row.other_config = args->other_config;
    row.type = args->type;
    TRY(vm_update(call, create_txn, &row));
    *result = row.ref;
    return OK;
}

static struct error *destroy_txn(struct txn *txn, void *arg)
{
    ref_t ref = *(const ref_t *)arg;
    const struct vgpu *vgpu;
    const struct vm *vm;

    TRY(TXN_GET(txn, vgpu, ref, &vgpu));
    vm = txn_find(txn, CLASS_vm, vgpu->vm);
    if (vgpu->currently_attached || !ref_is_null(vgpu->scheduled_to_be_resident_on) ||
        (vm && vm->power_state != VM_HALTED))
        return err_operation_not_allowed(txn_call(txn),
                                         "The VM of the virtual GPU has to be halted.");
    txn_destroy(txn, CLASS_vgpu, ref);
    return OK;
}

struct error *vgpu_destroy(struct call *call, const struct vgpu_destroy_args *args)
{
    ref_t ref = args->self;

    return vm_update(call, destroy_txn, &ref);
}
