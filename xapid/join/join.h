/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * join.h -- a host becomes a member of another pool: pool.join on the host that joins.
 *
 * The host freezes its database, writes down how to ask for its fate, and sends everything to the
 * pool, which decides.  Once it knows that it is in, it puts its database aside and starts again as
 * a member.  What was not answered is asked for again, also after a crash: docs/pool.md.
 */
#pragma once

#include "libxapi/base/arena.h"

struct joiner;
struct xapid;
struct join_file;

/* At start, before calls come in: goes on with a join whose end is not known, if there is one. */
MUST_CHECK struct error *joiner_new(struct arena *arena, struct xapid *xapid, struct joiner **out);
/* Ends the asking, until the next start. */
void joiner_stop(struct joiner *joiner);
void joiner_free(struct joiner *joiner);
/* The daemon has started as a member: nothing has to be asked any more. */
MUST_CHECK struct error *joiner_done(struct arena *arena, struct xapid *xapid);
