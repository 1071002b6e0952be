/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* apply.c -- committed entries and snapshots on their way to the database. */
#include "pool/log/engine.h"

#include <inttypes.h>
#include <string.h>

#include "pool/log/batch.h"
#include "pool/log/snapshot.h"

#define TRAILING_BYTES ((uint64_t)16 << 20)

/* Ours come back in order, so it is the next one or none. */
struct item *apply_find_own(struct raft_log *log, const void *id)
{
    for (struct flight *f = log->first; f; f = f->next)
        for (size_t i = f->n_applied; i < f->n; i++)
            if (memcmp(f->items[i].id, id, LOG_ID_SIZE) == 0) {
                f->n_applied = i + 1;
                return &f->items[i];
            }
    return NULL;
}

static void apply_entry(struct raft_log *log, uint64_t index, const struct raft_buffer *buf)
{
    struct batch_reader reader;
    const void *data;
    size_t size;

    batch_read(&reader, buf->base, buf->len);
    while (batch_next(&reader, &data, &size)) {
        struct item *own = log->first ? apply_find_own(log, data) : NULL;
        struct log_result ignored = {0};

        log->fsm.apply(log->fsm.ctx, &log->arena, index, data, size, own ? &own->result : &ignored);
        if (own)
            own->applied = true;
    }
    if (!log->first)
        arena_release(&log->arena);
    log->dirty = true;
}

static int on_apply(struct raft_fsm *fsm, const struct raft_buffer *buf, void **result)
{
    struct raft_log *log = fsm->data;
    uint64_t index = raft_last_applied(&log->raft) + 1, meant;
    enum batch_check check;

    *result = NULL;
    if (log->failed)
        return RAFT_SHUTDOWN;
    if (index <= log->applied)
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
        return RAFT_MALFORMED;
    apply_entry(log, index, buf);
    log->applied = index;
    return 0;
}

/* The mark comes first: from then on these entries must be there. */
void apply_publish(struct raft_log *log)
{
    uint64_t index = raft_last_applied(&log->raft), term = disk_term_of(&log->disk, index);
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

static const char *restore(struct raft_log *log, const struct raft_buffer *buf)
{
    const uint8_t *data;
    const char *why;
    uint64_t index;
    size_t size;

    why = snapshot_check(buf->base, buf->len, &index, &data, &size);
    if (why)
        return why;
    if (index > log->applied &&
        !log->fsm.restore(log->fsm.ctx, &log->arena, index, data, size, &why))
        return why ? why : "the database does not understand it";
    log->applied = MAX(log->applied, index);
    log->snapshot_at = index;
    return NULL;
}

static int on_restore(struct raft_fsm *fsm, struct raft_buffer *buf)
{
    struct raft_log *log = fsm->data;
    const char *why = restore(log, buf);

    if (why) {
        engine_fail(log, "its snapshot cannot be used: %s", why);
        return RAFT_MALFORMED;
    }
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
