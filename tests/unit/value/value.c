/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "api_types.h"
#include "libxapi/value/value.h"
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

static const struct type *record_type_of(const char *class)
{
    const struct class_desc *c = api_class_by_name(class);

    assert_non_null(c);
    return c->record_type;
}

/* A record with every shape that the schema's records have. */
static struct vm *some_vm(struct arena *arena)
{
    struct vm *vm = arena_new(arena, struct vm);
    const struct class_desc *class = api_class_by_name("VM");

    for (size_t i = 0; i < class->n_fields; i++) {
        const struct field_desc *f = &api_fields[class->first_field + i];

        if (field_is_stored(f))
            value_empty(f->type, (char *)vm + f->offset);
    }
    vm->row_class = class->id;
    vm->ref = (ref_t){1, 2};
    vm->name_label = "web";
    vm->power_state = VM_RUNNING;
    vm->memory_static_max = 1LL << 40;
    vm->affinity = (ref_t){3, 4};
    vm->other_config.v =
        arena_memdup(arena, &(struct strpair){"folder", "/a"}, sizeof(struct strpair));
    vm->other_config.n = 1;
    return vm;
}

static void the_empty_value_of_each_type_is_as_documented(void **state)
{
    const char *s = NULL;
    struct set set = {3, &set};
    ref_t r = {1, 1};

    (void)state;
    value_empty(&t_string, &s);
    assert_string_equal(s, "");
    value_empty(&t_strings, &set);
    assert_int_equal(set.n, 0);
    value_empty(&t_ref, &r);
    assert_true(ref_is_null(r));
}

static void a_copy_is_equal_and_shares_nothing(void **state)
{
    char text[] = "abc";
    struct strings set = STRINGS(text, "");
    struct strings copy;

    value_copy(*state, &t_strings, &set, &copy);
    assert_true(value_equal(&t_strings, &set, &copy));
    text[0] = 'x';
    assert_string_equal(copy.v[0], "abc");
    assert_false(value_equal(&t_strings, &set, &copy));
}

static void packing_takes_exactly_the_bytes_that_were_asked_for(void **state)
{
    struct strmap map = STRMAP({"a", "1"}, {"a longer key", ""}, {"", "value"});
    size_t size = value_extra_size(&t_strmap, &map);
    char *block = malloc(size), *extra = block;
    struct strmap copy;

    (void)state;
    value_pack(&t_strmap, &map, &copy, &extra);
    assert_ptr_equal(extra, block + size);
    assert_true(value_equal(&t_strmap, &map, &copy));
    free(block);
}

static void packing_a_record_takes_exactly_the_bytes_that_were_asked_for(void **state)
{
    const struct type *type = record_type_of("VM");
    const struct vm *vm = some_vm(*state), *copy;
    size_t size = value_extra_size(type, &vm);
    char *block = malloc(size), *extra = block;

    value_pack(type, &vm, &copy, &extra);
    assert_ptr_equal(extra, block + size);
    assert_true(value_equal(type, &vm, &copy));
    assert_string_equal(copy->name_label, "web");
    free(block);
}

static void records_that_differ_in_one_field_are_not_equal(void **state)
{
    const struct type *type = record_type_of("VM");
    struct vm *a = some_vm(*state), *b = some_vm(*state);

    b->row_version = 7;
    assert_true(value_equal(type, &a, &b));
    b->power_state = VM_PAUSED;
    assert_false(value_equal(type, &a, &b));
}

static void a_nan_is_equal_to_itself_and_order_matters(void **state)
{
    double nan = strtod("nan", NULL);
    struct strings a = STRINGS("x", "y"), b = STRINGS("y", "x");

    (void)state;
    assert_true(value_equal(&t_float, &nan, &nan));
    assert_false(value_equal(&t_strings, &a, &b));
}

static void assert_round_trip(struct arena *arena, const struct type *type, const void *value)
{
    AUTO(buf) buf = {0};
    char *out = arena_zalloc(arena, 64);
    const char *p;

    value_encode(&buf, type, value);
    p = buf.data;
    assert_true(value_decode(arena, type, &p, buf.data + buf.len, out));
    assert_ptr_equal(p, buf.data + buf.len);
    assert_true(value_equal(type, value, out));
    for (size_t cut = 0; cut < buf.len; cut++) {
        p = buf.data;
        assert_false(value_decode(arena, type, &p, buf.data + cut, out));
    }
}

static void every_value_survives_the_binary_form_and_no_cut_one_is_read(void **state)
{
    struct strmap map = STRMAP({"a", "1"}, {"b", ""});
    struct strings set = STRINGS("x", "", "ü");
    struct set sets = {2, (struct strings[]){set, {0}}};
    struct enummap enums = {1, (struct enumpair[]){{"task", 2}}};
    const struct vm *vm = some_vm(*state);
    const char *text = "text", *const *option = &text;
    int64_t i = INT64_MIN;
    double d = -0.1;
    ref_t r = {~0ull, 5};
    int blue = 2;
    bool yes = true;

    assert_round_trip(*state, &t_string, &text);
    assert_round_trip(*state, &t_int, &i);
    assert_round_trip(*state, &t_date, &i);
    assert_round_trip(*state, &t_bool, &yes);
    assert_round_trip(*state, &t_float, &d);
    assert_round_trip(*state, &t_ref, &r);
    assert_round_trip(*state, &t_enum, &blue);
    assert_round_trip(*state, &t_strings, &set);
    assert_round_trip(*state, &t_sets, &sets);
    assert_round_trip(*state, &t_strmap, &map);
    assert_round_trip(*state, &t_enummap, &enums);
    assert_round_trip(*state, &t_option, &option);
    assert_round_trip(*state, record_type_of("VM"), &vm);
}

