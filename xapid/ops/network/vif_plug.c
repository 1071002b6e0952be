/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vif_plug.c -- interfaces of running VMs: VIF.plug, unplug, unplug_force, move.
 *
 * Recovery asks the hypervisor what became of the requests an operation makes, and records that.
 */
#include <string.h>

#include "libxapi/base/log.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/ha/guard.h"
#include "xapid/ops/hotplug.h"
#include "xapid/ops/network/card.h"
#include "xapid/ops/network/change.h"
#include "xapid/ops/network/check.h"
#include "xapid/ops/storage/check.h"
#include "xapid/ops/storage/making.h"
#include "xapid/ops/vm/device.h"
#include "xapid/ops/vm/domain.h"

struct vif_ctx {
    ref_t vif, network;
    enum vif_operations op;
    bool attached; /* to be recorded */
};

static struct error *check_vif_op(struct txn *txn, void *arg)
{
    const struct vif_ctx *c = arg;
    const struct vif *vif;

    TRY(txn_vif_check(txn, c->vif, c->op, &vif));
    return txn_check_has_domain(txn, vif->vm);
}

static struct error *record_attached(struct txn *txn, void *arg)
{
    const struct vif_ctx *c = arg;
    const struct vif *vif = txn_find(txn, CLASS_vif, c->vif);

    if (!vif)
        return OK;
    /* A VM that has halted meanwhile took its devices with it. */
    if (c->attached)
        TRY(txn_check_has_domain(txn, vif->vm));
    TXN_SET(txn, vif, c->vif, currently_attached, c->attached);
    return OK;
}

static struct error *begin(struct call *call, enum intent_kind kind, const void *intent,
                           struct vif_ctx *c, db_txn_fn *check, struct op *op)
{
    return op_begin(call,
                    &(struct op_spec){.kind = kind,
                                      .intent = intent,
                                      .n_holds = 1,
                                      .holds = &(struct op_hold){CLASS_vif, c->vif, (int)c->op},
                                      .check = check,
                                      .arg = c},
                    op);
}

/*** plug ***/

/* An interface that is taken out again unless it is kept. */
struct plugged {
    struct op *op;
    const struct card *card;
};

static void plugged_release(struct plugged *p)
{
    struct hv_request rq;
    struct error *e;

    if (!p->op || !op_may_undo(p->op))
        return;
    rq = op_hv_request(p->op, "undo");
    e = hv_nic_unplug(p->op->call->xapid->hv, &rq, p->card->vm_uuid, p->card->nic.device, true);
    if (!e || hv_failure_of(e) == HV_NO_DOMAIN)
        return;
    log_error("an interface stays with a VM that should not have it, until the next start: %s",
              error_line(p->op->call->arena, e));
    p->op->unknown = true; /* keeps the intent for recovery */
}

struct error *vif_plug(struct call *call, const struct vif_plug_args *args)
{
    struct vif_plug_intent intent = {args->self};
    struct vif_ctx c = {.vif = args->self, .op = VIF_OP_PLUG, .attached = true};
    AUTO(op) op = {0};
    AUTO(plugged) plugged = {0};
    struct card card;

    TRY(begin(call, INTENT_vif_plug, &intent, &c, check_vif_op, &op));
    TRY(op_step(&op, "begun", 0.1));
    TRY(card_find(call, args->self, REF_NULL, &card));
    TRY(network_make_ready(call, card.network));
    TRY(card_plug(&op, "plug", &card));
    plugged = (struct plugged){&op, &card};
    TRY(op_step(&op, "plugged", 0.8));
    TRY(op_commit(&op, record_attached, &c));
    plugged.op = NULL;
    return OK;
}

struct error *vif_plug_recover(struct call *call, struct op *op,
                               const struct vif_plug_intent *intent)
{
    struct vif_ctx c = {.vif = intent->vif, .attached = true};
    struct error *e;
    bool happened;

    TRY(hotplug_happened(op, "plug", &happened));
    if (!happened)
        return OK;
    e = op_commit(op, record_attached, &c);
    /* The VM has halted meanwhile. */
    return error_is(e, "VM_BAD_POWER_STATE") || !db_find(call, CLASS_vif, intent->vif) ? OK : e;
}

