/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <sys/stat.h>

#include "tests/unit/auth/lab.h"

#define HOUR (3600 * USEC_PER_SEC)

/* The answers that came, from whatever thread. */
struct answers {
    struct mutex lock;
    struct cond changed;
    int good, bad, unable, n;
    char code[64], param[64];
    ref_t session;
    usec_t at;
};

static int setup(void **state)
{
    *state = lab_new();
    return 0;
}

static int teardown(void **state)
{
    lab_free(*state);
    return 0;
}

static void answers_init(struct answers *a)
{
    *a = (struct answers){0};
    mutex_init(&a->lock);
    cond_init(&a->changed);
}

static void answers_release(struct answers *a)
{
    cond_release(&a->changed);
    mutex_release(&a->lock);
}

static void on_verdict(void *ctx, enum auth_verdict verdict)
{
    struct answers *a = ctx;

    MUTEX_GUARD(&a->lock);
    a->n++;
    a->good += verdict == AUTH_GOOD;
    a->bad += verdict == AUTH_BAD;
    a->unable += verdict == AUTH_UNABLE;
    a->at = clock_mono();
    cond_broadcast(&a->changed);
}

static void on_login(void *ctx, struct error *e, ref_t session)
{
    struct answers *a = ctx;

    MUTEX_GUARD(&a->lock);
    a->n++;
    snprintf(a->code, sizeof a->code, "%s", e ? e->code : "");
    snprintf(a->param, sizeof a->param, "%s", e && e->n_params ? e->params[0] : "");
    a->session = session;
    a->at = clock_mono();
    cond_broadcast(&a->changed);
}

static void await(struct answers *a, int n)
{
    usec_t deadline = clock_mono() + LAB_PATIENCE;
    bool in_time = true;

    mutex_lock(&a->lock);
    while (a->n < n && in_time)
        in_time = cond_wait_until(&a->changed, &a->lock, deadline);
    mutex_unlock(&a->lock);
    assert_true(in_time);
}

static int count(struct answers *a)
{
    MUTEX_GUARD(&a->lock);
    return a->n;
}

static void check(struct lab *l, struct answers *a, const char *user, const char *password)
{
    auth_check(l->xapid.auth, &(struct auth_attempt){user, password, "test", "192.0.2.1"},
               on_verdict, a);
}

/*** passwords ***/

static void good_and_bad_passwords_are_told_apart(void **state)
{
    struct lab *l = *state;
    struct answers a;

    answers_init(&a);
    lab_password(l, "root", "right");
    lab_auth(l, &(struct auth_tuning){.failure_delay = -1});
    check(l, &a, "root", "right");
    check(l, &a, "root", "wrong");
    check(l, &a, "nobody", "right");
    check(l, &a, "root", "");
    await(&a, 4);
    assert_int_equal(a.good, 1);
    assert_int_equal(a.bad, 3);
    answers_release(&a);
}

static void a_refusal_comes_after_the_delay(void **state)
{
    struct lab *l = *state;
    usec_t begun = clock_mono();
    struct answers a;

    answers_init(&a);
    lab_password(l, "root", "right");
    lab_auth(l, &(struct auth_tuning){.failure_delay = 300 * USEC_PER_MSEC});
    check(l, &a, "root", "wrong");
    await(&a, 1);
    assert_int_equal(a.bad, 1);
    assert_true(a.at - begun >= 300 * USEC_PER_MSEC);
    answers_release(&a);
}

static void delayed_refusals_hold_up_nobody_and_end_with_the_daemon(void **state)
{
    struct lab *l = *state;
    struct answers bad, good;

    answers_init(&bad);
    answers_init(&good);
    lab_password(l, "root", "right");
    lab_auth(l, &(struct auth_tuning){.checks = 1, .failure_delay = HOUR});
    for (int i = 0; i < 3; i++)
        check(l, &bad, "root", "wrong");
    check(l, &good, "root", "right"); /* behind them on the only thread */
    await(&good, 1);
    assert_int_equal(good.good, 1);
    assert_int_equal(count(&bad), 0);
    auth_free(l->xapid.auth);
    l->xapid.auth = NULL;
    assert_int_equal(count(&bad), 3);
    answers_release(&bad);
    answers_release(&good);
}

