/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * evacuate.c -- a host is emptied: its VMs move to other hosts while they run.
 *
 * The plan is whole: before the first VM moves each has a place, on a host that can run it.  The
 * moves are VM.pool_migrate as anybody may call it, some at a time, each with its own intent; the
 * evacuation's intent is only the lock.  What changes meanwhile is planned again: VMs that arrive,
 * and those whose place was taken by others.
 */
#include <string.h>

#include "libxapi/base/buf.h"
#include "libxapi/base/log.h"
#include "pool/plan/evacuate.h"
#include "xapid/forward/forward.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/host/here.h"
#include "xapid/ops/migrate/migrate.h"
#include "xapid/ops/parallel.h"
#include "xapid/ops/vm/lifecycle.h"
#include "xapid/ops/vm/placement.h"
#include "xapid/ops/vm/share.h"
#include "xapid/ops/vm/checks.h"
#include "xapid/ops/vm/squeezer.h"
#include "xapid/task/task.h"

#define BATCH_DEFAULT 10
#define BATCH_MAX 64
#define ROUNDS_MAX 3

/*** the plan ***/

/* Entries of map ref VM set string: why a VM has to stay, as an error's code and parameters. */
struct obstacle {
    ref_t vm;
    struct strings why;
};

struct plan {
    size_t n_vms, n_hosts;
    const struct vm **vms;
    const struct host **hosts; /* the first is the one that is emptied */
    struct error **why;        /* of each VM: why it has to stay; OK: it has a place */
    int *to;                   /* index of its host */
    struct ha_vm *needs;
    int64_t *free;
    size_t n_groups, *groups;
    ref_t *group_refs; /* from 1 */
    int64_t *company;
};

static void gather_vms(struct call *call, ref_t host, struct plan *p)
{
    struct refs vms = db_referrers(call, FIELD_vm_resident_on, host);

    p->vms = arena_array(call->arena, const struct vm *, vms.n + 1);
    p->why = arena_array(call->arena, struct error *, vms.n + 1);
    p->to = arena_array(call->arena, int, vms.n + 1);
    p->needs = arena_array(call->arena, struct ha_vm, vms.n + 1);
    p->groups = arena_array(call->arena, size_t, vms.n + 1);
    p->group_refs = arena_array(call->arena, ref_t, vms.n + 1);
    p->n_groups = 1;
    for (size_t i = 0; i < vms.n; i++) {
        const struct vm *vm = db_find(call, CLASS_vm, vms.v[i]);

        if (vm && !vm->is_control_domain)
            p->vms[p->n_vms++] = vm;
    }
}

/* Where VMs could go at all: others are told of with the reason that each has. */
static void gather_hosts(struct call *call, const struct host *from, struct plan *p)
{
    const struct host *host;
    struct db_walk walk;

    p->hosts = arena_array(call->arena, const struct host *, HA_MAX_HOSTS);
    p->free = arena_array(call->arena, int64_t, HA_MAX_HOSTS);
    p->hosts[p->n_hosts++] = from;
    db_walk(call->snap, CLASS_host, &walk);
    while ((host = db_walk_next(&walk)) && p->n_hosts < HA_MAX_HOSTS) {
        if (ref_equal(host->ref, from->ref))
            continue;
        p->free[p->n_hosts] = host_memory_free(call->snap, host, REF_NULL) +
                              host_memory_reclaimable(call->xapid, call->snap, host, REF_NULL);
        p->hosts[p->n_hosts++] = host;
    }
}

/* The number of its anti-affinity group in the plan; 0: it has none. */
static size_t group_of(struct call *call, struct plan *p, const struct vm *vm)
{
    const struct vm_group *group =
        vm->groups.n ? db_find(call, CLASS_vm_group, vm->groups.v[0]) : NULL;

    if (!group || group->placement != PLACEMENT_POLICY_ANTI_AFFINITY)
        return 0;
    for (size_t i = 1; i < p->n_groups; i++)
        if (ref_equal(p->group_refs[i], group->ref))
            return i;
    p->group_refs[p->n_groups] = group->ref;
    return p->n_groups++;
}

static void gather_company(struct call *call, struct plan *p)
{
    p->company = arena_array(call->arena, int64_t, p->n_groups * p->n_hosts);
    for (size_t g = 1; g < p->n_groups; g++) {
        struct refs members = db_referrers(call, FIELD_vm_groups, p->group_refs[g]);

        for (size_t i = 0; i < members.n; i++) {
            const struct vm *vm = db_find(call, CLASS_vm, members.v[i]);

            for (size_t h = 1; vm && h < p->n_hosts; h++)
                p->company[g * p->n_hosts + h] +=
                    ref_equal(vm->resident_on, p->hosts[h]->ref) ||
                    ref_equal(vm->scheduled_to_be_resident_on, p->hosts[h]->ref);
        }
    }
}

