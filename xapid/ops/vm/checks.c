/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/vm/checks.h"

#include <string.h>

#include "libxapi/value/value.h"
#include "xapid/db/ready.h"
#include "xapid/ops/vm/vtpm.h"

#define MIB ((int64_t)1 << 20)

enum domain_type vm_domain_type_of_policy(const char *hvm_boot_policy)
{
    return *hvm_boot_policy ? DOMAIN_TYPE_HVM : DOMAIN_TYPE_PV;
}

enum domain_type vm_domain_type(const struct vm *vm)
{
    return vm->domain_type == DOMAIN_TYPE_UNSPECIFIED
               ? vm_domain_type_of_policy(vm->hvm_boot_policy)
               : vm->domain_type;
}

bool vm_needs_hvm(const struct vm *vm)
{
    return vm_domain_type(vm) != DOMAIN_TYPE_PV;
}

/*** sizes ***/

struct error *vm_check_memory(struct call *call, const struct vm *vm)
{
    if (vm->memory_static_min < 0 || vm->memory_static_min > vm->memory_dynamic_min ||
        vm->memory_dynamic_min > vm->memory_dynamic_max ||
        vm->memory_dynamic_max > vm->memory_static_max)
        return err_memory_constraint_violation(
            call, "0 <= static_min <= dynamic_min <= dynamic_max <= static_max");
    return OK;
}

static struct error *check_cores_per_socket(struct call *call, const struct vm *vm)
{
    const char *text = strmap_get(&vm->platform, "cores-per-socket");
    int64_t cores;

    if (!text)
        return OK;
    if (!int_from_text(text, &cores) || cores < 1)
        return err_invalid_value(call, "platform:cores-per-socket", text);
    if (vm->vcpus_max % cores)
        return err_vcpu_max_not_cores_per_socket_multiple(
            call, arena_printf(call->arena, "%lld", (long long)vm->vcpus_max), text);
    return OK;
}

struct error *vm_check_vcpus(struct call *call, const struct vm *vm)
{
    const char *max = arena_printf(call->arena, "%lld", (long long)vm->vcpus_max);
    const char *startup = arena_printf(call->arena, "%lld", (long long)vm->vcpus_at_startup);

    if (vm->vcpus_max < 1)
        return err_value_not_supported(call, "VCPUs_max", max,
                                       "A VM needs at least one virtual CPU.");
    if (vm->vcpus_at_startup < 1)
        return err_value_not_supported(call, "VCPUs_at_startup", startup,
                                       "A VM needs at least one virtual CPU.");
    if (vm->vcpus_at_startup > vm->vcpus_max)
        return err_value_not_supported(call, "VCPUs_at_startup", startup,
                                       "This is more than VCPUs_max.");
    return check_cores_per_socket(call, vm);
}

struct error *vm_check_shadow_multiplier(struct call *call, double value)
{
    char text[DOUBLE_TEXT_SIZE];

    if (value >= 1.0)
        return OK;
    double_to_text(value, 16, text);
    return err_value_not_supported(call, "HVM_shadow_multiplier", arena_strdup(call->arena, text),
                                   "It cannot be below 1.");
}

int64_t vm_shadow_memory(const struct vm *vm)
{
    int64_t mib = (vm->memory_static_max + MIB - 1) / MIB, shadow;

    /* 1 MiB a vCPU, and for each MiB of memory a page of the map and a page of shadow. */
    shadow = vm->vcpus_max + (2 * mib + 255) / 256;
    return (int64_t)((double)shadow * vm->hvm_shadow_multiplier) * MIB;
}

int64_t vm_memory_overhead(const struct vm *vm)
{
    return vm_domain_type(vm) == DOMAIN_TYPE_PV ? MIB : 2 * MIB + vm_shadow_memory(vm);
}

/*** platform ***/

static bool is_bool(const char *s)
{
    return strcmp(s, "true") == 0 || strcmp(s, "false") == 0 || strcmp(s, "1") == 0 ||
           strcmp(s, "0") == 0;
}

