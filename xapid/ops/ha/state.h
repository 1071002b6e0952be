/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* state.h -- what HA records of the pool: how many failures are survived, and hosts that are dead.
 */
#pragma once

#include "xapid/db/db.h"

/*
 * Makes the plan anew and writes what has changed of it: pool.ha_plan_exists_for (at most
 * 'to_tolerate') and ha_overcommitted, with the alerts HA_POOL_OVERCOMMITTED and
 * HA_POOL_DROP_IN_PLAN_EXISTS_FOR.
 */
void txn_ha_note_plan(struct txn *txn, int64_t to_tolerate);

/* The host's row of class host_state; NULL if it has none. */
const struct host_state *host_state_of(const struct db_snap *snap, ref_t host);

/*
 * The host is dead: not live, not armed, its VMs halted and free of its operations; those that are
 * only tried (best-effort) get their row of class ha_restart.  With the alert HA_HOST_FAILED.
 */
MUST_CHECK struct error *txn_host_dead(struct txn *txn, ref_t host);
