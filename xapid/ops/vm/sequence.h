/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * sequence.h -- several VMs started or shut down in their order: VMs of one order together, group
 * after group, with their delays in between; shutting down goes the other way round.
 */
#pragma once

#include "xapid/db/db.h"

enum sequence_kind {
    SEQUENCE_START,
    SEQUENCE_START_PAUSED,
    SEQUENCE_CLEAN_SHUTDOWN,
    SEQUENCE_HARD_SHUTDOWN,
    SEQUENCE_SHUTDOWN /* clean where that works, else hard */
};

struct sequence_vm {
    ref_t vm;
    int64_t order, delay; /* seconds after its group */
};

/* Puts them in the order in which the kind takes them; equal ones stay as they were. Pure. */
void sequence_sort(enum sequence_kind kind, size_t n, struct sequence_vm *v);
/* VMs at the beginning of v that are one group, and how long to wait after it: the longest of their
 * delays. */
size_t sequence_group(size_t n, const struct sequence_vm *v, int64_t *delay);

/*
 * Brings the VMs into the state the kind stands for; those that are in it already are left alone. A
 * VM that fails does not keep the others back: *failed tells those that are not in the state at the
 * end.  'between' (may be NULL) is called after each group with the part that is done; its error,
 * and a cancel of the call's task, end the run once the VMs under way have come to an end.
 * TASK_CANCELLED also where the daemon ends: xapid_is_stopping tells that apart.
 */
MUST_CHECK struct error *sequence_run(struct call *call, enum sequence_kind kind,
                                      const struct refs *vms,
                                      struct error *(*between)(void *ctx, double done), void *ctx,
                                      struct refs *failed);