static void the_binary_form_is_fixed(void **state)
{
    static const char want[] = "\2\0\0\0\1\0\0\0a\3\0\0\0bcd";
    struct strings set = STRINGS("a", "bcd");
    AUTO(buf) buf = {0};

    (void)state;
    value_encode(&buf, &t_strings, &set);
    assert_int_equal(buf.len, sizeof want - 1);
    assert_memory_equal(buf.data, want, buf.len);
}

static void a_count_larger_than_the_input_takes_no_memory(void **state)
{
    static const char bytes[] = "\xff\xff\xff\xff"
                                "abcdefgh";
    struct arena *arena = *state;
    const char *p = bytes;
    struct set set;

    assert_false(value_decode(arena, &t_bools, &p, bytes + sizeof bytes - 1, &set));
    assert_int_equal(arena->total, 0);
}

static void an_unknown_enum_value_and_a_string_with_nul_are_refused(void **state)
{
    static const char purple[] = "\6\0\0\0purple", nul[] = "\3\0\0\0a\0b";
    const char *p = purple, *s;
    int e;

    assert_false(value_decode(*state, &t_enum, &p, purple + sizeof purple - 1, &e));
    p = nul;
    assert_false(value_decode(*state, &t_string, &p, nul + sizeof nul - 1, &s));
}

static void unknown_fields_are_skipped_and_missing_ones_take_their_default(void **state)
{
    const struct class_desc *class = api_class_by_name("secret");
    const struct field_desc *f = api_field_by_name(class, "value");
    uint32_t head[] = {api_class_hash(class), 0, 0, 0, 0, 2, 0xdeadbeef, 3};
    uint32_t field[] = {f->hash, 6, 2};
    AUTO(buf) buf = {0};
    const struct secret *secret;
    const char *p;

    buf_add(&buf, head, sizeof head);
    buf_add(&buf, "xyz", 3);
    buf_add(&buf, field, sizeof field);
    buf_add(&buf, "pw", 2);
    p = buf.data;
    assert_true(value_decode(*state, class->record_type, &p, buf.data + buf.len, &secret));
    assert_string_equal(secret->value, "pw");
    assert_string_equal(secret->uuid, "");
    assert_int_equal(secret->other_config.n, 0);
}

static void the_text_of_filters_is_that_of_the_database(void **state)
{
    struct strings set = STRINGS("a", "it's", "b\\c");
    struct strmap map = STRMAP({"k", "v"}, {"x", ""});
    struct set none = {0};
    bool yes = true;
    int green = 1;
    double half = 0.5;
    usec_t date = 0;
    ref_t null = REF_NULL;
    int64_t i = -42;

    assert_string_equal(value_filter_text(*state, &t_bool, &yes), "true");
    assert_string_equal(value_filter_text(*state, &t_int, &i), "-42");
    assert_string_equal(value_filter_text(*state, &t_enum, &green), "green");
    assert_string_equal(value_filter_text(*state, &t_float, &half), "0.5");
    assert_string_equal(value_filter_text(*state, &t_date, &date), "19700101T00:00:00Z");
    assert_string_equal(value_filter_text(*state, &t_ref, &null), "OpaqueRef:NULL");
    assert_string_equal(value_filter_text(*state, &t_strings, &set), "('a' 'it\\'s' 'b\\\\c')");
    assert_string_equal(value_filter_text(*state, &t_strmap, &map), "(('k' 'v') ('x' ''))");
    assert_string_equal(value_filter_text(*state, &t_strings, &none), "()");
}

static void a_map_is_changed_only_in_its_copy(void **state)
{
    struct strmap map = STRMAP({"a", "1"}, {"b", "2"});
    struct strmap more = strmap_with(*state, map, "c", "3");
    struct strmap other = strmap_with(*state, map, "a", "9");
    struct strmap less = strmap_without(*state, map, "a");

    assert_int_equal(more.n, 3);
    assert_string_equal(strmap_get(&more, "c"), "3");
    assert_string_equal(strmap_get(&other, "a"), "9");
    assert_string_equal(strmap_get(&map, "a"), "1");
    assert_int_equal(less.n, 1);
    assert_null(strmap_get(&less, "a"));
    assert_string_equal(strmap_get(&less, "b"), "2");
    assert_int_equal(strmap_without(*state, map, "zzz").n, 2);
}

static void enums_are_found_by_their_spelling_only(void **state)
{
    (void)state;
    assert_int_equal(enum_by_name(&colours, "blue"), 2);
    assert_int_equal(enum_by_name(&colours, "Blue"), -1);
    assert_string_equal(enum_name(&colours, 99), "");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, arena_setup, arena_teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_empty_value_of_each_type_is_as_documented),
        TEST(a_copy_is_equal_and_shares_nothing),
        TEST(packing_takes_exactly_the_bytes_that_were_asked_for),
        TEST(packing_a_record_takes_exactly_the_bytes_that_were_asked_for),
        TEST(records_that_differ_in_one_field_are_not_equal),
        TEST(a_nan_is_equal_to_itself_and_order_matters),
        TEST(every_value_survives_the_binary_form_and_no_cut_one_is_read),
        TEST(the_binary_form_is_fixed),
        TEST(a_count_larger_than_the_input_takes_no_memory),
        TEST(an_unknown_enum_value_and_a_string_with_nul_are_refused),
        TEST(unknown_fields_are_skipped_and_missing_ones_take_their_default),
        TEST(the_text_of_filters_is_that_of_the_database),
        TEST(a_map_is_changed_only_in_its_copy),
        TEST(enums_are_found_by_their_spelling_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