/* What the VM needs, and the hosts that have it, but for memory; why[i] where there is none. */
static void gather_needs(struct call *call, struct plan *p, size_t i)
{
    const struct vm *vm = p->vms[i];
    struct host_rank *ranks = arena_array(call->arena, struct host_rank, p->n_hosts + 1);
    const struct hosts_ranked all = {p->n_hosts - 1, 0, ranks};
    uint64_t can = 0;

    for (size_t h = 1; h < p->n_hosts; h++) {
        struct error *e = migrate_check(call, call->snap, vm, p->hosts[h], MIGRATE_ANY_MEMORY);

        ranks[h - 1] = (struct host_rank){p->hosts[h]->ref, e};
        can |= (uint64_t)!e << h;
    }
    p->needs[i] = (struct ha_vm){vm_memory_least(vm) + vm_memory_overhead(vm), 0, can};
    p->groups[i] = group_of(call, p, vm);
    p->why[i] = vm_check_unless_busy(call, vm, VM_OP_POOL_MIGRATE);
    if (!p->why[i] && !can)
        p->why[i] = hosts_obstacle(call, vm, &all);
    if (p->why[i])
        p->needs[i].on = -1; /* no place need be found for it */
}

static struct error *no_room(struct call *call, const struct plan *p, size_t i)
{
    int64_t most = 0;

    for (size_t h = 1; h < p->n_hosts; h++)
        if (p->needs[i].can >> h & 1)
            most = MAX(most, p->free[h]);
    return err_host_not_enough_free_memory(
        call, arena_printf(call->arena, "%lld", (long long)p->needs[i].memory),
        arena_printf(call->arena, "%lld", (long long)most));
}

static struct error *make_plan(struct call *call, ref_t host, struct plan *p)
{
    const struct host *from;
    struct evacuation e;

    *p = (struct plan){0};
    TRY(DB_GET(call, host, host, &from));
    gather_vms(call, host, p);
    gather_hosts(call, from, p);
    for (size_t i = 0; i < p->n_vms; i++)
        gather_needs(call, p, i);
    gather_company(call, p);
    e = (struct evacuation){.problem = {p->n_hosts, p->free, p->n_vms, p->needs},
                            .emptied = 1,
                            .groups = p->groups,
                            .n_groups = p->n_groups,
                            .company = p->company};
    evacuation_plan(call->arena, &e, p->to);
    for (size_t i = 0; i < p->n_vms; i++)
        if (!p->why[i] && p->to[i] == HA_NO_PLACE)
            p->why[i] = no_room(call, p, i);
    return OK;
}

/*** what stands in the way ***/

/* The code; then, where all hosts differ, the VM, which clients look for; then the parameters. */
static struct strings told(struct call *call, const struct vm *vm, const struct error *e)
{
    bool name_it = error_is(e, "NO_HOSTS_AVAILABLE");
    const char **v = arena_array(call->arena, const char *, e->n_params + 2);
    size_t n = 0;

    v[n++] = e->code;
    if (name_it)
        v[n++] = call_ref(call, vm->ref);
    for (size_t i = 0; i < e->n_params; i++)
        v[n++] = e->params[i];
    return (struct strings){n, v};
}

static struct obstacle *obstacles_of(struct call *call, const struct plan *p, size_t *n)
{
    struct obstacle *v = arena_array(call->arena, struct obstacle, p->n_vms + 1);

    *n = 0;
    for (size_t i = 0; i < p->n_vms; i++)
        if (p->why[i])
            v[(*n)++] = (struct obstacle){p->vms[i]->ref, told(call, p->vms[i], p->why[i])};
    return v;
}

/* A field of a text whose fields are joined by commas and bars. */
static void add_field(struct buf *text, const char *field)
{
    for (; *field; field++)
        buf_putc(text, strchr(",|", *field) ? ';' : *field);
}

/* All reasons in one text: fields joined by commas, VMs by bars. */
static struct error *check_plan(struct call *call, const struct plan *p)
{
    struct buf text = {0};
    struct obstacle *v;
    struct error *e;
    size_t n;

    v = obstacles_of(call, p, &n);
    if (!n)
        return OK;
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_putc(&text, '|');
        for (size_t k = 0; k < v[i].why.n; k++) {
            if (k)
                buf_putc(&text, ',');
            add_field(&text, v[i].why.v[k]);
        }
    }
    e = err_cannot_evacuate_host(call, text.data);
    buf_release(&text);
    return e;
}

