/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate.h -- a VM that moves to another host: the common ground of both, and what others must
 * know.
 *
 * The sender's intent (vm_migrate) stands until its domain is destroyed and its disks are closed;
 * the receiver's (vm_receive) until the VM runs there, or what was prepared is gone.
 */
#pragma once

#include "xapid/ops/op.h"

struct peer_stream;

/* Streams that other members open; 'ctx' is the struct xapid.  For peers_serve_streams. */
void migrate_serve(void *ctx, struct peer_stream *stream);

/* A domain of the VM on this host waits for the memory, the decision, or the sender's leaving: its
 * disks must not be touched yet. */
bool migrate_is_arriving(struct call *call, const struct db_snap *snap, ref_t vm);

/* The VM's sender, if there is one, has not let go of its domain and disks yet. */
bool migrate_is_leaving(struct call *call, const struct db_snap *snap, ref_t vm);

/*
 * What keeps a running VM from moving to the host: the host (HOST_NOT_LIVE, HOST_DISABLED,
 * versions, processor), then what the VM needs there (storage, networks, devices), then memory.
 * 'skip' leaves some of it out.
 */
#define MIGRATE_ANY_PROCESSOR 1u
#define MIGRATE_ANY_MEMORY 2u
#define MIGRATE_ANY_STORAGE 4u /* its disks go first to where the host sees them */
MUST_CHECK struct error *migrate_check(struct call *call, const struct db_snap *snap,
                                       const struct vm *vm, const struct host *host, unsigned skip);

/* Whether a client's options have it as "true" or "1". */
bool migrate_option(const struct strmap *options, const char *key);
/* Where the host is reached on a network, INTERFACE_HAS_NO_IP where it is not; of a null network
 * NULL: where the pool's links reach it. */
MUST_CHECK struct error *migrate_address(struct call *call, ref_t host, ref_t network,
                                         const char **out);

/* Waits until the intent is gone; false if the time (0: there is no end) or the daemon ends before.
 */
bool migrate_wait_gone(struct call *call, ref_t intent, usec_t within);
/* op_commit where there is no way back: again until it is known to be done, or the daemon ends. */
MUST_CHECK struct error *op_commit_for_sure(struct op *op, db_txn_fn *fn, void *arg);

/* The intent of that kind in the row, or NULL. */
const void *migrate_intent(struct call *call, const struct intent *row, enum intent_kind kind);
