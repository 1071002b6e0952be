/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/vm/domain.h"

#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

#include "libxapi/base/log.h"
#include "libxapi/base/seam.h"
#include "libxapi/value/value.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/network/change.h"
#include "xapid/ops/network/guards.h"
#include "xapid/ops/vm/checks.h"
#include "xapid/ops/vm/device.h"
#include "xapid/ops/vm/lifecycle.h"
#include "xapid/ops/vm/passthrough.h"
#include "xapid/ops/vm/placement.h"
#include "xapid/ops/vm/qos.h"
#include "xapid/ops/vm/squeezer.h"

#define BUILD_TIMEOUT (600 * USEC_PER_SEC)
#define IMAGE_TIMEOUT (3600 * USEC_PER_SEC)

/*** requests ***/

static void request_id(const char *op_id, const char *what, char out[UUID_TEXT_SIZE])
{
    char text[128];
    uint8_t digest[SHA256_DIGEST_LENGTH];
    int n = snprintf(text, sizeof text, "%s/%s", op_id, what);

    SHA256((const uint8_t *)text, (size_t)MIN(n, (int)sizeof text - 1), digest);
    uuid_to_text(digest, out);
}

struct hv_request op_hv_request(struct op *op, const char *what)
{
    /* An operation goes on, or is undone, in the name of the present coordinator. */
    struct hv_request rq = {.arena = op->call->arena,
                            .epoch = MAX(op->epoch, xapid_epoch(op->call->xapid))};

    if (what)
        request_id(op->id, what, rq.id);
    return rq;
}

struct error *vm_hv_error(struct call *call, const struct vm *vm, struct error *e)
{
    if (!e || error_is(e, "INTERNAL_ERROR"))
        return e;
    for (size_t i = 0; i < e->n_params; i++)
        if (strcmp(e->params[i], vm->uuid) == 0)
            e->params[i] = call_ref(call, vm->ref);
    return e;
}

/*** configuration ***/

static const char *or_empty(const char *s)
{
    return s ? s : "";
}

struct hv_nic vif_nic(struct call *call, const struct vif *vif, const struct network *network)
{
    struct hv_nic nic = {
        .device = MAX(vif_device_number(vif->device), 0),
        .mac = arena_strdup(call->arena, vif->mac),
        .bridge = network ? arena_strdup(call->arena, network->bridge) : "",
        .vswitch = host_network_is_vswitch(call->xapid->network),
        .mtu = vif->mtu > 0 ? vif->mtu
               : network    ? network->mtu
                            : 1500,
    };

    vif_limit(vif, &nic);
    return nic;
}

static struct error *nics_config(struct call *call, const struct vm *vm,
                                 struct hv_domain_config *out)
{
    struct refs vifs = db_referrers(call, FIELD_vif_vm, vm->ref);
    struct hv_nic *nics = arena_array(call->arena, struct hv_nic, vifs.n + 1);

    for (size_t i = 0; i < vifs.n; i++) {
        const struct vif *vif = db_find(call, CLASS_vif, vifs.v[i]);
        const struct network *network = db_find(call, CLASS_network, vif->network);

        if (vif_device_number(vif->device) < 0)
            return err_invalid_device(call, vif->device);
        if (network)
            TRY(network_make_ready(call, network->ref));
        nics[i] = vif_nic(call, vif, network);
    }
    out->n_nics = vifs.n;
    out->nics = nics;
    return OK;
}

struct error *domain_config(struct call *call, const struct vm *vm, const struct vm_disks *disks,
                            struct hv_domain_config *out)
{
    static const char *const types[] = {"hvm", "pv", "pv_in_pvh", "pvh"};
    bool hvm = vm_domain_type(vm) == DOMAIN_TYPE_HVM;
    const char *order = strmap_get(&vm->hvm_boot_params, "order");

