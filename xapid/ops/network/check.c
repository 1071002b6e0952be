/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/network/check.h"

#include "xapid/ops/storage/check.h"
#include "xapid/ops/vm/lifecycle.h"

#define BIT(op) (1ull << VIF_OP_##op)
#define ALL_OPS ((1ull << (VIF_OP_UNPLUG + 1)) - 1)

struct vif_ctx {
    const struct vif *vif;
    const struct vm *vm; /* NULL only in a broken database */
};

static uint64_t concurrency_mask(const struct vif_ctx *c)
{
    return c->vif->current_operations.n ? 0 : ALL_OPS;
}

static struct error *concurrency_error(struct call *call, const struct vif_ctx *c, int op)
{
    (void)op;
    return busy_error(call, CLASS_vif, c->vif->ref, &enum_vif_operations,
                      &c->vif->current_operations);
}

static uint64_t vm_mask(const struct vif_ctx *c)
{
    return vm_is_changing(c->vm) ? BIT(ATTACH) : ALL_OPS;
}

static struct error *vm_error(struct call *call, const struct vif_ctx *c, int op)
{
    (void)op;
    return busy_error(call, CLASS_vm, c->vm->ref, &enum_vm_operations, &c->vm->current_operations);
}

static uint64_t power_mask(const struct vif_ctx *c)
{
    bool has_domain = c->vm->power_state == VM_RUNNING || c->vm->power_state == VM_PAUSED;

    return has_domain ? ALL_OPS : BIT(ATTACH);
}

static struct error *power_error(struct call *call, const struct vif_ctx *c, int op)
{
    (void)op;
    return err_vm_bad_power_state(call, call_ref(call, c->vm->ref), "running",
                                  vm_power_state_text(c->vm->power_state));
}

static uint64_t attached_mask(const struct vif_ctx *c)
{
    return c->vif->currently_attached ? BIT(UNPLUG) : BIT(PLUG) | BIT(ATTACH);
}

static struct error *attached_error(struct call *call, const struct vif_ctx *c, int op)
{
    const char *ref = call_ref(call, c->vif->ref);

    (void)op;
    return c->vif->currently_attached ? err_device_already_attached(call, ref)
                                      : err_device_already_detached(call, ref);
}

static const struct check {
    uint64_t (*mask)(const struct vif_ctx *c);
    struct error *(*error)(struct call *call, const struct vif_ctx *c, int op);
} checks[] = {
    {concurrency_mask, concurrency_error},
    {vm_mask, vm_error},
    {power_mask, power_error},
    {attached_mask, attached_error},
};

uint64_t vif_allowed(const struct db_snap *snap, const struct vif *vif)
{
    struct vif_ctx c = {vif, root_get(snap_root(snap), CLASS_vm, vif->vm)};
    uint64_t mask = ALL_OPS;

    for (size_t i = 0; i < ARRAY_SIZE(checks); i++)
        mask &= c.vm ? checks[i].mask(&c) : 0;
    return mask;
}

struct error *vif_check(struct call *call, const struct db_snap *snap, const struct vif *vif,
                        enum vif_operations op)
{
    struct vif_ctx c = {vif, root_get(snap_root(snap), CLASS_vm, vif->vm)};

    if (!c.vm)
        return err_handle_invalid(call, "VM", call_ref(call, vif->vm));
    for (size_t i = 0; i < ARRAY_SIZE(checks); i++)
        if (!(checks[i].mask(&c) >> op & 1))
            return checks[i].error(call, &c, (int)op);
    return OK;
}

struct error *txn_vif_check(struct txn *txn, ref_t ref, enum vif_operations op,
                            const struct vif **out)
{
    const struct vm *vm;

    TRY(TXN_GET(txn, vif, ref, out));
    TRY(TXN_GET(txn, vm, (*out)->vm, &vm));
    return vif_check(txn_call(txn), txn_snap(txn), *out, op);
}

struct error *txn_vif_check_idle(struct txn *txn, const struct vif *vif)
{
    const struct vm *vm = txn_find(txn, CLASS_vm, vif->vm);
    struct call *call = txn_call(txn);

    if (vif->current_operations.n)
        return busy_error(call, CLASS_vif, vif->ref, &enum_vif_operations,
                          &vif->current_operations);
    return vm && vm_is_changing(vm)
               ? busy_error(call, CLASS_vm, vm->ref, &enum_vm_operations, &vm->current_operations)
               : OK;
}
