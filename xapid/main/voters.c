/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/main/voters.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "pool/member/plan.h"
#include "pool/peer/peer.h"
#include "xapid/db/db.h"
#include "xapid/db/member.h"
#include "xapid/join/leave.h"
#include "xapid/join/takeover.h"
#include "xapid/join/witness.h"
#include "xapid/main/members.h"
#include "xapid/main/standing.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/faults.h"

/* Silence is no event. */
#define LOOK_PERIOD USEC_PER_SEC
/* Between two looks while the database changes all the time. */
#define LOOK_APART (20 * USEC_PER_MSEC)
/* How long one who leaves has to learn it. */
#define HEARS_WITHIN (2 * USEC_PER_SEC)
/* After a change that could not be made. */
#define AGAIN USEC_PER_SEC

struct voters {
    struct xapid *xapid;
    struct mutex lock;
    struct cond changed;
    struct thread thread;
    struct db_subscription *feed;
    bool stopping, news;
    bool under_way, failed; /* a change; the last one was refused */
    struct log_change change;
    char address[PEER_ADDRESS_MAX];
    usec_t refused_since; /* of leave_look */
    usec_t leads_since;   /* 0: this member does not lead */
};

/*** what is there ***/

static size_t hosts_read(const struct db_snap *snap, struct arena *arena,
                         const struct member_host **out)
{
    size_t n = 0, room = snap_root(snap)->tables[CLASS_host_state].count + 1;
    struct member_host *hosts = arena_array(arena, struct member_host, room + 1);
    const struct host_state *state;
    const struct witness *witness = witness_of(snap);
    struct db_walk walk;
    uint64_t id;

    db_walk(snap, CLASS_host_state, &walk);
    while ((state = db_walk_next(&walk)))
        if (*state->address && member_id_of(state->member, &id))
            hosts[n++] = (struct member_host){id, arena_strdup(arena, state->address), false};
    if (witness && member_id_of(witness->member, &id))
        hosts[n++] = (struct member_host){id, arena_strdup(arena, witness->address), true};
    *out = hosts;
    return n;
}

/* '*news': somebody has left just now.  It hears of that by the log, if it is there, before it is
 * removed, and nothing else is changed so long. */
static size_t left_read(const struct db_snap *snap, struct arena *arena, const uint64_t **out,
                        bool *news)
{
    size_t n = 0, room = snap_root(snap)->tables[CLASS_departed].count;
    uint64_t *ids = arena_array(arena, uint64_t, room + 1);
    const struct departed *row;
    struct db_walk walk;

    db_walk(snap, CLASS_departed, &walk);
    while ((row = db_walk_next(&walk))) {
        usec_t ago = clock_wall() - row->since;

        *news |= ago >= 0 && ago < HEARS_WITHIN;
        n += member_id_of(row->member, &ids[n]);
    }
    *out = ids;
    return n;
}

/* Who was never heard is silent since this member leads. */
static size_t members_read(struct voters *v, struct arena *arena, const struct member_seen **out)
{
    struct log_member *all;
    struct member_seen *seen;
    usec_t now = clock_mono();
    size_t n;

    db_members(v->xapid->db, arena, &n, &all);
    seen = arena_array(arena, struct member_seen, n + 1);
    for (size_t i = 0; i < n; i++) {
        usec_t heard = peer_heard(v->xapid->peers, all[i].id);

        seen[i] = (struct member_seen){all[i].id, all[i].role, now - MAX(heard, v->leads_since)};
    }
    *out = seen;
    return n;
}

static bool next_change(struct voters *v, struct log_change *out)
{
    AUTO(arena) arena = {0};
    struct db_snap *snap = db_snapshot(v->xapid->db);
    struct member_world world = {0};
    struct log_status status;
    bool found, news = false;

    db_status(v->xapid->db, &status);
    world.leader = status.id;
    world.n_hosts = hosts_read(snap, &arena, &world.hosts);
    world.n_left = left_read(snap, &arena, &world.left, &news);
    world.n_members = members_read(v, &arena, &world.members);
    found = !news && member_plan(&world, out);
    if (found && out->address) {
        snprintf(v->address, sizeof v->address, "%s", out->address);
        out->address = v->address;
    }
    db_snap_unref(snap);
    return found;
}

