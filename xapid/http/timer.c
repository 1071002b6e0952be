/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* timer.c -- functions run later on one of the server's loops. */
#include <stdlib.h>

#include "libxapi/base/memory.h"
#include "xapid/http/internal.h"

struct http_timer {
    struct loop_timer timer;
    atomic_int refs; /* the caller's handle, and the loop until it has run */
    struct http_server *server;
    struct loop *loop;
    void (*fn)(void *arg);
    void *arg;
};

struct later {
    struct loop_timer timer;
    void (*fn)(void *arg);
    void *arg;
};

/* The loop of this thread where it is one of ours: then nobody has to be woken. */
static struct loop *loop_choose(struct http_server *server)
{
    for (int i = 0; i < server->n_loops; i++)
        if (loop_is_current(server->loops[i].loop))
            return server->loops[i].loop;
    return http_server_loop(server)->loop;
}

void http_post(struct http_server *server, void (*fn)(void *arg), void *arg)
{
    /* A loop refuses only while http_server_free is at its last step: then this is the loop thread
     * of another. */
    if (!loop_post(http_server_loop(server)->loop, fn, arg))
        fn(arg);
}

static void later_run(struct loop_timer *timer)
{
    struct later later = *container_of(timer, struct later, timer);

    free(container_of(timer, struct later, timer));
    later.fn(later.arg);
}

void http_post_after(struct http_server *server, usec_t delay, void (*fn)(void *arg), void *arg)
{
    struct later *later = xcalloc(1, sizeof *later);

    *later = (struct later){.timer = {.fn = later_run, .run_at_stop = true}, .fn = fn, .arg = arg};
    loop_timer_set(loop_choose(server), &later->timer, clock_mono() + delay);
}

static void timer_unref(struct http_timer *t)
{
    if (--t->refs > 0)
        return;
    http_server_unref(t->server);
    free(t);
}

static void timer_run(struct loop_timer *timer)
{
    struct http_timer *t = container_of(timer, struct http_timer, timer);

    t->fn(t->arg);
    timer_unref(t);
}

struct http_timer *http_timer_start(struct http_server *server, usec_t delay, void (*fn)(void *arg),
                                    void *arg)
{
    struct http_timer *t = xcalloc(1, sizeof *t);

    t->refs = 2;
    t->server = http_server_ref(server);
    t->loop = loop_choose(server);
    t->fn = fn;
    t->arg = arg;
    t->timer.fn = timer_run;
    loop_timer_set(t->loop, &t->timer, clock_mono() + delay);
    return t;
}

bool http_timer_cancel(struct http_timer *t)
{
    bool stopped;

    if (!t)
        return false;
    stopped = loop_timer_stop(t->loop, &t->timer);
    if (stopped)
        timer_unref(t);
    timer_unref(t);
    return stopped;
}
