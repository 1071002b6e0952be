/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* query.c -- messages of a VM that change nothing: what it allows, where it can run. */
#include <string.h>

#include "libxapi/value/value.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/vm/checks.h"
#include "xapid/ops/vm/device.h"
#include "xapid/ops/vm/dump.h"
#include "xapid/ops/vm/lifecycle.h"
#include "xapid/ops/vm/placement.h"

struct error *vm_assert_operation_valid(struct call *call,
                                        const struct vm_assert_operation_valid_args *args)
{
    const struct vm *vm;

    TRY(DB_GET(call, vm, args->self, &vm));
    return vm_check(call, call->snap, vm, args->op);
}

/* What the agent of a driver domain says. */
struct error *vm_query_services(struct call *call, const struct vm_query_services_args *args,
                                struct strmap *result)
{
    const struct vm_guest_metrics *metrics;
    const char *mark;
    const struct vm *vm;

    TRY(DB_GET(call, vm, args->self, &vm));
    mark = strmap_get(&vm->other_config, "is_system_domain");
    if (!mark || strcmp(mark, "true") != 0)
        return err_not_system_domain(call, call_ref(call, args->self));
    metrics = db_find(call, CLASS_vm_guest_metrics, vm->guest_metrics);
    *result = metrics ? metrics->services : (struct strmap){0};
    return OK;
}

static struct error *touch_txn(struct txn *txn, void *arg)
{
    const ref_t *vm = arg;

    txn_touch(txn, CLASS_vm, *vm);
    return OK;
}

/* They are computed whenever they are read; who watches is told to look again. */
struct error *vm_update_allowed_operations(struct call *call,
                                           const struct vm_update_allowed_operations_args *args)
{
    ref_t ref = args->self;
    const struct vm *vm;

    TRY(DB_GET(call, vm, ref, &vm));
    return db_update(call, touch_txn, &ref);
}

struct error *vm_get_allowed_vbd_devices(struct call *call,
                                         const struct vm_get_allowed_vbd_devices_args *args,
                                         struct strings *result)
{
    const struct vm *vm;

    TRY(DB_GET(call, vm, args->vm, &vm));
    *result = vbd_devices_free(call->arena, call->snap, args->vm);
    return OK;
}

struct error *vm_get_allowed_vif_devices(struct call *call,
                                         const struct vm_get_allowed_vif_devices_args *args,
                                         struct strings *result)
{
    const struct vm *vm;

    TRY(DB_GET(call, vm, args->vm, &vm));
    *result = vif_devices_free(call->arena, call->snap, args->vm);
    return OK;
}

struct error *vm_get_possible_hosts(struct call *call,
                                    const struct vm_get_possible_hosts_args *args,
                                    struct refs *result)
{
    const struct place_rules rules = {.enabled = true};
    struct hosts_ranked all;
    const struct vm *vm;
    ref_t *v;

    TRY(DB_GET(call, vm, args->vm, &vm));
    all = hosts_rank(call, vm, rules);
    v = arena_array(call->arena, ref_t, all.fitting + 1);
    for (size_t i = 0; i < all.fitting; i++)
        v[i] = all.v[i].host;
    *result = (struct refs){all.fitting, v};
    return OK;
}

struct error *vm_assert_can_boot_here(struct call *call,
                                      const struct vm_assert_can_boot_here_args *args)
{
    const struct place_rules rules = {.memory = true, .enabled = true};
    const struct host *host;
    const struct vm *vm;

    TRY(DB_GET(call, vm, args->self, &vm));
    TRY(DB_GET(call, host, args->host, &host));
    TRY(vm_check_vcpus(call, vm));
    TRY(vm_check_shadow_multiplier(call, vm->hvm_shadow_multiplier));
    TRY(vm_check_memory(call, vm));
    TRY(vm_check_platform(call, vm));
    return host_can_run(call, call->snap, host, vm, rules);
}

/*** agility ***/

struct error *vm_assert_agile(struct call *call, const struct vm_assert_agile_args *args)
{
    struct refs vbds, vifs;
    const struct vm *vm;

    TRY(DB_GET(call, vm, args->self, &vm));
    if (db_referrers(call, FIELD_vgpu_vm, vm->ref).n)
        return err_vm_has_vgpu(call, call_ref(call, vm->ref));
    if (db_referrers(call, FIELD_vusb_vm, vm->ref).n)
        return err_vm_has_vusbs(call, call_ref(call, vm->ref));
    vbds = db_referrers(call, FIELD_vbd_vm, vm->ref);
    vifs = db_referrers(call, FIELD_vif_vm, vm->ref);
    for (size_t i = 0; i < vbds.n; i++) {
        const struct vbd *vbd = db_find(call, CLASS_vbd, vbds.v[i]);
        const struct vdi *vdi = db_find(call, CLASS_vdi, vbd->vdi);

        if (vdi)
            TRY(vm_check_sr_is_shared(call, vdi->sr));
    }
    for (size_t i = 0; i < vifs.n; i++) {
        const struct vif *vif = db_find(call, CLASS_vif, vifs.v[i]);

        TRY(vm_check_network_is_shared(call, vif->network));
    }
    return OK;
}

/*** the last boot ***/

struct error *vm_get_boot_record(struct call *call, const struct vm_get_boot_record_args *args,
                                 const struct vm **result)
{
    struct vm_setting *settings;
    const struct vm *vm;
    struct vm *booted;
    size_t n;

    TRY(DB_GET(call, vm, args->self, &vm));
    *result = booted = arena_memdup(call->arena, vm, sizeof *vm);
    /* A VM that never booted, or a record from elsewhere: the present one. */
    if (!vm_undump(call->arena, call->snap, vm->last_booted_record, &n, &settings))
        return OK;
    for (size_t i = 0; i < n; i++)
        memcpy((char *)booted + settings[i].field->offset, settings[i].value,
               settings[i].field->type->size);
    return OK;
}