static usec_t fake_now;

static usec_t fake_clock(void)
{
    return __atomic_load_n(&fake_now, __ATOMIC_ACQUIRE);
}

static void a_good_password_is_recognised_for_a_minute_and_no_longer(void **state)
{
    struct lab *l = *state;
    struct answers a;

    answers_init(&a);
    __atomic_store_n(&fake_now, HOUR, __ATOMIC_RELEASE);
    lab_password(l, "root", "right");
    lab_auth(l, &(struct auth_tuning){.failure_delay = -1, .clock = fake_clock});
    check(l, &a, "root", "right");
    await(&a, 1);
    lab_password(l, "root", "other"); /* from now on only memory knows the old one */
    __atomic_store_n(&fake_now, HOUR + 60 * USEC_PER_SEC - 1, __ATOMIC_RELEASE);
    check(l, &a, "root", "right");
    assert_int_equal(a.good, 2); /* at once */
    check(l, &a, "root", "righ");
    await(&a, 3);
    assert_int_equal(a.bad, 1);
    __atomic_store_n(&fake_now, HOUR + 60 * USEC_PER_SEC, __ATOMIC_RELEASE);
    check(l, &a, "root", "right"); /* asking did not prolong it */
    await(&a, 4);
    assert_int_equal(a.bad, 2);
    answers_release(&a);
}

static void a_changed_password_is_forgotten_at_once(void **state)
{
    struct lab *l = *state;
    struct session_change_password_args args = {.old_pwd = "wrong", .new_pwd = "new"};
    struct call root;
    struct answers a;

    answers_init(&a);
    lab_password(l, "root", "old");
    lab_auth(l, &(struct auth_tuning){.failure_delay = -1});
    check(l, &a, "root", "old");
    await(&a, 1);
    root = lab_call(l, ROLE_LOCAL_ROOT, false, "root");
    assert_string_equal(session_change_password(&root, &args)->code, "CHANGE_PASSWORD_REJECTED");
    args.old_pwd = "old";
    args.new_pwd = "new\nroot:x";
    assert_string_equal(session_change_password(&root, &args)->code, "CHANGE_PASSWORD_REJECTED");
    args.new_pwd = "new";
    assert_null(session_change_password(&root, &args));
    lab_end(&root);
    check(l, &a, "root", "old");
    check(l, &a, "root", "new");
    await(&a, 3);
    assert_int_equal(a.good, 2);
    assert_int_equal(a.bad, 1);
    answers_release(&a);
}

static void one_client_has_only_so_many_refusals_under_way(void **state)
{
    struct lab *l = *state;
    struct answers a, other;
    char guess[32];

    answers_init(&a);
    answers_init(&other);
    lab_password(l, "root", "right");
    lab_auth(l, &(struct auth_tuning){.failure_delay = HOUR, .per_client = 3});
    for (int i = 0; i < 8; i++) {
        snprintf(guess, sizeof guess, "guess%d", i);
        check(l, &a, "root", guess);
    }
    check(l, &a, "root", "right"); /* not looked at: the client slowed itself */
    auth_check(l->xapid.auth, &(struct auth_attempt){"root", "right", "", "192.0.2.2"}, on_verdict,
               &other);
    await(&other, 1);
    assert_int_equal(other.good, 1);
    auth_free(l->xapid.auth);
    l->xapid.auth = NULL;
    assert_int_equal(a.n, 9);
    assert_int_equal(a.good, 0);
    assert_true(a.unable >= 6);
    answers_release(&a);
    answers_release(&other);
}

/*** PAM's helper, played by a script ***/

static void use_helper(struct lab *l, const char *script)
{
    char *path = arena_printf(&l->arena, "%s/helper", l->dir);
    FILE *f = fopen(path, "w");

    fprintf(f, "#!/bin/sh\n%s\n", script);
    fclose(f);
    chmod(path, 0700);
    l->xapid.options.password_file = NULL;
    l->xapid.options.pam_helper = path;
}

