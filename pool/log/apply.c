/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* apply.c -- committed entries and snapshots on their way to the database. */
#include "pool/log/engine.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "pool/log/batch.h"
#include "pool/log/snapshot.h"

#define TRAILING_BYTES ((uint64_t)16 << 20)

/*
 * Ours come back in order, so it is the next one or none; but for one that an earlier leader took
 * and a later one carries out after others.  One that was given up has nobody who waits, and the
 * same id may wait again in a later flight.
 */
struct item *apply_find_own(struct raft_log *log, const void *id)
{
    for (struct flight *f = log->first; f; f = f->next)
        for (size_t i = f->n_applied; i < f->n; i++) {
            struct item *item = &f->items[i];

            if (item->applied || memcmp(item->id, id, LOG_ID_SIZE) != 0 ||
                !__atomic_load_n(&item->proposal, __ATOMIC_ACQUIRE))
                continue;
            f->n_applied += i == f->n_applied;
            return item;
        }
    return NULL;
}

static void apply_entry(struct raft_log *log, uint64_t index, const void *entry, size_t entry_size)
{
    struct batch_reader reader;
    const void *data;
    size_t size;

    batch_read(&reader, entry, entry_size);
    while (batch_next(&reader, &data, &size)) {
        struct item *own = log->first ? apply_find_own(log, data) : NULL;
        struct log_result ignored = {0};

        struct log_result *result = own ? &own->result : &ignored;

        log->fsm.apply(log->fsm.ctx, &log->arena, index, data, size, result);
        if (result->outcome == LOG_FAILED) {
            engine_fail(log, "entry %" PRIu64 " was not understood: %s", index,
                        result->error ? result->error->params[0] : "no reason is known");
            return;
        }
        if (own)
            own->applied = true;
    }
    log->applied = index;
    if (!log->first)
        arena_release(&log->arena);
    log->dirty = true;
}

/* What the others have committed before it is on our own disk waits for that, so that neither the
   mark nor the database is ever ahead of the log. */
static bool must_wait(const struct raft_log *log, uint64_t index)
{
    return log->deferred || log->restoring.base || index > log->raft.last_stored;
}

static void defer(struct raft_log *log, uint64_t index, const struct raft_buffer *buf)
{
    struct deferred *d = xmalloc(sizeof *d + buf->len);

    d->next = NULL;
    d->index = index;
    d->size = buf->len;
    memcpy(d->data, buf->base, buf->len);
    *log->last_deferred = d;
    log->last_deferred = &d->next;
}

static void drop_first_deferred(struct raft_log *log)
{
    struct deferred *d = log->deferred;

    log->deferred = d->next;
    if (!log->deferred)
        log->last_deferred = &log->deferred;
    free(d);
}

void apply_deferred(struct raft_log *log)
{
    while (!log->failed && log->deferred && !log->restoring.base &&
           log->deferred->index <= log->raft.last_stored) {
        struct deferred *d = log->deferred;

        if (d->index > log->applied)
            apply_entry(log, d->index, d->data, d->size);
        drop_first_deferred(log);
    }
}

uint64_t apply_last(struct raft_log *log)
{
    if (log->restoring.base)
        return log->applied;
    return log->deferred ? log->deferred->index - 1 : raft_last_applied(&log->raft);
}

void apply_release(struct raft_log *log)
{
    while (log->deferred)
        drop_first_deferred(log);
}

/* After a failure nothing is applied any more; but an error would abort the process. */
static int on_apply(struct raft_fsm *fsm, const struct raft_buffer *buf, void **result)
{
    struct raft_log *log = fsm->data;
    uint64_t index = raft_last_applied(&log->raft) + 1, meant;
    enum batch_check check;

    *result = NULL;
    if (log->failed || index <= log->applied)
        return 0;
    check = batch_check(buf->base, buf->len, &meant);
    if (check == BATCH_NEWER)
        engine_fail(log, "entry %" PRIu64 " was written by a newer version of this program", index);
    else if (check == BATCH_DAMAGED)
        engine_fail(log, "entry %" PRIu64 " is damaged", index);
    else if (meant != index)
        engine_fail(log, "entry %" PRIu64 " was found where entry %" PRIu64 " should be", meant,
                    index);
    if (log->failed)
        return 0;
    if (must_wait(log, index))
        defer(log, index, buf);
    else
        apply_entry(log, index, buf->base, buf->len);
    return 0;
}

/* The mark comes first: from then on these entries must be there. */
void apply_publish(struct raft_log *log)
{
    uint64_t index = MIN(apply_last(log), log->raft.last_stored),
             term = disk_term_of(&log->disk, index);
    int rc;

    if (index > log->marked && term) {
        rc = mark_position(&log->mark, index, term);
        if (rc) {
            engine_fail(log, "its file \"%s\" could not be written: %s", MARK_FILE, strerror(rc));
            return;
        }
        log->marked = index;
        log->mark_dirty = true;
    }
    if (!log->dirty)
        return;
    log->dirty = false;
    log->fsm.publish(log->fsm.ctx, log->applied);
}

