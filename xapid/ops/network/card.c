/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/network/card.h"

#include "libxapi/base/log.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/hotplug.h"
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

struct error *card_plug(struct op *op, const char *what, const struct card *card)
{
    struct hv_request rq = op_hv_request(op, what);

    TRY(guards_set(op->call, card->guards, card->n_guards));
    return hotplug_settle(op, what,
                          hv_nic_plug(op->call->xapid->hv, &rq, card->vm_uuid, &card->nic));
}

struct error *card_unplug(struct op *op, const char *what, const struct card *card, bool force)
{
    struct hv_request rq = op_hv_request(op, what);
    struct net_guard gone[GUARD_NAMES];
    struct error *e;

    TRY(hotplug_settle(
        op, what, hv_nic_unplug(op->call->xapid->hv, &rq, card->vm_uuid, card->nic.device, force)));
    for (size_t i = 0; i < card->n_guards; i++)
        gone[i] = (struct net_guard){.device = card->guards[i].device};
    e = guards_set(op->call, gone, card->n_guards);
    if (e) /* they go with the domain */
        log_warning("rules of an interface that is gone stay: %s", error_line(op->call->arena, e));
    return OK;
}
