/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* facts.h -- what the planner (pool/ha/planner.h) is told: gathered from one version of the
 * database, as it is or as it would be. */
#pragma once

#include "pool/ha/planner.h"
#include "xapid/db/db.h"

/* How things would be; zero: as they are. */
struct ha_change {
    ref_t vm;            /* this VM ... */
    const struct vm *as; /* ... with this record, NULL: its own, ... */
    ref_t on;            /* ... on this host, null: where it is */
    ref_t without;       /* a host that would be disabled */
    /* Not NULL (map VM -> string): these VMs have these priorities and no other is protected. */
    const struct map *priorities;
};

struct ha_facts {
    struct ha_problem problem; /* live and enabled hosts, protected VMs */
    const struct host **hosts; /* by their index there */
    const struct vm **vms;     /* the same; in the order in which they are to be restarted */
    size_t limit;              /* failures after which a majority still stands */
};

void ha_gather(struct call *call, const struct db_snap *snap, const struct ha_change *change,
               struct ha_facts *out);

/* True where HA keeps the VM running, while it is enabled. */
bool ha_protects(const struct vm *vm);
/* Earlier first: ascending order, negative last. */
int ha_compare_order(const struct vm *a, const struct vm *b);
/* Why there is no plan, as a sentence: which hosts, which VM, what stands in its way. */
const char *ha_explain(struct call *call, const struct db_snap *snap, const struct ha_facts *facts,
                       const struct ha_verdict *verdict);
