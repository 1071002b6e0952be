/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * twin.h -- the records of a VM that is made after another one: of a clone, a full copy, a
 * snapshot.
 *
 * A snapshot keeps what the guest can see (MAC addresses, mac_seed, generation id); a clone or copy
 * is a machine of its own: a new mac_seed, from which its MAC addresses follow (ops/network/mac.h),
 * and a new generation id.
 */
#pragma once

#include "xapid/ops/vm/plans.h"

enum twin_how { TWIN_CLONE, TWIN_COPY, TWIN_SNAPSHOT, TWIN_CHECKPOINT };

struct twin {
    enum twin_how how;
    ref_t source, twin;
    const char *name;
    const struct disk_plans
        *plans;     /* what its disks became; a disk that is not there is left out */
    bool scheduled; /* by a snapshot schedule */
    ref_t image;    /* of a checkpoint: the memory image, a row already; else null */
};

/* Records everything but the disks: the VM, its metrics, VBDs, VIFs, and the source's place in the
 * snapshot tree. */
MUST_CHECK struct error *txn_vm_twin(struct txn *txn, const struct twin *twin);
/* A VBD like 'vbd' of another VM, with another disk (null: as it is). */
void txn_vbd_twin(struct txn *txn, const struct vbd *vbd, ref_t vm, ref_t vdi);
/* A VIF like 'vif' of another VM; 'seed' NULL: with the same address. */
void txn_vif_twin(struct txn *txn, const struct vif *vif, ref_t vm, const char *seed);
/* other_config of a clone: a new mac_seed, and the mark of a supplied template becomes the
 * template's name. */
struct strmap vm_twin_other_config(struct arena *arena, const struct vm *source, const char *seed);
