/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * rrd.c -- round-robin databases against an oracle: a virtual week in which all is noted, and every
 * row of every archive computed anew from the notes, in another way.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libxapi/base/memory.h"
#include "xapid/stats/rrd.h"

#define assert_near(a, b, by) assert_true(fabs((a) - (b)) <= (by))
#define SECOND USEC_PER_SEC
#define STEP (RRD_STEP * SECOND)
#define BEGIN ((usec_t)1700000000 * SECOND + 1234567)
#define WEEK (7 * 86400 * SECOND)
#define N_SOURCES 4
#define SLOTS (WEEK / STEP + 2)

enum { GAUGE, ABSOLUTE, COUNTER, LATE };

/*** the oracle ***/

/* For each source and slot: the integral of its rate, and for how long it was known. */
struct oracle {
    int64_t first; /* slot */
    double *sum[N_SOURCES], *known[N_SOURCES];
};

static struct oracle oracle_new(usec_t begin)
{
    struct oracle o = {.first = begin / STEP};

    for (int i = 0; i < N_SOURCES; i++) {
        o.sum[i] = xcalloc(SLOTS, sizeof(double));
        o.known[i] = xcalloc(SLOTS, sizeof(double));
    }
    return o;
}

static void oracle_release(struct oracle *o)
{
    for (int i = 0; i < N_SOURCES; i++) {
        free(o->sum[i]);
        free(o->known[i]);
    }
}

static void note(struct oracle *o, int source, usec_t from, usec_t to, double rate)
{
    if (isnan(rate))
        return;
    for (int64_t slot = from / STEP; slot * STEP < to; slot++) {
        double seconds =
            (double)(MIN(to, (slot + 1) * STEP) - MAX(from, slot * STEP)) / USEC_PER_SEC;

        o->sum[source][slot - o->first] += rate * seconds;
        o->known[source][slot - o->first] += seconds;
    }
}

/* The mean of a slot; NaN where more than half of it is unknown, and before the beginning. */
static double slot_value(const struct oracle *o, int source, int64_t slot)
{
    double known = slot < o->first ? 0 : o->known[source][slot - o->first];

    return known * 2 >= RRD_STEP - 1e-9 ? o->sum[source][slot - o->first] / known : NAN;
}

static double row_of(const struct oracle *o, int source, const struct rrd_archive *a, int64_t end)
{
    double sum = 0, least = INFINITY, most = -INFINITY;
    uint32_t n = 0;

    for (int64_t slot = end / RRD_STEP - a->steps; slot < end / RRD_STEP; slot++) {
        double v = slot_value(o, source, slot);

        if (isnan(v))
            continue;
        sum += v;
        least = fmin(least, v);
        most = fmax(most, v);
        n++;
    }
    if (n == 0 || a->steps - n > a->xff * a->steps)
        return NAN;
    return a->cf == RRD_AVERAGE ? sum / n : a->cf == RRD_MIN ? least : most;
}

static void assert_same(double a, double b, const char *what, size_t age)
{
    if (isnan(a) && isnan(b))
        return;
    if (isnan(a) != isnan(b) || fabs(a - b) > 1e-6 * fmax(1, fabs(a)))
        fail_msg("%s: row %zu is %.12g and should be %.12g", what, age, a, b);
}

/* Every row of every archive; returns how many were known. */
static size_t compare(const struct rrd *rrd, const struct oracle *o)
{
    size_t known = 0;

    for (size_t i = 0; i < rrd->n_archives; i++) {
        const struct rrd_archive *a = &rrd->archives[i];

        for (size_t age = 0; age < a->rows; age++) {
            int64_t end = rrd_newest_time(rrd, a) - (int64_t)age * rrd_row_seconds(a);

            for (size_t s = 0; s < rrd->n_sources; s++) {
                double v = rrd_value(rrd, a, age, s);

                assert_same(v, row_of(o, (int)s, a, end), rrd->sources[s].name, age);
                known += !isnan(v);
            }
        }
    }
    return known;
}

/*** the week ***/

