/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* config.c -- setters of a VM that check or do more than to set their field; memory has a file of
 * its own. */
#include <string.h>

#include "libxapi/value/value.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/ha/guard.h"
#include "xapid/ops/ha/ha.h"
#include "xapid/ops/vm/change.h"
#include "xapid/ops/vm/checks.h"

static const char *decimal(struct call *call, int64_t i)
{
    return arena_printf(call->arena, "%lld", (long long)i);
}

/*** processors ***/

static struct error *change_vcpus(struct txn *txn, const struct vm *vm, int64_t max,
                                  int64_t at_startup)
{
    struct vm after = *vm;

    after.vcpus_max = max;
    after.vcpus_at_startup = at_startup;
    TRY(vm_check_vcpus(txn_call(txn), &after));
    TXN_SET(txn, vm, vm->ref, vcpus_max, max);
    TXN_SET(txn, vm, vm->ref, vcpus_at_startup, at_startup);
    TXN_SET(txn, vm, vm->ref, memory_overhead, vm_memory_overhead(&after));
    return OK;
}

static struct error *change_vcpus_max(struct txn *txn, const struct vm *vm, const void *args)
{
    const struct vm_set_vcpus_max_args *a = args;

    return change_vcpus(txn, vm, a->value, vm->vcpus_at_startup);
}

struct error *vm_set_vcpus_max(struct call *call, const struct vm_set_vcpus_max_args *args)
{
    return vm_change(call, args->self, VM_OP_CHANGING_VCPUS, change_vcpus_max, args);
}

static struct error *change_vcpus_at_startup(struct txn *txn, const struct vm *vm, const void *args)
{
    const struct vm_set_vcpus_at_startup_args *a = args;

    return change_vcpus(txn, vm, vm->vcpus_max, a->value);
}

struct error *vm_set_vcpus_at_startup(struct call *call,
                                      const struct vm_set_vcpus_at_startup_args *args)
{
    return vm_change(call, args->self, VM_OP_CHANGING_VCPUS, change_vcpus_at_startup, args);
}

/*** boot ***/

static struct error *must_be_halted(struct call *call, const struct vm *vm)
{
    if (vm->power_state == VM_HALTED)
        return OK;
    return err_vm_bad_power_state(call, call_ref(call, vm->ref), "halted",
                                  vm_power_state_text(vm->power_state));
}

static void set_domain_type(struct txn *txn, const struct vm *vm, enum domain_type type,
                            const char *policy)
{
    struct vm after = *vm;

    after.domain_type = type;
    TXN_SET(txn, vm, vm->ref, domain_type, type);
    TXN_SET(txn, vm, vm->ref, hvm_boot_policy, policy);
    TXN_SET(txn, vm, vm->ref, memory_overhead, vm_memory_overhead(&after));
}

static struct error *change_domain_type(struct txn *txn, const struct vm *vm, const void *args)
{
    const struct vm_set_domain_type_args *a = args;
    enum domain_type type = a->value;

    TRY(must_be_halted(txn_call(txn), vm));
    if (type == DOMAIN_TYPE_UNSPECIFIED)
        type = vm_domain_type_of_policy(vm->hvm_boot_policy);
    set_domain_type(
        txn, vm, type,
        type == DOMAIN_TYPE_HVM ? (*vm->hvm_boot_policy ? vm->hvm_boot_policy : "BIOS order") : "");
    return OK;
}

struct error *vm_set_domain_type(struct call *call, const struct vm_set_domain_type_args *args)
{
    return vm_change(call, args->self, VM_CHANGE_ALWAYS, change_domain_type, args);
}

static struct error *change_boot_policy(struct txn *txn, const struct vm *vm, const void *args)
{
    const struct vm_set_hvm_boot_policy_args *a = args;

    TRY(must_be_halted(txn_call(txn), vm));
    set_domain_type(txn, vm, vm_domain_type_of_policy(a->value), a->value);
    return OK;
}

