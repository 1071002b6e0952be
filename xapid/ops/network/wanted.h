/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * wanted.h -- records to links: what the network of a host is to be (network-bridge/net.h), from a
 * model of its records.
 */
#pragma once

#include "network-bridge/net.h"
#include "xapid/ops/network/model.h"

enum network_how {
    /* Cards go by their names alone: the simulated ones are not those of the machine the records
     * were made on. */
    NETWORK_BY_NAME = 1,
    /* What carries a VLAN is in its network's bridge, also while its PIF is not attached: Open
     * vSwitch tags there. */
    NETWORK_IN_BRIDGES = 2,
};

/*
 * All of it, in the model's arena: every attached PIF with its network's bridge, and those networks
 * without a PIF that a machine on this host uses, or that were promised to one.
 * 'how' is a sum of enum network_how.
 */
void network_wanted(struct net_model *m, unsigned how, const struct refs *promised,
                    struct net_wanted *out);

/* Number of bits of a netmask in dotted form; -1 for what is none. */
int netmask_bits(const char *netmask);
/* The netmask of a prefix length; in the arena. */
const char *netmask_text(struct arena *arena, int bits);

/* The number that all ends of a tunnelled network share: follows from its uuid. */
uint32_t tunnel_id(const struct network *network);
