/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lab.h"

#include <string.h>

#include "xapid/transfer/manifest.h"

#define OBJECT(class, id, members)                                                                 \
    "<value><struct><member><name>class</name><value>" class "</value></member><member><name>id</" \
                                                             "name><value>" id "</value></"        \
                                                             "member><member><name>snapshot</"     \
                                                             "name><value><struct>" members        \
                                                             "</struct></value></member></"        \
                                                             "struct></value>"
#define MEMBER(name, value) "<member><name>" name "</name><value>" value "</value></member>"
#define MANIFEST(version, objects)                                                                 \
    "<value><struct><member><name>version</name><value><struct>" MEMBER(                           \
        "export_vsn", version) "</struct></value></member><member><name>objects</"                 \
                               "name><value><array><data>" objects                                 \
                               "</data></array></value></member></struct></value>"

static struct error *read_text(struct lab *lab, const char *text, struct manifest *out)
{
    return manifest_read(&lab->call, text, strlen(text), out);
}

static void objects_are_found_by_id_and_followed_by_reference(void **state)
{
    struct lab *lab = *state;
    struct manifest_object *vm;
    struct manifest m;

    assert_null(read_text(
        lab,
        MANIFEST("2", OBJECT("VBD", "Ref:9", MEMBER("VM", "Ref:10") MEMBER("VDI", "OpaqueRef:NULL"))
                          OBJECT("VM", "Ref:10", MEMBER("name_label", "a"))
                              OBJECT("of_the_future", "Ref:1", "")),
        &m));
    assert_int_equal(m.n, 3);
    assert_null(manifest_find(&m, "Ref:1")->class);
    assert_null(manifest_find(&m, "Ref:2"));
    assert_null(manifest_follow(&lab->call, &m, manifest_find(&m, "Ref:9"), "VM", CLASS_vm, &vm));
    assert_string_equal(manifest_text(vm, "name_label"), "a");
    assert_null(manifest_follow(&lab->call, &m, manifest_find(&m, "Ref:9"), "VDI", CLASS_vdi, &vm));
    assert_null(vm);
    assert_true(
        error_is(manifest_follow(&lab->call, &m, manifest_find(&m, "Ref:9"), "VM", CLASS_vdi, &vm),
                 "IMPORT_ERROR_FAILED_TO_FIND_OBJECT"));
}

static void later_versions_and_ids_that_are_paths_or_twice_there_are_refused(void **state)
{
    struct lab *lab = *state;
    struct manifest m;

    assert_null(read_text(lab, MANIFEST("1", ""), &m));
    assert_true(error_is(read_text(lab, MANIFEST("3", ""), &m), "IMPORT_INCOMPATIBLE_VERSION"));
    assert_true(error_is(read_text(lab, MANIFEST("x", ""), &m), "IMPORT_ERROR"));
    assert_true(
        error_is(read_text(lab, MANIFEST("2", OBJECT("VM", "../a", "")), &m), "IMPORT_ERROR"));
    assert_true(error_is(read_text(lab, MANIFEST("2", OBJECT("VM", "", "")), &m), "IMPORT_ERROR"));
    assert_true(
        error_is(read_text(lab, MANIFEST("2", OBJECT("VM", "a", "") OBJECT("VDI", "a", "")), &m),
                 "IMPORT_ERROR"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, lab_setup, lab_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(objects_are_found_by_id_and_followed_by_reference),
        TEST(later_versions_and_ids_that_are_paths_or_twice_there_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
