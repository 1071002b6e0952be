/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* log_memory.c -- a log engine in memory: takes what waits, applies it as one entry, publishes,
 * answers. */
#include "tests/lib/log_memory.h"

#include <stdlib.h>

#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"

#define MAX_ITEMS 256 /* write-sets in one entry */

struct log_memory {
    struct log base;
    struct log_fsm fsm;
    struct thread thread;
    struct arena arena;
    struct mutex lock;
    struct cond changed;
    struct log_proposal *head, **tail;
    bool closing;
    uint64_t index;
};

static struct log_memory *memory_of(struct log *log)
{
    return container_of(log, struct log_memory, base);
}

static bool good_size(const struct log_proposal *p)
{
    return p->size >= LOG_ID_SIZE && p->size <= LOG_MAX_WRITE_SET;
}

/* Takes up to MAX_ITEMS proposals as one entry; 0 when closing. */
static size_t take(struct log_memory *log, struct log_proposal **taken, uint64_t *index)
{
    size_t n = 0;

    MUTEX_GUARD(&log->lock);
    while (!log->head && !log->closing)
        cond_wait(&log->changed, &log->lock);
    while (log->head && n < MAX_ITEMS) {
        taken[n++] = log->head;
        log->head = log->head->next;
    }
    if (!log->head)
        log->tail = &log->head;
    *index = n ? ++log->index : log->index;
    return n;
}

static void *run(void *arg)
{
    struct log_memory *log = arg;
    struct log_proposal *taken[MAX_ITEMS];
    struct log_result results[MAX_ITEMS];
    uint64_t index;
    size_t n;

    while ((n = take(log, taken, &index)) != 0) {
        for (size_t i = 0; i < n; i++) {
            results[i] = (struct log_result){0};
            if (good_size(taken[i]))
                log->fsm.apply(log->fsm.ctx, &log->arena, index, taken[i]->data, taken[i]->size,
                               &results[i]);
            else
                results[i] = (struct log_result){
                    .outcome = LOG_FAILED,
                    .error =
                        error_internal(&log->arena, "The change has a size outside the limits.")};
        }
        log->fsm.publish(log->fsm.ctx, index);
        for (size_t i = 0; i < n; i++)
            taken[i]->done(taken[i], &results[i]);
        arena_release(&log->arena);
    }
    return NULL;
}

static void memory_propose(struct log *base, struct log_proposal *proposal)
{
    struct log_memory *log = memory_of(base);

    MUTEX_GUARD(&log->lock);
    proposal->next = NULL;
    *log->tail = proposal;
    log->tail = &proposal->next;
    cond_signal(&log->changed);
}

static void memory_status(struct log *base, struct log_status *out)
{
    struct log_memory *log = memory_of(base);

    MUTEX_GUARD(&log->lock);
    *out = (struct log_status){.writable = true,
                               .led_at = clock_mono(),
                               .last_index = log->index,
                               .applied_index = log->index,
                               .term = 1,
                               .leader = 1};
}

static void memory_close(struct log *base)
{
    struct log_memory *log = memory_of(base);

    mutex_lock(&log->lock);
    log->closing = true;
    cond_signal(&log->changed);
    mutex_unlock(&log->lock);
    thread_join(&log->thread);
    arena_release(&log->arena);
    cond_release(&log->changed);
    mutex_release(&log->lock);
    free(log);
}

static const struct log_engine memory_engine = {
    .propose = memory_propose,
    .status = memory_status,
    .close = memory_close,
};

struct log *log_memory_open(const struct log_fsm *fsm)
{
    struct log_memory *log = xcalloc(1, sizeof *log);

    log->base.engine = &memory_engine;
    log->fsm = *fsm;
    log->index = fsm->applied_index;
    log->tail = &log->head;
    mutex_init(&log->lock);
    cond_init(&log->changed);
    thread_start(&log->thread, "log-memory", run, log);
    return &log->base;
}
