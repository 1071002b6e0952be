/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* raft.c -- the log engine on libraft: its threads, its loop, opening and closing.  See engine.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "pool/log/engine.h"
#include "pool/log/force.h"
#include "pool/log/transport.h"

#define MARK_SYNC_EVERY USEC_PER_SEC
#define CONNECT_RETRY_MSEC 100

static struct raft_log *raft_log_of(struct log *log)
{
    return container_of(log, struct raft_log, base);
}

void engine_fail(void *raft_log, const char *fmt, ...)
{
    struct raft_log *log = raft_log;
    struct buf text = {0};
    va_list ap;
    char *what;

    if (log->failed)
        return;
    log->failed = true;
    log->disk.broken = true;
    va_start(ap, fmt);
    what = arena_vprintf(&log->arena, fmt, ap);
    va_end(ap);
    buf_printf(&text, "The write log in %s takes no more writes: %s.", log->dir_name, what);
    mutex_lock(&log->lock);
    log->failure = buf_steal(&text);
    mutex_unlock(&log->lock);
    if (!log->loop_closed)
        uv_stop(&log->loop);
}

/* The end of a turn of the loop. */

static const char *status_failure(const struct raft_log *log, uint64_t leader)
{
    if (log->removed)
        return ENGINE_REMOVED;
    if (log->late)
        return ENGINE_SLOW;
    if (log->full)
        return ENGINE_FULL;
    return leader ? NULL : ENGINE_LEADERLESS;
}

void engine_update_status(struct raft_log *log)
{
    struct log_status s = {
        .last_index = raft_last_index(&log->raft),
        .applied_index = apply_last(log),
        .term = raft_current_term(&log->raft),
        .id = log->mark.id,
        .leads = log->place.leads && raft_state(&log->raft) == RAFT_LEADER,
        .removed = log->removed,
        .current = log->current,
        .led_at = net_led_at(log),
        .contact = log->net.contact,
        .led_before = net_led_before(log),
    };

    s.leader = members_leader(log);
    s.failure = status_failure(log, s.leader);
    s.writable = !s.failure;
    MUTEX_GUARD(&log->lock);
    log->status = s;
}

static void on_again(uv_timer_t *timer)
{
    (void)timer; /* on_turn follows in the same turn */
}

void engine_turn_again(struct raft_log *log, usec_t after)
{
    uint64_t msec = (uint64_t)(after / USEC_PER_MSEC) + 1;

    if (!uv_is_active((uv_handle_t *)&log->again) || uv_timer_get_due_in(&log->again) > msec)
        uv_timer_start(&log->again, on_again, msec, 0);
}

bool engine_can_submit(const struct raft_log *log)
{
    return !log->failed && raft_state((struct raft *)&log->raft) == RAFT_LEADER &&
           raft_transferee(&log->raft) == 0;
}

static void on_mark_sync(uv_work_t *work)
{
    struct raft_log *log = work->data;

    log->mark_rc = mark_sync(&log->mark);
}

static void on_mark_synced(uv_work_t *work, int status)
{
    struct raft_log *log = work->data;

    (void)status;
    log->mark_syncing = false;
    log->mark_synced = clock_mono();
    if (log->mark_rc)
        engine_fail(log, "its file \"%s\" could not be synced: %s", MARK_FILE,
                    strerror(log->mark_rc));
}

static void sync_mark(struct raft_log *log)
{
    if (!log->mark_dirty || log->mark_syncing || clock_mono() - log->mark_synced < MARK_SYNC_EVERY)
        return;
    log->mark_dirty = false;
    log->mark_syncing = true;
    log->mark_work.data = log;
    uv_queue_work(&log->loop, &log->mark_work, on_mark_sync, on_mark_synced);
}

static void set_opened(struct raft_log *log)
{
    if (log->opened || (log->self_elected && (raft_state(&log->raft) != RAFT_LEADER ||
                                              apply_last(log) < log->replay_to)))
        return;
    MUTEX_GUARD(&log->lock);
    log->opened = true;
    cond_broadcast(&log->changed);
}

