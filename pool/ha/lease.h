/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lease.h -- how long a host may run its VMs without hearing from the pool, and when the pool may
 * take them over.
 *
 * Pure: times come from the caller, of his own monotonic clock; clocks of two hosts are never
 * compared.  Each member tells the leader twice a second that it lives; the leader's answer is a
 * lease: the member may go on until 'length' after the moment it *asked*, and its watchdog ends
 * the host if it does not get another one by then.  The leader counts from the moment it
 * *answered*, which is later, and adds a margin: when it calls a lease run out, it has.
 *
 * A leader that was cut off must not go on giving leases while another one counts.  So it gives
 * them only while a majority was known to follow it at most LEASE_GRACE ago: each answer carries
 * the leader's time, the member's next question brings it back, and what a majority has brought
 * back is when a majority still followed.
 *
 * A new leader does not know what those before it have given.  None of them could give anything
 * later than LEASE_GRACE after a majority last followed it, and of each majority one is in every
 * other: so each member tells the new leader how long ago it parted from those before (when the
 * last answer of one of them came), and the latest of the earliest majority is what counts.
 * However long the election took; until enough have told, it counts from the election.
 */
#pragma once

#include "libxapi/base/base.h"

#define LEASE_BEAT (500 * USEC_PER_MSEC) /* between two heartbeats */
#define LEASE_GRACE (3 * USEC_PER_SEC)
#define LEASE_MARGIN USEC_PER_SEC /* two clocks may drift so far apart in one lease */
#define LEASE_MIN (10 * USEC_PER_SEC)
#define LEASE_MAX (600 * USEC_PER_SEC)
#define LEASE_MEMBERS 64

/* What a member has. */
struct lease_held {
    usec_t until;  /* 0: none */
    usec_t length; /* of the pool's leases, as this member knows it */
};

/* So long are the pool's leases.  True where that is news: a lease of another length is none, nor
 * is a watchdog that was armed with one, for the leader counts with this length. */
bool lease_follow(struct lease_held *held, usec_t length);
/* A lease was given, of the length that was known when it was asked for, at 'asked'. */
void lease_take(struct lease_held *held, usec_t length, usec_t asked);

/* Which leaders a member has followed. */
struct lease_ties {
    uint64_t term;   /* of the last answer */
    usec_t echo;     /* the leader's time in it */
    usec_t answered; /* when it came */
    usec_t parted;   /* when the last of an earlier term came, or later */
};

/* A process begins, and knows nothing of the one before. */
void lease_ties_begin(struct lease_ties *ties, usec_t now);
/* An answer came in from the leader of 'term'. */
void lease_ties_answered(struct lease_ties *ties, uint64_t term, usec_t echo, usec_t now);
/* This member has led itself until now. */
void lease_ties_led(struct lease_ties *ties, usec_t now);
/* What to bring back to the leader of 'term'; 0: nothing yet. */
usec_t lease_ties_echo(const struct lease_ties *ties, uint64_t term);
/* When it parted, at the latest, from all that led before 'term'. */
usec_t lease_ties_parted(const struct lease_ties *ties, uint64_t term);

/* What a heartbeat says. */
struct lease_beat {
    usec_t echo; /* the time that our last answer carried; 0: none yet */
    usec_t age;  /* so long ago, or longer, it parted from the leaders before */
    bool disarmed, starting;
};

/* What the leader knows of a member. */
struct lease_entry {
    uint64_t id;
    usec_t heard;    /* 0: not in this term */
    usec_t granted;  /* the last lease; 0: none in this term */
    usec_t followed; /* our time that it brought back */
    usec_t parted;   /* our time, since which it followed none before; 0: it has not said so */
    bool disarmed;   /* it said that nothing would end it */
    bool starting;   /* it said that it takes no calls yet */
};

struct lease_book {
    uint64_t term;
    usec_t since; /* when this member was elected, or later */
    size_t n;
    struct lease_entry v[LEASE_MEMBERS];
};

/* Forgets all and begins a term; 'self' has parted from the leaders before then. */
void lease_begin(struct lease_book *book, uint64_t term, usec_t now, uint64_t self, usec_t parted);
/* NULL if nothing is known of that member. */
const struct lease_entry *lease_find(const struct lease_book *book, uint64_t id);
/* A heartbeat of this term came in. */
void lease_heard(struct lease_book *book, uint64_t id, const struct lease_beat *beat, usec_t now);
/* When a majority of the voters, this member ('self') among them, was last known to follow it; 0:
 * never in this term. */
usec_t lease_majority(const struct lease_book *book, uint64_t self, size_t n_voters,
                      const uint64_t *voters, usec_t now);
/* Gives a lease, if that majority is fresh; whether it did. */
bool lease_grant(struct lease_book *book, uint64_t id, usec_t majority, usec_t now);
/* Until when a leader before this one may have given leases. */
usec_t lease_inherited(const struct lease_book *book, size_t n_voters, const uint64_t *voters);
/* True once the member's last lease, whoever gave it, has run out for certain. */
bool lease_has_run_out(const struct lease_book *book, uint64_t id, usec_t inherited, usec_t length,
                       usec_t now);
