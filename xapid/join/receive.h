/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * receive.h -- the pool's side of a join: POST /internal/join, on any member.
 *
 *   ?begin=HOST-UUID&member=ID&address=ADDRESS  with a session; answers
 *       {"token", "hosts", "members"}: nothing has happened yet
 *   ?token=TOKEN[&force=true]  with a session; the body is the host's database (db/dump.h);
 *       answers {"state": "in"}, or why not
 *   ?ask=TOKEN  {"state": "in"|"no"}; after "no" the token is worth nothing any more
 *   ?left=ID  {"state": "left"} where that member has left the pool, "replaced" or "return" where
 *       the pool went on without it (takeover.h), else "unknown"
 *   ?return=ID&member=ID&address=ADDRESS  one that was replaced comes back under that number;
 *       answers {"state": "in", "members"}
 *   ?witness=ID&address=ADDRESS&name=NAME  with a session: makes that the pool's witness; answers
 *       {"state": "in", "members"}
 *   ?unwitness=ID  with a session: the witness is one no longer ("": whichever there is); answers
 *       {"state": "left"}
 *
 * Errors are {"error": [code, parameters]}.  Presumed abort: a host is a member where one write-set
 * has said so, and until then all that came with it goes away again.
 */
#pragma once

#include "xapid/db/db.h"
#include "xapid/http/http.h"

/* The handler; 'ctx' is the struct xapid. */
void join_post(struct http_request *request, void *ctx);
/* On the coordinator, now and then: joins that nobody has gone on with for an hour are refused. */
void join_sweep(struct call *call);
