/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ha.c -- the thread: heartbeats, this host's lease and watchdog, and, on the leader, who is alive.
 *
 * The thread never waits for the log: a host that must renew its lease may not be held up.  What
 * has to be written goes to workers, one at a time of each kind.
 */
#include "xapid/ops/ha/ha.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "libxapi/value/value.h"
#include "pool/ha/beat.h"
#include "pool/ha/lease.h"
#include "pool/peer/peer.h"
#include "xapid/db/member.h"
#include "xapid/db/ready.h"
#include "xapid/hypervisor/hv.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/faults.h"
#include "xapid/ops/ha/orphans.h"
#include "xapid/ops/ha/restart.h"
#include "xapid/ops/ha/state.h"
#include "xapid/ops/message.h"
#include "xapid/worker/workers.h"

#define TICK (LEASE_BEAT / 2)
#define BEAT_WITHIN (2 * USEC_PER_SEC)
#define BEAT_AGAIN (50 * USEC_PER_MSEC) /* after one that brought no lease; then twice as long */
#define WATCHDOG_WITHIN (2 * USEC_PER_SEC)
#define LENGTH_DEFAULT (30 * USEC_PER_SEC)
#define OFFLINE_DEFAULT (60 * USEC_PER_SEC)
#define REPORT_PERIOD (30 * USEC_PER_SEC) /* of last_updated */
#define STEP_PERIOD USEC_PER_SEC          /* of the leader's work */
#define STEP_BUSY (USEC_PER_SEC / 4)      /* the same while VMs are being restarted */
#define FORMS_WITHIN (30 * USEC_PER_SEC)  /* hosts that live are armed; else the plan is without */
#define LEAVES_WITHIN (20 * USEC_PER_SEC) /* a host that is to go down disarms its watchdog */
#define GONE_WITHIN (600 * USEC_PER_SEC)  /* and is gone, or counts again */
#define ORPHANS_AGAIN (10 * USEC_PER_SEC) /* after a failure */
#define EXIT_FENCED 5

enum change { CHANGE_DEAD, CHANGE_OFFLINE, CHANGE_LIVE };

/* Of a host, to be written by the leader's worker. */
struct finding {
    ref_t host;
    uint64_t id;
    enum change change;
};

struct ha {
    struct xapid *xapid;
    struct mutex lock;
    struct cond changed;
    struct thread thread;
    bool stopping, woken, begun;

    /* Of this member; under the lock. */
    struct lease_held held;
    bool armed; /* by this process; written by the thread */
    struct lease_ties ties;
    usec_t next_beat;
    unsigned in_vain; /* beats, one after the other, that brought no lease */
    bool disabled;    /* by host.emergency_ha_disable */
    usec_t leaving;   /* the host goes down by order, until then at the latest */
    bool recording;   /* a worker writes host_state.ha_armed */
    size_t n_restarts;
    ref_t restarts[HA_RESTARTS_MAX]; /* rows that workers are at */
    bool adopting;                   /* a worker is at what dead hosts had begun */
    usec_t next_orphans;

    /* Where it leads; under the lock. */
    struct lease_book book; /* term 0: it does not */
    size_t n_voters;
    uint64_t self, voters[LEASE_MEMBERS];
    bool leading;      /* a worker does the leader's work */
    bool restarting;   /* it found VMs that are being restarted */
    size_t n_findings; /* for it; those that are dead get no lease meanwhile */
    struct finding findings[LEASE_MEMBERS];

    /* Of the thread. */
    bool toothless;  /* a test wants no watchdog */
    bool has_waited; /* there are restarts to do, and nobody leads */
    usec_t next_report, next_step;
    uint64_t beaten_term;  /* of the last beat */
    uint64_t led_term;     /* 0: this member does not lead */
    uint64_t elected_term; /* 0: it was not elected */
    usec_t elected;        /* when that was seen */

    /* Of the leader's worker. */
    struct ha_memory memory;
};

/*** settings ***/

static usec_t seconds_of(const struct strmap *map, const char *key, usec_t otherwise)
{
    const char *text = strmap_get(map, key);
    int64_t n;

    return text && int_from_text(text, &n) && n > 0 && n < 1000000 ? n * USEC_PER_SEC : otherwise;
}

