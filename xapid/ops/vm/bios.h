/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* bios.h -- VM.bios_strings: firmware texts that are set once, by a user, from a host, or to
 * general ones at the first boot. */
#pragma once

#include "xapid/db/db.h"

/* Gives an HVM guest that has none the general texts. */
void txn_vm_default_bios_strings(struct txn *txn, const struct vm *vm);
