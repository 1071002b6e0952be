/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * import_plan.h -- what an archive's records become here, decided before anything is made: rows
 * with new references, disks to be made or found, networks, hosts and repositories found by what
 * they are called.
 */
#pragma once

#include "xapid/ops/vm/plans.h"
#include "xapid/transfer/manifest.h"

struct import_options {
    bool metadata; /* no disks follow: they are found here */
    bool restore;  /* the machines come back as they were: uuids, MAC addresses, seeds */
    bool force;    /* over what is here, and in spite of checksums */
    bool dry_run;
    ref_t sr;          /* for the disks */
    struct strmap vdi; /* uuid in the archive -> uuid here */
};

struct import_vm {
    const struct manifest_object *object;
    struct vm row;
    struct vm_metrics metrics;
    struct vm_guest_metrics guest_metrics;
    bool has_guest_metrics;
    ref_t family;     /* the machine itself, or that of which it is a snapshot */
    ref_t replaces;   /* one of the same uuid, which goes when all is there; or null */
    const char *uuid; /* that it gets then; NULL: it has it */
};

struct import_disk {
    const char *id;
    ref_t vdi;
    ref_t family; /* of the machine it belongs to */
    int64_t size;
    ref_t snapshot_of; /* another one of them, or null */
    usec_t snapshot_time;
    bool is_a_snapshot;
    bool received;
};

struct import_plan {
    const struct import_options *options;
    const struct manifest *manifest;
    size_t n_vms, n_vbds, n_vifs, n_networks, n_disks;
    struct import_vm *vms;
    struct vbd *vbds;
    struct vif *vifs;
    ref_t *vbd_families, *vif_families; /* of the machines they belong to */
    struct network *networks;           /* to be made; their bridges are chosen when they are */
    struct disk_plans made;             /* the disks to be made */
    struct import_disk *disks;          /* the same in the same order, which is that of their ids */
};

/* Reads and checks everything; changes nothing. */
MUST_CHECK struct error *import_plan_make(struct call *call, struct manifest *manifest,
                                          const struct import_options *options,
                                          struct import_plan *out);
