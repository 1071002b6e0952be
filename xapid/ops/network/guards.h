/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * guards.h -- what may pass the interfaces of the machines on this host (VIF.locking_mode,
 * ipv4_allowed, ipv6_allowed, network.default_locking_mode), as rules of the kernel, or as flows of
 * Open vSwitch.
 *
 * They follow the records: set before a guest can send anything through an interface, that is while
 * its new domain is paused, or before the interface is plugged; again when the records change; and
 * all of them at start and now and then, for the rules of a whole machine are easily flushed. Those
 * of an interface go when it is unplugged, or some time after its domain: a domain's number does
 * not come back.  Nothing is done where no real network is touched (--network none).
 */
#pragma once

#include "network-bridge/net.h"
#include "xapid/db/db.h"

/* An interface with its own name, and an emulated card's. */
#define GUARD_NAMES 2

/* What may pass a VIF of a domain in a network (NULL: in none); their number.  In the arena's
 * memory: rows may go. */
size_t vif_guards(struct arena *arena, const struct vm *vm, int domid, const struct vif *vif,
                  const struct network *network, struct net_guard out[GUARD_NAMES]);
/* Puts them into force; 'when' matters to Open vSwitch alone. */
MUST_CHECK struct error *guards_set(struct call *call, const struct net_guard *guards, size_t n,
                                    enum net_flows_when when);
/* All of a VM's, for its domain that was built and does not run yet. */
MUST_CHECK struct error *vm_guard(struct call *call, const struct vm *vm, int domid);
/* One VIF's as it is recorded, if it is plugged in on this host: after each change of its record.
 */
MUST_CHECK struct error *vif_guard(struct call *call, ref_t vif);
/* All of this host's as they are recorded; forgets those of domains that are gone.  At start
 * ('all') also where nothing was guarded before.  What fails is logged. */
void guards_settle(struct call *call, bool all);
