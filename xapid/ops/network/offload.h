/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* offload.h -- within ops/network: what PIF.properties say, for the cards themselves. */
#pragma once

#include "libxapi/base/call.h"

/* Switches generic receive offload of a device of this host, by ethtool.  Nothing where the network
 * is simulated. */
MUST_CHECK struct error *offload_tell(struct call *call, const char *device, const char *gro);
/* At start: all of this host as recorded.  Failures are logged. */
void offload_settle(struct call *call);