struct error *vm_set_hvm_boot_policy(struct call *call,
                                     const struct vm_set_hvm_boot_policy_args *args)
{
    return vm_change(call, args->self, VM_CHANGE_ALWAYS, change_boot_policy, args);
}

static struct error *change_shadow(struct txn *txn, const struct vm *vm, const void *args)
{
    const struct vm_set_hvm_shadow_multiplier_args *a = args;
    struct vm after = *vm;

    TRY(vm_check_shadow_multiplier(txn_call(txn), a->value));
    after.hvm_shadow_multiplier = a->value;
    TXN_SET(txn, vm, vm->ref, hvm_shadow_multiplier, a->value);
    TXN_SET(txn, vm, vm->ref, memory_overhead, vm_memory_overhead(&after));
    return OK;
}

struct error *vm_set_hvm_shadow_multiplier(struct call *call,
                                           const struct vm_set_hvm_shadow_multiplier_args *args)
{
    return vm_change(call, args->self, VM_OP_CHANGING_SHADOW_MEMORY, change_shadow, args);
}

/*** platform ***/

static struct error *set_platform(struct txn *txn, const struct vm *vm, struct strmap platform)
{
    struct vm after = *vm;

    after.platform = platform;
    TRY(vm_check_platform(txn_call(txn), &after));
    if (strmap_get(&platform, "cores-per-socket"))
        TRY(vm_check_vcpus(txn_call(txn), &after));
    TXN_SET(txn, vm, vm->ref, platform, platform);
    return OK;
}

static struct error *change_platform(struct txn *txn, const struct vm *vm, const void *args)
{
    const struct vm_set_platform_args *a = args;

    return set_platform(txn, vm, a->value);
}

struct error *vm_set_platform(struct call *call, const struct vm_set_platform_args *args)
{
    return vm_change(call, args->self, VM_CHANGE_ALWAYS, change_platform, args);
}

static struct error *duplicate_key(struct call *call, const char *field, const struct vm *vm,
                                   const char *key)
{
    return err_map_duplicate_key(call, "VM", field, call_ref(call, vm->ref), key);
}

static struct error *add_platform(struct txn *txn, const struct vm *vm, const void *args)
{
    const struct vm_add_to_platform_args *a = args;

    if (strmap_get(&vm->platform, a->key))
        return duplicate_key(txn_call(txn), "platform", vm, a->key);
    return set_platform(txn, vm, strmap_with(txn_arena(txn), vm->platform, a->key, a->value));
}

struct error *vm_add_to_platform(struct call *call, const struct vm_add_to_platform_args *args)
{
    return vm_change(call, args->self, VM_CHANGE_ALWAYS, add_platform, args);
}

static struct error *remove_platform(struct txn *txn, const struct vm *vm, const void *args)
{
    const struct vm_remove_from_platform_args *a = args;

    return set_platform(txn, vm, strmap_without(txn_arena(txn), vm->platform, a->key));
}

struct error *vm_remove_from_platform(struct call *call,
                                      const struct vm_remove_from_platform_args *args)
{
    return vm_change(call, args->self, VM_CHANGE_ALWAYS, remove_platform, args);
}

/*** other_config ***/

static struct error *change_other_config(struct txn *txn, const struct vm *vm, const void *args)
{
    const struct vm_set_other_config_args *a = args;

    TXN_SET(txn, vm, vm->ref, other_config, a->value);
    return OK;
}

struct error *vm_set_other_config(struct call *call, const struct vm_set_other_config_args *args)
{
    return vm_change(call, args->self, VM_CHANGE_ALWAYS, change_other_config, args);
}

static struct error *add_other_config(struct txn *txn, const struct vm *vm, const void *args)
{
    const struct vm_add_to_other_config_args *a = args;

    txn_map_add(txn, FIELD_vm_other_config, vm->ref, &a->key, &a->value);
    return OK;
}

struct error *vm_add_to_other_config(struct call *call,
                                     const struct vm_add_to_other_config_args *args)
{
    return vm_change(call, args->self, VM_CHANGE_ALWAYS, add_other_config, args);
}

