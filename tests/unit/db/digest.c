/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* digest.c -- what members compare: equal where the databases are, and else not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/db/sample.h"
#include "xapid/db/row.h"

static bool same(const struct db_root *a, const struct db_root *b)
{
    return memcmp(a->digest, b->digest, sizeof a->digest) == 0;
}

static void assert_kept(const struct db_root *root)
{
    uint64_t digest[2];

    root_digest_make(root, digest);
    assert_memory_equal(digest, root->digest, sizeof digest);
}

static struct db_root *made(uint64_t seed, int n)
{
    struct db_root *root = root_new();

    sample_change(root, &seed, n);
    return root;
}

static void it_follows_every_change(void **state)
{
    struct db_root *root = root_new();
    uint64_t seed = 7;

    (void)state;
    for (int i = 0; i < 60; i++) {
        sample_change(root, &seed, 5);
        assert_kept(root);
    }
    root_unref(root);
}

static void the_same_changes_make_the_same_digest(void **state)
{
    struct db_root *a = made(3, 120), *b = made(3, 120), *c = made(4, 120);

    (void)state;
    assert_true(same(a, b));
    assert_false(same(a, c));
    root_unref(a);
    root_unref(b);
    root_unref(c);
}

static void an_image_and_a_checkpoint_keep_it(void **state)
{
    struct arena arena = {0};
    char *dir = sample_dir(&arena);
    const char *path = arena_printf(&arena, "%s/xapid.db", dir), *why;
    struct db_root *root = made(5, 200), *empty, *again;
    struct checkpoint *cp;
    AUTO(buf) image = {0};

    (void)state;
    image_write(&image, root);
    assert_true(image_read(&arena, image.data, image.len, &again, &why));
    assert_true(same(root, again));
    root_unref(again);
    assert_null(checkpoint_open(&arena, path, &cp, &empty));
    assert_null(checkpoint_flush(&arena, cp, root));
    checkpoint_close(cp);
    root_unref(empty);
    assert_null(checkpoint_open(&arena, path, &cp, &again));
    assert_true(same(root, again));
    assert_kept(again);
    checkpoint_close(cp);
    root_unref(again);
    root_unref(root);
    sample_remove_dir(dir);
    arena_release(&arena);
}

/* A root with one network, and what is done to a second one like it. */
static struct db_root *with_network(ref_t ref, const char *name, uint64_t version)
{
    struct db_root *root = root_new();
    struct network row;

    sample_new(CLASS_network, &row);
    row.ref = ref;
    row.uuid = "0e7d1f0a-0f6e-4c5e-9e5c-8d9a6f0f3a11";
    row.name_label = name;
    row.row_created = 1;
    row.row_version = version;
    root->revision = 3;
    root_put(root, row_new(&api_classes[CLASS_network], &row), version);
    return root;
}

static void a_different_row_shows(void **state)
{
    ref_t ref = {11, 12};
    struct db_root *root = with_network(ref, "a", 1), *other;

    (void)state;
    other = with_network(ref, "a", 1);
    assert_true(same(root, other));
    root_touch(other, CLASS_network, ref, 3); /* an event more */
    assert_false(same(root, other));
    root_unref(other);
    other = with_network(ref, "b", 1);
    assert_false(same(root, other));
    root_unref(other);
    other = with_network(ref, "a", 2);
    assert_false(same(root, other));
    root_unref(other);
    other = with_network((ref_t){11, 13}, "a", 1);
    assert_false(same(root, other));
    root_unref(other);
    root_unref(root);
}

static void a_deletion_that_only_one_remembers_shows(void **state)
{
    ref_t ref = {11, 12};
    struct db_root *root = with_network(ref, "a", 1), *empty = root_new();

    (void)state;
    root_remove(root, CLASS_network, ref, 3);
    assert_kept(root);
    assert_false(same(root, empty));
    root_add_tombstone(empty, CLASS_network, ref, 1, 3);
    assert_true(same(root, empty));
    root_unref(root);
    root_unref(empty);
}

/* What db_check says of one whose digest is not that of its rows. */
static void a_digest_that_is_wrong_is_a_fault(void **state)
{
    struct db_root *root = made(6, 50);

    (void)state;
    assert_int_equal(sample_faults(root), 0);
    root->digest[1]++;
    assert_int_equal(sample_faults(root), 1);
    root_unref(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_follows_every_change),
        cmocka_unit_test(the_same_changes_make_the_same_digest),
        cmocka_unit_test(an_image_and_a_checkpoint_keep_it),
        cmocka_unit_test(a_different_row_shows),
        cmocka_unit_test(a_deletion_that_only_one_remembers_shows),
        cmocka_unit_test(a_digest_that_is_wrong_is_a_fault),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
