/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * apply.h -- what a committed write-set does to the database: a pure function of (state, bytes),
 * the same on every member.  No clock, no random number, no order of addresses enters it.
 *
 * The rules it keeps: what was relied on is unchanged (else CONFLICT); references exist; uuids are
 * unique; no cycle in snapshot_of or parent; a destroyed row is referred to by nobody (references
 * to it become null, set members and map entries go); nothing is of a later level than the pool's.
 */
#pragma once

#include "xapid/db/log.h"
#include "xapid/db/root.h"

/* Applies to a private root.  result->error is in 'arena'.  Malformed bytes are LOG_FAILED: the
 * caller must stop. */
void apply_write_set(struct db_root *root, struct arena *arena, const void *data, size_t size,
                     struct log_result *result);
