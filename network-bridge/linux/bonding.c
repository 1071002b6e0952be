/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "network-bridge/linux/bonding.h"

#include <linux/if_bonding.h>

#ifndef BOND_XMIT_POLICY_VLAN_SRCMAC
#define BOND_XMIT_POLICY_VLAN_SRCMAC 5
#endif

uint8_t bonding_mode(const struct net_bond *bond)
{
    return bond->mode == NET_LACP ? BOND_MODE_8023AD : BOND_MODE_ACTIVEBACKUP;
}

uint8_t bonding_hash(const struct net_bond *bond)
{
    return bond->hash == NET_HASH_SRC_MAC ? BOND_XMIT_POLICY_VLAN_SRCMAC : BOND_XMIT_POLICY_LAYER34;
}

void bonding_read(uint8_t mode, uint8_t hash, uint8_t rate, struct net_bond *out)
{
    out->mode = mode == BOND_MODE_8023AD         ? NET_LACP
                : mode == BOND_MODE_ACTIVEBACKUP ? NET_ACTIVE_BACKUP
                                                 : NET_BOND_OTHER;
    out->hash = NET_HASH_TCPUDP_PORTS;
    if (out->mode != NET_LACP) /* it has a meaning there only */
        return;
    out->lacp_fast = rate != 0;
    out->hash = hash == BOND_XMIT_POLICY_LAYER34       ? NET_HASH_TCPUDP_PORTS
                : hash == BOND_XMIT_POLICY_VLAN_SRCMAC ? NET_HASH_SRC_MAC
                                                       : NET_HASH_OTHER;
}
