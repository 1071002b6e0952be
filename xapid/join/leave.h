/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * leave.h -- a host leaves its pool: pool.eject of one that is there, host.destroy of a dead one.
 *
 * One write-set decides: the host's state goes, a row says that it has left.  The rest follows from
 * that row, whoever does it: its rows are removed (leave_sweep), the log's members follow, and the
 * host itself begins anew as a pool of one (leave_look).
 */
#pragma once

#include "xapid/db/db.h"

/* Whether that number was a member's that has left. */
bool leave_is_departed(struct xapid *xapid, const char *member);
/*
 * On every member, again and again: true where this host belongs to its pool no longer, because the
 * database says so or most members have refused it for a while and one of them, asked, says so.
 * Then it has written that down, and asked to be started again.  '*since' is the caller's, zero at
 * first.
 */
bool leave_look(struct xapid *xapid, usec_t *since);
/* On the coordinator, now and then: removes what is left of hosts that have left. */
void leave_sweep(struct call *call);