static void on_raft_closed(struct raft *raft)
{
    struct raft_log *log = container_of(raft, struct raft_log, raft);

    uv_close((uv_handle_t *)&log->wake, NULL);
    uv_close((uv_handle_t *)&log->turn, NULL);
    uv_close((uv_handle_t *)&log->again, NULL);
    timing_end(log);
}

/* A leader that goes leaves its place to another first, so that nobody has to wait for it. */
static bool hands_over(struct raft_log *log)
{
    /* Where too few others are left the library waits for a new leader, perhaps for ever. */
    if (log->transferring)
        return clock_mono() - log->transfer_at < 2 * (usec_t)log->timing.election * USEC_PER_MSEC;
    if (log->transfer_tried)
        return false;
    log->transfer_tried = true;
    log->transfer_at = clock_mono();
    return members_hand_over(log);
}

/* What was sent to a leader may have its answer, but not for long. */
static bool waits_for_leader(struct raft_log *log)
{
    usec_t since = clock_mono() - log->closing_since;

    if (since > MIN(USEC_PER_SEC, log->opt.answer_within))
        forward_end(log);
    for (const struct flight *f = log->first; f; f = f->next)
        if (f->forwarded && !(f->over && f->n_answered == f->n))
            return log->mailbox != NULL;
    return false;
}

/* raft_close is not sound while entries are under way, so it waits for them; pump refuses new ones
 * meanwhile. */
static void close_if_idle(struct raft_log *log)
{
    if (!log->closing_since)
        log->closing_since = clock_mono();
    members_end(log, "The write log is being closed.");
    if (waits_for_leader(log) || log->first || log->mark_syncing || log->restoring.base ||
        !disk_idle(&log->disk) || hands_over(log)) {
        engine_turn_again(log, 10 * USEC_PER_MSEC);
        if (log->late || clock_mono() - log->closing_since > log->opt.answer_within)
            engine_fail(log, "it was closed while its disk did not answer");
        return;
    }
    forward_end(log);
    net_end(log);
    apply_release(log);
    log->raft_closing = true;
    raft_close(&log->raft, on_raft_closed);
    disk_cancel(&log->disk);
}

static void set_turned(struct raft_log *log)
{
    MUTEX_GUARD(&log->lock);
    log->turned = clock_mono();
}

static void on_turn(uv_check_t *turn)
{
    struct raft_log *log = turn->data;
    bool closing;

    set_turned(log);
    if (log->raft_closing)
        return;
    disk_check(&log->disk);
    if (!log->failed)
        net_turn(log);
    if (!log->failed)
        apply_deferred(log);
    if (!log->failed)
        apply_publish(log);
    if (log->failed)
        return;
    forward_collect(log);
    propose_answer(log);
    propose_give_up_late(log);
    members_turn(log);
    closing = propose_pump(log);
    if (log->failed)
        return;
    net_tell(log);
    timing_turn(log);
    apply_ask_for_snapshot(log);
    sync_mark(log);
    engine_update_status(log);
    set_opened(log);
    if (closing)
        close_if_idle(log);
}

static void on_wake(uv_async_t *wake)
{
    (void)wake; /* on_turn follows in the same turn */
}

/* The thread. */

static int bootstrap(struct raft_log *log, const char *address)
{
    struct mark_metas metas = {.now = {.version = 1, .term = 1}};
    struct raft_configuration conf;
    int rc;

    if (mark_metas(&log->mark, &metas) != 0)
        return RAFT_IOERR;
    raft_configuration_init(&conf);
    rc = raft_configuration_add(&conf, log->mark.id, address, RAFT_VOTER);
    if (rc == 0)
        rc = raft_bootstrap(&log->raft, &conf);
    raft_configuration_close(&conf);
    metas.done = true;
    if (rc == 0 && mark_metas(&log->mark, &metas) != 0)
        rc = RAFT_IOERR;
    if (rc == 0)
        disk_set_last(&log->disk, 1, 1);
    return rc;
}

