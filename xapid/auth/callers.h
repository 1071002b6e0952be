/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * callers.h -- who makes calls, how many, and how fast: the counters behind class Caller and the
 * token buckets behind class Rate_limit.
 *
 * A request belongs to the Caller whose user agent and address are its own; an empty one of the two
 * stands for any.  The better match wins: both, then the user agent, then the address.  A request
 * that belongs to nobody is neither counted nor held back.  Counters and buckets are this member's
 * own and begin anew with the daemon.
 */
#pragma once

#include "xapid/db/db.h"

struct callers;

struct callers *callers_new(void);
void callers_free(struct callers *callers);

/* One request costs one token. */
struct caller_usage {
    int64_t calls;
    double tokens;
};

/*
 * Counts a request at the time 'now' (monotonic) and takes its tokens.  Returns how long it has to
 * wait before it may be worked on: 0 where its caller has no limit or tokens are left, at most
 * CALLERS_MAX_WAIT.  Those who wait have taken their tokens in advance, so they go on in the order
 * they came, as fast as the bucket fills.  *caller is the row it belongs to, or null.
 */
#define CALLERS_MAX_WAIT (60 * USEC_PER_SEC)
usec_t callers_charge(struct callers *callers, const struct db_snap *snap, const char *user_agent,
                      const char *address, usec_t now, ref_t *caller);
/* What a Caller has used. */
struct caller_usage callers_usage(struct callers *callers, ref_t caller);

/* For a request that arrives: callers_charge with the present, and the caller's last_access. */
usec_t callers_count_call(struct xapid *xapid, const char *user_agent, const char *address);
