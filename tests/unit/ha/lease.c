/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pool/ha/beat.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define SECOND USEC_PER_SEC
#define LENGTH (10 * SECOND)

static const uint64_t voters[] = {1, 2, 3};

/* From a member that has parted from the leaders before just now. */
static void hear(struct lease_book *book, uint64_t id, usec_t echo, bool disarmed, usec_t now)
{
    lease_heard(book, id, &(struct lease_beat){.echo = echo, .disarmed = disarmed}, now);
}

/* From one that has done so at 'parted'. */
static void hear_parted(struct lease_book *book, uint64_t id, usec_t parted, usec_t now)
{
    lease_heard(book, id, &(struct lease_beat){.age = now - parted}, now);
}

/* The voters are 1, 2 and 3. */
static bool has_run_out(const struct lease_book *book, uint64_t id, usec_t now)
{
    return lease_has_run_out(book, id, lease_inherited(book, 3, voters), LENGTH, now);
}

static void a_leader_alone_follows_itself(void **state)
{
    struct lease_book book;

    (void)state;
    lease_begin(&book, 1, 100, 1, 50);
    assert_int_equal(lease_majority(&book, 1, 1, voters, 500), 500);
}

static void a_majority_is_as_fresh_as_what_it_brought_back(void **state)
{
    struct lease_book book;

    (void)state;
    lease_begin(&book, 1, 100, 1, 50);
    assert_int_equal(lease_majority(&book, 1, 3, voters, 500), 0);
    hear(&book, 2, 0, false, 500); /* heard of, but it has not brought anything back */
    assert_int_equal(lease_majority(&book, 1, 3, voters, 600), 0);
    hear(&book, 2, 500, false, 700);
    assert_int_equal(lease_majority(&book, 1, 3, voters, 800), 500);
    hear(&book, 3, 650, false, 800);
    assert_int_equal(lease_majority(&book, 1, 3, voters, 800), 650);
    hear(&book, 9, 790, false, 800); /* no voter */
    assert_int_equal(lease_majority(&book, 1, 3, voters, 800), 650);
}

static void times_of_another_term_or_of_the_future_prove_nothing(void **state)
{
    struct lease_book book;

    (void)state;
    lease_begin(&book, 2, 1000, 1, 50);
    hear(&book, 2, 999, false, 1100);
    hear(&book, 3, 1101, false, 1100);
    assert_int_equal(lease_majority(&book, 1, 3, voters, 1100), 0);
    assert_false(lease_grant(&book, 2, 0, 1100));
}

static void leases_are_given_only_while_a_majority_is_fresh(void **state)
{
    struct lease_book book;

    (void)state;
    lease_begin(&book, 1, SECOND, 1, 1);
    assert_true(lease_grant(&book, 2, 5 * SECOND, 5 * SECOND + LEASE_GRACE));
    assert_false(lease_grant(&book, 2, 5 * SECOND, 5 * SECOND + LEASE_GRACE + 1));
}

static void a_lease_runs_out_after_its_length_and_the_margin(void **state)
{
    struct lease_book book;
    usec_t given = 100 * SECOND;

    (void)state;
    lease_begin(&book, 1, SECOND, 1, 1);
    assert_true(lease_grant(&book, 2, given, given));
    assert_false(has_run_out(&book, 2, given + LENGTH + LEASE_MARGIN - 1));
    assert_true(has_run_out(&book, 2, given + LENGTH + LEASE_MARGIN));
}

static void a_new_leader_waits_for_what_the_one_before_may_have_given(void **state)
{
    usec_t end = 50 * SECOND + LEASE_GRACE + LENGTH + LEASE_MARGIN;
    struct lease_book book;

    (void)state;
    lease_begin(&book, 2, 50 * SECOND, 1, 20 * SECOND);
    assert_false(has_run_out(&book, 2, end - 1));
    assert_true(has_run_out(&book, 2, end));
    hear(&book, 2, 0, false, 51 * SECOND); /* heard of, but given nothing */
    assert_true(has_run_out(&book, 2, end));
}

static void a_new_leader_counts_from_when_a_majority_last_followed_the_one_before(void **state)
{
    usec_t parted = 20 * SECOND, end = parted + LEASE_GRACE + LENGTH + LEASE_MARGIN;
    struct lease_book book;

    (void)state;
    lease_begin(&book, 2, 28 * SECOND, 1, parted - SECOND); /* an election of eight seconds */
    assert_false(has_run_out(&book, 2, end));               /* one is no majority */
    hear_parted(&book, 3, parted, 29 * SECOND);
    assert_false(has_run_out(&book, 2, end - 1));
    assert_true(has_run_out(&book, 2, end));
    hear_parted(&book, 3, parted + SECOND, 30 * SECOND); /* what it said before was as true */
    assert_true(has_run_out(&book, 2, end));
    hear_parted(&book, 9, SECOND, 30 * SECOND); /* no voter */
    assert_false(has_run_out(&book, 2, end - 1));
}

