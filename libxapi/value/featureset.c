/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libxapi/value/featureset.h"

#include <stdlib.h>

uint32_t featureset_next(const char **p)
{
    uint32_t word = 0;
    char *end = (char *)*p;

    if (**p)
        word = (uint32_t)strtoul(*p, &end, 16);
    *p = end == *p ? "" : end + (*end == '-' || *end == ':');
    return word;
}

bool featureset_covers(const char *offered, const char *needed)
{
    while (*needed) {
        uint32_t need = featureset_next(&needed);

        if (need & ~featureset_next(&offered))
            return false;
    }
    return true;
}

const char *featureset_common(struct arena *arena, const char *a, const char *b)
{
    const char *text = "";

    while (*a && *b) {
        uint32_t word = featureset_next(&a) & featureset_next(&b);

        text = arena_printf(arena, "%s%s%08x", text, *text ? "-" : "", word);
    }
    return text;
}
