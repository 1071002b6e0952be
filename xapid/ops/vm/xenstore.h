/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* xenstore.h -- what of a VM's record its running guest reads in xenstore. */
#pragma once

#include "xapid/db/db.h"

/* VM.xenstore_data was changed; 'before' is what it was.  Tells the guest of a VM that runs here:
 * keys that are new, other or gone.  Where that fails it is logged, and the guest sees the record's
 * keys when it is started again. */
void vm_xenstore_changed(struct call *call, ref_t vm, const struct strmap *before);
