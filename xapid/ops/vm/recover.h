/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* recover.h -- machines of one database are recovered into another: VM.recover and its kin. */
#pragma once

#include "xapid/db/db.h"

/* The pool into which is recovered, as a call with the other session's rights; zero holds nothing.
 */
struct recovery_target {
    struct call call;
};
/* SESSION_INVALID, also for a session on a copy of a database; RBAC_PERMISSION_DENIED. */
MUST_CHECK struct error *recovery_target(struct call *call, ref_t session,
                                         struct recovery_target *out);
void recovery_target_release(struct recovery_target *target);

/* That what the machine's disks are on is attached there: VM_REQUIRES_SR; and that it is in no
 * appliance: VM_IS_PART_OF_AN_APPLIANCE. */
MUST_CHECK struct error *vm_check_recovery(struct call *call, const struct vm *vm,
                                           struct call *target);
/* The same of all the appliance's machines. */
MUST_CHECK struct error *appliance_check_recovery(struct call *call, ref_t appliance,
                                                  struct call *target);