static void one_that_followed_longer_is_not_counted_where_there_are_others(void **state)
{
    const uint64_t five[] = {1, 2, 3, 4, 5};
    struct lease_book book;

    (void)state;
    lease_begin(&book, 2, 100 * SECOND, 1, 50 * SECOND);
    hear_parted(&book, 5, 99 * SECOND, 101 * SECOND); /* a minority went on with the one before */
    hear_parted(&book, 4, 40 * SECOND, 101 * SECOND);
    assert_int_equal(lease_inherited(&book, 5, five), 99 * SECOND + LEASE_GRACE);
    hear_parted(&book, 3, 60 * SECOND, 101 * SECOND);
    assert_int_equal(lease_inherited(&book, 5, five), 60 * SECOND + LEASE_GRACE);
    assert_int_equal(lease_inherited(&book, 4, five),
                     60 * SECOND + LEASE_GRACE); /* three of four */
}

static void an_age_beyond_all_clocks_is_as_old_as_can_be_and_a_late_one_counts_from_the_election(
    void **state)
{
    struct lease_book book;

    (void)state;
    lease_begin(&book, 2, 5 * SECOND, 1, SECOND);
    hear_parted(&book, 2, -100 * SECOND, 6 * SECOND);
    assert_int_equal(lease_inherited(&book, 3, voters), SECOND + LEASE_GRACE);
    lease_begin(&book, 2, 5 * SECOND, 1, 4 * SECOND);
    hear_parted(&book, 2, 7 * SECOND, 7 * SECOND); /* by who does not know of ages */
    assert_int_equal(lease_inherited(&book, 3, voters), 5 * SECOND + LEASE_GRACE);
}

static void a_member_has_parted_when_the_last_answer_of_a_former_leader_came(void **state)
{
    struct lease_ties ties;

    (void)state;
    lease_ties_begin(&ties, 10);
    assert_int_equal(lease_ties_parted(&ties, 1),
                     10); /* a process before may have followed until then */
    lease_ties_answered(&ties, 1, 1000, 20);
    lease_ties_answered(&ties, 1, 1001, 30);
    assert_int_equal(lease_ties_echo(&ties, 1), 1001);
    assert_int_equal(lease_ties_parted(&ties, 1), 10);
    assert_int_equal(lease_ties_echo(&ties, 2), 0);
    assert_int_equal(lease_ties_parted(&ties, 2), 30);
    lease_ties_answered(&ties, 2, 5, 40);
    assert_int_equal(lease_ties_parted(&ties, 2), 30);
    lease_ties_answered(&ties, 1, 1002, 50); /* overtaken */
    assert_int_equal(lease_ties_echo(&ties, 2), 5);
    assert_int_equal(lease_ties_parted(&ties, 2), 30);
    lease_ties_led(&ties, 60);
    assert_int_equal(lease_ties_parted(&ties, 4), 60);
}

static void a_heartbeat_carries_all_that_the_leader_needs(void **state)
{
    struct lease_ties ties;
    struct lease_beat said;
    struct beat beat;

    (void)state;
    lease_ties_begin(&ties, SECOND);
    lease_ties_answered(&ties, 7, 12345, 2 * SECOND);
    beat = beat_make(&ties, 7, 0, BEAT_STARTING, 5 * SECOND + 999);
    said = beat_read(&beat);
    assert_int_equal(said.echo, 12345);
    assert_int_equal(said.age, 4 * SECOND); /* never older than it is */
    assert_true(said.starting && !said.disarmed);
    beat = beat_make(&ties, 8, 0, BEAT_DISARMED, 5 * SECOND);
    said = beat_read(&beat);
    assert_int_equal(said.echo, 0);
    assert_int_equal(said.age, 3 * SECOND);
    assert_true(said.disarmed && !said.starting);
    beat = beat_make(&ties, 8, 4 * SECOND, 0, 5 * SECOND); /* the log heard from a leader later */
    assert_int_equal(beat_read(&beat).age, SECOND);
    beat = beat_make(&ties, 8, 0, 0, 1000000000 * SECOND);
    assert_int_equal(beat_read(&beat).age, (usec_t)UINT32_MAX * USEC_PER_MSEC);
}

static void a_host_that_nothing_would_end_is_never_called_dead(void **state)
{
    struct lease_book book;

    (void)state;
    lease_begin(&book, 2, SECOND, 1, 1);
    hear(&book, 2, 0, true, 2 * SECOND);
    assert_false(has_run_out(&book, 2, 10000 * SECOND));
}

