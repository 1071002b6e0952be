/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * guard.h -- while HA is enabled nothing may be changed so that protected VMs could no longer be
 * restarted.
 */
#pragma once

#include "xapid/ops/ha/facts.h"

/*
 * HA_OPERATION_WOULD_BREAK_FAILOVER_PLAN where the change would leave fewer failures survivable
 * than pool.ha_plan_exists_for says, unless the pool allows that (ha_allow_overcommit).  OK while
 * HA is off.  Other changes at the same moment are not seen: the plan is made anew after each.
 */
MUST_CHECK struct error *txn_ha_check(struct txn *txn, const struct ha_change *change);
/* The same for a VM that would be protected, or no longer: one that is must be able to run on other
 * hosts (VM.assert_agile). */
MUST_CHECK struct error *txn_ha_check_protection(struct txn *txn, const struct vm *vm,
                                                 const struct vm *as);
/* The same for a VM that would run on the host.  HOST_NOT_LIVE where the host takes none
 * (ha_takes_vms), which is relied on. */
MUST_CHECK struct error *txn_ha_check_start(struct txn *txn, const struct vm *vm, ref_t host);
/* The same for a VM whose record would be 'as'. */
MUST_CHECK struct error *txn_ha_check_vm(struct txn *txn, const struct vm *as);
/* HA_CONSTRAINT_VIOLATION_... where a protected VM would get a disk of that SR, or an interface of
 * that network, and could not run on other hosts any more. */
MUST_CHECK struct error *txn_ha_check_sr(struct txn *txn, const struct vm *vm, ref_t sr);
MUST_CHECK struct error *txn_ha_check_network(struct txn *txn, const struct vm *vm, ref_t network);
