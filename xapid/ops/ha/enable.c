/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * enable.c -- pool.enable_ha and disable_ha, and when nothing is to be restarted.
 *
 * Both write one record and wait until every host has taken notice; a daemon that dies meanwhile
 * leaves the record, and the hosts follow it all the same.
 */
#include <string.h>

#include "libxapi/base/log.h"
#include "libxapi/base/seam.h"
#include "libxapi/value/value.h"
#include "xapid/db/row.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/ha/facts.h"
#include "xapid/ops/ha/ha.h"
#include "xapid/ops/ha/state.h"
#include "xapid/task/task.h"

#define LENGTH_DEFAULT_TEXT "30"
#define VOTERS_MIN 3 /* of two, one alone is no majority */
#define ARMED_WITHIN (60 * USEC_PER_SEC)
#define WAIT_SLICE USEC_PER_SEC

/* The one row of class ha_state. */
#define HA_STATE ((ref_t){0x6861207374617465, 1})

/*** may it be? ***/

static struct error *check_hosts(struct call *call)
{
    const struct host *host;
    struct db_walk walk;

    db_walk(call->snap, CLASS_host, &walk);
    while ((host = db_walk_next(&walk))) {
        const struct host_metrics *m = db_find(call, CLASS_host_metrics, host->metrics);

        if (!m || !m->live)
            return err_host_not_live(call);
        if (!host->enabled)
            return err_host_disabled(call, call_ref(call, host->ref));
    }
    return OK;
}

static struct error *check_voters(struct call *call)
{
    struct log_member *members;
    size_t n, voters = 0;

    db_members(call->xapid->db, call->arena, &n, &members);
    for (size_t i = 0; i < n; i++)
        voters += members[i].role == LOG_VOTER;
    return voters < VOTERS_MIN ? err_ha_too_few_hosts(call) : OK;
}

static struct error *check_srs(struct call *call, const struct refs *srs)
{
    for (size_t i = 0; i < srs->n; i++)
        TRY(sr_assert_can_host_ha_statefile(
            call, &(struct sr_assert_can_host_ha_statefile_args){srs->v[i]}));
    return OK;
}

/* What was asked for, the pool's own default, or ours. */
static struct error *choose_length(struct call *call, const struct pool *pool,
                                   const struct strmap *asked, const char **text)
{
    const char *given = strmap_get(asked, "timeout"),
               *usual = strmap_get(&pool->other_config, "default_ha_timeout");
    struct pool probe = *pool;
    int64_t n;

    *text = given ? given : usual ? usual : LENGTH_DEFAULT_TEXT;
    probe.ha_configuration = strmap_with(call->arena, (struct strmap){0}, "timeout", *text);
    if (int_from_text(*text, &n) && n > 0 && ha_lease_length(&probe) == n * USEC_PER_SEC)
        return OK;
    return err_invalid_value(call, "timeout", *text);
}

/*** the record ***/

struct enabling {
    const char *length;
};

static struct error *enable_txn(struct txn *txn, void *arg)
{
    const struct enabling *e = arg;
    struct call *call = txn_call(txn);
    struct strpair timeout = {"timeout", e->length};
    const struct pool *pool;
    const struct host_state *state;
    struct db_walk walk;
    const struct vm *vm;
    struct ha_facts facts;
    int64_t most;

    TRY(TXN_GET(txn, pool, call->xapid->pool, &pool));
    if (pool->ha_enabled)
        return err_ha_is_enabled(call);
    TXN_SET(txn, pool, pool->ref, ha_enabled, true);
    TXN_SET(txn, pool, pool->ref, ha_configuration, (struct strmap){1, &timeout});
    /* What was armed before was so with another lease. */
    db_walk(txn_snap(txn), CLASS_host_state, &walk);
    while ((state = db_walk_next(&walk)))
        if ((state->ha_armed || state->ha_failed) && txn_find(txn, CLASS_host_state, state->ref)) {
            TXN_SET(txn, host_state, state->ref, ha_armed, false);
            TXN_SET(txn, host_state, state->ref, ha_failed, false);
        }
    /* As many as there is a plan for. */
    ha_gather(call, txn_snap(txn), NULL, &facts);
    most = MAX(ha_max_failures(call->arena, &facts.problem, facts.limit, NULL), 0);
    TXN_SET(txn, pool, pool->ref, ha_host_failures_to_tolerate, most);
    TXN_SET(txn, pool, pool->ref, ha_plan_exists_for, most);
    TXN_SET(txn, pool, pool->ref, ha_overcommitted, false);
    db_walk(txn_snap(txn), CLASS_vm, &walk);
    while ((vm = db_walk_next(&walk)))
        if (strcmp(vm->ha_restart_priority, "restart") == 0 && !vm->ha_always_run &&
            (vm->power_state == VM_RUNNING || vm->power_state == VM_PAUSED) &&
            txn_find(txn, CLASS_vm, vm->ref))
            TXN_SET(txn, vm, vm->ref, ha_always_run, true);
    return OK;
}

