/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* stats.c -- the thread that takes samples and writes files. */
#include "xapid/stats/stats.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "libxapi/value/value.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/message.h"
#include "xapid/ops/vm/guest.h"
#include "xapid/stats/table.h"
#include "xapid/worker/workers.h"

#define PERIOD ((usec_t)RRD_STEP * USEC_PER_SEC)
#define SAMPLE_TIMEOUT (4 * USEC_PER_SEC)
#define SWEEP_PERIOD (3600 * USEC_PER_SEC)

/*** alarms ***/

/* Telling needs the database, which may make one wait: a worker does it. */
struct telling {
    struct arena *arena;
    struct xapid *xapid;
    const struct raised *list;
};

static void tell(void *arg)
{
    static const enum cls classes[] = {CLS_HOST, CLS_VM, CLS_SR};
    struct telling *t = arg;
    struct call call;

    call_init_internal(&call, t->xapid, t->arena);
    for (const struct raised *r = t->list; r; r = r->next)
        alert_create(&call, "ALARM", classes[r->owner], r->uuid, r->body);
    call_release(&call);
    arena_free_self(t->arena);
}

static void tell_later(struct xapid *xapid, const struct raised *list)
{
    struct arena *arena;
    struct telling *t;
    struct raised *copies;
    size_t n = 0;

    for (const struct raised *r = list; r; r = r->next)
        n++;
    if (!n)
        return;
    arena = arena_new_self();
    t = arena_new(arena, struct telling);
    copies = arena_array(arena, struct raised, n);
    for (size_t i = 0; i < n; i++, list = list->next)
        copies[i] =
            (struct raised){i + 1 < n ? &copies[i + 1] : NULL, list->owner,
                            arena_strdup(arena, list->uuid), arena_strdup(arena, list->body)};
    *t = (struct telling){arena, xapid, copies};
    if (workers_run(xapid->workers, tell, t))
        return;
    log_warning("statistics: %zu alarms were not told: too much work is waiting", n);
    arena_free_self(arena);
}

/*** a sample ***/

static bool wants_extremes(struct call *call)
{
    const struct pool *pool = db_find(call, CLASS_pool, call->xapid->pool);
    const char *text =
        pool ? strmap_get(&pool->other_config, "create_min_max_in_new_VM_RRDs") : NULL;

    return text && strcmp(text, "true") == 0;
}

/* Of what is no longer here the history stays in its file. */
static void put_away(struct stats *stats, size_t n, struct object **gone)
{
    for (size_t i = 0; i < n; i++) {
        store_save(stats, gone[i]->owner, gone[i]->uuid, gone[i]->rrd);
        object_free(gone[i]);
    }
    free(gone);
}

static int64_t count_online(const struct hv_counters *vcpus)
{
    int64_t n = 0;

    for (size_t i = 0; i < vcpus->n; i++)
        n += vcpus->v[i] >= 0;
    return n;
}

/* Guests give and take memory without a word. */
static void follow_guests(struct call *call, const struct hv_stats *now)
{
    for (size_t i = 0; i < now->n_domains; i++) {
        const struct hv_usage *u = &now->domains[i];
        const struct vm *vm;
        ref_t ref;

        if (u->domid == 0 || db_by_uuid(call, CLASS_vm, u->uuid, &ref))
            continue;
        vm = db_find(call, CLASS_vm, ref);
        if (vm && vm->domid == u->domid && ref_equal(vm->resident_on, call->xapid->host))
            vm_metrics_follow(call, vm, u->memory, count_online(&u->vcpus));
    }
}

static void take_in(struct stats *stats, struct call *call, const struct hv_stats *now)
{
    struct raised *raised = NULL;
    struct figures *figures;
    struct object **gone;
    bool extremes = wants_extremes(call);
    size_t n, n_gone;

    figures_collect(call, now, stats->before, &stats->totals, &n, &figures);
    if (!n)
        return;
    mutex_lock(&stats->table.lock);
    for (size_t i = 0; i < n; i++)
        table_update(stats, call->arena, &figures[i], i, now->time, extremes, &raised);
    gone = table_take_absent(&stats->table, &n_gone);
    mutex_unlock(&stats->table.lock);
    journal_write(&stats->journal);
    put_away(stats, n_gone, gone);
    tell_later(stats->xapid, raised);
}

/* Says it once, not every five seconds. */
static void note_failure(struct stats *stats, struct arena *arena, const struct error *e)
{
    if (e && !stats->failing)
        log_warning("statistics: there are no figures: %s", error_line(arena, e));
    if (!e && stats->failing)
        log_info("statistics: there are figures again");
    stats->failing = e != NULL;
}

static void sample_locked(struct stats *stats)
{
    struct arena *arena = arena_new_self(), call_arena = {0};
    struct hv_stats *now = arena_new(arena, struct hv_stats);
    struct hv_request rq = {.arena = arena, .timeout = SAMPLE_TIMEOUT};
    struct error *e = hv_stats(stats->xapid->hv, &rq, now);
    struct call call;

    note_failure(stats, arena, e);
    if (e) {
        arena_free_self(arena);
        return;
    }
    call_init_internal(&call, stats->xapid, &call_arena);
    take_in(stats, &call, now);
    follow_guests(&call, now);
    if (clock_mono() - stats->swept > SWEEP_PERIOD) {
        stats->swept = clock_mono();
        store_sweep(stats, &call);
    }
    call_release(&call);
    arena_release(&call_arena);
    if (stats->before_arena)
        arena_free_self(stats->before_arena);
    stats->before_arena = arena;
    stats->before = now;
}

