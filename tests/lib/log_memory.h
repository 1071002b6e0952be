/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* log_memory.h -- a log engine in memory with a thread of its own, for unit tests.  Nothing
 * outlives log_close. */
#pragma once

#include "xapid/db/log.h"

/* Never fails.  'fsm' is copied. */
struct log *log_memory_open(const struct log_fsm *fsm);
