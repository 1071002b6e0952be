/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vtpm.h -- virtual TPMs as parts of a VM that is copied or destroyed. */
#pragma once

#include "xapid/db/db.h"

/* The twin gets a VTPM like the source's: with its contents, unless it is a copy of one that must
 * exist only once, which begins empty. */
void txn_vtpms_twin(struct txn *txn, ref_t source, ref_t twin, bool snapshot);
/* What is stored of a VTPM goes with its row. */
void txn_vtpm_contents_destroy(struct txn *txn, ref_t vtpm);
/* OK, or OPERATION_NOT_ALLOWED where the VM has a VTPM and this host's hypervisor gives guests
 * none. */
MUST_CHECK struct error *vm_check_vtpm(struct call *call, const struct vm *vm);