static bool is_member(const struct raft_log *log)
{
    for (unsigned i = 0; i < log->raft.configuration.n; i++)
        if (log->raft.configuration.servers[i].id == log->mark.id)
            return true;
    return false;
}

/* Who else there is decides whether this can begin at all: what speaks against it, or NULL. */
static const char *members_fault(struct raft_log *log)
{
    bool alone = log->raft.configuration.n == 1 && is_member(log);

    log->alone = alone;
    log->self_elected = raft_role(&log->raft) == RAFT_VOTER && members_other_voters(log) == 0;
    if (alone || log->opt.peers)
        return NULL;
    if (log->raft.configuration.n > 1 || log->mark.joined)
        return "it has other members, but this host was given no pool address to talk with them";
    return "this host is not a member of it";
}

/* Of a host that is alone something else, which is no address. */
static void own_address(const struct raft_log *log, char out[PEER_ADDRESS_MAX])
{
    if (log->opt.address && peer_address_ok(log->opt.address))
        snprintf(out, PEER_ADDRESS_MAX, "%s", log->opt.address);
    else
        snprintf(out, PEER_ADDRESS_MAX, "%016" PRIx64, log->mark.id);
}

static int start_raft(struct raft_log *log)
{
    bool fresh = log->found.fresh && !log->mark.joined;
    char address[PEER_ADDRESS_MAX];
    int rc;

    own_address(log, address);
    apply_init(log);
    rc = raft_init(&log->raft, &log->disk.io, &log->raft_fsm, log->mark.id, address);
    if (rc)
        return rc;
    /* The library's own seed is made from the process's number and the time, which of members that
     * start together come to the same now and then: they would draw the same lots in election after
     * election. */
    raft_seed(&log->raft, (unsigned)random_u64());
    log->raft.tracer = NULL;
    log->raft.data = log;
    timing_init(log);
    members_init(log);
    raft_set_pre_vote(&log->raft, true);
    raft_set_snapshot_threshold(&log->raft, ENGINE_NEVER);
    if (!fresh)
        disk_set_last(&log->disk, log->found.last_index, log->found.last_term);
    log->disk.appended_bytes = log->found.bytes;
    rc = fresh ? bootstrap(log, address) : 0;
    return rc ? rc : raft_start(&log->raft);
}

static void close_loop(struct raft_log *log)
{
    raft_uv_close(&log->disk.io);
    if (uv_loop_close(&log->loop) != 0)
        log_error("the loop of the write log in %s was left with handles", log->dir_name);
    log->loop_closed = true;
}

/* Where nothing was asked of the disk yet. */
static void close_at_once(struct raft_log *log)
{
    log->raft_closing = true;
    raft_close(&log->raft, on_raft_closed);
    disk_cancel(&log->disk);
    uv_run(&log->loop, UV_RUN_DEFAULT);
    close_loop(log);
}

static void start(struct raft_log *log)
{
    const char *fault;
    int rc;

    uv_loop_init(&log->loop);
    uv_async_init(&log->loop, &log->wake, on_wake);
    uv_check_init(&log->loop, &log->turn);
    log->turn.data = log;
    uv_timer_init(&log->loop, &log->again);
    if (log->opt.peers)
        transport_peers(&log->transport, &log->loop, log->opt.peers);
    else
        transport_none(&log->transport);
    log->disk.mark = &log->mark;
    log->disk.fsm = &log->fsm;
    log->disk.failed = engine_fail;
    log->disk.failed_ctx = log;
    rc = disk_init(&log->disk, &log->loop, log->dir_name, &log->transport);
    if (rc) {
        engine_fail(log, "it could not be opened: %s", log->disk.io.errmsg);
        return;
    }
    raft_uv_set_connect_retry_delay(&log->disk.io, CONNECT_RETRY_MSEC);
    net_init(log);
    rc = start_raft(log);
    if (rc)
        engine_fail(log, "it could not be started: %s", raft_errmsg(&log->raft));
    if (log->failed)
        return;
    fault = members_fault(log);
    if (fault) {
        close_at_once(log);
        engine_fail(log, "%s", fault);
        return;
    }
    log->running = true;
    log->replay_to = raft_last_index(&log->raft);
    timing_start(log);
    uv_check_start(&log->turn, on_turn);
}

