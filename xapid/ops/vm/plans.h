/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * plans.h -- the disks that an operation on a VM makes: all of vdi_ops.h for a list of disks, and
 * its form in an intent.
 */
#pragma once

#include "xapid/ops/storage/vdi_ops.h"

/* Zero holds nothing. In the call's arena. */
struct disk_plans {
    struct op *op; /* set once disks are made: the guard removes them again */
    size_t n;
    struct vdi_plan *v;
    struct vdi_made *made;
};

/* Adds a plan unless its source is there already (two VBDs may share a disk). */
void disk_plans_add(struct arena *arena, struct disk_plans *plans, const struct vdi_plan *plan);
/* The disk that is made of 'source'; null if none is. */
ref_t disk_plans_of(const struct disk_plans *plans, ref_t source);

/* "<new> <source> <SR> <how>" each. */
struct strings disk_plans_text(struct arena *arena, const struct disk_plans *plans);
/* False for what is not of that form. */
bool disk_plans_read(struct arena *arena, const struct strings *text, struct disk_plans *out);

/* vdi_plan_check of all. */
MUST_CHECK struct error *disk_plans_check(struct call *call, struct disk_plans *plans);
/* In op_begin's check: that the sources and SRs allow it. */
MUST_CHECK struct error *txn_disk_plans_check(struct txn *txn, const struct disk_plans *plans);
/* Adds all SRs, and as many sources as there is room for (a VM that is held protects its disks), to
 * the op's holds. */
MUST_CHECK struct error *disk_plans_hold(struct call *call, const struct disk_plans *plans,
                                         struct op_hold holds[OP_MAX_HOLDS], size_t *n);

/* Makes them, with an op_step "disk" after each. */
MUST_CHECK struct error *disk_plans_make(struct op *op, struct disk_plans *plans, double from,
                                         double to);
MUST_CHECK struct error *txn_disk_plans_made(struct txn *txn, const struct disk_plans *plans);
/* They are recorded and stay. */
void disk_plans_keep(struct disk_plans *plans);
/* Guard. */
void disk_plans_release(struct disk_plans *plans);
/* For recovery: removes whatever was made. */
MUST_CHECK struct error *disk_plans_unmake(struct call *call, const struct disk_plans *plans);

/*
 * Ends an operation whose last effect was to erase disks: their rows go with it.  Where the commit
 * is refused the rows go all the same, for their files are gone; its error is returned.
 */
MUST_CHECK struct error *op_commit_gone(struct op *op, size_t n, const struct vdi_gone *gone);
