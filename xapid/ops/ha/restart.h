/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * restart.h -- VMs that are to run and do not are started again: the leader decides, by rows of
 * class ha_restart; the host that a row names starts the VM and removes the row.
 *
 * Protected VMs by ascending order, those of one order together, then a pause as long as their
 * start_delay; after them those that are only tried (best-effort), twice at most.  A protected VM
 * that could not be started is tried again after ten seconds, then after twice as long each time,
 * up to two minutes, or as soon as other hosts can take VMs than did then.
 */
#pragma once

#include "xapid/db/db.h"

#define HA_RESTARTS_MAX 256 /* at once */

/* What the leader remembers between two steps.  Nothing that matters: another leader begins anew.
 */
struct ha_memory {
    size_t n_waiting; /* rows that were there at the last step */
    struct ha_waiting {
        ref_t row, vm, host;
        bool best_effort;
    } waiting[HA_RESTARTS_MAX];
    size_t n_failed;
    struct ha_failed {
        ref_t vm;
        usec_t at, wait; /* until the next try */
    } failed[HA_RESTARTS_MAX];
    uint64_t hosts;    /* that could take VMs at the last step: a sum of their references */
    usec_t not_before; /* the pause */
    usec_t forming;    /* since when a live host is not armed; 0: all are */
};

/* One look at what is to be started next.  While hosts are about to be armed ('forming') a VM
 * without a place has not failed yet. */
void ha_restart_step(struct call *call, struct ha_memory *memory, bool forming);
/* Does what a row wants of this host, and takes it away.  Blocks as long as a boot takes. */
void ha_restart_run(struct call *call, ref_t row);

/* INTERNAL_ERROR unless the row, a ref_t, is there still, names this host, and nobody has said
 * meanwhile that its VM shall rest.  The transaction relies on it. */
MUST_CHECK struct error *txn_ha_restart_wanted(struct txn *txn, void *row);

/* INTERNAL_ERROR unless this host is the coordinator; the transaction relies on it. */
MUST_CHECK struct error *txn_coordinator_check(struct txn *txn);
