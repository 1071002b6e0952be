/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/vm/timetable.h"

#include <string.h>
#include <time.h>

#include "libxapi/value/value.h"

#define HOUR 3600

static int number(const struct vmss *vmss, const char *key)
{
    const char *text = strmap_get(&vmss->schedule, key);
    int64_t n = 0;

    return text && int_from_text(text, &n) ? (int)n : 0;
}

static bool has_day(const struct vmss *vmss, int weekday)
{
    static const char *const days[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                       "Thursday", "Friday", "Saturday"};
    const char *text = strmap_get(&vmss->schedule, "days");

    return text && strstr(text, days[weekday]) != NULL;
}

/* That time of the day 'back' days before. */
static time_t on_day(const struct vmss *vmss, time_t now, int back, int *weekday)
{
    struct tm tm;
    time_t t;

    localtime_r(&now, &tm);
    tm.tm_mday -= back;
    tm.tm_hour = number(vmss, "hour");
    tm.tm_min = number(vmss, "min");
    tm.tm_sec = 0;
    tm.tm_isdst = -1;
    t = mktime(&tm);
    *weekday = tm.tm_wday;
    return t;
}

static time_t last_hour(const struct vmss *vmss, time_t now)
{
    struct tm tm;
    time_t t;

    localtime_r(&now, &tm);
    t = now - tm.tm_min * 60 - tm.tm_sec + number(vmss, "min") * 60;
    return t > now ? t - HOUR : t;
}

usec_t timetable_last(const struct vmss *vmss, usec_t now)
{
    time_t seconds = (time_t)(now / USEC_PER_SEC);

    if (vmss->frequency == VMSS_FREQUENCY_HOURLY)
        return (usec_t)last_hour(vmss, seconds) * USEC_PER_SEC;
    for (int back = 0; back <= 7; back++) {
        int weekday;
        time_t t = on_day(vmss, seconds, back, &weekday);

        if (t <= seconds && (vmss->frequency == VMSS_FREQUENCY_DAILY || has_day(vmss, weekday)))
            return (usec_t)t * USEC_PER_SEC;
    }
    return 0;
}
