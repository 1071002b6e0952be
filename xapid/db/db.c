/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * db.c -- the database of one daemon: the present root, the threads around it.
 *
 *   callers --(write-sets)--> log thread: apply on a private root, publish --> snapshots, feed
 *                                          \--> checkpoint thread: SQLite, about once a second
 */
#include "xapid/db/db.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "xapid/db/state.h"

/* Nobody led for so long: no election takes that. */
#define CUT_OFF_AFTER (10 * USEC_PER_SEC)
#define FLUSH_PERIOD USEC_PER_SEC
/* Free bytes of the disk below which a checkpoint that was closed stays closed. */
#define CHECKPOINT_ROOM ((uint64_t)1 << 20)

/*** the checkpoint ***/

/* SQLite maps its index of the write-ahead log; on a full disk the first touch of a page that has
 * no block yet would be the end of the process (SIGBUS). */
static bool has_room(const char *path)
{
    struct statvfs fs;

    return statvfs(path, &fs) != 0 || (uint64_t)fs.f_bavail * fs.f_frsize >= CHECKPOINT_ROOM;
}

/* Opens the file again after it was closed for want of room.  False while that fails. */
static bool reopen_checkpoint(struct db *db, struct arena *arena)
{
    struct db_root *old;

    if (db->checkpoint)
        return true;
    if (!has_room(db->checkpoint_path))
        return false;
    if (checkpoint_open(arena, db->checkpoint_path, &db->checkpoint, &old))
        return false; /* tried again at the next flush; the first failure was logged */
    root_unref(old);
    return true;
}

static void flush(struct db *db)
{
    struct arena arena = {0};
    struct db_root *root = (struct db_root *)db_snapshot(db);
    struct error *e = OK;

    if (reopen_checkpoint(db, &arena))
        e = checkpoint_flush(&arena, db->checkpoint, root);
    if (e && checkpoint_met_full_disk(db->checkpoint)) {
        if (!db->no_room)
            log_warning("%s; it is tried again until there is room", error_line(&arena, e));
        db->no_room = true;
        checkpoint_close(db->checkpoint);
        db->checkpoint = NULL;
    } else if (db->checkpoint && !e) {
        db->no_room = false;
    } else if (e) {
        db_failed(db, error_line(&arena, e));
    }
    root_unref(root);
    arena_release(&arena);
}

static void *flusher_run(void *arg)
{
    struct db *db = arg;
    bool closing = false;

    while (!closing) {
        usec_t next = clock_mono() + FLUSH_PERIOD;
        bool failed;

        db_flush_lazy(db);
        mutex_lock(&db->lock);
        while (!db->closing && cond_wait_until(&db->published, &db->lock, next))
            ;
        closing = db->closing;
        failed = db->failure != NULL;
        mutex_unlock(&db->lock);
        if (!failed)
            flush(db);
    }
    return NULL;
}

/*** who leads, who is a member ***/

struct error *db_failure(struct db *db, struct arena *arena)
{
    MUTEX_GUARD(&db->lock);
    return db->failure ? error_internal(arena, "the database accepts no changes: %s", db->failure)
                       : OK;
}

/* An engine whose members cannot change has no leader to wait for. */
static bool is_alone(const struct db *db)
{
    return !db->log->engine->change;
}

bool db_leads(struct db *db)
{
    MUTEX_GUARD(&db->lock);
    return is_alone(db) || db->leads;
}

/* With the lock held. */
static bool is_led(const struct db *db)
{
    return is_alone(db) || db->leader;
}

bool db_has_leader(struct db *db)
{
    MUTEX_GUARD(&db->lock);
    return is_led(db);
}

bool db_wait_leader(struct db *db, usec_t deadline)
{
    MUTEX_GUARD(&db->lock);
    while (!is_led(db) && !db->failure && !db->giving_up)
        if (!cond_wait_until(&db->led, &db->lock, deadline))
            break;
    return is_led(db);
}

bool db_is_cut_off(struct db *db)
{
    if (is_alone(db) || !db_has_others(db))
        return false;
    MUTEX_GUARD(&db->lock);
    return !db->leader && clock_mono() - db->unled > CUT_OFF_AFTER;
}

/* The code is the one that clients know; the text is ours. */
static struct error *no_leader(struct db *db, struct arena *arena)
{
    size_t voters = 0, n;
    struct log_member *m;

    db_members(db, arena, &n, &m);
    for (size_t i = 0; i < n; i++)
        voters += m[i].role == LOG_VOTER;
    return error_new(arena, "HOST_IN_EMERGENCY_MODE", 1,
                     arena_printf(arena,
                                  "the database accepts no changes at present: no member leads the "
                                  "pool.  It will go on by itself once more than half of its %zu "
                                  "voting members reach each other.  Where they are lost for ever, "
                                  "and only then, say so on this host, which then goes on alone: "
                                  "xe pool-emergency-transition-to-master",
                                  voters));
}

struct error *db_wait_writable(struct db *db, struct arena *arena, usec_t deadline)
{
    bool led = db_wait_leader(db, db_is_cut_off(db) ? 0 : deadline);

    TRY(db_failure(db, arena));
    return led ? OK : no_leader(db, arena);
}

void db_fail(struct db *db, const char *why)
{
    __atomic_store_n(&db->halted, true, __ATOMIC_RELEASE);
    db_failed(db, why);
}

void db_give_up(struct db *db)
{
    MUTEX_GUARD(&db->lock);
    db->giving_up = true;
    cond_broadcast(&db->led);
}

bool db_gave_up(struct db *db)
{
    MUTEX_GUARD(&db->lock);
    return db->giving_up && !is_led(db);
}

