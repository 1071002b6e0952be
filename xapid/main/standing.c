/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/main/standing.h"

#include <string.h>

#include "libxapi/base/log.h"
#include "libxapi/value/value.h"
#include "xapid/db/db.h"
#include "xapid/join/witness.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/message.h"

#define KEY "failover"
#define VOTERS_MIN 3 /* of two, one alone is no majority */

const char *standing_text(struct arena *arena, const struct standing_facts *f)
{
    if (f->hosts < 2)
        return NULL;
    if (f->voters >= VOTERS_MIN)
        return f->hosts == 2 && f->witness
                   ? arena_printf(arena, "yes: two hosts and the witness %s", f->witness)
                   : arena_printf(arena, "yes: %zu hosts vote", f->voters);
    if (f->hosts > 2)
        return "no: too few hosts are there to vote";
    if (f->witness)
        return arena_printf(arena,
                            "no: the witness %s is not heard; if %s dies, nothing can be changed "
                            "until it is back",
                            f->witness, f->coordinator);
    return arena_printf(arena,
                        "no: two hosts and no witness; if %s dies, nothing can be changed until it "
                        "is back (xapi-witness join, on a third machine, mends that)",
                        f->coordinator);
}

static bool says_yes(const char *text)
{
    return text && strncmp(text, "yes", 3) == 0;
}

static const char *text_now(struct xapid *x, const struct db_snap *snap, struct arena *arena)
{
    const struct pool *pool = root_get(snap_root(snap), CLASS_pool, x->pool);
    const struct host *host = pool ? root_get(snap_root(snap), CLASS_host, pool->master) : NULL;
    const struct witness *witness = witness_of(snap);
    struct standing_facts facts = {.hosts = snap_root(snap)->tables[CLASS_host].count,
                                   .coordinator = host ? host->name_label : "the coordinator",
                                   .witness = witness ? witness->name_label : NULL};
    struct log_member *members;
    size_t n;

    db_members(x->db, arena, &n, &members);
    for (size_t i = 0; i < n; i++)
        facts.voters += members[i].role == LOG_VOTER;
    return standing_text(arena, &facts);
}

static struct error *say_txn(struct txn *txn, void *arg)
{
    struct call *call = txn_call(txn);
    const struct pool *pool;
    const char *text = arg, *old;

    TRY(TXN_GET(txn, pool, call->xapid->pool, &pool));
    old = strmap_get(&pool->other_config, KEY);
    if (text)
        txn_strmap_put(txn, FIELD_pool_other_config, pool->ref, KEY, text);
    else
        txn_strmap_remove(txn, FIELD_pool_other_config, pool->ref, KEY);
    if (text && !says_yes(text) && (!old || says_yes(old)))
        txn_alert(txn, "POOL_HAS_NO_FAILOVER", CLS_POOL, pool->uuid, text);
    return OK;
}

void standing_look(struct xapid *x)
{
    AUTO(arena) arena = {0};
    const struct pool *pool;
    const char *text, *old;
    struct call call;
    struct error *e;

    call_init_internal(&call, x, &arena);
    pool = db_find(&call, CLASS_pool, x->pool);
    text = text_now(x, call.snap, &arena);
    old = pool ? strmap_get(&pool->other_config, KEY) : NULL;
    if (pool && strcmp(text ? text : "", old ? old : "") != 0) {
        e = db_update(&call, say_txn, (void *)text);
        if (e)
            log_info("pool.other_config:" KEY " is brought up to date later: %s",
                     error_line(&arena, e));
    }
    call_release(&call);
}