static struct error *disable_txn(struct txn *txn, void *arg)
{
    struct call *call = txn_call(txn);
    const struct host_state *state;
    const struct ha_restart *row;
    const struct pool *pool;
    struct db_walk walk;

    (void)arg;
    TRY(TXN_GET(txn, pool, call->xapid->pool, &pool));
    if (!pool->ha_enabled)
        return err_ha_not_enabled(call);
    TXN_SET(txn, pool, pool->ref, ha_enabled, false);
    TXN_SET(txn, pool, pool->ref, ha_configuration, {0});
    TXN_SET(txn, pool, pool->ref, ha_host_failures_to_tolerate, 0);
    TXN_SET(txn, pool, pool->ref, ha_plan_exists_for, 0);
    TXN_SET(txn, pool, pool->ref, ha_overcommitted, false);
    txn_ha_note_peers(txn, false);
    /* A host may have armed its watchdog and not said so yet: each says anew that it has not. */
    db_walk(txn_snap(txn), CLASS_host_state, &walk);
    while ((state = db_walk_next(&walk)))
        if (!state->ha_armed && txn_find(txn, CLASS_host_state, state->ref))
            TXN_SET(txn, host_state, state->ref, ha_armed, true);
    db_walk(txn_snap(txn), CLASS_ha_restart, &walk);
    while ((row = db_walk_next(&walk)))
        if (txn_find(txn, CLASS_ha_restart, row->ref))
            txn_destroy(txn, CLASS_ha_restart, row->ref);
    return OK;
}

/*** every host ***/

static struct error *wait_for_all(struct call *call, bool armed, const struct host **missing)
{
    usec_t deadline = clock_mono() + ARMED_WITHIN;
    size_t held = call->n_held;

    ha_wake(call->xapid->ha);
    while ((*missing = ha_first_not(call, armed)) && clock_mono() < deadline) {
        TRY(task_check(call));
        db_wait(call->xapid->db, snap_root(call->snap)->revision,
                MIN(deadline, clock_mono() + WAIT_SLICE));
        call_refresh(call);
        call_drop_held(call, held);
    }
    return OK;
}

struct error *pool_enable_ha(struct call *call, const struct pool_enable_ha_args *args)
{
    const struct host *missing = NULL;
    struct enabling enabling;
    const struct pool *pool;
    struct error *e;

    TRY(DB_GET(call, pool, call->xapid->pool, &pool));
    if (pool->ha_enabled)
        return err_ha_is_enabled(call);
    TRY(choose_length(call, pool, &args->configuration, &enabling.length));
    TRY(check_voters(call));
    TRY(check_hosts(call));
    TRY(check_srs(call, &args->heartbeat_srs));
    TRY(db_update(call, enable_txn, &enabling));
    e = wait_for_all(call, true, &missing);
    if (!e && !missing) {
        log_info("HA is enabled; leases of %s s", enabling.length);
        return OK;
    }
    if (missing)
        log_error("HA: host %s (%s) has not armed its watchdog", missing->uuid,
                  missing->name_label);
    error_ignore(db_update(call, disable_txn, NULL)); /* the first error is the one to be told */
    return e ? e : err_ha_failed_to_form_liveset(call);
}

struct error *pool_disable_ha(struct call *call)
{
    const struct host *missing;

    TRY(db_update(call, disable_txn, NULL));
    TRY(wait_for_all(call, false, &missing));
    if (missing)
        log_warning("HA is disabled, but host %s (%s) has not said yet that it will not end itself",
                    missing->uuid, missing->name_label);
    return OK;
}

/*** no restarts for a while ***/

static struct error *quiet_txn(struct txn *txn, void *arg)
{
    const usec_t *until = arg;
    struct ha_state row;

    if (txn_find(txn, CLASS_ha_state, HA_STATE)) {
        TXN_SET(txn, ha_state, HA_STATE, quiet_until, *until);
        return OK;
    }
    row_defaults(&api_classes[CLASS_ha_state], &row);
    row.ref = HA_STATE;
    row.quiet_until = *until;
    txn_create(txn, CLASS_ha_state, &row);
    return OK;
}

struct error *pool_ha_prevent_restarts_for(struct call *call,
                                           const struct pool_ha_prevent_restarts_for_args *args)
{
    usec_t until = clock_wall() + MIN(args->seconds, (int64_t)86400 * 365) * USEC_PER_SEC;
    const struct pool *pool;

    TRY(DB_GET(call, pool, call->xapid->pool, &pool));
    if (args->seconds < 0)
        return err_invalid_value(call, "seconds",
                                 arena_printf(call->arena, "%lld", (long long)args->seconds));
    if (!pool->ha_enabled)
        return err_ha_not_enabled(call);
    return db_update(call, quiet_txn, &until);
}
