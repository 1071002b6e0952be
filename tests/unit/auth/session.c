/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "xapid/auth/session.h"
#include "xapid/main/xapid.h"

struct fixture {
    struct xapid xapid;
    struct sessions *sessions;
    int ended;
    ref_t last_ended;
};

static void count_end(void *ctx, ref_t ref)
{
    struct fixture *f = ctx;

    f->ended++;
    f->last_ended = ref;
}

static int setup(void **state)
{
    static struct fixture f;

    f = (struct fixture){0};
    f.sessions = f.xapid.sessions = sessions_new(&f.xapid);
    sessions_on_end(f.sessions, count_end, &f);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    sessions_free(((struct fixture *)*state)->sessions);
    return 0;
}

static ref_t add(struct fixture *f, const char *user, const char *originator)
{
    return session_create(f->sessions, &(struct session_request){.role = ROLE_VM_ADMIN,
                                                                 .user = user,
                                                                 .originator = originator,
                                                                 .client = "192.0.2.1"});
}

static bool lives(struct fixture *f, ref_t ref)
{
    struct arena arena = {0};
    bool found = session_record(f->sessions, &arena, ref) != NULL;

    arena_release(&arena);
    return found;
}

/* What is done next is later, also to a clock of microseconds. */
static void let_a_microsecond_pass(void)
{
    usec_t now = clock_mono();

    while (clock_mono() == now)
        ;
}

static void the_501st_session_of_an_originator_ends_the_one_unused_for_longest(void **state)
{
    struct fixture *f = *state;
    ref_t first = add(f, "u0", "tool"), second = add(f, "u1", "tool");
    char user[32];

    let_a_microsecond_pass();
    session_unref(session_find(f->sessions, first)); /* now the second is the oldest */
    let_a_microsecond_pass();
    for (int i = 2; i < 500; i++) {
        snprintf(user, sizeof user, "u%d", i);
        add(f, user, "tool");
    }
    assert_int_equal(session_count(f->sessions), 500);
    assert_int_equal(f->ended, 0);
    add(f, "another", "tool");
    assert_int_equal(session_count(f->sessions), 500);
    assert_int_equal(f->ended, 1);
    assert_true(ref_equal(f->last_ended, second));
    assert_true(lives(f, first));
}

static void the_501st_session_of_a_user_ends_one_whatever_the_originators(void **state)
{
    struct fixture *f = *state;
    char originator[32];

    for (int i = 0; i < 501; i++) {
        snprintf(originator, sizeof originator, "o%d", i);
        add(f, "root", originator);
    }
    assert_int_equal(session_count(f->sessions), 500);
}

static void without_an_originator_there_are_400_at_most(void **state)
{
    struct fixture *f = *state;
    char user[32];

    for (int i = 0; i < 450; i++) {
        snprintf(user, sizeof user, "u%d", i);
        add(f, user, NULL);
    }
    assert_int_equal(session_count(f->sessions), 400);
    assert_int_equal(f->ended, 50);
}

static void user_and_originator_of_the_same_text_are_counted_apart(void **state)
{
    static const char same[] = "same";
    struct fixture *f = *state;
    char originator[32];

    for (int i = 0; i < 500; i++) {
        snprintf(originator, sizeof originator, "o%d", i);
        add(f, same, originator);
    }
    add(f, same, same); /* one pointer for both: the user's limit counts all the same */
    assert_int_equal(session_count(f->sessions), 500);
}

static void an_idle_session_is_collected_but_not_one_that_a_call_holds(void **state)
{
    struct fixture *f = *state;
    ref_t idle = add(f, "a", "x"), held = add(f, "b", "x");
    const struct auth_session *holder = session_find(f->sessions, held);

    sessions_collect(f->sessions); /* a day has not passed */
    assert_int_equal(f->ended, 0);
    sessions_end_idle(f->sessions, -1);
    assert_int_equal(f->ended, 1);
    assert_false(lives(f, idle));
    assert_true(lives(f, held));
    session_unref(holder);
    sessions_end_idle(f->sessions, -1);
    assert_false(lives(f, held));
}

