/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * takeover.h -- a pool whose majority is lost for ever goes on with one of its hosts.
 *
 * pool.emergency_transition_to_master on that host writes <state>/takeover and starts the daemon
 * again; the log then goes on with this member alone (log_raft_options.force), a write-set says who
 * is a member no longer, and the file goes.  Killed in between, it is all done again.
 *
 * The others keep their place among the pool's hosts, but not their numbers: one that comes back is
 * refused, learns why (leave_look), refuses all changes, and waits to be called back, by
 * pool.recover_slaves on the coordinator or by pool.emergency_reset_master on itself.  Then it puts
 * its database aside and begins as a member with a new number.  docs/emergency.md.
 */
#pragma once

#include "xapid/db/db.h"

struct join_host;

/* At start, before the log is opened: whether it goes on with this member alone. */
MUST_CHECK struct error *takeover_is_wanted(struct arena *arena, const char *state_dir,
                                            bool *wanted);
/* At start, once this host's row is known: what follows from a takeover, or from this host's
 * return after one. */
MUST_CHECK struct error *takeover_settle(struct call *call);

/* This host was replaced, as 'where' says: no change is made here any more. */
void takeover_stop(struct xapid *xapid, const struct join_host *where);
/* Goes back to the pool of 'where' under a new number: the daemon starts again. */
MUST_CHECK struct error *takeover_return(struct arena *arena, struct xapid *xapid,
                                         const struct join_host *where);

/* The pool's side: the member 'old', replaced, is to be 'member' at 'address' from now on. */
MUST_CHECK struct error *takeover_take_back(struct call *call, const char *old, const char *member,
                                            const char *address);

/* Since a start without a pool: whether somebody leads now, and this daemon is to start again. */
bool takeover_is_over(struct xapid *xapid);
