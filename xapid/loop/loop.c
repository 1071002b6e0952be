/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * loop.c -- one libuv loop per thread.
 *
 * The queue of posted items and the heap of timers are behind one mutex, so that both can be used
 * from any thread; libuv itself sees one async handle and one timer handle, which is set to the
 * earliest of ours.
 */
#include "xapid/loop/loop.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <uv.h>

#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"

struct loop {
    atomic_int refs;
    uv_loop_t uv;
    uv_async_t async;
    uv_timer_t clock;
    struct thread thread;
    pthread_t self; /* written before loop_new returns */
    char name[16];

    struct mutex mutex; /* guards what follows */
    struct cond cond;
    bool running;
    bool stopping;
    atomic_bool stopped; /* set under the mutex; read without it */
    struct loop_item *first, **last;
    struct loop_timer **heap; /* 1-based; the earliest is heap[1] */
    size_t n_timers, heap_size;
};

struct posted {
    struct loop_item item;
    void (*fn)(void *arg);
    void *arg;
};

static void heap_put(struct loop *loop, size_t slot, struct loop_timer *timer)
{
    loop->heap[slot] = timer;
    timer->slot = slot;
}

/* Finds the place of 'timer', for which 'slot' is free, towards the root and then towards the
 * leaves. */
static void heap_settle(struct loop *loop, size_t slot, struct loop_timer *timer)
{
    while (slot > 1 && loop->heap[slot / 2]->due > timer->due) {
        heap_put(loop, slot, loop->heap[slot / 2]);
        slot /= 2;
    }
    for (;;) {
        size_t child = slot * 2;

        if (child < loop->n_timers && loop->heap[child + 1]->due < loop->heap[child]->due)
            child++;
        if (child > loop->n_timers || loop->heap[child]->due >= timer->due)
            break;
        heap_put(loop, slot, loop->heap[child]);
        slot = child;
    }
    heap_put(loop, slot, timer);
}

static void heap_remove(struct loop *loop, struct loop_timer *timer)
{
    size_t slot = timer->slot;
    struct loop_timer *moved = loop->heap[loop->n_timers--];

    timer->slot = 0;
    if (moved != timer)
        heap_settle(loop, slot, moved);
}

static void heap_add(struct loop *loop, struct loop_timer *timer)
{
    if (loop->n_timers + 1 >= loop->heap_size) {
        loop->heap_size = loop->heap_size ? loop->heap_size * 2 : 64;
        loop->heap = xrealloc(loop->heap, loop->heap_size * sizeof loop->heap[0]);
    }
    loop->n_timers++;
    heap_settle(loop, loop->n_timers, timer);
}

static void on_clock(uv_timer_t *clock);

/* Sets libuv's timer to the earliest of ours; on the loop's thread. */
static void clock_arm(struct loop *loop)
{
    usec_t due = 0, now;

    mutex_lock(&loop->mutex);
    if (loop->n_timers)
        due = loop->heap[1]->due;
    mutex_unlock(&loop->mutex);
    if (uv_is_closing((uv_handle_t *)&loop->clock))
        return;
    if (!due) {
        uv_timer_stop(&loop->clock);
        return;
    }
    now = clock_mono();
    /* libuv counts from its idea of now, which may be as old as this turn of the loop. */
    uv_update_time(&loop->uv);
    uv_timer_start(&loop->clock, on_clock, due > now ? (uint64_t)((due - now + 999) / 1000) : 0, 0);
}

static struct loop_timer *timer_take_due(struct loop *loop, usec_t now)
{
    struct loop_timer *timer = NULL;

    mutex_lock(&loop->mutex);
    if (loop->n_timers && loop->heap[1]->due <= now) {
        timer = loop->heap[1];
        heap_remove(loop, timer);
    }
    mutex_unlock(&loop->mutex);
    return timer;
}

static void on_clock(uv_timer_t *clock)
{
    struct loop *loop = clock->data;
    usec_t now = clock_mono();
    struct loop_timer *timer;

    while ((timer = timer_take_due(loop, now)))
        timer->fn(timer);
    clock_arm(loop);
}

static struct loop_item *items_take(struct loop *loop)
{
    struct loop_item *first;

    mutex_lock(&loop->mutex);
    first = loop->first;
    loop->first = NULL;
    loop->last = &loop->first;
    mutex_unlock(&loop->mutex);
    return first;
}

static void items_run(struct loop *loop)
{
    struct loop_item *item = items_take(loop);

    while (item) {
        /* The function may free the item or post it again. */
        struct loop_item *next = item->next;

        item->fn(item);
        item = next;
    }
}

/* The next timer that wants to run before the loop ends. */
static struct loop_timer *timer_take_at_stop(struct loop *loop)
{
    struct loop_timer *timer = NULL;

    mutex_lock(&loop->mutex);
    for (size_t i = 1; i <= loop->n_timers && !timer; i++) {
        if (loop->heap[i]->run_at_stop) {
            timer = loop->heap[i];
            heap_remove(loop, timer);
        }
    }
    mutex_unlock(&loop->mutex);
    return timer;
}

/* Ends the loop once it was asked to and nothing is left to run; afterwards nothing can be posted.
 */
