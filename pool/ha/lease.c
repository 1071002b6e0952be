/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pool/ha/lease.h"

#include <stdlib.h>

bool lease_follow(struct lease_held *held, usec_t length)
{
    if (length == held->length)
        return false;
    *held = (struct lease_held){.length = length};
    return true;
}

void lease_take(struct lease_held *held, usec_t length, usec_t asked)
{
    if (length == held->length)
        held->until = MAX(held->until, asked + length);
}

void lease_ties_begin(struct lease_ties *ties, usec_t now)
{
    *ties = (struct lease_ties){.answered = now, .parted = now};
}

void lease_ties_answered(struct lease_ties *ties, uint64_t term, usec_t echo, usec_t now)
{
    if (term < ties->term)
        return; /* it was overtaken, and is never brought back */
    if (term > ties->term)
        ties->parted = MAX(ties->parted, ties->answered);
    ties->term = term;
    ties->echo = echo;
    ties->answered = now;
}

void lease_ties_led(struct lease_ties *ties, usec_t now)
{
    ties->answered = ties->parted = now;
}

usec_t lease_ties_echo(const struct lease_ties *ties, uint64_t term)
{
    return ties->term == term ? ties->echo : 0;
}

usec_t lease_ties_parted(const struct lease_ties *ties, uint64_t term)
{
    return ties->term == term ? ties->parted : MAX(ties->parted, ties->answered);
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

void lease_begin(struct lease_book *book, uint64_t term, usec_t now, uint64_t self, usec_t parted)
{
    *book = (struct lease_book){.term = term, .since = now};
    entry_of(book, self)->parted = parted;
}

void lease_heard(struct lease_book *book, uint64_t id, const struct lease_beat *beat, usec_t now)
{
    struct lease_entry *e = entry_of(book, id);
    usec_t parted = now - beat->age;

    if (!e)
        return;
    e->heard = now;
    e->disarmed = beat->disarmed;
    e->starting = beat->starting;
    /* What is no time of this term was made up, or is another term's. */
    if (beat->echo >= book->since && beat->echo <= now)
        e->followed = MAX(e->followed, beat->echo);
    /* The age came later than it was told, which made it younger: the earliest is the nearest. */
    parted = MAX(parted, 1);
    e->parted = e->parted ? MIN(e->parted, parted) : parted;
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

usec_t lease_inherited(const struct lease_book *book, size_t n_voters, const uint64_t *voters)
{
    usec_t times[LEASE_MEMBERS] = {0};
    size_t n = MIN(n_voters, (size_t)LEASE_MEMBERS);

    if (!n)
        return book->since + LEASE_GRACE;
    for (size_t i = 0; i < n; i++) {
        const struct lease_entry *e = lease_find(book, voters[i]);

        times[i] = e && e->parted ? MIN(e->parted, book->since) : book->since;
    }
    qsort(times, n, sizeof *times, later_first);
    return times[n - 1 - n / 2] + LEASE_GRACE;
}

bool lease_has_run_out(const struct lease_book *book, uint64_t id, usec_t inherited, usec_t length,
                       usec_t now)
{
    const struct lease_entry *e = lease_find(book, id);
    usec_t last = e ? MAX(e->granted, inherited) : inherited;

    return (!e || !e->disarmed) && now - last >= length + LEASE_MARGIN;
}
