/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * raft.c -- the log engine on libraft.
 *
 * One thread with its own loop talks to the library, applies, and does nothing else.  propose()
 * only queues and wakes it.  At the end of each turn of the loop (on_turn): what was applied is
 * marked as acknowledged, published, and its proposers are answered; then waiting write-sets are
 * put into the next entry, while at most MAX_INFLIGHT entries are under way.  So under load
 * write-sets gather into large entries by themselves, and a lone proposer never waits for company.
 *
 * Three things end a log until it is opened again (fail): a write of the library's files failed, an
 * entry cannot be understood, the library returned an error nobody foresaw.  Then its loop is never
 * run again, since its handling of these cases is not sound: its memory and descriptors stay until
 * the process ends, and the files are judged anew at the next start.  Two things heal: a full disk
 * (the library refuses before it takes anything) and a disk that answers too late.
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
#include "libxapi/base/seam.h"
#include "pool/log/batch.h"
#include "pool/log/disk.h"
#include "pool/log/guard.h"
#include "pool/log/snapshot.h"
#include "pool/log/transport.h"
#include "xapid/db/log.h"

#define MAX_INFLIGHT 2
#define MAX_ENTRY (LOG_MAX_WRITE_SET + 64)
#define MAX_ITEMS 8192 /* write-sets in one entry */
#define MARK_SYNC_EVERY USEC_PER_SEC
#define TRAILING_BYTES ((uint64_t)16 << 20)
#define NEVER 0x7fffffffu /* a snapshot threshold that is not reached */

struct item {
    struct log_proposal *proposal; /* NULL once answered */
    struct log_result result;
    bool applied;
};

/* One entry of ours on its way through the library, which holds 'req' until on_entry. */
struct flight {
    struct raft_apply req;
    struct raft_log *log;
    struct flight *next;
    usec_t since;
    bool over; /* on_entry was called */
    size_t n, n_applied, n_answered;
    struct item items[];
};

struct queue {
    struct log_proposal *head, **tail;
};

struct raft_log {
    struct log base;
    struct log_fsm fsm;
    struct log_raft_options opt;
    char *dir_name;
    int dir, lock_file;
    struct mark mark;
    struct guard_found found;
    struct thread thread;

    /* Shared. */
    struct mutex lock;
    struct cond changed; /* opened, or failed and something to do */
    struct queue queue;
    bool opened, closing, no_loop;
    char *failure; /* set once */
    struct log_status status;

    /* Of the log's thread. */
    uv_loop_t loop;
    uv_async_t wake;
    uv_check_t turn;
    uv_work_t mark_work;
    struct raft raft;
    struct raft_fsm raft_fsm;
    struct raft_uv_transport transport;
    struct disk disk;
    struct arena arena; /* emptied after each round of answers */
    struct flight *first, **last;
    struct queue waiting; /* taken from 'queue', refused for want of space so far */
    uint64_t applied;     /* last entry given to the database, or passed by */
    uint64_t replay_to;
    bool dirty; /* applied, not published */
    bool failed, raft_closing;
    bool late; /* entries have been under way for too long */
    usec_t closing_since;
    usec_t full_since; /* 0: the disk is not full */
    bool full;
    bool mark_dirty, mark_syncing;
    int mark_rc;
    usec_t mark_synced;
    uint64_t marked, snapshot_at, snapshot_limit;
    bool snapshot_asked;
};

static struct raft_log *raft_log_of(struct log *log)
{
    return container_of(log, struct raft_log, base);
}

/* Queues. */

static void queue_init(struct queue *q)
{
    q->head = NULL;
    q->tail = &q->head;
}

static void queue_add(struct queue *q, struct log_proposal *p)
{
    p->next = NULL;
    *q->tail = p;
    q->tail = &p->next;
}

static void queue_append(struct queue *q, struct queue *from)
{
    if (!from->head)
        return;
    *q->tail = from->head;
    q->tail = from->tail;
    queue_init(from);
}

static struct log_proposal *queue_take(struct queue *q)
{
    struct log_proposal *p = q->head;

    q->head = p->next;
    if (!q->head)
        q->tail = &q->head;
    return p;
}

static void answer_failed(struct raft_log *log, struct log_proposal *p, const char *why)
{
    struct log_result result = {.outcome = LOG_FAILED,
                                .error = error_internal(&log->arena, "%s", why)};

    p->done(p, &result);
}

