/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * loop.h -- the single thread of the process behind hv.h: descriptors that become ready, timers
 * that become due.
 *
 * What happens in a callback of this loop needs no lock.
 * Time can be moved forward by a test (loop_advance): timers live in loop_now, not in the clock.
 */
#pragma once

#include "libxapi/base/base.h"

struct loop;

/* Embedded in its owner.  After source_remove the owner may be freed at once, even from a callback.
 */
struct source {
    int fd; /* -1: not in the loop */
    uint32_t events;
    void (*ready)(struct source *source,
                  uint32_t events); /* EPOLLIN, EPOLLOUT, EPOLLHUP, EPOLLERR */
    struct loop *loop;
};

/* Zeroed is disarmed.  One that fires is disarmed first. */
struct timer {
    struct timer *prev, *next;
    struct loop *loop; /* NULL: disarmed */
    usec_t at;
    void (*fire)(struct timer *timer);
};

struct loop *loop_new(void);
void loop_free(struct loop *loop);
/* Runs until loop_stop. */
void loop_run(struct loop *loop);
void loop_stop(struct loop *loop);
/* Runs for that long, stopped or not. */
void loop_run_for(struct loop *loop, usec_t time);
/* Monotonic, plus what tests added. */
usec_t loop_now(const struct loop *loop);
void loop_advance(struct loop *loop, usec_t by);

/* Starts watching source->fd, which stays its owner's.  False with errno where the kernel refuses.
 */
MUST_CHECK bool source_add(struct loop *loop, struct source *source, int fd, uint32_t events,
                           void (*ready)(struct source *source, uint32_t events));
void source_want(struct source *source, uint32_t events);
void source_remove(struct source *source);

/* Arms it, again if it is armed. */
void timer_set(struct loop *loop, struct timer *timer, usec_t at,
               void (*fire)(struct timer *timer));
void timer_cancel(struct timer *timer);
