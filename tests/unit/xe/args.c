/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* args.c -- the command line of xe. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "xe-cli/args.h"

static enum args_result parse(struct arena *arena, struct xe_command_line *out, const char *extra,
                              const char *rc, const char *const *words)
{
    const char *why;
    int n = 0;

    while (words[n])
        n++;
    return args_parse(arena, n, words, extra, rc, out, &why);
}
#define PARSE(out, extra, rc, ...)                                                                 \
    parse(*state, (out), (extra), (rc), (const char *const[]){"xe", __VA_ARGS__, NULL})

static int setup(void **state)
{
    static struct arena arena;

    arena = (struct arena){0};
    *state = &arena;
    return 0;
}

static int teardown(void **state)
{
    arena_release(*state);
    return 0;
}

static void switches_may_stand_anywhere(void **state)
{
    struct xe_command_line l;

    assert_int_equal(PARSE(&l, NULL, NULL, "-s", "xen1", "vm-list", "-u", "root", "--nossl",
                           "name-label=a=b", "-pw", "x y", "-p", "8443"),
                     ARGS_OK);
    assert_string_equal(l.command, "vm-list");
    assert_string_equal(l.options.server, "xen1");
    assert_string_equal(l.options.user, "root");
    assert_string_equal(l.options.password, "x y");
    assert_int_equal(l.options.port, 8443);
    assert_true(l.options.plain);
    assert_int_equal(l.params.n, 1);
    assert_string_equal(args_get(&l.params, "name-label"), "a=b");
}

static void double_dash_words_are_true(void **state)
{
    struct xe_command_line l;

    assert_int_equal(PARSE(&l, NULL, NULL, "vm-shutdown", "--force", "--multiple"), ARGS_OK);
    assert_string_equal(args_get(&l.params, "force"), "true");
    assert_string_equal(args_get(&l.params, "multiple"), "true");
    assert_null(args_get(&l.params, "minimal"));
}

static void the_line_beats_the_environment_beats_the_file(void **state)
{
    struct xe_command_line l;

    assert_int_equal(PARSE(&l, "server=env,username=env,force=true",
                           "server=rc\nusername=rc\n# server=no\npassword = secret \n", "vm-list",
                           "-s", "line"),
                     ARGS_OK);
    assert_string_equal(l.options.server, "line");
    assert_string_equal(l.options.user, "env");
    assert_string_equal(l.options.password, "secret");
    assert_string_equal(args_get(&l.params, "force"), "true");
}

static void a_backslash_keeps_a_comma_in_the_environment(void **state)
{
    struct xe_command_line l;

    assert_int_equal(PARSE(&l, "password=a\\,b,,port=80", NULL, "vm-list"), ARGS_OK);
    assert_string_equal(l.options.password, "a,b");
    assert_int_equal(l.options.port, 80);
}

static void nonsense_is_told_apart(void **state)
{
    struct xe_command_line l;

    assert_int_equal(parse(*state, &l, NULL, NULL, (const char *const[]){"xe", NULL}), ARGS_USAGE);
    assert_int_equal(PARSE(&l, NULL, NULL, "vm-list", "--help"), ARGS_USAGE);
    assert_int_equal(PARSE(&l, NULL, NULL, "vm-list", "-p", "99999"), ARGS_USAGE);
    assert_int_equal(PARSE(&l, NULL, NULL, "vm-list", "-z", "1"), ARGS_SYNTAX);
    assert_int_equal(PARSE(&l, NULL, NULL, "name-label=x"), ARGS_SYNTAX);
    assert_int_equal(PARSE(&l, NULL, NULL, "vm-list", "-s"), ARGS_SYNTAX);
}

static void map_parameters_take_a_colon_or_a_dash(void **state)
{
    struct xe_command_line l;
    struct xe_params map;

    PARSE(&l, NULL, NULL, "pbd-create", "device-config:device=/dev/sdb", "device-config-path=x",
          "device-config=no", "other=1");
    map = args_map(*state, &l.params, "device-config");
    assert_int_equal(map.n, 2);
    assert_string_equal(map.v[0].key, "device");
    assert_string_equal(map.v[1].key, "path");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(switches_may_stand_anywhere, setup, teardown),
        cmocka_unit_test_setup_teardown(double_dash_words_are_true, setup, teardown),
        cmocka_unit_test_setup_teardown(the_line_beats_the_environment_beats_the_file, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_backslash_keeps_a_comma_in_the_environment, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(nonsense_is_told_apart, setup, teardown),
        cmocka_unit_test_setup_teardown(map_parameters_take_a_colon_or_a_dash, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
