/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pool/ha/planner.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define SMALL_POOLS 6000
#define LARGE_POOLS 200
#define MAX_VMS 128
#define ALL (~(uint64_t)0)

/* The same numbers in every run. */
static uint64_t chance(uint64_t *seed, uint64_t n)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (*seed >> 33) % n;
}

static uint64_t bit(size_t i)
{
    return (uint64_t)1 << i;
}

/*** the truth: every choice of hosts, every place of every VM ***/

static bool fits_somehow(const struct ha_problem *p, uint64_t failed, int64_t *free, size_t i)
{
    bool found = false;

    if (i == p->n_vms)
        return true;
    if (p->vms[i].on >= 0 && !(failed & bit((size_t)p->vms[i].on)))
        return fits_somehow(p, failed, free, i + 1);
    for (size_t h = 0; h < p->n_hosts && !found; h++) {
        if (!(p->vms[i].can & bit(h) & ~failed) || free[h] < p->vms[i].memory)
            continue;
        free[h] -= p->vms[i].memory;
        found = fits_somehow(p, failed, free, i + 1);
        free[h] += p->vms[i].memory;
    }
    return found;
}

static bool survives(const struct ha_problem *p, uint64_t failed)
{
    int64_t free[HA_MAX_HOSTS];

    for (size_t h = 0; h < p->n_hosts; h++)
        free[h] = p->free[h];
    return fits_somehow(p, failed, free, 0);
}

static bool truly_exists(const struct ha_problem *p, size_t failures)
{
    for (uint64_t failed = 0; failed < bit(p->n_hosts); failed++)
        if ((size_t)__builtin_popcountll(failed) == failures && !survives(p, failed))
            return false;
    return true;
}

/*** pools by chance ***/

struct pool {
    int64_t free[HA_MAX_HOSTS];
    struct ha_vm vms[MAX_VMS];
    struct ha_problem problem;
};

static void make_pool(struct pool *pool, uint64_t *seed, size_t hosts, size_t vms, bool agile)
{
    pool->problem = (struct ha_problem){hosts, pool->free, vms, pool->vms};
    for (size_t h = 0; h < hosts; h++)
        pool->free[h] = (int64_t)chance(seed, 9);
    for (size_t i = 0; i < vms; i++)
        pool->vms[i] = (struct ha_vm){.memory = 1 + (int64_t)chance(seed, 5),
                                      .on = (int)chance(seed, hosts + 1) - 1,
                                      .can = agile || chance(seed, 2) ? ALL : chance(seed, 64)};
}

/* What a plan says can be done. */
static void check_plan(const struct ha_problem *p, uint64_t failed, const int *to)
{
    int64_t used[HA_MAX_HOSTS] = {0};

    for (size_t i = 0; i < p->n_vms; i++) {
        bool stays = p->vms[i].on >= 0 && !(failed & bit((size_t)p->vms[i].on));

        assert_int_equal(to[i] == HA_STAYS, stays);
        if (to[i] < 0)
            continue;
        assert_true(p->vms[i].can & bit((size_t)to[i]) & ~failed);
        used[to[i]] += p->vms[i].memory;
    }
    for (size_t h = 0; h < p->n_hosts; h++)
        assert_true(used[h] <= p->free[h]);
}

static void the_planner_agrees_with_a_search_of_everything(void **state)
{
    struct arena arena = {0};
    size_t yes = 0, no = 0;
    struct pool pool;

    (void)state;
    for (uint64_t round = 0; round < SMALL_POOLS; round++) {
        uint64_t seed = round;
        size_t hosts = 1 + chance(&seed, 5), failures = chance(&seed, hosts + 1);
        struct ha_verdict v;
        bool truth;

        make_pool(&pool, &seed, hosts, chance(&seed, 7), chance(&seed, 2));
        truth = truly_exists(&pool.problem, failures);
        v = ha_plan_exists(&arena, &pool.problem, failures);
        if (v.exists != truth && (v.exists || v.exact))
            fail_msg("pool %d: a plan for %zu failures of %zu hosts %s", (int)round, failures,
                     hosts, truth ? "was not found" : "does not exist");
        if (!v.exists && v.exact && failures < hosts)
            assert_false(survives(&pool.problem, v.failed));
        yes += truth;
        no += !truth;
    }
    assert_true(yes > SMALL_POOLS / 5 && no > SMALL_POOLS / 5);
    arena_release(&arena);
}

