/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* check_vdi.c -- what a disk allows. */
#include "xapid/ops/storage/check.h"
#include "xapid/ops/storage/vdi_ops.h"

#include "libxapi/value/value.h"

#define BIT(op) (1ull << VDI_OP_##op)
#define ALL_OPS ((1ull << (VDI_OP_REVERT_FROM + 1)) - 1)
/* What xapid can do at all. */
#define POSSIBLE                                                                                   \
    (BIT(CLONE) | BIT(COPY) | BIT(RESIZE) | BIT(RESIZE_ONLINE) | BIT(SNAPSHOT) | BIT(DESTROY) |    \
     BIT(FORGET) | BIT(UPDATE) | BIT(SET_ON_BOOT) | BIT(BLOCKED) | BIT(REVERT_TO) |                \
     BIT(REVERT_FROM) | BIT(MIRROR) | TRACKING)
#define TRACKING (BIT(ENABLE_CBT) | BIT(DISABLE_CBT) | BIT(DATA_DESTROY) | BIT(LIST_CHANGED_BLOCKS))

struct vdi_ctx {
    const struct db_snap *snap;
    const struct vdi *vdi;
    const struct sr *sr;
    unsigned features;
    bool has_pbd, attached;   /* the SR */
    bool active, written;     /* some VBD is attached; one may write */
    const struct vbd *busy;   /* one that is being attached or detached, or NULL */
    const struct vm *busy_vm; /* one that is starting, stopping or being copied, or NULL */
};

uint64_t current_bits(const struct enummap *current)
{
    uint64_t bits = 0;

    for (size_t i = 0; i < current->n; i++)
        bits |= 1ull << current->v[i].value;
    return bits;
}

struct error *busy_error(struct call *call, int class_id, ref_t ref, const struct enum_desc *e,
                         const struct enummap *current)
{
    return err_other_operation_in_progress(call, api_classes[class_id].name, call_ref(call, ref),
                                           current->n ? enum_name(e, current->v[0].value) : "",
                                           current->n ? current->v[0].key : "");
}

static void look_at_vbds(struct vdi_ctx *c)
{
    const struct db_root *root = snap_root(c->snap);
    struct index_walk walk;
    ref_t ref;

    index_walk(root, &api_fields[FIELD_vbd_vdi], c->vdi->ref, &walk);
    while (index_next(&walk, &ref)) {
        const struct vbd *vbd = root_get(root, CLASS_vbd, ref);

        c->active |= vbd->currently_attached;
        c->written |= vbd->currently_attached && vbd->mode == VBD_RW;
        if (vbd->current_operations.n)
            c->busy = vbd;
        if (vbd_vm_is_changing(c->snap, vbd))
            c->busy_vm = root_get(root, CLASS_vm, vbd->vm);
    }
}

static void ctx_init(struct vdi_ctx *c, const struct db_snap *snap, const struct vdi *vdi)
{
    const struct db_root *root = snap_root(snap);
    const struct sr_driver *driver;
    struct index_walk walk;
    ref_t ref;

    *c = (struct vdi_ctx){.snap = snap, .vdi = vdi, .sr = root_get(root, CLASS_sr, vdi->sr)};
    driver = c->sr ? sr_driver_by_type(c->sr->type) : NULL;
    c->features = driver ? driver->features : 0;
    index_walk(root, &api_fields[FIELD_pbd_sr], vdi->sr, &walk);
    while (index_next(&walk, &ref)) {
        const struct pbd *pbd = root_get(root, CLASS_pbd, ref);

        c->has_pbd = true;
        c->attached |= pbd->currently_attached;
    }
    look_at_vbds(c);
}

/*** other operations ***/

static uint64_t concurrency_mask(const struct vdi_ctx *c)
{
    uint64_t running = current_bits(&c->vdi->current_operations);

    if (!running)
        return ALL_OPS;
    return running & ~VDI_READING ? 0 : VDI_READING;
}