usec_t ha_lease_length(const struct pool *pool)
{
    usec_t length = seconds_of(&pool->ha_configuration, "timeout", LENGTH_DEFAULT);

    return MIN(MAX(length, LEASE_MIN), LEASE_MAX);
}

/*** host.emergency_ha_disable ***/

/* The file says for which boot it counts; "" for all. */
static const char *disabled_path(struct ha *ha, struct arena *arena)
{
    return arena_printf(arena, "%s/ha-disabled", ha->xapid->options.state_dir);
}

static void read_line(const char *path, char *out, int size)
{
    FILE *f = fopen(path, "re");

    *out = '\0';
    if (f && !fgets(out, size, f))
        *out = '\0';
    if (f)
        fclose(f);
    out[strcspn(out, "\n")] = '\0';
}

static bool is_disabled(struct ha *ha)
{
    AUTO(arena) arena = {0};
    const char *path = disabled_path(ha, &arena);
    char boot[64], now[64];

    if (access(path, F_OK) < 0)
        return false;
    read_line(path, boot, sizeof boot);
    read_line("/proc/sys/kernel/random/boot_id", now, sizeof now);
    return !*boot || strcmp(boot, now) == 0;
}

static struct error *note_disabled(struct call *call, struct ha *ha, bool soft)
{
    const char *path = disabled_path(ha, call->arena);
    FILE *f = fopen(path, "we");
    char boot[64] = "";
    bool good;

    if (soft)
        read_line("/proc/sys/kernel/random/boot_id", boot, sizeof boot);
    good = f && fprintf(f, "%s\n", boot) > 0 && fflush(f) == 0 && fdatasync(fileno(f)) == 0;
    if (f)
        good &= fclose(f) == 0;
    return good ? OK : error_internal(call->arena, "%s: %s", path, strerror(errno));
}

static struct error *tell_watchdog(struct call *call, usec_t left)
{
    struct hv_request rq = {.arena = call->arena, .timeout = WATCHDOG_WITHIN};

    return hv_watchdog(call->xapid->hv, &rq, left / USEC_PER_MSEC);
}

/* Works without the rest of the pool: nothing is written to the log here. */
struct error *host_emergency_ha_disable(struct call *call,
                                        const struct host_emergency_ha_disable_args *args)
{
    const struct pool *pool = db_find(call, CLASS_pool, call->xapid->pool);
    struct ha *ha = call->xapid->ha;

    if (!ha || !pool || !pool->ha_enabled)
        return err_ha_not_enabled(call);
    TRY(note_disabled(call, ha, args->soft));
    mutex_lock(&ha->lock);
    ha->disabled = true;
    mutex_unlock(&ha->lock);
    log_warning("HA is disabled on this host alone: it will not end itself any more");
    return tell_watchdog(call, 0);
}

/*** heartbeats ***/

struct asked {
    struct ha *ha;
    uint64_t term;
    usec_t sent, length;
};

/* With the lock held.  The next beat may be the one that brings a lease: the leader has to hear
 * from a majority, twice, before it gives any. */
static void beat_again(struct ha *ha)
{
    usec_t pause = MIN(BEAT_AGAIN << MIN(ha->in_vain, 8u), LEASE_BEAT);

    ha->in_vain++;
    ha->next_beat = MIN(ha->next_beat, clock_mono() + pause);
    cond_signal(&ha->changed);
}

static void on_answer(void *ctx, enum peer_outcome outcome, const void *data, size_t size)
{
    struct asked *a = ctx;
    struct ha *ha = a->ha;
    struct beat_answer answer = {0};

    if (outcome == PEER_ANSWERED && size == sizeof answer)
        memcpy(&answer, data, sizeof answer);
    mutex_lock(&ha->lock);
    if (answer.now)
        lease_ties_answered(&ha->ties, a->term, (usec_t)le64toh(answer.now), clock_mono());
    if (answer.granted) {
        /* From when it was asked for: the leader counts from later. */
        lease_take(&ha->held, a->length, a->sent);
        ha->in_vain = 0;
    } else {
        beat_again(ha);
    }
    mutex_unlock(&ha->lock);
    free(a);
}

