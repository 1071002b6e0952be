/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * change.h -- changing the network of this host.
 *
 * There is one way.  A change is a function on a model of the records (model.h).  It runs on what
 * is recorded now, and what comes out is what the host is brought to; then it runs again in the
 * transaction that records it.  Whatever goes wrong in between, also a crash, the host is brought
 * back to what the records say: that is all there is to undo, and what every start of the daemon
 * does before it answers.  Changes of one host come one after the other.
 *
 * A change that touches the way to the management address is on trial (--network-trial): somebody
 * must reach the host over it in time, or it goes back by itself.  What counts is in trial.h.
 */
#pragma once

#include "network-bridge/net.h"
#include "xapid/ops/network/model.h"

struct host_network;
struct xapid;

/* Whose network is changed, as --network says: "linux", "ovs" for Open vSwitch's, or "none" for a
 * simulated one. */
MUST_CHECK struct error *host_network_new(struct arena *arena, struct xapid *xapid,
                                          struct host_network **out);
void host_network_free(struct host_network *network);
/* True where no real network is touched. */
bool host_network_is_simulated(const struct host_network *network);
/* True where bridges are Open vSwitch's. */
bool host_network_is_vswitch(const struct host_network *network);
/* Whether rules of guests' interfaces (guards.h) were ever made here; and that they are now. */
bool host_network_is_guarded(const struct host_network *network);
void host_network_guard(struct host_network *network);
/* What the host has at the moment. */
MUST_CHECK struct error *host_network_read(struct call *call, struct net_state *out);

/*
 * 'fn' may run several times: it must depend on nothing but the model and 'arg', where it may leave
 * results; those of the last run hold.
 */
typedef struct error *net_change_fn(struct net_model *m, void *arg);

/* On this host: host and records.  CANNOT_CONTACT_HOST for another one. */
MUST_CHECK struct error *network_change(struct call *call, ref_t host, net_change_fn *fn,
                                        void *arg);
/* Records only, of any host. */
MUST_CHECK struct error *network_record(struct call *call, ref_t host, net_change_fn *fn,
                                        void *arg);

/* At start, before calls are answered: the host becomes what the records say.  What cannot be done
 * is logged: a host that can still be reached can be mended. */
void network_settle(struct call *call);
/* Now and then: bridges that nobody uses any more go, what the host's interfaces got by themselves
 * (addresses, links) is recorded. */
void network_look_after(struct call *call);

/* Sees to it that machines of this host can be attached to a network now. */
MUST_CHECK struct error *network_make_ready(struct call *call, ref_t network);
