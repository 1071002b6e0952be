/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* autostart.h -- VMs that start with the host. */
#pragma once

#include "libxapi/base/call.h"

/*
 * Once after each boot of the host: starts the halted VMs whose other_config has auto_poweron=true,
 * in their order, where the pool's has it too.  A daemon that is only started again starts nothing:
 * a VM that its user shut down stays so.  Blocks for as long as that takes.
 */
void vms_autostart(struct xapid *xapid);
