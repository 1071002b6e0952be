/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* pbd.c -- the connections of this host to storage repositories. */
#include <string.h>

#include "libxapi/base/log.h"
#include "xapid/db/ready.h"
#include "xapid/db/row.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/storage/attach.h"
#include "xapid/ops/storage/coalesce.h"
#include "xapid/ops/storage/check.h"
#include "xapid/ops/storage/making.h"
#include "xapid/ops/storage/secrets.h"
#include "xapid/ops/storage/shared.h"
#include "xapid/ops/host/here.h"

/*** create, destroy ***/

static struct error *create_txn(struct txn *txn, void *arg)
{
    struct pbd row = *(const struct pbd *)arg;
    struct refs others = txn_referrers(txn, FIELD_pbd_sr, row.sr);
    struct call *call = txn_call(txn);
    const struct host *host;
    const struct sr *sr;

    TRY(TXN_GET(txn, host, row.host, &host));
    TRY(TXN_GET(txn, sr, row.sr, &sr));
    for (size_t i = 0; i < others.n; i++) {
        const struct pbd *other = txn_find(txn, CLASS_pbd, others.v[i]);

        if (other && ref_equal(other->host, row.host))
            return err_pbd_exists(call, call_ref(call, row.sr), call_ref(call, row.host),
                                  call_ref(call, other->ref));
    }
    if (others.n && !sr->shared)
        return err_sr_not_sharable(call, call_ref(call, row.sr), call_ref(call, row.host));
    if (sr->shared)
        TRY(sr_check_sharable(call, sr->type, &row.device_config));
    TRY(txn_sr_check(txn, row.sr, SR_OP_PBD_CREATE, &sr));
    row.device_config = txn_secrets_make(txn, &row.device_config);
    txn_create(txn, CLASS_pbd, &row);
    return OK;
}

struct error *pbd_create(struct call *call, const struct pbd_create_args *args, ref_t *result)
{
    struct pbd row = *args->args;
    char uuid[UUID_TEXT_SIZE];

    row.ref = ref_new();
    row.uuid = uuid_new(uuid);
    row.currently_attached = false;
    TRY(db_update(call, create_txn, &row));
    *result = row.ref;
    return OK;
}

static struct error *destroy_txn(struct txn *txn, void *arg)
{
    ref_t ref = *(const ref_t *)arg;
    const struct pbd *pbd;
    const struct sr *sr;

    TRY(TXN_GET(txn, pbd, ref, &pbd));
    if (pbd->currently_attached)
        return err_operation_not_allowed(txn_call(txn), "The PBD is attached; unplug it first.");
    sr = txn_find(txn, CLASS_sr, pbd->sr);
    if (sr && sr->current_operations.n)
        return busy_error(txn_call(txn), CLASS_sr, sr->ref, &enum_storage_operations,
                          &sr->current_operations);
    txn_secrets_destroy(txn, &pbd->device_config);
    txn_destroy(txn, CLASS_pbd, ref);
    return OK;
}

struct error *pbd_destroy(struct call *call, const struct pbd_destroy_args *args)
{
    ref_t ref = args->self;

    return db_update(call, destroy_txn, &ref);
}

static struct error *config_txn(struct txn *txn, void *arg)
{
    const struct pbd_set_device_config_args *a = arg;
    const struct pbd *pbd;
    const struct sr *sr;

    TRY(TXN_GET(txn, pbd, a->self, &pbd));
    if (pbd->currently_attached)
        return err_operation_not_allowed(
            txn_call(txn), "The settings of a PBD can be changed only while it is unplugged.");
    sr = txn_find(txn, CLASS_sr, pbd->sr);
    if (sr && sr->shared)
        TRY(sr_check_sharable(txn_call(txn), sr->type, &a->value));
    TXN_SET(txn, pbd, a->self, device_config, txn_secrets_make(txn, &a->value));
    txn_secrets_destroy(txn, &pbd->device_config);
    return OK;
}

struct error *pbd_set_device_config(struct call *call,
                                    const struct pbd_set_device_config_args *args)
{
    return db_update(call, config_txn, (void *)args);
}

/*** plug ***/

struct plugging {
    ref_t pbd;
    bool attached; /* what is to be recorded */
};

static struct error *find_here(struct call *call, ref_t ref, const struct pbd **out)
{
    TRY(DB_GET(call, pbd, ref, out));
    return host_is_here(call, (*out)->host);
}

static struct error *record_plugged(struct txn *txn, void *arg)
{
    const struct plugging *p = arg;

    if (!txn_find(txn, CLASS_pbd, p->pbd))
        return OK;
    TXN_SET(txn, pbd, p->pbd, currently_attached, p->attached);
    txn_pbd_settled(txn, p->pbd);
    return OK;
}

static struct error *check_plug(struct txn *txn, void *arg)
{
    const struct plugging *p = arg;
    const struct pbd *pbd;
    const struct sr *sr;

    TRY(TXN_GET(txn, pbd, p->pbd, &pbd));
    return txn_sr_check(txn, pbd->sr, SR_OP_PLUG, &sr);
}

/* An SR that is detached again unless it is kept. */
struct plugged {
    struct op *op;
    ref_t sr;
};