/* With the lock held: nothing is to end this host, whatever the pool wants. */
static bool is_off(const struct ha *ha)
{
    return ha->disabled || clock_mono() < ha->leaving;
}

static void beat_leader(struct ha *ha, const struct log_status *status, const struct pool *pool)
{
    struct asked *a = xcalloc(1, sizeof *a);
    usec_t now = clock_mono();
    uint64_t flags;
    struct beat beat;

    mutex_lock(&ha->lock);
    ha->next_beat = now + LEASE_BEAT;
    flags = (is_off(ha) ? BEAT_DISARMED : 0) | (ha->begun ? 0 : BEAT_STARTING);
    beat = beat_make(&ha->ties, status->term, status->led_before, flags, now);
    mutex_unlock(&ha->lock);
    *a = (struct asked){ha, status->term, now, ha_lease_length(pool)};
    peer_ask(ha->xapid->peers, status->leader, PEER_HEARTBEAT, &beat, sizeof beat, BEAT_WITHIN,
             on_answer, a);
}

/* A leader that was not asked yet is asked at once. */
static bool is_time_to_beat(struct ha *ha, const struct log_status *status)
{
    bool fresh = ha->beaten_term != status->term;

    ha->beaten_term = status->term;
    MUTEX_GUARD(&ha->lock);
    return fresh || clock_mono() >= ha->next_beat;
}

/* With the lock held. */
static usec_t majority(const struct ha *ha, usec_t now)
{
    return lease_majority(&ha->book, ha->self, ha->n_voters, ha->voters, now);
}

/* With the lock held.  One that is being declared dead must not come to life meanwhile. */
static bool is_condemned(const struct ha *ha, uint64_t id)
{
    for (size_t i = 0; i < ha->n_findings; i++)
        if (ha->findings[i].id == id && ha->findings[i].change == CHANGE_DEAD)
            return true;
    return false;
}

static void serve_beat(void *ctx, struct peer_request *request)
{
    struct beat_answer answer = {0};
    usec_t now = clock_mono();
    struct ha *ha = ctx;
    struct lease_beat said;
    struct beat beat;

    if (request->size == sizeof beat && db_leads(ha->xapid->db)) {
        memcpy(&beat, request->data, sizeof beat);
        said = beat_read(&beat);
        MUTEX_GUARD(&ha->lock);
        if (ha->book.term && ha->book.term == le64toh(beat.term)) {
            lease_heard(&ha->book, request->from, &said, now);
            answer.now = htole64((uint64_t)now);
            answer.granted = htole64(!is_condemned(ha, request->from) &&
                                     lease_grant(&ha->book, request->from, majority(ha, now), now));
        }
    }
    peer_answer(request, &answer, sizeof answer);
}

/*** this host's own lease ***/

struct recording {
    struct ha *ha;
    bool armed;
};

/* Whether the watchdog is armed as the pool wants it by now: what waited for long may be about
 * leases of another length. */
static bool is_armed_for(struct ha *ha, const struct pool *pool)
{
    MUTEX_GUARD(&ha->lock);
    return pool->ha_enabled && ha->armed && ha->held.length == ha_lease_length(pool);
}

static struct error *armed_txn(struct txn *txn, void *arg)
{
    const struct xapid *xapid = txn_call(txn)->xapid;
    const struct host_state *state = host_state_of(txn_snap(txn), xapid->host);
    const struct pool *pool = txn_find(txn, CLASS_pool, xapid->pool);
    const struct host *host = txn_find(txn, CLASS_host, xapid->host);
    const struct recording *r = arg;

    if (!state || !txn_find(txn, CLASS_host_state, state->ref) || !pool || !host)
        return OK;
    if (r->armed && !is_armed_for(r->ha, pool))
        return OK;
    TXN_SET(txn, host_state, state->ref, ha_armed, r->armed);
    if (!r->armed || !state->ha_failed)
        return OK;
    TXN_SET(txn, host_state, state->ref, ha_failed, false);
    txn_alert(
        txn, "HA_HOST_WAS_FENCED", CLS_HOST, host->uuid,
        arena_printf(txn_arena(txn), "Host '%s' is back after it had failed.", host->name_label));
    return OK;
}

