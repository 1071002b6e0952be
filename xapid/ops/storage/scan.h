/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* scan.h -- records of disks follow what the storage holds. */
#pragma once

#include "storage-repos/sr.h"
#include "xapid/ops/op.h"

/* What a driver saw, and what it means for the records. */
struct scan {
    ref_t sr;
    size_t n;
    const struct vdi_info *v;
    bool names; /* the storage keeps names: they win over the record's */
};

/* Asks the driver; the SR is attached. */
MUST_CHECK struct error *scan_storage(struct call *call, ref_t sr, struct scan *out);
/* The record of a disk becomes what its driver says; 'names': its names too. */
void txn_vdi_seen(struct txn *txn, const struct vdi *vdi, const struct vdi_info *info, bool names);
/* Adds disks found, updates those known, drops those that are gone: one that a VM or a suspended VM
 * refers to is kept and marked missing. */
MUST_CHECK struct error *txn_scanned(struct txn *txn, const struct scan *scan);
