/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * level.h -- hosts of different versions in one pool (xapid/db/level.h): when it takes up what is
 * new, and what clients are told meanwhile.
 */
#pragma once

#include "libxapi/base/arena.h"

struct call;

/*
 * To be called when a host has started, or has gone.  Raises the pool's level to what all of its
 * hosts understand; and says in pool.other_config, as clients read it, whether hosts differ in
 * version.  Nothing is written where nothing changes.
 */
MUST_CHECK struct error *level_settle(struct call *call);
/* NOT_SUPPORTED_DURING_UPGRADE where hosts differ. */
MUST_CHECK struct error *level_check_no_upgrade(struct call *call);
