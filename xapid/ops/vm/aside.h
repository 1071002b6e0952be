/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * aside.h -- a running guest that is saved and put back in a new domain: by suspend where it fails,
 * and while its disks are snapshotted, since nobody may have them open then.
 *
 * To the guest it is a suspend that is over at once.  From vm_save on it exists only as the image.
 */
#pragma once

#include "xapid/ops/vm/domain.h"
#include "xapid/ops/vm/image.h"

/* Saves the memory.  The domain is left ended; where this fails it runs on.  Errors of hv_save,
 * with the VM's reference. */
MUST_CHECK struct error *vm_save(struct op *op, const struct vm *vm, const struct vm_image *image);
/* The ended domain goes, and its disks are let go of. */
MUST_CHECK struct error *vm_set_aside(struct op *op, const struct vm *vm, struct vm_image *image);
/*
 * A new domain from the image, which runs and is recorded.  Does what vm_set_aside does where that
 * was not done.  TASK_CANCELLED where a harder operation wants the VM ended anyway.
 */
MUST_CHECK struct error *vm_bring_back(struct op *op, const struct vm *vm, struct vm_image *image);
/* Where even that failed: the VM is recorded as halted.  Failures are logged. */
void vm_give_up(struct op *op, const struct vm *vm, const struct error *why);
/* After a crash: the guest comes back from its image ('image': the disk it was to be kept on, or
 * null), unless it is back already or was never saved. */
MUST_CHECK struct error *vm_recover_aside(struct op *op, ref_t vm, ref_t image);