static void there_is_room_for_so_many_members_and_no_more(void **state)
{
    struct lease_book book;

    (void)state;
    lease_begin(&book, 1, 1, 1, 1);
    for (uint64_t id = 1; id <= LEASE_MEMBERS + 5; id++)
        hear(&book, id, 0, false, 2);
    assert_int_equal(book.n, LEASE_MEMBERS);
    assert_null(lease_find(&book, LEASE_MEMBERS + 1));
    assert_false(lease_grant(&book, LEASE_MEMBERS + 1, 2, 2));
}

/*** what a member has ***/

static void a_lease_counts_from_when_it_was_asked_for(void **state)
{
    struct lease_held held = {0};

    (void)state;
    assert_true(lease_follow(&held, LENGTH));
    lease_take(&held, LENGTH, 5 * SECOND);
    assert_int_equal(held.until, 5 * SECOND + LENGTH);
    lease_take(&held, LENGTH, 4 * SECOND); /* an answer that was overtaken */
    assert_int_equal(held.until, 5 * SECOND + LENGTH);
    assert_false(lease_follow(&held, LENGTH));
    assert_int_equal(held.until, 5 * SECOND + LENGTH);
}

static void a_lease_of_another_length_than_the_pool_has_by_now_is_none(void **state)
{
    struct lease_held held = {0};

    (void)state;
    lease_follow(&held, 3 * LENGTH);
    lease_take(&held, 3 * LENGTH, 5 * SECOND);
    assert_true(lease_follow(&held, LENGTH)); /* whatever was armed is to be armed anew */
    assert_int_equal(held.until, 0);
    lease_take(&held, 3 * LENGTH, 6 * SECOND); /* it had been asked for before */
    assert_int_equal(held.until, 0);
    lease_take(&held, LENGTH, 7 * SECOND);
    assert_int_equal(held.until, 7 * SECOND + LENGTH);
}

/*** any order of messages, any leaders, any lengths: never two hosts ***/

#define ROUNDS 2000
#define STEPS 400
#define LEADERS 2
#define MEMBERS 5

static const uint64_t ids[MEMBERS] = {1, 2, 3, 4, 5};

static uint64_t chance(uint64_t *seed, uint64_t n)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (*seed >> 33) % n;
}

/* A member that is no more than what it keeps for its lease.  Times are real. */
struct member {
    usec_t offset;    /* of its clock */
    uint64_t follows; /* which leader, in which term */
    uint64_t term;
    struct lease_ties ties;
    struct lease_held held;
    bool armed;      /* this process has told the watchdog */
    usec_t watchdog; /* bites then; 0: never */
    struct {
        bool on_its_way, granted;
        usec_t asked, length, arrives, there;
        uint64_t term;
    } answer;
    bool recorded; /* the log says that it is armed */
};

/* The first two lead by turns, and both may believe that they do: then the others are divided. */
struct world {
    uint64_t seed, term;
    usec_t now, length; /* the pool's, by the log */
    struct lease_book book[LEADERS];
    struct member m[MEMBERS];
};

static usec_t clock_of(const struct world *w, int member)
{
    return w->now + w->m[member].offset;
}

static void step_down(struct world *w, int leader)
{
    if (w->book[leader].term)
        lease_ties_led(&w->m[leader].ties, w->now);
    w->book[leader].term = 0;
}

/* A new term: a majority votes; one member has not heard of it, nor perhaps the other leader. */
static void elect(struct world *w)
{
    int leader = (int)chance(&w->seed, LEADERS), other = 1 - leader;
    int deaf = LEADERS + (int)chance(&w->seed, MEMBERS - LEADERS);

    w->term++;
    for (int i = 0; i < MEMBERS; i++) {
        if (i == deaf || (i == other && chance(&w->seed, 4)))
            continue;
        w->m[i].follows = (uint64_t)leader;
        w->m[i].term = w->term;
        if (i == other)
            step_down(w, other);
    }
    step_down(w, leader); /* of the term before */
    lease_begin(&w->book[leader], w->term, clock_of(w, leader), ids[leader],
                lease_ties_parted(&w->m[leader].ties, w->term) + w->m[leader].offset);
}

/* HA is disabled, and enabled with another length. */
static void change_length(struct world *w)
{
    w->length = w->length == LENGTH ? 3 * LENGTH : LENGTH;
    for (int i = 0; i < MEMBERS; i++)
        w->m[i].recorded = false;
}

static usec_t majority(const struct world *w, int leader)
{
    return lease_majority(&w->book[leader], ids[leader], MEMBERS, ids, clock_of(w, leader));
}

