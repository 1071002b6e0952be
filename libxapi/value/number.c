/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * number.c -- numbers as text.  printf and strtod follow the locale and are slow; what the wire and
 * the filters need is neither, so whole numbers and short decimals are done here and only the rest
 * goes through the C library.
 */
#include "libxapi/value/value.h"

#include <langinfo.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A double's shortest exact decimal can be longer than this, but nobody sends it. */
#define LONGEST_DOUBLE 400

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static const char *skip_space(const char *s)
{
    while (is_space(*s))
        s++;
    return s;
}

size_t int_to_text(int64_t i, char out[INT_TEXT_SIZE])
{
    uint64_t rest = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
    char digits[INT_TEXT_SIZE];
    size_t n = 0, len = 0;

    do {
        digits[n++] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest);
    if (i < 0)
        out[len++] = '-';
    while (n)
        out[len++] = digits[--n];
    out[len] = '\0';
    return len;
}

bool int_from_text(const char *text, int64_t *out)
{
    const char *s = skip_space(text);
    bool negative = *s == '-';
    uint64_t limit = (uint64_t)INT64_MAX + negative, value = 0;

    if (*s == '-' || *s == '+')
        s++;
    if (!is_digit(*s))
        return false;
    for (; is_digit(*s); s++) {
        unsigned digit = (unsigned)(*s - '0');

        if (value > (limit - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    if (*skip_space(s))
        return false;
    *out = (int64_t)(negative ? 0 - value : value);
    return true;
}

/* The locale's decimal point becomes '.': everything but it is ASCII that %g writes. */
static size_t with_plain_point(char *s)
{
    char *to = s;

    for (const char *from = s; *from; from++) {
        if (is_digit(*from) || strchr("+-.e", *from))
            *to++ = *from;
        else if (to == s || to[-1] != '.')
            *to++ = '.';
    }
    *to = '\0';
    return (size_t)(to - s);
}

size_t double_to_text(double d, int digits, char out[DOUBLE_TEXT_SIZE])
{
    const char *word = isnan(d) ? "nan" : isinf(d) ? (d < 0 ? "-inf" : "inf") : NULL;

    if (word)
        return (size_t)(stpcpy(out, word) - out);
    if (digits >= 15 && fabs(d) < 1e15 && d == (double)(int64_t)d && (d != 0 || !signbit(d)))
        return int_to_text((int64_t)d, out);
    snprintf(out, DOUBLE_TEXT_SIZE, "%.*g", digits, d);
    return with_plain_point(out);
}

/* What a decimal's text says, as far as it fits. */
struct decimal {
    const char *end; /* NULL: no decimal */
    uint64_t digits; /* without the point */
    int n_digits, exponent;
    bool negative;
};

static const char *decimal_exponent(const char *s, struct decimal *d)
{
    bool negative = s[1] == '-';
    int value = 0;

    s += 1 + (s[1] == '-' || s[1] == '+');
    if (!is_digit(*s))
        return NULL;
    for (; is_digit(*s); s++)
        value = MIN(value * 10 + (*s - '0'), 100000);
    d->exponent += negative ? -value : value;
    return s;
}

static struct decimal decimal_read(const char *s)
{
    struct decimal d = {.negative = *s == '-'};
    bool point = false, any = false;

    if (*s == '-' || *s == '+')
        s++;
    for (; is_digit(*s) || (*s == '.' && !point); s++) {
        if (*s == '.') {
            point = true;
            continue;
        }
        any = true;
        if (d.n_digits || *s != '0')
            d.n_digits++;
        if (d.n_digits < 19)
            d.digits = d.digits * 10 + (unsigned)(*s - '0');
        d.exponent -= point;
    }
    if (any)
        d.end = *s == 'e' || *s == 'E' ? decimal_exponent(s, &d) : s;
    return d;
}

/* Up to 15 digits and a power of ten up to 22 are exact in a double, so one operation rounds
 * correctly. */
static bool decimal_is_short(const struct decimal *d)
{
    return d->n_digits <= 15 && d->exponent >= -22 && d->exponent <= 22;
}

static double decimal_short_value(const struct decimal *d)
{
    static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                    1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                    1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    double value = (double)d->digits;

    value = d->exponent < 0 ? value / powers[-d->exponent] : value * powers[d->exponent];
    return d->negative ? -value : value;
}

static double double_by_library(const char *text, size_t n)
{
    const char *radix = nl_langinfo(RADIXCHAR);
    char copy[LONGEST_DOUBLE + 16];
    size_t len = 0;

    for (size_t i = 0; i < n; i++) {
        if (text[i] == '.' && strlen(radix) < 16)
            len = (size_t)(stpcpy(copy + len, radix) - copy);
        else
            copy[len++] = text[i];
    }
    copy[len] = '\0';
    return strtod(copy, NULL);
}

/* One of the words for what is no number; the length of what was read, or 0. */
static size_t double_word(const char *s, double *out)
{
    static const struct {
        const char *word;
        double value;
    } words[] = {{"infinity", INFINITY}, {"inf", INFINITY}, {"nan", NAN}};
    size_t sign = *s == '-' || *s == '+';

    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        const char *w = words[i].word;
        size_t n = 0;

        while (w[n] && (s[sign + n] | 0x20) == w[n])
            n++;
        if (!w[n]) {
            *out = *s == '-' ? -words[i].value : words[i].value;
            return sign + n;
        }
    }
    return 0;
}

bool double_from_text(const char *text, double *out)
{
    const char *s = skip_space(text);
    struct decimal d = decimal_read(s);
    size_t word;

    if (!d.end) {
        word = double_word(s, out);
        return word && !*skip_space(s + word);
    }
    if (d.end - s > LONGEST_DOUBLE || *skip_space(d.end))
        return false;
    *out =
        decimal_is_short(&d) ? decimal_short_value(&d) : double_by_library(s, (size_t)(d.end - s));
    return true;
}
