/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tests of the form of entries and snapshots: what goes in comes out, and anything cut or changed
 * is noticed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "libxapi/base/memory.h"
#include "pool/log/batch.h"
#include "pool/log/snapshot.h"
#include "xapid/db/log.h"

static const size_t sizes[] = {16, 17, 23, 24, 1000};

static uint8_t *make_entry(size_t *size)
{
    uint8_t *entry, *p, data[1000];

    memset(data, 'd', sizeof data);
    *size = BATCH_HEADER;
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
        *size += batch_item_size(sizes[i]);
    entry = xmalloc(*size);
    p = batch_put_header(entry, 77, ARRAY_SIZE(sizes));
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
        p = batch_put_item(p, data, sizes[i]);
    assert_ptr_equal(p, entry + *size);
    return entry;
}

static void write_sets_come_out_as_they_went_in(void **state)
{
    struct batch_reader reader;
    const void *data;
    size_t size, got, n = 0;
    uint8_t *entry = make_entry(&size);
    uint64_t index;

    (void)state;
    assert_int_equal(size % 8, 0);
    assert_int_equal(batch_check(entry, size, &index), BATCH_GOOD);
    assert_int_equal(index, 77);
    batch_read(&reader, entry, size);
    while (batch_next(&reader, &data, &got)) {
        assert_int_equal(got, sizes[n++]);
        assert_int_equal(((const char *)data)[got - 1], 'd');
    }
    assert_int_equal(n, ARRAY_SIZE(sizes));
    free(entry);
}

static void an_entry_cut_anywhere_is_damaged(void **state)
{
    size_t size;
    uint8_t *entry = make_entry(&size);
    uint64_t index;

    (void)state;
    for (size_t n = 0; n < size; n++) {
        uint8_t *exact = memcpy(xmalloc(n ? n : 1), entry, n);

        assert_int_equal(batch_check(exact, n, &index), BATCH_DAMAGED);
        free(exact);
    }
    free(entry);
}

static void sizes_and_counts_that_lie_are_damaged(void **state)
{
    static const uint32_t lies[] = {0,          1,          15,        1 << 20, (1 << 20) + 1,
                                    0x7fffffff, 0xffffffff, 0xfffffff8};
    size_t size;
    uint8_t *entry = make_entry(&size);
    uint64_t index;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
        uint32_t kept;

        memcpy(&kept, entry + BATCH_HEADER, 4);
        memcpy(entry + BATCH_HEADER, &lies[i], 4);
        assert_int_equal(batch_check(entry, size, &index), BATCH_DAMAGED);
        memcpy(entry + BATCH_HEADER, &kept, 4);
        memcpy(&kept, entry + 16, 4);
        memcpy(entry + 16, &lies[i], 4);
        assert_int_equal(batch_check(entry, size, &index), BATCH_DAMAGED);
        memcpy(entry + 16, &kept, 4);
    }
    entry[4] = 2;
    assert_int_equal(batch_check(entry, size, &index), BATCH_NEWER);
    free(entry);
}

static void a_snapshot_changed_anywhere_is_noticed(void **state)
{
    uint8_t all[SNAPSHOT_HEADER + 104];
    const uint8_t *data;
    uint64_t index;
    size_t size;

    (void)state;
    memset(all, 's', sizeof all);
    snapshot_seal(all, 12, all + SNAPSHOT_HEADER, 100);
    assert_null(snapshot_check(all, sizeof all, &index, &data, &size));
    assert_int_equal(index, 12);
    assert_int_equal(size, 100);
    for (size_t i = 0; i < SNAPSHOT_HEADER + 100; i++) {
        all[i] ^= 4;
        assert_non_null(snapshot_check(all, sizeof all, &index, &data, &size));
        all[i] ^= 4;
    }
    for (size_t n = 0; n < sizeof all; n++)
        assert_non_null(snapshot_check(all, n, &index, &data, &size));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(write_sets_come_out_as_they_went_in),
        cmocka_unit_test(an_entry_cut_anywhere_is_damaged),
        cmocka_unit_test(sizes_and_counts_that_lie_are_damaged),
        cmocka_unit_test(a_snapshot_changed_anywhere_is_noticed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
