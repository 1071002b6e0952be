/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* plan.c -- which change of the log's members comes next. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "pool/member/plan.h"

#define LONG (2 * MEMBER_SILENT_LONG)
#define MOST 16

/* A pool whose host i has the id i + 1; host 0 leads. */
struct pool {
    size_t n_members, n_hosts, n_left;
    struct member_seen members[MOST];
    struct member_host hosts[MOST];
    uint64_t left[MOST];
};

static struct member_world world(const struct pool *p)
{
    return (struct member_world){1,          p->n_members, p->n_hosts, p->n_left,
                                 p->members, p->hosts,     p->left};
}

static struct pool pool_of(size_t hosts, size_t voters)
{
    struct pool p = {.n_members = hosts, .n_hosts = hosts};

    for (size_t i = 0; i < hosts; i++) {
        p.members[i] = (struct member_seen){i + 1, i < voters ? LOG_VOTER : LOG_STANDBY, 0};
        p.hosts[i] = (struct member_host){i + 1, "a", false};
    }
    return p;
}

static void leave(struct pool *p, uint64_t id)
{
    p->left[p->n_left++] = id;
    for (size_t i = 0; i < p->n_hosts; i++)
        if (p->hosts[i].id == id)
            p->hosts[i] = p->hosts[--p->n_hosts];
}

static void carry_out(struct pool *p, const struct log_change *c)
{
    if (c->what == LOG_ADD)
        p->members[p->n_members++] = (struct member_seen){c->id, LOG_SPARE, 0};
    for (size_t i = 0; i < p->n_members; i++) {
        if (p->members[i].id != c->id)
            continue;
        if (c->what == LOG_ASSIGN)
            p->members[i].role = c->role;
        if (c->what == LOG_REMOVE)
            p->members[i] = p->members[--p->n_members];
        return;
    }
}

static size_t voters(const struct pool *p, size_t *alive)
{
    size_t n = 0;

    *alive = 0;
    for (size_t i = 0; i < p->n_members; i++) {
        n += p->members[i].role == LOG_VOTER;
        *alive += p->members[i].role == LOG_VOTER && p->members[i].silent <= MEMBER_SILENT_LONG;
    }
    return n;
}

/* All changes until none is due; every one leaves a majority alive. */
static int settle(struct pool *p)
{
    struct log_change c;
    int steps = 0;

    for (;;) {
        struct member_world w = world(p);
        size_t n, alive;

        c = (struct log_change){0};
        if (!member_plan(&w, &c))
            return steps;
        carry_out(p, &c);
        n = voters(p, &alive);
        assert_true(2 * alive > n);
        assert_true(++steps < 100);
    }
}

static void one_voter_for_two_hosts_three_from_three_five_from_seven(void **state)
{
    static const size_t wanted[] = {[1] = 1, 1, 3, 3, 3, 3, 5, 5, [16] = 5};

    (void)state;
    for (size_t n = 1; n < ARRAY_SIZE(wanted); n++)
        if (wanted[n])
            assert_int_equal(member_voters(n, false), wanted[n]);
}

static void a_pool_that_is_as_it_should_be_is_left_alone(void **state)
{
    struct pool p = pool_of(5, 3);

    (void)state;
    assert_int_equal(settle(&p), 0);
}

static void a_host_without_a_member_is_added_and_has_everything_before_it_votes(void **state)
{
    struct pool p = pool_of(2, 1);
    struct member_world w;
    struct log_change c = {0};

    (void)state;
    p.hosts[p.n_hosts++] = (struct member_host){3, "address", false};
    w = world(&p);
    assert_true(member_plan(&w, &c));
    assert_int_equal(c.what, LOG_ADD);
    assert_int_equal(c.id, 3);
    assert_string_equal(c.address, "address");
    carry_out(&p, &c);
    w = world(&p);
    assert_true(member_plan(&w, &c));
    assert_int_equal(c.what, LOG_ASSIGN);
    assert_int_equal(c.role, LOG_STANDBY);
    settle(&p);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(p.members[i].role, LOG_VOTER);
}

static void sixteen_hosts_that_come_one_by_one_end_with_five_voters(void **state)
{
    struct pool p = pool_of(1, 1);
    size_t alive;

    (void)state;
    for (uint64_t id = 2; id <= 16; id++) {
        p.hosts[p.n_hosts++] = (struct member_host){id, "a", false};
        settle(&p);
    }
    assert_int_equal(voters(&p, &alive), 5);
    assert_int_equal(p.n_members, 16);
}