/* What is kept behind a snapshot stays in memory too, so it is less if entries are large; never
   none, which would mean another thing to the library. */
static unsigned trailing(const struct raft_log *log, uint64_t entries)
{
    uint64_t fit = TRAILING_BYTES / MAX(log->disk.appended_bytes / entries, 1);

    return (unsigned)MAX(MIN(fit, log->opt.trailing), 1);
}

static int on_snapshot(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n_bufs)
{
    struct raft_log *log = fsm->data;
    uint64_t now = raft_last_applied(&log->raft), index;

    if (log->deferred || log->restoring.base)
        return RAFT_BUSY; /* it asks again */
    if (!log->failed)
        apply_publish(log);
    if (log->failed)
        return RAFT_SHUTDOWN;
    *bufs = NULL; /* filled by a worker: see disk.c */
    *n_bufs = 0;
    disk_hold(&log->disk, log->fsm.hold(log->fsm.ctx, &index));
    raft_set_snapshot_trailing(&log->raft, trailing(log, MAX(now - log->snapshot_at, 1)));
    raft_set_snapshot_threshold(&log->raft, ENGINE_NEVER);
    log->snapshot_at = now;
    log->disk.appended_bytes = 0;
    log->snapshot_asked = false;
    return 0;
}

static int on_snapshot_over(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n_bufs)
{
    struct raft_log *log = fsm->data;

    disk_snapshot_over(&log->disk);
    *bufs = NULL;
    *n_bufs = 0;
    return 0;
}

/* On the log's thread at start, on a worker later. */
static const char *restore(struct raft_log *log, struct arena *arena, const struct raft_buffer *buf,
                           uint64_t *index)
{
    const uint8_t *data;
    const char *why;
    size_t size;

    why = snapshot_check(buf->base, buf->len, index, &data, &size);
    if (why)
        return why;
    if (*index > log->applied && !log->fsm.restore(log->fsm.ctx, arena, *index, data, size, &why))
        return why ? why : "the database does not understand it";
    return NULL;
}

static void restored(struct raft_log *log, uint64_t index, const char *why)
{
    if (why) {
        engine_fail(log, "its snapshot cannot be used: %s", why);
        return;
    }
    log->applied = MAX(log->applied, index);
    log->snapshot_at = index;
}

static void on_restore_work(uv_work_t *work)
{
    struct raft_log *log = container_of(work, struct raft_log, restore_work);

    log->restore_fault = restore(log, &log->restore_arena, &log->restoring, &log->restore_index);
}

/* What of ours the snapshot contains did not pass through here: nobody can say how it ended. */
static void give_up_what_was_skipped(struct raft_log *log)
{
    for (struct flight *f = log->first; f; f = f->next)
        if (f->forwarded)
            propose_give_up(f);
}

static void on_restored(uv_work_t *work, int status)
{
    struct raft_log *log = container_of(work, struct raft_log, restore_work);

    (void)status; /* never cancelled */
    raft_free(log->restoring.base);
    log->restoring.base = NULL;
    restored(log, log->restore_index, log->restore_fault);
    arena_release(&log->restore_arena);
    if (log->failed)
        return;
    log_info("%s: a snapshot of the leader up to entry %" PRIu64 " is in place", log->dir_name,
             log->restore_index);
    log->dirty = true;
    give_up_what_was_skipped(log);
}

/* A large snapshot takes long to be taken over; so that this member still answers its leader, a
 * worker does it, and what is committed meanwhile waits. */
static int on_restore(struct raft_fsm *fsm, struct raft_buffer *buf)
{
    struct raft_log *log = fsm->data;
    uint64_t index = 0;
    const char *why;

    if (log->running) {
        log->restoring = *buf;
        uv_queue_work(&log->loop, &log->restore_work, on_restore_work, on_restored);
        return 0;
    }
    why = restore(log, &log->arena, buf, &index);
    restored(log, index, why);
    if (log->failed)
        return RAFT_MALFORMED;
    raft_free(buf->base);
    return 0;
}

/* The library counts entries only: it is told to take a snapshot now when enough bytes have come
 * together. */
void apply_ask_for_snapshot(struct raft_log *log)
{
    uint64_t entries = raft_last_applied(&log->raft) - log->snapshot_at;

    if (log->snapshot_asked || log->disk.snapshot.req || entries == 0)
        return;
    if (log->disk.appended_bytes < log->opt.snapshot_bytes && entries < log->snapshot_limit)
        return;
    raft_set_snapshot_threshold(&log->raft, 1);
    log->snapshot_asked = true;
}

void apply_init(struct raft_log *log)
{
    /* Version 2: the third one's snapshot_async runs on the loop all the same. */
    log->raft_fsm = (struct raft_fsm){.version = 2,
                                      .data = log,
                                      .apply = on_apply,
                                      .snapshot = on_snapshot,
                                      .snapshot_finalize = on_snapshot_over,
                                      .restore = on_restore};
}
