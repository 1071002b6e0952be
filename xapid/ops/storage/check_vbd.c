/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* check_vbd.c -- what a virtual block device allows, and whether a disk may be attached by it. */
#include "xapid/ops/storage/check.h"
#include "xapid/ops/storage/vdi_ops.h"
#include "xapid/ops/vm/lifecycle.h"

#include "libxapi/value/value.h"

#define BIT(op) (1ull << VBD_OP_##op)
#define ALL_OPS ((1ull << (VBD_OP_UNPAUSE + 1)) - 1)
#define TAKE_OUT (BIT(UNPLUG) | BIT(UNPLUG_FORCE))
#define PLUGS (BIT(PLUG) | TAKE_OUT)
#define MEDIA (BIT(INSERT) | BIT(EJECT))
#define PAUSES (BIT(PAUSE) | BIT(UNPAUSE))

struct vbd_ctx {
    const struct db_snap *snap;
    const struct vbd *vbd;
    const struct vm *vm; /* NULL only in a broken database */
};

static void ctx_init(struct vbd_ctx *c, const struct db_snap *snap, const struct vbd *vbd)
{
    *c = (struct vbd_ctx){snap, vbd, root_get(snap_root(snap), CLASS_vm, vbd->vm)};
}

bool vm_is_changing(const struct vm *vm)
{
    const uint64_t changes =
        1ull << VM_OP_START | 1ull << VM_OP_START_ON | 1ull << VM_OP_CLEAN_SHUTDOWN |
        1ull << VM_OP_HARD_SHUTDOWN | 1ull << VM_OP_SHUTDOWN | 1ull << VM_OP_CLEAN_REBOOT |
        1ull << VM_OP_HARD_REBOOT | 1ull << VM_OP_SUSPEND | 1ull << VM_OP_RESUME |
        1ull << VM_OP_RESUME_ON | 1ull << VM_OP_SNAPSHOT | 1ull << VM_OP_CHECKPOINT |
        1ull << VM_OP_CLONE | 1ull << VM_OP_COPY | 1ull << VM_OP_REVERT | 1ull << VM_OP_REVERTING |
        1ull << VM_OP_EXPORT | 1ull << VM_OP_DESTROY | 1ull << VM_OP_POWER_STATE_RESET |
        1ull << VM_OP_POOL_MIGRATE | 1ull << VM_OP_MIGRATE_SEND;

    return current_bits(&vm->current_operations) & changes;
}

bool vbd_vm_is_changing(const struct db_snap *snap, const struct vbd *vbd)
{
    const struct vm *vm = root_get(snap_root(snap), CLASS_vm, vbd->vm);

    return vm && vm_is_changing(vm);
}

void txn_rely_on_users(struct txn *txn, ref_t vdi)
{
    struct refs vbds = txn_referrers(txn, FIELD_vbd_vdi, vdi);

    for (size_t i = 0; i < vbds.n; i++) {
        const struct vbd *vbd = txn_find(txn, CLASS_vbd, vbds.v[i]);

        if (vbd)
            txn_find(txn, CLASS_vm, vbd->vm);
    }
}

/*** the device, its VM ***/

static uint64_t concurrency_mask(const struct vbd_ctx *c)
{
    return c->vbd->current_operations.n ? 0 : ALL_OPS;
}

static struct error *concurrency_error(struct call *call, const struct vbd_ctx *c, int op)
{
    (void)op;
    return busy_error(call, CLASS_vbd, c->vbd->ref, &enum_vbd_operations,
                      &c->vbd->current_operations);
}

static uint64_t vm_mask(const struct vbd_ctx *c)
{
    return c->vm && !vm_is_changing(c->vm) ? ALL_OPS : BIT(ATTACH);
}

static struct error *vm_error(struct call *call, const struct vbd_ctx *c, int op)
{
    (void)op;
    if (!c->vm)
        return err_handle_invalid(call, "VM", call_ref(call, c->vbd->vm));
    return busy_error(call, CLASS_vm, c->vm->ref, &enum_vm_operations, &c->vm->current_operations);
}

