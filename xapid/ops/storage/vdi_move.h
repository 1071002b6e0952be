/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vdi_move.h -- a disk moves to another repository (VDI.pool_migrate). */
#pragma once

#include "xapid/ops/op.h"

/* That the repository can take it, as far as the records say.  SR_DOES_NOT_SUPPORT_MIGRATION. */
MUST_CHECK struct error *vdi_move_check(struct call *call, const struct vdi *vdi, ref_t to);
/* The whole of VDI.pool_migrate, an operation of its own; nothing where the disk is there. */
MUST_CHECK struct error *vdi_move(struct call *call, ref_t vdi, ref_t to);
