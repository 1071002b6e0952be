/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/vm/squeeze.h"

bool squeeze_share(int64_t available, size_t n, struct squeeze_range *v)
{
    int64_t minima = 0, range = 0, extra;

    for (size_t i = 0; i < n; i++) {
        minima += v[i].min;
        range += v[i].max - v[i].min;
    }
    extra = available - minima;
    for (size_t i = 0; i < n; i++) {
        int64_t own = v[i].max - v[i].min, part = 0;

        if (extra >= range)
            part = own;
        else if (extra > 0)
            part = (int64_t)((__int128)own * extra / range) / SQUEEZE_PAGE * SQUEEZE_PAGE;
        v[i].target = v[i].min + part;
    }
    return extra >= 0;
}

static bool has_reached(const struct squeeze_progress *p)
{
    return p->actual <= p->target + p->offset + SQUEEZE_TOLERANCE;
}

void squeeze_look(struct squeeze_progress *p, int64_t target, int64_t actual, usec_t now)
{
    bool shrank = p->begun && actual < p->actual;

    if (!p->begun) {
        *p = (struct squeeze_progress){.begun = true, .offset = MAX(actual - target, 0)};
        /* One that is far off its target is on its way to it. */
        if (p->offset > target / 8)
            p->offset = 0;
        p->since = now;
    }
    /* A new target gives it new time, unless it has shown that it does nothing. */
    if (shrank || (target != p->target && !p->uncooperative))
        p->since = now;
    p->target = target;
    p->actual = actual;
    if (has_reached(p)) {
        p->since = now;
        p->uncooperative = false;
    } else if (shrank) {
        p->uncooperative = false;
    } else if (now - p->since >= SQUEEZE_PATIENCE) {
        p->uncooperative = true;
    }
}

bool squeeze_is_shrinking(const struct squeeze_progress *p)
{
    return p->begun && !p->uncooperative && !has_reached(p);
}