static void what_is_planned_can_be_done(void **state)
{
    struct arena arena = {0};
    struct pool pool;
    int to[MAX_VMS];

    (void)state;
    for (uint64_t round = 0; round < SMALL_POOLS; round++) {
        uint64_t seed = round, failed;
        size_t hosts = 1 + chance(&seed, 5);

        make_pool(&pool, &seed, hosts, chance(&seed, 7), chance(&seed, 2));
        failed = chance(&seed, bit(hosts));
        assert_int_equal(ha_plan(&arena, &pool.problem, failed, to),
                         survives(&pool.problem, failed));
        check_plan(&pool.problem, failed, to);
    }
    arena_release(&arena);
}

/* With so many hosts not every choice is tried; a yes must hold for each all the same. */
static void a_yes_about_many_hosts_holds_for_every_choice_that_is_tried(void **state)
{
    struct arena arena = {0};
    struct pool pool;
    size_t yes = 0, no = 0;
    int to[MAX_VMS];

    (void)state;
    for (uint64_t round = 0; round < LARGE_POOLS; round++) {
        uint64_t seed = round;

        make_pool(&pool, &seed, 40, 60 + chance(&seed, 60), round % 4 != 0);
        for (size_t h = 0; h < 40; h++)
            pool.free[h] += (int64_t)(round % 20);
        if (!ha_plan_exists(&arena, &pool.problem, 5).exists) {
            no++;
            continue;
        }
        yes++;
        for (int i = 0; i < 50; i++) {
            uint64_t failed = 0;

            while (__builtin_popcountll(failed) < 5)
                failed |= bit(chance(&seed, 40));
            assert_true(ha_plan(&arena, &pool.problem, failed, to));
            check_plan(&pool.problem, failed, to);
        }
    }
    assert_true(yes > LARGE_POOLS / 10 && no > LARGE_POOLS / 10);
    arena_release(&arena);
}

static void the_most_failures_are_found(void **state)
{
    struct arena arena = {0};
    struct pool pool;

    (void)state;
    for (uint64_t round = 0; round < SMALL_POOLS / 4; round++) {
        uint64_t seed = round;
        size_t hosts = 2 + chance(&seed, 4);
        struct ha_verdict worst;
        int most = -1, found;

        make_pool(&pool, &seed, hosts, 1 + chance(&seed, 5), true);
        while (most < (int)hosts - 1 && truly_exists(&pool.problem, (size_t)most + 1))
            most++;
        found = ha_max_failures(&arena, &pool.problem, hosts - 1, &worst);
        assert_true(worst.exact || worst.exists);
        assert_int_equal(found, most);
        assert_int_equal(worst.exists, found == (int)hosts - 1);
    }
    arena_release(&arena);
}

static void a_pool_without_protected_vms_survives_anything(void **state)
{
    const int64_t free[] = {0, 0, 0};
    struct ha_problem p = {3, free, 0, NULL};
    struct arena arena = {0};

    (void)state;
    assert_true(ha_plan_exists(&arena, &p, 3).exists);
    assert_int_equal(ha_max_failures(&arena, &p, 2, NULL), 2);
    arena_release(&arena);
}

static void a_vm_that_can_run_on_its_host_only_is_named(void **state)
{
    const int64_t free[] = {8, 8, 8};
    const struct ha_vm vms[] = {{.memory = 1, .on = 0, .can = ALL},
                                {.memory = 1, .on = 1, .can = 1 << 1}};
    struct ha_problem p = {3, free, 2, vms};
    struct arena arena = {0};
    struct ha_verdict v = ha_plan_exists(&arena, &p, 1);

    (void)state;
    assert_false(v.exists);
    assert_true(v.exact);
    assert_int_equal(v.failed, 1 << 1);
    assert_int_equal(v.vm, 1);
    arena_release(&arena);
}

static void where_not_all_fit_the_first_are_served(void **state)
{
    const int64_t free[] = {0, 4};
    const struct ha_vm vms[] = {{.memory = 1, .on = 0, .can = ALL},
                                {.memory = 3, .on = 0, .can = ALL},
                                {.memory = 3, .on = 0, .can = ALL}};
    struct ha_problem p = {2, free, 3, vms};
    struct arena arena = {0};
    int to[3];

    (void)state;
    assert_false(ha_plan(&arena, &p, 1, to));
    assert_int_equal(to[0], 1);
    assert_int_equal(to[1], 1);
    assert_int_equal(to[2], HA_NO_PLACE);
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_planner_agrees_with_a_search_of_everything),
        cmocka_unit_test(what_is_planned_can_be_done),
        cmocka_unit_test(a_yes_about_many_hosts_holds_for_every_choice_that_is_tried),
        cmocka_unit_test(the_most_failures_are_found),
        cmocka_unit_test(a_pool_without_protected_vms_survives_anything),
        cmocka_unit_test(a_vm_that_can_run_on_its_host_only_is_named),
        cmocka_unit_test(where_not_all_fit_the_first_are_served),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
