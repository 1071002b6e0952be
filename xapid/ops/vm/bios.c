/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/vm/bios.h"

#include <string.h>

#include "libxapi/value/value.h"
#include "xapid/ops/vm/checks.h"

#define MAX_LENGTH 512

static const struct strpair general[] = {
    {"bios-vendor", "Xen"},
    {"bios-version", ""},
    {"system-manufacturer", "Xen"},
    {"system-product-name", "HVM domU"},
    {"system-version", ""},
    {"system-serial-number", ""},
    {"baseboard-manufacturer", ""},
    {"baseboard-product-name", ""},
    {"baseboard-version", ""},
    {"baseboard-serial-number", ""},
    {"baseboard-asset-tag", ""},
    {"baseboard-location-in-chassis", ""},
    {"enclosure-asset-tag", ""},
    {"hp-rombios", ""},
    {"oem-1", "Xen"},
    {"oem-2", "MS_VM_CERT/SHA1/bdbeb6e0a816d43fa6d3fe8aaef04c2bad9d3e3d"},
};

static const struct strmap general_map = {ARRAY_SIZE(general), general};

void txn_vm_default_bios_strings(struct txn *txn, const struct vm *vm)
{
    if (vm->bios_strings.n == 0 && vm_domain_type(vm) == DOMAIN_TYPE_HVM)
        TXN_SET(txn, vm, vm->ref, bios_strings, general_map);
}

static bool is_settable(const char *key)
{
    if (strncmp(key, "oem-", 4) == 0 || strcmp(key, "hp-rombios") == 0)
        return false;
    return strmap_get(&general_map, key) != NULL;
}

static struct error *check_text(struct call *call, const char *key, const char *value)
{
    bool good = *value && strlen(value) <= MAX_LENGTH;

    for (const char *c = value; *c && good; c++)
        good = *c >= ' ' && *c <= '~';
    return good ? OK : err_invalid_value(call, key, value);
}

struct bios_change {
    ref_t vm;
    struct strmap strings;
};

static struct error *set_txn(struct txn *txn, void *arg)
{
    const struct bios_change *s = arg;
    const struct vm *vm;

    TRY(TXN_GET(txn, vm, s->vm, &vm));
    if (vm->bios_strings.n)
        return err_vm_bios_strings_already_set(txn_call(txn));
    TXN_SET(txn, vm, s->vm, bios_strings, s->strings);
    return OK;
}

struct error *vm_set_bios_strings(struct call *call, const struct vm_set_bios_strings_args *args)
{
    struct bios_change s = {args->self, general_map};

    for (size_t i = 0; i < args->value.n; i++) {
        const struct strpair *p = &args->value.v[i];

        if (!is_settable(p->key))
            return err_invalid_value(call, p->key, "unknown key");
        TRY(check_text(call, p->key, p->value));
        s.strings = strmap_with(call->arena, s.strings, p->key, p->value);
    }
    return db_update(call, set_txn, &s);
}

struct error *vm_copy_bios_strings(struct call *call, const struct vm_copy_bios_strings_args *args)
{
    const struct host *host;
    const struct vm *vm;

    TRY(DB_GET(call, vm, args->vm, &vm));
    TRY(DB_GET(call, host, args->host, &host));
    return db_update(
        call, set_txn,
        &(struct bios_change){args->vm, host->bios_strings.n ? host->bios_strings : general_map});
}
