/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * guest.h -- what a guest says about itself: from the keys its agent publishes
 * (hypervisor/protocol.h lists them) to VM_guest_metrics.
 *
 * The guest is not trusted: what it says is cut to a sensible size and only ever shown, or used to
 * offer operations.
 */
#pragma once

#include "xapid/hypervisor/hv.h"
#include "xapid/db/db.h"

#define GUEST_MAX_ENTRIES 256
#define GUEST_MAX_VALUE 1024 /* bytes */

/* Fills the fields that follow from the keys; false where the guest has said nothing.  In the
 * arena. Pure. */
bool guest_metrics_of_keys(struct arena *arena, const struct strmap *keys,
                           struct vm_guest_metrics *out);

/* Brings memory_actual and VCPUs_number of the VM's metrics up to date, lazily. */
void vm_metrics_follow(struct call *call, const struct vm *vm, int64_t memory, int64_t vcpus);
/* Brings the VM's guest metrics up to date, making the row where there is none; and its metrics. */
MUST_CHECK struct error *vm_guest_update(struct call *call, const struct vm *vm,
                                         const struct hv_domain *domain);
