/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * orphans.h -- what a dead host had begun on storage that others see is finished or undone by one
 * of those, so that nothing waits for its return.
 *
 * The write that says that a host is dead takes such intents from it (their host is null): it does
 * not know them any more when it comes back.  The first live host that sees all the storage writes
 * itself down and runs the recover function; where that fails the intent is an orphan again.
 */
#pragma once

#include "xapid/ops/op.h"

/* The intent of a host that is dead, which goes on holding what 'op' says, becomes an orphan; one
 * that nobody but its host can recover stays as it is. */
void txn_orphan(struct txn *txn, ref_t intent, const struct op *op);

/* Whether there is one that this host is to take. */
bool orphans_wait(struct call *call);
/* Takes and recovers them, one after the other.  How many are left; the log says why. */
size_t orphans_recover(struct call *call);
