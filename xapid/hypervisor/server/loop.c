/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* loop.c -- see loop.h. */
#include "xapid/hypervisor/server/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"

#define BATCH 64
#define SLEEP_LONGEST (60 * USEC_PER_SEC)

struct loop {
    int epoll_fd;
    bool stopping;
    usec_t advanced;
    struct timer *timers;
    struct epoll_event batch[BATCH];
    int n_batch;
};

struct loop *loop_new(void)
{
    struct loop *loop = xcalloc(1, sizeof *loop);

    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll_fd < 0) {
        log_error("epoll: %s", strerrordesc_np(errno));
        abort();
    }
    return loop;
}

void loop_free(struct loop *loop)
{
    if (!loop)
        return;
    close(loop->epoll_fd);
    free(loop);
}

void loop_stop(struct loop *loop)
{
    loop->stopping = true;
}

usec_t loop_now(const struct loop *loop)
{
    return clock_mono() + loop->advanced;
}

void loop_advance(struct loop *loop, usec_t by)
{
    loop->advanced += by;
}

bool source_add(struct loop *loop, struct source *source, int fd, uint32_t events,
                void (*ready)(struct source *source, uint32_t events))
{
    struct epoll_event ev = {.events = events, .data.ptr = source};

    source->fd = -1;
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
        return false;
    source->fd = fd;
    source->events = events;
    source->ready = ready;
    source->loop = loop;
    return true;
}

void source_want(struct source *source, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = source};

    if (source->fd < 0 || source->events == events)
        return;
    source->events = events;
    if (epoll_ctl(source->loop->epoll_fd, EPOLL_CTL_MOD, source->fd, &ev) < 0)
        abort(); /* the descriptor was closed behind the loop's back */
}

void source_remove(struct source *source)
{
    struct loop *loop = source->loop;

    if (!loop || source->fd < 0)
        return;
    epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
    source->fd = -1;
    /* What the kernel reported of it in this turn must not reach freed memory. */
    for (int i = 0; i < loop->n_batch; i++)
        if (loop->batch[i].data.ptr == source)
            loop->batch[i].data.ptr = NULL;
}

void timer_cancel(struct timer *timer)
{
    if (!timer->loop)
        return;
    if (timer->prev)
        timer->prev->next = timer->next;
    else
        timer->loop->timers = timer->next;
    if (timer->next)
        timer->next->prev = timer->prev;
    *timer = (struct timer){0};
}

void timer_set(struct loop *loop, struct timer *timer, usec_t at, void (*fire)(struct timer *timer))
{
    timer_cancel(timer);
    *timer = (struct timer){.next = loop->timers, .loop = loop, .at = at, .fire = fire};
    if (loop->timers)
        loop->timers->prev = timer;
    loop->timers = timer;
}

static struct timer *earliest(const struct loop *loop)
{
    struct timer *best = loop->timers;

    for (struct timer *t = best; t; t = t->next)
        if (t->at < best->at)
            best = t;
    return best;
}

/* Fires what is due, oldest first; returns how long to sleep at most. */
static usec_t fire_timers(struct loop *loop)
{
    usec_t now = loop_now(loop);

    for (;;) {
        struct timer *t = earliest(loop);
        void (*fire)(struct timer *);

        if (!t)
            return SLEEP_LONGEST;
        if (t->at > now)
            return MIN(t->at - now, SLEEP_LONGEST);
        fire = t->fire;
        timer_cancel(t);
        fire(t);
    }
}

static void turn(struct loop *loop, usec_t longest)
{
    usec_t sleep = MIN(fire_timers(loop), longest);

    loop->n_batch = epoll_wait(loop->epoll_fd, loop->batch, BATCH,
                               (int)((sleep + USEC_PER_MSEC - 1) / USEC_PER_MSEC));
    for (int i = 0; i < loop->n_batch; i++) {
        struct source *source = loop->batch[i].data.ptr;

        if (source)
            source->ready(source, loop->batch[i].events);
    }
    loop->n_batch = 0;
}

void loop_run(struct loop *loop)
{
    while (!loop->stopping)
        turn(loop, SLEEP_LONGEST);
}

void loop_run_for(struct loop *loop, usec_t time)
{
    usec_t until = clock_mono() + time;

    for (usec_t now = clock_mono(); now < until; now = clock_mono())
        turn(loop, until - now);
}
