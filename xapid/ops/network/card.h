/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* card.h -- within ops/network: a VIF as the hypervisor is told of it. */
#pragma once

#include "xapid/hypervisor/hv.h"
#include "xapid/db/db.h"

/* In the call's memory: rows go with the snapshot. */
struct card {
    const char *vm_uuid;
    ref_t network;
    bool live; /* attached to a domain */
    struct hv_nic nic;
};

/* On its own network, or, where that is not null, on another one. */
MUST_CHECK struct error *card_find(struct call *call, ref_t vif, ref_t network, struct card *out);
