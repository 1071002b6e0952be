/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* check.h -- which operations a virtual interface allows; see ops/storage/check.h. */
#pragma once

#include "xapid/db/db.h"

uint64_t vif_allowed(const struct db_snap *snap, const struct vif *vif);
MUST_CHECK struct error *vif_check(struct call *call, const struct db_snap *snap,
                                   const struct vif *vif, enum vif_operations op);
/* The same inside a transaction, which then relies on the VIF and its VM. */
MUST_CHECK struct error *txn_vif_check(struct txn *txn, ref_t vif, enum vif_operations op,
                                       const struct vif **out);
/* Nobody plugs it in or out, nor builds or ends its VM's domain: OTHER_OPERATION_IN_PROGRESS. */
MUST_CHECK struct error *txn_vif_check_idle(struct txn *txn, const struct vif *vif);
