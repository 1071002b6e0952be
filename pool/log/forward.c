/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * forward.c -- write-sets on their way to the leader, where that is another member.
 *
 * What waits goes to it in the form of an entry, several write-sets in one request.  Their
 * proposers are answered when they come back through the log and are applied here, not by the
 * leader's word; its word, one byte for each, comes when it is done with all of them and matters
 * only where one will not come back: PART_AGAIN was not taken and may be tried with another
 * leader, PART_FAILED was not taken and will not be, of PART_UNKNOWN nobody can say.
 *
 * Answers come on the peers' thread, into a mailbox that may outlive the log.
 */
#include "pool/log/engine.h"

#include <stdlib.h>
#include <string.h>

#include "libxapi/base/memory.h"
#include "pool/log/batch.h"

#define MAX_FORWARDS 4
#define WAIT_AFTER_REFUSAL (10 * USEC_PER_MSEC)

enum part { PART_DONE = 0, PART_AGAIN = 1, PART_UNKNOWN = 2, PART_FAILED = 3 };

struct letter {
    struct letter *next;
    struct mailbox *box;
    struct flight *flight;
    enum peer_outcome outcome;
    struct buf text;
};

struct mailbox {
    struct mutex lock;
    unsigned refs;        /* of the log, and of each letter on its way */
    struct raft_log *log; /* NULL once it wants no more */
    struct letter *letters;
};

/* The mailbox. */

/* Unlocks it. */
static void box_unref(struct mailbox *box)
{
    bool last = --box->refs == 0;

    mutex_unlock(&box->lock);
    if (!last)
        return;
    mutex_release(&box->lock);
    free(box);
}

static void free_letter(struct letter *l)
{
    buf_release(&l->text);
    free(l);
}

void forward_init(struct raft_log *log)
{
    struct mailbox *box = xcalloc(1, sizeof *box);

    mutex_init(&box->lock);
    box->refs = 1;
    box->log = log;
    log->mailbox = box;
}

static void on_answer(void *ctx, enum peer_outcome outcome, const void *data, size_t size)
{
    struct letter *l = ctx;
    struct mailbox *box = l->box;

    l->outcome = outcome;
    buf_add(&l->text, data, size);
    mutex_lock(&box->lock);
    if (box->log) {
        l->next = box->letters;
        box->letters = l;
        uv_async_send(&box->log->wake);
    } else {
        free_letter(l);
    }
    box_unref(box);
}

void forward_end(struct raft_log *log)
{
    struct mailbox *box = log->mailbox;
    struct letter *list;

    if (!box)
        return;
    log->mailbox = NULL;
    mutex_lock(&box->lock);
    list = box->letters;
    box->letters = NULL;
    box->log = NULL;
    box_unref(box);
    while (list) {
        struct letter *next = list->next;

        free_letter(list);
        list = next;
    }
    for (struct flight *f = log->first; f; f = f->next)
        if (f->forwarded) {
            propose_give_up(f);
            f->over = true;
        }
}

void forward_cut(struct raft_log *log)
{
    struct mailbox *box = log->mailbox;

    if (!box)
        return;
    MUTEX_GUARD(&box->lock);
    box->log = NULL;
}

/* The proposer's side. */

static void send_flight(struct raft_log *log, struct flight *f, size_t size, uint64_t leader)
{
    struct letter *l = xcalloc(1, sizeof *l);
    uint8_t *bytes = xmalloc(size);

    f->forwarded = true;
    f->since = clock_mono();
    l->box = log->mailbox;
    l->flight = f;
    mutex_lock(&l->box->lock);
    l->box->refs++;
    mutex_unlock(&l->box->lock);
    propose_encode(f, bytes, 0);
    propose_link(log, f);
    peer_ask(log->opt.peers, leader, PEER_PROPOSE, bytes, size, log->opt.answer_within, on_answer,
             l);
    free(bytes);
}

static size_t n_forwarded(const struct raft_log *log)
{
    size_t n = 0;

    for (const struct flight *f = log->first; f; f = f->next)
        n += f->forwarded && !f->over && f->n_answered < f->n;
    return n;
}

void forward_leader_changed(struct raft_log *log)
{
    for (struct flight *f = log->first; f; f = f->next)
        if (f->forwarded && !f->over && f->n_answered < f->n)
            propose_give_up(f);
}

void forward_pump(struct raft_log *log)
{
    const char *address;
    struct flight *f;
    raft_id leader;
    size_t size;

    raft_leader(&log->raft, &leader, &address);
    if (leader == 0 || leader == log->raft.id || !log->opt.peers || !log->mailbox ||
        clock_mono() < log->forward_at)
        return;
    while (n_forwarded(log) < MAX_FORWARDS && (f = propose_gather(log, &size)) != NULL)
        send_flight(log, f, size, leader);
}

/* Puts back what was certainly not taken; 'parts' NULL: nothing was. */
static void put_back(struct raft_log *log, struct flight *f, const uint8_t *parts)
{
    struct queue q;

    queue_init(&q);
    for (size_t i = 0; i < f->n; i++) {
        struct log_proposal *p;

        if (parts && parts[i] != PART_AGAIN)
            continue;
        p = propose_take(&f->items[i]);
        if (p)
            queue_add(&q, p);
    }
    if (!q.head)
        return;
    log->forward_at = clock_mono() + WAIT_AFTER_REFUSAL;
    MUTEX_GUARD(&log->lock);
    queue_prepend(&log->queue, &q);
}