static struct error *remove_other_config(struct txn *txn, const struct vm *vm, const void *args)
{
    const struct vm_remove_from_other_config_args *a = args;

    txn_strmap_remove(txn, FIELD_vm_other_config, vm->ref, a->key);
    return OK;
}

struct error *vm_remove_from_other_config(struct call *call,
                                          const struct vm_remove_from_other_config_args *args)
{
    return vm_change(call, args->self, VM_CHANGE_ALWAYS, remove_other_config, args);
}

/*** blocked operations ***/

static struct error *change_blocked(struct txn *txn, const struct vm *vm, const void *args)
{
    const struct vm_set_blocked_operations_args *a = args;

    txn_set_value(txn, FIELD_vm_blocked_operations, vm->ref, &a->value);
    return OK;
}

struct error *vm_set_blocked_operations(struct call *call,
                                        const struct vm_set_blocked_operations_args *args)
{
    return vm_change(call, args->self, VM_CHANGE_ALWAYS, change_blocked, args);
}

static struct error *add_blocked(struct txn *txn, const struct vm *vm, const void *args)
{
    const struct vm_add_to_blocked_operations_args *a = args;

    txn_map_add(txn, FIELD_vm_blocked_operations, vm->ref, &a->key, &a->value);
    return OK;
}

struct error *vm_add_to_blocked_operations(struct call *call,
                                           const struct vm_add_to_blocked_operations_args *args)
{
    return vm_change(call, args->self, VM_CHANGE_ALWAYS, add_blocked, args);
}

static struct error *remove_blocked(struct txn *txn, const struct vm *vm, const void *args)
{
    const struct vm_remove_from_blocked_operations_args *a = args;

    txn_map_remove(txn, FIELD_vm_blocked_operations, vm->ref, &a->key);
    return OK;
}

struct error *vm_remove_from_blocked_operations(
    struct call *call, const struct vm_remove_from_blocked_operations_args *args)
{
    return vm_change(call, args->self, VM_CHANGE_ALWAYS, remove_blocked, args);
}

/*** firmware variables ***/

static struct error *change_nvram(struct txn *txn, const struct vm *vm, const void *args)
{
    const struct vm_set_nvram_args *a = args;

    TXN_SET(txn, vm, vm->ref, nvram, a->value);
    return OK;
}

struct error *vm_set_nvram(struct call *call, const struct vm_set_nvram_args *args)
{
    return vm_change(call, args->self, VM_OP_CHANGING_NVRAM, change_nvram, args);
}

static struct error *add_nvram(struct txn *txn, const struct vm *vm, const void *args)
{
    const struct vm_add_to_nvram_args *a = args;

    txn_map_add(txn, FIELD_vm_nvram, vm->ref, &a->key, &a->value);
    return OK;
}

struct error *vm_add_to_nvram(struct call *call, const struct vm_add_to_nvram_args *args)
{
    return vm_change(call, args->self, VM_OP_CHANGING_NVRAM, add_nvram, args);
}

static struct error *remove_nvram(struct txn *txn, const struct vm *vm, const void *args)
{
    const struct vm_remove_from_nvram_args *a = args;

    txn_strmap_remove(txn, FIELD_vm_nvram, vm->ref, a->key);
    return OK;
}

struct error *vm_remove_from_nvram(struct call *call, const struct vm_remove_from_nvram_args *args)
{
    return vm_change(call, args->self, VM_OP_CHANGING_NVRAM, remove_nvram, args);
}

/* The guest itself writes them, while it runs. */
static struct error *change_efi_variables(struct txn *txn, const struct vm *vm, const void *args)
{
    const struct vm_set_nvram_efi_variables_args *a = args;

    txn_strmap_put(txn, FIELD_vm_nvram, vm->ref, "EFI-variables", a->value);
    if (a->update != UPDATE_STATUS_UNSPECIFIED)
        TXN_SET(txn, vm, vm->ref, secureboot_certificates_state,
                a->update == UPDATE_STATUS_YES ? VM_SECUREBOOT_CERTIFICATES_STATE_UPDATE_AVAILABLE
                                               : VM_SECUREBOOT_CERTIFICATES_STATE_OK);
    return OK;
}