/* The loop is never run again: answers what was under way, tells the database, and refuses what
 * still comes. */
static void after_failure(struct raft_log *log)
{
    bool closing = false;

    mutex_lock(&log->lock);
    log->no_loop = true;
    log->status.writable = log->status.leads = false;
    log->status.leader = 0;
    log->status.failure = log->failure;
    cond_broadcast(&log->changed);
    mutex_unlock(&log->lock);
    forward_end(log);
    propose_unknown(log, INT64_MAX);
    if (log->place.leader && log->fsm.leader)
        log->fsm.leader(log->fsm.ctx, 0, log->place.term, false);
    if (log->opened && log->fsm.failed)
        log->fsm.failed(log->fsm.ctx, log->failure);
    while (!closing) {
        propose_refuse(log, log->failure);
        members_end(log, log->failure);
        mutex_lock(&log->lock);
        while (!log->queue.head && !log->changes && !log->closing)
            cond_wait(&log->changed, &log->lock);
        closing = log->closing && !log->queue.head && !log->changes;
        mutex_unlock(&log->lock);
    }
}

static void *run(void *arg)
{
    struct raft_log *log = arg;

    set_turned(log);
    start(log);
    if (!log->failed)
        uv_run(&log->loop, UV_RUN_DEFAULT);
    if (log->failed)
        after_failure(log);
    else
        close_loop(log);
    MUTEX_GUARD(&log->lock);
    log->ended = true;
    cond_broadcast(&log->changed);
    return NULL;
}

/* The watcher.  Replaying a long tail is no reason for it to act, since nobody proposes yet. */

static bool is_stuck(const struct raft_log *log)
{
    return log->opened && !log->no_loop && clock_mono() - log->turned > log->opt.answer_within / 2;
}

static void *watch(void *arg)
{
    struct raft_log *log = arg;

    mutex_lock(&log->lock);
    while (!log->ended) {
        usec_t until = clock_mono() + MAX(log->opt.answer_within / 4, USEC_PER_MSEC);

        while (!log->ended && cond_wait_until(&log->changed, &log->lock, until))
            ;
        if (log->ended || !is_stuck(log))
            continue;
        mutex_unlock(&log->lock);
        propose_unknown(log, clock_mono() - log->opt.answer_within);
        propose_refuse(log, ENGINE_SLOW);
        mutex_lock(&log->lock);
    }
    mutex_unlock(&log->lock);
    return NULL;
}

/* The engine's face. */

static void raft_log_propose(struct log *base, struct log_proposal *proposal)
{
    struct raft_log *log = raft_log_of(base);
    bool wake;

    proposal->since = clock_mono();
    mutex_lock(&log->lock);
    /* Where something waits already, the loop was woken for it or tries again by its timers. */
    wake = !log->queue.head && !log->no_loop;
    queue_add(&log->queue, proposal);
    if (log->no_loop)
        cond_broadcast(&log->changed);
    mutex_unlock(&log->lock);
    /* Not under the lock, which is the first thing that the loop takes. */
    if (wake)
        uv_async_send(&log->wake);
}

static void raft_log_status(struct log *base, struct log_status *out)
{
    struct raft_log *log = raft_log_of(base);

    MUTEX_GUARD(&log->lock);
    *out = log->status;
    if (is_stuck(log)) {
        out->writable = false;
        out->failure = ENGINE_SLOW;
    }
}

/* Frees all but what the library may still use after a failure. */
static void release(struct raft_log *log)
{
    bool library_may_write = log->failed && log->disk.appends;

    forward_end(log);
    mark_close(&log->mark);
    arena_release(&log->arena);
    for (size_t i = 0; i < log->n_members; i++)
        free((char *)log->members[i].address);
    free(log->members);
    /* A write that the kernel still holds could land in files that somebody else has opened
     * meanwhile. */
    if (log->lock_file >= 0 && !library_may_write)
        close(log->lock_file);
    if (log->dir >= 0)
        close(log->dir);
    cond_release(&log->changed);
    mutex_release(&log->lock);
    free(log->dir_name);
    free((char *)log->opt.address);
    if (log->failed && !log->loop_closed)
        return; /* the library's loop and requests point into it */
    free(log->failure);
    free(log);
}

