/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* records.c -- objects that are only records: secrets, groups of VMs, appliances. */
#include <string.h>

#include "xapid/db/ready.h"
#include "xapid/db/row.h"
#include "xapid/ops/rows.h"

/* Of a secret; nobody keeps more than a password or a key. */
#define SECRET_LIMIT 65536

/*** secret ***/

struct new_secret {
    const char *uuid; /* NULL: a new one */
    const char *value;
    struct strmap other_config;
    ref_t ref;
};

static struct error *secret_txn(struct txn *txn, void *arg)
{
    struct new_secret *n = arg;
    struct secret row;
    char uuid[UUID_TEXT_SIZE];

    if (n->uuid && txn_referrers(txn, FIELD_secret_uuid, index_key_string(n->uuid)).n)
        return err_db_uniqueness_constraint_violation(txn_call(txn), "secret", "uuid", n->uuid);
    row_defaults(&api_classes[CLASS_secret], &row);
    row.ref = n->ref = ref_new();
    row.uuid = n->uuid ? n->uuid : uuid_new(uuid);
    row.value = n->value;
    row.other_config = n->other_config;
    txn_create(txn, CLASS_secret, &row);
    return OK;
}

static struct error *make_secret(struct call *call, struct new_secret *n, ref_t *result)
{
    TRY(check_room(call, CLASS_secret));
    if (strlen(n->value) > SECRET_LIMIT)
        return err_invalid_value(call, "value", "too long");
    TRY(db_update(call, secret_txn, n));
    *result = n->ref;
    return OK;
}

struct error *secret_create(struct call *call, const struct secret_create_args *args, ref_t *result)
{
    struct new_secret n = {.value = args->args->value, .other_config = args->args->other_config};

    return make_secret(call, &n, result);
}

struct error *secret_introduce(struct call *call, const struct secret_introduce_args *args,
                               ref_t *result)
{
    struct new_secret n = {args->uuid, args->value, args->other_config, REF_NULL};
    uint8_t bytes[16];

    if (!uuid_from_text(args->uuid, bytes))
        return err_invalid_value(call, "uuid", args->uuid);
    return make_secret(call, &n, result);
}

struct error *secret_destroy(struct call *call, const struct secret_destroy_args *args)
{
    return db_update(call, db_destroy_txn, &(struct db_destroy){CLASS_secret, args->self});
}

/*** VM_group ***/

struct error *vm_group_create(struct call *call, const struct vm_group_create_args *args,
                              ref_t *result)
{
    char uuid[UUID_TEXT_SIZE];
    struct vm_group row;

    TRY(check_room(call, CLASS_vm_group));
    row_defaults(&api_classes[CLASS_vm_group], &row);
    row.ref = ref_new();
    row.uuid = uuid_new(uuid);
    row.name_label = args->args->name_label;
    row.name_description = args->args->name_description;
    row.placement = args->args->placement;
    TRY(db_update(call, db_create_txn, &(struct db_create){CLASS_vm_group, &row}));
    *result = row.ref;
    return OK;
}

/* Its VMs belong to no group then. */
struct error *vm_group_destroy(struct call *call, const struct vm_group_destroy_args *args)
{
    return db_update(call, db_destroy_txn, &(struct db_destroy){CLASS_vm_group, args->self});
}

/*** VM_appliance ***/

struct error *vm_appliance_create(struct call *call, const struct vm_appliance_create_args *args,
                                  ref_t *result)
{
    char uuid[UUID_TEXT_SIZE];
    struct vm_appliance row;

    TRY(check_room(call, CLASS_vm_appliance));
    row_defaults(&api_classes[CLASS_vm_appliance], &row);
    row.ref = ref_new();
    row.uuid = uuid_new(uuid);
    row.name_label = args->args->name_label;
    row.name_description = args->args->name_description;
    TRY(db_update(call, db_create_txn, &(struct db_create){CLASS_vm_appliance, &row}));
    *result = row.ref;
    return OK;
}

static struct error *destroy_appliance_txn(struct txn *txn, void *arg)
{
    ref_t ref = *(const ref_t *)arg;
    struct call *call = txn_call(txn);
    const struct vm_appliance *row;

    TRY(TXN_GET(txn, vm_appliance, ref, &row));
    if (row->current_operations.n)
        return err_other_operation_in_progress(call, "VM_appliance", call_ref(call, ref), "", "");
    txn_destroy(txn, CLASS_vm_appliance, ref); /* its VMs lose the reference */
    return OK;
}

struct error *vm_appliance_destroy(struct call *call, const struct vm_appliance_destroy_args *args)
{
    ref_t self = args->self;

    return db_update(call, destroy_appliance_txn, &self);
}
