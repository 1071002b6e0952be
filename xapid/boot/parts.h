/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * parts.h -- what the parts of a start share.  Functions txn_boot_... are write-sets of their own;
 * their argument is the struct boot.
 */
#pragma once

#include "libxapi/base/call.h"
#include "xapid/boot/facts.h"
#include "xapid/db/db.h"
#include "xapid/hypervisor/hv.h"

struct boot {
    struct xapid *xapid;
    const char *uuid;   /* of this host */
    const char *member; /* as in host_state.member */
    bool alone; /* no other member: the database is this host's, to be made if it is empty */
    struct facts facts;
    struct hv_host_info hv;
    size_t n_domains;
    const struct hv_domain *domains; /* at the start, without the control domain */
    int64_t control_memory;          /* bytes */
    int64_t control_vcpus;
    int64_t overhead; /* bytes that neither are free nor any domain's: the hypervisor's own */
    /* Filled by the transactions. */
    ref_t host, pool, state;
    const char *address; /* that somebody has set for the management interface, or "" */
};

/*** identity.c ***/

/* Names that follow from the host's uuid: the same at each try, so that what was made outside the
 * database is found again. */
const char *boot_uuid(struct arena *arena, const struct boot *b, const char *what);
const char *boot_mac(struct arena *arena, const struct boot *b);
const char *boot_new_uuid(struct arena *arena);
/* Reads the file that says who this host is; "" where there is none. */
MUST_CHECK struct error *identity_read(struct arena *arena, const char *path, const char **uuid);
/* Sets b->uuid, from the file, else the database, else a new one; the file is there afterwards. */
MUST_CHECK struct error *identity_find(struct call *call, struct boot *b);

/*** hypervisor.c ***/

/* Sets what the hypervisor says: hv, domains, the control domain's part. */
MUST_CHECK struct error *boot_read_hypervisor(struct call *call, struct boot *b);
bool boot_is_simulated(const struct boot *b);

/*** first.c ***/

/* Finds this host and its pool; makes both in an empty database, and the host in that of a pool it
 * has joined.  Sets b->host, ->pool, ->state. */
MUST_CHECK struct error *txn_boot_settle(struct txn *txn, void *arg);
/* Where the others reach this host. */
const char *boot_address(const struct boot *b);

/*** refresh.c ***/

/* Brings what changes between two starts up to date.  A member that leads takes the office. */
MUST_CHECK struct error *txn_boot_refresh(struct txn *txn, void *arg);
/* The present address and link of the machine that a simulated host runs on. */
MUST_CHECK struct error *txn_boot_refresh_pifs(struct txn *txn, void *arg);

/*** prepare.c: what is made once ***/

MUST_CHECK struct error *txn_boot_networks(struct txn *txn, void *arg);
MUST_CHECK struct error *txn_boot_templates(struct txn *txn, void *arg);
/* A local repository and a library of CD images, each under a uuid that is the same at each try. */
MUST_CHECK struct error *boot_storage(struct call *call, struct boot *b);
void boot_pif_metrics(const struct boot *b, struct pif_metrics *m);