static void record_armed(void *arg)
{
    struct recording *r = arg;
    AUTO(arena) arena = {0};
    struct call call;
    struct error *e;

    call_init_internal(&call, r->ha->xapid, &arena);
    e = db_update(&call, armed_txn, r);
    if (e)
        log_warning("HA: that this host is %sarmed could not be recorded: %s",
                    r->armed ? "" : "not ", error_line(&arena, e));
    call_release(&call);
    mutex_lock(&r->ha->lock);
    r->ha->recording = false;
    mutex_unlock(&r->ha->lock);
    free(r);
}

static void record(struct ha *ha, bool armed)
{
    struct recording *r = xcalloc(1, sizeof *r);
    bool busy;

    *r = (struct recording){ha, armed};
    mutex_lock(&ha->lock);
    busy = ha->recording;
    ha->recording = true;
    mutex_unlock(&ha->lock);
    if (!busy && workers_run(ha->xapid->workers, record_armed, r))
        return;
    free(r);
    if (busy)
        return;
    mutex_lock(&ha->lock);
    ha->recording = false;
    mutex_unlock(&ha->lock);
}

/* The others are about to start what runs here.  The watchdog bites now as well; nothing more may
 * be done in the name of this host. */
static void fence(void)
{
    log_error("HA: this host was out of contact with a majority of its pool for a whole lease: it "
              "ends itself, and the others start its VMs");
    _exit(EXIT_FENCED);
}

static bool arm(struct ha *ha, struct call *call, usec_t left)
{
    struct error *e;

    ha->toothless = faults_step(call, "ha", "arm") != OK;
    if (ha->toothless)
        return true;
    e = tell_watchdog(call, left);
    if (e)
        log_warning("HA: the watchdog could not be told: %s", error_line(call->arena, e));
    return !e;
}

static void set_armed(struct ha *ha, bool armed)
{
    MUTEX_GUARD(&ha->lock);
    ha->armed = armed;
}

static void disarm(struct ha *ha, struct call *call, const struct host_state *state)
{
    struct error *e = ha->armed || state->ha_armed ? tell_watchdog(call, 0) : OK;

    if (e) {
        log_warning("HA: the watchdog could not be disarmed: %s", error_line(call->arena, e));
        return;
    }
    set_armed(ha, false);
    if (state->ha_armed && db_has_leader(ha->xapid->db))
        record(ha, false);
}

static void keep_lease(struct ha *ha, struct call *call, const struct pool *pool,
                       const struct host_state *state)
{
    bool disabled, begun;
    usec_t left;

    mutex_lock(&ha->lock);
    if (!pool->ha_enabled && ha->disabled) {
        ha->disabled = false; /* enabled again it counts here too */
        unlink(disabled_path(ha, call->arena));
    }
    disabled = is_off(ha) || !pool->ha_enabled;
    left = ha->held.until - clock_mono();
    begun = ha->begun;
    mutex_unlock(&ha->lock);
    if (disabled)
        disarm(ha, call, state);
    else if (left > 0)
        set_armed(ha, arm(ha, call, left) || ha->armed);
    else if (ha->armed && !ha->toothless)
        fence();
    /* Others give VMs to a host that says so. */
    if (!disabled && begun && ha->armed && left > 0 && !state->ha_armed &&
        db_has_leader(ha->xapid->db))
        record(ha, true);
}

/*** the leader: who is alive ***/

struct change_arg {
    struct ha *ha;
    const struct finding *finding;
};

/* With the lock held. */
static bool lease_is_over(const struct ha *ha, const struct pool *pool, uint64_t id)
{
    usec_t inherited = lease_inherited(&ha->book, ha->n_voters, ha->voters);

    return lease_has_run_out(&ha->book, id, inherited, ha_lease_length(pool), clock_mono());
}

static struct error *change_txn(struct txn *txn, void *arg)
{
    const struct change_arg *c = arg;
    const struct pool *pool = txn_find(txn, CLASS_pool, c->ha->xapid->pool);
    const struct finding *f = c->finding;
    const struct host *host;
    bool dead;