void stats_sample(struct stats *stats)
{
    MUTEX_GUARD(&stats->sampling);

    sample_locked(stats);
}

/*** files ***/

/* Copies one whose file is older than 'age', for writing without the lock. */
static struct rrd *take_due(struct stats *stats, usec_t age, enum stats_owner *owner,
                            char uuid[UUID_TEXT_SIZE])
{
    usec_t now = clock_mono();
    MUTEX_GUARD(&stats->table.lock);

    for (size_t i = 0; i < stats->table.n; i++) {
        struct object *o = stats->table.v[i];

        if (now - o->saved < age)
            continue;
        o->saved = now;
        *owner = o->owner;
        memcpy(uuid, o->uuid, UUID_TEXT_SIZE);
        return rrd_copy(o->rrd);
    }
    return NULL;
}

static bool save_one(struct stats *stats, usec_t age)
{
    char uuid[UUID_TEXT_SIZE];
    enum stats_owner owner;
    struct rrd *rrd = take_due(stats, age, &owner, uuid);

    if (!rrd)
        return false;
    store_save(stats, owner, uuid, rrd);
    rrd_free(rrd);
    return true;
}

void stats_save_all(struct stats *stats)
{
    MUTEX_GUARD(&stats->sampling); /* so that nothing is put away meanwhile */
    size_t n;

    mutex_lock(&stats->table.lock);
    n = stats->table.n;
    for (size_t i = 0; i < n; i++)
        stats->table.v[i]->saved = SAVE_NEXT;
    mutex_unlock(&stats->table.lock);
    while (n-- > 0)
        save_one(stats, SAVE_PERIOD);
}

/* A share each time, so that the disk is never busy with it. */
static void save_share(struct stats *stats)
{
    MUTEX_GUARD(&stats->sampling);
    size_t n;

    mutex_lock(&stats->table.lock);
    n = stats->table.n / (SAVE_PERIOD / PERIOD) + 1;
    mutex_unlock(&stats->table.lock);
    while (n > 0 && save_one(stats, SAVE_PERIOD))
        n--;
}

void stats_save_later(struct stats *stats, usec_t delay)
{
    MUTEX_GUARD(&stats->lock);

    stats->backup_at = clock_mono() + delay;
    cond_signal(&stats->wake);
}

/*** the thread ***/

static bool take_backup(struct stats *stats)
{
    MUTEX_GUARD(&stats->lock);

    if (!stats->backup_at || stats->backup_at > clock_mono())
        return false;
    stats->backup_at = 0;
    return true;
}

/* Samples are taken where a slot begins by the wall clock; false at the end. */
static bool wait_for_turn(struct stats *stats, usec_t deadline)
{
    MUTEX_GUARD(&stats->lock);

    while (!stats->stopping && clock_mono() < deadline) {
        usec_t until = deadline;

        if (stats->backup_at)
            until = MIN(until, stats->backup_at);
        if (until <= clock_mono())
            break;
        cond_wait_until(&stats->wake, &stats->lock, until);
    }
    return !stats->stopping;
}

static void *run(void *arg)
{
    struct stats *stats = arg;
    usec_t deadline = clock_mono();

    while (wait_for_turn(stats, deadline)) {
        if (take_backup(stats))
            stats_save_all(stats);
        if (clock_mono() < deadline)
            continue;
        stats_sample(stats);
        save_share(stats);
        deadline = clock_mono() + PERIOD - clock_wall() % PERIOD;
    }
    return NULL;
}

struct stats *stats_start(struct xapid *xapid)
{
    struct stats *stats = xcalloc(1, sizeof *stats);

    stats->xapid = xapid;
    stats->dir = xasprintf("%s/stats", xapid->options.state_dir);
    stats->swept = clock_mono();
    mutex_init(&stats->table.lock);
    mutex_init(&stats->sampling);
    mutex_init(&stats->lock);
    cond_init(&stats->wake);
    if (mkdir(stats->dir, 0700) < 0 && errno != EEXIST)
        log_warning("statistics: %s: %s; they will not be kept", stats->dir,
                    strerrordesc_np(errno));
    journal_open(stats);
    thread_start(&stats->thread, "stats", run, stats);
    return stats;
}

void stats_stop(struct stats *stats)
{
    if (!stats)
        return;
    mutex_lock(&stats->lock);
    stats->stopping = true;
    cond_signal(&stats->wake);
    mutex_unlock(&stats->lock);
    thread_join(&stats->thread);
    stats_save_all(stats);
    journal_close(&stats->journal);
}

void stats_free(struct stats *stats)
{
    if (!stats)
        return;
    table_release(&stats->table);
    sr_totals_release(&stats->totals);
    if (stats->before_arena)
        arena_free_self(stats->before_arena);
    cond_release(&stats->wake);
    mutex_release(&stats->lock);
    mutex_release(&stats->sampling);
    mutex_release(&stats->table.lock);
    free(stats->dir);
    free(stats);
}
