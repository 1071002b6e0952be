/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * scheduler.h -- snapshots are taken when their schedules say, by the coordinator.
 *
 * A time that passed while no daemon was there is not made up for: VMSS_SNAPSHOT_MISSED_EVENT says
 * so.
 */
#pragma once

#include "libxapi/base/call.h"

/* Begins to look at the schedules every few seconds, on a worker.  Ends with the daemon. */
void scheduler_start(struct xapid *xapid);
