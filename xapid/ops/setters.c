/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/setters.h"

#include <string.h>

#include "xapid/ops/vm/checks.h"
#include "xapid/ops/vm/device.h"
#include "xapid/ops/vm/lifecycle.h"
#include "xapid/ops/vm/xenstore.h"

/*** VM ***/

static struct error *is_a_template_txn(struct txn *txn, void *arg)
{
    const struct db_set *set = arg;
    bool value = *(const bool *)set->value;
    const struct vm *vm;

    TRY(TXN_GET(txn, vm, set->ref, &vm));
    if (vm->is_a_template == value)
        return OK;
    /* Xen Orchestra makes its snapshots no templates, so that what it exports of them comes back as
     * a machine.  They cannot be started all the same. */
    if (value) {
        TRY(txn_vm_check(txn, set->ref, VM_OP_MAKE_INTO_TEMPLATE, &vm));
        TXN_SET(txn, vm, set->ref, ha_always_run, false);
    }
    TXN_SET(txn, vm, set->ref, is_a_template, value);
    return OK;
}

static struct error *boot_params_txn(struct txn *txn, void *arg)
{
    const struct db_set *set = arg;
    const struct vm *vm;
    struct vm after;

    TRY(TXN_GET(txn, vm, set->ref, &vm));
    after = *vm;
    after.hvm_boot_params = *(const struct strmap *)set->value;
    TRY(vm_check_platform(txn_call(txn), &after));
    txn_set_value(txn, set->field_id, set->ref, set->value);
    return OK;
}

/*** VBD ***/

static struct error *userdevice_txn(struct txn *txn, void *arg)
{
    const struct db_set *set = arg;
    struct call *call = txn_call(txn);
    const char *value = *(const char *const *)set->value;
    int number = vbd_device_number(value);
    const struct vbd *vbd;
    struct refs others;

    TRY(TXN_GET(txn, vbd, set->ref, &vbd));
    if (number < 0)
        return err_invalid_device(call, value);
    others = txn_referrers(txn, FIELD_vbd_vm, vbd->vm);
    for (size_t i = 0; i < others.n; i++) {
        const struct vbd *other = txn_find(txn, CLASS_vbd, others.v[i]);

        if (other != vbd && vbd_device_number(other->userdevice) == number)
            return err_device_already_exists(call, value);
    }
    TXN_SET(txn, vbd, set->ref, userdevice, arena_printf(txn_arena(txn), "%d", number));
    return OK;
}

/*** the table ***/

static const struct setter {
    int field_id;
    db_txn_fn *fn;
} setters[] = {
    {FIELD_vm_is_a_template, is_a_template_txn},
    {FIELD_vm_hvm_boot_params, boot_params_txn},
    {FIELD_vbd_userdevice, userdevice_txn},
};

struct error *setter_run(struct call *call, const struct field_desc *f, const struct db_set *set)
{
    for (size_t i = 0; i < ARRAY_SIZE(setters); i++)
        if (setters[i].field_id == f->id)
            return vm_update(call, setters[i].fn, (void *)set);
    return db_update(call, db_set_txn, (void *)set);
}

void setter_after(struct call *call, const struct field_desc *f, ref_t ref, const void *before)
{
    if (f->id == FIELD_vm_xenstore_data && before)
        vm_xenstore_changed(call, ref, &((const struct vm *)before)->xenstore_data);
}