struct error *host_assert_can_evacuate(struct call *call,
                                       const struct host_assert_can_evacuate_args *args)
{
    struct plan plan;

    TRY(make_plan(call, args->host, &plan));
    return check_plan(call, &plan);
}

struct error *host_get_vms_which_prevent_evacuation(
    struct call *call, const struct host_get_vms_which_prevent_evacuation_args *args,
    struct map *result)
{
    struct obstacle *v;
    struct plan plan;
    size_t n;

    TRY(make_plan(call, args->self, &plan));
    v = obstacles_of(call, &plan, &n);
    *result = (struct map){n, v};
    return OK;
}

/*** the moves ***/

struct moves {
    struct call *call;
    const struct plan *plan;
    ref_t network;
};

static struct error *move_one(struct call *call, void *arg, size_t i)
{
    const struct moves *m = arg;
    const struct strpair options[] = {
        {"live", "true"}, {"network", ref_is_null(m->network) ? "" : call_ref(call, m->network)}};

    return forward_run(call, MSG_vm_pool_migrate,
                       &(struct vm_pool_migrate_args){.vm = m->plan->vms[i]->ref,
                                                      .host = m->plan->hosts[m->plan->to[i]]->ref,
                                                      .options = {2, options}},
                       NULL);
}

static void tell(void *arg, size_t n_done)
{
    const struct moves *m = arg;

    task_progress(m->call, 0.05 + 0.9 * (double)n_done / (double)m->plan->n_vms);
}

/* True where it is not on the host any more, or does not run. */
static bool is_gone(struct call *call, ref_t vm_ref, ref_t host)
{
    const struct vm *vm = db_find(call, CLASS_vm, vm_ref);

    return !vm || !ref_equal(vm->resident_on, host);
}

/* The first error of a VM that is still there; the others are in the log. */
static struct error *first_error(struct call *call, const struct plan *p, struct error **errors)
{
    struct error *first = OK;

    call_refresh(call);
    for (size_t i = 0; i < p->n_vms; i++) {
        if (!errors[i] || is_gone(call, p->vms[i]->ref, p->hosts[0]->ref))
            continue;
        log_warning("VM %s (%s) has not left host %s: %s", p->vms[i]->uuid, p->vms[i]->name_label,
                    p->hosts[0]->uuid, error_line(call->arena, errors[i]));
        first = first ? first : errors[i];
    }
    return first;
}

/* *failed: what kept a VM from moving this time. */
static struct error *move_all(struct op *op, const struct plan *p,
                              const struct host_evacuate_args *args, struct error **failed)
{
    struct call *call = op->call;
    struct error **errors = arena_array(call->arena, struct error *, p->n_vms + 1);
    int64_t batch = args->evacuate_batch_size ? args->evacuate_batch_size : BATCH_DEFAULT;
    struct moves m = {call, p, args->network};

    TRY(parallel_run(call,
                     &(struct parallel){.name = "VM.pool_migrate",
                                        .n = p->n_vms,
                                        .at_once = (size_t)MIN(batch, (int64_t)BATCH_MAX),
                                        .run = move_one,
                                        .arg = &m,
                                        .done = tell},
                     errors));
    *failed = first_error(call, p, errors);
    return OK;
}

/* VMs that came meanwhile, and those whose place was taken, have another turn. */
static struct error *empty(struct op *op, const struct host_evacuate_args *args)
{
    struct call *call = op->call;
    struct error *failed = OK;
    struct plan plan;

    for (int round = 0; round < ROUNDS_MAX; round++) {
        call_refresh(call);
        TRY(make_plan(call, args->host, &plan));
        TRY(check_plan(call, &plan));
        if (!plan.n_vms)
            return OK;
        TRY(op_step(op, "planned", 0.05));
        TRY(move_all(op, &plan, args, &failed));
        TRY(op_step(op, "moved", 0.95));
    }
    call_refresh(call);
    TRY(make_plan(call, args->host, &plan));
    if (!plan.n_vms)
        return OK;
    return failed ? failed
                  : err_host_in_use(call, call_ref(call, args->host), "VM",
                                    call_ref(call, plan.vms[0]->ref));
}

/* One at a time, and not while the host goes down. */
static struct error *check_evacuate(struct txn *txn, void *arg)
{
    ref_t ref = *(const ref_t *)arg;
    struct call *call = txn_call(txn);
    const struct host *host;

