/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* protocol.c -- frames and records without a socket. */
#include "fixture.h"

#include <string.h>

#include "libxapi/base/seam.h"
#include "xapid/hypervisor/protocol.h"

static void a_frame_is_taken_only_when_it_is_complete(void **state)
{
    AUTO(buf) b = {0};
    json_t *m = json_pack("{s:i}", "serial", 1), *got = NULL;
    const char *why;
    size_t used;

    (void)state;
    assert_true(frame_append(&b, m, 100));
    assert_int_equal(b.len, 4 + 12);
    for (size_t n = 0; n < b.len; n++)
        assert_int_equal(frame_take(b.data, n, 100, &used, &got, &why), FRAME_MORE);
    assert_int_equal(frame_take(b.data, b.len, 100, &used, &got, &why), FRAME_READY);
    assert_int_equal(used, b.len);
    assert_true(json_equal(m, got));
    json_decref(got);
    json_decref(m);
}

static void a_message_beyond_the_limit_is_not_written(void **state)
{
    AUTO(buf) b = {0};
    json_t *m = json_pack("{s:s}", "text", "0123456789");

    (void)state;
    buf_puts(&b, "before");
    assert_false(frame_append(&b, m, 20));
    assert_string_equal(b.data, "before");
    assert_true(frame_append(&b, m, 21));
    json_decref(m);
}

static enum frame_state take(const char *data, size_t n, size_t limit)
{
    json_t *message = NULL;
    const char *why;
    size_t used;
    enum frame_state state = frame_take(data, n, limit, &used, &message, &why);

    json_decref(message);
    return state;
}

static void lengths_and_texts_that_are_wrong_are_bad(void **state)
{
    (void)state;
    assert_int_equal(take("\0\0\0\0", 4, 100), FRAME_BAD);
    assert_int_equal(take("\0\0\0\145", 4, 100), FRAME_BAD);
    assert_int_equal(take("\0\0\0\144", 4, 100), FRAME_MORE);
    assert_int_equal(take("\xff\xff\xff\xff{}", 6, 100), FRAME_BAD);
    assert_int_equal(take("\0\0\0\2{}", 6, 100), FRAME_READY);
    assert_int_equal(take("\0\0\0\2[]", 6, 100), FRAME_BAD);
    assert_int_equal(take("\0\0\0\2}{", 6, 100), FRAME_BAD);
    assert_int_equal(take("\0\0\0\15{\"a\":1,\"a\":2}", 17, 100), FRAME_BAD);
    assert_int_equal(take("\0\0\0\7{\"\xff\":1}", 11, 100), FRAME_BAD);
}

static struct hv_domain_config a_config(struct hv_disk *disk, struct hv_nic *nic,
                                        struct strpair *pair)
{
    *disk = (struct hv_disk){"xvda", "/dev/x", "raw", false, true, HV_DISK_RW};
    *nic = (struct hv_nic){3, "00:16:3e:00:00:01", "xenbr0", 9000, 1 << 20, 50000, true};
    *pair = (struct strpair){"nx", "true"};
    return (struct hv_domain_config){
        .uuid = "6f1c1d2e-0000-4000-8000-000000000001",
        .name = "gr\xc3\xbc\xc3\x9f",
        .type = "hvm",
        .memory_static_max = (int64_t)1 << 40,
        .memory_target = 1,
        .vcpus_max = 8,
        .vcpus = 1,
        .platform = {1, pair},
        .n_disks = 1,
        .disks = disk,
        .n_nics = 1,
        .nics = nic,
    };
}

