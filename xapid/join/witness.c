/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/join/witness.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "pool/peer/peer.h"
#include "xapid/db/level.h"
#include "xapid/db/member.h"
#include "xapid/db/row.h"
#include "xapid/join/leave.h"
#include "xapid/main/members.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/faults.h"
#include "xapid/ops/host/level.h"
#include "xapid/worker/workers.h"

/* The one row of class witness. */
#define WITNESS ((ref_t){0x7769746e65737300, 1})
#define NAME_MAX_SIZE 256
/* Far more than there will be versions. */
#define LEVEL_MAX 1000000u

const struct witness *witness_of(const struct db_snap *snap)
{
    return root_get(snap_root(snap), CLASS_witness, WITNESS);
}

static bool is_hosts(const struct db_snap *snap, const char *member)
{
    const struct host_state *state;
    struct db_walk walk;

    db_walk(snap, CLASS_host_state, &walk);
    while ((state = db_walk_next(&walk)))
        if (strcmp(state->member, member) == 0)
            return true;
    return false;
}

static struct error *add_txn(struct txn *txn, void *arg)
{
    const struct witness_asks *asks = arg;
    const struct witness *old = txn_find(txn, CLASS_witness, WITNESS);
    const struct coordinator *office = txn_find(txn, CLASS_coordinator, COORDINATOR);
    struct call *call = txn_call(txn);
    struct witness row;

    if (old && strcmp(old->member, asks->member) != 0)
        return err_operation_not_allowed(
            call, arena_printf(call->arena,
                               "The pool has a witness already, on %s. End that one first: "
                               "xapi-witness leave there, or xapi-witness remove.",
                               old->name_label));
    if (office && asks->level < office->level)
        return err_operation_not_allowed(
            call, "This xapi-witness is of an older version than the pool: bring it up to date.");
    if (old) {
        TXN_SET(txn, witness, WITNESS, address, asks->address);
        TXN_SET(txn, witness, WITNESS, level, asks->level);
        return OK;
    }
    row_defaults(&api_classes[CLASS_witness], &row);
    row.ref = WITNESS;
    row.member = asks->member;
    row.address = asks->address;
    row.name_label = asks->name;
    row.since = clock_wall();
    row.level = asks->level;
    txn_create(txn, CLASS_witness, &row);
    return OK;
}

struct error *witness_add(struct call *call, const struct witness_asks *asks)
{
    uint64_t id;

    if (!*members_address(call->arena, call->xapid->members))
        return err_operation_not_allowed(
            call, "The pool's host has no address where others reach it (--pool-address).");
    if (!member_id_of(asks->member, &id) || !peer_address_ok(asks->address) ||
        strlen(asks->name) > NAME_MAX_SIZE)
        return err_invalid_value(call, "witness", asks->address);
    /* A number is somebody's once: what its holder has voted for is never forgotten. */
    if (leave_is_departed(call->xapid, asks->member) || is_hosts(call->snap, asks->member))
        return err_operation_not_allowed(call, "This witness has left the pool; let it begin anew: "
                                               "xapi-witness leave, then join.");
    TRY(db_update(call, add_txn, (void *)asks));
    faults_step_ignored(call, "pool_witness", "added");
    log_info("the pool has a witness: %s, member %s", asks->name, asks->member);
    return level_settle(call);
}

void txn_witness_gone(struct txn *txn)
{
    const struct witness *old = txn_find(txn, CLASS_witness, WITNESS);
    struct departed row;

    if (!old)
        return;
    row_defaults(&api_classes[CLASS_departed], &row);
    row.ref = ref_new();
    row.member = old->member;
    row.since = clock_wall();
    txn_create(txn, CLASS_departed, &row);
    txn_destroy(txn, CLASS_witness, WITNESS);
}

static struct error *remove_txn(struct txn *txn, void *arg)
{
    const struct witness *old = txn_find(txn, CLASS_witness, WITNESS);
    const struct pool *pool;
    const char *member = arg;

    if (!old || (*member && strcmp(old->member, member) != 0))
        return OK;
    TRY(TXN_GET(txn, pool, txn_call(txn)->xapid->pool, &pool));
    if (pool->ha_enabled)
        return err_ha_is_enabled(txn_call(txn));
    txn_witness_gone(txn);
    return OK;
}

struct error *witness_remove(struct call *call, const char *member)
{
    const struct witness *row = witness_of(call->snap);

    if (*member && !(row && strcmp(row->member, member) == 0) &&
        !leave_is_departed(call->xapid, member))
        return err_operation_not_allowed(call, "The pool has no such witness.");
    if (!*member && !row)
        return err_operation_not_allowed(call, "The pool has no witness.");
    TRY(db_update(call, remove_txn, (void *)member));
    faults_step_ignored(call, "pool_witness", "removed");
    return level_settle(call);
}

/*** brought up to date ***/

struct level_news {
    struct xapid *xapid;
    uint64_t member;
    int64_t level;
};

static struct error *level_txn(struct txn *txn, void *arg)
{
    const struct witness *row = txn_find(txn, CLASS_witness, WITNESS);
    const struct level_news *news = arg;
    uint64_t id;

    if (row && member_id_of(row->member, &id) && id == news->member)
        TXN_SET(txn, witness, WITNESS, level, news->level);
    return OK;
}

/* On a worker.  What fails is said again by the witness. */
static void take_level(void *arg)
{
    struct level_news *news = arg;
    AUTO(arena) arena = {0};
    struct call call;
    struct error *e;

    call_init_internal(&call, news->xapid, &arena);
    e = db_update(&call, level_txn, news);
    if (!e)
        e = level_settle(&call);
    if (e)
        log_info("what the witness understands is not noted yet: %s", error_line(&arena, e));
    call_release(&call);
    free(news);
}

void witness_serve_level(void *ctx, struct peer_request *request)
{
    struct level_news *news = xmalloc(sizeof *news);
    uint64_t level = 0;

    if (request->size == sizeof level)
        memcpy(&level, request->data, sizeof level);
    *news = (struct level_news){ctx, request->from, (int64_t)MIN(le64toh(level), LEVEL_MAX)};
    if (!news->level || !db_leads(news->xapid->db) ||
        !workers_run(news->xapid->workers, take_level, news))
        free(news);
    peer_answer(request, NULL, 0);
}
