/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* propose.c -- write-sets on their way to the library, and answers on their way back. */
#include "pool/log/engine.h"

#include <stdlib.h>
#include <string.h>

#include "libxapi/base/memory.h"
#include "pool/log/batch.h"

/* A second entry under way makes both smaller: on a lone voter 46,000 write-sets a second instead
   of 55,000, with three voters 8,300 instead of 9,200. */
#define MAX_INFLIGHT 1
#define MAX_ITEMS 8192 /* write-sets in one entry */
#define RETRY (20 * USEC_PER_MSEC)

void queue_init(struct queue *q)
{
    q->head = NULL;
    q->tail = &q->head;
}

void queue_add(struct queue *q, struct log_proposal *p)
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

void queue_prepend(struct queue *q, struct queue *front)
{
    queue_append(front, q);
    queue_append(q, front);
}

static struct log_proposal *queue_take(struct queue *q)
{
    struct log_proposal *p = q->head;

    q->head = p->next;
    if (!q->head)
        q->tail = &q->head;
    return p;
}

/* Answers. */

/* Another member's goes back to it, unless it will not be taken elsewhere either. */
void propose_answer_failed(struct log_proposal *p, const char *why)
{
    struct arena arena = {0};
    struct log_result result = {.outcome = LOG_FAILED, .error = error_internal(&arena, "%s", why)};

    p->done(p, &result);
    arena_release(&arena);
}

static void refuse(struct log_proposal *p, const char *why)
{
    if (forward_is_guest(p) && strcmp(why, ENGINE_FULL) != 0)
        forward_bounce(p);
    else
        propose_answer_failed(p, why);
}

static void answer_unknown(struct queue *q)
{
    static const struct log_result unknown = {.outcome = LOG_UNKNOWN};

    while (q->head) {
        struct log_proposal *p = queue_take(q);

        p->done(p, &unknown);
    }
}

void propose_refuse(struct raft_log *log, const char *why)
{
    struct queue q;

    queue_init(&q);
    mutex_lock(&log->lock);
    queue_append(&q, &log->queue);
    mutex_unlock(&log->lock);
    while (q.head)
        refuse(queue_take(&q), why);
}

struct log_proposal *propose_take(struct item *item)
{
    return __atomic_exchange_n(&item->proposal, NULL, __ATOMIC_ACQ_REL);
}

static void take_proposals(struct flight *f, struct queue *q)
{
    for (size_t i = 0; i < f->n; i++) {
        struct log_proposal *p = propose_take(&f->items[i]);

        if (p)
            queue_add(q, p);
    }
}

void propose_give_up(struct flight *f)
{
    struct queue q;

    queue_init(&q);
    take_proposals(f, &q);
    f->n_answered = f->n;
    answer_unknown(&q);
}

void propose_unknown(struct raft_log *log, usec_t limit)
{
    struct queue q;

    queue_init(&q);
    mutex_lock(&log->lock);
    for (struct flight *f = log->first; f; f = f->next)
        if (f->since < limit)
            take_proposals(f, &q);
    mutex_unlock(&log->lock);
    answer_unknown(&q);
}

void propose_give_up_late(struct raft_log *log)
{
    usec_t limit = clock_mono() - log->opt.answer_within;

    log->late = false;
    for (struct flight *f = log->first; f; f = f->next)
        if (f->forwarded ? f->since < limit && f->n_answered < f->n
                         : !f->over && f->since < limit) {
            if (!log->late && !f->forwarded) {
                log->late = true;
                engine_update_status(log);
            }
            propose_give_up(f);
        }
}

static void answer_applied(struct flight *f)
{
    size_t n = 0;

    for (size_t i = 0; i < f->n; i++) {
        struct item *item = &f->items[i];
        struct log_proposal *p = item->applied ? propose_take(item) : NULL;

        if (p)
            p->done(p, &item->result);
        n += __atomic_load_n(&item->proposal, __ATOMIC_ACQUIRE) == NULL;
    }
    f->n_answered = n;
}

