/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * force.h -- the log goes on with this member alone, whoever else there was: for a majority that is
 * lost for ever.
 *
 * An entry that says so is put behind the last one in the files, which were judged before
 * (guard.h), and before the library reads them; it is whole or not there.  All that lies before it
 * is committed by it, so what the others acknowledged and this member has is kept.  (The library's
 * own raft_recover writes such an entry with term 1, which no later start would understand.)
 */
#pragma once

#include "pool/log/guard.h"

/* 'found' is what the guard has found, and becomes what is there now.  'address' is this member's.
 */
MUST_CHECK struct error *force_alone(struct arena *arena, int dir, const char *dir_name,
                                     uint64_t id, const char *address, struct guard_found *found);
