/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* record.c -- the transactions of domain.h: what the database says of a VM that runs, sleeps or is
 * halted. */
#include <string.h>

#include "libxapi/base/log.h"
#include "libxapi/base/seam.h"
#include "libxapi/value/value.h"
#include "xapid/db/row.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/message.h"
#include "xapid/ops/vm/bios.h"
#include "xapid/ops/vm/checks.h"
#include "xapid/ops/vm/device.h"
#include "xapid/ops/vm/domain.h"
#include "xapid/ops/vm/dump.h"
#include "xapid/ops/vm/passthrough.h"

/*** consoles ***/

static void drop_consoles(struct txn *txn, ref_t vm)
{
    struct refs consoles = txn_referrers(txn, FIELD_console_vm, vm);

    for (size_t i = 0; i < consoles.n; i++)
        txn_destroy(txn, CLASS_console, consoles.v[i]);
}

static void make_console(struct txn *txn, ref_t vm, const struct host *host,
                         enum console_protocol protocol)
{
    struct console row;
    char uuid[UUID_TEXT_SIZE];

    row_defaults(&api_classes[CLASS_console], &row);
    row.ref = ref_new();
    row.uuid = uuid_new(uuid);
    row.protocol = protocol;
    row.location = arena_printf(txn_arena(txn),
                                strchr(host->address, ':') ? "https://[%s]/console?uuid=%s"
                                                           : "https://%s/console?uuid=%s",
                                host->address, uuid);
    row.vm = vm;
    txn_create(txn, CLASS_console, &row);
}

/* Every domain has a screen and a text console. */
static void make_consoles(struct txn *txn, ref_t vm, const struct host *host)
{
    drop_consoles(txn, vm);
    make_console(txn, vm, host, CONSOLE_PROTOCOL_RFB);
    make_console(txn, vm, host, CONSOLE_PROTOCOL_VT100);
}

/*** devices ***/

static void devices_attached(struct txn *txn, ref_t vm)
{
    struct refs vbds = txn_referrers(txn, FIELD_vbd_vm, vm);
    struct refs vifs = txn_referrers(txn, FIELD_vif_vm, vm);

    for (size_t i = 0; i < vbds.n; i++) {
        const struct vbd *vbd = txn_find(txn, CLASS_vbd, vbds.v[i]);
        int number = vbd_device_number(vbd->userdevice);

        if (vbd->empty && vbd->type != VBD_TYPE_CD)
            continue;
        TXN_SET(txn, vbd, vbd->ref, currently_attached, true);
        TXN_SET(txn, vbd, vbd->ref, device,
                number < 0 ? "" : vbd_device_name(txn_arena(txn), number));
    }
    for (size_t i = 0; i < vifs.n; i++)
        TXN_SET(txn, vif, vifs.v[i], currently_attached, true);
    txn_vm_devices_attached(txn, vm);
}

static void devices_detached(struct txn *txn, ref_t vm)
{
    struct refs vbds = txn_referrers(txn, FIELD_vbd_vm, vm);
    struct refs vifs = txn_referrers(txn, FIELD_vif_vm, vm);

    for (size_t i = 0; i < vbds.n; i++) {
        TXN_SET(txn, vbd, vbds.v[i], currently_attached, false);
        TXN_SET(txn, vbd, vbds.v[i], device, "");
    }
    for (size_t i = 0; i < vifs.n; i++)
        TXN_SET(txn, vif, vifs.v[i], currently_attached, false);
    txn_vm_devices_free(txn, vm);
}

/*** metrics ***/

/* The VM's metrics; a VM that came without gets them. */
static ref_t metrics_of(struct txn *txn, const struct vm *vm)
{
    struct vm_metrics row;
    char uuid[UUID_TEXT_SIZE];

    if (txn_find(txn, CLASS_vm_metrics, vm->metrics))
        return vm->metrics;
    row_defaults(&api_classes[CLASS_vm_metrics], &row);
    row.ref = ref_new();
    row.uuid = uuid_new(uuid);
    txn_create(txn, CLASS_vm_metrics, &row);
    TXN_SET(txn, vm, vm->ref, metrics, row.ref);
    return row.ref;
}

