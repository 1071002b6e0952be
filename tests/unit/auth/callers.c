/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/ops/lab.h"
#include "xapid/auth/callers.h"

#define SECOND USEC_PER_SEC

static ref_t add_limit(struct lab *lab, double burst, double fill)
{
    struct rate_limit row;
    char uuid[UUID_TEXT_SIZE];

    row_defaults(&api_classes[CLASS_rate_limit], &row);
    row.ref = ref_new();
    row.uuid = uuid_new(uuid);
    row.burst_size = burst;
    row.fill_rate = fill;
    lab_create(lab, CLASS_rate_limit, &row);
    return row.ref;
}

static ref_t add_caller(struct lab *lab, const char *agent, const char *address, ref_t limit)
{
    struct caller row;
    char uuid[UUID_TEXT_SIZE];

    row_defaults(&api_classes[CLASS_caller], &row);
    row.ref = ref_new();
    row.uuid = uuid_new(uuid);
    row.user_agent = agent;
    row.client_ip = address;
    row.rate_limit = limit;
    lab_create(lab, CLASS_caller, &row);
    return row.ref;
}

static usec_t charge(struct lab *lab, struct callers *c, const char *agent, const char *address,
                     usec_t now)
{
    ref_t who;

    return callers_charge(c, lab->call.snap, agent, address, now, &who);
}

static bool belongs(struct lab *lab, struct callers *c, const char *agent, const char *address,
                    ref_t to)
{
    ref_t who;

    callers_charge(c, lab->call.snap, agent, address, 0, &who);
    return ref_equal(who, to);
}

static void a_request_belongs_to_the_caller_that_says_most(void **state)
{
    struct lab *lab = *state;
    struct callers *c = callers_new();
    ref_t agent = add_caller(lab, "robot", "", REF_NULL);
    ref_t address = add_caller(lab, "", "192.0.2.1", REF_NULL);
    ref_t both = add_caller(lab, "robot", "192.0.2.1", REF_NULL);

    assert_true(belongs(lab, c, "robot", "192.0.2.1", both));
    assert_true(belongs(lab, c, "robot", "192.0.2.2", agent));
    assert_true(belongs(lab, c, "human", "192.0.2.1", address));
    assert_true(belongs(lab, c, "human", "192.0.2.2", REF_NULL));
    assert_int_equal(callers_usage(c, both).calls, 1);
    assert_int_equal(callers_usage(c, agent).calls, 1);
    callers_free(c);
}

static void a_burst_goes_through_and_then_the_rate_holds(void **state)
{
    struct lab *lab = *state;
    struct callers *c = callers_new();

    add_caller(lab, "robot", "", add_limit(lab, 3, 2));
    for (int i = 0; i < 3; i++)
        assert_int_equal(charge(lab, c, "robot", "", 0), 0);
    /* Two a second: each waits half a second more than the one before. */
    assert_int_equal(charge(lab, c, "robot", "", 0), SECOND / 2);
    assert_int_equal(charge(lab, c, "robot", "", 0), SECOND);
    /* After a second both have gone, and nothing is left over. */
    assert_int_equal(charge(lab, c, "robot", "", SECOND), SECOND / 2);
    callers_free(c);
}

static void a_bucket_never_holds_more_than_its_burst(void **state)
{
    struct lab *lab = *state;
    struct callers *c = callers_new();

    add_caller(lab, "robot", "", add_limit(lab, 2, 1));
    assert_int_equal(charge(lab, c, "robot", "", 0), 0);
    assert_int_equal(charge(lab, c, "robot", "", 1000 * SECOND), 0);
    assert_int_equal(charge(lab, c, "robot", "", 1000 * SECOND), 0);
    assert_int_equal(charge(lab, c, "robot", "", 1000 * SECOND), SECOND);
    callers_free(c);
}

static void callers_of_one_limit_share_its_bucket_and_others_are_left_alone(void **state)
{
    struct lab *lab = *state;
    struct callers *c = callers_new();
    ref_t limit = add_limit(lab, 1, 1);

    add_caller(lab, "a", "", limit);
    add_caller(lab, "b", "", limit);
    add_caller(lab, "c", "", REF_NULL);
    assert_int_equal(charge(lab, c, "a", "", 0), 0);
    assert_int_equal(charge(lab, c, "b", "", 0), SECOND);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(charge(lab, c, "c", "", 0), 0);
        assert_int_equal(charge(lab, c, "d", "", 0), 0);
    }
    callers_free(c);
}

static void nobody_waits_longer_than_a_minute(void **state)
{
    struct lab *lab = *state;
    struct callers *c = callers_new();

    add_caller(lab, "robot", "", add_limit(lab, 1, 0.001));
    assert_int_equal(charge(lab, c, "robot", "", 0), 0);
    for (int i = 0; i < 10; i++)
        assert_int_equal(charge(lab, c, "robot", "", 0), CALLERS_MAX_WAIT);
    callers_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_request_belongs_to_the_caller_that_says_most, lab_setup,
                                        lab_teardown),
        cmocka_unit_test_setup_teardown(a_burst_goes_through_and_then_the_rate_holds, lab_setup,
                                        lab_teardown),
        cmocka_unit_test_setup_teardown(a_bucket_never_holds_more_than_its_burst, lab_setup,
                                        lab_teardown),
        cmocka_unit_test_setup_teardown(
            callers_of_one_limit_share_its_bucket_and_others_are_left_alone, lab_setup,
            lab_teardown),
        cmocka_unit_test_setup_teardown(nobody_waits_longer_than_a_minute, lab_setup, lab_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
