/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * members.h -- the other daemons of the pool: the links to them, the members of the log, and
 * whether their databases are the same.
 *
 * GET and POST /internal/pool, on the Unix socket only, show and change the members (JSON):
 *   GET   {"id","address","fingerprint","leader","leads","term","revision","digest",
 *          "applied_index","members":[{"id","role","address"}]}
 *   POST  {"add":{"id","address"}}, {"assign":{"id","role":"voter|standby|spare"}},
 *         {"remove":{"id"}}, {"transfer":{"id"}} on the leader; {"trust":"ADDRESS"} on a daemon
 *         that waits to be added.  Answers {} or {"error": text}.
 * Ids are 16 hex digits, addresses those of pool/peer.
 *
 * About once a second each member tells the leader the digest of its database.  One that differs
 * stops its database: its state is not what the log says.
 */
#pragma once

#include "libxapi/base/arena.h"
#include "xapid/http/http.h"

struct members;
struct xapid;
struct log_raft_options;

/*
 * Before the database is opened.  Opens the pool's port and xapid->peers: at options.pool_address,
 * else at the management interface's address and options.pool_port.  Where there is no address this
 * host stays alone, and only /internal/pool is served.  INVALID_VALUE where pool_address or
 * pool_trust is not well-formed.
 */
MUST_CHECK struct error *members_new(struct arena *arena, struct xapid *xapid,
                                     struct members **out);
/* For log_raft_open; valid as long as 'members'. */
const struct log_raft_options *members_log_options(struct members *members);
/* For the database's 'members': posts. */
void members_changed(void *members);
/* With the database open. */
void members_start(struct members *members);
/* Before the database is closed: nothing is asked or answered any more. */
void members_stop(struct members *members);
/* After the database was closed: closes the links too. */
void members_free(struct members *members);

/* This member's address, "HOST:PORT/FINGERPRINT"; "" where the others cannot reach it. */
const char *members_address(struct arena *arena, const struct members *members);

/* The raft ids of the other hosts' daemons, in the arena; the witness knows no sessions and no
 * calls. */
void members_others(struct members *members, struct arena *arena, size_t *n, uint64_t **ids);

/* The handlers; 'ctx' is the struct xapid. */
void members_get(struct http_request *request, void *ctx);
void members_post(struct http_request *request, void *ctx);