static bool platform_is(const struct vm *vm, const char *key)
{
    const char *value = strmap_get(&vm->platform, key);

    return value && (strcmp(value, "true") == 0 || strcmp(value, "1") == 0);
}

static void metrics_started(struct txn *txn, const struct vm *vm)
{
    ref_t m = metrics_of(txn, vm);
    usec_t now = clock_wall();

    TXN_SET(txn, vm_metrics, m, start_time, now);
    TXN_SET(txn, vm_metrics, m, last_updated, now);
    TXN_SET(txn, vm_metrics, m, memory_actual,
            vm->memory_target > 0 ? vm->memory_target : vm->memory_dynamic_max);
    TXN_SET(txn, vm_metrics, m, vcpus_number, vm->vcpus_at_startup);
    TXN_SET(txn, vm_metrics, m, vcpus_params, vm->vcpus_params);
    TXN_SET(txn, vm_metrics, m, hvm, vm_needs_hvm(vm));
    TXN_SET(txn, vm_metrics, m, current_domain_type, vm_domain_type(vm));
    TXN_SET(txn, vm_metrics, m, nomigrate, platform_is(vm, "nomigrate"));
    TXN_SET(txn, vm_metrics, m, nested_virt,
            platform_is(vm, "nested-virt") || platform_is(vm, "exp-nested-hvm"));
}

static void metrics_ended(struct txn *txn, const struct vm *vm)
{
    if (!txn_find(txn, CLASS_vm_metrics, vm->metrics))
        return;
    TXN_SET(txn, vm_metrics, vm->metrics, memory_actual, 0);
    TXN_SET(txn, vm_metrics, vm->metrics, vcpus_number, 0);
    TXN_SET(txn, vm_metrics, vm->metrics, current_domain_type, DOMAIN_TYPE_UNSPECIFIED);
    TXN_SET(txn, vm_metrics, vm->metrics, hvm, false);
    TXN_SET(txn, vm_metrics, vm->metrics, nomigrate, false);
    TXN_SET(txn, vm_metrics, vm->metrics, nested_virt, false);
}

/* What the agent of an earlier boot said is no longer so. */
static void drop_guest_metrics(struct txn *txn, const struct vm *vm)
{
    if (!txn_find(txn, CLASS_vm_guest_metrics, vm->guest_metrics))
        return;
    txn_destroy(txn, CLASS_vm_guest_metrics, vm->guest_metrics);
    TXN_SET(txn, vm, vm->ref, guest_metrics, REF_NULL);
}

/*** power states ***/

/* Whoever started it: one that was planned before may not start it again, after it was switched off
 * by somebody's wish. */
static void drop_restarts(struct txn *txn, ref_t vm)
{
    struct refs rows = txn_referrers(txn, FIELD_ha_restart_vm, vm);

    for (size_t i = 0; i < rows.n; i++)
        if (txn_find(txn, CLASS_ha_restart, rows.v[i]))
            txn_destroy(txn, CLASS_ha_restart, rows.v[i]);
}

static void no_domain(struct txn *txn, const struct vm *vm)
{
    TXN_SET(txn, vm, vm->ref, resident_on, REF_NULL);
    TXN_SET(txn, vm, vm->ref, scheduled_to_be_resident_on, REF_NULL);
    TXN_SET(txn, vm, vm->ref, domid, -1);
    TXN_SET(txn, vm, vm->ref, requires_reboot, false);
    drop_consoles(txn, vm->ref);
    metrics_ended(txn, vm);
    drop_guest_metrics(txn, vm);
}