/* An entry of ours that was applied has an answer for all that it brought; should one be left over
 * all the same, it must not hold up the others. */
static void answer_left_over(struct raft_log *log, struct flight *f)
{
    if (!f->forwarded && f->over && f->n_answered < f->n && apply_last(log) >= f->req.index)
        propose_give_up(f);
}

static void drop_flights(struct raft_log *log)
{
    struct flight **at = &log->first;

    MUTEX_GUARD(&log->lock);
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

void propose_answer(struct raft_log *log)
{
    if (!log->first)
        return;
    for (struct flight *f = log->first; f; f = f->next) {
        answer_applied(f);
        answer_left_over(log, f);
    }
    arena_release(&log->arena);
    drop_flights(log);
}

/* The library is done with an entry of ours.  A good one was applied before and is answered at the
 * end of the turn. */
static void on_entry(struct raft_apply *req, int status, void *result)
{
    struct flight *f = container_of(req, struct flight, req);

    (void)result;
    f->over = true;
    if (status == 0)
        return;
    engine_update_status(req->data);
    propose_give_up(f);
}

/* Submitting. */

static const char *size_fault(const struct log_proposal *p)
{
    if (p->size > LOG_MAX_WRITE_SET)
        return "The change is too large.";
    return p->size < LOG_ID_SIZE ? "The change has no id." : NULL;
}

/* Takes what fits into one entry, and what fits into none. */
static size_t take_waiting(struct raft_log *log, struct queue *good, struct queue *bad,
                           size_t *size)
{
    size_t n = 0;

    *size = BATCH_HEADER;
    MUTEX_GUARD(&log->lock);
    while (log->queue.head && n < MAX_ITEMS) {
        struct log_proposal *p = log->queue.head;

        if (size_fault(p)) {
            queue_add(bad, queue_take(&log->queue));
            continue;
        }
        if (*size + batch_item_size(p->size) > PROPOSE_MAX_ENTRY)
            break;
        *size += batch_item_size(p->size);
        queue_add(good, queue_take(&log->queue));
        n++;
    }
    return n;
}

struct flight *propose_gather(struct raft_log *log, size_t *size)
{
    struct queue good, bad;
    struct flight *f;
    size_t n;

    queue_init(&good);
    queue_init(&bad);
    n = take_waiting(log, &good, &bad, size);
    while (bad.head) {
        struct log_proposal *p = queue_take(&bad);

        propose_answer_failed(p, size_fault(p));
    }
    if (n == 0)
        return NULL;
    f = xcalloc(1, sizeof *f + n * sizeof f->items[0]);
    f->n = n;
    for (size_t i = 0; i < n; i++) {
        f->items[i].proposal = queue_take(&good);
        memcpy(f->items[i].id, f->items[i].proposal->data, LOG_ID_SIZE);
    }
    return f;
}

void propose_encode(const struct flight *f, uint8_t *out, uint64_t index)
{
    out = batch_put_header(out, index, (uint32_t)f->n);
    for (size_t i = 0; i < f->n; i++)
        out = batch_put_item(out, f->items[i].proposal->data, f->items[i].proposal->size);
}

static struct raft_buffer encode(const struct flight *f, size_t size, uint64_t index)
{
    struct raft_buffer buf = {.base = raft_malloc(size), .len = size};

    if (!buf.base)
        abort();
    propose_encode(f, buf.base, index);
    return buf;
}

void propose_link(struct raft_log *log, struct flight *f)
{
    MUTEX_GUARD(&log->lock);
    *log->last = f;
    log->last = &f->next;
}

/* Takes back the newest entry, which the library refused; its proposals wait again, in front of the
 * others. */
static void unlink_flight(struct raft_log *log, struct flight *f)
{
    struct queue q;

    queue_init(&q);
    MUTEX_GUARD(&log->lock);
    take_proposals(f, &q);
    queue_prepend(&log->queue, &q);
    for (log->last = &log->first; *log->last != f; log->last = &(*log->last)->next)
        ;
    *log->last = NULL;
    free(f);
}

/* The library keeps segments ready and refuses entries before it runs out: nothing was taken, so
 * trying again is safe. */
static void disk_full(struct raft_log *log)
{
    usec_t now = clock_mono();

    if (!log->full_since)
        log->full_since = now;
    if (!log->full && now - log->full_since < log->opt.full_within)
        return;
    log->full = true;
    engine_update_status(log);
    propose_refuse(log, ENGINE_FULL);
}

/* Gives an entry to the library; false if it was not taken. */
static bool submit(struct raft_log *log, struct flight *f, size_t size)
{
    struct raft_buffer buf = encode(f, size, raft_last_index(&log->raft) + 1);
    int rc;

    f->since = clock_mono();
    f->req.data = log;
    propose_link(log, f);
    /* One who was not there for a moment is tried with every entry, not only at the next beat. */
    if (!log->alone)
        raft_set_heartbeat_timeout(&log->raft, 1);
    rc = raft_apply(&log->raft, &f->req, &buf, 1, on_entry);
    if (!log->alone)
        raft_set_heartbeat_timeout(&log->raft, log->timing.beat);
    if (rc == 0)
        return true;
    if (rc != RAFT_NOSPACE && rc != RAFT_NOTLEADER) {
        /* Whose the buffer is now, nobody can say. */
        engine_fail(log, "an entry was not taken: %s", raft_errmsg(&log->raft));
        return false;
    }
    raft_free(buf.base);
    unlink_flight(log, f);
    if (rc == RAFT_NOSPACE)
        disk_full(log);
    return false;
}

static size_t n_inflight(const struct raft_log *log)
{
    size_t n = 0;

    for (const struct flight *f = log->first; f; f = f->next)
        n += !f->forwarded && f->n_answered < f->n;
    return n;
}

static void submit_waiting(struct raft_log *log)
{
    struct flight *f;
    size_t size;

    while (!log->failed && n_inflight(log) < MAX_INFLIGHT &&
           (f = propose_gather(log, &size)) != NULL) {
        if (!submit(log, f, size))
            break;
        log->full_since = 0;
        log->full = false;
    }
}

/* Where there is nobody to take them: those of other members go back, ours wait for a while. */
static void keep_waiting(struct raft_log *log)
{
    usec_t limit = clock_mono() - log->opt.answer_within;
    struct queue over, stay;

    queue_init(&over);
    queue_init(&stay);
    mutex_lock(&log->lock);
    while (log->queue.head) {
        struct log_proposal *p = queue_take(&log->queue);

        queue_add(forward_is_guest(p) || p->since < limit ? &over : &stay, p);
    }
    queue_append(&log->queue, &stay);
    mutex_unlock(&log->lock);
    while (over.head)
        refuse(queue_take(&over), ENGINE_LEADERLESS);
}

static bool anything_waits(struct raft_log *log)
{
    MUTEX_GUARD(&log->lock);
    return log->queue.head != NULL;
}

bool propose_pump(struct raft_log *log)
{
    bool closing;

    mutex_lock(&log->lock);
    closing = log->closing;
    mutex_unlock(&log->lock);
    if (closing)
        propose_refuse(log, "The write log is being closed.");
    else if (log->late)
        propose_refuse(log, ENGINE_SLOW);
    else if (log->removed)
        propose_refuse(log, ENGINE_REMOVED);
    if (engine_can_submit(log)) {
        submit_waiting(log);
    } else if (anything_waits(log)) {
        keep_waiting(log);
        forward_pump(log);
    }
    if (!log->alone && anything_waits(log))
        engine_turn_again(log, RETRY);
    return closing;
}
