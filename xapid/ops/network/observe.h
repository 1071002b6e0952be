/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* observe.h -- what the host's interfaces have by themselves, for the records: addresses from DHCP,
 * links, hardware. */
#pragma once

#include "network-bridge/net.h"
#include "xapid/ops/network/model.h"

/* Puts into the model what follows from the state: addresses that the host was given, a bond's
 * working members and MAC, whether tunnels are established, the host's address. */
void observe_addresses(struct net_model *m, const struct net_state *state);
/* The same to the database, with the metrics of links; writes only what has changed. */
MUST_CHECK struct error *observe(struct call *call, const struct net_state *state);
/* What a card's metrics are now, but for the time; gives the PCI function behind it. */
ref_t observe_card(struct call *call, const struct net_link *card, struct pif_metrics *metrics);
