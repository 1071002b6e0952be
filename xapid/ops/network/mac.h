/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* mac.h -- Ethernet addresses of virtual interfaces. */
#pragma once

#include "libxapi/base/arena.h"

/* True for six pairs of hex digits with colons, not a group address. */
bool mac_is_good(const char *mac);
/* A random local one, "xx:xx:xx:xx:xx:xx". */
const char *mac_random(struct arena *arena);
/*
 * The address of a VM's interface 'device' that follows from the VM's mac_seed: local, the same for
 * the same seed and device.  A clone gets a new seed and with it new addresses; a restored VM keeps
 * its own.  'seed' "" or NULL: a random one.
 */
const char *vif_mac_from_seed(struct arena *arena, const char *seed, const char *device);
