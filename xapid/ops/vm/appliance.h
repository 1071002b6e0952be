/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* appliance.h -- appliances whose start or shutdown a crash has interrupted, and VMs that start
 * with the host. */
#pragma once

#include "libxapi/base/call.h"

/* After the daemon's start, in the background: goes on with what was interrupted, and starts the
 * VMs that want to be started with the host where the host was booted since the last time. */
void appliances_go_on(struct xapid *xapid);