    TRY(txn_coordinator_check(txn));
    TRY(TXN_GET(txn, host, f->host, &host));
    if (f->change != CHANGE_DEAD) {
        if (txn_find(txn, CLASS_host_metrics, host->metrics))
            TXN_SET(txn, host_metrics, host->metrics, live, f->change == CHANGE_LIVE);
        return OK;
    }
    /* Again, for what led here may be long ago. */
    mutex_lock(&c->ha->lock);
    dead = pool && pool->ha_enabled && c->ha->book.term && lease_is_over(c->ha, pool, f->id);
    mutex_unlock(&c->ha->lock);
    return dead ? txn_host_dead(txn, f->host)
                : error_internal(txn_call(txn)->arena, "the host may still have a lease");
}

static struct error *note_plan_txn(struct txn *txn, void *arg)
{
    const struct pool *pool = txn_find(txn, CLASS_pool, txn_call(txn)->xapid->pool);

    (void)arg;
    TRY(txn_coordinator_check(txn));
    if (!pool || !pool->ha_enabled)
        return OK;
    txn_ha_note_plan(txn, pool->ha_host_failures_to_tolerate);
    txn_ha_note_peers(txn, true);
    return OK;
}

static const char *const change_words[] = {
    [CHANGE_DEAD] = "is dead: its lease has run out",
    [CHANGE_OFFLINE] = "is offline: it was not heard of for long",
    [CHANGE_LIVE] = "is back",
};

/* Hosts that have just come, or HA with them, are about to be armed, and then they count. */
static bool is_forming(struct call *call, struct ha_memory *memory)
{
    if (!ha_first_not(call, true))
        memory->forming = 0;
    else if (!memory->forming)
        memory->forming = clock_mono();
    return memory->forming && clock_mono() - memory->forming < FORMS_WITHIN;
}

static void lead_once(struct ha *ha, struct call *call, size_t n, const struct finding *findings)
{
    const struct pool *pool;
    struct error *e;
    bool forming;

    for (size_t i = 0; i < n; i++) {
        e = db_update(call, change_txn, &(struct change_arg){ha, &findings[i]});
        if (e)
            log_info("host %s: that it %s was not recorded: %s", call_ref(call, findings[i].host),
                     change_words[findings[i].change], error_line(call->arena, e));
        else
            log_warning("host %s %s", call_ref(call, findings[i].host),
                        change_words[findings[i].change]);
    }
    call_refresh(call);
    pool = db_find(call, CLASS_pool, ha->xapid->pool);
    if (!pool || !pool->ha_enabled)
        return;
    forming = is_forming(call, &ha->memory);
    ha_restart_step(call, &ha->memory, forming);
    if (forming)
        return;
    e = db_update(call, note_plan_txn, NULL);
    if (e)
        log_info("HA: the plan was not recorded: %s", error_line(call->arena, e));
}

static void run_lead(void *arg)
{
    struct finding findings[LEASE_MEMBERS];
    struct ha *ha = arg;
    AUTO(arena) arena = {0};
    struct call call;
    size_t n;

    mutex_lock(&ha->lock);
    n = ha->n_findings;
    memcpy(findings, ha->findings, n * sizeof *findings);
    mutex_unlock(&ha->lock);
    call_init_internal(&call, ha->xapid, &arena);
    lead_once(ha, &call, n, findings);
    call_release(&call);
    mutex_lock(&ha->lock);
    ha->n_findings = 0;
    ha->leading = false;
    ha->restarting = ha->memory.n_waiting > 0;
    mutex_unlock(&ha->lock);
}

/* With the lock held: what is to be written of a host; false for nothing. */
static bool judge(const struct ha *ha, const struct pool *pool, const struct host_state *state,
                  bool live, uint64_t id, enum change *change)
{
    const struct lease_entry *entry = lease_find(&ha->book, id);
    usec_t now = clock_mono(), heard = entry ? MAX(entry->heard, ha->book.since) : ha->book.since;
    bool guarded = pool->ha_enabled && state->ha_armed;

    if (live && guarded && lease_is_over(ha, pool, id))
        *change = CHANGE_DEAD;
    else if (live && !guarded &&
             now - heard > seconds_of(&pool->other_config, "host_offline_after", OFFLINE_DEFAULT))
        *change = CHANGE_OFFLINE;
    else if (!live && entry && entry->heard && !entry->starting && now - entry->heard < BEAT_WITHIN)
        *change = CHANGE_LIVE;
    else
        return false;
    return true;
}

