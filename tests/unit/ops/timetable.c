/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* timetable.c -- when schedules want their snapshots. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <time.h>

#include "xapid/ops/vm/timetable.h"

static usec_t at(const char *text)
{
    struct tm tm = {0};

    assert_non_null(strptime(text, "%Y-%m-%d %H:%M", &tm));
    tm.tm_isdst = -1;
    return (usec_t)mktime(&tm) * USEC_PER_SEC;
}

static struct vmss schedule(enum vmss_frequency frequency, const struct strpair *times)
{
    return (struct vmss){.frequency = frequency, .schedule = {3, times}};
}

static void an_hourly_one_is_due_each_hour_at_its_minute(void **state)
{
    const struct strpair times[] = {{"min", "30"}, {"hour", "7"}, {"days", "Monday"}};
    struct vmss s = schedule(VMSS_FREQUENCY_HOURLY, times);

    (void)state;
    assert_int_equal(timetable_last(&s, at("2026-03-04 10:30")), at("2026-03-04 10:30"));
    assert_int_equal(timetable_last(&s, at("2026-03-04 10:29")), at("2026-03-04 09:30"));
    assert_int_equal(timetable_last(&s, at("2026-03-04 00:05")), at("2026-03-03 23:30"));
}

static void a_daily_one_is_due_each_day_at_its_time(void **state)
{
    const struct strpair times[] = {{"min", "15"}, {"hour", "7"}, {"days", "Monday"}};
    struct vmss s = schedule(VMSS_FREQUENCY_DAILY, times);

    (void)state;
    assert_int_equal(timetable_last(&s, at("2026-03-04 07:15")), at("2026-03-04 07:15"));
    assert_int_equal(timetable_last(&s, at("2026-03-04 07:14")), at("2026-03-03 07:15"));
    assert_int_equal(timetable_last(&s, at("2026-01-01 00:00")), at("2025-12-31 07:15"));
}

static void a_weekly_one_is_due_on_its_days(void **state)
{
    const struct strpair times[] = {{"min", "0"}, {"hour", "22"}, {"days", "Monday, Saturday"}};
    struct vmss s = schedule(VMSS_FREQUENCY_WEEKLY, times);

    (void)state; /* 2026-03-02 was a Monday */
    assert_int_equal(timetable_last(&s, at("2026-03-02 22:00")), at("2026-03-02 22:00"));
    assert_int_equal(timetable_last(&s, at("2026-03-02 21:59")), at("2026-02-28 22:00"));
    assert_int_equal(timetable_last(&s, at("2026-03-06 12:00")), at("2026-03-02 22:00"));
    assert_int_equal(timetable_last(&s, at("2026-03-09 21:00")), at("2026-03-07 22:00"));
}

static void once_a_week_reaches_back_a_week(void **state)
{
    const struct strpair times[] = {{"min", "0"}, {"hour", "22"}, {"days", "Monday"}};
    struct vmss s = schedule(VMSS_FREQUENCY_WEEKLY, times);

    (void)state;
    assert_int_equal(timetable_last(&s, at("2026-03-09 21:59")), at("2026-03-02 22:00"));
}

/* Over a whole year: never after now, never going back, and each time is its own last one. */
static void times_rise_and_are_their_own(void **state)
{
    const struct strpair times[] = {
        {"min", "45"}, {"hour", "2"}, {"days", "Sunday,Wednesday,Friday"}};
    static const enum vmss_frequency all[] = {VMSS_FREQUENCY_HOURLY, VMSS_FREQUENCY_DAILY,
                                              VMSS_FREQUENCY_WEEKLY};

    (void)state;
    for (size_t f = 0; f < ARRAY_SIZE(all); f++) {
        struct vmss s = schedule(all[f], times);
        usec_t before = 0;

        for (usec_t now = at("2026-01-01 00:00"); now < at("2027-01-01 00:00");
             now += 17 * 60 * USEC_PER_SEC) {
            usec_t last = timetable_last(&s, now);

            assert_true(last && last <= now && last >= before);
            assert_true(now - last < 8 * 24 * 3600 * USEC_PER_SEC);
            assert_int_equal(timetable_last(&s, last), last);
            before = last;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_hourly_one_is_due_each_hour_at_its_minute),
        cmocka_unit_test(a_daily_one_is_due_each_day_at_its_time),
        cmocka_unit_test(a_weekly_one_is_due_on_its_days),
        cmocka_unit_test(once_a_week_reaches_back_a_week),
        cmocka_unit_test(times_rise_and_are_their_own),
    };
    int failed;

    setenv("TZ", "UTC", 1);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    /* Half an hour off, and with summer time. */
    setenv("TZ", "Australia/Adelaide", 1);
    tzset();
    return failed + cmocka_run_group_tests(tests, NULL, NULL);
}