struct error *txn_vm_started(struct txn *txn, ref_t vm_ref, int domid, bool paused)
{
    ref_t here = txn_call(txn)->xapid->host;
    const struct host *host;
    const struct vm *vm;

    TRY(TXN_GET(txn, vm, vm_ref, &vm));
    TRY(TXN_GET(txn, host, here, &host));
    TXN_SET(txn, vm, vm_ref, power_state, paused ? VM_PAUSED : VM_RUNNING);
    TXN_SET(txn, vm, vm_ref, resident_on, here);
    TXN_SET(txn, vm, vm_ref, scheduled_to_be_resident_on, REF_NULL);
    TXN_SET(txn, vm, vm_ref, domid, domid);
    TXN_SET(txn, vm, vm_ref, requires_reboot, false);
    TXN_SET(txn, vm, vm_ref, memory_overhead, vm_memory_overhead(vm));
    TXN_SET(txn, vm, vm_ref, pending_guidances, (struct enums){0});
    TXN_SET(txn, vm, vm_ref, pending_guidances_recommended, (struct enums){0});
    TXN_SET(txn, vm, vm_ref, pending_guidances_full, (struct enums){0});
    if (strcmp(vm->ha_restart_priority, "restart") == 0)
        TXN_SET(txn, vm, vm_ref, ha_always_run, true);
    TXN_SET(txn, vm, vm_ref, last_booted_record, vm_dump(txn_arena(txn), vm));
    txn_vm_default_bios_strings(txn, vm);
    drop_restarts(txn, vm_ref);
    devices_attached(txn, vm_ref);
    metrics_started(txn, vm);
    drop_guest_metrics(txn, vm);
    make_consoles(txn, vm_ref, host);
    return OK;
}

struct error *txn_vm_moved(struct txn *txn, ref_t vm, ref_t host_ref, int domid)
{
    const struct host *host;

    TRY(TXN_GET(txn, host, host_ref, &host));
    TXN_SET(txn, vm, vm, resident_on, host_ref);
    TXN_SET(txn, vm, vm, scheduled_to_be_resident_on, REF_NULL);
    TXN_SET(txn, vm, vm, domid, domid);
    make_consoles(txn, vm, host);
    return OK;
}

struct error *txn_vm_halted(struct txn *txn, ref_t vm_ref)
{
    const struct vm *vm;

    TRY(TXN_GET(txn, vm, vm_ref, &vm));
    TXN_SET(txn, vm, vm_ref, power_state, VM_HALTED);
    TXN_SET(txn, vm, vm_ref, suspend_vdi, REF_NULL);
    no_domain(txn, vm);
    devices_detached(txn, vm_ref);
    return OK;
}

struct error *txn_vm_suspended(struct txn *txn, ref_t vm_ref, ref_t image)
{
    const struct vm *vm;

    TRY(TXN_GET(txn, vm, vm_ref, &vm));
    TXN_SET(txn, vm, vm_ref, power_state, VM_SUSPENDED);
    TXN_SET(txn, vm, vm_ref, suspend_vdi, image);
    TXN_SET(txn, vm, vm_ref, ha_always_run, false); /* somebody wants it to rest */
    no_domain(txn, vm);
    return OK;
}

void txn_vm_not_started(struct txn *txn, ref_t vm, int64_t old_target, bool was_suspended)
{
    if (!txn_find(txn, CLASS_vm, vm))
        return;
    TXN_SET(txn, vm, vm, scheduled_to_be_resident_on, REF_NULL);
    TXN_SET(txn, vm, vm, memory_target, old_target);
    if (was_suspended)
        return;
    txn_vm_disks_unreserve(txn, vm);
    txn_vm_devices_free(txn, vm);
}

void vm_alert(struct call *call, const struct vm *vm, const char *name, const char *what)
{
    alert_create(
        call, name, CLS_VM, vm->uuid,
        arena_printf(call->arena, "VM '%s' (uuid: %s) %s", vm->name_label, vm->uuid, what));
}
