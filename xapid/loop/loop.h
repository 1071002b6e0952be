/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * loop.h -- an I/O loop: one thread that runs a libuv loop, takes functions from other threads and
 * keeps timers.
 *
 * A loop thread never blocks.  Everything here may be called from any thread unless it says
 * otherwise; what a loop runs, it runs on its own thread, one thing at a time.
 */
#pragma once

#include "libxapi/base/arena.h"

struct loop;
struct uv_loop_s;

/* Something to run, embedded in the object it concerns so that posting needs no memory; not to be
 * posted twice at a time. */
struct loop_item {
    struct loop_item *next;
    void (*fn)(struct loop_item *item);
};

/*
 * A timer, embedded in the object it concerns.  Zeroed is unarmed; 'fn' runs once on the loop's
 * thread, with the timer unarmed again.  The object may not go away while its timer is armed or
 * about to run.
 */
struct loop_timer {
    void (*fn)(struct loop_timer *timer);
    usec_t due;       /* monotonic */
    size_t slot;      /* the loop's: place in its heap, 0 when unarmed */
    bool run_at_stop; /* runs early, rather than never, when the loop stops first */
};

/* Starts a loop and its thread; 'name' is at most 15 characters.  Ended by loop_stop, freed by the
 * last loop_unref. */
MUST_CHECK struct error *loop_new(struct arena *arena, const char *name, struct loop **out);
/*
 * Runs what was posted and the timers that ask for it, then refuses further items, ends the thread
 * and joins it.  Whoever made handles on the loop has closed them before.  Not from the loop's own
 * thread.
 */
void loop_stop(struct loop *loop);
struct loop *loop_ref(struct loop *loop);
void loop_unref(struct loop *loop);

/* True on the loop's own thread. */
bool loop_is_current(const struct loop *loop);
/* Runs item->fn(item) soon, in the order posted.  False, and the item is the caller's, when the
 * loop has stopped. */
bool loop_post_item(struct loop *loop, struct loop_item *item);
/* The same for a plain function. */
bool loop_post(struct loop *loop, void (*fn)(void *arg), void *arg);
/* For handles of one's own: only to be touched on the loop's thread. */
struct uv_loop_s *loop_uv(struct loop *loop);

/* Arms the timer, or moves it, to 'due' on the monotonic clock. */
void loop_timer_set(struct loop *loop, struct loop_timer *timer, usec_t due);
/* True if it was armed and will not run now.  False: it was not armed, has run, or is running on
 * the loop's thread. */
bool loop_timer_stop(struct loop *loop, struct loop_timer *timer);
