/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* power.h -- what operations on a VM's domain share: waiting for its end, and a new domain in place
 * of the old one. */
#pragma once

#include "xapid/ops/vm/domain.h"

/*
 * Waits until the domain has ended, or is gone.  Gives up with TASK_CANCELLED as vm_step does, and
 * with VM_SHUTDOWN_TIMEOUT after --end-wait.
 */
MUST_CHECK struct error *vm_wait_end(struct op *op, const struct vm *vm);

/* The same for recovery, which holds up the start: a few seconds at most; false where the domain
 * still lives. */
bool vm_wait_end_briefly(struct op *op, const struct vm *vm);

/*
 * Ends the VM's domain and builds a new one that runs; commits the op.  Where that fails the old
 * domain is gone all the same: the VM is recorded as halted and the op is left to its guard.
 */
MUST_CHECK struct error *vm_rebuild(struct op *op, const struct vm *vm);

/*
 * VM.start_on for one who may think better of it while the operation waits in line: 'wanted' (NULL:
 * nothing) is part of the write-set that begins it, and what it refuses with is returned.
 */
MUST_CHECK struct error *vm_start_if(struct call *call, const struct vm_start_on_args *args,
                                     db_txn_fn *wanted, void *arg);
