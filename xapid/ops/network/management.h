/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* management.h -- whether a host is managed over the network. */
#pragma once

#include "xapid/db/db.h"

/* True where one of the host's PIFs is its management interface, or where it has none at all. */
bool host_has_management(const struct db_snap *snap, ref_t host);