    TRY(TXN_GET(txn, host, ref, &host));
    return host->current_operations.n
               ? err_other_operation_in_progress(call, "host", call_ref(call, ref), "", "")
               : OK;
}

struct error *host_evacuate(struct call *call, const struct host_evacuate_args *args)
{
    struct host_evacuate_intent intent = {.host = args->host};
    struct op_hold hold = {CLASS_host, args->host, HOST_OP_EVACUATE};
    const struct network *network;
    AUTO(op) op = {0};
    struct plan plan;

    if (args->evacuate_batch_size < 0)
        return err_invalid_value(
            call, "evacuate_batch_size",
            arena_printf(call->arena, "%lld", (long long)args->evacuate_batch_size));
    if (!ref_is_null(args->network))
        TRY(DB_GET(call, network, args->network, &network));
    TRY(host_check_here(call, args->host));
    TRY(make_plan(call, args->host, &plan));
    TRY(check_plan(call, &plan));
    TRY(op_begin(call,
                 &(struct op_spec){.kind = INTENT_host_evacuate,
                                   .intent = &intent,
                                   .n_holds = 1,
                                   .holds = &hold,
                                   .check = check_evacuate,
                                   .arg = &intent.host},
                 &op));
    TRY(empty(&op, args));
    return op_commit(&op, NULL, NULL);
}

/* Each VM's move goes on, or back, by its own intent; those that had not begun stay. */
struct error *host_evacuate_recover(struct call *call, struct op *op,
                                    const struct host_evacuate_intent *intent)
{
    (void)call, (void)intent;
    return op_commit(op, NULL, NULL);
}

/*** who does not give back memory ***/

/* Of other hosts that is not known here. */
struct error *host_get_uncooperative_resident_vms(
    struct call *call, const struct host_get_uncooperative_resident_vms_args *args,
    struct refs *result)
{
    const struct host *host;

    TRY(DB_GET(call, host, args->self, &host));
    *result = ref_equal(args->self, call->xapid->host)
                  ? squeezer_uncooperative(call->xapid->squeezer, call->arena)
                  : (struct refs){0};
    return OK;
}

struct error *host_get_uncooperative_domains(struct call *call,
                                             const struct host_get_uncooperative_domains_args *args,
                                             struct strings *result)
{
    const struct host *host;
    struct refs vms = {0};
    const char **uuids;

    TRY(DB_GET(call, host, args->self, &host));
    if (ref_equal(args->self, call->xapid->host))
        vms = squeezer_uncooperative(call->xapid->squeezer, call->arena);
    uuids = arena_array(call->arena, const char *, vms.n + 1);
    *result = (struct strings){0, uuids};
    for (size_t i = 0; i < vms.n; i++) {
        const struct vm *vm = db_find(call, CLASS_vm, vms.v[i]);

        if (vm)
            uuids[result->n++] = vm->uuid;
    }
    return OK;
}

/*** updates ***/

static struct strings reason(struct call *call, const char *code, const char *param)
{
    const char **v = arena_array(call->arena, const char *, 2);

    v[0] = code;
    v[1] = param;
    return (struct strings){param ? 2 : 1, v};
}

/* Why a host of the pool cannot be updated now: it is not there, or, where it has to boot, its VMs
 * have nowhere to go. */
struct error *pool_check_update_readiness(struct call *call,
                                          const struct pool_check_update_readiness_args *args,
                                          struct set *result)
{
    size_t n = 0, room = snap_root(call->snap)->tables[CLASS_host].count + 1 +
                         snap_root(call->snap)->tables[CLASS_vm].count;
    struct strings *v = arena_array(call->arena, struct strings, room);
    const struct pool *pool;
    const struct host *host;
    struct db_walk walk;

    TRY(DB_GET(call, pool, args->self, &pool));
    if (pool->ha_enabled)
        v[n++] = reason(call, "HA_IS_ENABLED", NULL);
    db_walk(call->snap, CLASS_host, &walk);
    while ((host = db_walk_next(&walk))) {
        const struct host_metrics *m = db_find(call, CLASS_host_metrics, host->metrics);
        struct obstacle *found;
        struct plan plan;
        size_t n_found;

        if (!m || !m->live)
            v[n++] = reason(call, "HOST_OFFLINE", call_ref(call, host->ref));
        if (!args->requires_reboot)
            continue;
        TRY(make_plan(call, host->ref, &plan));
        found = obstacles_of(call, &plan, &n_found);
        for (size_t i = 0; i < n_found && n < room; i++)
            v[n++] = found[i].why;
    }
    *result = (struct set){n, v};
    return OK;
}
