/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* check_sr.c -- what a storage repository allows. */
#include <string.h>

#include "libxapi/value/value.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/intent.h"
#include "xapid/ops/storage/check.h"
#include "xapid/ops/storage/vdi_ops.h"

#define BIT(op) (1ull << SR_OP_##op)
#define ALL_OPS ((1ull << (SR_OP_PBD_DESTROY + 1)) - 1)

/* May run beside each other; everything else wants the repository alone, as a scan does, which must
 * not see a disk before its record. */
#define TOGETHER                                                                                   \
    (BIT(PLUG) | BIT(VDI_CREATE) | BIT(VDI_INTRODUCE) | BIT(VDI_DESTROY) | BIT(VDI_RESIZE) |       \
     BIT(VDI_CLONE) | BIT(VDI_SNAPSHOT) | BIT(VDI_COPY) | BIT(VDI_FORGET) |                        \
     BIT(VDI_RESIZE_ONLINE) | BIT(VDI_UPDATE) | BIT(VDI_SET_ON_BOOT) | BIT(VDI_BLOCKED) |          \
     BIT(VDI_REVERT) | BIT(VDI_MIRROR) | TRACKING)
#define TRACKING                                                                                   \
    (BIT(VDI_ENABLE_CBT) | BIT(VDI_DISABLE_CBT) | BIT(VDI_DATA_DESTROY) |                          \
     BIT(VDI_LIST_CHANGED_BLOCKS))
#define NEEDS_STORAGE                                                                              \
    (BIT(SCAN) | BIT(UPDATE) | BIT(UNPLUG) | (TOGETHER & ~(BIT(PLUG) | BIT(VDI_FORGET))))

/* Work on chains of images: which lies on which. */
#define CHAIN_WORK                                                                                 \
    (BIT(VDI_CLONE) | BIT(VDI_SNAPSHOT) | BIT(VDI_DESTROY) | BIT(VDI_REVERT) | BIT(VDI_RESIZE) |   \
     BIT(VDI_SET_ON_BOOT) | BIT(VDI_DATA_DESTROY))

struct sr_ctx {
    const struct sr *sr;
    unsigned features;
    bool has_pbd, attached, unattached; /* some PBD is, some is not */
    bool has_disks;
};

static void ctx_init(struct sr_ctx *c, const struct db_snap *snap, const struct sr *sr)
{
    const struct db_root *root = snap_root(snap);
    const struct sr_driver *driver = sr_driver_by_type(sr->type);
    struct index_walk walk;
    ref_t ref;

    *c = (struct sr_ctx){.sr = sr, .features = driver ? driver->features : 0};
    index_walk(root, &api_fields[FIELD_pbd_sr], sr->ref, &walk);
    while (index_next(&walk, &ref)) {
        const struct pbd *pbd = root_get(root, CLASS_pbd, ref);

        c->has_pbd = true;
        c->attached |= pbd->currently_attached;
        c->unattached |= !pbd->currently_attached;
    }
    index_walk(root, &api_fields[FIELD_vdi_sr], sr->ref, &walk);
    while (!c->has_disks && index_next(&walk, &ref))
        c->has_disks = ((const struct vdi *)root_get(root, CLASS_vdi, ref))->managed;
}

