/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* disk.c -- the filter between the library's consensus part and its disk part. */
#include "pool/log/disk.h"

#include <stdlib.h>
#include <string.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "pool/log/snapshot.h"

#define RETRY_MSEC 1000

struct disk_append {
    struct raft_io_append below;
    struct raft_io_append *above;
    struct disk *disk;
    struct disk_append *next; /* they end in order */
    usec_t begun;
};

static struct disk *disk_of(struct raft_io *io)
{
    return container_of(io, struct disk, io);
}

/* Terms of recent entries. */

static void note_term(struct disk *disk, uint64_t index, uint64_t term)
{
    while (disk->n_terms && disk->terms[disk->n_terms - 1].first_index >= index)
        disk->n_terms--;
    if (disk->n_terms && disk->terms[disk->n_terms - 1].term == term)
        return;
    if (disk->n_terms == DISK_TERMS)
        memmove(disk->terms, disk->terms + 1, --disk->n_terms * sizeof disk->terms[0]);
    disk->terms[disk->n_terms++] = (struct disk_term){index, term};
}

uint64_t disk_term_of(const struct disk *disk, uint64_t index)
{
    for (unsigned i = disk->n_terms; i; i--)
        if (disk->terms[i - 1].first_index <= index)
            return disk->terms[i - 1].term;
    return 0;
}

void disk_set_last(struct disk *disk, uint64_t index, uint64_t term)
{
    disk->next_index = index + 1;
    note_term(disk, index, term);
}

/* Entries. */

#define FAIL(disk, ...)                                                                            \
    do {                                                                                           \
        (disk)->broken = true;                                                                     \
        (disk)->failed((disk)->failed_ctx, __VA_ARGS__);                                           \
    } while (0)

static void unlink_append(struct disk *disk, struct disk_append *a)
{
    struct disk_append **at = &disk->first_append;

    while (*at != a)
        at = &(*at)->next;
    *at = a->next;
    if (!*at)
        disk->last_append = at;
    disk->appends--;
}

static void on_append(struct raft_io_append *below_req, int status)
{
    struct disk_append *a = below_req->data;
    struct disk *disk = a->disk;
    struct raft_io_append *above = a->above;

    unlink_append(disk, a);
    disk->append_took = clock_mono() - a->begun;
    free(a);
    disk->write_done = false;
    if (status == 0)
        above->cb(above, 0);
    else
        FAIL(disk, "its entries could not be written: %s", raft_strerror(status));
}

usec_t disk_waits(const struct disk *disk)
{
    return disk->first_append ? clock_mono() - disk->first_append->begun : 0;
}

static int disk_append(struct raft_io *io, struct raft_io_append *req,
                       const struct raft_entry entries[], unsigned n, raft_io_append_cb cb)
{
    struct disk *disk = disk_of(io);
    struct disk_append *a = xcalloc(1, sizeof *a);
    int rc;

    a->disk = disk;
    a->above = req;
    a->below.data = a;
    req->cb = cb;
    for (unsigned i = 0; i < n; i++) {
        note_term(disk, disk->next_index++, entries[i].term);
        disk->appended_bytes += entries[i].buf.len;
    }
    disk->appends++;
    a->begun = clock_mono();
    *disk->last_append = a;
    disk->last_append = &a->next;
    rc = disk->below.append(&disk->io, &a->below, entries, n, on_append);
    if (rc)
        FAIL(disk, "its entries could not be written: %s", disk->io.errmsg);
    return 0;
}

static int disk_truncate(struct raft_io *io, raft_index index)
{
    struct disk *disk = disk_of(io);

    disk->next_index = index;
    if (disk->below.truncate(&disk->io, index) != 0)
        FAIL(disk, "its last entries could not be taken back: %s", disk->io.errmsg);
    return 0;
}

/* The library tells nobody that a write failed; but the end of a good write is followed at once by
 * the end of its appends. */
static void on_trace(struct raft_tracer *tracer, int type, const void *info)
{
    struct disk *disk = tracer->impl;

    (void)info;
    if (type == RAFT_UV_TRACER_WRITE_COMPLETE)
        disk->write_done = true;
}

void disk_check(struct disk *disk)
{
    if (!disk->write_done)
        return;
    disk->write_done = false;
    FAIL(disk, "its entries could not be written: %s", disk->io.errmsg);
}

/* Term and vote. */

static void store_meta(struct disk *disk, uint64_t term, uint64_t vote, bool is_vote)
{
    struct mark_metas metas = {.before = disk->mark->metas.now};
    int rc;

    metas.now = (struct mark_meta){metas.before.version + 1, term, vote};
    rc = mark_metas(disk->mark, &metas);
    if (rc) {
        FAIL(disk, "its file \"%s\" could not be written: %s", MARK_FILE, strerror(rc));
        return;
    }
    rc = is_vote ? disk->below.set_vote(&disk->io, vote) : disk->below.set_term(&disk->io, term);
    if (rc) {
        FAIL(disk, "its term and vote could not be written: %s", disk->io.errmsg);
        return;
    }
    metas.done = true;
    rc = mark_metas(disk->mark, &metas);
    if (rc)
        FAIL(disk, "its file \"%s\" could not be written: %s", MARK_FILE, strerror(rc));
}

static int disk_set_term(struct raft_io *io, raft_term term)
{
    if (!disk_of(io)->broken)
        store_meta(disk_of(io), term, 0, false);
    return 0;
}

