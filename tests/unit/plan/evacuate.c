/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pool/plan/evacuate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define HOSTS 4
#define VMS 6
#define POOLS 3000
#define ANYWHERE (~(uint64_t)0)

/* Host 0 is emptied; group 1 has nobody elsewhere. */
struct world {
    struct arena arena;
    int64_t free[HOSTS], company[2 * HOSTS];
    struct ha_vm vms[VMS];
    size_t groups[VMS];
    int to[VMS];
    struct evacuation e;
};

static void begin(struct world *w, size_t n_vms)
{
    *w = (struct world){.free = {0, 100, 100, 100}};
    for (size_t i = 0; i < VMS; i++)
        w->vms[i] = (struct ha_vm){.memory = 10, .on = 0, .can = ANYWHERE};
    w->e = (struct evacuation){.problem = {HOSTS, w->free, n_vms, w->vms},
                               .emptied = 1,
                               .groups = w->groups,
                               .n_groups = 2,
                               .company = w->company};
}

static bool plan(struct world *w)
{
    return evacuation_plan(&w->arena, &w->e, w->to);
}

static void vms_are_spread_over_the_other_hosts(void **state)
{
    struct world w;
    int on[HOSTS] = {0};

    (void)state;
    begin(&w, 6);
    assert_true(plan(&w));
    for (size_t i = 0; i < 6; i++)
        on[w.to[i]]++;
    assert_int_equal(on[0], 0);
    for (size_t h = 1; h < HOSTS; h++)
        assert_int_equal(on[h], 2);
    arena_release(&w.arena);
}

static void those_that_want_to_be_apart_are_kept_apart(void **state)
{
    struct world w;

    (void)state;
    begin(&w, 3);
    w.free[3] = 1000;
    w.groups[0] = w.groups[1] = w.groups[2] = 1;
    w.company[HOSTS + 3] = 5; /* of the group, and there already */
    w.free[1] = 30;
    w.free[2] = 30;
    assert_true(plan(&w));
    assert_int_not_equal(w.to[0], w.to[1]);
    for (size_t i = 0; i < 3; i++)
        assert_int_not_equal(w.to[i], 3);
    arena_release(&w.arena);
}

static void one_that_has_little_choice_goes_before_a_larger_one(void **state)
{
    struct world w;

    (void)state;
    begin(&w, 2);
    w.free[1] = 100, w.free[2] = 90, w.free[3] = 0;
    w.vms[0] = (struct ha_vm){.memory = 90, .on = 0, .can = ANYWHERE};
    w.vms[1] = (struct ha_vm){.memory = 20, .on = 0, .can = 2};
    assert_true(plan(&w));
    assert_int_equal(w.to[1], 1);
    assert_int_equal(w.to[0], 2);
    arena_release(&w.arena);
}

/* 60, 50, 50 and 40 on two hosts of 100: spreading does not find it. */
static void a_tight_packing_is_found_where_spreading_fails(void **state)
{
    struct world w;

    (void)state;
    begin(&w, 4);
    w.free[3] = 0;
    w.vms[0].memory = 60, w.vms[1].memory = 50, w.vms[2].memory = 50, w.vms[3].memory = 40;
    assert_true(plan(&w));
    assert_int_equal(w.to[0], w.to[3]);
    assert_int_equal(w.to[1], w.to[2]);
    arena_release(&w.arena);
}

static void what_has_no_place_is_told_and_the_rest_still_has_one(void **state)
{
    struct world w;

    (void)state;
    begin(&w, 3);
    w.vms[1].memory = 101;
    w.vms[2].on = 2;
    assert_false(plan(&w));
    assert_true(w.to[0] > 0);
    assert_int_equal(w.to[1], HA_NO_PLACE);
    assert_int_equal(w.to[2], HA_STAYS);
    arena_release(&w.arena);
}

static uint64_t chance(uint64_t *seed, uint64_t n)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (*seed >> 33) % n;
}

/* Never beyond what is free, never where a VM cannot run, never back. */
static void a_plan_can_be_carried_out(void **state)
{
    (void)state;
    for (uint64_t round = 0; round < POOLS; round++) {
        uint64_t seed = round;
        struct world w;

        begin(&w, 1 + chance(&seed, VMS));
        for (size_t h = 1; h < HOSTS; h++)
            w.free[h] = (int64_t)chance(&seed, 120);
        for (size_t i = 0; i < VMS; i++) {
            w.vms[i] = (struct ha_vm){(int64_t)chance(&seed, 60), 0, chance(&seed, 1 << HOSTS)};
            w.groups[i] = chance(&seed, 2);
        }
        if (plan(&w))
            for (size_t i = 0; i < w.e.problem.n_vms; i++)
                assert_true(w.to[i] > 0);
        for (size_t i = 0; i < w.e.problem.n_vms; i++) {
            if (w.to[i] == HA_NO_PLACE)
                continue;
            assert_true(w.vms[i].can >> w.to[i] & 1);
            w.free[w.to[i]] -= w.vms[i].memory;
            assert_true(w.free[w.to[i]] >= 0);
        }
        arena_release(&w.arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vms_are_spread_over_the_other_hosts),
        cmocka_unit_test(those_that_want_to_be_apart_are_kept_apart),
        cmocka_unit_test(one_that_has_little_choice_goes_before_a_larger_one),
        cmocka_unit_test(a_tight_packing_is_found_where_spreading_fails),
        cmocka_unit_test(what_has_no_place_is_told_and_the_rest_still_has_one),
        cmocka_unit_test(a_plan_can_be_carried_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
