/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * plan.h -- which change of the log's members comes next, so that they follow the pool's hosts.
 *
 * Pure: what it is told is all it knows.  The rules, in their order: who has left is removed; a
 * host without a member gets one; a member that has nothing yet becomes a standby; where too few
 * voters are alive, a standby that is becomes one; where there are too many, one that is silent,
 * else any but the leader, becomes a standby.  A change that would leave the voters without a
 * majority of living ones is put off, and the next rule asked.
 *
 * Who has left votes on until it is removed, so it may be elected: then it changes nothing, but has
 * another one lead.
 *
 * A witness makes three voters of two hosts, while it lives; where it is silent one host votes
 * again, for with two neither may die.  Three hosts and more vote without it.
 */
#pragma once

#include "libxapi/base/base.h"
#include "xapid/db/log.h"

/* A host that was silent for longer is not a voter while others could be. */
#define MEMBER_SILENT_LONG (30 * USEC_PER_SEC)

struct member_seen {
    uint64_t id;
    enum log_role role;
    usec_t silent; /* since something last came from it */
};

struct member_host {
    uint64_t id;
    const char *address; /* of pool/peer */
    bool witness;        /* no host, but a member all the same */
};

struct member_world {
    uint64_t leader;
    size_t n_members, n_hosts, n_left;
    const struct member_seen *members; /* of the log's configuration */
    const struct member_host *hosts;   /* of the database, its witness among them */
    const uint64_t *left;              /* ids of those who have left the pool */
};

/* How many voters so many hosts have, with a witness that lives or without. */
size_t member_voters(size_t hosts, bool witness);
/* The next change, or a transfer: what, id, role and address of 'out'.  False where none is due, or
 * none can be made now.  Members of whom neither hosts nor left know anything are left as they are.
 */
bool member_plan(const struct member_world *world, struct log_change *out);
