/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* parent.c -- version 00 of traceparent: 00-<32 digits>-<16 digits>-<2 digits>, in lower case. */
#include <string.h>

#include "xapid/trace/trace.h"

/* 'n' digits, not all of them zero, and then 'end'. */
static bool read_digits(const char **text, size_t n, char end, char *out)
{
    if (strspn(*text, "0123456789abcdef") != n || strspn(*text, "0") == n || (*text)[n] != end)
        return false;
    memcpy(out, *text, n);
    out[n] = '\0';
    *text += n + 1;
    return true;
}

void trace_parent_read(const char *header, struct trace_parent *out)
{
    struct trace_parent found;

    *out = (struct trace_parent){"", ""};
    if (!header || strncmp(header, "00-", 3) != 0)
        return;
    header += 3;
    if (read_digits(&header, 32, '-', found.trace) && read_digits(&header, 16, '-', found.span))
        *out = found;
}
