/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* link.h -- a joining host's words with its pool: POST /internal/join. */
#pragma once

#include <jansson.h>

#include "libxapi/base/buf.h"
#include "libxapi/base/call.h"

struct join_host;
struct xapi_session;

/*
 * Sends 'body' (NULL: none) to "/internal/join?query" and reads the answer, an object, into *answer
 * (json_decref).  An answer {"error": [code, parameters]} is returned as that error.  *lost is set
 * where there was no answer: the request may have been carried out.
 */
MUST_CHECK struct error *join_ask(struct arena *arena, struct xapi_session *session,
                                  const char *query, const struct buf *body, json_t **answer,
                                  bool *lost);
/*
 * The same of a host that knows this one by what the query says: no login, one connection for the
 * question, its certificate the one that 'where' tells.
 */
MUST_CHECK struct error *join_ask_host(struct arena *arena, const struct join_host *where,
                                       usec_t patience, const char *query, json_t **answer);
/* An error as such an answer tells it, and back. */
json_t *join_error_json(const struct error *e);
struct error *join_error_of(struct arena *arena, const json_t *json);
