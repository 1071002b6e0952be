/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * timing.h -- the clock of the library, and how long it waits for a leader.
 *
 * The library would tick at the pace of heartbeats, also where none are sent or looked for.  Here a
 * leader ticks at that pace, and a follower when its patience may be over.
 *
 * Patience (the election time-out) is no shorter than the option says; it grows with round trips,
 * with the time an append takes, and with the pauses in which nothing came from the leader, and
 * shrinks again with them.
 */
#pragma once

#include "libxapi/base/buf.h"

#include <uv.h>

struct raft_log;

/* A mean and how far the values stray from it, in microseconds. */
struct timing_estimate {
    double mean, stray;
    usec_t long_since, long_last; /* when values that are long for the present patience began to
                                     come, and came last */
};

struct timing {
    uv_timer_t timer;
    unsigned base;     /* milliseconds: the shortest election time-out */
    unsigned election; /* the present one */
    unsigned beat;     /* between two heartbeats of the leader; fixed, since the others' patience is
                          not known here */
    struct timing_estimate round_trip, append, gap;
    usec_t checked, adapted, due;
    uint64_t armed_term;
    int armed_state;
    bool held_back; /* the last tick came late and was put off */
};

/* Before raft_start: sets the library's times. */
void timing_init(struct raft_log *log);
/* After raft_start. */
void timing_start(struct raft_log *log);
/* At the end of each turn. */
void timing_turn(struct raft_log *log);
void timing_end(struct raft_log *log);

void timing_round_trip(struct timing *timing, usec_t took);
void timing_gap(struct timing *timing, usec_t took);
