/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* sequence.c -- the order in which VMs of a group are taken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "xapid/ops/vm/sequence.h"

static const struct sequence_vm web = {{0, 1}, 2, 5}, db = {{0, 2}, 1, 7}, cache = {{0, 3}, 2, 9},
                                proxy = {{0, 4}, 3, 0};

static void starts_go_up_and_shutdowns_go_down(void **state)
{
    struct sequence_vm v[] = {web, db, proxy, cache};

    (void)state;
    sequence_sort(SEQUENCE_START, 4, v);
    assert_true(ref_equal(v[0].vm, db.vm) && ref_equal(v[1].vm, web.vm));
    assert_true(ref_equal(v[2].vm, cache.vm) && ref_equal(v[3].vm, proxy.vm));
    sequence_sort(SEQUENCE_SHUTDOWN, 4, v);
    assert_true(ref_equal(v[0].vm, proxy.vm) && ref_equal(v[1].vm, web.vm));
    assert_true(ref_equal(v[2].vm, cache.vm) && ref_equal(v[3].vm, db.vm));
}

static void a_group_has_one_order_and_waits_for_its_longest_delay(void **state)
{
    const struct sequence_vm v[] = {web, cache, proxy};
    int64_t delay;

    (void)state;
    assert_int_equal(sequence_group(3, v, &delay), 2);
    assert_int_equal(delay, 9);
    assert_int_equal(sequence_group(1, v + 2, &delay), 1);
    assert_int_equal(delay, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(starts_go_up_and_shutdowns_go_down),
        cmocka_unit_test(a_group_has_one_order_and_waits_for_its_longest_delay),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