static void a_session_that_ended_stays_valid_for_its_holder(void **state)
{
    struct fixture *f = *state;
    ref_t ref = add(f, "alice", "x");
    const struct auth_session *s = session_find(f->sessions, ref);

    assert_true(session_destroy(f->sessions, ref));
    assert_false(session_destroy(f->sessions, ref));
    assert_int_equal(f->ended, 1);
    assert_null(session_find(f->sessions, ref));
    assert_string_equal(s->user, "alice");
    session_unref(s);
}

static void the_record_shows_the_other_config_that_was_set(void **state)
{
    struct fixture *f = *state;
    ref_t ref = add(f, "alice", "x");
    struct strpair pair = {"mark", "1"};
    struct strmap map = {1, &pair};
    struct arena arena = {0};
    const struct session *row;

    assert_true(session_set_other_config(f->sessions, ref, &map));
    row = session_record(f->sessions, &arena, ref);
    assert_int_equal(row->other_config.n, 1);
    assert_string_equal(row->other_config.v[0].value, "1");
    assert_string_equal(row->auth_user_sid, "alice");
    assert_false(session_set_other_config(f->sessions, ref_new(), &map));
    arena_release(&arena);
}

/*** several members ***/

struct told {
    int created, ended, doubted;
    uint64_t seen;
    ref_t last;
    usec_t contact;
};

static void on_created(void *ctx, const struct session_copy *copy)
{
    struct told *t = ctx;

    t->created++;
    t->last = copy->public.ref;
}

static void on_ended(void *ctx, ref_t ref)
{
    struct told *t = ctx;

    t->ended++;
    t->last = ref;
}

static struct error *bring_nothing(void *ctx, struct arena *arena, ref_t ref)
{
    (void)ctx, (void)arena, (void)ref;
    return OK;
}

static void on_doubted(void *ctx, ref_t ref)
{
    struct told *t = ctx;

    t->doubted++;
    t->last = ref;
}

static usec_t contact(void *ctx)
{
    return ((const struct told *)ctx)->contact;
}

static struct told *join(struct fixture *f)
{
    static struct told told;
    const struct session_remote remote = {&told,         on_created, on_ended,
                                          bring_nothing, on_doubted, contact};

    told = (struct told){.contact = 1};
    sessions_set_remote(f->sessions, &remote);
    return &told;
}

static struct session_copy copy_of(struct fixture *f, struct arena *arena, ref_t ref, bool take)
{
    struct session_copy copy;
    bool ended;

    assert_true(session_copy_out(f->sessions, arena, ref, take, &copy, &ended));
    return copy;
}

/* As another member would tell of it. */
static ref_t adopt(struct fixture *f, const char *user)
{
    struct session_copy copy = {.public = {.ref = ref_new(),
                                           .role = ROLE_VM_ADMIN,
                                           .user = user,
                                           .originator = "far",
                                           .client = "192.0.2.9"},
                                .host = {5, 6},
                                .seen = 40};

    session_adopt(f->sessions, &copy);
    return copy.public.ref;
}

static void only_what_was_announced_is_told_to_have_ended(void **state)
{
    struct fixture *f = *state;
    ref_t quiet = add(f, "a", "x"), told = add(f, "b", "x");
    struct told *t = join(f);

    session_announce(f->sessions, told);
    assert_int_equal(t->created, 1);
    assert_true(ref_equal(t->last, told));
    assert_true(session_destroy(f->sessions, quiet));
    assert_int_equal(t->ended, 0);
    assert_true(session_destroy(f->sessions, told));
    assert_int_equal(t->ended, 1);
}

static void a_session_of_another_member_is_elsewhere_until_it_is_settled(void **state)
{
    struct fixture *f = *state;
    struct arena arena = {0};
    uint64_t times;
    ref_t ref;

    join(f);
    ref = adopt(f, "alice");
    assert_true(session_is_elsewhere(f->sessions, ref));
    assert_true(session_taken(f->sessions, ref, &times));
    session_settle(f->sessions, ref, times, 55, NULL);
    assert_false(session_is_elsewhere(f->sessions, ref));
    assert_int_equal(copy_of(f, &arena, ref, false).seen, 55);
    assert_int_equal(session_record(f->sessions, &arena, ref)->this_host.lo, 6);
    arena_release(&arena);
}

/* Waits until the session was not used for longer than others wait before they take it. */
static void pause_for_longer_than_the_grace(void)
{
    clock_sleep(SESSION_GRACE + USEC_PER_MSEC);
}

