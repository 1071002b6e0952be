/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "api_types.h"
#include "libxapi/codec/codec.h"
#include "tests/unit/value/types.h"

static int arena_setup(void **state)
{
    *state = calloc(1, sizeof(struct arena));
    return *state ? 0 : -1;
}

static int arena_teardown(void **state)
{
    arena_release(*state);
    free(*state);
    return 0;
}

#define TEXT(t) (&(struct wire){.kind = WIRE_STRING, .text = (t)})
#define INT(v) (&(struct wire){.kind = WIRE_INT, .i = (v)})
#define DOUBLE(v) (&(struct wire){.kind = WIRE_DOUBLE, .d = (v)})
#define BOOL(v) (&(struct wire){.kind = WIRE_BOOL, .i = (v)})
#define NIL (&(struct wire){.kind = WIRE_NIL})

static void expect_ok(struct error *e)
{
    if (e)
        fail_msg("%s(%s)", e->code, e->n_params ? e->params[e->n_params - 1] : "");
}

static void expect_error(struct error *e, const char *code)
{
    assert_non_null(e);
    assert_string_equal(e->code, code);
}

static void numbers_and_booleans_are_also_read_from_text(void **state)
{
    struct arena *a = *state;
    int64_t i;
    double d;
    bool b;

    expect_ok(wire_to_value(a, &t_int, TEXT("-12"), "p", &i));
    assert_int_equal(i, -12);
    expect_ok(wire_to_value(a, &t_int, DOUBLE(3), "p", &i));
    assert_int_equal(i, 3);
    expect_ok(wire_to_value(a, &t_float, TEXT("1.5"), "p", &d));
    assert_true(d == 1.5);
    expect_ok(wire_to_value(a, &t_float, INT(2), "p", &d));
    assert_true(d == 2);
    expect_ok(wire_to_value(a, &t_bool, TEXT("true"), "p", &b));
    assert_true(b);
    expect_ok(wire_to_value(a, &t_bool, BOOL(0), "p", &b));
    assert_false(b);
    expect_error(wire_to_value(a, &t_int, TEXT("twelve"), "p", &i), "INTERNAL_ERROR");
    expect_error(wire_to_value(a, &t_int, DOUBLE(1.5), "p", &i), "INTERNAL_ERROR");
    expect_error(wire_to_value(a, &t_int, DOUBLE(1e300), "p", &i), "INTERNAL_ERROR");
    expect_error(wire_to_value(a, &t_bool, TEXT("yes"), "p", &b), "INTERNAL_ERROR");
}

static void a_number_where_text_is_wanted_becomes_its_text(void **state)
{
    const char *s;

    expect_ok(wire_to_value(*state, &t_string, INT(42), "p", &s));
    assert_string_equal(s, "42");
    expect_ok(wire_to_value(*state, &t_string, BOOL(1), "p", &s));
    assert_string_equal(s, "true");
    expect_error(wire_to_value(*state, &t_string, NIL, "p", &s), "INTERNAL_ERROR");
}

static void a_reference_that_cannot_be_one_names_its_class_and_text(void **state)
{
    struct error *e;
    ref_t r;

    e = wire_to_value(*state, &t_ref, TEXT("nonsense"), "p", &r);
    expect_error(e, "HANDLE_INVALID");
    assert_string_equal(e->params[0], "VM");
    assert_string_equal(e->params[1], "nonsense");
    expect_ok(wire_to_value(*state, &t_ref, TEXT("OpaqueRef:NULL"), "p", &r));
    assert_true(ref_is_null(r));
    expect_ok(wire_to_value(*state, &t_ref, NIL, "p", &r));
    assert_true(ref_is_null(r));
}

static void a_bad_enum_or_date_is_an_invalid_value(void **state)
{
    struct error *e;
    usec_t date;
    int colour;

    e = wire_to_value(*state, &t_enum, TEXT("mauve"), "paint", &colour);
    expect_error(e, "INVALID_VALUE");
    assert_string_equal(e->params[0], "paint");
    assert_string_equal(e->params[1], "mauve");
    expect_ok(wire_to_value(*state, &t_enum, TEXT("green"), "paint", &colour));
    assert_int_equal(colour, 1);
    colour = 0;
    expect_ok(wire_to_value(*state, &t_enum, TEXT("Green"), "paint", &colour));
    assert_int_equal(colour, 1);
    expect_error(wire_to_value(*state, &t_date, TEXT("yesterday"), "p", &date), "INVALID_VALUE");
    expect_ok(wire_to_value(*state, &t_date, TEXT("19700101T00:00:01Z"), "p", &date));
    assert_true(date == USEC_PER_SEC);
}

