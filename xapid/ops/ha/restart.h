/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * restart.h -- VMs that are to run and do not are started again: the leader decides, by rows of
 * class ha_restart; the host that a row names starts the VM and removes the row.
 *
 * Protected VMs by ascending order, those of one order together, then a pause as long as their
 * start_delay; after them those that are only tried (best-effort), twice at most.  A protected VM
 * that could not be started is tried again after two minutes.
 */
#pragma once

#include "xapid/db/db.h"

#define HA_RESTARTS_MAX 256 /* at once */

/* What the leader remembers between two steps.  Nothing that matters: another leader begins anew.
 */
struct ha_memory {
    size_t n_waiting; /* rows that were there at the last step */
    struct ha_waiting {
        ref_t row, vm;
        bool best_effort;
    } waiting[HA_RESTARTS_MAX];
    size_t n_failed;
    struct ha_failed {
        ref_t vm;
        usec_t at;
    } failed[HA_RESTARTS_MAX];
    usec_t not_before; /* the pause */
};

/* One look at what is to be started next. */
void ha_restart_step(struct call *call, struct ha_memory *memory);
/* Does what a row wants of this host, and takes it away.  Blocks as long as a boot takes. */
void ha_restart_run(struct call *call, ref_t row);

/* INTERNAL_ERROR unless this host is the coordinator; the transaction relies on it. */
MUST_CHECK struct error *txn_coordinator_check(struct txn *txn);
