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

static void the_501st_session_of_an_originator_ends_the_one_unused_for_longest(void **state)
{
    struct fixture *f = *state;
    ref_t first = add(f, "u0", "tool"), second = add(f, "u1", "tool");
    char user[32];

    session_unref(session_find(f->sessions, first)); /* now the second is the oldest */
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
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
