/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * provision.c -- VM.provision: a template becomes a VM, with the disks its other_config asks for.
 * They are made first; one write-set then records them, their VBDs and that it is no template any
 * more.
 */
#include <string.h>

#include "libxapi/value/value.h"
#include "xapid/db/row.h"
#include "xapid/ops/vm/device.h"
#include "xapid/ops/vm/disks_xml.h"
#include "xapid/ops/vm/lifecycle.h"
#include "xapid/ops/vm/plans.h"

struct provisioning {
    struct vm_provision_intent intent;
    size_t n;
    struct disk_wanted *wanted; /* one for each plan */
    struct disk_plans plans;
};

static struct error *plan(struct call *call, const struct vm *vm, struct provisioning *p)
{
    const char *xml = strmap_get(&vm->other_config, "disks"),
               *script = strmap_get(&vm->other_config, "postinstall"), *why;

    if (script && *script)
        return err_not_implemented(call, "VM.provision with a postinstall script");
    if (!xml || !*xml)
        return OK;
    if (!disks_xml_read(call->arena, xml, &p->n, &p->wanted, &why))
        return err_invalid_value(call, "other_config:disks", why);
    for (size_t i = 0; i < p->n; i++) {
        const struct disk_wanted *w = &p->wanted[i];
        struct strpair *hint = arena_array(call->arena, struct strpair, 1);
        struct vdi_plan disk = {
            .vdi = ref_new(),
            .how = VDI_EMPTY,
            .name_label = arena_printf(call->arena, "%s %s", vm->name_label, w->device),
            .name_description = "Made for a VM as its template asks",
            .virtual_size = w->size,
            .own_fields = true,
            .type = w->type,
        };

        *hint = (struct strpair){"vmhint", vm->uuid};
        disk.sm_config = (struct strmap){1, hint};
        TRY(db_by_uuid(call, CLASS_sr, w->sr, &disk.sr));
        disk_plans_add(call->arena, &p->plans, &disk);
    }
    return disk_plans_check(call, &p->plans);
}

/* The template's own disks may have taken a number meanwhile. */
static struct error *check_devices(struct txn *txn, const struct provisioning *p)
{
    struct refs vbds = txn_referrers(txn, FIELD_vbd_vm, p->intent.vm);

    for (size_t i = 0; i < vbds.n; i++) {
        const struct vbd *vbd = txn_find(txn, CLASS_vbd, vbds.v[i]);

        for (size_t j = 0; j < p->n; j++)
            if (vbd_device_number(vbd->userdevice) == vbd_device_number(p->wanted[j].device))
                return err_device_already_exists(txn_call(txn), p->wanted[j].device);
    }
    return OK;
}

static struct error *check_provision(struct txn *txn, void *arg)
{
    const struct provisioning *p = arg;
    const struct vm *vm;

    TRY(txn_vm_check(txn, p->intent.vm, VM_OP_PROVISION, &vm));
    TRY(check_devices(txn, p));
    return txn_disk_plans_check(txn, &p->plans);
}

static void create_vbd(struct txn *txn, ref_t vm, const struct disk_wanted *wanted, ref_t vdi)
{
    static const struct strpair owner = {"owner", ""};
    struct vbd row;
    char uuid[UUID_TEXT_SIZE];

    row_defaults(&api_classes[CLASS_vbd], &row);
    row.ref = ref_new();
    row.uuid = uuid_new(uuid);
    row.vm = vm;
    row.vdi = vdi;
    row.userdevice = arena_printf(txn_arena(txn), "%d", vbd_device_number(wanted->device));
    row.bootable = wanted->bootable;
    row.mode = VBD_RW;
    row.type = VBD_TYPE_DISK;
    row.unpluggable = true;
    row.other_config = (struct strmap){1, &owner};
    txn_create(txn, CLASS_vbd, &row);
}

static struct error *record_provisioned(struct txn *txn, void *arg)
{
    const struct provisioning *p = arg;

    TRY(check_devices(txn, p));
    TRY(txn_disk_plans_made(txn, &p->plans));
    for (size_t i = 0; i < p->n; i++)
        create_vbd(txn, p->intent.vm, &p->wanted[i], p->plans.v[i].vdi);
    TXN_SET(txn, vm, p->intent.vm, is_a_template, false);
    txn_strmap_remove(txn, FIELD_vm_other_config, p->intent.vm, "disks");
    return OK;
}

static struct error *make(struct op *op, struct provisioning *p)
{
    AUTO(disk_plans) plans = p->plans;
    struct error *e = disk_plans_make(op, &plans, 0.0, 0.9);

    p->plans = plans;
    if (!e)
        e = op_commit(op, record_provisioned, p);
    if (!e)
        disk_plans_keep(&plans);
    return e;
}

struct error *vm_provision(struct call *call, const struct vm_provision_args *args)
{
    struct op_hold holds[OP_MAX_HOLDS] = {{CLASS_vm, args->vm, VM_OP_PROVISION}};
    struct provisioning p = {.intent = {.vm = args->vm}};
    AUTO(op) op = {0};
    const struct vm *vm;
    size_t n = 1;

    TRY(DB_GET(call, vm, args->vm, &vm));
    TRY(vm_check_unless_busy(call, vm, VM_OP_PROVISION));
    TRY(plan(call, vm, &p));
    TRY(disk_plans_hold(call, &p.plans, holds, &n));
    p.intent.disks = disk_plans_text(call->arena, &p.plans);
    TRY(op_begin(call,
                 &(struct op_spec){.kind = INTENT_vm_provision,
                                   .intent = &p.intent,
                                   .n_holds = n,
                                   .holds = holds,
                                   .check = check_provision,
                                   .arg = &p},
                 &op));
    return make(&op, &p);
}

struct error *vm_provision_recover(struct call *call, struct op *op,
                                   const struct vm_provision_intent *intent)
{
    struct disk_plans plans;

    if (!disk_plans_read(call->arena, &intent->disks, &plans))
        return error_internal(call->arena, "the intent's list of disks cannot be read");
    TRY(disk_plans_unmake(call, &plans));
    return op_commit(op, NULL, NULL);
}
