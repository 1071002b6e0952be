/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * squeezer.h -- the memory of this host's guests follows VM.memory_target.
 *
 * memory_target is what a VM is promised, and the record is the plan: a thread tells the hypervisor
 * what differs from it, those that shrink first, and shares anew what others leave or need
 * (squeeze.h).  It keeps nothing that matters only in memory, so after a crash it goes on where the
 * records are.
 */
#pragma once

#include "xapid/ops/op.h"

struct squeezer;

struct squeezer *squeezer_start(struct xapid *xapid);
/* Stops the thread; then nobody may call but squeezer_free. */
void squeezer_stop(struct squeezer *squeezer);
void squeezer_free(struct squeezer *squeezer);

/* Something has changed: memory may be free, or needed.  NULL: nothing happens. */
void squeezer_kick(struct squeezer *squeezer);
/* Those whose guests do not give back memory. */
struct refs squeezer_uncooperative(struct squeezer *squeezer, struct arena *arena);
/* True for a VM whose guest does not give back memory; never with NULL. */
bool squeezer_knows_uncooperative(struct squeezer *squeezer, ref_t vm);

/*
 * Waits until the hypervisor has so many bytes free (*has), or no guest is giving back any more:
 * then the hypervisor is left to say whether it is enough.  An operation that was cancelled, or
 * overruled on the VM, ends the wait with TASK_CANCELLED.
 */
MUST_CHECK struct error *squeezer_wait_room(struct op *op, ref_t vm, int64_t bytes, bool *has);