static void look_at_hosts(struct ha *ha, struct call *call, const struct pool *pool)
{
    bool report = clock_mono() >= ha->next_report &&
                  snap_root(call->snap)->tables[CLASS_host_state].count > 1;
    const struct host_state *state;
    usec_t wall = clock_wall();
    struct db_walk walk;

    if (report)
        ha->next_report = clock_mono() + REPORT_PERIOD;
    db_walk(call->snap, CLASS_host_state, &walk);
    while ((state = db_walk_next(&walk)) && ha->n_findings < LEASE_MEMBERS) {
        const struct host *host = db_find(call, CLASS_host, state->host);
        const struct host_metrics *m =
            host ? db_find(call, CLASS_host_metrics, host->metrics) : NULL;
        const struct lease_entry *entry;
        enum change change;
        uint64_t id;

        if (!m || !member_id_of(state->member, &id))
            continue;
        entry = lease_find(&ha->book, id);
        if (report && (id == ha->self || (entry && entry->heard)))
            db_set_lazily(ha->xapid->db, FIELD_host_metrics_last_updated, m->ref, &wall);
        if (id != ha->self && judge(ha, pool, state, m->live, id, &change))
            ha->findings[ha->n_findings++] = (struct finding){host->ref, id, change};
    }
}

/* Findings wait until the worker has written them: condemned hosts get no lease meanwhile. */
static void lead(struct ha *ha, struct call *call, const struct pool *pool)
{
    bool busy, anything;
    usec_t period;

    mutex_lock(&ha->lock);
    busy = ha->leading;
    period = ha->restarting ? STEP_BUSY : STEP_PERIOD;
    if (!busy)
        look_at_hosts(ha, call, pool);
    anything = !busy && (ha->n_findings || (pool->ha_enabled && clock_mono() >= ha->next_step));
    ha->leading = busy || anything;
    mutex_unlock(&ha->lock);
    if (!anything)
        return;
    ha->next_step = clock_mono() + period;
    if (workers_run(ha->xapid->workers, run_lead, ha))
        return;
    mutex_lock(&ha->lock);
    ha->leading = false;
    ha->n_findings = 0;
    mutex_unlock(&ha->lock);
}

/* The office must have been taken, which is an entry of the log: whatever a leader before this one
 * still proposes comes after it, and is refused. */
static bool holds_office(struct ha *ha, struct call *call)
{
    const struct coordinator *row;
    struct db_walk walk;

    db_walk(call->snap, CLASS_coordinator, &walk);
    row = db_walk_next(&walk);
    return row && ref_equal(row->host, ha->xapid->host);
}

/* What this member led before: until now, for it has not looked since. */
static void follow_own_leadership(struct ha *ha, uint64_t term)
{
    MUTEX_GUARD(&ha->lock);
    if (ha->led_term && ha->led_term != term)
        lease_ties_led(&ha->ties, clock_mono());
    ha->led_term = term;
}

static void follow_leadership(struct ha *ha, struct call *call, const struct log_status *status)
{
    bool leads = status->leads && holds_office(ha, call);
    struct log_member *members;
    size_t n;

    if (status->leads && ha->elected_term != status->term)
        ha->elected = clock_mono();
    ha->elected_term = status->leads ? status->term : 0;
    follow_own_leadership(ha, status->leader == status->id ? status->term : 0);

    db_members(ha->xapid->db, call->arena, &n, &members);
    mutex_lock(&ha->lock);
    ha->self = status->id;
    ha->n_voters = 0;
    for (size_t i = 0; i < n; i++)
        if (members[i].role == LOG_VOTER && ha->n_voters < LEASE_MEMBERS)
            ha->voters[ha->n_voters++] = members[i].id;
    if (leads && ha->book.term != status->term)
        lease_begin(&ha->book, status->term, ha->elected, ha->self,
                    MAX(lease_ties_parted(&ha->ties, status->term), status->led_before));
    if (!leads)
        ha->book.term = 0;
    mutex_unlock(&ha->lock);
}

static void follow_length(struct ha *ha, const struct pool *pool)
{
    MUTEX_GUARD(&ha->lock);
    if (lease_follow(&ha->held, ha_lease_length(pool)))
        ha->armed = false;
}