/* Takes over what was proposed; true if the log is being closed. */
static bool take_queue(struct raft_log *log)
{
    MUTEX_GUARD(&log->lock);
    queue_append(&log->waiting, &log->queue);
    return log->closing;
}

static void refuse_waiting(struct raft_log *log, const char *why)
{
    while (log->waiting.head)
        answer_failed(log, queue_take(&log->waiting), why);
    arena_release(&log->arena);
}

/* Failure. */

static void PRINTF_LIKE(2, 3) fail(void *ctx, const char *fmt, ...)
{
    struct raft_log *log = ctx;
    struct buf text = {0};
    va_list ap;
    char *what;

    if (log->failed)
        return;
    log->failed = true;
    va_start(ap, fmt);
    what = arena_vprintf(&log->arena, fmt, ap);
    va_end(ap);
    buf_printf(&text, "The write log in %s takes no more writes: %s.", log->dir_name, what);
    mutex_lock(&log->lock);
    log->failure = buf_steal(&text);
    mutex_unlock(&log->lock);
    uv_stop(&log->loop);
}

/* Answers. */

static void answer_unknown(struct flight *f)
{
    static const struct log_result unknown = {.outcome = LOG_UNKNOWN};

    for (size_t i = 0; i < f->n; i++) {
        struct log_proposal *p = f->items[i].proposal;

        f->items[i].proposal = NULL;
        if (p)
            p->done(p, &unknown);
    }
    f->n_answered = f->n;
}

static void answer_applied(struct flight *f)
{
    for (; f->n_answered < f->n && f->items[f->n_answered].applied; f->n_answered++) {
        struct item *item = &f->items[f->n_answered];
        struct log_proposal *p = item->proposal;

        item->proposal = NULL;
        if (p)
            p->done(p, &item->result);
    }
}

static void drop_flights(struct raft_log *log)
{
    struct flight **at = &log->first;

    while (*at) {
        struct flight *f = *at;

        if (f->over && f->n_answered == f->n) {
            *at = f->next;
            free(f);
        } else {
            at = &f->next;
        }
    }
    log->last = at;
}

/* The library is done with an entry of ours.  A good one was applied before and is answered at the
 * end of the turn. */
static void on_entry(struct raft_apply *req, int status, void *result)
{
    struct flight *f = container_of(req, struct flight, req);

    (void)result;
    f->over = true;
    if (status)
        answer_unknown(f);
}

/* Applying. */

/* The proposal of ours with this write-set's id, if it still waits.  Ours come back in order, so it
 * is the next one or none. */