/* Ends both threads.  False if the log's own is held by its disk: then everything stays as it is
 * until the process ends. */
static bool stop(struct raft_log *log)
{
    usec_t deadline = clock_mono() + 3 * log->opt.answer_within;
    bool ended;

    mutex_lock(&log->lock);
    log->closing = true;
    if (log->no_loop)
        cond_broadcast(&log->changed);
    else
        uv_async_send(&log->wake);
    while (!log->ended && cond_wait_until(&log->changed, &log->lock, deadline))
        ;
    ended = log->ended;
    mutex_unlock(&log->lock);
    if (!ended)
        return false;
    thread_join(&log->thread);
    thread_join(&log->watcher);
    return true;
}

static void raft_log_close(struct log *base)
{
    struct raft_log *log = raft_log_of(base);
    int rc;

    if (log->opt.peers)
        peers_serve(log->opt.peers, PEER_PROPOSE, NULL, NULL);
    if (!stop(log)) {
        log_error("the write log in %s was left open: its disk does not answer", log->dir_name);
        forward_cut(log);
        propose_unknown(log, INT64_MAX);
        propose_refuse(log, ENGINE_SLOW);
        return;
    }
    rc = log->failed ? 0 : mark_sync(&log->mark);
    if (rc)
        log_error("%s/%s could not be synced: %s", log->dir_name, MARK_FILE, strerror(rc));
    release(log);
}

static const struct log_engine raft_engine = {
    .propose = raft_log_propose,
    .status = raft_log_status,
    .close = raft_log_close,
    .change = members_change,
    .members = members_list,
};

/* Opening. */

/* Without this a power cut could take the new directory away with all that was acknowledged in it.
 */
