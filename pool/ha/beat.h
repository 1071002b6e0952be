/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * beat.h -- a heartbeat and its answer, on the wire (PEER_HEARTBEAT); little-endian.
 *
 * Twice a second each member tells the leader that it lives.  What the answer's time is good for
 * says lease.h; a witness sends heartbeats like a host, for it counts in the leader's majority.
 */
#pragma once

#include "libxapi/base/base.h"
#include "pool/ha/lease.h"

#define BEAT_DISARMED 1u /* nothing would end this host */
#define BEAT_STARTING 2u /* it takes no calls yet */

struct beat {
    uint64_t term;  /* of the leader that is meant */
    uint64_t echo;  /* the time that its last answer in that term carried; 0: none yet */
    uint64_t flags; /* and from bit 32 on, in milliseconds, how long ago it parted from the leaders
                       before, or less (lease_ties_parted) */
};

struct beat_answer {
    uint64_t now;     /* of the leader's clock; 0: it does not lead in that term */
    uint64_t granted; /* whether it is a lease */
};

/* For the leader of 'term'.  'led' is when the last message of a leader of an earlier term came
 * (log_status.led_before). */
struct beat beat_make(const struct lease_ties *ties, uint64_t term, usec_t led, uint64_t flags,
                      usec_t now);
struct lease_beat beat_read(const struct beat *beat);