static void stop_if_done(struct loop *loop)
{
    struct loop_timer *timer;
    bool stop;

    mutex_lock(&loop->mutex);
    stop = loop->stopping && !loop->stopped;
    mutex_unlock(&loop->mutex);
    if (!stop)
        return;
    while ((timer = timer_take_at_stop(loop)))
        timer->fn(timer);
    mutex_lock(&loop->mutex);
    stop = !loop->first;
    if (stop)
        loop->stopped = true;
    mutex_unlock(&loop->mutex);
    if (!stop) {
        uv_async_send(&loop->async);
        return;
    }
    uv_close((uv_handle_t *)&loop->async, NULL);
    uv_close((uv_handle_t *)&loop->clock, NULL);
}

static void on_async(uv_async_t *async)
{
    struct loop *loop = async->data;

    items_run(loop);
    stop_if_done(loop);
    clock_arm(loop);
}

static void *loop_main(void *arg)
{
    struct loop *loop = arg;

    mutex_lock(&loop->mutex);
    loop->self = pthread_self();
    loop->running = true;
    cond_broadcast(&loop->cond);
    mutex_unlock(&loop->mutex);
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    return NULL;
}

static int uv_parts_init(struct loop *loop)
{
    int rc = uv_loop_init(&loop->uv);

    if (rc)
        return rc;
    loop->async.data = loop->clock.data = loop;
    rc = uv_async_init(&loop->uv, &loop->async, on_async);
    if (rc) {
        uv_loop_close(&loop->uv);
        return rc;
    }
    uv_timer_init(&loop->uv, &loop->clock);
    return 0;
}

struct error *loop_new(struct arena *arena, const char *name, struct loop **out)
{
    struct loop *loop = xcalloc(1, sizeof *loop);
    int rc = uv_parts_init(loop);

    if (rc) {
        free(loop);
        return error_internal(arena, "cannot make an I/O loop: %s", uv_strerror(rc));
    }
    loop->refs = 1;
    loop->last = &loop->first;
    mutex_init(&loop->mutex);
    cond_init(&loop->cond);
    for (size_t i = 0; i + 1 < sizeof loop->name && name[i]; i++)
        loop->name[i] = name[i];
    thread_start(&loop->thread, loop->name, loop_main, loop);
    mutex_lock(&loop->mutex);
    while (!loop->running)
        cond_wait(&loop->cond, &loop->mutex);
    mutex_unlock(&loop->mutex);
    *out = loop;
    return OK;
}

void loop_stop(struct loop *loop)
{
    int rc;

    if (!loop || !loop->thread.running)
        return;
    assert(!loop_is_current(loop));
    mutex_lock(&loop->mutex);
    loop->stopping = true;
    uv_async_send(&loop->async);
    mutex_unlock(&loop->mutex);
    thread_join(&loop->thread);
    rc = uv_loop_close(&loop->uv);
    assert(rc == 0);
    (void)rc;
}

struct loop *loop_ref(struct loop *loop)
{
    loop->refs++;
    return loop;
}

void loop_unref(struct loop *loop)
{
    if (!loop || --loop->refs > 0)
        return;
    assert(!loop->thread.running);
    cond_release(&loop->cond);
    mutex_release(&loop->mutex);
    free(loop->heap);
    free(loop);
}

bool loop_is_current(const struct loop *loop)
{
    /* A thread made later may get the identity of one that has ended. */
    return pthread_equal(loop->self, pthread_self()) && !loop->stopped;
}

bool loop_post_item(struct loop *loop, struct loop_item *item)
{
    bool wake;

    MUTEX_GUARD(&loop->mutex);
    if (loop->stopped)
        return false;
    wake = !loop->first;
    item->next = NULL;
    *loop->last = item;
    loop->last = &item->next;
    /* Under the mutex, so that the handle cannot be closed meanwhile. */
    if (wake)
        uv_async_send(&loop->async);
    return true;
}

static void posted_run(struct loop_item *item)
{
    struct posted posted = *(struct posted *)item;

    free(item);
    posted.fn(posted.arg);
}

bool loop_post(struct loop *loop, void (*fn)(void *arg), void *arg)
{
    struct posted *posted = xmalloc(sizeof *posted);

    *posted = (struct posted){.item.fn = posted_run, .fn = fn, .arg = arg};
    if (loop_post_item(loop, &posted->item))
        return true;
    free(posted);
    return false;
}

struct uv_loop_s *loop_uv(struct loop *loop)
{
    return &loop->uv;
}

void loop_timer_set(struct loop *loop, struct loop_timer *timer, usec_t due)
{
    bool earliest;

    mutex_lock(&loop->mutex);
    if (timer->slot)
        heap_remove(loop, timer);
    timer->due = due;
    heap_add(loop, timer);
    earliest = timer->slot == 1 && !loop->stopped;
    if (earliest && !loop_is_current(loop))
        uv_async_send(&loop->async);
    mutex_unlock(&loop->mutex);
    if (earliest && loop_is_current(loop))
        clock_arm(loop);
}

bool loop_timer_stop(struct loop *loop, struct loop_timer *timer)
{
    MUTEX_GUARD(&loop->mutex);
    if (!timer->slot)
        return false;
    heap_remove(loop, timer);
    return true;
}
