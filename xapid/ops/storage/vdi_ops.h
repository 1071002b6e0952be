/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vdi_ops.h -- making, copying and removing disks as part of an operation: of VDI.create and its
 * kin, and of VM.clone, VM.copy, VM.snapshot, VM.revert and VM.provision alike.
 *
 * A disk that is being made is a struct vdi_plan.  Of it an intent must remember only 'vdi' (the
 * reference chosen in advance), 'source', 'sr' and 'how': uuid, location and the names of hidden
 * images follow from 'vdi'.  An operation calls vdi_make (repeatable after a crash), and at its end
 * txn_vdi_made in its op_commit; where it does not come to that, vdi_unmake.  None of them is an
 * error to repeat.
 *
 * Locks: the caller's op holds the SRs (op_hold_sr) so that no scan runs meanwhile, and VDI sources
 * where the XenAPI shows it.
 */
#pragma once

#include "storage-repos/sr.h"
#include "xapid/ops/op.h"

/* sm_config of a disk with a copy of a pool's database: the pool's uuid. */
#define VDI_KEY_METADATA_OF_POOL "metadata-of-pool"

/* Numbers stand in intents: they do not change. */
enum vdi_how { VDI_EMPTY = 0, VDI_CLONE = 1, VDI_SNAPSHOT = 2, VDI_COPY = 3 };

struct vdi_plan {
    ref_t vdi;    /* row to be: ref_new() */
    ref_t source; /* null for VDI_EMPTY */
    ref_t sr;     /* the source's, for VDI_CLONE and VDI_SNAPSHOT */
    enum vdi_how how;
    ref_t intent; /* of the operation, which the source is read for where another host has it */
    /* What the row says.  NULL: as the source (VDI_EMPTY: ""). */
    const char *name_label, *name_description;
    int64_t virtual_size; /* VDI_EMPTY only */
    bool own_fields;      /* the members below count; else they are the source's */
    enum vdi_type type;
    bool sharable, read_only;
    struct strmap other_config, xenstore_data, sm_config;
    struct strings tags;
};

/* What vdi_make found out; memory of the call. */
struct vdi_made {
    struct vdi_info info;
    bool forked; /* the source now lies on a hidden base */
    struct vdi_info base;
    int64_t source_utilisation; /* bytes, of the source after the fork */
};

/* sm_config of a disk: the location of the image below it. */
#define VDI_KEY_PARENT "vhd-parent"
/* sm_config of a record that is kept as missing: what is wrong with the file of its image. */
#define VDI_KEY_DAMAGED "damaged"

/* uuid of the disk (and its location) that has or will have this reference, if xapid makes it. */
const char *vdi_uuid_for(struct arena *arena, ref_t vdi);
/* The hidden image that a fork which makes 'vdi' leaves below it. */
const char *vdi_base_uuid_for(struct arena *arena, ref_t vdi);

/* Adds the SR to an op's holds unless it is there; false if there is no more room. */
bool op_hold_sr(struct op_hold holds[OP_MAX_HOLDS], size_t *n, ref_t sr,
                enum storage_operations operation);

/*
 * The same choice the XenAPI makes: a clone becomes a copy where the driver cannot fork.  Checks
 * that this host has the SR attached and that its driver has the feature:
 * SR_OPERATION_NOT_SUPPORTED.
 */
MUST_CHECK struct error *vdi_plan_check(struct call *call, struct vdi_plan *plan);
/* Makes the file.  Blocks for as long as a copy takes; 'from' and 'to' are the part of the task's
 * progress it covers. Errors name disks by reference. */
MUST_CHECK struct error *vdi_make(struct call *call, const struct vdi_plan *plan, double from,
                                  double to, struct vdi_made *out);
/* Records it (and a hidden base, and the source's new parent). */
MUST_CHECK struct error *txn_vdi_made(struct txn *txn, const struct vdi_plan *plan,
                                      const struct vdi_made *made);
/*
 * A disk whose on_boot is reset goes back to what it held when that was set, unless somebody here
 * uses it: before a VM starts with it, and before it is cloned or copied.
 */
MUST_CHECK struct error *vdi_put_back(struct call *call, ref_t vdi);
/* Undo: removes whatever vdi_make left. Needs vdi, source, sr and how. */
MUST_CHECK struct error *vdi_unmake(struct call *call, const struct vdi_plan *plan);

/* What a deletion took away: the disk and hidden images that only it needed. */
struct vdi_gone {
    ref_t vdi;
    struct refs bases;
};
/* Deletes the file of a recorded disk.  One whose row or file is gone is no error. */
MUST_CHECK struct error *vdi_erase(struct call *call, ref_t vdi, struct vdi_gone *out);
/* The rows go.  VBDs of the disk that are not attached go too, CD drives become empty. */
void txn_vdi_gone(struct txn *txn, const struct vdi_gone *gone);
/* The same for a repository, with the rows of its disks and PBDs; what is stored there stays. */
void txn_sr_gone(struct txn *txn, ref_t sr);

/* OK, or the XenAPI's reason why the disk does not allow the operation now; relies on all it reads.
 * OTHER_OPERATION_IN_PROGRESS can be waited for. */
MUST_CHECK struct error *txn_vdi_check(struct txn *txn, ref_t vdi, enum vdi_operations operation,
                                       const struct vdi **out);
/* The same for what the operation needs of the SR. */
MUST_CHECK struct error *txn_sr_check(struct txn *txn, ref_t sr, enum storage_operations operation,
                                      const struct sr **out);
/* txn_vdi_check of what a disk in 'sr' is made of: a copy's source may be another host's. */
MUST_CHECK struct error *txn_vdi_check_source(struct txn *txn, const struct vdi_plan *plan,
                                              enum vdi_operations operation,
                                              const struct vdi **out);
/* Both, where it does not matter which host has the storage. */
MUST_CHECK struct error *txn_vdi_check_anywhere(struct txn *txn, ref_t vdi,
                                                enum vdi_operations operation,
                                                const struct vdi **out);
MUST_CHECK struct error *txn_sr_check_anywhere(struct txn *txn, ref_t sr,
                                               enum storage_operations operation,
                                               const struct sr **out);
/* VDI_INCOMPATIBLE_TYPE for a disk whose data was destroyed: nothing of it can be read. */
MUST_CHECK struct error *vdi_check_contents(struct call *call, const struct vdi *vdi);
/* Begins an operation that reads a disk and leaves nothing: recovery finds nothing to do. */
MUST_CHECK struct error *vdi_begin_reading(struct call *call, ref_t vdi, struct op *op);
/*
 * That a VM may attach the disk by the VBD 'vbd' (null: by none of its own): operations under way
 * on it (OTHER_OPERATION_IN_PROGRESS), missing or hidden disks, sharing with other VBDs
 * (VDI_IN_USE), read-only disks (VDI_READONLY).  For VM.start and VBD.plug, in op_begin's check.
 */
MUST_CHECK struct error *txn_vdi_check_attach(struct txn *txn, ref_t vdi, ref_t vbd, bool writable);
