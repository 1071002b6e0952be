/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/worker/workers.h"

#include <stdlib.h>

#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"

#define IDLE_TIME (30 * USEC_PER_SEC)
#define MAX_WAITING 10000

struct job {
    struct job *next;
    void (*fn)(void *arg);
    void *arg;
};

struct workers {
    struct mutex lock;
    struct cond work, gone;
    struct job *first, **last;
    int limit, threads, idle, waiting;
    bool closing;
};

/* True with a job; false when the thread should end. */
static bool take(struct workers *w, struct job **out)
{
    usec_t deadline = clock_mono() + IDLE_TIME;

    while (!w->first) {
        bool in_time;

        if (w->closing)
            return false;
        w->idle++;
        in_time = cond_wait_until(&w->work, &w->lock, deadline);
        w->idle--;
        if (!in_time && !w->first)
            return false;
    }
    *out = w->first;
    w->first = (*out)->next;
    if (!w->first)
        w->last = &w->first;
    w->waiting--;
    return true;
}

static void *run(void *arg)
{
    struct workers *w = arg;
    struct job *job;

    mutex_lock(&w->lock);
    while (w->threads <= w->limit && take(w, &job)) {
        mutex_unlock(&w->lock);
        job->fn(job->arg);
        free(job);
        mutex_lock(&w->lock);
    }
    if (--w->threads == 0)
        cond_broadcast(&w->gone);
    mutex_unlock(&w->lock);
    return NULL;
}

struct workers *workers_new(int limit)
{
    struct workers *w = xcalloc(1, sizeof *w);

    mutex_init(&w->lock);
    cond_init(&w->work);
    cond_init(&w->gone);
    w->last = &w->first;
    w->limit = limit;
    return w;
}

void workers_limit(struct workers *w, int limit)
{
    MUTEX_GUARD(&w->lock);
    w->limit = MAX(limit, 1);
}

void workers_free(struct workers *w)
{
    if (!w)
        return;
    mutex_lock(&w->lock);
    w->closing = true;
    cond_broadcast(&w->work);
    while (w->threads)
        cond_wait(&w->gone, &w->lock);
    mutex_unlock(&w->lock);
    cond_release(&w->work);
    cond_release(&w->gone);
    mutex_release(&w->lock);
    free(w);
}

bool workers_run(struct workers *w, void (*fn)(void *arg), void *arg)
{
    struct job *job;

    MUTEX_GUARD(&w->lock);
    if (w->waiting >= MAX_WAITING || w->closing)
        return false;
    job = xcalloc(1, sizeof *job);
    job->fn = fn;
    job->arg = arg;
    *w->last = job;
    w->last = &job->next;
    w->waiting++;
    if (w->idle < w->waiting && w->threads < w->limit) {
        struct thread t;

        w->threads++;
        thread_start(&t, "worker", run, w);
        thread_detach(&t);
    }
    cond_signal(&w->work);
    return true;
}
