/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* date.c -- dates as the XenAPI writes them; the proleptic Gregorian calendar, without the C
 * library's zones. */
#include "libxapi/value/value.h"

#define SECONDS_PER_DAY 86400
/* 0000-01-01 and 9999-12-31 in seconds from 1970. */
#define FIRST_SECOND (-62167219200LL)
#define LAST_SECOND 253402300799LL

/* Days from 1970-01-01; years are counted from March, so that the leap day is the last. */
static int64_t days_from_civil(int year, int month, int day)
{
    int64_t y = year - (month <= 2);
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

    return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year -
           719468;
}

static void civil_from_days(int64_t days, int *year, int *month, int *day)
{
    int64_t shifted = days + 719468;
    int64_t era = (shifted >= 0 ? shifted : shifted - 146096) / 146097;
    int64_t doe = shifted - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;

    *day = (int)(doy - (153 * mp + 2) / 5 + 1);
    *month = (int)(mp < 10 ? mp + 3 : mp - 9);
    *year = (int)(yoe + era * 400 + (*month <= 2));
}

static char *put_digits(char *p, int value, int n)
{
    for (int i = n - 1; i >= 0; i--) {
        p[i] = (char)('0' + value % 10);
        value /= 10;
    }
    return p + n;
}

char *date_to_text(usec_t date, char out[DATE_TEXT_SIZE])
{
    int64_t seconds = date / USEC_PER_SEC - (date % USEC_PER_SEC < 0);
    int64_t days;
    int of_day, year, month, day;
    char *p = out;

    seconds = MAX(MIN(seconds, LAST_SECOND), FIRST_SECOND);
    days = seconds / SECONDS_PER_DAY - (seconds % SECONDS_PER_DAY < 0);
    of_day = (int)(seconds - days * SECONDS_PER_DAY);
    civil_from_days(days, &year, &month, &day);
    p = put_digits(p, year, 4);
    p = put_digits(p, month, 2);
    p = put_digits(p, day, 2);
    *p++ = 'T';
    p = put_digits(p, of_day / 3600, 2);
    *p++ = ':';
    p = put_digits(p, of_day / 60 % 60, 2);
    *p++ = ':';
    p = put_digits(p, of_day % 60, 2);
    *p++ = 'Z';
    *p = '\0';
    return out;
}

/* Reads exactly n digits, moving *p. */
static bool get_digits(const char **p, int n, int *out)
{
    *out = 0;
    for (int i = 0; i < n; i++, (*p)++) {
        if (**p < '0' || **p > '9')
            return false;
        *out = *out * 10 + (**p - '0');
    }
    return true;
}

static bool skip_char(const char **p, char c)
{
    if (**p != c)
        return false;
    (*p)++;
    return true;
}

static int days_in_month(int year, int month)
{
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

    return days[month - 1] + (month == 2 && leap);
}

static bool get_day(const char **p, int64_t *days)
{
    int year, month, day;
    bool hyphens;

    if (!get_digits(p, 4, &year))
        return false;
    hyphens = skip_char(p, '-');
    if (!get_digits(p, 2, &month) || month < 1 || month > 12)
        return false;
    if (skip_char(p, '-') != hyphens)
        return false;
    if (!get_digits(p, 2, &day) || day < 1 || day > days_in_month(year, month))
        return false;
    *days = days_from_civil(year, month, day);
    return true;
}

/* Second 60 is a leap second and becomes the next minute's first. */
static bool get_time(const char **p, int *seconds)
{
    int hour, minute, second;

    if (!get_digits(p, 2, &hour) || hour > 23)
        return false;
    skip_char(p, ':');
    if (!get_digits(p, 2, &minute) || minute > 59)
        return false;
    skip_char(p, ':');
    if (!get_digits(p, 2, &second) || second > 60)
        return false;
    *seconds = hour * 3600 + minute * 60 + second;
    return true;
}

static bool get_fraction(const char **p, int *usec)
{
    int scale = 100000;

    *usec = 0;
    if (**p != '.' && **p != ',')
        return true;
    (*p)++;
    if (**p < '0' || **p > '9')
        return false;
    for (; **p >= '0' && **p <= '9'; (*p)++) {
        *usec += (**p - '0') * scale;
        scale /= 10;
    }
    return true;
}

static bool get_zone(const char **p, int *seconds)
{
    bool west = **p == '-';
    int hours, minutes = 0;

    *seconds = 0;
    if (skip_char(p, 'Z') || (**p != '+' && **p != '-'))
        return true;
    (*p)++;
    if (!get_digits(p, 2, &hours) || hours > 23)
        return false;
    if (skip_char(p, ':') || (**p >= '0' && **p <= '9')) {
        if (!get_digits(p, 2, &minutes) || minutes > 59)
            return false;
    }
    *seconds = (hours * 3600 + minutes * 60) * (west ? -1 : 1);
    return true;
}

static void skip_space(const char **p)
{
    while (**p == ' ' || **p == '\t' || **p == '\n' || **p == '\r')
        (*p)++;
}

bool date_from_text(const char *text, usec_t *out)
{
    int of_day, usec, zone;
    int64_t days;

    skip_space(&text);
    if (!get_day(&text, &days) || !skip_char(&text, 'T') || !get_time(&text, &of_day))
        return false;
    if (!get_fraction(&text, &usec) || !get_zone(&text, &zone))
        return false;
    skip_space(&text);
    if (*text)
        return false;
    *out = (days * SECONDS_PER_DAY + of_day - zone) * USEC_PER_SEC + usec;
    return true;
}
