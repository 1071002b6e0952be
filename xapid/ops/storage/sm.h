/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* sm.h -- rows of class SM: what the drivers in the table can do. */
#pragma once

#include "xapid/db/db.h"

/* At start: one row for each driver, as it is now; rows of drivers that are gone go. */
MUST_CHECK struct error *sm_rows_refresh(struct call *call);
