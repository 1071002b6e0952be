/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qos.h -- what a device may take of the host: qos_algorithm_type and qos_algorithm_params of VIFs
 * ("ratelimit") and VBDs ("ionice").  Pure.  Words that mean nothing are logged and count as none:
 * a machine starts all the same.
 */
#pragma once

#include "xapid/db/db.h"
#include "xapid/hypervisor/hv.h"

/* Fills what a NIC may send; nothing for a VIF that is not limited. */
void vif_limit(const struct vif *vif, struct hv_nic *out);
/* The priority of a disk's I/O as ioprio_set(2) takes it; 0 for none. */
int vbd_io_priority(const struct vbd *vbd);
