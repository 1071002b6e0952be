/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/auth/agents.h"

#include <stdlib.h>
#include <string.h>

#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"

struct agent {
    char name[AGENT_NAME_MAX + 1], version[AGENT_NAME_MAX + 1];
    uint64_t last; /* number of the call */
};

struct agents {
    struct mutex lock;
    uint64_t calls;
    size_t n;
    struct agent v[AGENTS_MAX];
};

struct agents *agents_new(void)
{
    struct agents *a = xcalloc(1, sizeof *a);

    mutex_init(&a->lock);
    return a;
}

void agents_free(struct agents *a)
{
    if (!a)
        return;
    mutex_release(&a->lock);
    free(a);
}

/* Copies printable ASCII up to one of 'ends'; returns what follows. */
static const char *take(const char *text, const char *ends, char out[AGENT_NAME_MAX + 1])
{
    size_t n = 0;

    for (; *text && !strchr(ends, *text); text++)
        if (n<AGENT_NAME_MAX && * text> ' ' && *text < 127)
            out[n++] = *text;
    out[n] = '\0';
    return text;
}

/* The entry of that name, an empty one, or the one whose last call is the longest ago. */
static struct agent *place_for(struct agents *a, const char *name)
{
    struct agent *oldest = &a->v[0];

    for (size_t i = 0; i < a->n; i++) {
        if (strcmp(a->v[i].name, name) == 0)
            return &a->v[i];
        if (a->v[i].last < oldest->last)
            oldest = &a->v[i];
    }
    return a->n < AGENTS_MAX ? &a->v[a->n++] : oldest;
}

void agents_note(struct agents *a, const char *header)
{
    char name[AGENT_NAME_MAX + 1], version[AGENT_NAME_MAX + 1] = "";
    struct agent *agent;

    if (!a || !header)
        return;
    header = take(header, "/ ", name);
    if (*header == '/')
        take(header + 1, " ", version);
    if (!*name)
        return;
    MUTEX_GUARD(&a->lock);
    agent = place_for(a, name);
    strcpy(agent->name, name);
    strcpy(agent->version, version);
    agent->last = ++a->calls;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct strpair *)a)->key, ((const struct strpair *)b)->key);
}

struct strmap agents_seen(struct agents *a, struct arena *arena)
{
    struct strpair *v = arena_array(arena, struct strpair, AGENTS_MAX);
    size_t n;

    mutex_lock(&a->lock);
    n = a->n;
    for (size_t i = 0; i < n; i++)
        v[i] = (struct strpair){arena_strdup(arena, a->v[i].name),
                                arena_strdup(arena, a->v[i].version)};
    mutex_unlock(&a->lock);
    qsort(v, n, sizeof *v, by_name);
    return (struct strmap){n, v};
}
