/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bridge.h -- names of bridges. */
#pragma once

#include "xapid/db/db.h"

/* A name of our own that no network has; 'skip' of those that are free are left to others of the
 * same transaction. */
const char *network_free_bridge(struct txn *txn, int skip);
