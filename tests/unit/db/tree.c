/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/db/sample.h"

#define KEYS 3000
#define COPIES 6

/* The same keys in an array: what a tree should hold. */
struct model {
    bool present[KEYS];
    uint64_t value[KEYS];
};

static void key_of(size_t i, uint64_t key[4])
{
    key[0] = i / 7;
    key[1] = i % 7 * 1000;
    key[2] = 0;
    key[3] = 0;
}

static void assert_same(const struct tree *tree, const struct model *model)
{
    struct tree_cursor cursor;
    const struct tree_entry *e;
    uint64_t key[4];
    uint32_t n = 0;

    tree_seek(tree, NULL, &cursor);
    for (size_t i = 0; i < KEYS; i++) {
        key_of(i, key);
        if (!model->present[i]) {
            assert_null(tree_get(tree, key));
            continue;
        }
        e = tree_next(&cursor);
        assert_non_null(e);
        assert_memory_equal(e->k, key, 16);
        assert_int_equal(e->k[3], model->value[i]);
        assert_ptr_equal(tree_get(tree, key), e);
        n++;
    }
    assert_null(tree_next(&cursor));
    assert_int_equal(tree->count, n);
}

static void assert_seeks(const struct tree *tree, const struct model *model, uint64_t *seed)
{
    for (int round = 0; round < 50; round++) {
        size_t i = sample_below(seed, KEYS);
        const struct tree_entry *e;
        struct tree_cursor cursor;
        uint64_t key[4];

        key_of(i, key);
        tree_seek(tree, key, &cursor);
        e = tree_next(&cursor);
        while (i < KEYS && !model->present[i])
            i++;
        if (i == KEYS) {
            assert_null(e);
            continue;
        }
        key_of(i, key);
        assert_non_null(e);
        assert_memory_equal(e->k, key, 16);
    }
}

static void random_change(struct tree *tree, struct model *model, uint64_t *seed, size_t inserts,
                          const struct row *row)
{
    size_t i = sample_below(seed, KEYS);
    struct tree_entry e = {0};

    key_of(i, e.k);
    if (sample_below(seed, 10) < inserts) {
        e.k[2] = (uint64_t)row;
        e.k[3] = sample_number(seed);
        if (row)
            row_ref(row);
        assert_int_equal(tree_put(tree, &e), !model->present[i]);
        model->present[i] = true;
        model->value[i] = e.k[3];
    } else {
        assert_int_equal(tree_remove(tree, e.k), model->present[i]);
        model->present[i] = false;
    }
}

static void run(struct tree tree, const struct row *row, uint64_t seed)
{
    struct model *models = calloc(COPIES + 1, sizeof *models), *model = &models[COPIES];
    struct tree copies[COPIES] = {0};

    /* It grows, shrinks to almost nothing, and grows again; a copy is taken now and then. */
    for (size_t step = 0; step < 60000; step++) {
        size_t c = sample_below(&seed, COPIES);

        random_change(&tree, model, &seed, step / 15000 % 2 ? 2 : 8, row);
        if (step % 500 == 0) {
            tree_release(&copies[c]);
            copies[c] = tree_copy(&tree);
            models[c] = *model;
        }
        if (step % 5000 == 0) {
            assert_same(&tree, model);
            assert_seeks(&tree, model, &seed);
        }
    }
    for (size_t c = 0; c < COPIES; c++) {
        if (copies[c].root)
            assert_same(&copies[c], &models[c]);
        tree_release(&copies[c]);
    }
    for (size_t i = 0; i < KEYS; i++) {
        uint64_t key[4];

        key_of(i, key);
        tree_remove(&tree, key);
    }
    assert_null(tree.root);
    assert_int_equal(tree.count, 0);
    free(models);
}

static void an_index_is_a_sorted_array_and_its_copies_do_not_change(void **state)
{
    (void)state;
    run(tree_index(2), NULL, 11);
    run(tree_index(2), NULL, 12);
}

static void a_table_counts_its_rows(void **state)
{
    struct secret source;
    const struct row *row;

    (void)state;
    SAMPLE_NEW(secret, &source);
    row = row_new(&api_classes[CLASS_secret], &source);
    run(tree_table(), row, 13);
    assert_int_equal(row_holders(row), 1);
    row_unref(row);
}

static void ascending_and_descending_keys_are_all_found(void **state)
{
    struct tree tree = tree_index(4);
    struct tree_cursor cursor;
    const struct tree_entry *e;
    uint64_t expect = 0;

    (void)state;
    for (uint64_t i = 0; i < 20000; i++)
        assert_true(tree_put(&tree, &(struct tree_entry){{20000 + i, i, 1, 2}}));
    for (uint64_t i = 20000; i-- > 0;)
        assert_true(tree_put(&tree, &(struct tree_entry){{i, 0, 0, 0}}));
    tree_seek(&tree, NULL, &cursor);
    while ((e = tree_next(&cursor)))
        assert_int_equal(e->k[0], expect++);
    assert_int_equal(expect, 40000);
    for (uint64_t i = 0; i < 20000; i++)
        assert_true(tree_remove(&tree, (uint64_t[]){20000 + i, i, 1, 2}));
    assert_int_equal(tree.count, 20000);
    tree_release(&tree);
}

static void an_empty_tree_has_nothing(void **state)
{
    struct tree tree = tree_index(4), copy = tree_copy(&tree);
    struct tree_cursor cursor;

    (void)state;
    assert_null(tree_get(&tree, (uint64_t[]){0, 0, 0, 0}));
    assert_false(tree_remove(&tree, (uint64_t[]){0, 0, 0, 0}));
    tree_seek(&tree, (uint64_t[]){0, 0, 0, 0}, &cursor);
    assert_null(tree_next(&cursor));
    assert_null(tree_next(&cursor));
    tree_release(&copy);
    tree_release(&tree);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_index_is_a_sorted_array_and_its_copies_do_not_change),
        cmocka_unit_test(a_table_counts_its_rows),
        cmocka_unit_test(ascending_and_descending_keys_are_all_found),
        cmocka_unit_test(an_empty_tree_has_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
