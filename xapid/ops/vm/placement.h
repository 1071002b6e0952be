/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* placement.h -- which host can run a VM, and how much memory it would get there.  Computed from
 * the records alone: gathered here, judged by pool/plan/placement.h. */
#pragma once

#include "pool/plan/placement.h"
#include "xapid/db/db.h"

/* Bytes of a host that are not promised to any VM that is on it or coming to it, leaving out
 * 'except' (may be null); its records must exist. */
int64_t host_memory_free(const struct db_snap *snap, const struct host *host, ref_t except);
/* What the VM is given of 'free' bytes: as much of its dynamic range as there is, overhead set
 * aside; below dynamic_min if not even that fits. */
int64_t vm_memory_target(const struct vm *vm, int64_t free);

/* The first obstacle: HOST_NOT_LIVE, HOST_DISABLED, hardware version, VM_REQUIRES_SR,
 * VM_REQUIRES_NETWORK, HOST_CANNOT_ATTACH_NETWORK, VM_HVM_REQUIRED, VM_INCOMPATIBLE_WITH_THIS_HOST,
 * devices, HOST_NOT_ENOUGH_FREE_MEMORY. */
MUST_CHECK struct error *host_can_run(struct call *call, const struct db_snap *snap,
                                      const struct host *host, const struct vm *vm,
                                      struct place_rules rules);

struct host_rank {
    ref_t host;
    struct error *why; /* it cannot run the VM; OK: it can */
};
struct hosts_ranked {
    size_t n, fitting; /* those that can come first, the best of them first (pool/plan) */
    const struct host_rank *v;
};
/* All hosts of the pool, in the call's snapshot. */
struct hosts_ranked hosts_rank(struct call *call, const struct vm *vm, struct place_rules rules);
/* Why no host can run the VM: the obstacle where all hosts have the same, else NO_HOSTS_AVAILABLE
 * with each host's in its parameters. */
MUST_CHECK struct error *hosts_obstacle(struct call *call, const struct vm *vm,
                                        const struct hosts_ranked *all);
/*
 * The host for a VM that is about to run: the one that was asked for, or (null) the best;
 * hosts_obstacle without any.  Then that it is this host (host_is_here): a member that gets a call
 * from another one takes the VM where it can, and looks for a better place only if that has changed
 * meanwhile.
 */
MUST_CHECK struct error *vm_choose_host(struct call *call, const struct vm *vm, ref_t asked,
                                        ref_t *host);
/* Whether it is worth choosing again after an operation could not begin with 'e': others were
 * quicker, and the host was not asked for.  '*tries' counts; zero at first. */
bool vm_choose_again(struct call *call, const struct error *e, ref_t asked, int *tries);
/*
 * The same check in a transaction, which relies on the host and on all VMs whose memory counts, and
 * the reservation: scheduled_to_be_resident_on and memory_target, also of those that make room.
 */
MUST_CHECK struct error *txn_host_reserve(struct txn *txn, ref_t host, const struct vm *vm);
