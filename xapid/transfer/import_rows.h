/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * import_rows.h -- the rows of an import in the database: made as soon as they are known, held by
 * the operation until the disks are filled, then let go of; or removed again.
 */
#pragma once

#include "xapid/ops/op.h"
#include "xapid/transfer/import_plan.h"

/* Makes all of them, family by family, each in one write-set; at the end the task says
 * object_creation=complete. */
MUST_CHECK struct error *import_rows_make(struct op *op, const struct import_plan *plan);
/*
 * Ends it: nothing is held any more, and machines take the place of those they replace.  From the
 * first of several write-sets on, if one does not suffice, it can only be finished: by this, or
 * by recovery.
 */
MUST_CHECK struct error *import_rows_finish(struct op *op, const struct vm_import_intent *intent);
/* Removes whatever of an intent is there, rows first, then files.  Repeatable. */
MUST_CHECK struct error *import_rows_drop(struct call *call, const struct vm_import_intent *intent);
/* What an intent remembers of a plan; 'task' is for its key. */
struct vm_import_intent import_rows_intent(struct call *call, const struct import_plan *plan,
                                           const char *task);
