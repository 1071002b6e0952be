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
 * back is when a majority still followed.  A new leader, elected later than that, waits LEASE_GRACE
 * longer for those it has given no lease itself.
 */
#pragma once

#include "libxapi/base/base.h"

#define LEASE_BEAT (500 * USEC_PER_MSEC) /* between two heartbeats */
#define LEASE_GRACE (3 * USEC_PER_SEC)
#define LEASE_MARGIN USEC_PER_SEC /* two clocks may drift so far apart in one lease */
#define LEASE_MIN (10 * USEC_PER_SEC)
#define LEASE_MAX (600 * USEC_PER_SEC)
#define LEASE_MEMBERS 64

/* What the leader knows of a member. */
struct lease_entry {
    uint64_t id;
    usec_t heard;    /* 0: not in this term */
    usec_t granted;  /* the last lease; 0: none in this term */
    usec_t followed; /* our time that it brought back */
    bool disarmed;   /* it said that nothing would end it */
};

struct lease_book {
    uint64_t term;
    usec_t since; /* when this member began to lead in it */
    size_t n;
    struct lease_entry v[LEASE_MEMBERS];
};

/* Forgets all and begins a term. */
void lease_begin(struct lease_book *book, uint64_t term, usec_t now);
/* NULL if nothing is known of that member. */
const struct lease_entry *lease_find(const struct lease_book *book, uint64_t id);
/* A heartbeat of this term came in, with the time that our last answer carried (0: none yet). */
void lease_heard(struct lease_book *book, uint64_t id, usec_t echo, bool disarmed, usec_t now);
/* When a majority of the voters, this member ('self') among them, was last known to follow it; 0:
 * never in this term. */
usec_t lease_majority(const struct lease_book *book, uint64_t self, size_t n_voters,
                      const uint64_t *voters, usec_t now);
/* Gives a lease, if that majority is fresh; whether it did. */
bool lease_grant(struct lease_book *book, uint64_t id, usec_t majority, usec_t now);
/* True once the member's last lease, whoever gave it, has run out for certain. */
bool lease_has_run_out(const struct lease_book *book, uint64_t id, usec_t length, usec_t now);
