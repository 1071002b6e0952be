/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * recovery.c -- machines of a pool that is lost come back from the copy of its database on a disk:
 * VDI.open_database, VM.recover, VM_appliance.recover.
 *
 * The copy is read into memory and belongs to a session of its own, with the rights of the role
 * read-only: each call with that session reads the copy instead of the pool's database.  To recover
 * a machine is to export its records from there and to import them here; its disks are found by
 * their uuids in the repositories that are attached.
 */
#include <string.h>

#include "xapid/auth/session.h"
#include "xapid/db/row.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/storage/vdi_ops.h"
#include "xapid/ops/vm/recover.h"
#include "xapid/transfer/disk.h"
#include "xapid/transfer/import.h"
#include "xapid/transfer/inventory.h"
#include "xapid/transfer/replica.h"

/*** a session on a copy ***/

static struct error *read_copy(struct call *call, ref_t vdi, struct db_root **root)
{
    AUTO(op) op = {0};
    AUTO(open_disk) disk = {0};

    TRY(vdi_begin_reading(call, vdi, &op));
    TRY(open_disk(call, vdi, false, &disk));
    return replica_read(call, disk.io, root);
}

struct error *vdi_open_database(struct call *call, const struct vdi_open_database_args *args,
                                ref_t *result)
{
    struct session_request request = {.role = ROLE_READ_ONLY, .originator = call->originator};
    const struct vdi *vdi;
    struct db_root *root;

    TRY(DB_GET(call, vdi, args->self, &vdi));
    if (vdi->type != VDI_TYPE_METADATA)
        return err_vdi_incompatible_type(call, call_ref(call, args->self),
                                         enum_name(&enum_vdi_type, (int)vdi->type));
    TRY(read_copy(call, args->self, &root));
    request.copy = (struct db_snap *)root;
    if (call->session) {
        request.user = call->session->user;
        request.subject = call->session->subject;
    }
    *result = session_create(call->xapid->sessions, &request);
    return OK;
}

struct error *vdi_read_database_pool_uuid(struct call *call,
                                          const struct vdi_read_database_pool_uuid_args *args,
                                          const char **result)
{
    AUTO(op) op = {0};
    AUTO(open_disk) disk = {0};
    const struct vdi *vdi;

    *result = "";
    TRY(DB_GET(call, vdi, args->self, &vdi));
    if (vdi->type != VDI_TYPE_METADATA)
        return OK;
    TRY(vdi_begin_reading(call, args->self, &op));
    TRY(open_disk(call, args->self, false, &disk));
    return replica_pool(call, disk.io, result);
}

/*** machines ***/

struct recovered {
    struct refs vms;
    const struct vm_appliance *appliance; /* the row they belong to, as it would be here, or NULL */
};

/* The appliance of that uuid, which may be here already. */
static ref_t txn_appliance(struct txn *txn, const struct vm_appliance *row)
{
    struct refs same = txn_referrers(txn, FIELD_vm_appliance_uuid, index_key_string(row->uuid));

    for (size_t i = 0; i < same.n; i++) {
        const struct vm_appliance *here = txn_find(txn, CLASS_vm_appliance, same.v[i]);

        if (here && strcmp(here->uuid, row->uuid) == 0)
            return here->ref;
    }
    txn_create(txn, CLASS_vm_appliance, row);
    return row->ref;
}

static struct error *record_recovered(struct txn *txn, void *arg)
{
    const struct recovered *r = arg;
    ref_t appliance = r->appliance ? txn_appliance(txn, r->appliance) : REF_NULL;

    for (size_t i = 0; i < r->vms.n; i++) {
        const struct vm *vm = txn_find(txn, CLASS_vm, r->vms.v[i]);

        if (!vm)
            continue;
        TXN_SET(txn, vm, vm->ref, version, vm->version + 1);
        TXN_SET(txn, vm, vm->ref, appliance, appliance);
    }
    return OK;
}

/* First the machines, all or none; then what they have become is noted.  A crash between leaves
 * machines that can be recovered again, with force. */
static struct error *recover(struct call *call, const struct inventory *inventory, bool force,
                             const struct vm_appliance *appliance, struct call *target)
{
    const struct import_options options = {.metadata = true, .restore = true, .force = force};
    struct recovered recovered = {.appliance = appliance};
    AUTO(buf) text = {0};

    inventory_write(call, inventory, &text);
    TRY(import_records(target, text.data, text.len, &options, &recovered.vms));
    return db_update(target, record_recovered, &recovered);
}

struct error *vm_recover(struct call *call, const struct vm_recover_args *args)
{
    struct inventory inventory = {.options = {.snapshots = true, .preserve_power_state = true}};
    AUTO(recovery_target) target = {0};
    const struct vm *vm;

    TRY(DB_GET(call, vm, args->self, &vm));
    TRY(recovery_target(call, args->session_to, &target));
    TRY(vm_check_recovery(call, vm, &target.call));
    inventory_add_vm(call, &inventory, vm);
    return recover(call, &inventory, args->force, NULL, &target.call);
}

struct error *vm_appliance_recover(struct call *call, const struct vm_appliance_recover_args *args)
{
    struct inventory inventory = {.options = {.snapshots = true, .preserve_power_state = true}};
    struct refs machines = db_referrers(call, FIELD_vm_appliance, args->self);
    AUTO(recovery_target) target = {0};
    const struct vm_appliance *appliance;
    struct vm_appliance row;

    TRY(DB_GET(call, vm_appliance, args->self, &appliance));
    TRY(recovery_target(call, args->session_to, &target));
    TRY(appliance_check_recovery(call, args->self, &target.call));
    for (size_t i = 0; i < machines.n; i++)
        inventory_add_vm(call, &inventory, db_find(call, CLASS_vm, machines.v[i]));
    row_defaults(&api_classes[CLASS_vm_appliance], &row);
    row.ref = ref_new();
    row.uuid = appliance->uuid;
    row.name_label = appliance->name_label;
    row.name_description = appliance->name_description;
    return recover(call, &inventory, args->force, &row, &target.call);
}