/*** making it so ***/

static void on_done(struct log_change *change, const struct error *e)
{
    struct voters *v = container_of(change, struct voters, change);
    AUTO(arena) arena = {0};

    if (e)
        log_info("the members of the log are not changed yet: %s", error_line(&arena, e));
    MUTEX_GUARD(&v->lock);
    v->under_way = false;
    v->failed = e != NULL;
    v->news = true;
    cond_signal(&v->changed);
}

static const char *describe(struct arena *arena, const struct log_change *c)
{
    static const char *const roles[] = {"a standby", "a voter", "a spare"};

    if (c->what == LOG_ASSIGN)
        return arena_printf(arena, "member %016" PRIx64 " becomes %s", c->id, roles[c->role]);
    return arena_printf(arena, "member %016" PRIx64 " is %s", c->id,
                        c->what == LOG_ADD      ? "added"
                        : c->what == LOG_REMOVE ? "removed"
                                                : "to lead");
}

static const char *step_of(const struct log_change *c)
{
    static const char *const steps[] = {[LOG_ADD] = "add",
                                        [LOG_ASSIGN] = "assign",
                                        [LOG_REMOVE] = "remove",
                                        [LOG_TRANSFER] = "transfer"};

    return steps[c->what];
}

static void look(struct voters *v)
{
    struct log_change change = {.done = on_done};
    AUTO(arena) arena = {0};
    struct error *e;

    v->leads_since = db_leads(v->xapid->db) ? (v->leads_since ? v->leads_since : clock_mono()) : 0;
    if (!v->leads_since)
        return;
    if (!next_change(v, &change)) {
        standing_look(v->xapid);
        return;
    }
    log_info("%s", describe(&arena, &change));
    faults_at(v->xapid, "pool_members", step_of(&change));
    mutex_lock(&v->lock);
    v->change = change;
    v->under_way = true;
    mutex_unlock(&v->lock);
    e = db_change_members(v->xapid->db, &arena, &v->change);
    if (e)
        on_done(&v->change, e);
}

static void on_change(void *ctx, uint64_t revision)
{
    struct voters *v = ctx;

    (void)revision;
    MUTEX_GUARD(&v->lock);
    v->news = true;
    cond_signal(&v->changed);
}

static void *voters_run(void *arg)
{
    struct voters *v = arg;
    usec_t next = 0, last = 0;
    bool left = false;

    mutex_lock(&v->lock);
    while (!v->stopping && !left) {
        usec_t now = clock_mono(), due = v->failed ? next : v->news ? last + LOOK_APART : next;

        if (v->under_way || now < due) {
            cond_wait_until(&v->changed, &v->lock, v->under_way ? now + LOOK_PERIOD : due);
            continue;
        }
        v->news = v->failed = false;
        mutex_unlock(&v->lock);
        left = leave_look(v->xapid, &v->refused_since);
        if (takeover_is_over(v->xapid)) {
            log_info("the pool has a coordinator: this host starts again, as one of it");
            xapid_restart_soon(v->xapid, 0);
            left = true;
        }
        if (!left)
            look(v);
        mutex_lock(&v->lock);
        last = clock_mono();
        next = last + (v->failed ? AGAIN : LOOK_PERIOD);
    }
    mutex_unlock(&v->lock);
    return NULL;
}

/*** life ***/

struct voters *voters_start(struct xapid *xapid)
{
    struct voters *v;

    if (!xapid->peers || xapid->options.manual_members)
        return NULL;
    v = xcalloc(1, sizeof *v);
    v->xapid = xapid;
    mutex_init(&v->lock);
    cond_init(&v->changed);
    v->feed = db_subscribe(xapid->db, on_change, v);
    thread_start(&v->thread, "voters", voters_run, v);
    return v;
}

void voters_stop(struct voters *v)
{
    if (!v)
        return;
    mutex_lock(&v->lock);
    v->stopping = true;
    cond_signal(&v->changed);
    mutex_unlock(&v->lock);
    thread_join(&v->thread);
    db_unsubscribe(v->xapid->db, v->feed);
}

void voters_free(struct voters *v)
{
    if (!v)
        return;
    cond_release(&v->changed);
    mutex_release(&v->lock);
    free(v);
}