static struct item *find_own(struct raft_log *log, const void *data)
{
    for (struct flight *f = log->first; f; f = f->next)
        for (size_t i = f->n_applied; i < f->n; i++) {
            struct item *item = &f->items[i];

            if (item->proposal && memcmp(item->proposal->data, data, LOG_ID_SIZE) == 0) {
                f->n_applied = i + 1;
                return item;
            }
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
        struct item *own = log->first ? find_own(log, data) : NULL;
        struct log_result ignored = {0}, *result = own ? &own->result : &ignored;

        log->fsm.apply(log->fsm.ctx, &log->arena, index, data, size, result);
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
        fail(log, "entry %" PRIu64 " was written by a newer version of this program", index);
    else if (check == BATCH_DAMAGED)
        fail(log, "entry %" PRIu64 " is damaged", index);
    else if (meant != index)
        fail(log, "entry %" PRIu64 " was found where entry %" PRIu64 " should be", meant, index);
    if (check != BATCH_GOOD || meant != index)
        return RAFT_MALFORMED;
    apply_entry(log, index, buf);
    log->applied = index;
    return 0;
}

/* Makes visible what was applied.  The mark comes first: from then on these entries must be there.
 */
static void publish(struct raft_log *log)
{
    uint64_t index = raft_last_applied(&log->raft), term;
    int rc;

    if (log->failed)
        return;
    term = disk_term_of(&log->disk, index);
    if (index > log->marked && term) {
        rc = mark_position(&log->mark, index, term);
        if (rc) {
            fail(log, "its file \"%s\" could not be written: %s", MARK_FILE, strerror(rc));
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

/* Snapshots. */

static int on_snapshot(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n_bufs)
{
    struct raft_log *log = fsm->data;
    uint64_t now = raft_last_applied(&log->raft), entries = MAX(now - log->snapshot_at, 1), index,
             fit;

    publish(log);
    if (log->failed)
        return RAFT_SHUTDOWN;
    *bufs = NULL;
    *n_bufs = 0;
    disk_hold(&log->disk, log->fsm.hold(log->fsm.ctx, &index));
    /* What is kept behind a snapshot stays in memory too: fewer entries if they are large; never
       none, which means another thing to the library. */
    fit = TRAILING_BYTES / MAX(log->disk.appended_bytes / entries, 1);
    raft_set_snapshot_trailing(&log->raft, (unsigned)MAX(MIN(fit, log->opt.trailing), 1));
    raft_set_snapshot_threshold(&log->raft, NEVER);
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

static int on_restore(struct raft_fsm *fsm, struct raft_buffer *buf)
{
    struct raft_log *log = fsm->data;
    const char *why;
    const uint8_t *data;
    uint64_t index;
    size_t size;

    why = snapshot_check(buf->base, buf->len, &index, &data, &size);
    if (!why && index > log->applied &&
        !log->fsm.restore(log->fsm.ctx, &log->arena, index, data, size, &why) && !why)
        why = "the database does not understand it";
    if (why) {
        fail(log, "its snapshot cannot be used: %s", why);
        return RAFT_MALFORMED;
    }
    log->applied = MAX(log->applied, index);
    log->snapshot_at = index;
    raft_free(buf->base);
    return 0;
}

/* The library counts entries only: it is told to take a snapshot now when enough bytes have come
 * together. */
static void ask_for_snapshot(struct raft_log *log)
{
    if (log->snapshot_asked || log->disk.snapshot.req ||
        raft_last_applied(&log->raft) <= log->snapshot_at)
        return;
    if (log->disk.appended_bytes < log->opt.snapshot_bytes &&
        raft_last_applied(&log->raft) - log->snapshot_at < log->snapshot_limit)
        return;
    raft_set_snapshot_threshold(&log->raft, 1);
    log->snapshot_asked = true;
}

/* Proposing. */

static bool good_size(struct raft_log *log, struct log_proposal *p)
{
    if (p->size >= LOG_ID_SIZE && p->size <= LOG_MAX_WRITE_SET)
        return true;
    answer_failed(
        log, p, p->size > LOG_MAX_WRITE_SET ? "The change is too large." : "The change has no id.");
    return false;
}

/* Takes waiting proposals that fit into one entry; NULL if none is left. */
static struct flight *gather(struct raft_log *log, size_t *size)
{
    struct queue taken;
    struct flight *f;
    size_t n = 0;

    queue_init(&taken);
    *size = BATCH_HEADER;
    while (log->waiting.head && n < MAX_ITEMS) {
        struct log_proposal *p = log->waiting.head;

        if (p->size <= LOG_MAX_WRITE_SET && *size + batch_item_size(p->size) > MAX_ENTRY)
            break;
        p = queue_take(&log->waiting);
        if (!good_size(log, p))
            continue;
        *size += batch_item_size(p->size);
        queue_add(&taken, p);
        n++;
    }
    if (n == 0)
        return NULL;
    f = xcalloc(1, sizeof *f + n * sizeof f->items[0]);
    f->log = log;
    f->n = n;
    for (size_t i = 0; i < n; i++)
        f->items[i].proposal = queue_take(&taken);
    return f;
}

static struct raft_buffer encode(const struct flight *f, size_t size, uint64_t index)
{
    struct raft_buffer buf = {.base = raft_malloc(size), .len = size};
    uint8_t *p;

    if (!buf.base)
        abort();
    p = batch_put_header(buf.base, index, (uint32_t)f->n);
    for (size_t i = 0; i < f->n; i++)
        p = batch_put_item(p, f->items[i].proposal->data, f->items[i].proposal->size);
    return buf;
}

/* Puts a flight's proposals back in front of those that wait. */
static void put_back(struct raft_log *log, struct flight *f)
{
    struct queue q;

    queue_init(&q);
    for (size_t i = 0; i < f->n; i++)
        queue_add(&q, f->items[i].proposal);
    queue_append(&q, &log->waiting);
    queue_append(&log->waiting, &q);
    free(f);
}

static void not_leader(struct raft_log *log, struct flight *f)
{
    put_back(log, f);
    refuse_waiting(log, "This host does not lead the log.");
}

/* The library keeps two segments ready and refuses entries before it runs out: nothing was taken,
 * so trying again is safe. */
static void disk_full(struct raft_log *log, struct flight *f)
{
    usec_t now = clock_mono();

    put_back(log, f);
    if (!log->full_since)
        log->full_since = now;
    if (!log->full && now - log->full_since < log->opt.full_within)
        return;
    log->full = true;
    refuse_waiting(log, "There is no space left on the disk of the write log.");
}

/* Gives an entry to the library; false if it was not taken. */
static bool submit(struct raft_log *log, struct flight *f, size_t size)
{
    struct raft_buffer buf = encode(f, size, raft_last_index(&log->raft) + 1);
    int rc;

    f->since = clock_mono();
    *log->last = f;
    log->last = &f->next;
    rc = raft_apply(&log->raft, &f->req, &buf, 1, on_entry);
    if (rc == 0)
        return true;
    if (rc != RAFT_NOSPACE && rc != RAFT_NOTLEADER) {
        fail(log, "an entry was not taken: %s", raft_errmsg(&log->raft));
        return false; /* whose the buffer is now, nobody can say */
    }
    raft_free(buf.base);
    for (log->last = &log->first; *log->last != f; log->last = &(*log->last)->next)
        ;
    *log->last = NULL;
    if (rc == RAFT_NOSPACE)
        disk_full(log, f);
    else
        not_leader(log, f);
    return false;
}

static size_t n_inflight(const struct raft_log *log)
{
    size_t n = 0;

    for (const struct flight *f = log->first; f; f = f->next)
        n += f->n_answered < f->n;
    return n;
}

/* Submits what waits; true if the log is being closed. */
static bool pump(struct raft_log *log)
{
    bool closing = take_queue(log);
    struct flight *f;
    size_t size;

    if (log->late)
        refuse_waiting(log, "The disk of the write log does not answer.");
    if (closing)
        refuse_waiting(log, "The write log is being closed.");
    while (!log->failed && n_inflight(log) < MAX_INFLIGHT && (f = gather(log, &size)) != NULL) {
        if (!submit(log, f, size))
            break;
        log->full_since = 0;
        log->full = false;
    }
    return closing;
}

/* Nobody waits for ever: what is under way for too long may or may not come to be. */
static void give_up_late(struct raft_log *log)
{
    usec_t limit = clock_mono() - log->opt.answer_within;

    log->late = false;
    for (struct flight *f = log->first; f; f = f->next)
        if (!f->over && f->since < limit) {
            log->late = true;
            answer_unknown(f);
        }
}

/* The end of a turn of the loop. */

static void update_status(struct raft_log *log)
{
    struct log_status s = {
        .last_index = raft_last_index(&log->raft),
        .applied_index = raft_last_applied(&log->raft),
        .term = raft_current_term(&log->raft),
    };
    const char *address;
    raft_id leader;

    raft_leader(&log->raft, &leader, &address);
    s.leader = leader;
    s.writable = raft_state(&log->raft) == RAFT_LEADER && !log->late && !log->full;
    if (log->late)
        s.failure = "The disk of the write log does not answer.";
    else if (log->full)
        s.failure = "There is no space left on the disk of the write log.";
    MUTEX_GUARD(&log->lock);
    log->status = s;
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
        fail(log, "its file \"%s\" could not be synced: %s", MARK_FILE, strerror(log->mark_rc));
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
    if (log->opened || raft_state(&log->raft) != RAFT_LEADER ||
        raft_last_applied(&log->raft) < log->replay_to)
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
}

/* raft_close is not sound while entries are under way, so it waits for them; pump refuses new ones
 * meanwhile. */
static void close_if_idle(struct raft_log *log)
{
    if (!log->closing_since)
        log->closing_since = clock_mono();
    if (log->first || log->waiting.head || log->mark_syncing || !disk_idle(&log->disk)) {
        if (log->late || clock_mono() - log->closing_since > log->opt.answer_within)
            fail(log, "it was closed while its disk did not answer");
        return;
    }
    log->raft_closing = true;
    raft_close(&log->raft, on_raft_closed);
    disk_cancel(&log->disk);
}

static void answer(struct raft_log *log)
{
    for (struct flight *f = log->first; f; f = f->next)
        answer_applied(f);
    arena_release(&log->arena);
    drop_flights(log);
}

static void on_turn(uv_check_t *turn)
{
    struct raft_log *log = turn->data;
    bool closing;

    if (log->raft_closing)
        return;
    disk_check(&log->disk);
    publish(log);
    if (log->failed)
        return;
    answer(log);
    give_up_late(log);
    closing = pump(log);
    if (log->failed)
        return;
    ask_for_snapshot(log);
    sync_mark(log);
    update_status(log);
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

static int start_raft(struct raft_log *log)
{
    char address[32];
    int rc;

    snprintf(address, sizeof address, "%016" PRIx64, log->mark.id);
    log->raft_fsm = (struct raft_fsm){.version = 2,
                                      .data = log,
                                      .apply = on_apply,
                                      .snapshot = on_snapshot,
                                      .snapshot_finalize = on_snapshot_over,
                                      .restore = on_restore};
    rc = raft_init(&log->raft, &log->disk.io, &log->raft_fsm, log->mark.id, address);
    if (rc)
        return rc;
    log->raft.tracer = NULL;
    log->raft.data = log;
    raft_set_election_timeout(&log->raft, 500);
    raft_set_heartbeat_timeout(&log->raft, 50);
    raft_set_pre_vote(&log->raft, true);
    raft_set_snapshot_threshold(&log->raft, NEVER);
    if (!log->found.fresh)
        disk_set_last(&log->disk, log->found.last_index, log->found.last_term);
    log->disk.appended_bytes = log->found.bytes;
    rc = log->found.fresh ? bootstrap(log, address) : 0;
    return rc ? rc : raft_start(&log->raft);
}

static void start(struct raft_log *log)
{
    int rc;

    uv_loop_init(&log->loop);
    uv_async_init(&log->loop, &log->wake, on_wake);
    uv_check_init(&log->loop, &log->turn);
    log->turn.data = log;
    transport_none(&log->transport);
    log->disk.mark = &log->mark;
    log->disk.fsm = &log->fsm;
    log->disk.failed = fail;
    log->disk.failed_ctx = log;
    rc = disk_init(&log->disk, &log->loop, log->dir_name, &log->transport);
    if (rc) {
        fail(log, "it could not be opened: %s", log->disk.io.errmsg);
        return;
    }
    rc = start_raft(log);
    if (rc)
        fail(log, "it could not be started: %s", raft_errmsg(&log->raft));
    else if (!is_member(log))
        fail(log, "this host is not a member of it");
    log->replay_to = raft_last_index(&log->raft);
    uv_check_start(&log->turn, on_turn);
}

/* The loop is never run again: answers what was under way, tells the database, and refuses what
 * still comes. */
static void after_failure(struct raft_log *log)
{
    mutex_lock(&log->lock);
    log->no_loop = true;
    log->status.writable = false;
    log->status.failure = log->failure;
    cond_broadcast(&log->changed);
    mutex_unlock(&log->lock);
    for (struct flight *f = log->first; f; f = f->next)
        answer_unknown(f);
    if (log->opened && log->fsm.failed)
        log->fsm.failed(log->fsm.ctx, log->failure);
    for (;;) {
        take_queue(log);
        refuse_waiting(log, log->failure);
        MUTEX_GUARD(&log->lock);
        while (!log->queue.head && !log->closing)
            cond_wait(&log->changed, &log->lock);
        if (log->closing && !log->queue.head)
            return;
    }
}

static void *run(void *arg)
{
    struct raft_log *log = arg;

    start(log);
    if (!log->failed)
        uv_run(&log->loop, UV_RUN_DEFAULT);
    if (log->failed) {
        after_failure(log);
        return NULL;
    }
    raft_uv_close(&log->disk.io);
    if (uv_loop_close(&log->loop) != 0)
        log_error("the loop of the write log in %s was left with handles", log->dir_name);
    return NULL;
}

/* The engine's face. */

static void raft_log_propose(struct log *base, struct log_proposal *proposal)
{
    struct raft_log *log = raft_log_of(base);

    MUTEX_GUARD(&log->lock);
    queue_add(&log->queue, proposal);
    if (log->no_loop)
        cond_broadcast(&log->changed);
    else
        uv_async_send(&log->wake);
}

static void raft_log_status(struct log *base, struct log_status *out)
{
    struct raft_log *log = raft_log_of(base);

    MUTEX_GUARD(&log->lock);
    *out = log->status;
}

/* Frees all but what the library may still use after a failure. */
static void release(struct raft_log *log)
{
    bool library_may_write = log->failed && log->disk.appends;

    mark_close(&log->mark);
    arena_release(&log->arena);
    /* A write that the kernel still holds could land in files that somebody else has opened
     * meanwhile. */
    if (log->lock_file >= 0 && !library_may_write)
        close(log->lock_file);
    if (log->dir >= 0)
        close(log->dir);
    cond_release(&log->changed);
    mutex_release(&log->lock);
    free(log->dir_name);
    if (log->failed)
        return; /* the library's loop and requests point into it */
    free(log->failure);
    free(log);
}

static void stop(struct raft_log *log)
{
    mutex_lock(&log->lock);
    log->closing = true;
    if (log->no_loop)
        cond_broadcast(&log->changed);
    else
        uv_async_send(&log->wake);
    mutex_unlock(&log->lock);
    thread_join(&log->thread);
}

static void raft_log_close(struct log *base)
{
    struct raft_log *log = raft_log_of(base);
    int rc;

    stop(log);
    rc = log->failed ? 0 : mark_sync(&log->mark);
    if (rc)
        log_error("%s/%s could not be synced: %s", log->dir_name, MARK_FILE, strerror(rc));
    release(log);
}

static const struct log_engine raft_engine = {
    .propose = raft_log_propose,
    .status = raft_log_status,
    .close = raft_log_close,
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
    id = random_u64() >> 1; /* never zero, and positive wherever it is shown */
    TRY(mark_create(arena, log->dir, log->dir_name, id ? id : 1));
    return mark_open(arena, log->dir, log->dir_name, &log->mark, &found);
}

static struct error *open_files(struct arena *arena, struct raft_log *log)
{
    TRY(open_dir(arena, log));
    TRY(open_mark(arena, log));
    return guard_check(arena, log->dir, log->dir_name, &log->mark, log->fsm.applied_index,
                       &log->found);
}

static void set_options(struct raft_log *log, const struct log_raft_options *options)
{
    struct log_raft_options *o = &log->opt;

    if (options)
        *o = *options;
    o->answer_within = o->answer_within ? o->answer_within : 10 * USEC_PER_SEC;
    o->full_within = o->full_within ? o->full_within : USEC_PER_SEC;
    o->snapshot_bytes = o->snapshot_bytes ? o->snapshot_bytes : (uint64_t)64 << 20;
    o->snapshot_entries = o->snapshot_entries ? o->snapshot_entries : 8192;
    o->trailing = o->trailing ? o->trailing : 1024;
    log->snapshot_limit = o->snapshot_entries + random_u64() % (o->snapshot_entries / 4 + 1);
}

/* Starts the thread and waits until the tail is replayed. */
static struct error *start_thread(struct arena *arena, struct raft_log *log)
{
    usec_t deadline;
    bool opened;

    thread_start(&log->thread, "log", run, log);
    mutex_lock(&log->lock);
    deadline = clock_mono() + 6 * log->opt.answer_within;
    while (!log->opened && !log->no_loop && cond_wait_until(&log->changed, &log->lock, deadline))
        ;
    opened = log->opened && !log->no_loop;
    mutex_unlock(&log->lock);
    if (opened)
        return OK;
    stop(log);
    return error_internal(arena, "%s",
                          log->failure
                              ? log->failure
                              : "The write log could not be started in time: is its disk full?");
}

struct error *log_raft_open(struct arena *arena, const char *dir,
                            const struct log_raft_options *options, const struct log_fsm *fsm,
                            struct log **out)
{
    struct raft_log *log = xcalloc(1, sizeof *log);
    struct error *e;

    *out = NULL;
    log->base.engine = &raft_engine;
    log->fsm = *fsm;
    log->dir_name = xstrdup(dir);
    log->dir = log->lock_file = log->mark.fd = -1;
    log->applied = fsm->applied_index;
    log->last = &log->first;
    queue_init(&log->queue);
    queue_init(&log->waiting);
    mutex_init(&log->lock);
    cond_init(&log->changed);
    set_options(log, options);
    e = open_files(arena, log);
    if (!e)
        e = start_thread(arena, log);
    if (e) {
        release(log);
        return e;
    }
    *out = &log->base;
    return OK;
}