static uint64_t power_mask(const struct vbd_ctx *c)
{
    switch (c->vm->power_state) {
    case VM_RUNNING:
        return ALL_OPS;
    case VM_PAUSED:
        return ALL_OPS & ~MEDIA;
    case VM_HALTED:
        return ALL_OPS & ~(PLUGS | PAUSES);
    case VM_SUSPENDED:
        break;
    }
    return BIT(ATTACH);
}

static struct error *power_error(struct call *call, const struct vbd_ctx *c, int op)
{
    return err_vm_bad_power_state(call, call_ref(call, c->vm->ref),
                                  MEDIA >> op & 1 ? "halted, running" : "running",
                                  vm_power_state_text(c->vm->power_state));
}

static uint64_t attached_mask(const struct vbd_ctx *c)
{
    return c->vbd->currently_attached ? ALL_OPS & ~(BIT(PLUG) | BIT(ATTACH))
                                      : ALL_OPS & ~(TAKE_OUT | PAUSES);
}

static struct error *attached_error(struct call *call, const struct vbd_ctx *c, int op)
{
    const char *ref = call_ref(call, c->vbd->ref);

    (void)op;
    return c->vbd->currently_attached ? err_device_already_attached(call, ref)
                                      : err_device_already_detached(call, ref);
}

static uint64_t unpluggable_mask(const struct vbd_ctx *c)
{
    return c->vbd->unpluggable ? ALL_OPS : ALL_OPS & ~TAKE_OUT;
}

static struct error *unpluggable_error(struct call *call, const struct vbd_ctx *c, int op)
{
    (void)op;
    return err_vbd_not_unpluggable(call, call_ref(call, c->vbd->ref));
}

/*** media ***/

static uint64_t removable_mask(const struct vbd_ctx *c)
{
    return c->vbd->type == VBD_TYPE_DISK ? ALL_OPS & ~MEDIA : ALL_OPS;
}

static struct error *removable_error(struct call *call, const struct vbd_ctx *c, int op)
{
    (void)op;
    return err_vbd_not_removable_media(call, call_ref(call, c->vbd->ref));
}

static uint64_t empty_mask(const struct vbd_ctx *c)
{
    return ALL_OPS & ~(c->vbd->empty ? BIT(EJECT) : BIT(INSERT));
}

static struct error *empty_error(struct call *call, const struct vbd_ctx *c, int op)
{
    const char *ref = call_ref(call, c->vbd->ref);

    return op == VBD_OP_EJECT ? err_vbd_is_empty(call, ref) : err_vbd_not_empty(call, ref);
}

/*** the disk ***/

/* Others than 'self' that have it attached, or are about to. */
static void look_at_users(const struct db_snap *snap, ref_t vdi, ref_t self, bool *read,
                          bool *written)
{
    struct index_walk walk;
    ref_t ref;

    *read = *written = false;
    index_walk(snap_root(snap), &api_fields[FIELD_vbd_vdi], vdi, &walk);
    while (index_next(&walk, &ref)) {
        const struct vbd *vbd = root_get(snap_root(snap), CLASS_vbd, ref);

        if (ref_equal(ref, self) || !(vbd->currently_attached || vbd->current_operations.n ||
                                      vbd_vm_is_changing(snap, vbd)))
            continue;
        *read |= vbd->mode == VBD_RO;
        *written |= vbd->mode == VBD_RW;
    }
}

static struct error *disk_error(struct call *call, const struct db_snap *snap,
                                const struct vdi *vdi, ref_t vbd, bool writable)
{
    uint64_t running = current_bits(&vdi->current_operations);
    const char *ref = call_ref(call, vdi->ref);
    bool read, written;

    if (running && (writable || running & ~VDI_READING))
        return busy_error(call, CLASS_vdi, vdi->ref, &enum_vdi_operations,
                          &vdi->current_operations);
    if (vdi->missing)
        return err_vdi_missing(call, call_ref(call, vdi->sr), ref);
    if (!vdi->managed)
        return err_vdi_not_managed(call, ref);
    TRY(vdi_check_contents(call, vdi));
    look_at_users(snap, vdi->ref, vbd, &read, &written);
    if (!vdi->sharable && (written || (writable && read)))
        return vdi_used_error(call, snap, vdi->ref, "attach");
    if (writable && vdi->read_only)
        return err_vdi_readonly(call, ref);
    return OK;
}

