/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* plan.c -- messages of class pool that ask whether and where protected VMs would be restarted. */
#include <string.h>

#include "libxapi/base/log.h"
#include "xapid/db/ready.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/ha/facts.h"
#include "xapid/ops/ha/ha.h"
#include "xapid/ops/ha/state.h"
#include "xapid/ops/vm/placement.h"

static const char *decimal(struct call *call, int64_t n)
{
    return arena_printf(call->arena, "%lld", (long long)n);
}

/*** how many failures ***/

struct error *pool_ha_failover_plan_exists(struct call *call,
                                           const struct pool_ha_failover_plan_exists_args *args,
                                           bool *result)
{
    struct ha_facts facts;
    struct ha_verdict v;

    if (args->n < 0)
        return err_invalid_value(call, "n", decimal(call, args->n));
    ha_gather(call, call->snap, NULL, &facts);
    *result = (uint64_t)args->n <= facts.limit;
    if (!*result)
        return OK;
    v = ha_plan_exists(call->arena, &facts.problem, (size_t)args->n);
    if (!v.exists)
        log_info("no failover plan for %lld failures: %s", (long long)args->n,
                 ha_explain(call, call->snap, &facts, &v));
    *result = v.exists;
    return OK;
}

static int64_t most(struct call *call, const struct ha_change *change)
{
    struct ha_facts facts;

    ha_gather(call, call->snap, change, &facts);
    return MAX(ha_max_failures(call->arena, &facts.problem, facts.limit, NULL), 0);
}

struct error *pool_ha_compute_max_host_failures_to_tolerate(struct call *call, int64_t *result)
{
    *result = most(call, NULL);
    return OK;
}

struct priority { /* of map ref VM string */
    ref_t vm;
    const char *value;
};

struct error *pool_ha_compute_hypothetical_max_host_failures_to_tolerate(
    struct call *call,
    const struct pool_ha_compute_hypothetical_max_host_failures_to_tolerate_args *args,
    int64_t *result)
{
    const struct priority *v = args->configuration.v;
    const struct vm *vm;

    for (size_t i = 0; i < args->configuration.n; i++) {
        TRY(DB_GET(call, vm, v[i].vm, &vm));
        TRY(ha_check_priority(call, v[i].value));
    }
    *result = most(call, &(struct ha_change){.priorities = &args->configuration});
    return OK;
}

struct error *ha_check_priority(struct call *call, const char *value)
{
    if (!*value || strcmp(value, "restart") == 0 || strcmp(value, "best-effort") == 0)
        return OK;
    return err_invalid_value(call, "ha_restart_priority", value);
}

/*** where ***/

struct place { /* of map ref VM map string string */
    ref_t vm;
    struct strmap what;
};

static struct place placed(struct call *call, ref_t vm, const char *key, const char *value)
{
    struct strpair *pair = arena_new(call->arena, struct strpair);

    *pair = (struct strpair){key, value};
    return (struct place){vm, {1, pair}};
}

static struct error *failed_set(struct call *call, const struct ha_facts *facts,
                                const struct refs *hosts, uint64_t *failed)
{
    const struct host *host;

    *failed = 0;
    for (size_t i = 0; i < hosts->n; i++)
        TRY(DB_GET(call, host, hosts->v[i], &host));
    for (size_t i = 0; i < facts->problem.n_hosts; i++)
        if (refs_contain(hosts, facts->hosts[i]->ref))
            *failed |= (uint64_t)1 << i;
    return OK;
}

struct error *pool_ha_compute_vm_failover_plan(
    struct call *call, const struct pool_ha_compute_vm_failover_plan_args *args, struct map *result)
{
    struct priority *chosen = arena_array(call->arena, struct priority, args->failed_vms.n + 1);
    struct place *v = arena_array(call->arena, struct place, args->failed_vms.n + 1);
    struct map priorities = {args->failed_vms.n, chosen};
    struct ha_facts facts;
    const struct vm *vm;
    uint64_t failed;
    int *to;

    /* As if these were the protected ones. */
    for (size_t i = 0; i < args->failed_vms.n; i++) {
        TRY(DB_GET(call, vm, args->failed_vms.v[i], &vm));
        chosen[i] = (struct priority){vm->ref, "restart"};
    }
    ha_gather(call, call->snap, &(struct ha_change){.priorities = &priorities}, &facts);
    TRY(failed_set(call, &facts, &args->failed_hosts, &failed));
    to = arena_array(call->arena, int, facts.problem.n_vms + 1);
    ha_plan(call->arena, &facts.problem, failed, to);
    *result = (struct map){facts.problem.n_vms, v};
    for (size_t i = 0; i < facts.problem.n_vms; i++) {
        ref_t self = facts.vms[i]->ref;

        if (to[i] >= 0)
            v[i] = placed(call, self, "host", call_ref(call, facts.hosts[to[i]]->ref));
        else if (to[i] == HA_STAYS)
            v[i] = placed(call, self, "host", call_ref(call, facts.vms[i]->resident_on));
        else if (facts.problem.vms[i].can & ~failed)
            v[i] = placed(call, self, "error_code", "HOST_NOT_ENOUGH_FREE_MEMORY");
        else
            v[i] = placed(call, self, "error_code", "NO_HOSTS_AVAILABLE");
    }
    return OK;
}

/*** settings ***/

static struct error *tolerate_txn(struct txn *txn, void *arg)
{
    const struct pool_set_ha_host_failures_to_tolerate_args *args = arg;
    struct call *call = txn_call(txn);
    struct ha_facts facts;
    struct ha_verdict v;
    const struct pool *pool;

    TRY(TXN_GET(txn, pool, args->self, &pool));
    if (!pool->ha_enabled)
        return err_ha_not_enabled(call);
    if (args->value > pool->ha_host_failures_to_tolerate && !pool->ha_allow_overcommit) {
        ha_gather(call, txn_snap(txn), NULL, &facts);
        v = (struct ha_verdict){0};
        if ((uint64_t)args->value <= facts.limit)
            v = ha_plan_exists(call->arena, &facts.problem, (size_t)args->value);
        if (!v.exists)
            return err_ha_operation_would_break_failover_plan(call);
    }
    TXN_SET(txn, pool, args->self, ha_host_failures_to_tolerate, args->value);
    txn_ha_note_plan(txn, args->value);
    return OK;
}

struct error *pool_set_ha_host_failures_to_tolerate(
    struct call *call, const struct pool_set_ha_host_failures_to_tolerate_args *args)
{
    if (args->value < 0)
        return err_invalid_value(call, "ha_host_failures_to_tolerate", decimal(call, args->value));
    return db_update(call, tolerate_txn, (void *)args);
}

struct error *pool_ha_schedule_plan_recomputation(struct call *call)
{
    ha_wake(call->xapid->ha);
    return OK;
}
