/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * placement.h -- which hosts can run a VM, best first, and why the others cannot.
 *
 * Pure: the facts are gathered by the caller, from one version of the database.
 */
#pragma once

#include "libxapi/value/type.h"

/* What a VM needs. */
struct place_vm {
    int64_t hardware_version;
    int64_t memory;       /* bytes it cannot do with less of, overhead included */
    bool hvm;             /* hardware virtualisation */
    struct refs srs;      /* where its disks are */
    struct refs networks; /* of its interfaces */
    /* The processor its guest has seen and goes on with (a suspended VM); "": any. */
    const char *cpu_vendor, *cpu_features;
    ref_t affinity; /* where it would rather run, or null */
};

/* A host as that VM sees it. */
struct place_host {
    ref_t ref;
    bool live, enabled, hvm;
    size_t n_versions;
    const int64_t *versions; /* of virtual hardware */
    struct refs srs;         /* those of the VM's that are plugged here */
    struct refs networks;    /* those of the VM's that reach it */
    struct refs elsewhere;   /* networks without interfaces that are in use on another host */
    const char *cpu_vendor, *cpu_features;
    const struct error *devices; /* why it has not the devices the VM is given; NULL: it has */
    int64_t free;                /* bytes promised to nobody */
    int64_t claimed;             /* of them, bytes for VMs that were sent here a moment ago */
    int64_t reclaimable;         /* bytes more that its VMs would give back */
    int64_t company;             /* VMs here that want to be apart from this one */
};

/* In the order in which they are looked for. */
enum place_reason {
    PLACE_FITS,
    PLACE_NOT_LIVE,
    PLACE_DISABLED,
    PLACE_HARDWARE_VERSION,
    PLACE_NO_SR,             /* 'what' is the SR */
    PLACE_NO_NETWORK,        /* 'what' is the network */
    PLACE_NETWORK_ELSEWHERE, /* the same */
    PLACE_NO_HVM,
    PLACE_CPU,
    PLACE_NO_DEVICE,
    PLACE_NO_MEMORY,
};

struct place_rules {
    bool memory;      /* the VM must fit */
    bool enabled;     /* the host must be enabled and live */
    bool any_storage; /* its disks come along */
};

struct place_verdict {
    const struct place_host *host;
    enum place_reason reason;
    ref_t what;
};

/* The first obstacle, or PLACE_FITS. */
struct place_verdict place_check(const struct place_host *host, const struct place_vm *vm,
                                 struct place_rules rules);

/*
 * A verdict on each of the n hosts, those that fit first, the best of them first: the fewest VMs to
 * be apart from, then the VM's affinity, then the most memory that nobody has or is about to have.
 * Where the call arrived does not matter.  Returns how many fit.
 */
size_t place_rank(size_t n, const struct place_host *hosts, const struct place_vm *vm,
                  struct place_rules rules, struct place_verdict *out);
