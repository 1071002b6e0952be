/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cut_off.h -- a VM on a host that is cut off from its pool: what can be done to its domain without
 * the record, which follows once the pool has a coordinator again (recover.h, watch.h).
 *
 * Only what takes something from the domain or gives it back: nothing is started, for another host
 * may run it.
 */
#pragma once

#include "xapid/db/db.h"

/* True where this host is cut off and the VM's domain is here, by the record. */
bool vm_is_cut_off(const struct call *call, const struct vm *vm);

/* VM_OP_PAUSE, VM_OP_UNPAUSE, VM_OP_CLEAN_SHUTDOWN or VM_OP_HARD_SHUTDOWN. */
MUST_CHECK struct error *vm_do_cut_off(struct call *call, const struct vm *vm,
                                       enum vm_operations operation);
/* Whether this run of the VM was shut down so: whoever records its end records the wish too, or HA
 * would start it again.  It is remembered until vm_end_is_recorded, over a crash too. */
bool vm_was_ended_cut_off(struct call *call, const struct vm *vm);
void vm_end_is_recorded(struct call *call, const struct vm *vm);
