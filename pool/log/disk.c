/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* disk.c -- the filter between the library's consensus part and its disk part. */
#include "pool/log/disk.h"

#include <stdlib.h>
#include <string.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "pool/log/snapshot.h"

#define RETRY_MSEC 1000

struct append {
    struct raft_io_append below;
    struct raft_io_append *above;
    struct disk *disk;
};

static struct disk *disk_of(struct raft_io *io)
{
    return container_of(io, struct disk, io);
}

/* The library's functions read the consensus object and the error text from the raft_io they belong to; only that part is ours. */
static struct raft_io *below(struct disk *disk)
{
    disk->below.data = disk->io.data;
    return &disk->below;
}

static int passed_up(struct disk *disk, int rc)
{
    if (rc)
        memcpy(disk->io.errmsg, disk->below.errmsg, sizeof disk->io.errmsg);
    disk->io.capacity = disk->below.capacity;
    return rc;
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

static void on_append(struct raft_io_append *below_req, int status)
{
    struct append *a = below_req->data;
    struct disk *disk = a->disk;
    struct raft_io_append *above = a->above;

    free(a);
    disk->appends--;
    disk->write_done = false;
    if (status == 0)
        above->cb(above, 0);
    else
        disk->failed(disk->failed_ctx, "its entries could not be written: %s", raft_strerror(status));
}

static int disk_append(struct raft_io *io, struct raft_io_append *req, const struct raft_entry entries[],
                       unsigned n, raft_io_append_cb cb)
{
    struct disk *disk = disk_of(io);
    struct append *a = xcalloc(1, sizeof *a);
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
    rc = disk->below.append(below(disk), &a->below, entries, n, on_append);
    if (rc)
        disk->failed(disk->failed_ctx, "its entries could not be written: %s", disk->below.errmsg);
    return passed_up(disk, rc);
}

static int disk_truncate(struct raft_io *io, raft_index index)
{
    struct disk *disk = disk_of(io);

    disk->next_index = index;
    return passed_up(disk, disk->below.truncate(below(disk), index));
}

/* The library tells nobody that a write failed; but the end of a good write is followed at once by the end of its appends. */
static void on_trace(struct raft_tracer *tracer, int type, const void *info)
{
    struct disk *disk = tracer->impl;

    (void)info;
    if (type == RAFT_UV_TRACER_WRITE_COMPLETE)
        disk->write_done = true;
}

void disk_check(struct disk *disk)
{
    disk->io.capacity = disk->below.capacity;
    if (!disk->write_done)
        return;
    disk->write_done = false;
    disk->failed(disk->failed_ctx, "its entries could not be written: %s", disk->below.errmsg);
}

/* Term and vote. */

static int store_meta(struct disk *disk, uint64_t term, uint64_t vote, bool is_vote)
{
    struct mark_metas metas = {.before = disk->mark->metas.now};
    int rc;

    metas.now = (struct mark_meta){metas.before.version + 1, term, vote};
    rc = mark_metas(disk->mark, &metas);
    if (rc) {
        disk->failed(disk->failed_ctx, "its file \"%s\" could not be written: %s", MARK_FILE, strerror(rc));
        return RAFT_IOERR;
    }
    rc = is_vote ? disk->below.set_vote(below(disk), vote) : disk->below.set_term(below(disk), term);
    if (rc) {
        disk->failed(disk->failed_ctx, "its term and vote could not be written: %s", disk->below.errmsg);
        return passed_up(disk, rc);
    }
    metas.done = true;
    rc = mark_metas(disk->mark, &metas);
    if (rc == 0)
        return 0;
    disk->failed(disk->failed_ctx, "its file \"%s\" could not be written: %s", MARK_FILE, strerror(rc));
    return RAFT_IOERR;
}

static int disk_set_term(struct raft_io *io, raft_term term)
{
    return store_meta(disk_of(io), term, 0, false);
}

static int disk_set_vote(struct raft_io *io, raft_id id)
{
    struct disk *disk = disk_of(io);

    return store_meta(disk, disk->mark->metas.now.term, id, true);
}

/* Snapshots. */

static void start_put(struct disk *disk);

static void on_retry(uv_timer_t *timer)
{
    struct disk *disk = timer->data;

    disk->snapshot.waiting = false;
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

    if (status == 0 || status == RAFT_CANCELED) {
        end_put(disk, status);
        return;
    }
    log_warning("the log's snapshot at entry %llu could not be written and will be tried again: %s",
                disk->snapshot.snapshot->index, raft_strerror(status));
    disk->snapshot.waiting = true;
    uv_timer_start(&disk->snapshot.retry, on_retry, RETRY_MSEC, 0);
}

static void start_put(struct disk *disk)
{
    struct disk_snapshot *s = &disk->snapshot;
    int rc;

    s->put.data = disk;
    rc = disk->below.snapshot_put(below(disk), s->trailing, &s->put, s->snapshot, on_put);
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
        disk->no_state = true; /* the library's request stays open: no more snapshots until the next start */
        log_error("the state is too large for a snapshot (%zu bytes): the log can no longer be cut", s->state.len);
        return;
    }
    s->bufs[0] = (struct raft_buffer){s->header, sizeof s->header};
    s->bufs[1] = (struct raft_buffer){s->state.data, s->state.len};
    s->snapshot->bufs = s->bufs;
    s->snapshot->n_bufs = s->state.len ? 2 : 1;
    start_put(disk);
}

static int disk_snapshot_put(struct raft_io *io, unsigned trailing, struct raft_io_snapshot_put *req,
                             const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb)
{
    struct disk *disk = disk_of(io);
    struct disk_snapshot *s = &disk->snapshot;

    s->req = req;
    req->cb = cb;
    s->trailing = trailing;
    s->snapshot = (struct raft_snapshot *)snapshot; /* the library's request owns it; its buffers are ours to fill */
    if (!s->held) {                                 /* received from the leader: complete already */
        disk->next_index = snapshot->index + 1;
        note_term(disk, snapshot->index, snapshot->term);
        start_put(disk);
        return 0;
    }
    s->working = true;
    s->work.data = disk;
    uv_queue_work(s->retry.loop, &s->work, serialise, on_serialised);
    return 0;
}

void disk_hold(struct disk *disk, void *held, uint64_t index)
{
    disk->snapshot.held = held;
    disk->snapshot.index = index;
}

void disk_snapshot_over(struct disk *disk)
{
    if (disk->snapshot.held)
        disk->fsm->unhold(disk->fsm->ctx, disk->snapshot.held);
    disk->snapshot.held = NULL;
    buf_release(&disk->snapshot.state);
}

/* The rest is passed on as it is. */

static int disk_io_init(struct raft_io *io, raft_id id, const char *address)
{
    struct disk *disk = disk_of(io);

    return passed_up(disk, disk->below.init(below(disk), id, address));
}

static void on_closed(struct raft_io *below_io)
{
    struct disk *disk = container_of(below_io, struct disk, below);
    raft_io_close_cb cb = (raft_io_close_cb)disk->io.impl;

    cb(&disk->io);
}

static void disk_close(struct raft_io *io, raft_io_close_cb cb)
{
    struct disk *disk = disk_of(io);

    io->impl = (void *)cb;
    disk->below.close(below(disk), on_closed);
}

static int disk_load(struct raft_io *io, raft_term *term, raft_id *voted_for, struct raft_snapshot **snapshot,
                     raft_index *start_index, struct raft_entry *entries[], size_t *n_entries)
{
    struct disk *disk = disk_of(io);

    return passed_up(disk, disk->below.load(below(disk), term, voted_for, snapshot, start_index, entries,
                                            n_entries));
}