/* Used and asked for at once; a machine that was busy with others in between gets another try. */
static bool goes_on_here(struct fixture *f, ref_t ref)
{
    for (int i = 0; i < 10; i++) {
        session_unref(session_find(f->sessions, ref));
        if (!session_is_elsewhere(f->sessions, ref))
            return true;
    }
    return false;
}

/* Such a member serves those who never were elsewhere, and those who go on without a pause. */
static void a_member_that_is_cut_off_does_not_trust_that_a_roaming_session_is_still_its_own(
    void **state)
{
    struct fixture *f = *state;
    struct told *t = join(f);
    ref_t own = add(f, "alice", "x"), guest = adopt(f, "bob");
    uint64_t times;

    assert_true(session_taken(f->sessions, guest, &times));
    session_settle(f->sessions, guest, times, 55, NULL);
    assert_false(session_is_elsewhere(f->sessions, guest));
    pause_for_longer_than_the_grace();
    t->contact = 0;
    assert_true(session_is_elsewhere(f->sessions, guest));
    assert_false(session_is_elsewhere(f->sessions, own));
    /* Until it was brought again, which clears the doubt. */
    t->contact = 1;
    assert_true(session_is_elsewhere(f->sessions, guest));
    session_settle(f->sessions, guest, times, 55, NULL);
    assert_false(session_is_elsewhere(f->sessions, guest));
}

/* One that was stopped for a while and goes on may have been asked for a session meanwhile, in
 * vain. */
static void a_member_that_was_away_does_not_trust_that_a_session_is_still_its_own(void **state)
{
    struct fixture *f = *state;
    struct told *t = join(f);
    ref_t lone = add(f, "alice", "x"), own = add(f, "carol", "y"), guest = adopt(f, "bob");
    uint64_t times;

    session_announce(f->sessions, own);
    assert_true(session_taken(f->sessions, guest, &times));
    session_settle(f->sessions, guest, times, 55, NULL);
    assert_false(session_is_elsewhere(f->sessions, guest));
    assert_false(session_is_elsewhere(f->sessions, own));
    pause_for_longer_than_the_grace();
    t->contact = clock_mono();
    assert_true(session_is_elsewhere(f->sessions, guest));
    assert_true(session_is_elsewhere(f->sessions, own));
    assert_false(session_is_elsewhere(f->sessions, lone));
    session_settle(f->sessions, guest, times, 55, NULL);
    assert_false(session_is_elsewhere(f->sessions, guest));
}

static void one_in_doubt_goes_on_while_it_is_used_without_a_pause(void **state)
{
    struct fixture *f = *state;
    struct told *t = join(f);
    ref_t guest = adopt(f, "bob");
    uint64_t times;

    assert_true(session_taken(f->sessions, guest, &times));
    session_settle(f->sessions, guest, times, 55, NULL);
    sessions_doubt(f->sessions);
    assert_true(goes_on_here(f, guest));
    t->contact = 0;
    assert_true(goes_on_here(f, guest));
    assert_true(t->doubted > 0 && ref_equal(t->last, guest));
    pause_for_longer_than_the_grace();
    assert_true(session_is_elsewhere(f->sessions, guest));
}

static void doubt_does_not_last_however_often_it_is_used(void **state)
{
    struct fixture *f = *state;
    ref_t guest;
    usec_t begin;
    uint64_t times;

    join(f);
    guest = adopt(f, "bob");
    assert_true(session_taken(f->sessions, guest, &times));
    session_settle(f->sessions, guest, times, 55, NULL);
    begin = clock_mono();
    sessions_doubt(f->sessions);
    while (goes_on_here(f, guest))
        assert_true(clock_mono() - begin < 2 * SESSION_DOUBT_FOR);
}

/* Else two members that ask each other would both believe to have it. */
static void one_that_was_taken_meanwhile_stays_elsewhere(void **state)
{
    struct fixture *f = *state;
    struct arena arena = {0};
    uint64_t times;
    ref_t ref;

    join(f);
    ref = adopt(f, "alice");
    assert_true(session_taken(f->sessions, ref, &times));
    copy_of(f, &arena, ref, true);
    session_settle(f->sessions, ref, times, 55, NULL);
    assert_true(session_is_elsewhere(f->sessions, ref));
    arena_release(&arena);
}

