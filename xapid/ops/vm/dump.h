/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * dump.h -- the settings of a VM as text: VM.snapshot_metadata, from which revert takes them back,
 * and VM.last_booted_record.  An XML-RPC struct of the fields that are settings, not state: what
 * the text lacks or no longer exists keeps its present value.
 */
#pragma once

#include "xapid/db/db.h"

/* In the arena. */
const char *vm_dump(struct arena *arena, const struct vm *vm);

/* One field of a dump. */
struct vm_setting {
    const struct field_desc *field;
    const void *value;
};
/* Reads a dump; references to what is not in the snapshot become null.  False where the text is
 * none. */
bool vm_undump(struct arena *arena, const struct db_snap *snap, const char *text, size_t *n,
               struct vm_setting **out);
