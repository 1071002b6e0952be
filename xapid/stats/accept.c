/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/stats/accept.h"

#include <string.h>
#include <strings.h>

#include "libxapi/value/value.h"

#define ENTRY_MAX 128

/* One entry: "text/xml;q=0.5". */
struct entry {
    char type[ENTRY_MAX];
    double quality;
};

static void trim(char *s)
{
    size_t n = strspn(s, " \t"), m;

    memmove(s, s + n, strlen(s + n) + 1);
    m = strlen(s);
    while (m && strchr(" \t", s[m - 1]))
        s[--m] = '\0';
}

/* One that is too long to be of ours counts for nothing. */
static void read_entry(const char *text, size_t n, struct entry *out)
{
    char *next, *parameter;

    *out = (struct entry){.quality = 1};
    if (n >= ENTRY_MAX)
        return;
    memcpy(out->type, text, n);
    parameter = strchr(out->type, ';');
    if (parameter)
        *parameter++ = '\0';
    while (parameter) {
        next = strchr(parameter, ';');
        if (next)
            *next++ = '\0';
        trim(parameter);
        if (strncasecmp(parameter, "q=", 2) == 0 &&
            (!double_from_text(parameter + 2, &out->quality) ||
             !(out->quality >= 0 && out->quality <= 1)))
            out->quality = 0;
        parameter = next;
    }
    trim(out->type);
}

/* How well an entry says 'type': 3 itself, 2 its kind, 1 anything, 0 not. */
static int precision(const char *entry, const char *type)
{
    size_t kind = strcspn(type, "/") + 1;

    if (strcasecmp(entry, type) == 0)
        return 3;
    if (strncasecmp(entry, type, kind) == 0 && strcmp(entry + kind, "*") == 0)
        return 2;
    return strcmp(entry, "*/*") == 0;
}

/* The most precise entry decides. */
static double quality_of(const char *accept, const char *type)
{
    double quality = 0;
    int best = 0;

    while (*accept) {
        size_t n = strcspn(accept, ",");
        struct entry entry;

        read_entry(accept, n, &entry);
        if (precision(entry.type, type) > best) {
            best = precision(entry.type, type);
            quality = entry.quality;
        }
        accept += n + (accept[n] == ',');
    }
    return quality;
}

bool accept_prefers_json(const char *accept)
{
    double json = quality_of(accept, "application/json"), xml = quality_of(accept, "text/xml");

    return json > 0 && json >= xml;
}