struct week {
    struct rrd *rrd;
    struct oracle oracle;
    usec_t now;
    double counter, last_counter;
    uint64_t random;
    size_t n, resets, gaps, restarts;
};

static double chance(struct week *w)
{
    w->random = w->random * 6364136223846793005u + 1442695040888963407u;
    return (double)(w->random >> 11) / (double)(1ull << 53);
}

/* Mostly about five seconds; now and then a longer silence, some beyond the heartbeat. */
static usec_t next_interval(struct week *w)
{
    double c = chance(w);

    if (c < 0.0002)
        return (usec_t)((600 + chance(w) * 7200) * SECOND);
    if (c < 0.002)
        return (usec_t)((20 + chance(w) * 400) * SECOND);
    if (c < 0.01)
        return (usec_t)(chance(w) * SECOND) + 1;
    return (usec_t)((4.6 + chance(w) * 0.8) * SECOND);
}

static void sample(struct week *w)
{
    usec_t before = w->now, after = before + next_interval(w);
    double seconds = (double)(after - before) / USEC_PER_SEC;
    double load = 50 + 40 * sin((double)after / 3.6e9), absolute = load * 3 * seconds,
           raw[N_SOURCES];
    bool in_time = seconds <= RRD_HEARTBEAT, reset = chance(w) < 0.0005;
    bool missing = chance(w) < 0.001;

    w->gaps += !in_time;
    w->resets += reset;
    w->counter = reset ? chance(w) : w->counter + load * seconds;
    raw[GAUGE] = missing ? NAN : load;
    raw[ABSOLUTE] = absolute;
    raw[COUNTER] = w->counter;
    raw[LATE] = 1000 * load; /* at times beyond its maximum */
    rrd_update(w->rrd, after, raw);
    if (in_time) {
        note(&w->oracle, GAUGE, before, after, raw[GAUGE]);
        note(&w->oracle, ABSOLUTE, before, after, load * 3);
        note(&w->oracle, COUNTER, before, after,
             w->counter < w->last_counter ? NAN : (w->counter - w->last_counter) / seconds);
        if (w->rrd->n_sources > LATE)
            note(&w->oracle, LATE, before, after, fmin(raw[LATE], 60000));
    }
    w->last_counter = w->counter;
    w->now = after;
    w->n++;
}

static struct rrd *over_a_file(struct rrd *rrd)
{
    struct buf bytes = {0};
    struct rrd *again;
    const char *why;

    rrd_encode(&bytes, rrd);
    again = rrd_decode(bytes.data, bytes.len, &why);
    assert_non_null(again);
    buf_release(&bytes);
    rrd_free(rrd);
    return again;
}

static void run_week(bool extremes)
{
    struct week w = {.rrd = rrd_new(extremes), .now = BEGIN, .random = 42};
    double nothing[N_SOURCES] = {NAN, NAN, 0, NAN};
    size_t known = 0;

    w.oracle = oracle_new(BEGIN);
    assert_int_equal(rrd_add_source(w.rrd, "gauge", RRD_GAUGE, 0, INFINITY), GAUGE);
    assert_int_equal(rrd_add_source(w.rrd, "absolute", RRD_ABSOLUTE, 0, INFINITY), ABSOLUTE);
    assert_int_equal(rrd_add_source(w.rrd, "counter", RRD_DERIVE, 0, INFINITY), COUNTER);
    rrd_update(w.rrd, BEGIN, nothing);
    while (w.now < BEGIN + WEEK - 8000 * SECOND) {
        sample(&w);
        if (w.n == 40000) /* a device is plugged in */
            assert_int_equal(rrd_add_source(w.rrd, "late", RRD_GAUGE, 0, 60000), LATE);
        if (w.n % 4999 == 0) {
            w.rrd = over_a_file(w.rrd);
            w.restarts++;
            known += compare(w.rrd, &w.oracle);
        }
    }
    known += compare(w.rrd, &w.oracle);
    assert_true(w.gaps > 10 && w.resets > 10 && w.restarts > 10);
    assert_true(known > 10000);
    rrd_free(w.rrd);
    oracle_release(&w.oracle);
}

