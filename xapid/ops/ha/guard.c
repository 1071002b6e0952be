/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/ha/guard.h"

#include <string.h>

#include "libxapi/base/log.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/ha/state.h"
#include "xapid/ops/vm/checks.h"

/* What HA itself starts again is part of the plan. */
static bool is_restarted_by_ha(struct txn *txn, ref_t vm)
{
    return !ref_is_null(vm) && txn_referrers(txn, FIELD_ha_restart_vm, vm).n > 0;
}

struct error *txn_ha_check(struct txn *txn, const struct ha_change *change)
{
    struct call *call = txn_call(txn);
    const struct pool *pool = txn_find(txn, CLASS_pool, call->xapid->pool);
    struct ha_verdict v;
    struct ha_facts facts;

    if (!pool || !pool->ha_enabled || pool->ha_allow_overcommit || pool->ha_plan_exists_for <= 0 ||
        is_restarted_by_ha(txn, change->vm))
        return OK;
    ha_gather(call, txn_snap(txn), change, &facts);
    v = ha_plan_exists(call->arena, &facts.problem, (size_t)pool->ha_plan_exists_for);
    if (v.exists)
        return OK;
    log_info("a change would break the failover plan: %s",
             ha_explain(call, txn_snap(txn), &facts, &v));
    return err_ha_operation_would_break_failover_plan(call);
}

struct error *txn_ha_check_vm(struct txn *txn, const struct vm *as)
{
    return txn_ha_check(txn, &(struct ha_change){.vm = as->ref, .as = as});
}

static bool is_protected(struct txn *txn, const struct vm *vm)
{
    const struct pool *pool = txn_find(txn, CLASS_pool, txn_call(txn)->xapid->pool);

    return pool && pool->ha_enabled && ha_protects(vm);
}

struct error *txn_ha_check_sr(struct txn *txn, const struct vm *vm, ref_t sr)
{
    return is_protected(txn, vm) ? vm_check_sr_is_shared(txn_call(txn), sr) : OK;
}

struct error *txn_ha_check_network(struct txn *txn, const struct vm *vm, ref_t network)
{
    return is_protected(txn, vm) ? vm_check_network_is_shared(txn_call(txn), network) : OK;
}

struct error *txn_ha_check_protection(struct txn *txn, const struct vm *vm, const struct vm *as)
{
    struct call *call = txn_call(txn);
    const struct pool *pool = txn_find(txn, CLASS_pool, call->xapid->pool);

    if (!pool || !pool->ha_enabled || !ha_protects(as) || ha_protects(vm))
        return OK;
    TRY(vm_assert_agile(call, &(struct vm_assert_agile_args){as->ref}));
    return txn_ha_check_vm(txn, as);
}

struct error *txn_ha_check_start(struct txn *txn, const struct vm *vm, ref_t host)
{
    const struct host_state *state = host_state_of(txn_snap(txn), host);
    struct vm as = *vm;

    /* A host that is declared dead meanwhile is a conflict. */
    if (state && txn_find(txn, CLASS_host_state, state->ref) &&
        !ha_takes_vms(txn_call(txn), txn_snap(txn), host))
        return err_host_not_live(txn_call(txn));
    as.ha_always_run = strcmp(vm->ha_restart_priority, "restart") == 0;
    return txn_ha_check(txn, &(struct ha_change){.vm = vm->ref, .as = &as, .on = host});
}