static void plugged_release(struct plugged *p)
{
    if (p->op && op_may_undo(p->op))
        error_ignore(sr_detach(p->op->call, p->sr)); /* somebody uses it: then it stays */
}

static struct error *attach_now(struct op *op, ref_t ref, struct plugged *plugged)
{
    struct call *call = op->call;
    const struct pbd *pbd;

    TRY(DB_GET(call, pbd, ref, &pbd));
    *plugged = (struct plugged){op, pbd->sr};
    return sr_attach(call, pbd->sr, &pbd->device_config);
}

struct error *pbd_plug(struct call *call, const struct pbd_plug_args *args)
{
    struct pbd_plug_intent intent = {args->self};
    struct plugging p = {args->self, true};
    AUTO(op) op = {0};
    AUTO(plugged) plugged = {0};
    const struct pbd *pbd;
    ref_t sr;

    TRY(find_here(call, args->self, &pbd));
    if (pbd->currently_attached)
        return OK;
    sr = pbd->sr;
    TRY(op_begin(call,
                 &(struct op_spec){.kind = INTENT_pbd_plug,
                                   .intent = &intent,
                                   .n_holds = 1,
                                   .holds = &(struct op_hold){CLASS_sr, sr, SR_OP_PLUG},
                                   .check = check_plug,
                                   .arg = &p},
                 &op));
    TRY(op_step(&op, "begun", 0.1));
    TRY(attach_now(&op, args->self, &plugged));
    TRY(op_step(&op, "attached", 0.7));
    TRY(op_commit(&op, record_plugged, &p));
    plugged.op = NULL;
    /* It is attached; what is in it can be looked for again. */
    error_ignore(sr_scan(call, &(struct sr_scan_args){sr}));
    return OK;
}

/* The attachment died with the daemon. */
struct error *pbd_plug_recover(struct call *call, struct op *op,
                               const struct pbd_plug_intent *intent)
{
    (void)call;
    (void)op;
    (void)intent;
    return OK;
}

/*** unplug ***/

/* By a VM that is on the host or coming to it; one that is nowhere, but keeps its disks, may come.
 */
static bool is_used_at(struct txn *txn, const struct vbd *vbd, ref_t host)
{
    const struct vm *vm = txn_find(txn, CLASS_vm, vbd->vm);

    if (!vbd->currently_attached && !vbd->current_operations.n &&
        !vbd_vm_is_changing(txn_snap(txn), vbd))
        return false;
    return !vm || ref_is_null(vm->resident_on) || ref_equal(vm->resident_on, host) ||
           ref_equal(vm->scheduled_to_be_resident_on, host);
}

static struct error *check_unplug(struct txn *txn, void *arg)
{
    const struct plugging *p = arg;
    struct call *call = txn_call(txn);
    const struct pbd *pbd;
    const struct sr *sr;
    struct refs vdis;

    TRY(TXN_GET(txn, pbd, p->pbd, &pbd));
    TRY(txn_sr_check(txn, pbd->sr, SR_OP_UNPLUG, &sr));
    vdis = txn_referrers(txn, FIELD_vdi_sr, pbd->sr);
    for (size_t i = 0; i < vdis.n; i++) {
        struct refs vbds = txn_referrers(txn, FIELD_vbd_vdi, vdis.v[i]);

        txn_rely_on_users(txn, vdis.v[i]);
        for (size_t k = 0; k < vbds.n; k++) {
            const struct vbd *vbd = txn_find(txn, CLASS_vbd, vbds.v[k]);

            if (vbd && is_used_at(txn, vbd, pbd->host))
                return vdi_used_error(call, txn_snap(txn), vdis.v[i], "unplug");
        }
    }
    return OK;
}

struct error *pbd_unplug(struct call *call, const struct pbd_unplug_args *args)
{
    struct pbd_unplug_intent intent = {args->self};
    struct plugging p = {args->self, false};
    const struct pbd *pbd;
    AUTO(op) op = {0};
    ref_t sr;

    TRY(find_here(call, args->self, &pbd));
    if (!pbd->currently_attached)
        return OK;
    sr = pbd->sr;
    TRY(op_begin(call,
                 &(struct op_spec){.kind = INTENT_pbd_unplug,
                                   .intent = &intent,
                                   .n_holds = 1,
                                   .holds = &(struct op_hold){CLASS_sr, sr, SR_OP_UNPLUG},
                                   .check = check_unplug,
                                   .arg = &p},
                 &op));
    TRY(op_step(&op, "begun", 0.1));
    coalescer_leave(call->xapid->coalescer, sr);
    TRY(sr_detach(call, sr));
    error_ignore(op_step(&op, "detached", 0.7)); /* it is, whatever comes */
    return op_commit_forward(&op, record_plugged, &p);
}

struct error *pbd_unplug_recover(struct call *call, struct op *op,
                                 const struct pbd_unplug_intent *intent)
{
    struct plugging p = {intent->pbd, false};
    const struct pbd *pbd = db_find(call, CLASS_pbd, intent->pbd);
    struct error *e = pbd ? sr_detach(call, pbd->sr) : OK;

    if (!e)
        return op_commit(op, record_plugged, &p);
    log_warning("storage that was to be unplugged stays: %s", error_line(call->arena, e));
    return OK;
}