static bool sync_parent(int dir)
{
    int parent = openat(dir, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool good = parent >= 0 && fsync(parent) == 0;

    if (parent >= 0)
        close(parent);
    return good;
}

static struct error *open_dir(struct arena *arena, struct raft_log *log)
{
    bool made = mkdir(log->dir_name, 0700) == 0;

    if (!made && errno != EEXIST)
        return error_internal(arena, "%s could not be made: %s", log->dir_name, strerror(errno));
    log->dir = open(log->dir_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (log->dir < 0)
        return error_internal(arena, "%s could not be opened: %s", log->dir_name, strerror(errno));
    if (made && !sync_parent(log->dir))
        return error_internal(arena, "%s could not be made: %s", log->dir_name, strerror(errno));
    log->lock_file = openat(log->dir, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (log->lock_file < 0)
        return error_internal(arena, "%s/lock could not be opened: %s", log->dir_name,
                              strerror(errno));
    if (flock(log->lock_file, LOCK_EX | LOCK_NB) < 0)
        return error_internal(arena, "%s is in use by another process", log->dir_name);
    return OK;
}

static struct error *open_mark(struct arena *arena, struct raft_log *log)
{
    bool found, in_use;
    uint64_t id;

    TRY(mark_open(arena, log->dir, log->dir_name, &log->mark, &found));
    if (found)
        return OK;
    TRY(guard_in_use(arena, log->dir, log->dir_name, &in_use));
    if (in_use)
        return error_internal(
            arena,
            "The write log in %s was not opened: its file \"%s\" is missing, so nobody can say "
            "whether all "
            "that was acknowledged is still there. Restore the directory together with the "
            "database from a "
            "backup, or remove both and let this host join its pool again as a new member.",
            log->dir_name, MARK_FILE);
    id = log->opt.id ? log->opt.id
                     : random_u64() >> 1; /* never zero, and positive wherever it is shown */
    TRY(mark_create(arena, log->dir, log->dir_name, id ? id : 1, log->opt.joining));
    return mark_open(arena, log->dir, log->dir_name, &log->mark, &found);
}

/* A write of term and vote that a crash has cut short is settled now: from here on the mark counts
 * as the library does, and knows the term that it begins with. */
static struct error *settle_metas(struct arena *arena, struct raft_log *log)
{
    int rc =
        log->found.fresh || log->mark.metas.done ? 0 : mark_metas(&log->mark, &log->found.metas);

    return rc ? error_internal(arena, "%s/%s could not be written: %s", log->dir_name, MARK_FILE,
                               strerror(rc))
              : OK;
}

static struct error *open_files(struct arena *arena, struct raft_log *log)
{
    char address[PEER_ADDRESS_MAX];

    TRY(open_dir(arena, log));
    TRY(open_mark(arena, log));
    TRY(guard_check(arena, log->dir, log->dir_name, &log->mark, log->fsm.applied_index,
                    &log->found));
    TRY(settle_metas(arena, log));
    if (!log->opt.force || log->found.fresh)
        return OK;
    own_address(log, address);
    return force_alone(arena, log->dir, log->dir_name, log->mark.id, address, &log->found);
}

static void set_options(struct raft_log *log, const struct log_raft_options *options)
{
    struct log_raft_options *o = &log->opt;

    if (options)
        *o = *options;
    o->address = o->address ? xstrdup(o->address) : NULL;
    o->answer_within = o->answer_within ? o->answer_within : 10 * USEC_PER_SEC;
    o->full_within = o->full_within ? o->full_within : USEC_PER_SEC;
    o->snapshot_bytes = o->snapshot_bytes ? o->snapshot_bytes : (uint64_t)64 << 20;
    o->snapshot_entries = o->snapshot_entries ? o->snapshot_entries : 8192;
    o->trailing = o->trailing ? o->trailing : 1024;
    log->snapshot_limit = o->snapshot_entries + random_u64() % (o->snapshot_entries / 4 + 1);
}

static bool wait_opened(struct raft_log *log)
{
    usec_t deadline = clock_mono() + 6 * log->opt.answer_within;

    MUTEX_GUARD(&log->lock);
    while (!log->opened && !log->no_loop && cond_wait_until(&log->changed, &log->lock, deadline))
        ;
    return log->opened && !log->no_loop;
}

/* Starts the threads and waits until the tail is replayed.  *ended is false if the thread could not
 * be ended again. */
static struct error *start_threads(struct arena *arena, struct raft_log *log, bool *ended)
{
    *ended = true;
    if (log->opt.peers) {
        peers_set_id(log->opt.peers, log->mark.id);
        peers_serve(log->opt.peers, PEER_PROPOSE, forward_serve, log);
    }
    thread_start(&log->thread, "log", run, log);
    thread_start(&log->watcher, "log-watch", watch, log);
    if (wait_opened(log))
        return OK;
    if (log->opt.peers)
        peers_serve(log->opt.peers, PEER_PROPOSE, NULL, NULL);
    *ended = stop(log);
    return error_internal(arena, "%s",
                          *ended && log->failure
                              ? log->failure
                              : "The write log could not be started in time: is its disk full?");
}

struct error *log_raft_open(struct arena *arena, const char *dir,
                            const struct log_raft_options *options, const struct log_fsm *fsm,
                            struct log **out)
{
    struct raft_log *log = xcalloc(1, sizeof *log);
    bool ended = true;
    struct error *e;

    *out = NULL;
    log->base.engine = &raft_engine;
    log->fsm = *fsm;
    log->dir_name = xstrdup(dir);
    log->dir = log->lock_file = log->mark.fd = -1;
    log->applied = fsm->applied_index;
    log->last = &log->first;
    log->last_deferred = &log->deferred;
    log->last_change = &log->changes;
    forward_init(log);
    queue_init(&log->queue);
    mutex_init(&log->lock);
    cond_init(&log->changed);
    set_options(log, options);
    e = open_files(arena, log);
    if (!e)
        e = start_threads(arena, log, &ended);
    if (e && ended)
        release(log);
    if (e)
        return e;
    *out = &log->base;
    return OK;
}
