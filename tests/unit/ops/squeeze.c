/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* squeeze.c -- how memory is shared, and who is found to be uncooperative. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "libxapi/base/seam.h"
#include "xapid/ops/vm/squeeze.h"

#define MIB ((int64_t)1 << 20)
#define GIB ((int64_t)1 << 30)
#define MANY 40

/*** sharing ***/

static void all_have_their_maximum_where_there_is_room(void **state)
{
    struct squeeze_range v[] = {{1 * GIB, 4 * GIB, 0}, {2 * GIB, 2 * GIB, 0}};

    (void)state;
    assert_true(squeeze_share(6 * GIB, 2, v));
    assert_int_equal(v[0].target, 4 * GIB);
    assert_int_equal(v[1].target, 2 * GIB);
    assert_true(squeeze_share(600 * GIB, 2, v));
    assert_int_equal(v[0].target, 4 * GIB);
}

static void what_is_missing_is_taken_from_all_in_proportion_to_their_ranges(void **state)
{
    struct squeeze_range v[] = {{1 * GIB, 5 * GIB, 0}, {1 * GIB, 3 * GIB, 0}, {GIB, GIB, 0}};

    (void)state;
    assert_true(squeeze_share(6 * GIB, 3, v)); /* 3 GiB for 6 GiB of ranges: half of each */
    assert_int_equal(v[0].target, 3 * GIB);
    assert_int_equal(v[1].target, 2 * GIB);
    assert_int_equal(v[2].target, 1 * GIB);
}

static void where_not_even_the_minima_fit_it_says_so_and_gives_them(void **state)
{
    struct squeeze_range v[] = {{2 * GIB, 4 * GIB, 0}, {2 * GIB, 4 * GIB, 0}};

    (void)state;
    assert_false(squeeze_share(3 * GIB, 2, v));
    assert_int_equal(v[0].target, 2 * GIB);
    assert_int_equal(v[1].target, 2 * GIB);
    assert_false(squeeze_share(-1, 2, v));
    assert_int_equal(v[0].target, 2 * GIB);
    assert_true(squeeze_share(0, 0, NULL));
}

static int64_t up_to(int64_t max)
{
    return max > 0 ? (int64_t)(random_u64() % (uint64_t)max) : 0;
}

static void fill(size_t n, struct squeeze_range *v)
{
    for (size_t i = 0; i < n; i++) {
        v[i].min = up_to(16) * GIB + up_to(4096) * SQUEEZE_PAGE;
        v[i].max = v[i].min + up_to(1024 * GIB);
    }
}

/* Never below a minimum or above a maximum, never more than there is, and hardly less. */
static void shares_keep_to_the_ranges_and_to_what_there_is(void **state)
{
    (void)state;
    for (int round = 0; round < 2000; round++) {
        struct squeeze_range v[MANY];
        size_t n = (size_t)up_to(MANY) + 1;
        int64_t available = up_to(2000 * GIB), sum = 0, minima = 0, maxima = 0;
        bool fits;

        fill(n, v);
        fits = squeeze_share(available, n, v);
        for (size_t i = 0; i < n; i++) {
            assert_true(v[i].target >= v[i].min && v[i].target <= v[i].max);
            sum += v[i].target;
            minima += v[i].min;
            maxima += v[i].max;
        }
        assert_int_equal(fits, minima <= available);
        if (fits) {
            assert_true(sum <= available);
            assert_true(sum >= MIN(available, maxima) - (int64_t)n * SQUEEZE_PAGE);
        }
    }
}

/* More memory never takes from anybody; twins have the same; order does not matter. */
static void sharing_is_fair(void **state)
{
    (void)state;
    for (int round = 0; round < 2000; round++) {
        struct squeeze_range v[MANY], more[MANY], back[MANY];
        size_t n = (size_t)up_to(MANY - 2) + 2;
        int64_t available = up_to(2000 * GIB);

        fill(n, v);
        v[1] = v[0];
        for (size_t i = 0; i < n; i++) {
            more[i] = v[i];
            back[n - 1 - i] = v[i];
        }
        squeeze_share(available, n, v);
        squeeze_share(available + up_to(100 * GIB), n, more);
        squeeze_share(available, n, back);
        assert_int_equal(v[0].target, v[1].target);
        for (size_t i = 0; i < n; i++) {
            assert_true(more[i].target >= v[i].target);
            assert_int_equal(back[n - 1 - i].target, v[i].target);
        }
    }
}

/*** progress ***/

#define T0 (1000 * USEC_PER_SEC)

