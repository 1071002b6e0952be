/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * watch.h -- keeps the records of VMs in step with their domains: ends that nobody asked for, guest
 * metrics, domains that appear or change state behind the daemon's back.
 *
 * Order at start: vms_reconcile, then ops_recover (what recovery attaches and detaches is counted
 * on top of what was there), then vm_watch_start; at the end: vm_watch_stop, hv_free,
 * vm_watch_free.
 */
#pragma once

#include "xapid/hypervisor/hv.h"
#include "xapid/ops/op.h"

struct xapid;
struct vm_watch;

/*
 * Counts the disks of domains that exist as attached, records VMs whose domain is gone as halted
 * and those that run as running, and reports domains that belong to no VM, which are never touched.
 * VMs with an operation under way are left to its recovery.
 */
MUST_CHECK struct error *vms_reconcile(struct call *call);

/* Watches xapid->hv from now on. To be called once. */
struct vm_watch *vm_watch_start(struct xapid *xapid);
/* No record is changed any more when it returns; what was handed to the workers goes on.  NULL is
 * fine. */
void vm_watch_stop(struct vm_watch *watch);
/* After hv_free, whose thread may call it until then.  NULL is fine. */
void vm_watch_free(struct vm_watch *watch);
