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
 * Then it has written that down, and asked to be started again.  One that was replaced stops making
 * changes (takeover.h), and goes back once it is called.  '*since' is the caller's, zero at first.
 */
bool leave_look(struct xapid *xapid, usec_t *since);
/* What a host of the pool says of this one. */
enum leave_word {
    LEAVE_UNKNOWN, /* nothing, or nobody answers */
    LEAVE_LEFT,
    LEAVE_REPLACED,   /* an emergency went on without it (takeover.h) */
    LEAVE_MAY_RETURN, /* and now it is called back */
};
struct join_host;
/* Asks the hosts that this one's database knows, or the one at 'address' (NULL: all); *who, in the
 * arena, is the one that knew something. */
enum leave_word leave_ask(struct xapid *xapid, struct arena *arena, const char *address,
                          struct join_host *who);
/* The same question, answered; and how an answer spells it. */
enum leave_word leave_word_of(struct xapid *xapid, const char *member);
const char *leave_word_text(enum leave_word word);
/* On the coordinator, now and then: removes what is left of hosts that have left. */
void leave_sweep(struct call *call);
