/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* ended.h -- a domain that ended without being told to: the guest shut down, rebooted or crashed,
 * or somebody took the domain away. */
#pragma once

#include "xapid/hypervisor/hv.h"
#include "xapid/ops/op.h"

enum ended_action { ENDED_DESTROY, ENDED_RESTART, ENDED_PRESERVE };

/* A domain that crashes so early is not started again. */
#define CRASH_LOOP_SECONDS 120
/* One that reboots so early is started again only after a while. */
#define EARLY_REBOOT_SECONDS 60
#define EARLY_REBOOT_DELAY_SECONDS 10

/* What the VM's settings want after this end, 'age' microseconds after its start. */
enum ended_action vm_ended_action(const struct vm *vm, enum hv_reason reason, usec_t age);

/*
 * Records the end of the VM's domain and does what its settings want; waits in line for operations
 * that are under way, and does nothing where they have dealt with it.  Blocks as long as a boot
 * takes.
 */
MUST_CHECK struct error *vm_domain_ended(struct call *call, ref_t vm);