struct error *vm_set_nvram_efi_variables(struct call *call,
                                         const struct vm_set_nvram_efi_variables_args *args)
{
    return vm_change(call, args->self, VM_CHANGE_ALWAYS, change_efi_variables, args);
}

/*** one field each ***/

static struct error *change_crash_action(struct txn *txn, const struct vm *vm, const void *args)
{
    const struct vm_set_actions_after_crash_args *a = args;

    TXN_SET(txn, vm, vm->ref, actions_after_crash, a->value);
    return OK;
}

struct error *vm_set_actions_after_crash(struct call *call,
                                         const struct vm_set_actions_after_crash_args *args)
{
    return vm_change(call, args->self, VM_CHANGE_ALWAYS, change_crash_action, args);
}

static struct error *change_default_template(struct txn *txn, const struct vm *vm, const void *args)
{
    const struct vm_set_is_default_template_args *a = args;

    if (!vm->is_a_template)
        return err_operation_not_allowed(txn_call(txn), "The VM is not a template.");
    TXN_SET(txn, vm, vm->ref, is_default_template, a->value);
    txn_strmap_put(txn, FIELD_vm_other_config, vm->ref, "default_template",
                   a->value ? "true" : "false");
    return OK;
}

struct error *vm_set_is_default_template(struct call *call,
                                         const struct vm_set_is_default_template_args *args)
{
    return vm_change(call, args->vm, VM_CHANGE_ALWAYS, change_default_template, args);
}

static struct error *change_vendor_device(struct txn *txn, const struct vm *vm, const void *args)
{
    const struct vm_set_has_vendor_device_args *a = args;

    TRY(must_be_halted(txn_call(txn), vm));
    TXN_SET(txn, vm, vm->ref, has_vendor_device, a->value);
    return OK;
}

struct error *vm_set_has_vendor_device(struct call *call,
                                       const struct vm_set_has_vendor_device_args *args)
{
    return vm_change(call, args->self, VM_CHANGE_ALWAYS, change_vendor_device, args);
}

static struct error *not_negative(struct call *call, const char *name, int64_t value)
{
    return value < 0 ? err_invalid_value(call, name, decimal(call, value)) : OK;
}

static struct error *change_order(struct txn *txn, const struct vm *vm, const void *args)
{
    const struct vm_set_order_args *a = args;

    TXN_SET(txn, vm, vm->ref, order, a->value);
    return OK;
}

struct error *vm_set_order(struct call *call, const struct vm_set_order_args *args)
{
    TRY(not_negative(call, "order", args->value));
    return vm_change(call, args->self, VM_CHANGE_ALWAYS, change_order, args);
}

static struct error *change_start_delay(struct txn *txn, const struct vm *vm, const void *args)
{
    const struct vm_set_start_delay_args *a = args;

    TXN_SET(txn, vm, vm->ref, start_delay, a->value);
    return OK;
}

struct error *vm_set_start_delay(struct call *call, const struct vm_set_start_delay_args *args)
{
    TRY(not_negative(call, "start_delay", args->value));
    return vm_change(call, args->self, VM_CHANGE_ALWAYS, change_start_delay, args);
}

static struct error *change_shutdown_delay(struct txn *txn, const struct vm *vm, const void *args)
{
    const struct vm_set_shutdown_delay_args *a = args;

    TXN_SET(txn, vm, vm->ref, shutdown_delay, a->value);
    return OK;
}

struct error *vm_set_shutdown_delay(struct call *call,
                                    const struct vm_set_shutdown_delay_args *args)
{
    TRY(not_negative(call, "shutdown_delay", args->value));
    return vm_change(call, args->self, VM_CHANGE_ALWAYS, change_shutdown_delay, args);
}

/* While HA is off the priority is only a wish; ha_always_run says whether the VM is protected at
 * present. */
