/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bonding.h -- bonds of the records and of Linux's driver. */
#pragma once

#include "network-bridge/net.h"

/* The driver's numbers for it. */
uint8_t bonding_mode(const struct net_bond *bond);
uint8_t bonding_hash(const struct net_bond *bond);
/* What the driver's numbers mean; sets mode, hash and lacp_fast. */
void bonding_read(uint8_t mode, uint8_t hash, uint8_t rate, struct net_bond *out);
