/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* change.h -- a change of a VM's settings: one transaction that checks and sets. */
#pragma once

#include "xapid/ops/vm/lifecycle.h"

/* Sets what it likes on the transaction; 'vm' is as it was before. */
typedef struct error *vm_change_fn(struct txn *txn, const struct vm *vm, const void *args);

/* Where no operation of the VM stands for the change. */
#define VM_CHANGE_ALWAYS ((enum vm_operations)(-1))

/* Checks the operation, runs 'fn', waits while the VM is busy. */
MUST_CHECK struct error *vm_change(struct call *call, ref_t vm, enum vm_operations op,
                                   vm_change_fn *fn, const void *args);
