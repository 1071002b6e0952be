/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * level.h -- members of different versions in one database.
 *
 * A level is a number for what a program understands: api_level, the highest "since" of the
 * schema's fields.  A field that is added to the schema says "since" a new level, and so does each
 * field of a new class.  Every member writes its own level into its host_state; the pool's, in the
 * coordinator's row, is the least of them (xapid/ops/host/level.h) and never falls.
 *
 * A write-set names the level of what is in it, and is refused, by every member alike, where the
 * pool's is lower: nobody is sent what it cannot read.  A program that finds the pool's level above
 * its own, because it is older than the one this host had, applies nothing more and says so; a
 * newer one goes on from there.  May not change: who decides is the state and the head of the
 * entry, which all versions can read.
 */
#pragma once

#include "xapid/db/root.h"

/* The one row of class coordinator. */
#define COORDINATOR ((ref_t){0x636f6f7264696e61, 0x746f720000000001})

/* From which on members follow one that renews its certificate. */
#define LEVEL_RENEWED_IDENTITIES 2

/* The pool's. */
static inline unsigned root_level(const struct db_root *root)
{
    const struct coordinator *row = root_get(root, CLASS_coordinator, COORDINATOR);

    return row && row->level > 1 ? (unsigned)row->level : 1;
}
