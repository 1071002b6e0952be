/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/vm/placement.h"

#include <string.h>

#include "libxapi/value/value.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/vm/checks.h"
#include "xapid/ops/vm/passthrough.h"
#include "xapid/ops/vm/share.h"

/*** memory ***/

/* What a VM takes of its host: what it was promised, whether or not it has grown or shrunk to that
 * yet. */
static int64_t memory_promised(const struct vm *vm)
{
    int64_t own = vm->memory_target > 0 ? vm->memory_target : vm->memory_dynamic_max;

    return own + (vm->is_control_domain ? 0 : vm_memory_overhead(vm));
}

static int64_t promised_by(const struct db_snap *snap, int field_id, ref_t host, ref_t except)
{
    struct index_walk walk;
    int64_t sum = 0;
    ref_t ref;

    index_walk(snap_root(snap), &api_fields[field_id], host, &walk);
    while (index_next(&walk, &ref)) {
        const struct vm *vm = root_get(snap_root(snap), CLASS_vm, ref);

        /* One that moves within the host counts once. */
        if (ref_equal(ref, except) ||
            (field_id == FIELD_vm_scheduled_to_be_resident_on && ref_equal(vm->resident_on, host)))
            continue;
        sum += memory_promised(vm);
    }
    return sum;
}

int64_t host_memory_free(const struct db_snap *snap, const struct host *host, ref_t except)
{
    const struct host_metrics *metrics =
        root_get(snap_root(snap), CLASS_host_metrics, host->metrics);
    int64_t total = metrics ? metrics->memory_total : 0;

    return total - host->memory_overhead -
           promised_by(snap, FIELD_vm_resident_on, host->ref, except) -
           promised_by(snap, FIELD_vm_scheduled_to_be_resident_on, host->ref, except);
}

int64_t vm_memory_target(const struct vm *vm, int64_t free)
{
    return MIN(vm->memory_dynamic_max, MAX(free - vm_memory_overhead(vm), 0));
}

static struct error *check_memory(struct call *call, const struct db_snap *snap,
                                  const struct host *host, const struct vm *vm)
{
    int64_t free = host_memory_free(snap, host, vm->ref) +
                   host_memory_reclaimable(call->xapid, snap, host, vm->ref);

    if (vm_memory_target(vm, free) >= vm->memory_dynamic_min)
        return OK;
    return err_host_not_enough_free_memory(
        call,
        arena_printf(call->arena, "%lld",
                     (long long)(vm->memory_dynamic_min + vm_memory_overhead(vm))),
        arena_printf(call->arena, "%lld", (long long)MAX(free, (int64_t)0)));
}

/*** storage and networks ***/

static bool sr_is_plugged(const struct db_snap *snap, ref_t sr, ref_t host)
{
    struct index_walk walk;
    ref_t ref;

    index_walk(snap_root(snap), &api_fields[FIELD_pbd_sr], sr, &walk);
    while (index_next(&walk, &ref)) {
        const struct pbd *pbd = root_get(snap_root(snap), CLASS_pbd, ref);

        if (ref_equal(pbd->host, host) && pbd->currently_attached)
            return true;
    }
    return false;
}

static struct error *check_vdi(struct call *call, const struct db_snap *snap,
                               const struct host *host, const struct vm *vm, ref_t vdi_ref)
{
    const struct vdi *vdi = root_get(snap_root(snap), CLASS_vdi, vdi_ref);

    if (!vdi || sr_is_plugged(snap, vdi->sr, host->ref))
        return OK;
    return err_vm_requires_sr(call, call_ref(call, vm->ref), call_ref(call, vdi->sr));
}

static struct error *check_storage(struct call *call, const struct db_snap *snap,
                                   const struct host *host, const struct vm *vm)
{
    struct index_walk walk;
    ref_t ref;

    index_walk(snap_root(snap), &api_fields[FIELD_vbd_vm], vm->ref, &walk);
    while (index_next(&walk, &ref)) {
        const struct vbd *vbd = root_get(snap_root(snap), CLASS_vbd, ref);

        if (!vbd->empty)
            TRY(check_vdi(call, snap, host, vm, vbd->vdi));
    }
    if (vm->power_state == VM_SUSPENDED)
        TRY(check_vdi(call, snap, host, vm, vm->suspend_vdi));
    return OK;
}

/* Where a network reaches a host: it has an interface there, or none anywhere. */
static bool network_reaches(const struct db_snap *snap, ref_t network, ref_t host, bool *internal)
{
    struct index_walk walk;
    ref_t ref;

    *internal = true;
    index_walk(snap_root(snap), &api_fields[FIELD_pif_network], network, &walk);
    while (index_next(&walk, &ref)) {
        const struct pif *pif = root_get(snap_root(snap), CLASS_pif, ref);

        *internal = false;
        if (ref_equal(pif->host, host))
            return true;
    }
    return *internal;
}

/* A network without interfaces is one host's at a time. */
static bool used_elsewhere(const struct db_snap *snap, ref_t network, ref_t host)
{
    struct index_walk walk;
    ref_t ref;

    index_walk(snap_root(snap), &api_fields[FIELD_vif_network], network, &walk);
    while (index_next(&walk, &ref)) {
        const struct vif *vif = root_get(snap_root(snap), CLASS_vif, ref);
        const struct vm *vm = root_get(snap_root(snap), CLASS_vm, vif->vm);

        if (vif->currently_attached && vm && !ref_is_null(vm->resident_on) &&
            !ref_equal(vm->resident_on, host))
            return true;
    }
    return false;
}