static struct error *concurrency_error(struct call *call, const struct vdi_ctx *c, int op)
{
    (void)op;
    return busy_error(call, CLASS_vdi, c->vdi->ref, &enum_vdi_operations,
                      &c->vdi->current_operations);
}

/*** where it is ***/

#define WITHOUT_STORAGE BIT(FORGET)

static uint64_t storage_mask(const struct vdi_ctx *c)
{
    return c->attached ? ALL_OPS : WITHOUT_STORAGE;
}

static struct error *storage_error(struct call *call, const struct vdi_ctx *c, int op)
{
    (void)op;
    return c->has_pbd ? err_sr_not_attached(call, call_ref(call, c->vdi->sr))
                      : err_sr_has_no_pbds(call, call_ref(call, c->vdi->sr));
}

static uint64_t missing_mask(const struct vdi_ctx *c)
{
    return c->vdi->missing ? BIT(FORGET) | BIT(DESTROY) : ALL_OPS;
}

static struct error *missing_error(struct call *call, const struct vdi_ctx *c, int op)
{
    (void)op;
    return err_vdi_missing(call, call_ref(call, c->vdi->sr), call_ref(call, c->vdi->ref));
}

/*** who uses it ***/

#define LIVE                                                                                       \
    (BIT(SNAPSHOT) | BIT(RESIZE_ONLINE) | BIT(BLOCKED) | BIT(CLONE) | BIT(MIRROR) |                \
     BIT(ENABLE_CBT) | BIT(DISABLE_CBT) | BIT(REVERT_FROM))

static uint64_t attached_mask(const struct vdi_ctx *c)
{
    if (!c->active)
        return ALL_OPS;
    return LIVE | (c->written ? 0 : VDI_READING);
}

static struct error *attached_error(struct call *call, const struct vdi_ctx *c, int op)
{
    return vdi_used_error(call, c->snap, c->vdi->ref, enum_name(&enum_vdi_operations, op));
}

static uint64_t device_mask(const struct vdi_ctx *c)
{
    return c->busy || c->busy_vm ? BIT(GENERATE_CONFIG) | BIT(FORCE_UNLOCK) : ALL_OPS;
}

static struct error *device_error(struct call *call, const struct vdi_ctx *c, int op)
{
    (void)op;
    if (!c->busy)
        return busy_error(call, CLASS_vm, c->busy_vm->ref, &enum_vm_operations,
                          &c->busy_vm->current_operations);
    return busy_error(call, CLASS_vbd, c->busy->ref, &enum_vbd_operations,
                      &c->busy->current_operations);
}

/*** what the driver can do ***/

static uint64_t feature_mask(const struct vdi_ctx *c)
{
    static const struct {
        uint64_t ops;
        unsigned any; /* one of these features is enough */
    } needs[] = {
        {BIT(CLONE), SR_F_VDI_CLONE | SR_F_VDI_CREATE},       {BIT(RESIZE), SR_F_VDI_RESIZE},
        {BIT(RESIZE_ONLINE), SR_F_VDI_RESIZE_ONLINE},         {BIT(SNAPSHOT), SR_F_VDI_SNAPSHOT},
        {BIT(DESTROY) | BIT(MIRROR), SR_F_VDI_DELETE},        {BIT(SET_ON_BOOT), SR_F_VDI_RESET},
        {BIT(REVERT_TO) | BIT(REVERT_FROM), SR_F_VDI_REVERT}, {TRACKING, SR_F_VDI_CBT},
    };
    uint64_t mask = POSSIBLE;

    for (size_t i = 0; i < ARRAY_SIZE(needs); i++)
        if (!(c->features & needs[i].any))
            mask &= ~needs[i].ops;
    if (c->sr && c->sr->is_tools_sr)
        mask &= ~BIT(DESTROY);
    return mask;
}

static struct error *feature_error(struct call *call, const struct vdi_ctx *c, int op)
{
    (void)op;
    return err_sr_operation_not_supported(call, call_ref(call, c->vdi->sr));
}

/*** what it is ***/

