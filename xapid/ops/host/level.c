/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/host/level.h"

#include <string.h>

#include "libxapi/base/log.h"
#include "libxapi/value/value.h"
#include "xapid/db/level.h"
#include "xapid/db/ready.h"
#include "xapid/main/xapid.h"

/* In pool.other_config. */
#define IN_PROGRESS "rolling_upgrade_in_progress"

struct versions {
    int64_t level; /* the least */
    bool differ;
};

static const char *build_of(const struct host *host)
{
    const char *text = strmap_get(&host->software_version, "xapi_build");

    return text ? text : "";
}

/* A host that comes meanwhile must understand the pool's level, on which this relies, too. */
static struct versions versions_of(struct txn *txn)
{
    struct versions v = {0};
    const struct host_state *state;
    const struct witness *witness;
    const char *build = NULL;
    struct db_walk walk;

    db_walk(txn_snap(txn), CLASS_host_state, &walk);
    while ((state = db_walk_next(&walk))) {
        const struct host *host = txn_find(txn, CLASS_host, state->host);

        if (!txn_find(txn, CLASS_host_state, state->ref) || !host)
            continue;
        v.differ |= build && (state->level != v.level || strcmp(build_of(host), build) != 0);
        v.level = build ? MIN(v.level, state->level) : state->level;
        build = build_of(host);
    }
    db_walk(txn_snap(txn), CLASS_witness, &walk);
    while ((witness = db_walk_next(&walk)))
        if (txn_find(txn, CLASS_witness, witness->ref))
            v.level = MIN(v.level, witness->level);
    return v;
}

static struct error *settle_txn(struct txn *txn, void *arg)
{
    const struct coordinator *office = txn_find(txn, CLASS_coordinator, COORDINATOR);
    struct versions v = versions_of(txn);
    const struct pool *pool;
    bool told;

    (void)arg;
    TRY(TXN_GET(txn, pool, txn_call(txn)->xapid->pool, &pool));
    told = strmap_get(&pool->other_config, IN_PROGRESS) != NULL;
    if (office && v.level > office->level)
        TXN_SET(txn, coordinator, COORDINATOR, level, v.level);
    if (v.differ && !told)
        txn_strmap_put(txn, FIELD_pool_other_config, pool->ref, IN_PROGRESS, "true");
    if (!v.differ && told)
        txn_strmap_remove(txn, FIELD_pool_other_config, pool->ref, IN_PROGRESS);
    return OK;
}

struct error *level_settle(struct call *call)
{
    unsigned before = root_level(snap_root(call->snap));

    TRY(db_update(call, settle_txn, NULL));
    if (root_level(snap_root(call->snap)) > before)
        log_info(
            "all hosts of the pool understand level %u of the database: it is used from now on",
            root_level(snap_root(call->snap)));
    return OK;
}

struct error *level_check_no_upgrade(struct call *call)
{
    const struct pool *pool;

    TRY(DB_GET(call, pool, call->xapid->pool, &pool));
    return strmap_get(&pool->other_config, IN_PROGRESS) ? err_not_supported_during_upgrade(call)
                                                        : OK;
}
