/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lab.h"

#include <stdlib.h>
#include <string.h>

#include "libxapi/base/memory.h"
#include "xapid/transfer/pack.h"

#define SIZE ((size_t)700000)

static void pack(struct lab *lab, enum packing packing, const char *data, size_t n)
{
    AUTO(packer) packer = {0};

    assert_null(packer_open(&lab->call, packing, &lab->sink, &packer));
    for (size_t i = 0; i < n; i += 1000)
        assert_null(
            sink_write(&lab->call, packer_sink(&packer), data + i, MIN((size_t)1000, n - i)));
    assert_null(packer_finish(&lab->call, &packer));
}

/* Half noise, half nothing. */
static char *sample(void)
{
    char *data = xcalloc(1, SIZE);

    lab_fill(data, SIZE / 2, 7);
    return data;
}

static void assert_unpacks(struct lab *lab, const char *data, size_t n)
{
    AUTO(unpacker) unpacker = {0};
    AUTO(room) room = {xmalloc(n + 1)};
    struct memory_source source;
    size_t got;

    lab_read_back(lab, &source);
    assert_null(unpacker_open(&lab->call, &source.source, &unpacker));
    assert_null(source_read(&lab->call, &unpacker.source, room.p, n + 1, &got));
    assert_int_equal(got, n);
    assert_memory_equal(room.p, data, n);
}

static void what_is_packed_is_unpacked(void **state)
{
    struct lab *lab = *state;
    AUTO(room) data = {sample()};

    for (int packing = PACK_NONE; packing <= PACK_ZSTD; packing++) {
        lab->out.len = 0;
        pack(lab, (enum packing)packing, data.p, SIZE);
        if (packing == PACK_NONE)
            assert_int_equal(lab->out.len, SIZE);
        else
            assert_true(lab->out.len < SIZE * 3 / 4);
        assert_unpacks(lab, data.p, SIZE);
    }
}

static void members_of_gzip_and_frames_of_zstd_may_follow_each_other(void **state)
{
    struct lab *lab = *state;

    for (int packing = PACK_GZIP; packing <= PACK_ZSTD; packing++) {
        lab->out.len = 0;
        pack(lab, (enum packing)packing, "hello ", 6);
        pack(lab, (enum packing)packing, "world", 5);
        assert_unpacks(lab, "hello world", 11);
    }
}

static void data_that_is_cut_anywhere_is_an_error(void **state)
{
    struct lab *lab = *state;
    AUTO(room) out = {xmalloc(SIZE)};
    AUTO(room) data = {sample()};

    for (int packing = PACK_GZIP; packing <= PACK_ZSTD; packing++) {
        lab->out.len = 0;
        pack(lab, (enum packing)packing, data.p, 3000);
        for (size_t n = 5; n < lab->out.len; n += 7) {
            AUTO(unpacker) unpacker = {0};
            struct memory_source source;
            size_t got;

            memory_source_init(&source, lab->out.data, n);
            assert_null(unpacker_open(&lab->call, &source.source, &unpacker));
            assert_true(error_is(source_read(&lab->call, &unpacker.source, out.p, SIZE, &got),
                                 "IMPORT_ERROR_PREMATURE_EOF"));
        }
    }
}

static void no_byte_at_all_is_an_error(void **state)
{
    struct lab *lab = *state;
    AUTO(unpacker) unpacker = {0};
    struct memory_source source;

    memory_source_init(&source, "", 0);
    assert_true(error_is(unpacker_open(&lab->call, &source.source, &unpacker),
                         "IMPORT_ERROR_PREMATURE_EOF"));
}

static void compression_is_asked_for_by_name(void **state)
{
    (void)state;
    assert_int_equal(packing_named("true"), PACK_GZIP);
    assert_int_equal(packing_named("gzip"), PACK_GZIP);
    assert_int_equal(packing_named("zstd"), PACK_ZSTD);
    assert_int_equal(packing_named("false"), PACK_NONE);
    assert_int_equal(packing_named(NULL), PACK_NONE);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, lab_setup, lab_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_packed_is_unpacked),
        TEST(members_of_gzip_and_frames_of_zstd_may_follow_each_other),
        TEST(data_that_is_cut_anywhere_is_an_error),
        TEST(no_byte_at_all_is_an_error),
        TEST(compression_is_asked_for_by_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
