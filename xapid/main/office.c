/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/main/office.h"

#include <stdlib.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "xapid/auth/session.h"
#include "xapid/db/level.h"
#include "xapid/db/row.h"
#include "xapid/join/leave.h"
#include "xapid/join/receive.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/faults.h"
#include "xapid/ops/message.h"
#include "xapid/worker/workers.h"

/* Between two tries where the row could not be written. */
#define AGAIN USEC_PER_SEC

struct office {
    struct xapid *xapid;
    struct mutex lock;
    struct cond changed;
    struct thread thread;
    struct db_subscription *feed;
    bool started, stopping;
    uint64_t term;  /* in which this member leads; 0: it does not */
    uint64_t taken; /* the last one in which it took the office */
};

/*** the row ***/

struct error *txn_office_take(struct txn *txn, ref_t host, ref_t pool_ref)
{
    const struct coordinator *old = txn_find(txn, CLASS_coordinator, COORDINATOR);
    const struct pool *pool = txn_find(txn, CLASS_pool, pool_ref);
    struct coordinator row;

    if (pool && !ref_equal(pool->master, host))
        TXN_SET(txn, pool, pool_ref, master, host);
    if (old) {
        TXN_SET(txn, coordinator, COORDINATOR, host, host);
        TXN_SET(txn, coordinator, COORDINATOR, epoch, old->epoch + 1);
        TXN_SET(txn, coordinator, COORDINATOR, since, clock_wall());
        return OK;
    }
    row_defaults(&api_classes[CLASS_coordinator], &row);
    row.ref = COORDINATOR;
    row.host = host;
    row.epoch = 1;
    row.since = clock_wall();
    txn_create(txn, CLASS_coordinator, &row);
    return OK;
}

void office_read_epoch(struct xapid *xapid, const struct db_snap *snap)
{
    const struct coordinator *row = root_get(snap_root(snap), CLASS_coordinator, COORDINATOR);

    if (row)
        __atomic_store_n(&xapid->epoch, (uint64_t)row->epoch, __ATOMIC_RELEASE);
}

/*** following it ***/

static void on_change(void *ctx, uint64_t revision)
{
    struct office *o = ctx;
    struct db_snap *snap = db_snapshot(o->xapid->db);

    (void)revision;
    office_read_epoch(o->xapid, snap);
    db_snap_unref(snap);
}

void office_follow(struct office *o)
{
    o->feed = db_subscribe(o->xapid->db, on_change, o);
    on_change(o, 0);
}

/*** taking it ***/

void office_leader(void *ctx, uint64_t leader, uint64_t term, bool me)
{
    struct office *o = ctx;

    if (!leader || !me)
        sessions_doubt(o->xapid->sessions);
    MUTEX_GUARD(&o->lock);
    o->term = me ? term : 0;
    cond_signal(&o->changed);
}

uint64_t office_term(struct office *o)
{
    MUTEX_GUARD(&o->lock);
    return o->term;
}

/* Whoever takes it after this member was deposed has changed the row, which makes this one a
 * conflict; then it is seen here who leads. */
static struct error *take_txn(struct txn *txn, void *arg)
{
    const struct office *o = arg;
    struct call *call = txn_call(txn);
    const struct host *host;
    const struct pool *pool;

    if (!db_leads(o->xapid->db))
        return error_internal(call->arena, "this member leads no longer");
    TRY(TXN_GET(txn, host, o->xapid->host, &host));
    TRY(TXN_GET(txn, pool, o->xapid->pool, &pool));
    if (!ref_equal(pool->master, host->ref))
        txn_alert(txn, "POOL_MASTER_TRANSITION", CLS_HOST, host->uuid,
                  "This host has become the coordinator of the pool.");
    return txn_office_take(txn, host->ref, pool->ref);
}

static bool take(struct office *o)
{
    AUTO(arena) arena = {0};
    struct call call;
    struct error *e;

    call_init_internal(&call, o->xapid, &arena);
    faults_step_ignored(&call, "pool_office", "leads");
    e = db_update(&call, take_txn, o);
    faults_step_ignored(&call, "pool_office", "taken");
    if (!e)
        log_info("this host is the pool's coordinator, epoch %llu",
                 (unsigned long long)xapid_epoch(o->xapid));
    else if (db_leads(o->xapid->db))
        log_warning("the coordinator's office was not taken yet: %s", error_line(&arena, e));
    call_release(&call);
    return !e;
}

/* What the coordinator before this one has left half done is not left to the next housekeeping. */
static void finish(void *arg)
{
    struct xapid *x = arg;
    AUTO(arena) arena = {0};
    struct call call;

    if (!db_leads(x->db))
        return;
    call_init_internal(&call, x, &arena);
    join_sweep(&call);
    leave_sweep(&call);
    call_release(&call);
}

static void finish_soon(struct office *o)
{
    if (!workers_run(o->xapid->workers, finish, o->xapid))
        log_info("what the last coordinator has left half done is finished later");
}

static void *office_run(void *arg)
{
    struct office *o = arg;

    mutex_lock(&o->lock);
    while (!o->stopping) {
        uint64_t term = o->term;
        bool good;

        if (!term || term == o->taken) {
            cond_wait(&o->changed, &o->lock);
            continue;
        }
        mutex_unlock(&o->lock);
        good = take(o);
        if (good)
            finish_soon(o);
        mutex_lock(&o->lock);
        if (good)
            o->taken = term;
        else if (!o->stopping)
            cond_wait_until(&o->changed, &o->lock, clock_mono() + AGAIN);
    }
    mutex_unlock(&o->lock);
    return NULL;
}

/*** life ***/

struct office *office_new(struct xapid *xapid)
{
    struct office *o = xcalloc(1, sizeof *o);

    o->xapid = xapid;
    mutex_init(&o->lock);
    cond_init(&o->changed);
    return o;
}

void office_start(struct office *o, uint64_t term)
{
    o->taken = term;
    o->started = true;
    thread_start(&o->thread, "office", office_run, o);
    if (term)
        finish_soon(o);
}

void office_stop(struct office *o)
{
    if (!o)
        return;
    mutex_lock(&o->lock);
    o->stopping = true;
    cond_signal(&o->changed);
    mutex_unlock(&o->lock);
    if (o->started)
        thread_join(&o->thread);
    if (o->feed)
        db_unsubscribe(o->xapid->db, o->feed);
    o->feed = NULL;
    o->started = false;
}

void office_free(struct office *o)
{
    if (!o)
        return;
    cond_release(&o->changed);
    mutex_release(&o->lock);
    free(o);
}
