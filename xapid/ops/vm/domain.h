/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* domain.h -- the domain of a VM: what it is built from, and the guard that takes it down again where an operation fails. */
#pragma once

#include "xapid/hypervisor/hv.h"
#include "xapid/ops/op.h"

/* A domain that an operation has built and not yet handed over; zero holds nothing. */
struct domain {
    struct op *op;
    const char *uuid; /* of the VM; NULL: nothing held */
    int domid;
};

/* The request for one effect of the operation: 'what' tells effects of one operation apart, and its id is the same when recovery repeats it. */
struct hv_request op_hv_request(struct op *op, const char *what);
/* The configuration of a VM from its records and those of its disks and networks; paths of disks as the SR driver attached them. */
MUST_CHECK struct error *domain_config(struct call *call, const struct vm *vm, struct hv_domain_config *out);
/* Builds the domain, paused. */
MUST_CHECK struct error *domain_build(struct op *op, const struct vm *vm, const struct hv_domain_config *config, struct domain *out);
MUST_CHECK struct error *domain_unpause(struct op *op, const struct domain *domain);
/* The domain stays when the scope ends. */
void domain_keep(struct domain *domain);
void domain_release(struct domain *domain);

/* What all transactions do that record a VM running or halted. */
/* Running or paused on this host: power state, residence, domid, devices attached, metrics. */
MUST_CHECK struct error *txn_vm_started(struct txn *txn, ref_t vm, int domid, bool paused);
/* Halted: devices detached, residence and domid gone, guest metrics gone. */
MUST_CHECK struct error *txn_vm_halted(struct txn *txn, ref_t vm);
