/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "xapid/auth/password.h"

struct fixture {
    struct arena arena;
    char dir[64], path[96];
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    snprintf(f->dir, sizeof f->dir, "/tmp/xapid-password-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->path, sizeof f->path, "%s/passwords", f->dir);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    unlink(f->path);
    assert_int_equal(rmdir(f->dir), 0); /* nothing else was left there */
    arena_release(&f->arena);
    free(f);
    return 0;
}

static bool is_good(struct fixture *f, const char *user, const char *password)
{
    bool good;

    assert_null(password_file_check(&f->arena, f->path, user, password, &good));
    return good;
}

static void put(struct fixture *f, const char *text)
{
    FILE *file = fopen(f->path, "w");

    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void a_password_that_was_set_is_good_and_no_other(void **state)
{
    struct fixture *f = *state;

    assert_null(password_file_set(&f->arena, f->path, "root", "geheim: 'ö'"));
    assert_true(is_good(f, "root", "geheim: 'ö'"));
    assert_false(is_good(f, "root", "geheim"));
    assert_false(is_good(f, "root", ""));
    assert_false(is_good(f, "roo", "geheim: 'ö'"));
}

static void changing_one_user_leaves_the_others_and_comments_alone(void **state)
{
    struct fixture *f = *state;
    char text[2048];
    FILE *file;
    struct stat st;
    size_t n;

    put(f, "# people\n\n");
    assert_null(password_file_set(&f->arena, f->path, "alice", "old-one"));
    assert_null(password_file_set(&f->arena, f->path, "bob", "b1"));
    assert_null(password_file_set(&f->arena, f->path, "alice", "new-one"));
    assert_true(is_good(f, "alice", "new-one"));
    assert_false(is_good(f, "alice", "old-one"));
    assert_true(is_good(f, "bob", "b1"));
    file = fopen(f->path, "r");
    n = fread(text, 1, sizeof text - 1, file);
    text[n] = '\0';
    fclose(file);
    assert_memory_equal(text, "# people\n\nalice:$scrypt$", 24);
    assert_null(strstr(text, "new-one"));
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void a_last_line_without_an_end_is_not_run_into(void **state)
{
    struct fixture *f = *state;
    const char *hash;

    assert_null(password_hash(&f->arena, "x", &hash));
    put(f, arena_printf(&f->arena, "a:%s", hash));
    assert_null(password_file_set(&f->arena, f->path, "b", "y"));
    assert_true(is_good(f, "a", "x"));
    assert_true(is_good(f, "b", "y"));
}

static void names_that_would_make_lines_of_their_own_are_refused(void **state)
{
    struct fixture *f = *state;

    assert_non_null(password_file_set(&f->arena, f->path, "a:b", "x"));
    assert_non_null(password_file_set(&f->arena, f->path, "a\nroot", "x"));
    assert_non_null(password_file_set(&f->arena, f->path, "#a", "x"));
    assert_non_null(password_file_set(&f->arena, f->path, "", "x"));
    assert_non_null(password_file_set(&f->arena, f->path, "a", ""));
    assert_int_equal(access(f->path, F_OK), -1);
}

static void damaged_hashes_match_nothing(void **state)
{
    struct fixture *f = *state;
    const char *good;
    char *bad;

    assert_null(password_hash(&f->arena, "x", &good));
    assert_true(password_matches(good, "x"));
    bad = arena_strdup(&f->arena, good);
    bad[strlen(bad) - 1] = bad[strlen(bad) - 1] == '0' ? '1' : '0';
    assert_false(password_matches(bad, "x"));
    bad[strlen(bad) - 1] = '\0';
    assert_false(password_matches(bad, "x"));
    assert_false(password_matches("", "x"));
    assert_false(password_matches("$scrypt$16384$8$1$", "x"));
    assert_false(password_matches(arena_printf(&f->arena, "%s0", good), "x"));
    /* 16 GiB */
    assert_false(
        password_matches("$scrypt$16777216$8$1$00112233445566778899aabbccddeeff$"
                         "0011223344556677889900112233445566778899001122334455667788990011",
                         "x"));
}

static void a_missing_file_is_an_error_and_not_a_wrong_password(void **state)
{
    struct fixture *f = *state;
    bool good = true;
    struct error *e = password_file_check(&f->arena, f->path, "root", "x", &good);

    assert_non_null(e);
    assert_false(good);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(a_password_that_was_set_is_good_and_no_other),
        TEST(changing_one_user_leaves_the_others_and_comments_alone),
        TEST(a_last_line_without_an_end_is_not_run_into),
        TEST(names_that_would_make_lines_of_their_own_are_refused),
        TEST(damaged_hashes_match_nothing),
        TEST(a_missing_file_is_an_error_and_not_a_wrong_password),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