static void each_row_of_a_week_is_what_was_noted(void **state)
{
    (void)state;
    run_week(false);
}

static void so_are_least_and_greatest_values(void **state)
{
    (void)state;
    run_week(true);
}

/*** single rules ***/

/* One source, begun at 1000 s. */
static struct rrd *one_source(enum rrd_type type, double raw)
{
    struct rrd *rrd = rrd_new(false);

    assert_int_equal(rrd_add_source(rrd, "it", type, 0, 100), 0);
    rrd_update(rrd, 1000 * SECOND, &raw);
    return rrd;
}

static void update(struct rrd *rrd, double at, double raw)
{
    rrd_update(rrd, (usec_t)(at * SECOND), &raw);
}

static double newest(const struct rrd *rrd)
{
    return rrd_value(rrd, &rrd->archives[0], 0, 0);
}

static void a_counter_that_goes_back_was_begun_anew(void **state)
{
    struct rrd *rrd = one_source(RRD_DERIVE, 500);

    (void)state;
    rrd->sources[0].min = -INFINITY;
    update(rrd, 1005, 550);
    assert_near(newest(rrd), 10, 0);
    update(rrd, 1010, 20);
    assert_true(isnan(newest(rrd)));
    update(rrd, 1015, 120);
    assert_near(newest(rrd), 20, 0);
    rrd_free(rrd);
}

static void what_is_above_the_greatest_value_is_it_and_what_is_below_the_least_unknown(void **state)
{
    struct rrd *rrd = one_source(RRD_GAUGE, 1);

    (void)state;
    update(rrd, 1005, 100.5);
    assert_near(newest(rrd), 100, 0);
    update(rrd, 1010, -1);
    assert_true(isnan(newest(rrd)));
    update(rrd, 1015, INFINITY);
    assert_true(isnan(newest(rrd)));
    rrd_free(rrd);
}

static void a_time_that_is_not_later_is_ignored(void **state)
{
    struct rrd *rrd = one_source(RRD_GAUGE, 1);

    (void)state;
    update(rrd, 1005, 7);
    update(rrd, 1005, 9);
    update(rrd, 1001, 9);
    update(rrd, -5, 9);
    assert_near(newest(rrd), 7, 0);
    assert_int_equal(rrd->last_update, 1005 * SECOND);
    rrd_free(rrd);
}

static void a_clock_put_back_takes_the_history_with_it(void **state)
{
    struct rrd *rrd = one_source(RRD_GAUGE, 1);

    (void)state;
    for (int i = 1; i <= 200; i++)
        update(rrd, 100000 + 5 * i, i / 2.0);
    update(rrd, 50003, 1);
    assert_int_equal(rrd_newest_time(rrd, &rrd->archives[0]), 50000);
    assert_near(newest(rrd), 100, 0);
    update(rrd, 50010, 30);
    assert_near(newest(rrd), 30, 1e-9);
    assert_true(isnan(rrd_value(rrd, &rrd->archives[0], 1, 0))); /* three fifths unknown */
    rrd_free(rrd);
}

static void ten_years_of_silence_leave_only_unknown_rows_and_take_no_time(void **state)
{
    struct rrd *rrd = one_source(RRD_GAUGE, 1);

    (void)state;
    for (int i = 1; i <= 5000; i++)
        update(rrd, 1000 + 5 * i, 3);
    update(rrd, 1e9, 3);
    for (size_t i = 0; i < rrd->n_archives; i++)
        for (size_t age = 0; age < rrd->archives[i].rows; age++)
            assert_true(isnan(rrd_value(rrd, &rrd->archives[i], age, 0)));
    update(rrd, 1e9 + 5, 4);
    assert_near(newest(rrd), 4, 0);
    rrd_free(rrd);
}

