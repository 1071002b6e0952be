/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* create.c -- VM.create and VM.destroy.  A VM without a memory image is only records; the image is
 * removed before them. */
#include <string.h>

#include "libxapi/value/value.h"
#include "xapid/db/row.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/blob.h"
#include "xapid/ops/vm/checks.h"
#include "xapid/ops/vm/gone.h"
#include "xapid/ops/vm/image.h"
#include "xapid/ops/vm/lifecycle.h"
#include "xapid/ops/vm/plans.h"
#include "xapid/ops/vm/vtpm.h"

/*** create ***/

/* Only what a constructor may give: all else has its default. */
static void take_given(const struct vm *given, struct vm *row)
{
    const struct class_desc *class = &api_classes[CLASS_vm];

    row_defaults(class, row);
    for (int i = 0; i < class->n_fields; i++) {
        const struct field_desc *f = &api_fields[class->first_field + i];

        if (field_is_stored(f) && f->flags & (FIELD_CONFIG | FIELD_RW))
            memcpy((char *)row + f->offset, field_in(given, f), f->type->size);
    }
}

static struct strmap resolve_secureboot(struct call *call, const struct vm *row)
{
    const struct pool *pool = db_find(call, CLASS_pool, call->xapid->pool);
    const char *value = strmap_get(&row->platform, "secureboot");

    if (row->is_a_template || !value || strcmp(value, "auto") != 0)
        return row->platform;
    return strmap_with(
        call->arena, row->platform, "secureboot",
        pool && (*pool->uefi_certificates || *pool->custom_uefi_certificates) ? "true" : "false");
}

static const char *arena_uuid(struct call *call)
{
    return uuid_new(arena_alloc(call->arena, UUID_TEXT_SIZE));
}

static void fill_in(struct call *call, struct vm *row)
{
    row->ref = ref_new();
    row->uuid = arena_uuid(call);
    row->domid = -1;
    if (row->power_state != VM_SUSPENDED) {
        row->power_state = VM_HALTED;
        row->suspend_vdi = REF_NULL;
    }
    if (row->domain_type == DOMAIN_TYPE_UNSPECIFIED)
        row->domain_type = vm_domain_type_of_policy(row->hvm_boot_policy);
    if (strcmp(row->generation_id, "0:0") == 0)
        row->generation_id = arena_uuid(call);
    if (!strmap_get(&row->other_config, "mac_seed"))
        row->other_config =
            strmap_with(call->arena, row->other_config, "mac_seed", arena_uuid(call));
    row->platform = resolve_secureboot(call, row);
    row->memory_overhead = vm_memory_overhead(row);
    row->ha_always_run = false;
    row->is_vmss_snapshot = false;
    row->protection_policy = REF_NULL;
}

struct creation {
    struct vm vm;
    struct vm_metrics metrics;
};

static struct error *create_txn(struct txn *txn, void *arg)
{
    const struct creation *c = arg;

    txn_create(txn, CLASS_vm_metrics, &c->metrics);
    txn_create(txn, CLASS_vm, &c->vm);
    return OK;
}

struct error *vm_create(struct call *call, const struct vm_create_args *args, ref_t *result)
{
    struct creation c;

    take_given(args->args, &c.vm);
    TRY(vm_check_vcpus(call, &c.vm));
    TRY(vm_check_shadow_multiplier(call, c.vm.hvm_shadow_multiplier));
    TRY(vm_check_memory(call, &c.vm));
    TRY(vm_check_platform(call, &c.vm));
    if (c.vm.power_state == VM_SUSPENDED && !*c.vm.last_booted_record)
        return err_invalid_value(call, "last_booted_record",
                                 "A suspended VM needs the record of its last boot.");
    fill_in(call, &c.vm);
    row_defaults(&api_classes[CLASS_vm_metrics], &c.metrics);
    c.metrics.ref = ref_new();
    c.metrics.uuid = arena_uuid(call);
    c.vm.metrics = c.metrics.ref;
    TRY(db_update(call, create_txn, &c));
    *result = c.vm.ref;
    return OK;
}

