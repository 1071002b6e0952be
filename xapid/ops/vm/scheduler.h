/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * scheduler.h -- snapshots are taken when their schedules say, by the coordinator.
 *
 * A time that passed while no daemon was there is not made up for: VMSS_SNAPSHOT_MISSED_EVENT says
 * so.
 */
#pragma once

#include "libxapi/base/call.h"

struct scheduler;

struct scheduler *scheduler_new(struct xapid *xapid);
void scheduler_free(struct scheduler *scheduler);
/* To be called every few seconds, from one thread at a time: takes what is due since the last time,
 * which may last. */
void scheduler_tick(struct scheduler *scheduler);
