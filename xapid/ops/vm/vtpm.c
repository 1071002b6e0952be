/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vtpm.c -- VTPM.create, destroy, get_contents, set_contents.
 *
 * What a TPM keeps are secrets of the guest: they lie in a row of xapid's own, which no client
 * reads and no event tells, and are handed only to programs of this host.
 */
#include "xapid/ops/vm/vtpm.h"

#include <string.h>

#include "xapid/db/row.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/vm/lifecycle.h"

#define CONTENTS_MAX (512 << 10) /* bytes: one change of the database holds them */

/*** what is stored ***/

static ref_t contents_of(struct txn *txn, ref_t vtpm)
{
    struct refs rows = txn_referrers(txn, FIELD_vtpm_contents_vtpm, vtpm);

    return rows.n ? rows.v[0] : REF_NULL;
}

static void store(struct txn *txn, ref_t vtpm, const char *contents)
{
    ref_t old = contents_of(txn, vtpm);
    struct vtpm_contents row;

    if (!ref_is_null(old)) {
        TXN_SET(txn, vtpm_contents, old, contents, contents);
        return;
    }
    row_defaults(&api_classes[CLASS_vtpm_contents], &row);
    row.ref = ref_new();
    row.vtpm = vtpm;
    row.contents = contents;
    txn_create(txn, CLASS_vtpm_contents, &row);
}

void txn_vtpm_contents_destroy(struct txn *txn, ref_t vtpm)
{
    ref_t row = contents_of(txn, vtpm);

    if (!ref_is_null(row))
        txn_destroy(txn, CLASS_vtpm_contents, row);
}

/*** rows ***/

static ref_t make(struct txn *txn, ref_t vm, bool is_unique, bool is_protected)
{
    char uuid[UUID_TEXT_SIZE];
    struct vtpm row;

    row_defaults(&api_classes[CLASS_vtpm], &row);
    row.ref = ref_new();
    row.uuid = uuid_new(uuid);
    row.vm = vm;
    row.is_unique = is_unique;
    row.is_protected = is_protected;
    txn_create(txn, CLASS_vtpm, &row);
    return row.ref;
}

void txn_vtpms_twin(struct txn *txn, ref_t source, ref_t twin, bool snapshot)
{
    struct refs all = txn_referrers(txn, FIELD_vtpm_vm, source);

    for (size_t i = 0; i < all.n; i++) {
        const struct vtpm *vtpm = txn_find(txn, CLASS_vtpm, all.v[i]);
        const struct vtpm_contents *old =
            txn_find(txn, CLASS_vtpm_contents, contents_of(txn, vtpm->ref));
        ref_t new = make(txn, twin, vtpm->is_unique, vtpm->is_protected);

        if (old && (snapshot || !vtpm->is_unique))
            store(txn, new, old->contents);
    }
}

struct creating {
    ref_t vm, made;
    bool is_unique;
};

static struct error *create_txn(struct txn *txn, void *arg)
{
    struct creating *c = arg;
    const struct vm *vm;

    TRY(txn_vm_check(txn, c->vm, VM_OP_CREATE_VTPM, &vm));
    if (txn_referrers(txn, FIELD_vtpm_vm, c->vm).n)
        return err_vtpm_max_amount_reached(txn_call(txn), "1");
    c->made = make(txn, c->vm, c->is_unique, false);
    return OK;
}

struct error *vtpm_create(struct call *call, const struct vtpm_create_args *args, ref_t *result)
{
    struct creating c = {.vm = args->vm, .is_unique = args->is_unique};

    TRY(vm_update(call, create_txn, &c));
    *result = c.made;
    return OK;
}

static struct error *destroy_txn(struct txn *txn, void *arg)
{
    ref_t ref = *(const ref_t *)arg;
    struct call *call = txn_call(txn);
    const struct vtpm *vtpm;
    const struct vm *vm;

    TRY(TXN_GET(txn, vtpm, ref, &vtpm));
    TRY(TXN_GET(txn, vm, vtpm->vm, &vm));
    if (vm->power_state != VM_HALTED)
        return err_vm_bad_power_state(call, call_ref(call, vm->ref), "halted",
                                      vm_power_state_text(vm->power_state));
    /* A start that is under way may hand its contents to the guest. */
    if (vm->current_operations.n)
        return err_other_operation_in_progress(
            call, "VM", call_ref(call, vm->ref),
            enum_vm_operations.names[vm->current_operations.v[0].value],
            vm->current_operations.v[0].key);
    txn_vtpm_contents_destroy(txn, ref);
    txn_destroy(txn, CLASS_vtpm, ref);
    return OK;
}

struct error *vtpm_destroy(struct call *call, const struct vtpm_destroy_args *args)
{
    ref_t self = args->self;

    return vm_update(call, destroy_txn, &self);
}

/*** contents ***/

struct error *vtpm_get_contents(struct call *call, const struct vtpm_get_contents_args *args,
                                const char **result)
{
    const struct vtpm_contents *row = NULL;
    const struct vtpm *vtpm;
    struct refs rows;

    TRY(DB_GET(call, vtpm, args->self, &vtpm));
    rows = db_referrers(call, FIELD_vtpm_contents_vtpm, args->self);
    if (rows.n)
        row = db_find(call, CLASS_vtpm_contents, rows.v[0]);
    *result = row ? row->contents : "";
    return OK;
}

struct setting {
    ref_t vtpm;
    const char *contents;
};

static struct error *set_txn(struct txn *txn, void *arg)
{
    const struct setting *s = arg;
    const struct vtpm *vtpm;

    TRY(TXN_GET(txn, vtpm, s->vtpm, &vtpm));
    store(txn, s->vtpm, s->contents);
    return OK;
}

/* Binary state travels as base64, and has to come back as it went. */
static bool is_base64(const char *text)
{
    size_t n = strlen(text);
    size_t digits =
        strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");

    return n % 4 == 0 && n - digits <= 2 && strspn(text + digits, "=") == n - digits;
}

struct error *vtpm_set_contents(struct call *call, const struct vtpm_set_contents_args *args)
{
    if (strlen(args->contents) > CONTENTS_MAX)
        return err_invalid_value(call, "contents", "more than a virtual TPM may keep");
    if (!is_base64(args->contents))
        return err_invalid_value(call, "contents", "not base64");
    return db_update(call, set_txn, &(struct setting){args->self, args->contents});
}

/*** running ***/

struct error *vm_check_vtpm(struct call *call, const struct vm *vm)
{
    if (!db_referrers(call, FIELD_vtpm_vm, vm->ref).n ||
        strcmp(call->xapid->options.hypervisor, "sim") == 0)
        return OK;
    return err_operation_not_allowed(
        call, "The VM has a virtual TPM, which this host cannot give to its guests yet.");
}