/* A new term comes without a vote: then there is nothing to write. */
static int disk_set_vote(struct raft_io *io, raft_id id)
{
    struct disk *disk = disk_of(io);

    if (!disk->broken && (id || disk->mark->metas.now.vote))
        store_meta(disk, disk->mark->metas.now.term, id, true);
    return 0;
}

/* Snapshots. */

static void start_put(struct disk *disk);

static void on_retry(uv_timer_t *timer)
{
    struct disk *disk = timer->data;

    start_put(disk);
}

static void end_put(struct disk *disk, int status)
{
    struct raft_io_snapshot_put *req = disk->snapshot.req;

    disk->snapshot.req = NULL;
    req->cb(req, status);
}

/* Each try writes new files, so a failed one leaves nothing that could be taken for good. */
static void on_put(struct raft_io_snapshot_put *put, int status)
{
    struct disk *disk = put->data;

    disk->snapshot.below_busy = false;
    if (status == 0 || status == RAFT_CANCELED) {
        end_put(disk, status);
        return;
    }
    log_warning("the log's snapshot at entry %llu could not be written and will be tried again: %s",
                disk->snapshot.snapshot->index, raft_strerror(status));
    uv_timer_start(&disk->snapshot.retry, on_retry, RETRY_MSEC, 0);
}

static void start_put(struct disk *disk)
{
    struct disk_snapshot *s = &disk->snapshot;
    int rc;

    s->below_busy = true;
    rc = disk->below.snapshot_put(&disk->io, s->trailing, &s->put, s->snapshot, on_put);
    if (rc)
        on_put(&s->put, rc);
}

/* On a worker. */
static void serialise(uv_work_t *work)
{
    static const char zeros[8];
    struct disk *disk = work->data;
    struct disk_snapshot *s = &disk->snapshot;
    size_t size;

    disk->fsm->serialise(disk->fsm->ctx, s->held, &s->state);
    size = s->state.len;
    buf_add(&s->state, zeros, (8 - size % 8) % 8);
    snapshot_seal(s->header, s->index, s->state.data ? s->state.data : "", size);
}

static void on_serialised(uv_work_t *work, int status)
{
    struct disk *disk = work->data;
    struct disk_snapshot *s = &disk->snapshot;

    (void)status; /* never cancelled */
    s->working = false;
    disk->fsm->unhold(disk->fsm->ctx, s->held);
    s->held = NULL;
    if (s->state.len > SNAPSHOT_MAX) {
        /* The library's request stays open, so it asks for no more snapshots until the next start.
         */
        log_error("the state is too large for a snapshot (%zu bytes): the log can no longer be cut",
                  s->state.len);
        return;
    }
    s->bufs[0] = (struct raft_buffer){s->header, sizeof s->header};
    s->bufs[1] = (struct raft_buffer){s->state.data, s->state.len};
    s->snapshot->bufs = s->bufs;
    s->snapshot->n_bufs = s->state.len ? 2 : 1;
    start_put(disk);
}

static int disk_snapshot_put(struct raft_io *io, unsigned trailing,
                             struct raft_io_snapshot_put *req, const struct raft_snapshot *snapshot,
                             raft_io_snapshot_put_cb cb)
{
    struct disk *disk = disk_of(io);
    struct disk_snapshot *s = &disk->snapshot;

    s->req = req;
    req->cb = cb;
    s->trailing = trailing;
    /* The library's request owns it; its buffers are ours to fill. */
    s->snapshot = (struct raft_snapshot *)snapshot;
    s->received = !s->held; /* from the leader, and complete already */
    if (s->received) {
        disk->next_index = snapshot->index + 1;
        note_term(disk, snapshot->index, snapshot->term);
        start_put(disk);
        return 0;
    }
    s->index = snapshot->index;
    s->working = true;
    s->work.data = disk;
    uv_queue_work(s->retry.loop, &s->work, serialise, on_serialised);
    return 0;
}

void disk_hold(struct disk *disk, void *held)
{
    disk->snapshot.held = held;
}

void disk_snapshot_over(struct disk *disk)
{
    if (disk->snapshot.held)
        disk->fsm->unhold(disk->fsm->ctx, disk->snapshot.held);
    disk->snapshot.held = NULL;
    buf_release(&disk->snapshot.state);
}

int disk_init(struct disk *disk, uv_loop_t *loop, const char *dir,
              struct raft_uv_transport *transport)
{
    int rc = raft_uv_init(&disk->io, loop, dir, transport);

    if (rc)
        return rc;
    raft_uv_set_auto_recovery(&disk->io, false);
    raft_uv_set_disk_retry(&disk->io, RETRY_MSEC);
    disk->tracer = (struct raft_tracer){.impl = disk, .version = 2, .emit = on_trace};
    raft_uv_set_tracer(&disk->io, &disk->tracer);
    disk->below = disk->io;
    disk->io.append = disk_append;
    disk->io.truncate = disk_truncate;
    disk->io.set_term = disk_set_term;
    disk->io.set_vote = disk_set_vote;
    disk->io.snapshot_put = disk_snapshot_put;
    disk->last_append = &disk->first_append;
    disk->snapshot.put.data = disk;
    uv_timer_init(loop, &disk->snapshot.retry);
    disk->snapshot.retry.data = disk;
    return 0;
}

bool disk_idle(const struct disk *disk)
{
    const struct disk_snapshot *s = &disk->snapshot;

    return disk->appends == 0 && !s->working && !(s->req && s->received);
}

void disk_cancel(struct disk *disk)
{
    struct disk_snapshot *s = &disk->snapshot;

    uv_close((uv_handle_t *)&s->retry, NULL);
    if (s->req && !s->below_busy)
        end_put(disk, RAFT_CANCELED);
}
