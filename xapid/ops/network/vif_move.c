/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/network/vif_move.h"

#include "libxapi/base/log.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/hotplug.h"
#include "xapid/ops/network/card.h"
#include "xapid/ops/vm/domain.h"

static bool is_here(struct net_model *m, const struct vif *vif)
{
    const struct vm *vm = model_find(m, CLASS_vm, vif->vm);

    return vm && vif->currently_attached && ref_equal(vm->resident_on, m->host);
}

struct refs vifs_that_move(struct net_model *m)
{
    ref_t *v = arena_array(m->arena, ref_t, m->n + 1);
    size_t n = 0, rows = m->n;

    for (size_t i = 0; i < rows; i++) {
        const struct vif *old = m->rows[i].old, *now = m->rows[i].now;

        if (m->rows[i].class_id == CLASS_vif && old && now &&
            !ref_equal(old->network, now->network) && is_here(m, now))
            v[n++] = now->ref;
    }
    return (struct refs){n, v};
}

/* The name of a request that is made for one of several interfaces. */
static const char *request(struct op *op, const char *what, ref_t vif)
{
    return arena_printf(op->call->arena, "%s %s", what, call_ref(op->call, vif));
}

struct error *vifs_move(struct op *op, struct net_model *m, const struct refs *vifs)
{
    for (size_t i = 0; i < vifs->n; i++) {
        const struct vif *vif = model_find(m, CLASS_vif, vifs->v[i]);
        const struct network *to = model_find(m, CLASS_network, vif->network);
        struct card card;

        TRY(card_of(op->call, vif, to, &card));
        TRY(card_unplug(op, request(op, "out", vif->ref), &card, true));
        TRY(card_plug(op, request(op, "in", vif->ref), &card));
    }
    return OK;
}

static struct error *move_back(struct op *op, ref_t vif)
{
    struct card card;
    bool out, in;

    TRY(hotplug_happened(op, request(op, "out", vif), &out));
    TRY(hotplug_happened(op, request(op, "in", vif), &in));
    if (!out || !db_find(op->call, CLASS_vif, vif))
        return OK;
    TRY(card_find(op->call, vif, REF_NULL, &card));
    if (!card.live)
        return OK;
    if (in)
        TRY(card_unplug(op, request(op, "back out", vif), &card, true));
    return card_plug(op, request(op, "back in", vif), &card);
}

struct error *vifs_move_back(struct op *op, const struct refs *vifs)
{
    for (size_t i = 0; i < vifs->n; i++) {
        struct error *e = move_back(op, vifs->v[i]);

        if (op->unknown)
            return e;
        /* Its machine has ended meanwhile, perhaps. */
        if (e && hv_failure_of(e) != HV_NO_DOMAIN)
            log_error("an interface of a machine is not where its record says: %s",
                      error_line(op->call->arena, e));
    }
    return OK;
}
