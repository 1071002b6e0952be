/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * domain.h -- the domain of a VM: what it is built from, the guard that takes it down again where
 * an operation fails, and what the records say of a VM that has one or no longer has.
 */
#pragma once

#include "xapid/hypervisor/hv.h"
#include "xapid/ops/host/here.h"
#include "xapid/ops/op.h"
#include "xapid/ops/vm/disks.h"

/* A domain that an operation has built and not yet handed over; zero holds nothing. */
struct domain {
    struct op *op;
    const char *uuid; /* of the VM; NULL: nothing held */
    int domid;
};

/*
 * The request for one effect of the operation: 'what' tells effects of one operation apart, and its
 * id is the same when recovery repeats it.  NULL: a read, or what may be done twice.
 */
struct hv_request op_hv_request(struct op *op, const char *what);
/* An error of hv.h as the XenAPI has it: the VM's reference in place of its uuid.  OK stays OK. */
struct error *vm_hv_error(struct call *call, const struct vm *vm, struct error *e);

/* A virtual interface as the hypervisor of this host gets it, in a network or (NULL) in none; texts
 * are the call's. */
struct hv_nic vif_nic(struct call *call, const struct vif *vif, const struct network *network);
/* The configuration of a VM from its records and those of its networks, with its attached disks. */
MUST_CHECK struct error *domain_config(struct call *call, const struct vm *vm,
                                       const struct vm_disks *disks, struct hv_domain_config *out);
/*
 * What the VM was promised (txn_host_reserve) is there, or nobody gives back any more: the guests
 * that were told to make room have done so, or do not do it.
 */
MUST_CHECK struct error *vm_make_room(struct op *op, ref_t vm);
/* Builds the domain, paused, with its interfaces guarded; from a memory image where 'image' (a
 * path) is not NULL. */
MUST_CHECK struct error *domain_build(struct op *op, const struct vm *vm,
                                      const struct hv_domain_config *config, const char *image,
                                      struct domain *out);
MUST_CHECK struct error *domain_unpause(struct op *op, const struct domain *domain);
/* The domain stays when the scope ends. */
void domain_keep(struct domain *domain);
/* Guard: destroys it, where op_may_undo. */
void domain_release(struct domain *domain);
/*
 * For recovery: what an earlier daemon asked for under 'what' (NULL ends the list) is over, or will
 * not happen any more; then *out is the VM's domain or NULL.
 */
MUST_CHECK struct error *domain_settle(struct op *op, const struct vm *vm, const char *const *what,
                                       const struct hv_domain **out);
/* The same for one request, with what became of it: *done where it is known to have succeeded. */
MUST_CHECK struct error *domain_outcome(struct op *op, const char *what, bool *done);
/* Destroys the VM's domain, if any. */
MUST_CHECK struct error *domain_end(struct op *op, const struct vm *vm, const char *what);

/*
 * op_step, and TASK_CANCELLED where meanwhile a harder operation came to end the VM: hard_shutdown
 * ends all, hard_reboot the clean ones.
 */
MUST_CHECK struct error *vm_step(struct op *op, ref_t vm, const char *name, double done);
MUST_CHECK struct error *vm_overruled(struct op *op, ref_t vm);
/* For such a harder operation: takes the domain from under the others and waits until they are
 * gone. */
MUST_CHECK struct error *vm_overrule(struct op *op, ref_t vm);
/* Whether it runs, and not on this host: those that were overruled may have got so far all the
 * same. Then that host has to end it. */
bool vm_runs_elsewhere(struct call *call, ref_t vm);

/*** what all transactions do that record a VM's power state ***/

/* Running or paused on this host, in a new domain: power state, residence, domid, devices attached,
 * metrics, a console, no guest metrics yet. */
MUST_CHECK struct error *txn_vm_started(struct txn *txn, ref_t vm, int domid, bool paused);
/* Halted: devices detached, residence and domid, console and guest metrics gone. */
MUST_CHECK struct error *txn_vm_halted(struct txn *txn, ref_t vm);
/* Running as it did, but on another host. */
MUST_CHECK struct error *txn_vm_moved(struct txn *txn, ref_t vm, ref_t host, int domid);
/* Suspended with this image: no domain, but its devices stay promised to it. */
MUST_CHECK struct error *txn_vm_suspended(struct txn *txn, ref_t vm, ref_t image);
/* A start that did not come to it: nothing is promised any more, and memory_target is what it was.
 */
void txn_vm_not_started(struct txn *txn, ref_t vm, int64_t old_target, bool was_suspended);

/* Posts an alert about the VM: "VM '<name>' (uuid: <uuid>) <what>".  A failure is logged. */
void vm_alert(struct call *call, const struct vm *vm, const char *name, const char *what);
