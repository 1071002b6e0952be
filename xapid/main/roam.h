/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * roam.h -- sessions on several members: announced, ended, and brought to the member where they are
 * used.
 *
 * A client may talk to any member, and reads on each what it has written on another.  A session
 * that comes to this member is asked for at all others that can be reached: they say what they know
 * of it and the newest revision they have shown it, and give it away.  Who does not answer is asked
 * once more by those that did: two members that cannot reach each other may both be in contact with
 * the leader.  Then this member waits until it has applied that revision.  If somebody could not be
 * asked at all, or has forgotten what it showed because it was started again, everything that was
 * acknowledged before is waited for instead (db_barrier); where nobody leads, that is an error.
 *
 * Limits: an answer is waited for 300 ms, 1 s for a session unknown here, and 150 ms more for what
 * others ask for us; a few unknown ones at a time, and what nobody knows is not asked for again for
 * a second.
 */
#pragma once

struct roam;
struct xapid;

/* With sessions, members and database; before calls come in. */
struct roam *roam_new(struct xapid *xapid);
/* What the others tell is refused from now on. */
void roam_stop(struct roam *roam);
/* At start, before calls come in: learns what sessions the others know, for this daemon has
 * forgotten those of before.  Blocks for a second at most.  NULL: nothing. */
void roam_recall(struct roam *roam);
/* No calls are under way any more; before the links are closed. */
void roam_free(struct roam *roam);
