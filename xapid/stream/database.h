/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * database.h -- GET and PUT /pool/xmldbdump: the whole database as XML (xapid/db/dump.h), and
 * another in its place.
 *
 * A restore takes a dump of this very host, alone in its pool.  With dry_run=true it is only
 * judged. Otherwise nothing more is changed in the old database, the answer says that all is well,
 * and the daemon starts again with the new one, under a new incarnation: event tokens of before are
 * told EVENTS_LOST.
 */
#pragma once

#include "xapid/http/http.h"

/* 'ctx' is the struct xapid; database_put is for a route without a body limit (-1). */
void database_get(struct http_request *request, void *ctx);
void database_put(struct http_request *request, void *ctx);