static void the_helper_reads_both_strings_and_answers_by_its_status(void **state)
{
    struct lab *l = *state;
    struct answers a;

    answers_init(&a);
    use_helper(l, "test \"$(tr '\\0' '|')\" = 'root|right|'");
    lab_auth(l, &(struct auth_tuning){.failure_delay = -1});
    check(l, &a, "root", "right");
    check(l, &a, "root", "wrong");
    check(l, &a, "daemon", "right"); /* only root may */
    await(&a, 3);
    assert_int_equal(a.good, 1);
    assert_int_equal(a.bad, 2);
    answers_release(&a);
}

static void the_same_question_asked_at_the_same_time_is_asked_once(void **state)
{
    struct lab *l = *state;
    const char *seen = arena_printf(&l->arena, "%s/seen", l->dir);
    const char *go = arena_printf(&l->arena, "%s/go", l->dir);
    struct stat st;
    struct answers a;
    FILE *f;

    answers_init(&a);
    use_helper(
        l, arena_printf(&l->arena, "echo >>%s; while ! test -e %s; do sleep 0.02; done", seen, go));
    lab_auth(l, &(struct auth_tuning){.failure_delay = -1});
    for (int i = 0; i < 20; i++)
        check(l, &a, "root", "right");
    f = fopen(go, "w");
    fclose(f);
    await(&a, 20);
    assert_int_equal(a.good, 20);
    assert_int_equal(stat(seen, &st), 0);
    assert_int_equal(st.st_size, 1);
    answers_release(&a);
}

static void a_helper_that_hangs_is_given_up(void **state)
{
    struct lab *l = *state;
    struct answers a;

    answers_init(&a);
    use_helper(l, "exec sleep 1000");
    lab_auth(l, &(struct auth_tuning){.failure_delay = -1, .check_timeout = 100 * USEC_PER_MSEC});
    check(l, &a, "root", "right");
    await(&a, 1);
    assert_int_equal(a.unable, 1);
    answers_release(&a);
}

static void the_end_of_the_daemon_does_not_wait_for_a_helper(void **state)
{
    struct lab *l = *state;
    usec_t begun;
    struct answers a;

    answers_init(&a);
    use_helper(l, "exec sleep 1000");
    lab_auth(l, &(struct auth_tuning){.failure_delay = HOUR, .check_timeout = HOUR});
    check(l, &a, "root", "right");
    check(l, &a, "root", "other");
    begun = clock_mono();
    auth_free(l->xapid.auth);
    l->xapid.auth = NULL;
    assert_true(clock_mono() - begun < LAB_PATIENCE);
    assert_int_equal(a.unable, 2);
    answers_release(&a);
}

/*** logins ***/

static void login(struct lab *l, struct answers *a, const char *user, const char *password,
                  bool unix_socket)
{
    auth_login(&l->xapid, user, password, "1.1", "tool", "192.0.2.1", unix_socket, on_login, a);
}

static const struct auth_session *find(struct lab *l, ref_t ref)
{
    return session_find(l->xapid.sessions, ref);
}

static void roots_login_gives_a_session_that_may_everything(void **state)
{
    struct lab *l = *state;
    const struct auth_session *s;
    struct answers a;

    answers_init(&a);
    lab_password(l, "root", "right");
    lab_auth(l, &(struct auth_tuning){.failure_delay = -1});
    login(l, &a, "root", "right", false);
    await(&a, 1);
    s = find(l, a.session);
    assert_non_null(s);
    assert_int_equal(s->role, ROLE_LOCAL_ROOT);
    assert_string_equal(s->originator, "tool");
    assert_string_equal(s->client, "192.0.2.1");
    session_unref(s);
    answers_release(&a);
}

