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
    bool more;  /* of what txn_scanned had to do, something is left */
};

/* Asks the driver; the SR is attached. */
MUST_CHECK struct error *scan_storage(struct call *call, ref_t sr, struct scan *out);
/* The record of a disk becomes what its driver says; 'names': its names too. */
void txn_vdi_seen(struct txn *txn, const struct vdi *vdi, const struct vdi_info *info, bool names);
/* Adds disks found, updates those known, drops those that are gone: one that a VM or a suspended VM
 * refers to is kept and marked missing.  One change of the database has room for some hundreds of
 * them: where 'more' is set, another is to follow. */
MUST_CHECK struct error *txn_scanned(struct txn *txn, struct scan *scan);
/* Records all but the end of what many disks need; nothing, where they are few.  What a daemon that
 * is killed meanwhile has not recorded, the next scan does. */
MUST_CHECK struct error *scan_record_many(struct call *call, struct scan *scan);
