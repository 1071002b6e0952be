/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* setters.h -- implicit setters that check or do more than to set their field. */
#pragma once

#include "xapid/db/ready.h"

/* Runs the setter of a field that is rw: its own function if it has one, else only the change. */
/* After a change of a field of that kind by its own setter or the messages that add and remove:
 * what follows from it outside the database.  'before' is the row as it was, or NULL. */
void setter_after(struct call *call, const struct field_desc *f, ref_t ref, const void *before);

MUST_CHECK struct error *setter_run(struct call *call, const struct field_desc *f,
                                    const struct db_set *set);
