/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/vm/change.h"

struct change {
    ref_t vm;
    enum vm_operations op;
    vm_change_fn *fn;
    const void *args;
};

static struct error *change_txn(struct txn *txn, void *arg)
{
    const struct change *c = arg;
    const struct vm *vm;

    if (c->op == VM_CHANGE_ALWAYS)
        TRY(TXN_GET(txn, vm, c->vm, &vm));
    else
        TRY(txn_vm_check(txn, c->vm, c->op, &vm));
    return c->fn(txn, vm, c->args);
}

struct error *vm_change(struct call *call, ref_t vm, enum vm_operations op, vm_change_fn *fn,
                        const void *args)
{
    return vm_update(call, change_txn, &(struct change){vm, op, fn, args});
}