/* The leader's own lease: as long as a majority follows it. */
static void beat_myself(struct ha *ha, const struct pool *pool)
{
    usec_t m;

    MUTEX_GUARD(&ha->lock);
    m = ha->book.term ? majority(ha, clock_mono()) : 0;
    if (m)
        lease_take(&ha->held, ha_lease_length(pool), m);
}

/*** restarts that this host is to do ***/

struct restart {
    struct ha *ha;
    ref_t row;
};

static void leave_restart(struct restart *r)
{
    struct ha *ha = r->ha;

    mutex_lock(&ha->lock);
    for (size_t i = 0; i < ha->n_restarts; i++)
        if (ref_equal(ha->restarts[i], r->row))
            ha->restarts[i] = ha->restarts[--ha->n_restarts];
    mutex_unlock(&ha->lock);
    free(r);
}

static void run_restart(void *arg)
{
    struct restart *r = arg;
    AUTO(arena) arena = {0};
    struct call call;

    call_init_internal(&call, r->ha->xapid, &arena);
    ha_restart_run(&call, r->row);
    call_release(&call);
    leave_restart(r);
}

/* False where somebody is at it already, or there are too many. */
static bool take_restart(struct ha *ha, ref_t row)
{
    MUTEX_GUARD(&ha->lock);
    for (size_t i = 0; i < ha->n_restarts; i++)
        if (ref_equal(ha->restarts[i], row))
            return false;
    if (ha->n_restarts == HA_RESTARTS_MAX)
        return false;
    ha->restarts[ha->n_restarts++] = row;
    return true;
}

/* Without a leader nothing can be begun: whether it is to be waited for, said when it begins and
 * when it is over. */
static bool wait_for_leader(struct ha *ha)
{
    bool led = db_has_leader(ha->xapid->db);

    if (led && ha->has_waited)
        log_info("HA: the pool has a leader again: restarts go on");
    if (!led && !ha->has_waited)
        log_warning("HA: VMs are to be started here, but nobody leads the pool: they wait");
    ha->has_waited = !led;
    return !led;
}

static void do_restarts(struct ha *ha, struct call *call)
{
    const struct ha_restart *row;
    struct db_walk walk;

    db_walk(call->snap, CLASS_ha_restart, &walk);
    while ((row = db_walk_next(&walk))) {
        struct restart *r;

        if (!ref_equal(row->host, ha->xapid->host))
            continue;
        if (wait_for_leader(ha))
            return;
        if (!take_restart(ha, row->ref))
            continue;
        r = xcalloc(1, sizeof *r);
        *r = (struct restart){ha, row->ref};
        if (!workers_run(ha->xapid->workers, run_restart, r))
            leave_restart(r); /* at the next tick */
    }
}

/*** what dead hosts had begun ***/

static void leave_orphans(struct ha *ha, bool again)
{
    MUTEX_GUARD(&ha->lock);
    ha->adopting = false;
    ha->next_orphans = again ? clock_mono() + ORPHANS_AGAIN : 0;
}

static void run_orphans(void *arg)
{
    struct ha *ha = arg;
    AUTO(arena) arena = {0};
    struct call call;
    size_t left;

    call_init_internal(&call, ha->xapid, &arena);
    left = orphans_recover(&call);
    call_release(&call);
    leave_orphans(ha, left > 0);
}

static bool may_adopt(struct ha *ha)
{
    MUTEX_GUARD(&ha->lock);
    return !ha->adopting && clock_mono() >= ha->next_orphans;
}

static void do_orphans(struct ha *ha, struct call *call)
{
    if (!may_adopt(ha) || !orphans_wait(call))
        return;
    mutex_lock(&ha->lock);
    ha->adopting = true;
    mutex_unlock(&ha->lock);
    if (!workers_run(ha->xapid->workers, run_orphans, ha))
        leave_orphans(ha, true);
}

/*** the thread ***/

static bool has_begun(struct ha *ha)
{
    MUTEX_GUARD(&ha->lock);
    return ha->begun;
}

