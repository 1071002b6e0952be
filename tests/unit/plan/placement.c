/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pool/plan/placement.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "libxapi/value/featureset.h"

#define HOSTS 6
#define POOLS 5000

static const int64_t versions[] = {0, 1, 2};
static const ref_t srs[] = {{1, 1}, {1, 2}}, networks[] = {{2, 1}, {2, 2}};
static const struct place_rules strict = {.memory = true, .enabled = true};

static ref_t host_ref(uint64_t n)
{
    return (ref_t){9, n};
}

/* One that can run anything. */
static struct place_host good(uint64_t n)
{
    return (struct place_host){.ref = host_ref(n),
                               .live = true,
                               .enabled = true,
                               .hvm = true,
                               .n_versions = 3,
                               .versions = versions,
                               .srs = {2, srs},
                               .networks = {2, networks},
                               .cpu_vendor = "GenuineIntel",
                               .cpu_features = "0000000f-000000f0",
                               .free = 100};
}

static struct place_vm wanted(void)
{
    return (struct place_vm){.hardware_version = 2,
                             .memory = 100,
                             .hvm = true,
                             .srs = {2, srs},
                             .networks = {2, networks},
                             .cpu_vendor = "",
                             .cpu_features = ""};
}

static void the_obstacles_come_in_their_order(void **state)
{
    struct place_vm vm = wanted();
    struct place_host h = good(1);

    (void)state;
    vm.cpu_features = "00000010";
#define REASON() place_check(&h, &vm, strict).reason
    h.live = h.enabled = h.hvm = false;
    h.n_versions = h.srs.n = h.networks.n = 1;
    h.elsewhere = (struct refs){1, networks};
    h.devices = (const struct error *)&h; /* only looked at, never into */
    h.free = 99;
    assert_int_equal(REASON(), PLACE_NOT_LIVE);
    h.live = true;
    assert_int_equal(REASON(), PLACE_DISABLED);
    h.enabled = true;
    assert_int_equal(REASON(), PLACE_HARDWARE_VERSION);
    h.n_versions = 3;
    assert_int_equal(REASON(), PLACE_NO_SR);
    assert_true(ref_equal(place_check(&h, &vm, strict).what, srs[1]));
    h.srs.n = 2;
    assert_int_equal(REASON(), PLACE_NO_NETWORK);
    assert_true(ref_equal(place_check(&h, &vm, strict).what, networks[1]));
    h.networks.n = 2;
    assert_int_equal(REASON(), PLACE_NETWORK_ELSEWHERE);
    h.elsewhere.n = 0;
    assert_int_equal(REASON(), PLACE_NO_HVM);
    h.hvm = true;
    assert_int_equal(REASON(), PLACE_CPU);
    vm.cpu_features = "";
    assert_int_equal(REASON(), PLACE_NO_DEVICE);
    h.devices = NULL;
    assert_int_equal(REASON(), PLACE_NO_MEMORY);
    h.reclaimable = 1;
    assert_int_equal(REASON(), PLACE_FITS);
#undef REASON
}

static void rules_that_do_not_hold_are_not_looked_at(void **state)
{
    const struct place_rules any = {.memory = false, .enabled = false};
    struct place_vm vm = wanted();
    struct place_host h = good(1);

    (void)state;
    h.live = h.enabled = false;
    h.free = 0;
    assert_int_equal(place_check(&h, &vm, any).reason, PLACE_FITS);
}

static void a_guest_goes_on_only_where_its_processor_is(void **state)
{
    struct place_vm vm = wanted();
    struct place_host h = good(1);

    (void)state;
    vm.cpu_vendor = "GenuineIntel";
    vm.cpu_features = "00000003-00000080";
    assert_int_equal(place_check(&h, &vm, strict).reason, PLACE_FITS);
    vm.cpu_features = "00000003-00000180";
    assert_int_equal(place_check(&h, &vm, strict).reason, PLACE_CPU);
    vm.cpu_features = "";
    vm.cpu_vendor = "AuthenticAMD";
    assert_int_equal(place_check(&h, &vm, strict).reason, PLACE_CPU);
}

static void features_cover_what_has_no_bit_beyond_them(void **state)
{
    (void)state;
    assert_true(featureset_covers("ffffffff-00000001", "0000ffff-00000001"));
    assert_true(featureset_covers("ffffffff", "0000ffff-00000000"));
    assert_true(featureset_covers("", ""));
    assert_true(featureset_covers("", "00000000:00000000"));
    assert_false(featureset_covers("ffffffff", "ffffffff-00000001"));
    assert_false(featureset_covers("", "1"));
    assert_true(featureset_covers("no numbers", ""));
    assert_true(featureset_covers("", "no numbers"));
}

