/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* setters.h -- implicit setters that check or do more than to set their field. */
#pragma once

#include "xapid/db/ready.h"

/* Runs the setter of a field that is rw: its own function if it has one, else only the change. */
MUST_CHECK struct error *setter_run(struct call *call, const struct field_desc *f,
                                    const struct db_set *set);
