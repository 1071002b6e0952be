/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * claims.h -- hosts that this member has sent VMs to, for the seconds until the records say so.
 *
 * A VM's memory is promised by its host's daemon, in the transaction that begins its start.  Of
 * many VMs that are started at once through one member all would be sent to the same host, the one
 * with the most memory, if it did not remember where it has sent the others.  Claims only decide
 * which of two hosts is better: whether a VM fits is what the records say.
 */
#pragma once

#include "xapid/db/db.h"

struct claims;

/* All functions accept NULL: nothing is claimed. */
struct claims *claims_new(void);
void claims_free(struct claims *claims);

/* The VM was sent to the host, where it will need so many bytes. */
void claims_add(struct claims *claims, ref_t vm, ref_t host, int64_t memory);
/* Bytes of the host for VMs that were sent there and are recorded nowhere yet, leaving out
 * 'except'. */
int64_t claims_memory(struct claims *claims, const struct db_snap *snap, ref_t host, ref_t except);
/* Whether the VM was sent to the host, and is recorded nowhere yet. */
bool claims_has(struct claims *claims, const struct db_snap *snap, ref_t vm, ref_t host);