static void who_has_left_is_removed_and_another_votes_instead(void **state)
{
    struct pool p = pool_of(4, 3);
    size_t alive;

    (void)state;
    leave(&p, 2);
    assert_int_equal(settle(&p), 2);
    assert_int_equal(p.n_members, 3);
    assert_int_equal(voters(&p, &alive), 3);
}

static void a_silent_voter_is_replaced_and_only_then_loses_its_vote(void **state)
{
    struct pool p = pool_of(4, 3);
    struct member_world w;
    struct log_change c = {0};

    (void)state;
    p.members[2].silent = LONG;
    w = world(&p);
    assert_true(member_plan(&w, &c));
    assert_int_equal(c.id, 4);
    assert_int_equal(c.role, LOG_VOTER);
    carry_out(&p, &c);
    w = world(&p);
    assert_true(member_plan(&w, &c));
    assert_int_equal(c.id, 3);
    assert_int_equal(c.role, LOG_STANDBY);
    carry_out(&p, &c);
    assert_int_equal(settle(&p), 0);
}

static void a_silent_voter_stays_one_where_nobody_else_could_be(void **state)
{
    struct pool p = pool_of(3, 3);

    (void)state;
    p.members[1].silent = LONG;
    assert_int_equal(settle(&p), 0);
}

static void a_standby_that_is_silent_does_not_become_a_voter(void **state)
{
    struct pool p = pool_of(3, 1);

    (void)state;
    p.members[1].silent = LONG;
    p.members[2].silent = LONG;
    assert_int_equal(settle(&p), 0);
}

/* Removed first, it would take the majority away: two voters, one of them dead. */
static void a_dead_voter_loses_its_vote_before_a_living_one_is_removed(void **state)
{
    struct pool p = pool_of(3, 3);
    size_t alive;

    (void)state;
    p.members[1].silent = LONG;
    leave(&p, 3);
    settle(&p);
    assert_int_equal(p.n_members, 2);
    assert_int_equal(voters(&p, &alive), 1);
}

/* It was elected between leaving and being removed. */
static void a_leader_that_has_left_has_another_one_lead(void **state)
{
    struct pool p = pool_of(3, 3);
    struct member_world w;
    struct log_change c;

    (void)state;
    leave(&p, 1);
    p.members[1].silent = LONG;
    w = world(&p);
    assert_true(member_plan(&w, &c));
    assert_int_equal(c.what, LOG_TRANSFER);
    assert_int_equal(c.id, 3);
}

static void a_leader_that_has_left_makes_a_voter_where_there_is_no_other(void **state)
{
    struct pool p = pool_of(2, 1);
    struct member_world w;
    struct log_change c;

    (void)state;
    leave(&p, 1);
    w = world(&p);
    assert_true(member_plan(&w, &c));
    assert_int_equal(c.what, LOG_ASSIGN);
    assert_int_equal(c.id, 2);
    assert_int_equal(c.role, LOG_VOTER);
    carry_out(&p, &c);
    w = world(&p);
    assert_true(member_plan(&w, &c));
    assert_int_equal(c.what, LOG_TRANSFER);
    assert_int_equal(c.id, 2);
}

static void a_member_nobody_knows_is_left_as_it_is(void **state)
{
    struct pool p = pool_of(3, 3);

    (void)state;
    p.members[p.n_members++] = (struct member_seen){9, LOG_SPARE, 0};
    assert_int_equal(settle(&p), 0);
}

/* Two hosts and a witness, whose id is 3; all vote. */
static struct pool witnessed(size_t hosts)
{
    struct pool p = pool_of(hosts + 1, 3);

    p.hosts[hosts].witness = true;
    return p;
}

static void two_hosts_and_a_witness_are_three_voters(void **state)
{
    struct pool p = pool_of(2, 1);

    (void)state;
    p.hosts[p.n_hosts++] = (struct member_host){3, "w", true};
    settle(&p);
    assert_int_equal(p.n_members, 3);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(p.members[i].role, LOG_VOTER);
}

static void a_witness_that_is_silent_leaves_one_voter_and_gets_its_vote_back(void **state)
{
    struct pool p = witnessed(2);

    (void)state;
    p.members[2].silent = LONG;
    settle(&p);
    assert_int_equal(p.members[0].role, LOG_VOTER);
    assert_int_equal(p.members[1].role, LOG_STANDBY);
    assert_int_equal(p.members[2].role, LOG_STANDBY);
    p.members[2].silent = 0;
    settle(&p);
    assert_int_equal(p.members[1].role, LOG_VOTER);
    assert_int_equal(p.members[2].role, LOG_VOTER);
}