/*** destroy ***/

/* Rows that are nothing without the VM. */
static void destroy_parts(struct txn *txn, const struct vm *vm)
{
    static const int owners[] = {FIELD_vbd_vm,  FIELD_vif_vm,  FIELD_console_vm,  FIELD_vgpu_vm,
                                 FIELD_vusb_vm, FIELD_vtpm_vm, FIELD_crashdump_vm};

    for (size_t i = 0; i < ARRAY_SIZE(owners); i++) {
        struct refs rows = txn_referrers(txn, owners[i], vm->ref);

        for (size_t j = 0; j < rows.n && owners[i] == FIELD_vtpm_vm; j++)
            txn_vtpm_contents_destroy(txn, rows.v[j]);
        for (size_t j = 0; j < rows.n; j++)
            txn_destroy(txn, api_fields[owners[i]].class_id, rows.v[j]);
    }
    if (txn_find(txn, CLASS_vm_metrics, vm->metrics))
        txn_destroy(txn, CLASS_vm_metrics, vm->metrics);
    if (txn_find(txn, CLASS_vm_guest_metrics, vm->guest_metrics))
        txn_destroy(txn, CLASS_vm_guest_metrics, vm->guest_metrics);
    txn_blobs_destroy(txn, &vm->blobs);
}

/* What descended from it descends from where it descended from. */
static void adopt_children(struct txn *txn, const struct vm *vm)
{
    struct refs children = txn_referrers(txn, FIELD_vm_parent, vm->ref);

    for (size_t i = 0; i < children.n; i++)
        TXN_SET(txn, vm, children.v[i], parent, vm->parent);
}

void txn_vm_gone(struct txn *txn, ref_t ref)
{
    const struct vm *vm = txn_find(txn, CLASS_vm, ref);

    if (!vm)
        return;
    destroy_parts(txn, vm);
    txn_destroy(txn, CLASS_vm, vm->ref);
}

static struct error *record_destroyed(struct txn *txn, void *arg)
{
    const struct vm_destroy_intent *intent = arg;
    const struct vm *vm = txn_find(txn, CLASS_vm, intent->vm);

    if (vm)
        adopt_children(txn, vm);
    txn_vm_gone(txn, intent->vm);
    return OK;
}

static struct error *check_destroy(struct txn *txn, void *arg)
{
    const struct vm_destroy_intent *intent = arg;
    const struct vm *vm;

    return txn_vm_check(txn, intent->vm, VM_OP_DESTROY, &vm);
}

struct error *vm_destroy(struct call *call, const struct vm_destroy_args *args)
{
    struct op_hold holds[OP_MAX_HOLDS] = {{CLASS_vm, args->self, VM_OP_DESTROY}};
    struct vm_destroy_intent intent = {.vm = args->self};
    const struct vdi *image;
    AUTO(op) op = {0};
    const struct vm *vm;
    struct error *e;
    size_t n = 1;

    TRY(DB_GET(call, vm, args->self, &vm));
    TRY(vm_check_unless_busy(call, vm, VM_OP_DESTROY));
    image = db_find(call, CLASS_vdi, vm->suspend_vdi);
    if (image) {
        intent.image = image->ref;
        op_hold_sr(holds, &n, image->sr, SR_OP_VDI_DESTROY);
    }
    TRY(op_begin(call,
                 &(struct op_spec){.kind = INTENT_vm_destroy,
                                   .intent = &intent,
                                   .n_holds = n,
                                   .holds = holds,
                                   .check = check_destroy,
                                   .arg = &intent},
                 &op));
    if (!image)
        return op_commit(&op, record_destroyed, &intent);
    e = db_update(call, record_destroyed, &intent);
    op.unknown = db_outcome_is_unknown(e);
    return e ? e : vm_image_end(&op, intent.image);
}

struct error *vm_destroy_recover(struct call *call, struct op *op,
                                 const struct vm_destroy_intent *intent)
{
    return db_find(call, CLASS_vm, intent->vm) ? op_commit(op, NULL, NULL)
                                               : vm_image_end(op, intent->image);
}