static void maps_are_read_and_a_key_given_twice_is_an_error(void **state)
{
    struct wire members[] = {{.kind = WIRE_STRING, .name = "a", .text = "1"},
                             {.kind = WIRE_STRING, .name = "b", .text = "2"}};
    struct wire map = {.kind = WIRE_STRUCT, .n = 2, .v = members};
    struct strmap out;
    struct error *e;

    expect_ok(wire_to_value(*state, &t_strmap, &map, "p", &out));
    assert_string_equal(strmap_get(&out, "b"), "2");
    members[1].name = "a";
    e = wire_to_value(*state, &t_strmap, &map, "p", &out);
    expect_error(e, "MAP_DUPLICATE_KEY");
    assert_string_equal(e->params[3], "a");
    expect_error(wire_to_value(*state, &t_strmap, TEXT(""), "p", &out), "INTERNAL_ERROR");
}

static void a_key_given_twice_is_found_among_many(void **state)
{
    struct wire members[100] = {0};
    struct wire map = {.kind = WIRE_STRUCT, .n = 100, .v = members};
    struct strmap out;

    for (int i = 0; i < 100; i++) {
        members[i].kind = WIRE_STRING;
        members[i].text = "";
        members[i].name = arena_printf(*state, "%d", i);
    }
    expect_ok(wire_to_value(*state, &t_strmap, &map, "p", &out));
    assert_int_equal(out.n, 100);
    members[99].name = "17";
    expect_error(wire_to_value(*state, &t_strmap, &map, "p", &out), "MAP_DUPLICATE_KEY");
}

static void sets_are_read_and_an_error_inside_is_returned(void **state)
{
    struct wire elements[] = {{.kind = WIRE_STRING, .text = "1"}, {.kind = WIRE_INT, .i = 2}};
    struct wire array = {.kind = WIRE_ARRAY, .n = 2, .v = elements};
    struct ints out;

    expect_ok(wire_to_value(*state, &t_ints, &array, "p", &out));
    assert_int_equal(out.n, 2);
    assert_int_equal(out.v[1], 2);
    elements[0].text = "x";
    expect_error(wire_to_value(*state, &t_ints, &array, "p", &out), "INTERNAL_ERROR");
}

static void a_record_takes_defaults_and_ignores_what_it_does_not_know(void **state)
{
    struct wire members[] = {{.kind = WIRE_STRING, .name = "value", .text = "pw"},
                             {.kind = WIRE_STRING, .name = "colour", .text = "red"}};
    struct wire record = {.kind = WIRE_STRUCT, .n = 2, .v = members};
    struct secret secret;

    expect_ok(wire_to_record(*state, api_class_by_name("secret"), &record, &secret));
    assert_string_equal(secret.value, "pw");
    assert_string_equal(secret.uuid, "");
    assert_int_equal(secret.other_config.n, 0);
    assert_int_equal(secret.row_class, api_class_by_name("secret")->id);
}

static void a_record_without_a_field_it_must_have_is_an_error_but_not_in_a_reply(void **state)
{
    struct wire record = {.kind = WIRE_STRUCT};
    const struct class_desc *class = api_class_by_name("secret");
    const struct secret *out;
    struct secret secret;
    struct error *e;

    e = wire_to_record(*state, class, &record, &secret);
    expect_error(e, "INTERNAL_ERROR");
    assert_non_null(strstr(e->params[0], "value"));
    expect_ok(wire_to_result(*state, class->record_type, &record, &out));
    assert_string_equal(out->value, "");
    expect_error(wire_to_record(*state, class, TEXT("x"), &secret), "INTERNAL_ERROR");
}

static void nothing_and_absent_options_are_read(void **state)
{
    const char *const *option;

    expect_ok(wire_to_value(*state, &t_void, TEXT(""), "p", NULL));
    expect_ok(wire_to_value(*state, &t_option, NIL, "p", &option));
    assert_null(option);
    expect_ok(wire_to_value(*state, &t_option, TEXT("x"), "p", &option));
    assert_string_equal(*option, "x");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, arena_setup, arena_teardown)
    const struct CMUnitTest tests[] = {
        TEST(numbers_and_booleans_are_also_read_from_text),
        TEST(a_number_where_text_is_wanted_becomes_its_text),
        TEST(a_reference_that_cannot_be_one_names_its_class_and_text),
        TEST(a_bad_enum_or_date_is_an_invalid_value),
        TEST(maps_are_read_and_a_key_given_twice_is_an_error),
        TEST(a_key_given_twice_is_found_among_many),
        TEST(sets_are_read_and_an_error_inside_is_returned),
        TEST(a_record_takes_defaults_and_ignores_what_it_does_not_know),
        TEST(a_record_without_a_field_it_must_have_is_an_error_but_not_in_a_reply),
        TEST(nothing_and_absent_options_are_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