static uint64_t feature_mask(const struct sr_ctx *c)
{
    static const struct {
        uint64_t ops;
        unsigned any;
    } needs[] = {
        {BIT(SCAN), SR_F_SCAN},
        {BIT(DESTROY), SR_F_CREATE},
        {BIT(VDI_CREATE) | BIT(VDI_MIRROR), SR_F_VDI_CREATE},
        {BIT(VDI_INTRODUCE), SR_F_VDI_INTRODUCE},
        {BIT(VDI_DESTROY), SR_F_VDI_DELETE},
        {BIT(VDI_RESIZE), SR_F_VDI_RESIZE},
        {BIT(VDI_RESIZE_ONLINE), SR_F_VDI_RESIZE_ONLINE},
        {BIT(VDI_CLONE), SR_F_VDI_CLONE | SR_F_VDI_CREATE},
        {BIT(VDI_SNAPSHOT), SR_F_VDI_SNAPSHOT},
        {BIT(VDI_SET_ON_BOOT), SR_F_VDI_RESET},
        {BIT(VDI_REVERT), SR_F_VDI_REVERT},
        {TRACKING, SR_F_VDI_CBT},
        /* Not possible with any driver yet. */
        {BIT(VDI_FORCE_UNLOCK) | BIT(VDI_GENERATE_CONFIG), 0},
    };
    uint64_t mask = ALL_OPS;

    for (size_t i = 0; i < ARRAY_SIZE(needs); i++)
        if (!(c->features & needs[i].any))
            mask &= ~needs[i].ops;
    return mask;
}

static struct error *feature_error(struct call *call, const struct sr_ctx *c, int op)
{
    (void)op;
    return err_sr_operation_not_supported(call, call_ref(call, c->sr->ref));
}

static uint64_t attached_pbd_mask(const struct sr_ctx *c)
{
    return c->attached ? ALL_OPS & ~(BIT(DESTROY) | BIT(FORGET)) : ALL_OPS;
}

static struct error *attached_pbd_error(struct call *call, const struct sr_ctx *c, int op)
{
    (void)op;
    return err_sr_has_pbd(call, call_ref(call, c->sr->ref));
}

static uint64_t no_pbd_mask(const struct sr_ctx *c)
{
    return c->has_pbd ? ALL_OPS : BIT(FORGET) | BIT(PBD_CREATE) | BIT(VDI_FORGET);
}

static struct error *no_pbd_error(struct call *call, const struct sr_ctx *c, int op)
{
    (void)op;
    return err_sr_has_no_pbds(call, call_ref(call, c->sr->ref));
}

static uint64_t disks_mask(const struct sr_ctx *c)
{
    return c->has_disks ? ALL_OPS & ~BIT(DESTROY) : ALL_OPS;
}

static struct error *disks_error(struct call *call, const struct sr_ctx *c, int op)
{
    (void)c;
    (void)op;
    return err_sr_not_empty(call);
}

static uint64_t concurrency_mask(const struct sr_ctx *c)
{
    uint64_t running = current_bits(&c->sr->current_operations);

    if (!running)
        return ALL_OPS;
    return running & ~TOGETHER ? 0 : TOGETHER;
}

static struct error *concurrency_error(struct call *call, const struct sr_ctx *c, int op)
{
    (void)op;
    return busy_error(call, CLASS_sr, c->sr->ref, &enum_storage_operations,
                      &c->sr->current_operations);
}

static uint64_t plugged_mask(const struct sr_ctx *c)
{
    uint64_t mask = c->attached ? ALL_OPS : ALL_OPS & ~NEEDS_STORAGE;

    return c->unattached ? mask : mask & ~BIT(PLUG);
}

static struct error *plugged_error(struct call *call, const struct sr_ctx *c, int op)
{
    return op == SR_OP_PLUG ? err_sr_attached(call)
                            : err_sr_not_attached(call, call_ref(call, c->sr->ref));
}

static const struct check {
    uint64_t (*mask)(const struct sr_ctx *c);
    struct error *(*error)(struct call *call, const struct sr_ctx *c, int op);
} checks[] = {
    {feature_mask, feature_error},         {attached_pbd_mask, attached_pbd_error},
    {no_pbd_mask, no_pbd_error},           {disks_mask, disks_error},
    {concurrency_mask, concurrency_error}, {plugged_mask, plugged_error},
};

uint64_t sr_allowed(const struct db_snap *snap, const struct sr *sr)
{
    uint64_t mask = ALL_OPS;
    struct sr_ctx c;

    ctx_init(&c, snap, sr);
    for (size_t i = 0; i < ARRAY_SIZE(checks); i++)
        mask &= checks[i].mask(&c);
    return mask;
}

