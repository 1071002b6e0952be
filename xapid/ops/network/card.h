/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* card.h -- within ops/network: a VIF as the hypervisor and the kernel's rules are told of it. */
#pragma once

#include "xapid/hypervisor/hv.h"
#include "xapid/ops/network/guards.h"
#include "xapid/ops/op.h"

/* In the call's memory: rows go with the snapshot. */
struct card {
    const char *vm_uuid;
    ref_t network;
    bool live; /* attached to a domain */
    struct hv_nic nic;
    size_t n_guards;
    struct net_guard guards[GUARD_NAMES]; /* if it is live, or about to be */
};

/* In a network as it is, or is going to be. */
MUST_CHECK struct error *card_of(struct call *call, const struct vif *vif,
                                 const struct network *network, struct card *out);
/* On its own network, or, where that is not null, on another one. */
MUST_CHECK struct error *card_find(struct call *call, ref_t vif, ref_t network, struct card *out);

/* Plugs it in, guarded from its first packet on; settled (hotplug.h). */
MUST_CHECK struct error *card_plug(struct op *op, const char *what, const struct card *card);
/* Unplugs it, and forgets what guarded it; settled. */
MUST_CHECK struct error *card_unplug(struct op *op, const char *what, const struct card *card,
                                     bool force);