struct error *vm_check_platform(struct call *call, const struct vm *vm)
{
    static const char *const booleans[] = {"nested-virt", "exp-nested-hvm"};
    const char *firmware = strmap_get(&vm->hvm_boot_params, "firmware");
    const char *model = strmap_get(&vm->platform, "device-model");
    bool uefi = firmware && strcmp(firmware, "uefi") == 0;

    if (firmware && !uefi && strcmp(firmware, "bios") != 0)
        return err_invalid_value(call, "HVM-boot-params['firmware']", firmware);
    if (model && vm_domain_type(vm) == DOMAIN_TYPE_HVM &&
        ((uefi && strcmp(model, "qemu-trad") == 0) ||
         (!uefi && strcmp(model, "qemu-upstream-uefi") == 0)))
        return err_invalid_value(call, "platform:device-model", model);
    for (size_t i = 0; i < ARRAY_SIZE(booleans); i++) {
        const char *value = strmap_get(&vm->platform, booleans[i]);

        if (value && !is_bool(value))
            return err_invalid_value(call, arena_printf(call->arena, "platform:%s", booleans[i]),
                                     value);
    }
    return OK;
}

/*** boot ***/

static struct error *check_boot_loader(struct call *call, const struct vm *vm)
{
    if (vm_domain_type(vm) == DOMAIN_TYPE_HVM)
        return OK;
    /* It fetches the installers of systems long gone, and then gives way to pygrub. */
    if (strcmp(vm->pv_bootloader, "eliloader") == 0)
        return err_bootloader_failed(call, call_ref(call, vm->ref),
                                     "no host here has eliloader: pygrub starts an installed "
                                     "guest, PV-kernel and PV-ramdisk an installer");
    if (*vm->pv_bootloader && strcmp(vm->pv_bootloader, "pygrub") != 0)
        return err_unknown_bootloader(call, call_ref(call, vm->ref), vm->pv_bootloader);
    return OK;
}

static struct error *check_disk(struct call *call, const struct vm *vm, const struct vbd *vbd)
{
    const struct vdi *vdi;

    if (vbd->type == VBD_TYPE_CD && vbd->mode != VBD_RO)
        return err_vbd_cds_must_be_readonly(call);
    if (vbd->empty || ref_is_null(vbd->vdi))
        return OK;
    if (vbd->type == VBD_TYPE_DISK && vbd->mode == VBD_RO && vm_domain_type(vm) == DOMAIN_TYPE_HVM)
        return err_disk_vbd_must_be_readwrite_for_hvm(call, call_ref(call, vbd->ref));
    vdi = db_find(call, CLASS_vdi, vbd->vdi);
    if (!vdi)
        return err_handle_invalid(call, "VDI", call_ref(call, vbd->vdi));
    if (vdi->missing)
        return err_vdi_missing(call, call_ref(call, vdi->sr), call_ref(call, vdi->ref));
    return OK;
}

struct error *vm_check_bootable(struct call *call, const struct vm *vm, bool force)
{
    struct refs vbds = db_referrers(call, FIELD_vbd_vm, vm->ref);

    TRY(vm_check_memory(call, vm));
    TRY(vm_check_vcpus(call, vm));
    if (!force)
        TRY(vm_check_shadow_multiplier(call, vm->hvm_shadow_multiplier));
    TRY(vm_check_platform(call, vm));
    TRY(check_boot_loader(call, vm));
    TRY(vm_check_vtpm(call, vm));
    for (size_t i = 0; i < vbds.n; i++)
        TRY(check_disk(call, vm, db_find(call, CLASS_vbd, vbds.v[i])));
    return OK;
}

/*** agility ***/

struct error *vm_check_sr_is_shared(struct call *call, ref_t ref)
{
    const struct sr *sr = db_find(call, CLASS_sr, ref);

    return !sr || sr->shared ? OK
                             : err_ha_constraint_violation_sr_not_shared(call, call_ref(call, ref));
}

struct error *vm_check_network_is_shared(struct call *call, ref_t network)
{
    size_t hosts = snap_root(call->snap)->tables[CLASS_host].count;

    if (hosts <= 1 || db_referrers(call, FIELD_pif_network, network).n >= hosts)
        return OK;
    return err_ha_constraint_violation_network_not_shared(call, call_ref(call, network));
}
