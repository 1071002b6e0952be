/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * witness.h -- the pool's side of its witness: a member of the log on a third machine that is no
 * host.  One write-set makes it one, another ends it; the log's members follow.  What the witness
 * itself does is xapid/witness/.
 */
#pragma once

#include "xapid/db/db.h"

struct peer_request;

/* The row of the pool's witness; NULL where it has none. */
const struct witness *witness_of(const struct db_snap *snap);

/* Who wants to be the witness. */
struct witness_asks {
    const char *member;  /* its number to be, as host_state.member */
    const char *address; /* of pool/peer */
    const char *name;    /* of its machine */
    int64_t level;       /* that it understands (xapid/db/level.h) */
};

/* Makes it the pool's witness, also where it is so already.  OPERATION_NOT_ALLOWED where the pool
 * has another one, or had this one before. */
MUST_CHECK struct error *witness_add(struct call *call, const struct witness_asks *asks);
/* The witness with that number ("": whichever there is) is one no longer; no error where it has
 * left already. */
MUST_CHECK struct error *witness_remove(struct call *call, const char *member);
/* The same as part of a transaction; where there is none nothing is done. */
void txn_witness_gone(struct txn *txn);

/* Serves PEER_WITNESS_LEVEL (8 bytes, little-endian): a witness says which level of the database it
 * understands, after it was brought up to date.  'ctx' is the daemon. */
void witness_serve_level(void *ctx, struct peer_request *request);