struct error *vdi_check_contents(struct call *call, const struct vdi *vdi)
{
    return vdi->type == VDI_TYPE_CBT_METADATA
               ? err_vdi_incompatible_type(call, call_ref(call, vdi->ref),
                                           enum_name(&enum_vdi_type, vdi->type))
               : OK;
}

/* Only what holds the data of users is tracked, and snapshots are of what was. */
static uint64_t tracking_mask(const struct vdi *vdi)
{
    uint64_t mask = ALL_OPS;

    if (vdi->type == VDI_TYPE_CBT_METADATA)
        mask &= BIT(FORGET) | BIT(DESTROY) | BIT(DATA_DESTROY) | BIT(LIST_CHANGED_BLOCKS);
    else if (vdi->type != VDI_TYPE_USER && vdi->type != VDI_TYPE_SYSTEM)
        mask &= ~TRACKING;
    if (vdi->is_a_snapshot || vdi->on_boot == ON_BOOT_RESET)
        mask &= ~(BIT(ENABLE_CBT) | BIT(DISABLE_CBT));
    if (!vdi->is_a_snapshot)
        mask &= ~BIT(DATA_DESTROY);
    if (!vdi->cbt_enabled)
        mask &= ~(BIT(DATA_DESTROY) | BIT(LIST_CHANGED_BLOCKS));
    else
        mask &= ~(BIT(MIRROR) | BIT(SET_ON_BOOT));
    return mask;
}

static struct error *tracking_error(struct call *call, const struct vdi *vdi, int op)
{
    const char *ref = call_ref(call, vdi->ref);

    TRY(vdi_check_contents(call, vdi));
    if (op == VDI_OP_MIRROR || op == VDI_OP_SET_ON_BOOT)
        return err_vdi_cbt_enabled(call, ref);
    if (vdi->type != VDI_TYPE_USER && vdi->type != VDI_TYPE_SYSTEM)
        return err_vdi_incompatible_type(call, ref, enum_name(&enum_vdi_type, vdi->type));
    if (op == VDI_OP_DATA_DESTROY && !vdi->is_a_snapshot)
        return err_operation_not_allowed(call, "The disk is no snapshot.");
    if (op == VDI_OP_DATA_DESTROY || op == VDI_OP_LIST_CHANGED_BLOCKS)
        return err_vdi_no_cbt_metadata(call, ref);
    if (vdi->is_a_snapshot)
        return err_operation_not_allowed(call, "The disk is a snapshot: nothing in it changes.");
    return err_vdi_on_boot_mode_incompatible_with_operation(call);
}

static uint64_t kind_mask(const struct vdi_ctx *c)
{
    uint64_t mask = tracking_mask(c->vdi);

    if (c->vdi->type == VDI_TYPE_RRD)
        mask &= ~(BIT(DESTROY) | BIT(FORGET));
    if (c->vdi->type == VDI_TYPE_HA_STATEFILE || c->vdi->type == VDI_TYPE_REDO_LOG)
        mask &= ~(BIT(COPY) | BIT(MIRROR));
    if (c->vdi->sharable || c->vdi->on_boot == ON_BOOT_RESET)
        mask &= ~BIT(SNAPSHOT);
    if (c->vdi->on_boot == ON_BOOT_RESET)
        mask &= ~BIT(MIRROR);
    /* What it goes back to may not change under a running VM. */
    if (c->active && c->vdi->on_boot == ON_BOOT_RESET)
        mask &= ~BIT(CLONE);
    if (!c->vdi->is_a_snapshot)
        mask &= ~BIT(REVERT_FROM);
    /* What other disks lie on. */
    if (!c->vdi->managed)
        mask &= BIT(FORGET) | BIT(COPY);
    return mask;
}

static struct error *kind_error(struct call *call, const struct vdi_ctx *c, int op)
{
    const char *ref = call_ref(call, c->vdi->ref);