    *out = (struct hv_domain_config){
        .uuid = vm->uuid,
        .name = vm->name_label,
        .type = types[vm_domain_type(vm)],
        .memory_static_max = vm->memory_static_max,
        .memory_target = vm->memory_target > 0 ? MIN(vm->memory_target, vm->memory_static_max)
                                               : vm->memory_dynamic_max,
        .shadow_memory = vm_domain_type(vm) == DOMAIN_TYPE_PV ? 0 : vm_shadow_memory(vm),
        .vcpus_max = (int)vm->vcpus_max,
        .vcpus = (int)vm->vcpus_at_startup,
        .kernel = hvm || *vm->pv_bootloader ? "" : vm->pv_kernel,
        .ramdisk = hvm || *vm->pv_bootloader ? "" : vm->pv_ramdisk,
        .cmdline = hvm ? "" : vm->pv_args,
        .bootloader = hvm ? "" : vm->pv_bootloader,
        .bootloader_args = hvm ? "" : vm->pv_bootloader_args,
        .boot_order = order && *order ? order : "cd",
        .firmware = or_empty(strmap_get(&vm->hvm_boot_params, "firmware")),
        .platform = vm->platform,
        .xenstore_data = vm->xenstore_data,
        .vcpus_params = vm->vcpus_params,
        .bios_strings = vm->bios_strings,
        .cpu_features = or_empty(strmap_get(&vm->last_boot_cpu_flags, "features")),
        .n_disks = disks->n,
        .disks = disks->hv,
    };
    TRY(vm_devices_config(call, vm, out));
    return nics_config(call, vm, out);
}

/*** room ***/

#define MAX_TRIES 3

static struct error *reserve_again(struct txn *txn, void *arg)
{
    const struct vm *vm;

    TRY(TXN_GET(txn, vm, *(const ref_t *)arg, &vm));
    return txn_host_reserve(txn, txn_call(txn)->xapid->host, vm);
}

/* Guests that turn out not to give back anything change what there is to share. */
struct error *vm_make_room(struct op *op, ref_t ref)
{
    struct call *call = op->call;
    const struct vm *vm;
    int64_t target;
    bool has;

    for (int i = 0; i < MAX_TRIES; i++) {
        TRY(DB_GET(call, vm, ref, &vm));
        target = vm->memory_target;
        TRY(squeezer_wait_room(op, ref, target + vm_memory_overhead(vm), &has));
        if (has)
            break;
        TRY(db_update(call, reserve_again, &ref));
        TRY(DB_GET(call, vm, ref, &vm));
        if (vm->memory_target == target)
            break;
    }
    return OK;
}

/*** building ***/

struct error *domain_build(struct op *op, const struct vm *vm,
                           const struct hv_domain_config *config, const char *image,
                           struct domain *out)
{
    struct hv_request rq = op_hv_request(op, "build");
    struct error *e;

    rq.timeout = image ? IMAGE_TIMEOUT : BUILD_TIMEOUT;
    e = image ? hv_restore(op->call->xapid->hv, &rq, config, image, &out->domid)
              : hv_build(op->call->xapid->hv, &rq, config, &out->domid);
    /* Of what failed nothing is left; without an answer there may be a domain, or be one soon. */
    if (!e || hv_failure_of(e) == HV_UNKNOWN)
        *out = (struct domain){op, vm->uuid, out->domid};
    return e ? vm_hv_error(op->call, vm, e) : vm_guard(op->call, vm, out->domid);
}

struct error *domain_unpause(struct op *op, const struct domain *domain)
{
    struct hv_request rq = op_hv_request(op, "unpause");

    return hv_unpause(op->call->xapid->hv, &rq, domain->uuid);
}

void domain_keep(struct domain *domain)
{
    domain->uuid = NULL;
}

struct error *domain_outcome(struct op *op, const char *what, bool *done)
{
    struct error *outcome = OK;
    struct hv_request rq;
    bool known;

    rq = op_hv_request(op, what);
    rq.timeout = BUILD_TIMEOUT;
    TRY(hv_outcome(op->call->xapid->hv, &rq, &known, &outcome));
    *done = known && !outcome;
    return OK;
}

/* Waits for the end of a request that may still be on its way, or forbids it. */
static struct error *settle(struct op *op, const char *what)
{
    bool done;

    return domain_outcome(op, what, &done);
}

