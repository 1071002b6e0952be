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

/* Writes what has changed of host.ha_network_peers: every host that is armed has all that are, for
 * all of them hear the same leader; while HA is off nobody has any. */
void txn_ha_note_peers(struct txn *txn, bool enabled);

/* The first live host whose watchdog is not as wanted; NULL: all are. */
const struct host *ha_first_not(struct call *call, bool armed);
/* The host's row of class host_state; NULL if it has none. */
const struct host_state *host_state_of(const struct db_snap *snap, ref_t host);
/* False while HA is enabled and nothing would end the host: should it die then, nobody could know
 * that its VMs have ended, so it is given none. */
bool ha_takes_vms(struct call *call, const struct db_snap *snap, ref_t host);

/*
 * The host is dead: not live, not armed, its tasks failed, its VMs halted and free of its
 * operations but those on disks (orphans.h); those that are only tried (best-effort) get their row
 * of class ha_restart.  With the alert HA_HOST_FAILED.
 */
MUST_CHECK struct error *txn_host_dead(struct txn *txn, ref_t host);
