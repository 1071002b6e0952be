/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "libxapi/value/value.h"

/* Of all bits but the six that say what they are, each is set in about half of them. */
static void references_are_random_uuids(void **state)
{
    int set[128] = {0};
    char text[UUID_TEXT_SIZE];
    uint8_t b[16];

    (void)state;
    for (int i = 0; i < 1000; i++) {
        ref_t r = ref_new();

        for (int k = 0; k < 64; k++) {
            set[k] += r.hi >> (63 - k) & 1;
            set[64 + k] += r.lo >> (63 - k) & 1;
        }
        assert_true(uuid_from_text(uuid_new(text), b));
        assert_int_equal(b[6] >> 4, 4);
        assert_int_equal(b[8] >> 6, 2);
    }
    for (int k = 0; k < 128; k++) {
        int fixed = k == 49 || k == 64 ? 1000 : k == 48 || k == 50 || k == 51 || k == 65 ? 0 : -1;

        if (fixed >= 0)
            assert_int_equal(set[k], fixed);
        else
            assert_in_range(set[k], 350, 650);
    }
}

static void ints_survive_their_text(void **state)
{
    static const int64_t values[] = {0, 1, -1, 9, 10, -10, INT64_MAX, INT64_MIN};
    char text[INT_TEXT_SIZE], want[32];
    int64_t back;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
        snprintf(want, sizeof want, "%lld", (long long)values[i]);
        assert_int_equal(int_to_text(values[i], text), strlen(want));
        assert_string_equal(text, want);
        assert_true(int_from_text(text, &back));
        assert_true(back == values[i]);
    }
}

static void what_is_no_int_or_too_large_is_refused(void **state)
{
    static const char *const bad[] = {"",
                                      "-",
                                      "1x",
                                      "0x10",
                                      "9223372036854775808",
                                      "1.0",
                                      "--1",
                                      "1 2",
                                      "-9223372036854775809",
                                      "99999999999999999999"};
    int64_t i;

    (void)state;
    for (size_t k = 0; k < ARRAY_SIZE(bad); k++)
        assert_false(int_from_text(bad[k], &i));
    assert_true(int_from_text(" +5\n", &i));
    assert_int_equal(i, 5);
}

static void doubles_are_written_as_printf_does(void **state)
{
    static const double values[] = {0.0,
                                    -0.0,
                                    1,
                                    -1,
                                    0.1,
                                    1e15,
                                    1e16,
                                    123456789012345678.0,
                                    1e300,
                                    5e-324,
                                    1.0 / 3,
                                    -2.5,
                                    999999999999999.0,
                                    1e-5};
    char text[DOUBLE_TEXT_SIZE], want[64];
    double back;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
        snprintf(want, sizeof want, "%.16g", values[i]);
        assert_int_equal(double_to_text(values[i], 16, text), strlen(want));
        assert_string_equal(text, want);
        double_to_text(values[i], 18, text);
        assert_true(double_from_text(text, &back));
        assert_memory_equal(&back, &values[i], sizeof back);
    }
    double_to_text(NAN, 16, text);
    assert_string_equal(text, "nan");
    double_to_text(-INFINITY, 16, text);
    assert_string_equal(text, "-inf");
}

static void doubles_are_read_as_strtod_does(void **state)
{
    static const char *const good[] = {
        "0",      "1.",       ".5",
        "1e3",    "-1.25E-2", "123456789.123456789",
        "1e22",   "1e23",     "3.14159265358979323846",
        "1e-400", "007",      "0.000000000000000000000000000000000001",
        "1e-22"};
    static const char *const bad[] = {"", ".", "e5", "1e", "0x1p3", "1,5", "1 2", "nanx", "--1"};
    double d, want;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        want = strtod(good[i], NULL);
        assert_true(double_from_text(good[i], &d));
        assert_memory_equal(&d, &want, sizeof d);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_false(double_from_text(bad[i], &d));
    assert_true(double_from_text("-Infinity", &d) && d == -INFINITY);
    assert_true(double_from_text("NaN", &d) && isnan(d));
}

static void numbers_do_not_follow_the_locale(void **state)
{
    char text[DOUBLE_TEXT_SIZE];
    double d;

    (void)state;
    if (!setlocale(LC_NUMERIC, "de_DE.UTF-8"))
        skip(); /* not installed here */
    double_to_text(0.5, 16, text);
    assert_true(double_from_text("0.12345678901234567", &d));
    setlocale(LC_NUMERIC, "C");
    assert_string_equal(text, "0.5");
    assert_true(d > 0.12 && d < 0.13);
}

static void dates_are_written_compact_and_in_utc(void **state)
{
    char text[DATE_TEXT_SIZE];

    (void)state;
    assert_string_equal(date_to_text(1742357784 * USEC_PER_SEC, text), "20250319T04:16:24Z");
    assert_string_equal(date_to_text(0, text), "19700101T00:00:00Z");
    assert_string_equal(date_to_text(-1, text), "19691231T23:59:59Z");
    assert_string_equal(date_to_text(951782400 * USEC_PER_SEC, text), "20000229T00:00:00Z");
    assert_string_equal(date_to_text(INT64_MAX, text), "99991231T23:59:59Z");
    assert_string_equal(date_to_text(INT64_MIN, text), "00000101T00:00:00Z");
}

static void dates_are_read_in_all_forms_clients_send(void **state)
{
    static const char *const same[] = {"20250319T04:16:24Z",   "2025-03-19T04:16:24Z",
                                       "20250319T04:16:24",    "2025-03-19T05:16:24+01:00",
                                       "20250319T041624Z",     "2025-03-18T23:16:24-0500",
                                       " 20250319T04:16:24Z ", "20250319T05:16:24+01"};
    usec_t date;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(same); i++) {
        assert_true(date_from_text(same[i], &date));
        assert_true(date == 1742357784 * USEC_PER_SEC);
    }
    assert_true(date_from_text("20250319T04:16:24.25Z", &date));
    assert_true(date == 1742357784 * USEC_PER_SEC + 250000);
}

static void what_is_no_date_is_refused(void **state)
{
    static const char *const bad[] = {"",
                                      "20250319",
                                      "20250229T00:00:00Z",
                                      "20251301T00:00:00Z",
                                      "2025-0319T00:00:00Z",
                                      "20250319T24:00:00Z",
                                      "20250319T00:60:00Z",
                                      "20250319T00:00:00X",
                                      "20250319T00:00:00Zz",
                                      "20250319T00:00:00.Z",
                                      "20250319T00:00"};
    usec_t date;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_false(date_from_text(bad[i], &date));
}

static void every_day_survives_its_text(void **state)
{
    char text[DATE_TEXT_SIZE];
    usec_t back;

    (void)state;
    for (int64_t day = -719528; day <= 2932896; day += 13) {
        usec_t date = day * 86400 * USEC_PER_SEC + 3723 * USEC_PER_SEC;

        assert_true(date_from_text(date_to_text(date, text), &back));
        assert_true(back == date);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(references_are_random_uuids),
        cmocka_unit_test(ints_survive_their_text),
        cmocka_unit_test(what_is_no_int_or_too_large_is_refused),
        cmocka_unit_test(doubles_are_written_as_printf_does),
        cmocka_unit_test(doubles_are_read_as_strtod_does),
        cmocka_unit_test(numbers_do_not_follow_the_locale),
        cmocka_unit_test(dates_are_written_compact_and_in_utc),
        cmocka_unit_test(dates_are_read_in_all_forms_clients_send),
        cmocka_unit_test(what_is_no_date_is_refused),
        cmocka_unit_test(every_day_survives_its_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