/*** unplug ***/

static struct error *unplug(struct call *call, ref_t ref, bool force)
{
    struct vif_unplug_intent intent = {ref};
    struct vif_ctx c = {.vif = ref, .op = VIF_OP_UNPLUG};
    AUTO(op) op = {0};
    struct card card;

    TRY(begin(call, INTENT_vif_unplug, &intent, &c, check_vif_op, &op));
    TRY(op_step(&op, "begun", 0.1));
    TRY(card_find(call, ref, REF_NULL, &card));
    TRY(hotplug_refused(call, card_unplug(&op, "unplug", &card, force), "VIF", ref));
    error_ignore(op_step(&op, "unplugged", 0.8)); /* it is, whatever comes */
    return op_commit_forward(&op, record_attached, &c);
}

struct error *vif_unplug(struct call *call, const struct vif_unplug_args *args)
{
    return unplug(call, args->self, false);
}

struct error *vif_unplug_force(struct call *call, const struct vif_unplug_force_args *args)
{
    return unplug(call, args->self, true);
}

struct error *vif_unplug_recover(struct call *call, struct op *op,
                                 const struct vif_unplug_intent *intent)
{
    struct vif_ctx c = {.vif = intent->vif};
    bool happened;

    (void)call;
    TRY(hotplug_happened(op, "unplug", &happened));
    return happened ? op_commit(op, record_attached, &c) : OK;
}

/*** move ***/

static struct error *check_move(struct txn *txn, void *arg)
{
    const struct vif_ctx *c = arg;
    const struct network *network;
    const struct vif *vif;
    const struct vm *vm;

    TRY(TXN_GET(txn, vif, c->vif, &vif));
    TRY(TXN_GET(txn, network, c->network, &network));
    TRY(TXN_GET(txn, vm, vif->vm, &vm));
    TRY(txn_ha_check_network(txn, vm, c->network));
    return txn_vif_check_idle(txn, vif);
}

static struct error *record_moved(struct txn *txn, void *arg)
{
    const struct vif_ctx *c = arg;

    if (txn_find(txn, CLASS_vif, c->vif) && txn_find(txn, CLASS_network, c->network))
        TXN_SET(txn, vif, c->vif, network, c->network);
    return OK;
}

/* Out of one bridge and into the other; where the second fails it goes back into the first. */
static struct error *change_bridge(struct op *op, ref_t vif, ref_t network)
{
    struct card before, after;
    struct error *e;

    TRY(card_find(op->call, vif, REF_NULL, &before));
    TRY(card_find(op->call, vif, network, &after));
    if (!before.live)
        return OK;
    TRY(network_make_ready(op->call, network));
    TRY(card_unplug(op, "out", &before, true));
    e = card_plug(op, "in", &after);
    if (!e || op->unknown)
        return e;
    if (card_plug(op, "back", &before))
        op->unknown = true; /* recovery tries again */
    return e;
}

struct error *vif_move(struct call *call, const struct vif_move_args *args)
{
    struct vif_move_intent intent = {args->self, args->network};
    struct vif_ctx c = {.vif = args->self, .network = args->network, .op = VIF_OP_ATTACH};
    AUTO(op) op = {0};

    TRY(begin(call, INTENT_vif_move, &intent, &c, check_move, &op));
    TRY(op_step(&op, "begun", 0.1));
    TRY(change_bridge(&op, args->self, args->network));
    error_ignore(op_step(&op, "moved", 0.8)); /* it is, whatever comes */
    return op_commit_forward(&op, record_moved, &c);
}

/* Goes on to the new network: both requests are repeated by their ids, and done once. */
struct error *vif_move_recover(struct call *call, struct op *op,
                               const struct vif_move_intent *intent)
{
    struct vif_ctx c = {.vif = intent->vif, .network = intent->network};
    struct error *e;

    if (!db_find(call, CLASS_vif, intent->vif) || !db_find(call, CLASS_network, intent->network))
        return OK;
    e = change_bridge(op, intent->vif, intent->network);
    if (op->unknown)
        return e;
    if (!e)
        return op_commit(op, record_moved, &c);
    log_warning("an interface that was to be moved stays: %s", error_line(call->arena, e));
    return OK;
}