static void a_host_that_dies_keeps_its_vote_beside_a_witness(void **state)
{
    struct pool p = witnessed(2);

    (void)state;
    p.members[1].silent = LONG;
    assert_int_equal(settle(&p), 0);
}

static void one_host_and_three_hosts_vote_without_their_witness(void **state)
{
    struct pool one = pool_of(1, 1), three = witnessed(3);

    (void)state;
    one.hosts[one.n_hosts++] = (struct member_host){3, "w", true};
    settle(&one);
    assert_int_equal(one.members[1].role, LOG_STANDBY);
    /* Hosts 1 and 2 and the witness vote; the third comes. */
    three.members[2].role = LOG_STANDBY;
    three.members[3].role = LOG_VOTER;
    settle(&three);
    assert_int_equal(three.members[2].role, LOG_VOTER);
    assert_int_equal(three.members[3].role, LOG_STANDBY);
    /* One of the three dies, and comes back. */
    three.members[1].silent = LONG;
    settle(&three);
    assert_int_equal(three.members[3].role, LOG_VOTER);
    three.members[1].silent = 0;
    settle(&three);
    assert_int_equal(three.members[1].role, LOG_VOTER);
    assert_int_equal(three.members[3].role, LOG_STANDBY);
}

static void a_witness_that_leaves_is_removed_and_one_host_votes(void **state)
{
    struct pool p = witnessed(2);
    size_t alive;

    (void)state;
    leave(&p, 3);
    settle(&p);
    assert_int_equal(p.n_members, 2);
    assert_int_equal(voters(&p, &alive), 1);
}

static void a_witness_can_be_removed_while_a_host_is_dead(void **state)
{
    struct pool p = witnessed(2);

    (void)state;
    p.members[1].silent = LONG;
    leave(&p, 3);
    settle(&p);
    assert_int_equal(p.n_members, 2);
    assert_int_equal(p.members[1].role, LOG_STANDBY);
}

/* Whatever comes, no change leaves the voters without a living majority: settle looks. */
static void at_random_no_change_endangers_the_majority(void **state)
{
    unsigned seed = 7;

    (void)state;
    for (int round = 0; round < 2000; round++) {
        size_t n = 1 + (size_t)rand_r(&seed) % 10;
        struct pool p = pool_of(n, MIN(n, member_voters(n, false)));
        size_t all, alive;

        for (size_t i = 1; i < n; i++)
            if (rand_r(&seed) % 4 == 0)
                p.members[i].silent = LONG;
        all = voters(&p, &alive);
        if (2 * alive <= all)
            continue; /* nobody would lead */
        for (uint64_t id = 2; id <= n; id++)
            if (rand_r(&seed) % 4 == 0)
                leave(&p, id);
        settle(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_voter_for_two_hosts_three_from_three_five_from_seven),
        cmocka_unit_test(a_pool_that_is_as_it_should_be_is_left_alone),
        cmocka_unit_test(a_host_without_a_member_is_added_and_has_everything_before_it_votes),
        cmocka_unit_test(sixteen_hosts_that_come_one_by_one_end_with_five_voters),
        cmocka_unit_test(who_has_left_is_removed_and_another_votes_instead),
        cmocka_unit_test(a_silent_voter_is_replaced_and_only_then_loses_its_vote),
        cmocka_unit_test(a_silent_voter_stays_one_where_nobody_else_could_be),
        cmocka_unit_test(a_standby_that_is_silent_does_not_become_a_voter),
        cmocka_unit_test(a_dead_voter_loses_its_vote_before_a_living_one_is_removed),
        cmocka_unit_test(a_leader_that_has_left_has_another_one_lead),
        cmocka_unit_test(a_leader_that_has_left_makes_a_voter_where_there_is_no_other),
        cmocka_unit_test(a_member_nobody_knows_is_left_as_it_is),
        cmocka_unit_test(two_hosts_and_a_witness_are_three_voters),
        cmocka_unit_test(a_witness_that_is_silent_leaves_one_voter_and_gets_its_vote_back),
        cmocka_unit_test(a_host_that_dies_keeps_its_vote_beside_a_witness),
        cmocka_unit_test(one_host_and_three_hosts_vote_without_their_witness),
        cmocka_unit_test(a_witness_that_leaves_is_removed_and_one_host_votes),
        cmocka_unit_test(a_witness_can_be_removed_while_a_host_is_dead),
        cmocka_unit_test(at_random_no_change_endangers_the_majority),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