static void the_finest_archive_that_reaches_back_is_chosen(void **state)
{
    struct rrd *rrd = one_source(RRD_GAUGE, 1);

    (void)state;
    update(rrd, 1e6, 1);
    assert_int_equal(rrd_best(rrd, RRD_AVERAGE, 5, 1000000 - 300)->steps, 1);
    assert_int_equal(rrd_best(rrd, RRD_AVERAGE, 60, 1000000 - 300)->steps, 12);
    assert_int_equal(rrd_best(rrd, RRD_AVERAGE, 5, 1000000 - 3600)->steps, 12);
    assert_int_equal(rrd_best(rrd, RRD_AVERAGE, 61, 1000000)->steps, 720);
    assert_int_equal(rrd_best(rrd, RRD_AVERAGE, 5, 0)->steps, 17280);
    assert_int_equal(rrd_best(rrd, RRD_AVERAGE, 1 << 30, 0)->steps, 17280);
    assert_null(rrd_best(rrd, RRD_MIN, 5, 0));
    rrd_free(rrd);
}

static void sources_come_and_go_without_touching_the_others(void **state)
{
    struct rrd *rrd = one_source(RRD_GAUGE, 1);
    double raw[3] = {1, 2, 3};

    (void)state;
    assert_int_equal(rrd_add_source(rrd, "second", RRD_GAUGE, 0, 100), 1);
    assert_int_equal(rrd_add_source(rrd, "third", RRD_GAUGE, 0, 100), 2);
    for (int i = 1; i <= 300; i++)
        rrd_update(rrd, (1000 + 5 * i) * SECOND, raw);
    rrd_remove_source(rrd, 1);
    assert_int_equal(rrd->n_sources, 2);
    assert_int_equal(rrd_find(rrd, "third", 0), 1);
    assert_int_equal(rrd_find(rrd, "second", 7), -1);
    for (size_t age = 0; age < 120; age++) {
        assert_near(rrd_value(rrd, &rrd->archives[0], age, 0), 1, 0);
        assert_near(rrd_value(rrd, &rrd->archives[0], age, 1), 3, 0);
    }
    rrd_stop(rrd, "second", true);
    rrd = over_a_file(rrd);
    assert_true(rrd_is_stopped(rrd, "second"));
    rrd_stop(rrd, "second", false);
    assert_false(rrd_is_stopped(rrd, "second"));
    rrd_free(rrd);
}

static void memory_is_bounded_and_small_at_first(void **state)
{
    struct rrd *rrd = rrd_new(false);
    double raw[RRD_SOURCES_MAX] = {0};
    char name[16];

    (void)state;
    for (int i = 0; i < 25; i++) {
        snprintf(name, sizeof name, "s%d", i);
        assert_int_equal(rrd_add_source(rrd, name, RRD_GAUGE, 0, 1), i);
    }
    for (int i = 0; i < 720; i++)
        rrd_update(rrd, (1000 + 5 * i) * SECOND, raw);
    assert_true(rrd_memory(rrd) < 64 * 1024); /* an hour */
    for (int i = 0; i < 800; i++)
        rrd_update(rrd, (5000 + 86400 * (usec_t)i) * SECOND, raw);
    assert_true(rrd_memory(rrd) < 170 * 1024); /* for ever */
    for (int i = 25; i < RRD_SOURCES_MAX; i++) {
        snprintf(name, sizeof name, "s%d", i);
        assert_true(rrd_add_source(rrd, name, RRD_GAUGE, 0, 1) >= 0);
    }
    assert_int_equal(rrd_add_source(rrd, "one more", RRD_GAUGE, 0, 1), -1);
    rrd_free(rrd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_row_of_a_week_is_what_was_noted),
        cmocka_unit_test(so_are_least_and_greatest_values),
        cmocka_unit_test(a_counter_that_goes_back_was_begun_anew),
        cmocka_unit_test(
            what_is_above_the_greatest_value_is_it_and_what_is_below_the_least_unknown),
        cmocka_unit_test(a_time_that_is_not_later_is_ignored),
        cmocka_unit_test(a_clock_put_back_takes_the_history_with_it),
        cmocka_unit_test(ten_years_of_silence_leave_only_unknown_rows_and_take_no_time),
        cmocka_unit_test(the_finest_archive_that_reaches_back_is_chosen),
        cmocka_unit_test(sources_come_and_go_without_touching_the_others),
        cmocka_unit_test(memory_is_bounded_and_small_at_first),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