static void answer_parts(struct flight *f, const uint8_t *parts, const char *why)
{
    static const struct log_result unknown = {.outcome = LOG_UNKNOWN};

    for (size_t i = 0; i < f->n; i++) {
        struct log_proposal *p;

        if (parts[i] == PART_DONE || parts[i] == PART_AGAIN || f->items[i].applied)
            continue;
        p = propose_take(&f->items[i]);
        if (p && parts[i] == PART_FAILED)
            propose_answer_failed(p, why);
        else if (p)
            p->done(p, &unknown);
    }
}

static void take_letter(struct raft_log *log, struct letter *l)
{
    const uint8_t *parts = (const uint8_t *)l->text.data;
    struct flight *f = l->flight;

    f->over = true;
    if (l->outcome == PEER_UNSENT) {
        put_back(log, f, NULL);
    } else if (l->outcome == PEER_LOST || l->text.len < f->n) {
        propose_give_up(f);
    } else {
        put_back(log, f, parts);
        answer_parts(f, parts, l->text.data + f->n);
    }
}

void forward_collect(struct raft_log *log)
{
    struct mailbox *box = log->mailbox;
    struct letter *list;

    if (!box)
        return;
    mutex_lock(&box->lock);
    list = box->letters;
    box->letters = NULL;
    mutex_unlock(&box->lock);
    while (list) {
        struct letter *next = list->next;

        take_letter(log, list);
        free_letter(list);
        list = next;
    }
}

/* The leader's side. */

struct guest {
    struct log_proposal proposal;
    struct party *party;
};

/* The write-sets of one request. */
struct party {
    struct peer_request *request; /* their bytes are its */
    struct mutex lock;            /* the watcher answers too */
    size_t n, left;
    uint8_t *parts;
    char why[160];
    struct guest guests[];
};

static void party_end(struct party *party)
{
    size_t size = party->n + strlen(party->why) + 1;
    uint8_t *answer = xmalloc(size);

    memcpy(answer, party->parts, party->n);
    memcpy(answer + party->n, party->why, size - party->n);
    peer_answer(party->request, answer, size);
    free(answer);
    mutex_release(&party->lock);
    free(party->parts);
    free(party);
}

static void guest_end(struct guest *g, enum part part, const char *why)
{
    struct party *party = g->party;
    bool last;

    mutex_lock(&party->lock);
    party->parts[g - party->guests] = (uint8_t)part;
    if (why)
        strncpy(party->why, why, sizeof party->why - 1);
    last = --party->left == 0;
    mutex_unlock(&party->lock);
    if (last)
        party_end(party);
}

static void on_guest_done(struct log_proposal *p, const struct log_result *result)
{
    struct guest *g = container_of(p, struct guest, proposal);

    if (result->outcome == LOG_FAILED)
        guest_end(g, PART_FAILED, result->error->params[0]);
    else
        guest_end(g, result->outcome == LOG_UNKNOWN ? PART_UNKNOWN : PART_DONE, NULL);
}

bool forward_is_guest(const struct log_proposal *p)
{
    return p->done == on_guest_done;
}

void forward_bounce(struct log_proposal *p)
{
    guest_end(container_of(p, struct guest, proposal), PART_AGAIN, NULL);
}

static size_t count_items(const struct peer_request *request)
{
    struct batch_reader reader;
    const void *data;
    size_t size, n = 0;

    batch_read(&reader, request->data, request->size);
    while (batch_next(&reader, &data, &size))
        n++;
    return n;
}

static void party_new(struct peer_request *request, struct queue *q)
{
    size_t n = count_items(request), i = 0;
    struct party *party = xcalloc(1, sizeof *party + n * sizeof party->guests[0]);
    struct batch_reader reader;
    const void *data;
    size_t size;

    party->request = request;
    party->n = party->left = n;
    party->parts = xcalloc(1, n);
    mutex_init(&party->lock);
    batch_read(&reader, request->data, request->size);
    while (batch_next(&reader, &data, &size)) {
        struct guest *g = &party->guests[i++];

        g->party = party;
        g->proposal = (struct log_proposal){
            .data = data, .size = size, .done = on_guest_done, .since = clock_mono()};
        queue_add(q, &g->proposal);
    }
}

/* True if they are in the log's queue now. */
static bool enqueue(struct raft_log *log, struct queue *q)
{
    MUTEX_GUARD(&log->lock);
    if (log->no_loop || log->closing || log->status.leader != log->status.id)
        return false;
    while (q->head) {
        struct log_proposal *p = q->head;

        q->head = p->next;
        queue_add(&log->queue, p);
    }
    uv_async_send(&log->wake);
    return true;
}

void forward_serve(void *raft_log, struct peer_request *request)
{
    struct raft_log *log = raft_log;
    struct queue q;
    uint64_t index;

    if (batch_check(request->data, request->size, &index) != BATCH_GOOD ||
        request->size > PROPOSE_MAX_ENTRY) {
        peer_answer(request, NULL, 0);
        return;
    }
    queue_init(&q);
    party_new(request, &q);
    if (enqueue(log, &q))
        return;
    while (q.head) {
        struct log_proposal *p = q.head;

        q.head = p->next; /* bouncing the last one frees all */
        forward_bounce(p);
    }
}
