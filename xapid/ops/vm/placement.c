/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/vm/placement.h"

#include <string.h>

#include "libxapi/base/log.h"
#include "libxapi/value/value.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/ha/guard.h"
#include "xapid/ops/ha/state.h"
#include "xapid/ops/host/cpu.h"
#include "xapid/ops/host/here.h"
#include "xapid/ops/storage/check.h"
#include "xapid/ops/vm/checks.h"
#include "xapid/ops/vm/claims.h"
#include "xapid/ops/vm/passthrough.h"
#include "xapid/ops/vm/share.h"

/* Hosts that are tried for one VM while others take the memory away. */
#define CHOICES_MAX 4

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

/*** what a VM needs ***/

static void add_ref(struct arena *arena, struct refs *set, ref_t ref)
{
    ref_t *v;

    if (refs_contain(set, ref))
        return;
    v = arena_array(arena, ref_t, set->n + 1);
    for (size_t i = 0; i < set->n; i++)
        v[i] = set->v[i];
    v[set->n] = ref;
    *set = (struct refs){set->n + 1, v};
}

static void add_sr_of(struct call *call, const struct db_snap *snap, ref_t vdi_ref,
                      struct refs *srs)
{
    const struct vdi *vdi = root_get(snap_root(snap), CLASS_vdi, vdi_ref);

    if (vdi)
        add_ref(call->arena, srs, vdi->sr);
}

static void gather_vm(struct call *call, const struct db_snap *snap, const struct vm *vm,
                      struct place_vm *out)
{
    bool goes_on = vm->power_state == VM_SUSPENDED;
    const char *vendor = strmap_get(&vm->last_boot_cpu_flags, "vendor"),
               *features = strmap_get(&vm->last_boot_cpu_flags, "features");
    struct index_walk walk;
    ref_t ref;

    *out = (struct place_vm){.hardware_version = vm->hardware_platform_version,
                             .memory = vm_memory_least(vm) + vm_memory_overhead(vm),
                             .hvm = vm_needs_hvm(vm),
                             .cpu_vendor = goes_on && vendor ? vendor : "",
                             .cpu_features = goes_on && features ? features : "",
                             .affinity = vm->affinity};
    index_walk(snap_root(snap), &api_fields[FIELD_vbd_vm], vm->ref, &walk);
    while (index_next(&walk, &ref)) {
        const struct vbd *vbd = root_get(snap_root(snap), CLASS_vbd, ref);

        if (!vbd->empty)
            add_sr_of(call, snap, vbd->vdi, &out->srs);
    }
    if (goes_on)
        add_sr_of(call, snap, vm->suspend_vdi, &out->srs);
    index_walk(snap_root(snap), &api_fields[FIELD_vif_vm], vm->ref, &walk);
    while (index_next(&walk, &ref)) {
        const struct vif *vif = root_get(snap_root(snap), CLASS_vif, ref);

        add_ref(call->arena, &out->networks, vif->network);
    }
}

/*** what a host has of it ***/

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

static bool host_has_hvm(const struct host *host)
{
    for (size_t i = 0; i < host->capabilities.n; i++)
        if (strncmp(host->capabilities.v[i], "hvm", 3) == 0)
            return true;
    return false;
}

static bool runs_on(const struct vm *vm, ref_t host)
{
    return ref_equal(vm->resident_on, host) || ref_equal(vm->scheduled_to_be_resident_on, host);
}

/* VMs on the host, or coming to it, that are in a group with this one and want to be apart. */
static int64_t company(const struct call *call, const struct db_snap *snap, const struct vm *vm,
                       ref_t host)
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

        n += !ref_equal(ref, vm->ref) &&
             (runs_on(other, host) || claims_has(call->xapid->claims, snap, ref, host));
    }
    return n;
}

static const char *or_empty(const char *s)
{
    return s ? s : "";
}