static void a_wrong_password_gives_the_users_name_and_no_session(void **state)
{
    struct lab *l = *state;
    struct answers a;

    answers_init(&a);
    lab_password(l, "root", "right");
    lab_auth(l, &(struct auth_tuning){.failure_delay = -1});
    login(l, &a, "root", "wrong", false);
    await(&a, 1);
    assert_string_equal(a.code, "SESSION_AUTHENTICATION_FAILED");
    assert_string_equal(a.param, "root");
    assert_int_equal(session_count(l->xapid.sessions), 0);
    assert_non_null(strstr(lab_audit(l), "'root' 'DENIED' 'ERROR:SESSION_AUTHENTICATION_FAILED' "
                                         "'API' 'session.login_with_password' ()"));
    answers_release(&a);
}

static void the_local_socket_is_root_without_a_password(void **state)
{
    struct lab *l = *state;
    const struct auth_session *s;
    struct answers a;

    answers_init(&a);
    lab_auth(l, &(struct auth_tuning){.failure_delay = HOUR});
    login(l, &a, "", "", true);
    assert_int_equal(a.n, 1); /* at once */
    s = find(l, a.session);
    assert_int_equal(s->role, ROLE_LOCAL_ROOT);
    assert_string_equal(s->user, "root");
    session_unref(s);
    answers_release(&a);
}

static void another_user_gets_the_strongest_role_of_its_subject(void **state)
{
    struct lab *l = *state;
    const struct auth_session *s;
    struct answers a;
    ref_t subject;

    answers_init(&a);
    lab_password(l, "alice", "right");
    lab_auth(l, &(struct auth_tuning){.failure_delay = -1});
    login(l, &a, "alice", "right", false);
    await(&a, 1);
    assert_string_equal(a.code, "SESSION_AUTHORIZATION_FAILED");
    subject = lab_subject(l, "alice");
    assert_null(subject_add_to_roles(
        &l->call, &(struct subject_add_to_roles_args){subject, role_ref("vm-admin")}));
    assert_null(subject_remove_from_roles(
        &l->call, &(struct subject_remove_from_roles_args){subject, role_ref("pool-admin")}));
    login(l, &a, "alice", "right", false);
    await(&a, 2);
    assert_string_equal(a.code, "");
    s = find(l, a.session);
    assert_int_equal(s->role, ROLE_VM_ADMIN);
    assert_false(s->is_local_superuser);
    assert_true(ref_equal(s->subject, subject));
    session_unref(s);
    /* Who is no longer let in is out. */
    assert_null(subject_destroy(&l->call, &(struct subject_destroy_args){subject}));
    assert_null(find(l, a.session));
    answers_release(&a);
}

static void the_pools_secret_gives_a_session_of_the_pool(void **state)
{
    struct lab *l = *state;
    const struct auth_session *s;
    struct answers a;

    answers_init(&a);
    lab_auth(l, &(struct auth_tuning){.failure_delay = -1});
    assert_int_equal(strlen(auth_pool_secret(l->xapid.auth)), 64);
    auth_login_with_secret(&l->xapid, auth_pool_secret(l->xapid.auth), "", "192.0.2.1", on_login,
                           &a);
    await(&a, 1);
    s = find(l, a.session);
    assert_true(s->pool);
    session_unref(s);
    auth_login_with_secret(&l->xapid, "", "", "192.0.2.1", on_login, &a);
    await(&a, 2);
    assert_string_equal(a.code, "SESSION_AUTHENTICATION_FAILED");
    answers_release(&a);
}

static void the_secret_is_the_same_at_the_next_start_and_damage_is_refused(void **state)
{
    struct lab *l = *state;
    const char *path = arena_printf(&l->arena, "%s/pool-secret", l->dir);
    struct auth *auth;
    struct stat st;
    char first[80];

    lab_auth(l, &(struct auth_tuning){0});
    snprintf(first, sizeof first, "%s", auth_pool_secret(l->xapid.auth));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    auth_free(l->xapid.auth);
    l->xapid.auth = NULL;
    lab_auth(l, &(struct auth_tuning){0});
    assert_string_equal(auth_pool_secret(l->xapid.auth), first);
    assert_int_equal(truncate(path, 10), 0);
    assert_non_null(auth_new(&l->arena, &l->xapid, &auth));
}

