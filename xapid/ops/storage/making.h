/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* making.h -- within ops/storage: the operation that makes one disk, and its guard. */
#pragma once

#include "xapid/ops/storage/vdi_ops.h"

/* A disk that is removed again unless it is kept; zero holds nothing.  Declared after the op. */
struct making {
    struct op *op;
    const struct vdi_plan *plan;
};
void making_release(struct making *making);
void making_keep(struct making *making);

/* Begins the operation under the intent vdi_make. */
MUST_CHECK struct error *making_begin(struct call *call, const struct vdi_plan *plan,
                                      enum vdi_operations vdi_op, enum storage_operations sr_op,
                                      struct op *op);
/* op_commit for what cannot be undone any more: recorded by itself where it cannot be recorded
 * together with the op's end, and left to recovery rather than aborted. */
MUST_CHECK struct error *op_commit_forward(struct op *op, db_txn_fn *fn, void *arg);
/* Records what a fork did besides its new disk: the hidden base, and the source's new parent. */
void txn_vdi_forked(struct txn *txn, const struct vdi_plan *plan, const struct vdi_made *made);
struct sr_use;
/* Rows of hidden images that a driver has removed because nothing needed them any more. */
struct refs vdi_bases_gone(struct call *call, struct sr_use *use, ref_t sr);
/* Ends it with the row. */
MUST_CHECK struct error *making_commit(struct op *op, const struct vdi_plan *plan,
                                       const struct vdi_made *made);
