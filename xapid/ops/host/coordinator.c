/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* coordinator.c -- who is the pool's coordinator: the member that leads the log. */
#include "xapid/ops/host/coordinator.h"

#include <stdlib.h>

#include "libxapi/base/log.h"
#include "libxapi/base/seam.h"
#include "pool/peer/peer.h"
#include "xapid/db/db.h"
#include "xapid/db/member.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/faults.h"
#include "xapid/ops/host/here.h"
#include "xapid/task/task.h"

/* A member of which nothing came for that long cannot be handed anything. */
#define SILENT (5 * USEC_PER_SEC)
#define OFFICE_WITHIN (30 * USEC_PER_SEC)
#define OFFICE_SLICE USEC_PER_SEC
#define STEP_DOWN_SLICE (100 * USEC_PER_MSEC)

static bool is_heard(struct call *call, uint64_t member)
{
    struct peers *peers = call->xapid->peers;
    usec_t heard = peers && member ? peer_heard(peers, member) : 0;

    return heard && clock_mono() < heard + SILENT;
}

/*** one change of the log's members, waited for ***/

struct change {
    struct log_change change; /* first */
    struct mutex lock;
    struct cond changed;
    struct arena *arena;
    bool over;
    struct error *e;
};

static void change_done(struct log_change *change, const struct error *e)
{
    struct change *c = (struct change *)change;

    MUTEX_GUARD(&c->lock);
    c->over = true;
    c->e = e ? error_copy(c->arena, e) : OK;
    cond_signal(&c->changed);
}

static struct error *make_change(struct call *call, const struct log_change *wanted)
{
    struct change c = {.change = *wanted, .arena = call->arena};
    struct error *e;

    c.change.done = change_done;
    mutex_init(&c.lock);
    cond_init(&c.changed);
    e = db_change_members(call->xapid->db, call->arena, &c.change);
    mutex_lock(&c.lock);
    while (!e && !c.over)
        cond_wait(&c.changed, &c.lock);
    mutex_unlock(&c.lock);
    cond_release(&c.changed);
    mutex_release(&c.lock);
    return e ? e : c.e;
}

static bool is_voter(struct call *call, uint64_t member)
{
    struct log_member *all;
    size_t n;

    db_members(call->xapid->db, call->arena, &n, &all);
    for (size_t i = 0; i < n; i++)
        if (all[i].id == member)
            return all[i].role == LOG_VOTER;
    return false;
}

/*** the messages ***/

static ref_t coordinator(struct call *call)
{
    const struct pool *pool;

    call_refresh(call);
    pool = db_find(call, CLASS_pool, call->xapid->pool);
    return pool ? pool->master : REF_NULL;
}

/* The new one writes down that it has the office, which is when clients see it; unless it has died
 * meanwhile. */
static struct error *wait_for_office(struct call *call, ref_t host, uint64_t member)
{
    usec_t deadline = clock_mono() + OFFICE_WITHIN;

    while (!ref_equal(coordinator(call), host)) {
        uint64_t seen = snap_root(call->snap)->revision;
        usec_t now = clock_mono();

        TRY(task_check(call));
        if (!db_wait(call->xapid->db, seen, MIN(deadline, now + OFFICE_SLICE)) &&
            (now >= deadline || !is_heard(call, member)))
            return err_cannot_contact_host(call, call_ref(call, host));
    }
    return OK;
}

static struct error *hand_over(struct call *call, ref_t host)
{
    uint64_t member = host_member(call, host);

    if (!is_heard(call, member))
        return err_host_offline(call, call_ref(call, host));
    TRY(faults_step(call, "pool_designate", "begun"));
    if (!is_voter(call, member))
        TRY(make_change(call,
                        &(struct log_change){.what = LOG_ASSIGN, .id = member, .role = LOG_VOTER}));
    TRY(faults_step(call, "pool_designate", "votes"));
    TRY(make_change(call, &(struct log_change){.what = LOG_TRANSFER, .id = member}));
    faults_step_ignored(call, "pool_designate", "transferred");
    return wait_for_office(call, host, member);
}

struct error *pool_designate_new_master(struct call *call,
                                        const struct pool_designate_new_master_args *args)
{
    TRY(host_check(call, args->host));
    if (ref_equal(coordinator(call), args->host))
        return OK;
    /* Who has the office hands it over. */
    TRY(host_check_here(call, coordinator(call)));
    return hand_over(call, args->host);
}

/*** going down ***/

/* One that was heard, rather a voter, rather one that runs VMs; null. */
static ref_t successor(struct call *call)
{
    ref_t best = REF_NULL;
    const struct host *host;
    struct db_walk walk;
    int best_worth = 0;

    db_walk(call->snap, CLASS_host, &walk);
    while ((host = db_walk_next(&walk))) {
        uint64_t member = host_member(call, host->ref);
        int worth = 1 + 2 * is_voter(call, member) + host->enabled;

        if (ref_equal(host->ref, call->xapid->host) || !is_heard(call, member) ||
            worth <= best_worth)
            continue;
        best = host->ref;
        best_worth = worth;
    }
    return best;
}

/* The voters that are heard are a majority without this host. */
static bool is_dispensable(struct call *call)
{
    uint64_t me = host_member(call, call->xapid->host);
    size_t n, voters = 0, others = 0;
    struct log_member *all;

    db_members(call->xapid->db, call->arena, &n, &all);
    for (size_t i = 0; i < n; i++) {
        if (all[i].role != LOG_VOTER)
            continue;
        voters++;
        others += all[i].id != me && is_heard(call, all[i].id);
    }
    return others > voters / 2;
}

void coordinator_step_down(struct call *call)
{
    usec_t deadline = clock_mono() + OFFICE_WITHIN;
    ref_t next = successor(call);
    struct error *e = OK;

    if (snap_root(call->snap)->tables[CLASS_host].count < 2)
        return;
    if (ref_equal(coordinator(call), call->xapid->host) && !ref_is_null(next))
        e = hand_over(call, next);
    if (e)
        log_warning("this host goes down as the coordinator: %s", error_line(call->arena, e));
    /* The new one may have to change who votes: of two hosts one does. */
    while (!e && !ref_is_null(next) && !is_dispensable(call) && clock_mono() < deadline)
        clock_sleep(STEP_DOWN_SLICE);
    if (!is_dispensable(call))
        log_warning("this host goes down, and the others are no majority without it: the pool "
                    "stops until it is back");
}