/* What was left because storage does not answer (op_leave) waits for that; the repository can be
 * unplugged, plugged in again and forgotten meanwhile. */
static struct sr without_left(const struct call *call, const struct sr *sr)
{
    const struct enummap *current = &sr->current_operations;
    struct enumpair *v = arena_array(call->arena, struct enumpair, current->n + 1);
    struct sr bare = *sr;
    size_t n = 0;

    for (size_t i = 0; i < current->n; i++)
        if (!op_is_left(call, current->v[i].key))
            v[n++] = current->v[i];
    bare.current_operations = (struct enummap){n, v};
    return bare;
}

struct error *sr_check(struct call *call, const struct db_snap *snap, const struct sr *sr,
                       enum storage_operations op)
{
    struct sr bare;
    struct sr_ctx c;

    if ((BIT(PLUG) | BIT(UNPLUG) | BIT(FORGET)) >> op & 1) {
        bare = without_left(call, sr);
        sr = &bare;
    }
    ctx_init(&c, snap, sr);
    for (size_t i = 0; i < ARRAY_SIZE(checks); i++)
        if (!(checks[i].mask(&c) >> op & 1))
            return checks[i].error(call, &c, (int)op);
    return OK;
}

/* Whether an intent does chain work on the repository, by what it holds that for. */
static bool works_on_chains(struct call *call, const struct intent *row, const struct sr *sr)
{
    const struct enummap *current = &sr->current_operations;
    struct op op = {.call = call};
    bool held = false;

    if (!intent_read_holds(call->arena, row, &op))
        return false;
    for (size_t i = 0; i < op.n_holds; i++)
        held |= op.holds[i].class_id == CLASS_sr && ref_equal(op.holds[i].ref, sr->ref);
    for (size_t i = 0; held && i < current->n; i++)
        if (strcmp(current->v[i].key, op.task_key) == 0 && CHAIN_WORK >> current->v[i].value & 1)
            return true;
    return false;
}

/*
 * Of several hosts one at a time does chain work.  Its intents say which, for as long as they stand
 * and the host lives: until its work is done or undone, by whatever daemon is there next.  One that
 * does not live holds nobody up; that none of its processes is at work still, the lock of the
 * directory sees to.  Who begins has read the repository's row, which each of them writes.
 */
static struct error *other_host_check(struct txn *txn, const struct sr *sr,
                                      enum storage_operations op)
{
    struct call *call = txn_call(txn);
    const struct intent *row;
    struct db_walk walk;

    if (!sr->shared || !(CHAIN_WORK >> op & 1) ||
        !(current_bits(&sr->current_operations) & CHAIN_WORK))
        return OK;
    db_walk(txn_snap(txn), CLASS_intent, &walk);
    while ((row = db_walk_next(&walk)))
        if (!ref_equal(row->host, call->xapid->host) && host_lives(txn_snap(txn), row->host) &&
            works_on_chains(call, row, sr))
            return busy_error(call, CLASS_sr, sr->ref, &enum_storage_operations,
                              &sr->current_operations);
    return OK;
}

struct error *txn_sr_check_anywhere(struct txn *txn, ref_t ref, enum storage_operations op,
                                    const struct sr **out)
{
    TRY(TXN_GET(txn, sr, ref, out));
    txn_referrers(txn, FIELD_pbd_sr, ref);
    if (op == SR_OP_DESTROY || op == SR_OP_FORGET)
        txn_referrers(txn, FIELD_vdi_sr, ref);
    TRY(sr_check(txn_call(txn), txn_snap(txn), *out, op));
    return other_host_check(txn, *out, op);
}

struct error *txn_sr_check(struct txn *txn, ref_t ref, enum storage_operations op,
                           const struct sr **out)
{
    TRY(txn_sr_check_anywhere(txn, ref, op, out));
    return NEEDS_STORAGE & ~BIT(UNPLUG) & 1ull << op ? sr_is_here(txn_call(txn), txn_snap(txn), ref)
                                                     : OK;
}