static struct error *check_networks(struct call *call, const struct db_snap *snap,
                                    const struct host *host, const struct vm *vm)
{
    struct index_walk walk;
    ref_t ref;

    index_walk(snap_root(snap), &api_fields[FIELD_vif_vm], vm->ref, &walk);
    while (index_next(&walk, &ref)) {
        const struct vif *vif = root_get(snap_root(snap), CLASS_vif, ref);
        bool internal;

        if (!network_reaches(snap, vif->network, host->ref, &internal))
            return err_vm_requires_network(call, call_ref(call, vm->ref),
                                           call_ref(call, vif->network));
        if (internal && used_elsewhere(snap, vif->network, host->ref))
            return err_host_cannot_attach_network(call, call_ref(call, host->ref),
                                                  call_ref(call, vif->network));
    }
    return OK;
}

/*** the host ***/

static const char *versions_text(struct call *call, const struct ints *versions)
{
    const char *text = "";

    for (size_t i = 0; i < versions->n; i++)
        text =
            arena_printf(call->arena, "%s%s%lld", text, i ? "; " : "", (long long)versions->v[i]);
    return arena_printf(call->arena, "[%s]", text);
}

static struct error *check_hardware_version(struct call *call, const struct host *host,
                                            const struct vm *vm)
{
    const struct ints *versions = (const struct ints *)&host->virtual_hardware_platform_versions;

    for (size_t i = 0; i < versions->n; i++)
        if (versions->v[i] == vm->hardware_platform_version)
            return OK;
    return err_vm_host_incompatible_virtual_hardware_platform_version(
        call, call_ref(call, host->ref), versions_text(call, versions), call_ref(call, vm->ref),
        arena_printf(call->arena, "%lld", (long long)vm->hardware_platform_version));
}

static bool host_has_hvm(const struct host *host)
{
    for (size_t i = 0; i < host->capabilities.n; i++)
        if (strncmp(host->capabilities.v[i], "hvm", 3) == 0)
            return true;
    return false;
}

struct error *host_can_run(struct call *call, const struct db_snap *snap, const struct host *host,
                           const struct vm *vm, struct placement_rules rules)
{
    const struct host_metrics *metrics =
        root_get(snap_root(snap), CLASS_host_metrics, host->metrics);

    if (rules.enabled && (!metrics || !metrics->live))
        return err_host_not_live(call);
    if (rules.enabled && !host->enabled)
        return err_host_disabled(call, call_ref(call, host->ref));
    TRY(check_hardware_version(call, host, vm));
    TRY(check_storage(call, snap, host, vm));
    TRY(check_networks(call, snap, host, vm));
    if (vm_needs_hvm(vm) && !host_has_hvm(host))
        return err_vm_hvm_required(call, call_ref(call, vm->ref));
    TRY(host_has_devices(call, snap, host, vm));
    return rules.memory ? check_memory(call, snap, host, vm) : OK;
}

/* VMs on the host, or coming to it, that are in a group with this one and want to be apart. */
static int64_t company(const struct db_snap *snap, const struct vm *vm, ref_t host)
{
    const struct vm_group *group =
        vm->groups.n ? root_get(snap_root(snap), CLASS_vm_group, vm->groups.v[0]) : NULL;
    struct index_walk walk;
    int64_t n = 0;
    ref_t ref;

    if (!group || group->placement != PLACEMENT_POLICY_ANTI_AFFINITY)
        return 0;
    index_walk(snap_root(snap), &api_fields[FIELD_vm_groups], group->ref, &walk);
    while (index_next(&walk, &ref)) {
        const struct vm *other = root_get(snap_root(snap), CLASS_vm, ref);

        n += !ref_equal(ref, vm->ref) && (ref_equal(other->resident_on, host) ||
                                          ref_equal(other->scheduled_to_be_resident_on, host));
    }
    return n;
}

/* Better first: this host, which can do it without another's help, then one with fewer VMs that are
 * to be apart from this one, then the VM's preferred host, then the one with more room. */
struct candidate {
    ref_t host;
    int64_t company;
    bool here, preferred;
    int64_t free;
};

static bool is_better(const struct candidate *a, const struct candidate *b)
{
    if (ref_is_null(b->host))
        return true;
    if (a->here != b->here)
        return a->here;
    if (a->company != b->company)
        return a->company < b->company;
    if (a->preferred != b->preferred)
        return a->preferred;
    return a->free > b->free;
}

struct error *host_choose(struct call *call, const struct vm *vm, ref_t *host)
{
    const struct placement_rules rules = {.memory = true, .enabled = true};
    struct candidate best = {0};
    struct error *obstacle = OK;
    bool differ = false;
    struct db_walk walk;
    const struct host *h;

    db_walk(call->snap, CLASS_host, &walk);
    while ((h = db_walk_next(&walk))) {
        struct error *e = host_can_run(call, call->snap, h, vm, rules);
        struct candidate c = {.host = h->ref,
                              .company = company(call->snap, vm, h->ref),
                              .here = ref_equal(h->ref, call->xapid->host),
                              .preferred = ref_equal(h->ref, vm->affinity)};

        if (e) {
            differ |= obstacle && !error_is(e, obstacle->code);
            obstacle = e;
            continue;
        }
        c.free = host_memory_free(call->snap, h, vm->ref);
        if (is_better(&c, &best))
            best = c;
    }
    if (ref_is_null(best.host))
        return obstacle && !differ ? obstacle : err_no_hosts_available(call);
    *host = best.host;
    return OK;
}

struct error *txn_host_reserve(struct txn *txn, ref_t host_ref, const struct vm *vm)
{
    const struct placement_rules rules = {.memory = true, .enabled = true};
    const struct host *host;

    TRY(TXN_GET(txn, host, host_ref, &host));
    TRY(host_can_run(txn_call(txn), txn_snap(txn), host, vm, rules));
    TXN_SET(txn, vm, vm->ref, scheduled_to_be_resident_on, host_ref);
    return txn_host_share(txn, host, vm);
}
