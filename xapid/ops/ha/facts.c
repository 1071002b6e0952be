/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/ha/facts.h"

#include <string.h>

#include "libxapi/base/buf.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/ha/state.h"
#include "xapid/ops/vm/checks.h"
#include "xapid/ops/vm/placement.h"
#include "xapid/ops/vm/share.h"

static const struct ha_change no_change;

/*** who is protected, and in which order ***/

bool ha_protects(const struct vm *vm)
{
    return vm->ha_always_run && strcmp(vm->ha_restart_priority, "restart") == 0 &&
           !vm->is_a_template && !vm->is_a_snapshot && !vm->is_control_domain;
}

int ha_compare_order(const struct vm *a, const struct vm *b)
{
    /* As unsigned numbers negative ones are the largest. */
    uint64_t x = (uint64_t)a->order, y = (uint64_t)b->order;

    return x != y ? (x < y ? -1 : 1) : strcmp(a->uuid, b->uuid);
}

struct priority { /* of map ref VM string */
    ref_t vm;
    const char *value;
};

static bool would_be_protected(const struct vm *vm, const struct ha_change *change)
{
    const struct priority *p = change->priorities ? change->priorities->v : NULL;

    if (!change->priorities)
        return ha_protects(vm);
    for (size_t i = 0; i < change->priorities->n; i++)
        if (ref_equal(p[i].vm, vm->ref))
            return strcmp(p[i].value, "restart") == 0;
    return false;
}

/*** hosts ***/

static int64_t need(const struct vm *vm)
{
    return vm_memory_least(vm) + vm_memory_overhead(vm);
}

static const struct vm *record_of(const struct vm *vm, const struct ha_change *change)
{
    return ref_equal(vm->ref, change->vm) && change->as ? change->as : vm;
}

static ref_t place_of(const struct vm *vm, const struct ha_change *change)
{
    if (ref_equal(vm->ref, change->vm) && !ref_is_null(change->on))
        return change->on;
    return ref_is_null(vm->resident_on) ? vm->scheduled_to_be_resident_on : vm->resident_on;
}

/* What VMs could be given there. */
static int64_t room(struct call *call, const struct db_snap *snap, const struct host *host,
                    const struct ha_change *change)
{
    const struct vm *vm = root_get(snap_root(snap), CLASS_vm, change->vm);
    int64_t free = host_memory_free(snap, host, change->vm) +
                   host_memory_reclaimable(call->xapid, snap, host, change->vm);

    if (vm && ref_equal(place_of(vm, change), host->ref))
        free -= need(record_of(vm, change));
    return free;
}

static void gather_hosts(struct call *call, const struct db_snap *snap,
                         const struct ha_change *change, struct ha_facts *out)
{
    int64_t *free = arena_array(call->arena, int64_t, HA_MAX_HOSTS);
    const struct host *host;
    struct db_walk walk;

    out->hosts = arena_array(call->arena, const struct host *, HA_MAX_HOSTS);
    db_walk(snap, CLASS_host, &walk);
    while ((host = db_walk_next(&walk)) && out->problem.n_hosts < HA_MAX_HOSTS) {
        const struct host_metrics *metrics =
            root_get(snap_root(snap), CLASS_host_metrics, host->metrics);
        size_t i = out->problem.n_hosts;

        if (!metrics || !metrics->live || !host->enabled || !ha_takes_vms(call, snap, host->ref) ||
            ref_equal(host->ref, change->without))
            continue;
        out->hosts[i] = host;
        free[i] = room(call, snap, host, change);
        out->problem.n_hosts++;
    }
    out->problem.free = free;
}

/* How many may fail at once and leave a majority of those that vote. */
static size_t majority_limit(struct call *call)
{
    struct log_member *members;
    size_t n, voters = 0;

    db_members(call->xapid->db, call->arena, &n, &members);
    for (size_t i = 0; i < n; i++)
        voters += members[i].role == LOG_VOTER;
    return voters ? (voters - 1) / 2 : 0;
}

/*** VMs ***/

static uint64_t hosts_for(struct call *call, const struct db_snap *snap, const struct vm *vm,
                          const struct ha_facts *facts)
{
    const struct place_rules rules = {.enabled = true};
    uint64_t can = 0;

    for (size_t i = 0; i < facts->problem.n_hosts; i++)
        if (!host_can_run(call, snap, facts->hosts[i], vm, rules))
            can |= (uint64_t)1 << i;
    return can;
}

