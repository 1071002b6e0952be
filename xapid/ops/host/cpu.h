/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cpu.h -- what all hosts of the pool have of a processor: the level at which guests boot, so that
 * they can go to any of them.
 */
#pragma once

#include "xapid/db/db.h"

/* Writes pool.cpu_info anew, where it has changed.  'as' is the cpu_info that a host is about to
 * have; 'without' is about to go.  Both hosts may be null. */
void txn_pool_cpus(struct txn *txn, ref_t host, const struct strmap *as, ref_t without);

/* The key of cpu_info for the features that the VM's guest is offered: it depends on its type. */
const char *vm_cpu_key(const struct vm *vm);
/* The VM is about to boot, at the pool's level: last_boot_CPU_flags, which the domain is built
 * with. */
void txn_vm_will_boot(struct txn *txn, const struct vm *vm);
