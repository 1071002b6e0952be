/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * passthrough.h -- devices of the host that a VM is given for itself: graphics processors (its
 * VGPUs), USB devices (its VUSBs), other PCI functions (other_config:pci, "0/0000:04:00.0,...").
 *
 * They are promised when an operation begins and stay with the VM until it is halted.  A PCI
 * function is promised by PCI.attached_VMs; a USB device by VUSB.currently_attached, and its uuid
 * under other_config:attached_pusb.
 */
#pragma once

#include "xapid/hypervisor/hv.h"
#include "xapid/ops/op.h"

/* Whether a card may run one more virtual GPU of the type, for the VM: the type is enabled, nobody
 * else has the card, and the host's own drivers do not. */
bool pgpu_can_run(const struct db_snap *snap, const struct pgpu *pgpu, ref_t type, ref_t vm);
/* Whether the virtual USB device has got that device. */
bool vusb_has(const struct vusb *vusb, const struct pusb *pusb);

/*
 * Whether a host can give the VM now all that it wants: VM_REQUIRES_IOMMU, VM_REQUIRES_GPU,
 * VM_REQUIRES_VGPU, VM_REQUIRES_VUSB, or OPERATION_NOT_ALLOWED for a PCI function that is not to be
 * had.
 */
MUST_CHECK struct error *host_has_devices(struct call *call, const struct db_snap *snap,
                                          const struct host *host, const struct vm *vm);
/* In op_begin's check: promises them. */
MUST_CHECK struct error *txn_vm_devices_reserve(struct txn *txn, ref_t host, const struct vm *vm);
/* They run in the VM's domain. */
void txn_vm_devices_attached(struct txn *txn, ref_t vm);
/* They are free again. */
void txn_vm_devices_free(struct txn *txn, ref_t vm);
void txn_vusb_detached(struct txn *txn, ref_t vusb);
/* What was promised, for the hypervisor.  VM_REQUIRES_VUSB where a device has been pulled out. */
MUST_CHECK struct error *vm_devices_config(struct call *call, const struct vm *vm,
                                           struct hv_domain_config *out);
