/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pool/ha/lease.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define SECOND USEC_PER_SEC
#define LENGTH (10 * SECOND)

static const uint64_t voters[] = {1, 2, 3};

static void a_leader_alone_follows_itself(void **state)
{
    struct lease_book book;

    (void)state;
    lease_begin(&book, 1, 100);
    assert_int_equal(lease_majority(&book, 1, 1, voters, 500), 500);
}

static void a_majority_is_as_fresh_as_what_it_brought_back(void **state)
{
    struct lease_book book;

    (void)state;
    lease_begin(&book, 1, 100);
    assert_int_equal(lease_majority(&book, 1, 3, voters, 500), 0);
    lease_heard(&book, 2, 0, false, 500); /* heard of, but it has not brought anything back */
    assert_int_equal(lease_majority(&book, 1, 3, voters, 600), 0);
    lease_heard(&book, 2, 500, false, 700);
    assert_int_equal(lease_majority(&book, 1, 3, voters, 800), 500);
    lease_heard(&book, 3, 650, false, 800);
    assert_int_equal(lease_majority(&book, 1, 3, voters, 800), 650);
    lease_heard(&book, 9, 790, false, 800); /* no voter */
    assert_int_equal(lease_majority(&book, 1, 3, voters, 800), 650);
}

static void times_of_another_term_or_of_the_future_prove_nothing(void **state)
{
    struct lease_book book;

    (void)state;
    lease_begin(&book, 2, 1000);
    lease_heard(&book, 2, 999, false, 1100);
    lease_heard(&book, 3, 1101, false, 1100);
    assert_int_equal(lease_majority(&book, 1, 3, voters, 1100), 0);
    assert_false(lease_grant(&book, 2, 0, 1100));
}

static void leases_are_given_only_while_a_majority_is_fresh(void **state)
{
    struct lease_book book;

    (void)state;
    lease_begin(&book, 1, SECOND);
    assert_true(lease_grant(&book, 2, 5 * SECOND, 5 * SECOND + LEASE_GRACE));
    assert_false(lease_grant(&book, 2, 5 * SECOND, 5 * SECOND + LEASE_GRACE + 1));
}

static void a_lease_runs_out_after_its_length_and_the_margin(void **state)
{
    struct lease_book book;
    usec_t given = 100 * SECOND;

    (void)state;
    lease_begin(&book, 1, SECOND);
    assert_true(lease_grant(&book, 2, given, given));
    assert_false(lease_has_run_out(&book, 2, LENGTH, given + LENGTH + LEASE_MARGIN - 1));
    assert_true(lease_has_run_out(&book, 2, LENGTH, given + LENGTH + LEASE_MARGIN));
}

static void a_new_leader_waits_for_what_the_one_before_may_have_given(void **state)
{
    usec_t end = 50 * SECOND + LEASE_GRACE + LENGTH + LEASE_MARGIN;
    struct lease_book book;

    (void)state;
    lease_begin(&book, 2, 50 * SECOND);
    assert_false(lease_has_run_out(&book, 2, LENGTH, end - 1));
    assert_true(lease_has_run_out(&book, 2, LENGTH, end));
    lease_heard(&book, 2, 0, false, 51 * SECOND); /* heard of, but given nothing */
    assert_true(lease_has_run_out(&book, 2, LENGTH, end));
}

static void a_host_that_nothing_would_end_is_never_called_dead(void **state)
{
    struct lease_book book;

    (void)state;
    lease_begin(&book, 2, SECOND);
    lease_heard(&book, 2, 0, true, 2 * SECOND);
    assert_false(lease_has_run_out(&book, 2, LENGTH, 10000 * SECOND));
}

static void there_is_room_for_so_many_members_and_no_more(void **state)
{
    struct lease_book book;

    (void)state;
    lease_begin(&book, 1, 1);
    for (uint64_t id = 1; id <= LEASE_MEMBERS + 5; id++)
        lease_heard(&book, id, 0, false, 2);
    assert_int_equal(book.n, LEASE_MEMBERS);
    assert_null(lease_find(&book, LEASE_MEMBERS + 1));
    assert_false(lease_grant(&book, LEASE_MEMBERS + 1, 2, 2));
}

/*** any order of messages, any leaders: never two hosts ***/

#define ROUNDS 2000
#define STEPS 400
#define LEADERS 2
#define MEMBERS 5

static uint64_t chance(uint64_t *seed, uint64_t n)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (*seed >> 33) % n;
}

