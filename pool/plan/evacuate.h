/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * evacuate.h -- where the VMs of a host that is to be emptied go, all of them at once.
 *
 * Pure.  They are spread: each goes where most memory is left, and VMs that want to be apart are
 * kept apart where that is possible.  Where that does not give all of them a place, the tighter
 * packing of pool/ha/planner.h does, if there is one.
 */
#pragma once

#include "pool/ha/planner.h"

struct evacuation {
    struct ha_problem problem; /* VMs on hosts that are emptied, and all hosts */
    uint64_t emptied;          /* bit i: host i */
    const size_t *groups;      /* of each VM; those of one group want to be apart.  0: of none */
    /* VMs of each group (from 1) that are on a host, or go there, and stay: [group * n_hosts +
     * host].
     */
    size_t n_groups; /* 0 counted too */
    const int64_t *company;
};

/* to[i] is a host, HA_STAYS or HA_NO_PLACE.  Returns whether all that must go have a place. */
bool evacuation_plan(struct arena *arena, const struct evacuation *evacuation, int *to);