void db_members(struct db *db, struct arena *arena, size_t *n, struct log_member **out)
{
    *n = 0;
    if (db->log->engine->members)
        db->log->engine->members(db->log, arena, n, out);
}

bool db_has_others(struct db *db)
{
    return __atomic_load_n(&db->has_others, __ATOMIC_ACQUIRE);
}

struct error *db_change_members(struct db *db, struct arena *arena, struct log_change *change)
{
    if (is_alone(db))
        return error_internal(arena, "the log of this database cannot have other members");
    db->log->engine->change(db->log, change);
    return OK;
}

/*** opening and closing ***/

static struct error *open_raft(void *ctx, struct arena *arena, const char *dir,
                               const struct log_fsm *fsm, struct log **out)
{
    return log_raft_open(arena, dir, ctx, fsm, out);
}

static struct error *open_parts(struct arena *arena, struct db *db,
                                const struct db_options *options)
{
    const char *raft = arena_printf(arena, "%s/raft", options->dir);
    struct log_status status;
    struct db_snap *snap;
    const char *fault;
    struct log *log;
    int faults;

    if (mkdir(options->dir, 0700) < 0 && errno != EEXIST)
        return error_internal(arena, "cannot make directory %s: %s", options->dir, strerror(errno));
    db->checkpoint_path = xasprintf("%s/xapid.db", options->dir);
    TRY(checkpoint_open(arena, db->checkpoint_path, &db->checkpoint, &db->root));
    fault = db_level_fault(db, arena, db->root);
    if (fault)
        return error_internal(arena, "the database in %s is not opened: %s", options->dir, fault);
    db->fsm.applied_index = db->root->log_index;
    db_note_digest(db, db->root);
    TRY((options->open_log ? options->open_log : open_raft)(
        options->open_log ? options->ctx : (void *)options->raft, arena, raft, &db->fsm, &log));
    __atomic_store_n(&db->log, log, __ATOMIC_RELEASE);
    db_look_for_others(db);
    db_status(db, &status);
    if (status.last_index < db->fsm.applied_index)
        return error_internal(arena,
                              "the log in %s ends at entry %" PRIu64
                              ", but the database already contains entry %" PRIu64
                              ": entries were lost; it was not opened",
                              raft, status.last_index, db->fsm.applied_index);
    TRY(db_failure(db, arena));
    snap = db_snapshot(db);
    faults = db_check(snap);
    db_snap_unref(snap);
    if (faults > 0)
        return error_internal(
            arena, "the database in %s breaks its own rules (see the log); it was not opened",
            options->dir);
    return OK;
}

struct error *db_open(struct arena *arena, const struct db_options *options, struct db **out)
{
    struct db *db = xcalloc(1, sizeof *db);
    struct error *e;

    mutex_init(&db->lock);
    mutex_init(&db->feed_lock);
    mutex_init(&db->lazy_lock);
    mutex_init(&db->flush_lock);
    mutex_init(&db->digest_lock);
    cond_init(&db->published);
    cond_init(&db->led);
    cond_init(&db->quiet);
    db->digests = xcalloc(DIGESTS, sizeof *db->digests);
    db->on_leader = options->leader;
    db->on_members = options->members;
    db->watcher = options->watcher;
    db->level = options->level ? options->level : api_level;
    db->origin = random_u64() | 1;
    db->unled = clock_mono();
    db_serve_log(db);
    e = open_parts(arena, db, options);
    if (e) {
        db_close(db);
        return e;
    }
    db->opened = true;
    thread_start(&db->flusher, "checkpoint", flusher_run, db);
    *out = db;
    return OK;
}

void db_close(struct db *db)
{
    if (!db)
        return;
    if (db->opened)
        db_flush_lazy(db);
    mutex_lock(&db->lock);
    db->closing = true;
    cond_broadcast(&db->published);
    mutex_unlock(&db->lock);
    thread_join(&db->flusher);
    log_close(db->log);
    if (db->opened && !db->failure)
        flush(db);
    checkpoint_close(db->checkpoint);
    db_drop_all_lazy(db);
    root_unref(db->work);
    root_unref(db->root);
    free(db->failure);
    free(db->checkpoint_path);
    for (size_t i = 0; i < REFUSALS; i++)
        arena_release(&db->refusals[i].arena);
    free(db->digests);
    mutex_release(&db->digest_lock);
    cond_release(&db->led);
    cond_release(&db->quiet);
    cond_release(&db->published);
    mutex_release(&db->lock);
    mutex_release(&db->feed_lock);
    mutex_release(&db->lazy_lock);
    mutex_release(&db->flush_lock);
    free(db);
}

void db_status(struct db *db, struct log_status *out)
{
    db->log->engine->status(db->log, out);
}

/*** the feed ***/

struct db_subscription *db_subscribe(struct db *db, void (*changed)(void *ctx, uint64_t revision),
                                     void *ctx)
{
    struct db_subscription *s = xcalloc(1, sizeof *s);

    s->changed = changed;
    s->ctx = ctx;
    MUTEX_GUARD(&db->feed_lock);
    s->next = db->subscriptions;
    db->subscriptions = s;
    return s;
}

void db_unsubscribe(struct db *db, struct db_subscription *subscription)
{
    struct db_subscription **p;

    mutex_lock(&db->feed_lock);
    for (p = &db->subscriptions; *p; p = &(*p)->next) {
        if (*p == subscription) {
            *p = subscription->next;
            break;
        }
    }
    mutex_unlock(&db->feed_lock);
    free(subscription);
}

bool db_wait(struct db *db, uint64_t revision, usec_t deadline)
{
    MUTEX_GUARD(&db->lock);
    while (db->root->revision <= revision)
        if (!cond_wait_until(&db->published, &db->lock, deadline))
            return false;
    return true;
}