static void common_features_are_what_both_have(void **state)
{
    struct arena arena = {0};

    (void)state;
    assert_string_equal(featureset_common(&arena, "ffff0000-00000003", "0ff000ff:00000006-1"),
                        "0ff00000-00000002");
    assert_string_equal(featureset_common(&arena, "", "ffffffff"), "");
    assert_string_equal(featureset_common(&arena, "no number", "ffffffff"), "00000000");
    arena_release(&arena);
}

static void the_best_host_comes_first(void **state)
{
    struct place_host hosts[5];
    struct place_verdict out[5];
    struct place_vm vm = wanted();

    (void)state;
    for (uint64_t i = 0; i < 5; i++)
        hosts[i] = good(i);
    hosts[0].enabled = false;
    hosts[0].free = 1000;
    hosts[1].free = 150;
    hosts[2].free = 200;
    hosts[2].company = 1;
    hosts[3].free = 120; /* the VM's affinity */
    hosts[4].free = 400;
    hosts[4].company = 2;
    vm.affinity = host_ref(3);
    assert_int_equal(place_rank(5, hosts, &vm, strict, out), 4);
    assert_ptr_equal(out[0].host, &hosts[3]);
    assert_ptr_equal(out[1].host, &hosts[1]);
    assert_ptr_equal(out[2].host, &hosts[2]);
    assert_ptr_equal(out[3].host, &hosts[4]);
    assert_ptr_equal(out[4].host, &hosts[0]);
}

/* Those that were sent somewhere a moment ago count, but do not keep a VM from fitting. */
static void memory_that_was_claimed_makes_a_host_worse(void **state)
{
    struct place_host hosts[] = {good(0), good(1)};
    struct place_vm vm = wanted();
    struct place_verdict out[2];

    (void)state;
    hosts[0].free = 300;
    hosts[1].free = 200;
    hosts[0].claimed = 101;
    hosts[1].claimed = 0;
    assert_int_equal(place_rank(2, hosts, &vm, strict, out), 2);
    assert_ptr_equal(out[0].host, &hosts[1]);
    hosts[1].claimed = 150;
    assert_int_equal(place_rank(2, hosts, &vm, strict, out), 2);
    assert_ptr_equal(out[0].host, &hosts[0]);
}

static uint64_t chance(uint64_t *seed, uint64_t n)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (*seed >> 33) % n;
}

static void make_hosts(uint64_t *seed, struct place_host *hosts)
{
    for (uint64_t i = 0; i < HOSTS; i++) {
        hosts[i] = good(i);
        hosts[i].live = chance(seed, 5);
        hosts[i].enabled = chance(seed, 5);
        hosts[i].srs.n = 1 + (chance(seed, 4) > 0);
        hosts[i].free = (int64_t)chance(seed, 4) * 50;
        hosts[i].reclaimable = (int64_t)chance(seed, 3) * 50;
        hosts[i].company = (int64_t)chance(seed, 3);
    }
}

/* Whatever the order in which the hosts are given: members that look at the same facts choose the
 * same host. */
static void the_choice_does_not_depend_on_the_order_of_the_hosts(void **state)
{
    struct place_verdict out[HOSTS], again[HOSTS];
    struct place_host hosts[HOSTS], shuffled[HOSTS];
    struct place_vm vm = wanted();

    (void)state;
    for (uint64_t round = 0; round < POOLS; round++) {
        uint64_t seed = round;
        size_t n, turn = 1 + chance(&seed, HOSTS - 1);

        make_hosts(&seed, hosts);
        vm.affinity = host_ref(chance(&seed, HOSTS + 1));
        for (size_t i = 0; i < HOSTS; i++)
            shuffled[(i + turn) % HOSTS] = hosts[i];
        n = place_rank(HOSTS, hosts, &vm, strict, out);
        assert_int_equal(place_rank(HOSTS, shuffled, &vm, strict, again), n);
        for (size_t i = 0; i < HOSTS; i++) {
            assert_true(ref_equal(out[i].host->ref, again[i].host->ref));
            assert_int_equal(out[i].reason == PLACE_FITS, i < n);
            assert_int_equal(out[i].reason, place_check(out[i].host, &vm, strict).reason);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_obstacles_come_in_their_order),
        cmocka_unit_test(rules_that_do_not_hold_are_not_looked_at),
        cmocka_unit_test(a_guest_goes_on_only_where_its_processor_is),
        cmocka_unit_test(features_cover_what_has_no_bit_beyond_them),
        cmocka_unit_test(common_features_are_what_both_have),
        cmocka_unit_test(the_best_host_comes_first),
        cmocka_unit_test(memory_that_was_claimed_makes_a_host_worse),
        cmocka_unit_test(the_choice_does_not_depend_on_the_order_of_the_hosts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