static void gather_host(struct call *call, const struct db_snap *snap, const struct host *host,
                        const struct vm *vm, const struct place_vm *needs, struct place_host *out)
{
    const struct host_metrics *metrics =
        root_get(snap_root(snap), CLASS_host_metrics, host->metrics);

    *out = (struct place_host){
        .ref = host->ref,
        .live = metrics && metrics->live && ha_takes_vms(call, snap, host->ref),
        .enabled = host->enabled,
        .hvm = host_has_hvm(host),
        .n_versions = host->virtual_hardware_platform_versions.n,
        .versions = host->virtual_hardware_platform_versions.v,
        .cpu_vendor = or_empty(strmap_get(&host->cpu_info, "vendor")),
        .cpu_features = or_empty(strmap_get(&host->cpu_info, vm_cpu_key(vm))),
        .devices = host_has_devices(call, snap, host, vm),
        .free = host_memory_free(snap, host, vm->ref),
        .reclaimable = host_memory_reclaimable(call->xapid, snap, host, vm->ref),
        .claimed = claims_memory(call->xapid->claims, snap, host->ref, vm->ref),
        .company = company(call, snap, vm, host->ref),
    };
    for (size_t i = 0; i < needs->srs.n; i++)
        if (sr_is_plugged(snap, needs->srs.v[i], host->ref))
            add_ref(call->arena, &out->srs, needs->srs.v[i]);
    for (size_t i = 0; i < needs->networks.n; i++) {
        bool internal;

        if (network_reaches(snap, needs->networks.v[i], host->ref, &internal))
            add_ref(call->arena, &out->networks, needs->networks.v[i]);
        if (internal && used_elsewhere(snap, needs->networks.v[i], host->ref))
            add_ref(call->arena, &out->elsewhere, needs->networks.v[i]);
    }
}

/*** verdicts as errors ***/

static const char *decimal(struct call *call, int64_t n)
{
    return arena_printf(call->arena, "%lld", (long long)n);
}

static const char *versions_text(struct call *call, const struct place_host *host)
{
    const char *text = "";

    for (size_t i = 0; i < host->n_versions; i++)
        text = arena_printf(call->arena, "%s%s%lld", text, i ? "; " : "",
                            (long long)host->versions[i]);
    return arena_printf(call->arena, "[%s]", text);
}

static struct error *obstacle(struct call *call, const struct vm *vm, const struct place_vm *needs,
                              const struct place_verdict *v)
{
    const char *host = call_ref(call, v->host->ref), *self = call_ref(call, vm->ref);
    const char *what = call_ref(call, v->what);

    switch (v->reason) {
    case PLACE_FITS:
        return OK;
    case PLACE_NOT_LIVE:
        return err_host_not_live(call);
    case PLACE_DISABLED:
        return err_host_disabled(call, host);
    case PLACE_HARDWARE_VERSION:
        return err_vm_host_incompatible_virtual_hardware_platform_version(
            call, host, versions_text(call, v->host), self, decimal(call, needs->hardware_version));
    case PLACE_NO_SR:
        return err_vm_requires_sr(call, self, what);
    case PLACE_NO_NETWORK:
        return err_vm_requires_network(call, self, what);
    case PLACE_NETWORK_ELSEWHERE:
        return err_host_cannot_attach_network(call, host, what);
    case PLACE_NO_HVM:
        return err_vm_hvm_required(call, self);
    case PLACE_CPU:
        return err_vm_incompatible_with_this_host(
            call, self, host,
            "its guest uses a processor or features that this host does not have");
    case PLACE_NO_DEVICE:
        return (struct error *)v->host->devices;
    case PLACE_NO_MEMORY:
        return err_host_not_enough_free_memory(
            call, decimal(call, needs->memory),
            decimal(call, MAX(v->host->free + v->host->reclaimable, (int64_t)0)));
    }
    return OK;
}

struct error *host_can_run(struct call *call, const struct db_snap *snap, const struct host *host,
                           const struct vm *vm, struct place_rules rules)
{
    struct place_vm needs;
    struct place_host facts;
    struct place_verdict verdict;

    gather_vm(call, snap, vm, &needs);
    gather_host(call, snap, host, vm, &needs, &facts);
    verdict = place_check(&facts, &needs, rules);
    return obstacle(call, vm, &needs, &verdict);
}