static void tick(struct ha *ha)
{
    AUTO(arena) arena = {0};
    const struct host_state *state;
    const struct pool *pool;
    struct log_status status;
    struct call call;

    call_init_internal(&call, ha->xapid, &arena);
    pool = db_find(&call, CLASS_pool, ha->xapid->pool);
    state = host_state_of(call.snap, ha->xapid->host);
    db_status(ha->xapid->db, &status);
    if (pool && state) {
        follow_leadership(ha, &call, &status);
        follow_length(ha, pool);
        if (status.leader == status.id)
            beat_myself(ha, pool);
        else if (status.leader && is_time_to_beat(ha, &status))
            beat_leader(ha, &status, pool);
        keep_lease(ha, &call, pool, state);
        if (has_begun(ha)) {
            if (ha->book.term) /* written by this thread only */
                lead(ha, &call, pool);
            do_restarts(ha, &call);
            do_orphans(ha, &call);
        }
    }
    call_release(&call);
}

static void *ha_run(void *arg)
{
    struct ha *ha = arg;
    usec_t next = 0;

    mutex_lock(&ha->lock);
    while (!ha->stopping) {
        bool beats = ha->next_beat > next - TICK; /* else the last tick had nobody to tell */
        usec_t due = beats ? MIN(next, ha->next_beat) : next;

        if (!ha->woken && clock_mono() < due) {
            cond_wait_until(&ha->changed, &ha->lock, due);
            continue;
        }
        ha->woken = false;
        mutex_unlock(&ha->lock);
        next = clock_mono() + TICK;
        tick(ha);
        mutex_lock(&ha->lock);
    }
    mutex_unlock(&ha->lock);
    return NULL;
}

/*** going down by order ***/

static void set_leaving(struct ha *ha, usec_t until)
{
    mutex_lock(&ha->lock);
    ha->leaving = until;
    mutex_unlock(&ha->lock);
    ha_wake(ha);
}

struct error *ha_leave(struct call *call)
{
    usec_t deadline = clock_mono() + LEAVES_WITHIN;
    struct ha *ha = call->xapid->ha;
    const struct host_state *state;

    if (!ha)
        return OK;
    set_leaving(ha, clock_mono() + GONE_WITHIN);
    for (;;) {
        call_refresh(call);
        state = host_state_of(call->snap, call->xapid->host);
        if (!state || !state->ha_armed)
            return OK;
        if (clock_mono() >= deadline)
            break;
        db_wait(call->xapid->db, snap_root(call->snap)->revision, deadline);
    }
    set_leaving(ha, 0);
    return err_ha_host_is_armed(call, call_ref(call, call->xapid->host));
}

void ha_stay(struct xapid *xapid)
{
    if (xapid->ha)
        set_leaving(xapid->ha, 0);
}

/*** life ***/

struct ha *ha_start(struct xapid *xapid)
{
    struct ha *ha;

    if (!xapid->peers)
        return NULL;
    ha = xcalloc(1, sizeof *ha);
    ha->xapid = xapid;
    mutex_init(&ha->lock);
    cond_init(&ha->changed);
    ha->disabled = is_disabled(ha);
    lease_ties_begin(&ha->ties, clock_mono());
    peers_serve(xapid->peers, PEER_HEARTBEAT, serve_beat, ha);
    thread_start(&ha->thread, "ha", ha_run, ha);
    return ha;
}

void ha_begin(struct ha *ha)
{
    if (!ha)
        return;
    mutex_lock(&ha->lock);
    ha->begun = true;
    mutex_unlock(&ha->lock);
    ha_wake(ha);
}

void ha_wake(struct ha *ha)
{
    if (!ha)
        return;
    MUTEX_GUARD(&ha->lock);
    ha->woken = true;
    cond_signal(&ha->changed);
}

void ha_stop(struct ha *ha)
{
    if (!ha)
        return;
    peers_serve(ha->xapid->peers, PEER_HEARTBEAT, NULL, NULL);
    mutex_lock(&ha->lock);
    ha->stopping = true;
    cond_signal(&ha->changed);
    mutex_unlock(&ha->lock);
    thread_join(&ha->thread);
}

void ha_free(struct ha *ha)
{
    if (!ha)
        return;
    cond_release(&ha->changed);
    mutex_release(&ha->lock);
    free(ha);
}
