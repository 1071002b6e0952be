/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lifecycle.h -- which operations a VM allows: one list of checks, used to refuse an operation with
 * the right error and to compute allowed_operations.
 *
 * Each check is a mask of the operations it lets pass; an operation is allowed where all do, and
 * the first that does not gives the error, in the order that is listed: blocked, power state,
 * concurrency, template, snapshot, then what the VM's devices and guest cannot do.
 */
#pragma once

#include "xapid/db/db.h"

/* Bits are 1 << enum vm_operations.  'strict': as shown in allowed_operations, where the guest's
 * own features count. */
uint64_t vm_allowed(struct xapid *xapid, const struct db_snap *snap, const struct vm *vm,
                    bool strict);
/* OK, or why not.  OTHER_OPERATION_IN_PROGRESS where it could be waited for. */
MUST_CHECK struct error *vm_check(struct call *call, const struct db_snap *snap,
                                  const struct vm *vm, enum vm_operations op);
/* The same, but OK where only another operation is in the way: op_begin will wait for that one. */
MUST_CHECK struct error *vm_check_unless_busy(struct call *call, const struct vm *vm,
                                              enum vm_operations op);
/* The same as vm_check inside a transaction, which then relies on the VM as it is. For op_begin. */
MUST_CHECK struct error *txn_vm_check(struct txn *txn, ref_t vm, enum vm_operations op,
                                      const struct vm **out);
/*
 * Runs a transaction that checks with the functions above, and waits and runs it again while it
 * says OTHER_OPERATION_IN_PROGRESS: for changes that need no intent.
 */
MUST_CHECK struct error *vm_update(struct call *call, db_txn_fn *fn, void *arg);
/* "running", "halted": as errors spell power states. */
const char *vm_power_state_text(enum vm_power_state state);
/* True where the guest's agent or drivers say that it has a feature ("feature-suspend"). */
bool vm_has_feature(const struct db_snap *snap, const struct vm *vm, const char *feature);
