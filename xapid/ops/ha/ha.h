/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ha.h -- heartbeats between the hosts of a pool, and high availability on top of them.
 *
 * Always, in a pool: each member tells the leader twice a second that it lives; the leader records
 * who does (host_metrics.live, last_updated).
 *
 * With HA enabled: the leader's answer is a lease (pool/ha/lease.h), and each member arms a
 * watchdog (hv_watchdog) that ends the machine when its lease does.  Armed, it says so in the log
 * (host_state.ha_armed).  Only an armed host whose lease has run out is declared dead, in one
 * write: not live, its VMs halted.  Protected VMs that are halted are then started by rows of
 * class ha_restart, which the leader writes and the hosts that they name carry out: whoever leads
 * next goes on with them.
 */
#pragma once

#include "xapid/db/db.h"

struct ha;

/*
 * With the database open, this host known in it and the hypervisor there; NULL where this host
 * stays alone.  It keeps its lease from now on: the rest of a start may take longer than what is
 * left of the last one.
 */
struct ha *ha_start(struct xapid *xapid);
/* Calls are taken: VMs may be started here, and, where it leads, what was lost elsewhere. */
void ha_begin(struct ha *ha);
/* Before the workers end: nothing is asked or answered any more.  The watchdog is left as it is: a
 * daemon that is started again in time goes on. */
void ha_stop(struct ha *ha);
/* After the workers have ended. */
void ha_free(struct ha *ha);

/* Something has changed that it should look at now. */
void ha_wake(struct ha *ha);

/*
 * Before the host goes down by order: its watchdog is disarmed, and the pool knows that it is, so
 * that this is no death.  HA_HOST_IS_ARMED where that is not reached; then nothing has changed.  A
 * host that is still there after ten minutes counts again.
 */
MUST_CHECK struct error *ha_leave(struct call *call);
/* It does not go down after all. */
void ha_stay(struct xapid *xapid);

/* INVALID_VALUE unless it is "restart", "best-effort" or "". */
MUST_CHECK struct error *ha_check_priority(struct call *call, const char *value);
/* How long leases are: what ha_configuration says, within its limits. */
usec_t ha_lease_length(const struct pool *pool);
