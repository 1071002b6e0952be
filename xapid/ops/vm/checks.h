/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* checks.h -- rules over the settings of a VM, used by its setters, at creation and before a boot.
 */
#pragma once

#include "xapid/db/db.h"

/* The mode the VM boots in next: domain_type, or what the boot policy says where it is unspecified.
 */
enum domain_type vm_domain_type(const struct vm *vm);
enum domain_type vm_domain_type_of_policy(const char *hvm_boot_policy);
/* True where the host's processors must offer hardware virtualisation. */
bool vm_needs_hvm(const struct vm *vm);

/* MEMORY_CONSTRAINT_VIOLATION unless 0 <= static_min <= dynamic_min <= dynamic_max <= static_max.
 */
MUST_CHECK struct error *vm_check_memory(struct call *call, const struct vm *vm);
/* VALUE_NOT_SUPPORTED unless 0 < at_startup <= max; VCPU_MAX_NOT_CORES_PER_SOCKET_MULTIPLE. */
MUST_CHECK struct error *vm_check_vcpus(struct call *call, const struct vm *vm);
/* INVALID_VALUE for a platform that no domain can be built with, and for an unknown firmware. */
MUST_CHECK struct error *vm_check_platform(struct call *call, const struct vm *vm);
/* VALUE_NOT_SUPPORTED below 1. */
MUST_CHECK struct error *vm_check_shadow_multiplier(struct call *call, double value);

/*
 * Everything about the VM itself that would keep it from booting: sizes, platform, boot loader, and
 * its disks (mode of CDs, missing disks).  'force' leaves out what only makes a boot unlikely.
 */
MUST_CHECK struct error *vm_check_bootable(struct call *call, const struct vm *vm, bool force);

/* HA_CONSTRAINT_VIOLATION_SR_NOT_SHARED, ..._NETWORK_NOT_SHARED: a VM that uses it can run on some
 * hosts only. */
MUST_CHECK struct error *vm_check_sr_is_shared(struct call *call, ref_t sr);
MUST_CHECK struct error *vm_check_network_is_shared(struct call *call, ref_t network);

/* Bytes for the page tables of a VM that has hardware virtualisation: a part of its overhead. */
int64_t vm_shadow_memory(const struct vm *vm);
/* Bytes of host memory the VM needs beyond its own. */
int64_t vm_memory_overhead(const struct vm *vm);
