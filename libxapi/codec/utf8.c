/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* utf8.c -- checks and mends UTF-8; most of what comes is ASCII, taken eight bytes at a time. */
#include "libxapi/codec/codec.h"

#define HIGH_BITS 0x8080808080808080u
#define LOW_BITS 0x0101010101010101u

/* Length of the run of ASCII without NUL at the start of s, at least up to the last whole word of
 * it. */
static size_t ascii_run(const unsigned char *s, size_t n)
{
    size_t i = 0;

    for (; i + 8 <= n; i += 8) {
        uint64_t word;

        memcpy(&word, s + i, 8);
        if ((word | (word - LOW_BITS)) & HIGH_BITS)
            break;
    }
    while (i < n && s[i] && s[i] < 0x80)
        i++;
    return i;
}

static bool is_tail(unsigned char c)
{
    return (c & 0xc0) == 0x80;
}

/* Bytes of the character at s, or 0 if there is no well-formed one: no overlong form, no surrogate,
 * at most U+10FFFF. */
static size_t character_size(const unsigned char *s, size_t n)
{
    if (s[0] < 0x80)
        return s[0] != 0;
    if (s[0] < 0xc2 || s[0] > 0xf4 || n < 2 || !is_tail(s[1]))
        return 0;
    if (s[0] < 0xe0)
        return 2;
    if (n < 3 || !is_tail(s[2]))
        return 0;
    if (s[0] < 0xf0) {
        bool bad = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f);

        return bad ? 0 : 3;
    }
    if (n < 4 || !is_tail(s[3]) || (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return 4;
}

/* How much of the start is well-formed. */
static size_t valid_run(const unsigned char *s, size_t n)
{
    size_t i = 0;

    while (i < n) {
        size_t size;

        i += ascii_run(s + i, n - i);
        if (i == n)
            break;
        size = character_size(s + i, n - i);
        if (!size)
            break;
        i += size;
    }
    return i;
}

bool utf8_valid(const char *s, size_t n)
{
    return valid_run((const unsigned char *)s, n) == n;
}

static size_t bad_run(const unsigned char *s, size_t n)
{
    size_t i = 1;

    if (!s[0])
        return 1;
    while (i < n && s[i] >= 0x80 && !character_size(s + i, n - i))
        i++;
    return i;
}

char *utf8_clean(struct arena *arena, const char *s, size_t n, size_t *len)
{
    /* The worst case is one replacement, three bytes, for every byte. */
    const unsigned char *from = (const unsigned char *)s;
    size_t size = 0;
    char *out;

    for (size_t i = 0; i < n;) {
        size_t run = valid_run(from + i, n - i);

        i += run;
        size += run + 3;
        if (i < n)
            i += bad_run(from + i, n - i);
    }
    out = arena_alloc(arena, size + 1);
    *len = 0;
    for (size_t i = 0; i < n;) {
        size_t run = valid_run(from + i, n - i);

        memcpy(out + *len, from + i, run);
        i += run;
        *len += run;
        if (i < n) {
            memcpy(out + *len, "\xef\xbf\xbd", 3);
            *len += 3;
            i += bad_run(from + i, n - i);
        }
    }
    out[*len] = '\0';
    return out;
}
