/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/network/card.h"

#include "libxapi/base/log.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/hotplug.h"
#include "xapid/ops/network/change.h"
#include "xapid/ops/vm/domain.h"

struct error *card_of(struct call *call, const struct vif *vif, const struct network *network,
                      struct card *out)
{
    const struct vm *vm;

    TRY(DB_GET(call, vm, vif->vm, &vm));
    *out = (struct card){
        .vm_uuid = arena_strdup(call->arena, vm->uuid),
        .network = network->ref,
        .live = vif->currently_attached &&
                (vm->power_state == VM_RUNNING || vm->power_state == VM_PAUSED),
        .nic = vif_nic(call, vif, network),
    };
    out->n_guards = vif_guards(call->arena, vm, (int)vm->domid, vif, network, out->guards);
    return OK;
}

struct error *card_find(struct call *call, ref_t ref, ref_t network_ref, struct card *out)
{
    const struct network *network;
    const struct vif *vif;

    TRY(DB_GET(call, vif, ref, &vif));
    TRY(DB_GET(call, network, ref_is_null(network_ref) ? vif->network : network_ref, &network));
    return card_of(call, vif, network, out);
}

/* Those that an interface had which is gone. */
static void forget(struct op *op, const struct card *card)
{
    struct net_guard gone[GUARD_NAMES];
    struct error *e;

    for (size_t i = 0; i < card->n_guards; i++)
        gone[i] =
            (struct net_guard){.device = card->guards[i].device, .bridge = card->guards[i].bridge};
    e = guards_set(op->call, gone, card->n_guards, NET_FLOWS_NOW);
    if (e) /* they go with the domain */
        log_warning("rules of an interface that is gone stay: %s", error_line(op->call->arena, e));
}

/* One that cannot be guarded does not stay. */
static struct error *guard_plugged(struct op *op, const char *what, const struct card *card)
{
    struct hv_request rq = op_hv_request(op, arena_printf(op->call->arena, "%s not", what));
    struct error *e = guards_set(op->call, card->guards, card->n_guards, NET_FLOWS_PLUGGED), *left;

    if (!e)
        return OK;
    left = hv_nic_unplug(op->call->xapid->hv, &rq, card->vm_uuid, card->nic.device, true);
    if (left && hv_failure_of(left) != HV_NO_DOMAIN) {
        log_error("an interface that cannot be guarded stays with its VM: %s",
                  error_line(op->call->arena, left));
        op->unknown = true; /* keeps the intent for recovery */
    }
    return e;
}

struct error *card_plug(struct op *op, const char *what, const struct card *card)
{
    struct hv_request rq = op_hv_request(op, what);
    bool vswitch = host_network_is_vswitch(op->call->xapid->network);
    struct error *e;

    TRY(guards_set(op->call, card->guards, card->n_guards, NET_FLOWS_BEFORE));
    e = hotplug_settle(op, what, hv_nic_plug(op->call->xapid->hv, &rq, card->vm_uuid, &card->nic));
    if (!vswitch)
        return e;
    if (!e)
        e = guard_plugged(op, what, card);
    if (e && !op->unknown) /* nothing is waited for any more; what cannot be set ends by itself */
        error_ignore(guards_set(op->call, card->guards, card->n_guards, NET_FLOWS_NOW));
    return e;
}

struct error *card_unplug(struct op *op, const char *what, const struct card *card, bool force)
{
    struct hv_request rq = op_hv_request(op, what);

    TRY(hotplug_settle(
        op, what, hv_nic_unplug(op->call->xapid->hv, &rq, card->vm_uuid, card->nic.device, force)));
    forget(op, card);
    return OK;
}
