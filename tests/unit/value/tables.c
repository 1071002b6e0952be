/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libxapi/value/type.h"

static void every_message_is_found_by_both_spellings_of_its_name(void **state)
{
    char name[128];

    (void)state;
    for (size_t i = 0; i < api_n_messages; i++) {
        const struct message_desc *m = &api_messages[i];

        assert_ptr_equal(api_message_by_name(m->full_name), m);
        strcpy(name, m->full_name);
        *strchr(name, '.') = '_';
        assert_ptr_equal(api_message_by_name(name), m);
    }
}

static void what_is_no_message_is_not_found(void **state)
{
    char name[5000];

    (void)state;
    memset(name, '_', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    assert_null(api_message_by_name(name));
    assert_null(api_message_by_name(""));
    assert_null(api_message_by_name("VM"));
    assert_null(api_message_by_name("VM."));
    assert_null(api_message_by_name("vm.start"));
    assert_null(api_message_by_name("VM.start "));
    assert_null(api_message_by_name("Async.VM.start"));
    assert_null(api_message_by_name("~"));
}

static void every_field_is_found_by_name_and_by_hash(void **state)
{
    (void)state;
    for (size_t i = 0; i < api_n_fields; i++) {
        const struct field_desc *f = &api_fields[i];

        assert_ptr_equal(api_field_by_name(&api_classes[f->class_id], f->name), f);
        assert_ptr_equal(api_field_by_hash(f->hash), f);
    }
    assert_null(api_field_by_name(api_class_by_name("VM"), "no_such_field"));
    assert_null(api_field_by_hash(0xffffffff));
}

static void hashes_are_fnv_1a(void **state)
{
    const struct class_desc *vm = api_class_by_name("VM");

    (void)state;
    assert_int_equal(api_name_hash(""), 0x811c9dc5);
    assert_int_equal(api_name_hash("foobar"), 0xbf9cf968);
    assert_int_equal(api_field_by_name(vm, "name_label")->hash, api_name_hash("VM.name_label"));
    assert_int_equal(api_class_hash(vm), api_name_hash("VM"));
}

static void classes_are_found_by_name_and_in_any_case(void **state)
{
    (void)state;
    for (size_t i = 0; i < api_n_classes; i++) {
        const struct class_desc *c = &api_classes[i];

        assert_ptr_equal(api_class_by_name(c->name), c);
        assert_ptr_equal(api_class_by_lower(c->lower), c);
        assert_ptr_equal(api_class_by_hash(api_class_hash(c)), c);
    }
    assert_non_null(api_class_by_lower("vM"));
    assert_null(api_class_by_name("vm"));
    assert_null(api_class_by_lower("vm_"));
}

static void errors_are_found_by_code(void **state)
{
    (void)state;
    for (size_t i = 0; i < api_n_errors; i++)
        assert_ptr_equal(api_error_by_code(api_errors[i].code), &api_errors[i]);
    assert_null(api_error_by_code("NO_SUCH_ERROR_CODE"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_message_is_found_by_both_spellings_of_its_name),
        cmocka_unit_test(what_is_no_message_is_not_found),
        cmocka_unit_test(every_field_is_found_by_name_and_by_hash),
        cmocka_unit_test(hashes_are_fnv_1a),
        cmocka_unit_test(classes_are_found_by_name_and_in_any_case),
        cmocka_unit_test(errors_are_found_by_code),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