    if (!(tracking_mask(c->vdi) >> op & 1))
        return tracking_error(call, c->vdi, op);
    if (op == VDI_OP_COPY)
        return err_operation_not_allowed(call, "A disk with the state file or log of high "
                                               "availability cannot be copied.");
    if (c->vdi->type == VDI_TYPE_RRD && (op == VDI_OP_DESTROY || op == VDI_OP_FORGET))
        return err_vdi_has_rrds(call, ref);
    if (op == VDI_OP_SNAPSHOT && c->vdi->sharable)
        return err_vdi_is_sharable(call);
    if (op == VDI_OP_REVERT_FROM)
        return err_operation_not_allowed(call, "The disk is no snapshot.");
    if (op == VDI_OP_MIRROR && c->vdi->type != VDI_TYPE_USER && c->vdi->type != VDI_TYPE_SYSTEM)
        return err_vdi_incompatible_type(call, ref, enum_name(&enum_vdi_type, c->vdi->type));
    if ((op == VDI_OP_SNAPSHOT || op == VDI_OP_CLONE || op == VDI_OP_MIRROR) &&
        c->vdi->on_boot == ON_BOOT_RESET)
        return err_vdi_on_boot_mode_incompatible_with_operation(call);
    return err_vdi_not_managed(call, ref);
}

/*** the list ***/

static const struct check {
    uint64_t (*mask)(const struct vdi_ctx *c);
    struct error *(*error)(struct call *call, const struct vdi_ctx *c, int op);
} checks[] = {
    {concurrency_mask, concurrency_error},
    {storage_mask, storage_error},
    {missing_mask, missing_error},
    {attached_mask, attached_error},
    {device_mask, device_error},
    {feature_mask, feature_error},
    {kind_mask, kind_error},
};

uint64_t vdi_allowed(const struct db_snap *snap, const struct vdi *vdi)
{
    uint64_t mask = ALL_OPS;
    struct vdi_ctx c;

    ctx_init(&c, snap, vdi);
    for (size_t i = 0; i < ARRAY_SIZE(checks); i++)
        mask &= checks[i].mask(&c);
    return mask;
}

struct error *vdi_check(struct call *call, const struct db_snap *snap, const struct vdi *vdi,
                        enum vdi_operations op)
{
    struct vdi_ctx c;

    ctx_init(&c, snap, vdi);
    for (size_t i = 0; i < ARRAY_SIZE(checks); i++)
        if (!(checks[i].mask(&c) >> op & 1))
            return checks[i].error(call, &c, (int)op);
    return OK;
}

struct error *txn_vdi_check_anywhere(struct txn *txn, ref_t ref, enum vdi_operations op,
                                     const struct vdi **out)
{
    TRY(TXN_GET(txn, vdi, ref, out));
    /* Whoever attaches it meanwhile makes this transaction run again. */
    txn_rely_on_users(txn, ref);
    txn_referrers(txn, FIELD_pbd_sr, (*out)->sr);
    return vdi_check(txn_call(txn), txn_snap(txn), *out, op);
}

struct error *txn_vdi_check(struct txn *txn, ref_t ref, enum vdi_operations op,
                            const struct vdi **out)
{
    TRY(txn_vdi_check_anywhere(txn, ref, op, out));
    return WITHOUT_STORAGE & 1ull << op ? OK : vdi_is_here(txn_call(txn), txn_snap(txn), *out);
}

struct error *txn_vdi_check_source(struct txn *txn, const struct vdi_plan *plan,
                                   enum vdi_operations op, const struct vdi **out)
{
    struct call *call = txn_call(txn);

    TRY(TXN_GET(txn, vdi, plan->source, out));
    if (plan->how != VDI_COPY || !ref_is_null(srs_seen_by(call, (*out)->sr, plan->sr)))
        return txn_vdi_check(txn, plan->source, op, out);
    /* Only its own host could bring it to where it goes back to. */
    if ((*out)->on_boot == ON_BOOT_RESET)
        return err_vdi_on_boot_mode_incompatible_with_operation(call);
    return txn_vdi_check_anywhere(txn, plan->source, op, out);
}
