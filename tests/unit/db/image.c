/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include <cmocka.h>

#include "tests/unit/db/sample.h"

#define HEAD 32

static struct db_root *sample_root(uint64_t seed, int n)
{
    struct db_root *root = root_new();

    root->incarnation = 17;
    sample_change(root, &seed, n);
    return root;
}

static struct db_root *read_image(const void *data, size_t size)
{
    struct arena arena = {0};
    struct db_root *root = NULL;
    const char *why = NULL;

    if (!image_read(&arena, data, size, &root, &why)) {
        assert_non_null(why);
        root = NULL;
    }
    arena_release(&arena);
    return root;
}

/* Makes the checksum right again after a change of the body. */
static void seal(struct buf *b)
{
    uint64_t hash = XXH3_64bits(b->data + HEAD, b->len - HEAD);

    memcpy(b->data + 24, &hash, sizeof hash);
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed < 12; seed++) {
        struct db_root *root = sample_root(seed, (int)(seed * 40)), *again;
        struct buf b = {0};

        image_write(&b, root);
        again = read_image(b.data, b.len);
        assert_non_null(again);
        assert_true(sample_equal(root, again));
        assert_int_equal(sample_faults(again), 0);
        /* It goes on as the original does. */
        sample_change(root, &(uint64_t){seed + 100}, 40);
        sample_change(again, &(uint64_t){seed + 100}, 40);
        assert_true(sample_equal(root, again));
        root_unref(again);
        root_unref(root);
        buf_release(&b);
    }
}

static void a_cut_or_flipped_image_is_refused(void **state)
{
    struct db_root *root = sample_root(4, 60);
    AUTO(buf) b = {0};
    uint64_t seed = 9;

    (void)state;
    image_write(&b, root);
    for (int i = 0; i < 300; i++) {
        size_t byte = sample_below(&seed, b.len);
        char *cut = malloc(byte + 1);

        memcpy(cut, b.data, byte);
        assert_null(read_image(cut, byte));
        free(cut);
        b.data[byte] = (char)(b.data[byte] ^ 4);
        assert_null(read_image(b.data, b.len));
        b.data[byte] = (char)(b.data[byte] ^ 4);
    }
    root_unref(root);
}

static void bytes_with_a_right_checksum_are_read_with_care(void **state)
{
    struct db_root *root = sample_root(4, 60);
    AUTO(buf) b = {0};
    uint64_t seed = 19;
    int good = 0, bad = 0;

    (void)state;
    image_write(&b, root);
    for (int i = 0; i < 3000; i++) {
        size_t byte = HEAD + sample_below(&seed, b.len - HEAD);
        char was = b.data[byte];
        struct db_root *again;

        b.data[byte] = (char)sample_number(&seed);
        seal(&b);
        again = read_image(b.data, b.len);
        good += again != NULL;
        bad += again == NULL;
        root_unref(again);
        b.data[byte] = was;
    }
    assert_true(good > 0 && bad > 0);
    root_unref(root);
}

static void a_class_of_another_version_is_left_out(void **state)
{
    struct db_root *root = root_new(), *again;
    AUTO(buf) b = {0};
    struct blob blob;
    struct vm vm;

    (void)state;
    root->revision = 1;
    SAMPLE_NEW(vm, &vm);
    SAMPLE_NEW(blob, &blob);
    root_put(root, row_new(&api_classes[CLASS_vm], &vm), 1);
    root_put(root, row_new(&api_classes[CLASS_blob], &blob), 1);
    image_write(&b, root);
    for (size_t i = HEAD; i + 4 <= b.len; i++) {
        uint32_t hash = api_class_hash(&api_classes[CLASS_blob]);

        if (memcmp(b.data + i, &hash, 4) == 0)
            b.data[i]++;
    }
    seal(&b);
    again = read_image(b.data, b.len);
    assert_non_null(again);
    assert_int_equal(again->tables[CLASS_vm].count, 1);
    assert_int_equal(again->tables[CLASS_blob].count, 0);
    root_unref(again);
    root_unref(root);
}

static void a_field_of_another_version_is_left_out_and_the_default_is_the_writers(void **state)
{
    struct db_root *root = root_new(), *again;
    const struct vm *read;
    AUTO(buf) b = {0};
    struct vm vm;

    (void)state;
    root->revision = 1;
    SAMPLE_NEW(vm, &vm);
    vm.name_label = "web";
    vm.name_description = "gone";
    root_put(root, row_new(&api_classes[CLASS_vm], &vm), 1);
    image_write(&b, root);
    for (size_t i = HEAD; i + 16 <= b.len; i++) {
        if (memcmp(b.data + i, &api_fields[FIELD_vm_name_description].hash, 4) == 0)
            b.data[i]++;
        if (memcmp(b.data + i, &api_fields[FIELD_vm_user_version].hash, 4) == 0)
            b.data[i + 8] = 42; /* its default */
    }
    seal(&b);
    again = read_image(b.data, b.len);
    assert_non_null(again);
    read = root_get(again, CLASS_vm, vm.ref);
    assert_string_equal(read->name_label, "web");
    assert_string_equal(read->name_description, "");
    assert_int_equal(read->user_version, 42);
    root_unref(again);
    root_unref(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(a_cut_or_flipped_image_is_refused),
        cmocka_unit_test(bytes_with_a_right_checksum_are_read_with_care),
        cmocka_unit_test(a_class_of_another_version_is_left_out),
        cmocka_unit_test(a_field_of_another_version_is_left_out_and_the_default_is_the_writers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