void domain_release(struct domain *domain)
{
    struct hv_request rq;
    struct error *e;

    if (!domain->uuid || !op_may_undo(domain->op))
        return;
    e = settle(domain->op, "build");
    rq = op_hv_request(domain->op, "undo");
    if (!e)
        e = hv_destroy(domain->op->call->xapid->hv, &rq, domain->uuid);
    if (e)
        log_error("the domain of VM %s may be left over: %s", domain->uuid,
                  error_line(domain->op->call->arena, e));
    domain->uuid = NULL;
}

struct error *domain_settle(struct op *op, const struct vm *vm, const char *const *what,
                            const struct hv_domain **out)
{
    struct hv_request rq = op_hv_request(op, NULL);

    while (*what)
        TRY(settle(op, *what++));
    return hv_get(op->call->xapid->hv, &rq, vm->uuid, out);
}

struct error *domain_end(struct op *op, const struct vm *vm, const char *what)
{
    struct hv_request rq = op_hv_request(op, what);

    return vm_hv_error(op->call, vm, hv_destroy(op->call->xapid->hv, &rq, vm->uuid));
}

/*** harder operations ***/

#define HARD_SHUTDOWN_BIT (1ull << VM_OP_HARD_SHUTDOWN)
#define HARD_REBOOT_BIT (1ull << VM_OP_HARD_REBOOT)

/* Operations under way on the VM, without those of this op. */
static uint64_t others(struct op *op, ref_t vm_ref, bool *any)
{
    const struct vm *vm;
    uint64_t mask = 0;

    call_refresh(op->call);
    vm = db_find(op->call, CLASS_vm, vm_ref);
    for (size_t i = 0; vm && i < vm->current_operations.n; i++)
        if (strcmp(vm->current_operations.v[i].key, op->task_key) != 0)
            mask |= 1ull << vm->current_operations.v[i].value;
    if (any)
        *any = mask != 0;
    return mask;
}

struct error *vm_overruled(struct op *op, ref_t vm)
{
    uint64_t mask = others(op, vm, NULL), harder = HARD_SHUTDOWN_BIT | HARD_REBOOT_BIT;

    for (size_t i = 0; i < op->n_holds; i++) {
        if (op->holds[i].class_id != CLASS_vm || !ref_equal(op->holds[i].ref, vm))
            continue;
        if (op->holds[i].operation == VM_OP_HARD_REBOOT)
            harder = HARD_SHUTDOWN_BIT;
        if (op->holds[i].operation == VM_OP_HARD_SHUTDOWN)
            harder = 0;
    }
    return mask & harder ? err_task_cancelled(op->call, op->task_key) : OK;
}

struct error *vm_step(struct op *op, ref_t vm, const char *name, double done)
{
    TRY(op_step(op, name, done));
    return vm_overruled(op, vm);
}

bool vm_runs_elsewhere(struct call *call, ref_t ref)
{
    const struct vm *vm = db_find(call, CLASS_vm, ref);

    return vm && (vm->power_state == VM_RUNNING || vm->power_state == VM_PAUSED) &&
           !ref_equal(vm->resident_on, call->xapid->host);
}

struct error *vm_overrule(struct op *op, ref_t vm_ref)
{
    struct call *call = op->call;
    usec_t deadline = clock_mono() + call->xapid->options.op_wait;
    bool any;

    for (others(op, vm_ref, &any); any; others(op, vm_ref, &any)) {
        const struct vm *vm = db_find(call, CLASS_vm, vm_ref);

        /* A guest that does not answer keeps a clean shutdown waiting, and a big one keeps saving
         * its memory: both end with the domain. */
        if (vm && (vm->power_state == VM_RUNNING || vm->power_state == VM_PAUSED)) {
            struct hv_request rq = op_hv_request(op, NULL);

            TRY(hv_destroy(call->xapid->hv, &rq, vm->uuid));
        }
        if (clock_mono() > deadline)
            return err_other_operation_in_progress(call, "VM", call_ref(call, vm_ref), "", "");
        db_wait(call->xapid->db, snap_root(call->snap)->revision, clock_mono() + USEC_PER_SEC);
    }
    return OK;
}
