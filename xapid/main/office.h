/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * office.h -- the coordinator's office: the member that leads the log takes it, with an epoch that
 * rises each time, and is the pool's master.
 *
 * The row says who holds it; every effect outside the database carries its epoch, so that one who
 * lost the office without noticing is refused.  A thread writes the row when this member comes to
 * lead; every member follows the row as it is applied.
 */
#pragma once

#include "xapid/db/db.h"

struct office;

/* Before the database is opened: for its 'leader'. */
struct office *office_new(struct xapid *xapid);
void office_leader(void *office, uint64_t leader, uint64_t term, bool me);
/* With the database open: xapid->epoch follows the row from now on. */
void office_follow(struct office *office);
/* With the host known, after bootstrap, which took the office if this member led in 'term' (as
 * office_term said before it; 0: it did not). */
void office_start(struct office *office, uint64_t term);
/* The term this member leads in, or 0. */
uint64_t office_term(struct office *office);
/* Before the database is closed. */
void office_stop(struct office *office);
void office_free(struct office *office);

/* Writes the office into a transaction: coordinator and pool.master. */
MUST_CHECK struct error *txn_office_take(struct txn *txn, ref_t host, ref_t pool);
/* Sets xapid->epoch from the row. */
void office_read_epoch(struct xapid *xapid, const struct db_snap *snap);