static void what_is_taken_is_given_with_all_it_has_seen(void **state)
{
    struct fixture *f = *state;
    struct strpair pair = {"mark", "1"};
    struct strmap map = {1, &pair};
    struct arena arena = {0};
    const struct auth_session *s;
    struct session_copy copy;
    ref_t ref = add(f, "alice", "x");

    join(f);
    s = session_find(f->sessions, ref);
    session_saw(s, 30);
    session_saw(s, 20);
    session_unref(s);
    assert_true(session_set_other_config(f->sessions, ref, &map));
    assert_false(session_is_elsewhere(f->sessions, ref));
    copy = copy_of(f, &arena, ref, true);
    assert_true(copy.here);
    assert_int_equal(copy.seen, 30);
    assert_string_equal(copy.other_config.v[0].value, "1");
    assert_true(session_is_elsewhere(f->sessions, ref));
    assert_false(copy_of(f, &arena, ref, true).here);
    arena_release(&arena);
}

static void a_late_announcement_does_not_bring_back_what_has_ended(void **state)
{
    struct fixture *f = *state;
    struct arena arena = {0};
    ref_t ref = add(f, "alice", "x");
    struct session_copy copy, again;
    bool ended;

    join(f);
    copy = copy_of(f, &arena, ref, false);
    session_end_here(f->sessions, ref);
    assert_int_equal(f->ended, 1);
    session_adopt(f->sessions, &copy);
    assert_false(lives(f, ref));
    assert_false(session_is_elsewhere(f->sessions, ref));
    assert_false(session_copy_out(f->sessions, &arena, ref, true, &again, &ended));
    assert_true(ended);
    arena_release(&arena);
}

static void what_nobody_knows_is_not_asked_for_again_at_once(void **state)
{
    struct fixture *f = *state;
    ref_t ref = ref_new();

    assert_false(session_is_elsewhere(f->sessions, ref)); /* a host that is alone asks nobody */
    join(f);
    assert_true(session_is_elsewhere(f->sessions, ref));
    session_note_unknown(f->sessions, ref);
    assert_false(session_is_elsewhere(f->sessions, ref));
}

/* A copy that must make room is still in use elsewhere. */
static void a_copy_that_goes_ends_no_session_elsewhere(void **state)
{
    struct fixture *f = *state;
    struct told *t = join(f);
    ref_t first = adopt(f, "bob");
    char originator[32];

    for (int i = 0; i < 500; i++) {
        snprintf(originator, sizeof originator, "o%d", i);
        session_announce(f->sessions, add(f, "bob", originator));
    }
    assert_false(lives(f, first));
    assert_int_equal(t->ended, 0);
    assert_true(session_is_elsewhere(f->sessions, first));
    add(f, "bob", "one more"); /* now one that is here goes */
    assert_int_equal(t->ended, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(the_501st_session_of_an_originator_ends_the_one_unused_for_longest),
        TEST(the_501st_session_of_a_user_ends_one_whatever_the_originators),
        TEST(without_an_originator_there_are_400_at_most),
        TEST(user_and_originator_of_the_same_text_are_counted_apart),
        TEST(an_idle_session_is_collected_but_not_one_that_a_call_holds),
        TEST(a_session_that_ended_stays_valid_for_its_holder),
        TEST(the_record_shows_the_other_config_that_was_set),
        TEST(only_what_was_announced_is_told_to_have_ended),
        TEST(a_session_of_another_member_is_elsewhere_until_it_is_settled),
        TEST(a_member_that_is_cut_off_does_not_trust_that_a_roaming_session_is_still_its_own),
        TEST(a_member_that_was_away_does_not_trust_that_a_session_is_still_its_own),
        TEST(one_in_doubt_goes_on_while_it_is_used_without_a_pause),
        TEST(doubt_does_not_last_however_often_it_is_used),
        TEST(one_that_was_taken_meanwhile_stays_elsewhere),
        TEST(what_is_taken_is_given_with_all_it_has_seen),
        TEST(a_late_announcement_does_not_bring_back_what_has_ended),
        TEST(what_nobody_knows_is_not_asked_for_again_at_once),
        TEST(a_copy_that_goes_ends_no_session_elsewhere),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