static int index_of(const struct ha_facts *facts, ref_t host)
{
    for (size_t i = 0; i < facts->problem.n_hosts; i++)
        if (ref_equal(facts->hosts[i]->ref, host))
            return (int)i;
    return -1;
}

static void insert_in_order(const struct vm **v, size_t n, const struct vm *vm)
{
    for (; n && ha_compare_order(vm, v[n - 1]) < 0; n--)
        v[n] = v[n - 1];
    v[n] = vm;
}

static void gather_vms(struct call *call, const struct db_snap *snap,
                       const struct ha_change *change, struct ha_facts *out)
{
    size_t count = snap_root(snap)->tables[CLASS_vm].count, n = 0;
    struct ha_vm *vms = arena_array(call->arena, struct ha_vm, count + 1);
    const struct vm *vm;
    struct db_walk walk;

    out->vms = arena_array(call->arena, const struct vm *, count + 1);
    db_walk(snap, CLASS_vm, &walk);
    while ((vm = db_walk_next(&walk)))
        if (would_be_protected(record_of(vm, change), change))
            insert_in_order(out->vms, n++, vm);
    for (size_t i = 0; i < n; i++)
        vms[i] = (struct ha_vm){.memory = need(record_of(out->vms[i], change)),
                                .on = index_of(out, place_of(out->vms[i], change)),
                                .can = hosts_for(call, snap, out->vms[i], out)};
    out->problem.vms = vms;
    out->problem.n_vms = n;
}

void ha_gather(struct call *call, const struct db_snap *snap, const struct ha_change *change,
               struct ha_facts *out)
{
    size_t majority = majority_limit(call);

    if (!change)
        change = &no_change;
    *out = (struct ha_facts){0};
    gather_hosts(call, snap, change, out);
    gather_vms(call, snap, change, out);
    out->limit = MIN(majority, out->problem.n_hosts ? out->problem.n_hosts - 1 : 0);
}

/*** in words ***/

static const char *name_of(const struct host *host)
{
    return *host->name_label ? host->name_label : host->uuid;
}

static void tell_failed(struct buf *text, const struct ha_facts *facts, uint64_t failed)
{
    const char *between = "";

    for (size_t i = 0; i < facts->problem.n_hosts; i++) {
        if (!(failed & ((uint64_t)1 << i)))
            continue;
        buf_printf(text, "%s%s", between, name_of(facts->hosts[i]));
        between = ", ";
    }
}

static void tell_obstacles(struct call *call, const struct db_snap *snap, struct buf *text,
                           const struct ha_facts *facts, const struct ha_verdict *v)
{
    const struct place_rules rules = {.enabled = true};

    for (size_t i = 0; i < facts->problem.n_hosts; i++) {
        const struct host *host = facts->hosts[i];
        struct error *e;

        if (v->failed & ((uint64_t)1 << i))
            continue;
        e = host_can_run(call, snap, host, facts->vms[v->vm], rules);
        if (e)
            buf_printf(text, "; %s: %s", name_of(host), error_line(call->arena, e));
        else
            buf_printf(text, "; %s: %lld bytes free, to be shared with the others", name_of(host),
                       (long long)MAX(facts->problem.free[i], (int64_t)0));
    }
}

const char *ha_explain(struct call *call, const struct db_snap *snap, const struct ha_facts *facts,
                       const struct ha_verdict *v)
{
    struct buf text = {0};
    const char *copy;

    if (v->exists)
        return "all protected VMs would run again";
    if (v->vm < 0)
        return v->exact ? "no host would be left"
                        : "there are too many VMs and hosts to look at every choice, and a rough "
                          "estimate finds no room";
    if (v->failed) {
        buf_puts(&text, "should these hosts fail: ");
        tell_failed(&text, facts, v->failed);
        buf_puts(&text, ", ");
    }
    buf_printf(&text, "VM %s (%s) would have no place; it needs %lld bytes",
               facts->vms[v->vm]->uuid, facts->vms[v->vm]->name_label,
               (long long)facts->problem.vms[v->vm].memory);
    tell_obstacles(call, snap, &text, facts, v);
    copy = arena_strdup(call->arena, text.data);
    buf_release(&text);
    return copy;
}
