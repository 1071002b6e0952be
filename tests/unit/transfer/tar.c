/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lab.h"

#include <string.h>

#include "xapid/transfer/tar.h"

static void members_are_read_as_they_were_written(void **state)
{
    struct lab *lab = *state;
    struct memory_source source;
    struct tar_reader tar;
    char text[6] = "";
    bool found;

    assert_null(tar_member(&lab->call, &lab->sink, "one", "hello", 5));
    assert_null(tar_member(&lab->call, &lab->sink, "empty", "", 0));
    assert_null(tar_end(&lab->call, &lab->sink));
    assert_int_equal(lab->out.len, tar_size(5) + tar_size(0) + 2 * TAR_BLOCK);
    lab_read_back(lab, &source);
    tar_reader_init(&tar, &source.source);
    assert_null(tar_next(&lab->call, &tar, &found));
    assert_true(found);
    assert_string_equal(tar.name, "one");
    assert_null(tar_read(&lab->call, &tar, text, 5));
    assert_string_equal(text, "hello");
    assert_null(tar_next(&lab->call, &tar, &found));
    assert_string_equal(tar.name, "empty");
    assert_int_equal(tar.size, 0);
    assert_null(tar_next(&lab->call, &tar, &found));
    assert_false(found);
}

static void a_long_name_and_a_size_of_gigabytes_survive(void **state)
{
    struct lab *lab = *state;
    struct memory_source source;
    struct tar_reader tar;
    char name[301];
    bool found;

    memset(name, 'n', 300);
    name[300] = '\0';
    assert_null(tar_header(&lab->call, &lab->sink, name, (int64_t)20 << 40));
    lab_read_back(lab, &source);
    tar_reader_init(&tar, &source.source);
    assert_null(tar_next(&lab->call, &tar, &found));
    assert_true(found);
    assert_string_equal(tar.name, name);
    assert_int_equal(tar.size, (int64_t)20 << 40);
}

static void what_was_not_read_of_a_member_is_passed_over(void **state)
{
    struct lab *lab = *state;
    struct memory_source source;
    struct tar_reader tar;
    char c;
    bool found;

    assert_null(tar_member(&lab->call, &lab->sink, "a", "0123456789", 10));
    assert_null(tar_member(&lab->call, &lab->sink, "b", "x", 1));
    lab_read_back(lab, &source);
    tar_reader_init(&tar, &source.source);
    assert_null(tar_next(&lab->call, &tar, &found));
    assert_null(tar_read(&lab->call, &tar, &c, 1));
    assert_null(tar_next(&lab->call, &tar, &found));
    assert_string_equal(tar.name, "b");
}

static void more_than_a_member_has_is_not_read(void **state)
{
    struct lab *lab = *state;
    struct memory_source source;
    struct tar_reader tar;
    char text[8];
    bool found;

    assert_null(tar_member(&lab->call, &lab->sink, "a", "1234", 4));
    lab_read_back(lab, &source);
    tar_reader_init(&tar, &source.source);
    assert_null(tar_next(&lab->call, &tar, &found));
    assert_true(error_is(tar_read(&lab->call, &tar, text, 5), "IMPORT_ERROR"));
}

static void data_that_ends_between_members_ends_the_archive_and_within_one_is_an_error(void **state)
{
    struct lab *lab = *state;
    struct memory_source source;
    struct tar_reader tar;
    bool found;

    assert_null(tar_member(&lab->call, &lab->sink, "a", "1234", 4));
    lab_read_back(lab, &source);
    tar_reader_init(&tar, &source.source);
    assert_null(tar_next(&lab->call, &tar, &found));
    assert_null(tar_next(&lab->call, &tar, &found));
    assert_false(found);
    memory_source_init(&source, lab->out.data, lab->out.len - 1);
    tar_reader_init(&tar, &source.source);
    assert_null(tar_next(&lab->call, &tar, &found));
    assert_true(error_is(tar_next(&lab->call, &tar, &found), "IMPORT_ERROR_PREMATURE_EOF"));
}

static void any_changed_byte_of_a_header_is_noticed(void **state)
{
    struct lab *lab = *state;
    struct memory_source source;
    struct tar_reader tar;
    bool found;

    assert_null(tar_member(&lab->call, &lab->sink, "a", "", 0));
    for (size_t i = 0; i < TAR_BLOCK; i++) {
        lab->out.data[i] ^= 4;
        lab_read_back(lab, &source);
        tar_reader_init(&tar, &source.source);
        assert_non_null(tar_next(&lab->call, &tar, &found));
        lab->out.data[i] ^= 4;
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, lab_setup, lab_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(members_are_read_as_they_were_written),
        TEST(a_long_name_and_a_size_of_gigabytes_survive),
        TEST(what_was_not_read_of_a_member_is_passed_over),
        TEST(more_than_a_member_has_is_not_read),
        TEST(data_that_ends_between_members_ends_the_archive_and_within_one_is_an_error),
        TEST(any_changed_byte_of_a_header_is_noticed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