static void sessions_of_a_subject_are_listed_once_and_ended_together(void **state)
{
    struct lab *l = *state;
    struct call one = lab_call(l, ROLE_VM_ADMIN, false, "alice");
    struct call two = lab_call(l, ROLE_VM_ADMIN, false, "alice");
    struct call root = lab_call(l, ROLE_LOCAL_ROOT, false, "alice");
    struct session_logout_subject_identifier_args args = {.subject_identifier = "alice"};
    struct strings ids;

    assert_null(session_get_all_subject_identifiers(&root, &ids));
    assert_int_equal(ids.n, 1);
    assert_string_equal(ids.v[0], "alice");
    assert_null(session_logout_subject_identifier(&two, &args));
    assert_null(find(l, one.session->ref));
    assert_int_equal(session_count(l->xapid.sessions), 2); /* the caller's and root's */
    assert_null(session_logout(&two));
    assert_int_equal(session_count(l->xapid.sessions), 1);
    lab_end(&one);
    lab_end(&two);
    lab_end(&root);
}

/*** counters ***/

static void failed_logins_are_counted_by_who_tried(void **state)
{
    struct lab *l = *state;
    struct auth_failures failures;
    struct answers a;
    const char *body;

    answers_init(&a);
    lab_password(l, "root", "right");
    lab_auth(l, &(struct auth_tuning){.failure_delay = -1});
    for (int i = 0; i < 3; i++)
        check(l, &a, "ro<ot", "wrong");
    auth_check(l->xapid.auth, &(struct auth_attempt){"root", "wrong", NULL, NULL}, on_verdict, &a);
    check(l, &a, "root", "right");
    await(&a, 5);
    auth_failures_take(l->xapid.auth, &l->arena, &failures);
    assert_int_equal(failures.total, 4);
    assert_int_equal(failures.unknown, 1);
    assert_int_equal(failures.n, 1);
    assert_int_equal(failures.v[0].number, 3);
    body = auth_failures_body(&l->arena, &failures);
    assert_memory_equal(
        body,
        "<body><total>4</total><known><ip>192.0.2.1</ip><originator>test</originator>"
        "<username>ro&lt;ot</username><number>3</number><date>",
        strlen("<body><total>4</total><known><ip>192.0.2.1</ip><originator>test"
               "</originator><username>ro&lt;ot</username><number>3</number><date>"));
    assert_non_null(strstr(body, "</known><unknown>1</unknown></body>"));
    auth_failures_take(l->xapid.auth, &l->arena, &failures);
    assert_int_equal(failures.total, 0);
    answers_release(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(good_and_bad_passwords_are_told_apart),
        TEST(a_refusal_comes_after_the_delay),
        TEST(delayed_refusals_hold_up_nobody_and_end_with_the_daemon),
        TEST(a_good_password_is_recognised_for_a_minute_and_no_longer),
        TEST(a_changed_password_is_forgotten_at_once),
        TEST(one_client_has_only_so_many_refusals_under_way),
        TEST(the_helper_reads_both_strings_and_answers_by_its_status),
        TEST(the_same_question_asked_at_the_same_time_is_asked_once),
        TEST(a_helper_that_hangs_is_given_up),
        TEST(the_end_of_the_daemon_does_not_wait_for_a_helper),
        TEST(roots_login_gives_a_session_that_may_everything),
        TEST(a_wrong_password_gives_the_users_name_and_no_session),
        TEST(the_local_socket_is_root_without_a_password),
        TEST(another_user_gets_the_strongest_role_of_its_subject),
        TEST(the_pools_secret_gives_a_session_of_the_pool),
        TEST(the_secret_is_the_same_at_the_next_start_and_damage_is_refused),
        TEST(sessions_of_a_subject_are_listed_once_and_ended_together),
        TEST(failed_logins_are_counted_by_who_tried),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