static void a_guest_that_shrinks_is_waited_for(void **state)
{
    struct squeeze_progress p = {0};

    (void)state;
    squeeze_look(&p, 4 * GIB, 4 * GIB, T0);
    assert_false(squeeze_is_shrinking(&p));
    for (int i = 1; i <= 20; i++) {
        squeeze_look(&p, 2 * GIB, 4 * GIB - i * 64 * MIB, T0 + i * 4 * USEC_PER_SEC);
        assert_true(squeeze_is_shrinking(&p));
        assert_false(p.uncooperative);
    }
    squeeze_look(&p, 2 * GIB, 2 * GIB, T0 + 100 * USEC_PER_SEC);
    assert_false(squeeze_is_shrinking(&p));
    assert_false(p.uncooperative);
}

static void a_guest_that_gives_nothing_back_is_uncooperative_until_it_does(void **state)
{
    struct squeeze_progress p = {0};

    (void)state;
    squeeze_look(&p, 4 * GIB, 4 * GIB, T0);
    squeeze_look(&p, 2 * GIB, 4 * GIB, T0 + 1);
    squeeze_look(&p, 2 * GIB, 4 * GIB, T0 + SQUEEZE_PATIENCE);
    assert_false(p.uncooperative);
    squeeze_look(&p, 2 * GIB, 4 * GIB, T0 + 1 + SQUEEZE_PATIENCE);
    assert_true(p.uncooperative);
    assert_false(squeeze_is_shrinking(&p));
    /* Neither time nor another target makes it better. */
    squeeze_look(&p, 1 * GIB, 4 * GIB, T0 + 2 * SQUEEZE_PATIENCE);
    assert_true(p.uncooperative);
    squeeze_look(&p, 1 * GIB, 3 * GIB, T0 + 3 * SQUEEZE_PATIENCE);
    assert_false(p.uncooperative);
    assert_true(squeeze_is_shrinking(&p));
}

static void a_new_target_gives_new_time(void **state)
{
    struct squeeze_progress p = {0};

    (void)state;
    squeeze_look(&p, 4 * GIB, 4 * GIB, T0);
    squeeze_look(&p, 3 * GIB, 4 * GIB, T0 + 1);
    squeeze_look(&p, 2 * GIB, 4 * GIB, T0 + SQUEEZE_PATIENCE);
    squeeze_look(&p, 2 * GIB, 4 * GIB, T0 + SQUEEZE_PATIENCE + 2);
    assert_false(p.uncooperative);
}

static void memory_that_no_balloon_takes_does_not_count(void **state)
{
    struct squeeze_progress p = {0};

    (void)state;
    squeeze_look(&p, 4 * GIB, 4 * GIB + 20 * MIB, T0);
    squeeze_look(&p, 2 * GIB, 2 * GIB + 20 * MIB, T0 + 1);
    assert_false(squeeze_is_shrinking(&p));
    squeeze_look(&p, 2 * GIB, 2 * GIB + 20 * MIB, T0 + 10 * SQUEEZE_PATIENCE);
    assert_false(p.uncooperative);
}

static void one_that_is_far_off_when_first_seen_is_on_its_way(void **state)
{
    struct squeeze_progress p = {0};

    (void)state;
    squeeze_look(&p, 2 * GIB, 4 * GIB, T0);
    assert_true(squeeze_is_shrinking(&p));
    squeeze_look(&p, 2 * GIB, 4 * GIB, T0 + SQUEEZE_PATIENCE);
    assert_true(p.uncooperative);
}

static void a_guest_that_does_not_grow_is_not_to_blame(void **state)
{
    struct squeeze_progress p = {0};

    (void)state;
    squeeze_look(&p, 2 * GIB, 2 * GIB, T0);
    squeeze_look(&p, 4 * GIB, 2 * GIB, T0 + 10 * SQUEEZE_PATIENCE);
    squeeze_look(&p, 4 * GIB, 2 * GIB, T0 + 20 * SQUEEZE_PATIENCE);
    assert_false(p.uncooperative);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_have_their_maximum_where_there_is_room),
        cmocka_unit_test(what_is_missing_is_taken_from_all_in_proportion_to_their_ranges),
        cmocka_unit_test(where_not_even_the_minima_fit_it_says_so_and_gives_them),
        cmocka_unit_test(shares_keep_to_the_ranges_and_to_what_there_is),
        cmocka_unit_test(sharing_is_fair),
        cmocka_unit_test(a_guest_that_shrinks_is_waited_for),
        cmocka_unit_test(a_guest_that_gives_nothing_back_is_uncooperative_until_it_does),
        cmocka_unit_test(a_new_target_gives_new_time),
        cmocka_unit_test(memory_that_no_balloon_takes_does_not_count),
        cmocka_unit_test(one_that_is_far_off_when_first_seen_is_on_its_way),
        cmocka_unit_test(a_guest_that_does_not_grow_is_not_to_blame),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
