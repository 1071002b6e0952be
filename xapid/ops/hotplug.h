/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* hotplug.h -- what plugging disks and interfaces into running VMs has in common. */
#pragma once

#include "xapid/hypervisor/hv.h"
#include "xapid/ops/op.h"

/*
 * After a request to the hypervisor whose answer did not come: finds out what became of it. Returns
 * the request's own outcome; where even that stays unknown, the op is left to recovery.  Other
 * errors and OK are passed through.
 */
MUST_CHECK struct error *hotplug_settle(struct op *op, const char *what, struct error *e);
/* For recovery: true if the request was made and succeeded.  From then on it will not happen
 * behind our back. */
MUST_CHECK struct error *hotplug_happened(struct op *op, const char *what, bool *happened);
/* The guest kept its device ('type' and 'ref' as the API names them): the hypervisor names it as it
 * knows it.  Other errors and OK are passed through. */
MUST_CHECK struct error *hotplug_refused(struct call *call, struct error *e, const char *type,
                                         ref_t ref);
/* The VM has a domain on this host: VM_BAD_POWER_STATE otherwise. */
MUST_CHECK struct error *txn_check_has_domain(struct txn *txn, ref_t vm);