static void a_configuration_survives_the_journey(void **state)
{
    AUTO(arena) arena = {0};
    struct hv_disk disk;
    struct hv_nic nic;
    struct strpair pair;
    struct hv_domain_config c = a_config(&disk, &nic, &pair), got = {0};
    json_t *json = write_config(&c), *again;
    struct reader r = reader_of(&arena, json);

    (void)state;
    read_config(&r, &got);
    assert_null(r.bad);
    assert_string_equal(got.name, c.name);
    assert_string_equal(got.kernel, "");
    assert_int_equal(got.memory_static_max, c.memory_static_max);
    assert_string_equal(got.disks[0].path, "/dev/x");
    assert_true(got.disks[0].shared);
    assert_int_equal(got.disks[0].mode, HV_DISK_RW);
    assert_int_equal(got.nics[0].mtu, 9000);
    assert_int_equal(got.nics[0].rate, 1 << 20);
    assert_int_equal(got.nics[0].rate_interval, 50000);
    assert_true(got.nics[0].vswitch);
    assert_string_equal(got.platform.v[0].value, "true");
    again = write_config(&got);
    assert_true(json_equal(json, again));
    json_decref(again);
    json_decref(json);
}

static void what_is_missing_or_wrong_is_named(void **state)
{
    AUTO(arena) arena = {0};
    struct hv_disk disk;
    struct hv_nic nic;
    struct strpair pair;
    struct hv_domain_config c = a_config(&disk, &nic, &pair), got = {0};
    json_t *json = write_config(&c);
    struct reader r = reader_of(&arena, json);

    (void)state;
    json_object_set_new(json, "vcpus", json_integer(-1));
    read_config(&r, &got);
    assert_string_equal(r.bad, "vcpus");
    json_object_set_new(json, "vcpus", json_integer(1));
    json_object_del(json_array_get(json_object_get(json, "disks"), 0), "path");
    r = reader_of(&arena, json);
    read_config(&r, &got);
    assert_string_equal(r.bad, "path");
    r = reader_of(&arena, NULL);
    read_config(&r, &got);
    assert_string_equal(r.bad, "uuid");
    json_decref(json);
}

static int64_t left_of(int64_t ms, usec_t sent)
{
    AUTO(arena) arena = {0};
    json_t *json = json_pack("{s:I, s:I}", "ms", (json_int_t)ms, "sent", (json_int_t)sent);
    struct reader r = reader_of(&arena, json);
    int64_t left = read_watchdog(&r);

    assert_null(r.bad);
    json_decref(json);
    return left;
}

static void a_watchdog_counts_from_when_it_was_told_however_long_that_took(void **state)
{
    usec_t now = clock_mono();

    (void)state;
    assert_int_equal(left_of(100000, 0), 100000); /* an older daemon does not say when */
    assert_true(left_of(100000, now - 4 * USEC_PER_SEC) <= 96000);
    assert_int_equal(left_of(3000, now - 4 * USEC_PER_SEC), 1);
    assert_int_equal(left_of(0, now - 4 * USEC_PER_SEC), 0);
    assert_int_equal(left_of(100000, now + 3600 * USEC_PER_SEC), 100000);
}

static void an_error_survives_the_journey_and_nonsense_becomes_one(void **state)
{
    AUTO(arena) arena = {0};
    json_t *json = write_error(error_new(&arena, "HOST_NOT_ENOUGH_FREE_MEMORY", 2, "5", "3"));
    struct error *e = read_error(&arena, json);

    (void)state;
    json_decref(json);
    assert_string_equal(error_line(&arena, e), "HOST_NOT_ENOUGH_FREE_MEMORY(5, 3)");
    assert_true(error_is(read_error(&arena, NULL), "INTERNAL_ERROR"));
}

static void bytes_that_are_no_utf8_become_question_marks(void **state)
{
    json_t *v = json_text("/a\xff"
                          "b");

    (void)state;
    assert_string_equal(json_string_value(v), "/a?b");
    json_decref(v);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_frame_is_taken_only_when_it_is_complete),
        cmocka_unit_test(a_message_beyond_the_limit_is_not_written),
        cmocka_unit_test(lengths_and_texts_that_are_wrong_are_bad),
        cmocka_unit_test(a_configuration_survives_the_journey),
        cmocka_unit_test(what_is_missing_or_wrong_is_named),
        cmocka_unit_test(a_watchdog_counts_from_when_it_was_told_however_long_that_took),
        cmocka_unit_test(an_error_survives_the_journey_and_nonsense_becomes_one),
        cmocka_unit_test(bytes_that_are_no_utf8_become_question_marks),
    };

    return cmocka_run_group_tests_name("hypervisor-protocol", tests, NULL, NULL);
}