/* Asks for a lease; the answer comes later, or never. */
static void beat(struct world *w, int i)
{
    struct member *m = &w->m[i];
    int leader = (int)m->follows;
    struct lease_book *book = &w->book[leader];
    usec_t asked = w->now, there;
    struct lease_beat said = {0};

    w->now += (usec_t)chance(&w->seed, 20 * USEC_PER_MSEC);
    there = clock_of(w, leader);
    if (leader == i || book->term != m->term || m->answer.on_its_way || chance(&w->seed, 10) == 0)
        return;
    said.echo = lease_ties_echo(&m->ties, book->term);
    said.age = asked - lease_ties_parted(&m->ties, book->term);
    lease_heard(book, ids[i], &said, there);
    m->answer.on_its_way = chance(&w->seed, 10) != 0;
    m->answer.granted = lease_grant(book, ids[i], majority(w, leader), there);
    m->answer.asked = asked;
    m->answer.length = m->held.length;
    m->answer.there = there;
    m->answer.term = book->term;
    m->answer.arrives = w->now + (usec_t)chance(&w->seed, 2 * SECOND);
}

static void hear_answer(struct world *w, struct member *m)
{
    if (!m->answer.on_its_way || m->answer.arrives > w->now)
        return;
    m->answer.on_its_way = false;
    lease_ties_answered(&m->ties, m->answer.term, m->answer.there, w->now);
    if (m->answer.granted)
        lease_take(&m->held, m->answer.length, m->answer.asked);
}

/* What the daemon does at a tick, or does not get round to. */
static void live(struct world *w, int i)
{
    struct member *m = &w->m[i];
    usec_t follows = i < LEADERS && w->book[i].term ? majority(w, i) : 0;

    if (m->watchdog && m->watchdog <= w->now) {
        m->watchdog = 0; /* the machine ends, and boots */
        m->armed = m->answer.on_its_way = false;
        m->held = (struct lease_held){0};
        lease_ties_begin(&m->ties, w->now);
    }
    if (chance(&w->seed, 3) == 0)
        return;
    if (chance(&w->seed, 3) == 0 && lease_follow(&m->held, w->length))
        m->armed = false;
    hear_answer(w, m);
    if (follows)
        lease_take(&m->held, m->held.length, follows - m->offset);
    if (m->held.until > w->now) {
        m->watchdog = m->held.until;
        m->armed = true;
    }
    /* What it does not know of yet would be a conflict. */
    if (m->armed && m->held.length == w->length && chance(&w->seed, 4) == 0)
        m->recorded = true;
}

/* How many the present leader may call dead; each must have ended by then.  What one that was
 * deposed finds is refused: its writes come after the other's office. */
static size_t bury(struct world *w)
{
    size_t dead = 0;

    for (int leader = 0; leader < LEADERS; leader++) {
        if (w->book[leader].term != w->term)
            continue;
        for (int i = 0; i < MEMBERS; i++) {
            if (i == leader || !w->m[i].recorded ||
                !lease_has_run_out(&w->book[leader], ids[i],
                                   lease_inherited(&w->book[leader], MEMBERS, ids), w->length,
                                   clock_of(w, leader)))
                continue;
            assert_true(w->m[i].watchdog <= w->now);
            w->m[i].recorded = false;
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
        struct world w = {.seed = round, .now = 1000 * SECOND, .length = LENGTH};

        for (int i = 0; i < MEMBERS; i++) {
            w.m[i].offset = (usec_t)chance(&w.seed, 500 * SECOND);
            lease_ties_begin(&w.m[i].ties, w.now);
        }
        elect(&w);
        for (int step = 0; step < STEPS; step++) {
            w.now += (usec_t)chance(&w.seed, 500 * USEC_PER_MSEC);
            if (chance(&w.seed, 80) == 0)
                elect(&w);
            if (chance(&w.seed, 100) == 0)
                change_length(&w);
            for (int i = 0; i < MEMBERS; i++) {
                beat(&w, i);
                live(&w, i);
            }
            leases += w.m[2].watchdog > w.now;
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
        cmocka_unit_test(a_new_leader_counts_from_when_a_majority_last_followed_the_one_before),
        cmocka_unit_test(one_that_followed_longer_is_not_counted_where_there_are_others),
        cmocka_unit_test(
            an_age_beyond_all_clocks_is_as_old_as_can_be_and_a_late_one_counts_from_the_election),
        cmocka_unit_test(a_member_has_parted_when_the_last_answer_of_a_former_leader_came),
        cmocka_unit_test(a_heartbeat_carries_all_that_the_leader_needs),
        cmocka_unit_test(a_host_that_nothing_would_end_is_never_called_dead),
        cmocka_unit_test(there_is_room_for_so_many_members_and_no_more),
        cmocka_unit_test(a_lease_counts_from_when_it_was_asked_for),
        cmocka_unit_test(a_lease_of_another_length_than_the_pool_has_by_now_is_none),
        cmocka_unit_test(whoever_leads_a_lease_that_was_called_run_out_had_run_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
