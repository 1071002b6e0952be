/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* loop.c -- posting to a loop, and its timers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "libxapi/base/seam.h"
#include "xapid/loop/loop.h"

struct trace {
    struct loop *loop;
    struct mutex mutex;
    struct cond cond;
    int order[64];
    int n;
    bool elsewhere; /* something ran on another thread */
};

struct step {
    struct loop_timer timer;
    struct trace *trace;
    int value;
};

static void trace_add(struct trace *t, int value)
{
    MUTEX_GUARD(&t->mutex);
    t->order[t->n++] = value;
    t->elsewhere |= !loop_is_current(t->loop);
    cond_broadcast(&t->cond);
}

static void trace_await(struct trace *t, int n)
{
    usec_t end = clock_mono() + 20 * USEC_PER_SEC;
    bool met = true;

    mutex_lock(&t->mutex);
    while (t->n < n && met)
        met = cond_wait_until(&t->cond, &t->mutex, end);
    mutex_unlock(&t->mutex);
    assert_true(met);
}

static void step_posted(void *arg)
{
    struct step *s = arg;

    trace_add(s->trace, s->value);
}

static void step_timed(struct loop_timer *timer)
{
    step_posted(container_of(timer, struct step, timer));
}

static void trace_begin(struct trace *t)
{
    struct arena arena = {0};

    *t = (struct trace){0};
    mutex_init(&t->mutex);
    cond_init(&t->cond);
    assert_null(loop_new(&arena, "a loop with a long name", &t->loop));
    arena_release(&arena);
}

static void trace_end(struct trace *t)
{
    loop_stop(t->loop);
    loop_unref(t->loop);
    cond_release(&t->cond);
    mutex_release(&t->mutex);
}

static void what_is_posted_runs_in_order_on_the_loop(void **state)
{
    struct step steps[50];
    struct trace t;

    (void)state;
    trace_begin(&t);
    for (int i = 0; i < 50; i++) {
        steps[i] = (struct step){.trace = &t, .value = i};
        assert_true(loop_post(t.loop, step_posted, &steps[i]));
    }
    trace_await(&t, 50);
    for (int i = 0; i < 50; i++)
        assert_int_equal(t.order[i], i);
    assert_false(t.elsewhere);
    assert_false(loop_is_current(t.loop));
    trace_end(&t);
}

static void timers_run_when_they_are_due(void **state)
{
    static const int delays[] = {30, 10, 50, 20, 40, 10, 60, 5};
    static const int order[] = {5, 10, 10, 20, 30, 40, 60};
    struct step steps[8] = {0};
    usec_t now = clock_mono();
    struct trace t;

    (void)state;
    trace_begin(&t);
    for (int i = 0; i < 8; i++) {
        steps[i] = (struct step){.timer.fn = step_timed, .trace = &t, .value = delays[i]};
        loop_timer_set(t.loop, &steps[i].timer, now + (1000 + delays[i]) * USEC_PER_MSEC);
    }
    assert_true(loop_timer_stop(t.loop, &steps[2].timer));
    assert_false(loop_timer_stop(t.loop, &steps[2].timer));
    /* Moved to the present, in the same order. */
    for (int i = 0; i < 8; i++)
        if (i != 2)
            loop_timer_set(t.loop, &steps[i].timer, now + delays[i] * USEC_PER_MSEC);
    trace_await(&t, 7);
    assert_true(clock_mono() >= now + 60 * USEC_PER_MSEC);
    for (int i = 0; i < 7; i++)
        assert_int_equal(t.order[i], order[i]);
    assert_false(t.elsewhere);
    trace_end(&t);
}

static void stopping_runs_what_was_posted_and_refuses_more(void **state)
{
    struct step posted, patient, lazy;
    struct trace t;

    (void)state;
    trace_begin(&t);
    posted = (struct step){.trace = &t, .value = 1};
    patient =
        (struct step){.timer = {.fn = step_timed, .run_at_stop = true}, .trace = &t, .value = 2};
    lazy = (struct step){.timer = {.fn = step_timed}, .trace = &t, .value = 3};
    loop_timer_set(t.loop, &lazy.timer, clock_mono() + 3600 * USEC_PER_SEC);
    loop_timer_set(t.loop, &patient.timer, clock_mono() + 3600 * USEC_PER_SEC);
    assert_true(loop_post(t.loop, step_posted, &posted));
    loop_stop(t.loop);
    assert_int_equal(t.n, 2);
    assert_int_equal(t.order[0], 1);
    assert_int_equal(t.order[1], 2);
    assert_false(loop_post(t.loop, step_posted, &posted));
    assert_true(loop_timer_stop(t.loop, &lazy.timer));
    trace_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_posted_runs_in_order_on_the_loop),
        cmocka_unit_test(timers_run_when_they_are_due),
        cmocka_unit_test(stopping_runs_what_was_posted_and_refuses_more),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
