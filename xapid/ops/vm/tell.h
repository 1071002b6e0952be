/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tell.h -- telling a VM's domain something that leaves no trace in the records. */
#pragma once

#include "xapid/ops/vm/domain.h"

/* Does it; 'vm' is as it is now, held by the op. */
typedef struct error *vm_tell_fn(struct op *op, const struct vm *vm, void *arg);

/*
 * Holds the VM as 'operation', runs fn, lets go.  The VM must allow the operation; where its state
 * has a domain that must be on this host.  After a crash nothing is done again: what was told
 * changed nothing that is recorded.
 */
MUST_CHECK struct error *vm_tell(struct call *call, ref_t vm, enum vm_operations operation,
                                 vm_tell_fn *fn, void *arg);
