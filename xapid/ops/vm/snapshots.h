/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* snapshots.h -- the snapshots that a schedule takes and removes. */
#pragma once

#include "xapid/db/db.h"

/* VM.snapshot or VM.checkpoint, marked as the schedule's in the write-set that records it. */
MUST_CHECK struct error *vm_snapshot_scheduled(struct call *call, ref_t vm, const char *name,
                                               bool checkpoint, ref_t *result);
