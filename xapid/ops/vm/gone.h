/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* gone.h -- a VM's row goes, with all that is nothing without it. */
#pragma once

#include "xapid/db/db.h"

/* Nothing where it is gone already.  Its disks stay; what descended from it loses its parent. */
void txn_vm_gone(struct txn *txn, ref_t vm);
