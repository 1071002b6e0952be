/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/db/sample.h"

struct small {
    struct db_root *root;
    struct vm vm;
    struct vbd vbd;
};

static void put(struct db_root *root, int class_id, const void *source)
{
    root->revision = 1;
    ((struct row *)source)->row_created = ((struct row *)source)->row_version = 1;
    root_put(root, row_new(&api_classes[class_id], source), 1);
}

/* A VM with a VBD. */
static int setup(void **state)
{
    struct small *s = calloc(1, sizeof *s);

    s->root = root_new();
    SAMPLE_NEW(vm, &s->vm);
    SAMPLE_NEW(vbd, &s->vbd);
    s->vbd.vm = s->vm.ref;
    put(s->root, CLASS_vm, &s->vm);
    put(s->root, CLASS_vbd, &s->vbd);
    assert_int_equal(sample_faults(s->root), 0);
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    struct small *s = *state;

    root_unref(s->root);
    free(s);
    return 0;
}

static void a_reference_to_nothing_is_found(void **state)
{
    struct small *s = *state;

    s->vbd.vdi = ref_new();
    put(s->root, CLASS_vbd, &s->vbd);
    assert_int_equal(sample_faults(s->root), 1);
}

static void a_uuid_used_twice_is_found(void **state)
{
    struct small *s = *state;

    s->vm.ref = ref_new();
    put(s->root, CLASS_vm, &s->vm);
    assert_int_equal(sample_faults(s->root), 2);
}

static void an_impossible_enum_is_found(void **state)
{
    struct small *s = *state;

    *(int *)&s->vm.power_state = 77;
    put(s->root, CLASS_vm, &s->vm);
    assert_int_equal(sample_faults(s->root), 1);
}

static void a_cycle_is_found(void **state)
{
    struct small *s = *state;
    struct vm other;

    SAMPLE_NEW(vm, &other);
    other.parent = s->vm.ref;
    s->vm.parent = other.ref;
    put(s->root, CLASS_vm, &s->vm);
    put(s->root, CLASS_vm, &other);
    assert_int_equal(sample_faults(s->root), 2);
}

static void a_missing_index_entry_is_found(void **state)
{
    struct small *s = *state;
    struct tree *index = &s->root->indexes[api_fields[FIELD_vbd_vm].index_slot];

    assert_true(
        tree_remove(index, (uint64_t[]){s->vm.ref.hi, s->vm.ref.lo, s->vbd.ref.hi, s->vbd.ref.lo}));
    assert_int_equal(sample_faults(s->root), 2);
}

static void an_index_entry_too_many_is_found(void **state)
{
    struct small *s = *state;
    struct tree *index = &s->root->indexes[api_fields[FIELD_vbd_vm].index_slot];

    tree_put(index, &(struct tree_entry){{1, 2, 3, 4}});
    assert_int_equal(sample_faults(s->root), 1);
}

static void a_change_that_is_not_remembered_is_found(void **state)
{
    struct small *s = *state;
    struct tree_cursor cursor;
    struct tree_entry e;

    root_changes(s->root, 0, &cursor);
    e = *tree_next(&cursor);
    tree_remove(&s->root->changes, e.k);
    assert_int_equal(sample_faults(s->root), 2);
}

static void a_wrong_count_of_deletions_is_found(void **state)
{
    struct small *s = *state;

    s->root->tombstones++;
    assert_int_equal(sample_faults(s->root), 1);
}

static void impossible_revisions_are_found(void **state)
{
    struct small *s = *state;

    s->root->revision = 0;
    assert_int_equal(sample_faults(s->root), 2);
}

static void whatever_apply_does_keeps_the_rules(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed < 20; seed++) {
        struct db_root *root = root_new();
        uint64_t numbers = seed;

        for (int i = 0; i < 10; i++) {
            sample_change(root, &numbers, 40);
            assert_int_equal(sample_faults(root), 0);
        }
        root_unref(root);
    }
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_reference_to_nothing_is_found),
        TEST(a_uuid_used_twice_is_found),
        TEST(an_impossible_enum_is_found),
        TEST(a_cycle_is_found),
        TEST(a_missing_index_entry_is_found),
        TEST(an_index_entry_too_many_is_found),
        TEST(a_change_that_is_not_remembered_is_found),
        TEST(a_wrong_count_of_deletions_is_found),
        TEST(impossible_revisions_are_found),
        cmocka_unit_test(whatever_apply_does_keeps_the_rules),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
