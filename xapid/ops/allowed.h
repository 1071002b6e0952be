/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* allowed.h -- allowed_operations: never stored, a function of the snapshot, from the same checks
 * that guard the operations. */
#pragma once

#include "xapid/db/db.h"

/* The set of operations possible now on a row of any class with such a field: a struct enums in the
 * arena. */
const struct enums *allowed_operations(struct arena *arena, struct xapid *xapid,
                                       struct db_snap *snap, const void *row);
