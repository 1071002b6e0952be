/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* coordinator.c -- who is the pool's coordinator: the member that leads the log. */
#include <stdlib.h>

#include "libxapi/base/log.h"
#include "libxapi/base/seam.h"
#include "pool/peer/peer.h"
#include "xapid/db/db.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/host/here.h"
#include "xapid/task/task.h"

/* A member of which nothing came for that long cannot be handed anything. */
#define SILENT (5 * USEC_PER_SEC)
#define OFFICE_WITHIN (30 * USEC_PER_SEC)

/* The raft id of a host's daemon; 0 where it has none. */
static uint64_t member_of(struct call *call, ref_t host)
{
    struct refs states = db_referrers(call, FIELD_host_state_host, host);
    const struct host_state *state = states.n ? db_find(call, CLASS_host_state, states.v[0]) : NULL;

    return state ? strtoull(state->member, NULL, 16) : 0;
}

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

/* The new one writes down that it has the office, which is when clients see it. */
static struct error *wait_for_office(struct call *call, ref_t host)
{
    usec_t deadline = clock_mono() + OFFICE_WITHIN;

    while (!ref_equal(coordinator(call), host)) {
        uint64_t seen = snap_root(call->snap)->revision;

        TRY(task_check(call));
        if (!db_wait(call->xapid->db, seen, deadline))
            return err_cannot_contact_host(call, call_ref(call, host));
    }
    return OK;
}

struct error *pool_designate_new_master(struct call *call,
                                        const struct pool_designate_new_master_args *args)
{
    uint64_t member;

    TRY(host_check(call, args->host));
    if (ref_equal(coordinator(call), args->host))
        return OK;
    /* Who has the office hands it over. */
    TRY(host_check_here(call, coordinator(call)));
    member = member_of(call, args->host);
    if (!is_heard(call, member))
        return err_host_offline(call, call_ref(call, args->host));
    if (!is_voter(call, member))
        TRY(make_change(call,
                        &(struct log_change){.what = LOG_ASSIGN, .id = member, .role = LOG_VOTER}));
    TRY(make_change(call, &(struct log_change){.what = LOG_TRANSFER, .id = member}));
    return wait_for_office(call, args->host);
}

/* Members find the one that leads by themselves: nobody has to be told. */
struct error *pool_recover_slaves(struct call *call, struct refs *result)
{
    ref_t *found =
        arena_array(call->arena, ref_t, snap_root(call->snap)->tables[CLASS_host].count + 1);
    const struct host *host;
    struct db_walk walk;

    TRY(host_check_here(call, coordinator(call)));
    *result = (struct refs){0, found};
    db_walk(call->snap, CLASS_host, &walk);
    while ((host = db_walk_next(&walk)))
        if (!ref_equal(host->ref, call->xapid->host) && is_heard(call, member_of(call, host->ref)))
            found[result->n++] = host->ref;
    return OK;
}