struct hosts_ranked hosts_rank(struct call *call, const struct vm *vm, struct place_rules rules)
{
    size_t count = snap_root(call->snap)->tables[CLASS_host].count, n = 0;
    struct place_host *hosts = arena_array(call->arena, struct place_host, count + 1);
    struct place_verdict *verdicts = arena_array(call->arena, struct place_verdict, count + 1);
    struct host_rank *ranks = arena_array(call->arena, struct host_rank, count + 1);
    struct place_vm needs;
    struct db_walk walk;
    const struct host *h;
    size_t fitting;

    gather_vm(call, call->snap, vm, &needs);
    db_walk(call->snap, CLASS_host, &walk);
    while ((h = db_walk_next(&walk)))
        gather_host(call, call->snap, h, vm, &needs, &hosts[n++]);
    fitting = place_rank(n, hosts, &needs, rules, verdicts);
    for (size_t i = 0; i < n; i++)
        ranks[i] =
            (struct host_rank){verdicts[i].host->ref, obstacle(call, vm, &needs, &verdicts[i])};
    return (struct hosts_ranked){n, fitting, ranks};
}

/* One parameter for each host: "UUID (name): CODE(parameters)". */
static struct error *none_available(struct call *call, const struct vm *vm,
                                    const struct hosts_ranked *all)
{
    struct error *e = arena_alloc(call->arena, sizeof *e + (all->n + 1) * sizeof(*e->params)), *why;

    e->code = "NO_HOSTS_AVAILABLE";
    e->n_params = all->n;
    for (size_t i = 0; i < all->n; i++) {
        const struct host *host = db_find(call, CLASS_host, all->v[i].host);

        why = all->v[i].why;
        e->params[i] = arena_printf(call->arena, "%s (%s): %s", host->uuid, host->name_label,
                                    error_line(call->arena, why));
    }
    log_info("VM %s (%s): %s", vm->uuid, vm->name_label, error_line(call->arena, e));
    return e;
}

struct error *hosts_obstacle(struct call *call, const struct vm *vm, const struct hosts_ranked *all)
{
    for (size_t i = 1; i < all->n; i++)
        if (!error_is(all->v[i].why, all->v[0].why->code))
            return none_available(call, vm, all);
    return all->n ? all->v[0].why : err_no_hosts_available(call);
}

static struct error *choose_best(struct call *call, const struct vm *vm, ref_t *host)
{
    const struct place_rules rules = {.memory = true, .enabled = true};
    struct hosts_ranked all = hosts_rank(call, vm, rules);

    if (!all.fitting)
        return hosts_obstacle(call, vm, &all);
    *host = all.v[0].host;
    return OK;
}

struct error *vm_choose_host(struct call *call, const struct vm *vm, ref_t asked, ref_t *host)
{
    const struct place_rules rules = {.memory = true, .enabled = true};
    const struct host *here = host_here(call), *row;

    if (!ref_is_null(asked)) {
        TRY(DB_GET(call, host, asked, &row));
        TRY(host_can_run(call, call->snap, row, vm, rules));
        *host = asked;
    } else if (call->hops > 0 && here && !host_can_run(call, call->snap, here, vm, rules)) {
        *host = here->ref;
    } else {
        TRY(choose_best(call, vm, host));
        claims_add(call->xapid->claims, vm->ref, *host, vm_memory_least(vm));
    }
    return host_is_here(call, *host);
}

bool vm_choose_again(struct call *call, const struct error *e, ref_t asked, int *tries)
{
    if (!ref_is_null(asked) || !error_is(e, "HOST_NOT_ENOUGH_FREE_MEMORY") ||
        ++*tries == CHOICES_MAX)
        return false;
    call_refresh(call);
    return true;
}

struct error *txn_host_reserve(struct txn *txn, ref_t host_ref, const struct vm *vm)
{
    const struct place_rules rules = {.memory = true, .enabled = true};
    const struct host *host;

    TRY(TXN_GET(txn, host, host_ref, &host));
    TRY(host_can_run(txn_call(txn), txn_snap(txn), host, vm, rules));
    TRY(txn_ha_check_start(txn, vm, host_ref));
    TXN_SET(txn, vm, vm->ref, scheduled_to_be_resident_on, host_ref);
    return txn_host_share(txn, host, vm);
}