/* Five members with clocks of their own.  The first two lead by turns, and both may believe that
 * they do: then the others are divided. */
struct world {
    uint64_t seed, term;
    usec_t now;
    usec_t offset[MEMBERS]; /* of each clock */
    uint64_t follows[MEMBERS], terms[MEMBERS];
    struct lease_book book[LEADERS];
    usec_t echo[MEMBERS];
    uint64_t echo_term[MEMBERS];
    usec_t until[MEMBERS]; /* real time */
};

static usec_t clock_of(const struct world *w, int member)
{
    return w->now + w->offset[member];
}

/* A new term: a majority votes; one member has not heard of it, nor perhaps the other leader. */
static void elect(struct world *w)
{
    int leader = (int)chance(&w->seed, LEADERS), other = 1 - leader;
    int deaf = LEADERS + (int)chance(&w->seed, MEMBERS - LEADERS);

    w->term++;
    for (int m = 0; m < MEMBERS; m++) {
        if (m == deaf || (m == other && chance(&w->seed, 4)))
            continue;
        w->follows[m] = (uint64_t)leader;
        w->terms[m] = w->term;
        if (m == other)
            w->book[other].term = 0;
    }
    lease_begin(&w->book[leader], w->term, clock_of(w, leader));
}

static void beat(struct world *w, int member)
{
    static const uint64_t ids[MEMBERS] = {1, 2, 3, 4, 5};
    int leader = (int)w->follows[member];
    struct lease_book *book = &w->book[leader];
    usec_t sent = w->now, there;

    w->now += (usec_t)chance(&w->seed, 20 * USEC_PER_MSEC);
    there = clock_of(w, leader);
    if (leader == member || book->term != w->terms[member] || chance(&w->seed, 10) == 0)
        return; /* or it is lost */
    lease_heard(book, (uint64_t)member + 1,
                w->echo_term[member] == book->term ? w->echo[member] : 0, false, there);
    if (lease_grant(book, (uint64_t)member + 1,
                    lease_majority(book, (uint64_t)leader + 1, MEMBERS, ids, there), there))
        w->until[member] = MAX(w->until[member], sent + LENGTH);
    w->echo[member] = there;
    w->echo_term[member] = book->term;
}

/* How many the present leader may call dead; each must have ended by then.  What one that was
 * deposed finds is refused: its writes come after the other's office. */
static size_t bury(const struct world *w)
{
    size_t dead = 0;

    for (int leader = 0; leader < LEADERS; leader++) {
        if (w->book[leader].term != w->term)
            continue;
        for (int m = LEADERS; m < MEMBERS; m++) {
            if (!lease_has_run_out(&w->book[leader], (uint64_t)m + 1, LENGTH, clock_of(w, leader)))
                continue;
            assert_true(w->until[m] <= w->now);
            dead++;
        }
    }
    return dead;
}

static void whoever_leads_a_lease_that_was_called_run_out_had_run_out(void **state)
{
    size_t dead = 0, leases = 0;

    (void)state;
    for (uint64_t round = 0; round < ROUNDS; round++) {
        struct world w = {.seed = round, .now = 1000 * SECOND};

        for (int m = 0; m < MEMBERS; m++)
            w.offset[m] = (usec_t)chance(&w.seed, 500 * SECOND);
        elect(&w);
        for (int step = 0; step < STEPS; step++) {
            w.now += (usec_t)chance(&w.seed, 500 * USEC_PER_MSEC);
            if (chance(&w.seed, 80) == 0)
                elect(&w);
            for (int m = 0; m < MEMBERS; m++)
                beat(&w, m);
            leases += w.until[2] > w.now;
            dead += bury(&w);
        }
    }
    assert_true(dead > ROUNDS && leases > ROUNDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_leader_alone_follows_itself),
        cmocka_unit_test(a_majority_is_as_fresh_as_what_it_brought_back),
        cmocka_unit_test(times_of_another_term_or_of_the_future_prove_nothing),
        cmocka_unit_test(leases_are_given_only_while_a_majority_is_fresh),
        cmocka_unit_test(a_lease_runs_out_after_its_length_and_the_margin),
        cmocka_unit_test(a_new_leader_waits_for_what_the_one_before_may_have_given),
        cmocka_unit_test(a_host_that_nothing_would_end_is_never_called_dead),
        cmocka_unit_test(there_is_room_for_so_many_members_and_no_more),
        cmocka_unit_test(whoever_leads_a_lease_that_was_called_run_out_had_run_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
