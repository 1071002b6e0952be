/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * voters.h -- the members of the log follow the hosts of the database.
 *
 * On the member that leads a thread looks at every change of hosts or members, and each second:
 * hosts are added, those who have left are removed, and so many vote as pool/member/plan.h says. It
 * makes one change at a time and remembers nothing, so whoever leads next goes on with it.
 */
#pragma once

struct voters;
struct xapid;

/* With the database and the links open; NULL without links, or with options.manual_members. */
struct voters *voters_start(struct xapid *xapid);
/* Before the database is closed.  NULL is nothing. */
void voters_stop(struct voters *voters);
/* After it was closed: a change that was under way is answered then. */
void voters_free(struct voters *voters);