/* The same question without words: allowed_operations is asked for often. */
static bool disk_ok(const struct db_snap *snap, const struct vbd *vbd)
{
    const struct vdi *vdi = root_get(snap_root(snap), CLASS_vdi, vbd->vdi);
    struct arena arena = {0};
    struct call call = {.arena = &arena};
    bool ok = vdi && !disk_error(&call, snap, vdi, vbd->ref, vbd->mode == VBD_RW);

    arena_release(&arena);
    return ok;
}

static uint64_t disk_mask(const struct vbd_ctx *c)
{
    if (c->vbd->empty || c->vbd->currently_attached || disk_ok(c->snap, c->vbd))
        return ALL_OPS;
    return ALL_OPS & ~(BIT(PLUG) | BIT(ATTACH));
}

static struct error *disk_mask_error(struct call *call, const struct vbd_ctx *c, int op)
{
    const struct vdi *vdi = root_get(snap_root(c->snap), CLASS_vdi, c->vbd->vdi);

    (void)op;
    if (!vdi)
        return err_handle_invalid(call, "VDI", call_ref(call, c->vbd->vdi));
    return disk_error(call, c->snap, vdi, c->vbd->ref, c->vbd->mode == VBD_RW);
}

/* No driver can hold a guest's requests back. */
static uint64_t possible_mask(const struct vbd_ctx *c)
{
    (void)c;
    return ALL_OPS & ~PAUSES;
}

static struct error *possible_error(struct call *call, const struct vbd_ctx *c, int op)
{
    (void)c;
    return err_not_implemented(
        call, arena_printf(call->arena, "VBD.%s", enum_name(&enum_vbd_operations, op)));
}

static const struct check {
    uint64_t (*mask)(const struct vbd_ctx *c);
    struct error *(*error)(struct call *call, const struct vbd_ctx *c, int op);
} checks[] = {
    {concurrency_mask, concurrency_error},
    {vm_mask, vm_error},
    {power_mask, power_error},
    {attached_mask, attached_error},
    {unpluggable_mask, unpluggable_error},
    {removable_mask, removable_error},
    {empty_mask, empty_error},
    {disk_mask, disk_mask_error},
    {possible_mask, possible_error},
};

uint64_t vbd_allowed(const struct db_snap *snap, const struct vbd *vbd)
{
    uint64_t mask = ALL_OPS;
    struct vbd_ctx c;

    ctx_init(&c, snap, vbd);
    for (size_t i = 0; i < ARRAY_SIZE(checks); i++)
        mask &= c.vm ? checks[i].mask(&c) : 0;
    return mask;
}

struct error *vbd_check(struct call *call, const struct db_snap *snap, const struct vbd *vbd,
                        enum vbd_operations op)
{
    struct vbd_ctx c;

    ctx_init(&c, snap, vbd);
    if (!c.vm)
        return vm_error(call, &c, (int)op);
    for (size_t i = 0; i < ARRAY_SIZE(checks); i++)
        if (!(checks[i].mask(&c) >> op & 1))
            return checks[i].error(call, &c, (int)op);
    return OK;
}

struct error *txn_vbd_check(struct txn *txn, ref_t ref, enum vbd_operations op,
                            const struct vbd **out)
{
    const struct vm *vm;

    TRY(TXN_GET(txn, vbd, ref, out));
    TRY(TXN_GET(txn, vm, (*out)->vm, &vm));
    if (txn_find(txn, CLASS_vdi, (*out)->vdi))
        txn_rely_on_users(txn, (*out)->vdi);
    return vbd_check(txn_call(txn), txn_snap(txn), *out, op);
}

struct error *txn_vdi_check_attach(struct txn *txn, ref_t ref, ref_t vbd, bool writable)
{
    const struct vdi *vdi;

    TRY(TXN_GET(txn, vdi, ref, &vdi));
    txn_rely_on_users(txn, ref);
    return disk_error(txn_call(txn), txn_snap(txn), vdi, vbd, writable);
}
