/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/task/timing.h"

#include <stdlib.h>

#include "libxapi/base/memory.h"

struct timings {
    size_t n;
    struct timing v[];
};

struct timings *timings_new(size_t n)
{
    struct timings *t = xcalloc(1, sizeof *t + n * sizeof t->v[0]);

    t->n = n;
    return t;
}

void timings_free(struct timings *t)
{
    free(t);
}

void timing_note(struct timings *t, size_t message, usec_t took)
{
    struct timing *m;
    usec_t longest;

    if (!t || message >= t->n)
        return;
    m = &t->v[message];
    __atomic_add_fetch(&m->sum, took, __ATOMIC_RELAXED);
    longest = __atomic_load_n(&m->longest, __ATOMIC_RELAXED);
    while (took > longest && !__atomic_compare_exchange_n(&m->longest, &longest, took, true,
                                                          __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        ;
    __atomic_add_fetch(&m->count, 1, __ATOMIC_RELEASE);
}

bool timing_of(const struct timings *t, size_t message, struct timing *out)
{
    const struct timing *m;

    if (!t || message >= t->n)
        return false;
    m = &t->v[message];
    out->count = __atomic_load_n(&m->count, __ATOMIC_ACQUIRE);
    out->sum = __atomic_load_n(&m->sum, __ATOMIC_RELAXED);
    out->longest = __atomic_load_n(&m->longest, __ATOMIC_RELAXED);
    return out->count > 0;
}
