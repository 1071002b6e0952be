/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pool/ha/lease.h"

#include <stdlib.h>

void lease_begin(struct lease_book *book, uint64_t term, usec_t now)
{
    *book = (struct lease_book){.term = term, .since = now};
}

const struct lease_entry *lease_find(const struct lease_book *book, uint64_t id)
{
    for (size_t i = 0; i < book->n; i++)
        if (book->v[i].id == id)
            return &book->v[i];
    return NULL;
}

static struct lease_entry *entry_of(struct lease_book *book, uint64_t id)
{
    struct lease_entry *known = (struct lease_entry *)lease_find(book, id);

    if (known || book->n == LEASE_MEMBERS)
        return known;
    book->v[book->n] = (struct lease_entry){.id = id};
    return &book->v[book->n++];
}

void lease_heard(struct lease_book *book, uint64_t id, usec_t echo, bool disarmed, usec_t now)
{
    struct lease_entry *e = entry_of(book, id);

    if (!e)
        return;
    e->heard = now;
    e->disarmed = disarmed;
    /* What is no time of this term was made up, or is another term's. */
    if (echo >= book->since && echo <= now)
        e->followed = MAX(e->followed, echo);
}

static int later_first(const void *a, const void *b)
{
    const usec_t *x = a, *y = b;

    return (*x < *y) - (*x > *y);
}

usec_t lease_majority(const struct lease_book *book, uint64_t self, size_t n_voters,
                      const uint64_t *voters, usec_t now)
{
    usec_t times[LEASE_MEMBERS] = {0};
    size_t n = MIN(n_voters, (size_t)LEASE_MEMBERS);

    if (!n)
        return 0;
    for (size_t i = 0; i < n; i++) {
        const struct lease_entry *e = lease_find(book, voters[i]);

        times[i] = voters[i] == self ? now : e ? e->followed : 0;
    }
    qsort(times, n, sizeof *times, later_first);
    return times[n / 2];
}

bool lease_grant(struct lease_book *book, uint64_t id, usec_t majority, usec_t now)
{
    struct lease_entry *e = entry_of(book, id);

    if (!e || !majority || now - majority > LEASE_GRACE)
        return false;
    e->granted = now;
    return true;
}

bool lease_has_run_out(const struct lease_book *book, uint64_t id, usec_t length, usec_t now)
{
    const struct lease_entry *e = lease_find(book, id);
    usec_t inherited = book->since + LEASE_GRACE;
    usec_t last = e ? MAX(e->granted, inherited) : inherited;

    return (!e || !e->disarmed) && now - last >= length + LEASE_MARGIN;
}