static struct error *change_ha_priority(struct txn *txn, const struct vm *vm, const void *args)
{
    const struct vm_set_ha_restart_priority_args *a = args;
    bool running = vm->power_state == VM_RUNNING || vm->power_state == VM_PAUSED;
    struct vm as = *vm;

    as.ha_restart_priority = a->value;
    as.ha_always_run = running && strcmp(a->value, "restart") == 0;
    TRY(txn_ha_check_protection(txn, vm, &as));
    TXN_SET(txn, vm, vm->ref, ha_restart_priority, as.ha_restart_priority);
    TXN_SET(txn, vm, vm->ref, ha_always_run, as.ha_always_run);
    return OK;
}

struct error *vm_set_ha_restart_priority(struct call *call,
                                         const struct vm_set_ha_restart_priority_args *args)
{
    TRY(ha_check_priority(call, args->value));
    return vm_change(call, args->self, VM_CHANGE_ALWAYS, change_ha_priority, args);
}

static struct error *change_ha_always_run(struct txn *txn, const struct vm *vm, const void *args)
{
    const struct vm_set_ha_always_run_args *a = args;
    struct vm as = *vm;

    as.ha_always_run = a->value;
    TRY(txn_ha_check_protection(txn, vm, &as));
    TXN_SET(txn, vm, vm->ref, ha_always_run, a->value);
    return OK;
}

struct error *vm_set_ha_always_run(struct call *call, const struct vm_set_ha_always_run_args *args)
{
    return vm_change(call, args->self, VM_CHANGE_ALWAYS, change_ha_always_run, args);
}

/*** groups ***/

static struct error *change_appliance(struct txn *txn, const struct vm *vm, const void *args)
{
    const struct vm_set_appliance_args *a = args;
    const struct vm_appliance *appliance;

    if (!ref_is_null(a->value))
        TRY(TXN_GET(txn, vm_appliance, a->value, &appliance));
    if (vm->is_control_domain)
        return err_operation_not_allowed(txn_call(txn),
                                         "A control domain cannot be part of an appliance.");
    if (vm->is_a_template)
        return err_operation_not_allowed(txn_call(txn),
                                         "A template cannot be part of an appliance.");
    TXN_SET(txn, vm, vm->ref, appliance, a->value);
    return OK;
}

struct error *vm_set_appliance(struct call *call, const struct vm_set_appliance_args *args)
{
    return vm_change(call, args->self, VM_CHANGE_ALWAYS, change_appliance, args);
}

static struct error *change_groups(struct txn *txn, const struct vm *vm, const void *args)
{
    const struct vm_set_groups_args *a = args;

    if (a->value.n > 1)
        return err_operation_not_allowed(txn_call(txn), "A VM cannot be in more than one group.");
    if (vm->is_control_domain || vm->is_a_template)
        return err_operation_not_allowed(
            txn_call(txn), "Neither a template nor a control domain can be in a group.");
    TXN_SET(txn, vm, vm->ref, groups, a->value);
    return OK;
}

struct error *vm_set_groups(struct call *call, const struct vm_set_groups_args *args)
{
    return vm_change(call, args->self, VM_CHANGE_ALWAYS, change_groups, args);
}

static struct error *change_snapshot_metadata(struct txn *txn, const struct vm *vm,
                                              const void *args)
{
    const struct vm_update_snapshot_metadata_args *a = args;

    TXN_SET(txn, vm, vm->ref, is_a_snapshot, true);
    TXN_SET(txn, vm, vm->ref, snapshot_of, a->snapshot_of);
    TXN_SET(txn, vm, vm->ref, snapshot_time, a->snapshot_time);
    TXN_SET(txn, vm, vm->ref, transportable_snapshot_id, a->transportable_snapshot_id);
    return OK;
}

struct error *vm_update_snapshot_metadata(struct call *call,
                                          const struct vm_update_snapshot_metadata_args *args)
{
    return vm_change(call, args->vm, VM_CHANGE_ALWAYS, change_snapshot_metadata, args);
}
