/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* share.h -- who of a host's VMs can give back memory, and what all are promised: from the records.
 */
#pragma once

#include "xapid/db/db.h"

/* Its guest's balloon can be moved now, and anywhere else: it runs, nothing else is done with it,
 * its agent says it can, and it was not found to do nothing. */
bool vm_can_balloon(struct xapid *xapid, const struct db_snap *snap, const struct vm *vm);
/* The least that it runs with, overhead left out: a suspended VM's image has to find the room it
 * was saved from. */
int64_t vm_memory_least(const struct vm *vm);
/* Bytes that the host's VMs would give back, leaving out 'except'. */
int64_t host_memory_reclaimable(struct xapid *xapid, const struct db_snap *snap,
                                const struct host *host, ref_t except);
/*
 * Sets memory_target of all VMs on the host that can balloon, and of 'newcomer' (may be NULL), to
 * their share of what the others leave.  HOST_NOT_ENOUGH_FREE_MEMORY where the newcomer does not
 * fit. Relies on all VMs whose memory counts.
 */
MUST_CHECK struct error *txn_host_share(struct txn *txn, const struct host *host,
                                        const struct vm *newcomer);
