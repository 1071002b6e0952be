/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* disks.h -- the disks of a VM that is about to run: promised to it, attached to this host, let go
 * of again. */
#pragma once

#include "storage-repos/sr.h"
#include "xapid/hypervisor/hv.h"
#include "xapid/ops/op.h"

/* Disks that an operation has attached and not yet handed over; zero holds nothing.  In the call's
 * arena. */
struct vm_disks {
    struct op *op;
    size_t n;
    struct hv_disk *hv; /* as the hypervisor wants them, empty CD drives too */
    ref_t *vdis;        /* null for an empty drive */
};

/*
 * In op_begin's check: that the VM may have each of its disks, which are from then on
 * currently_attached, so that nobody else takes one.  Errors of txn_vdi_check_attach.
 */
MUST_CHECK struct error *txn_vm_disks_reserve(struct txn *txn, const struct vm *vm);
/* Takes that back. */
void txn_vm_disks_unreserve(struct txn *txn, ref_t vm);

/* Before a VM boots: its disks whose on_boot is reset go back. */
MUST_CHECK struct error *vm_disks_put_back(struct call *call, ref_t vm);
/* Attaches every VBD's VDI through its SR. */
MUST_CHECK struct error *vm_disks_attach(struct op *op, const struct vm *vm, struct vm_disks *out);
/* They stay attached when the scope ends. */
void vm_disks_keep(struct vm_disks *disks);
/* Guard: detaches them, where op_may_undo. */
void vm_disks_release(struct vm_disks *disks);
/* The VDIs that the VM's VBDs show as attached: to be asked for before the record says otherwise,
 * and let go of once the domain is gone, before that is recorded: from then on another host may
 * open them. */
struct refs vm_disks_attached(struct call *call, ref_t vm);
void vm_disks_detach(struct call *call, const struct refs *vdis);
/* What the guest, which stands still, has written to its disks here is durable (vdi_flush). */
MUST_CHECK struct error *vm_disks_flush(struct call *call, ref_t vm);
/* At start of the daemon, for a domain that exists: counts its disks as attached again.  What fails
 * is logged. */
void vm_disks_adopt(struct call *call, const struct vm *vm);
