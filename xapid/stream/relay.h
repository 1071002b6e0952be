/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * relay.h -- requests that another host must answer, passed on to it and its answer passed back.
 *
 * Most such requests are answered with that host's address (302), and clients go there.  That is
 * not possible for a console, and where the other host is the coordinator: clients of XenServer
 * believe that whoever answers them is the coordinator, and come back.
 */
#pragma once

#include "xapid/db/db.h"
#include "xapid/http/http.h"

struct peer_stream;
struct relays;

struct relays *relays_new(struct xapid *xapid);
/* None begins any more; waits until those that others have passed on to this host have ended, which
 * they do soon once the daemon stops. */
void relays_free(struct relays *relays);

/*
 * Passes the request on to that host, bytes both ways, until one side has ended; the request is
 * gone then, and the call has let go of its snapshot.  Blocks so long.  False where the host cannot
 * be reached: nothing has been answered, and the request is still the caller's.
 */
bool relay_request(struct call *call, struct http_request *request, ref_t host);
/* For peers_serve_streams: a request that another member passes on to this one. */
void relay_serve(void *xapid, struct peer_stream *stream);

/* True of the coordinator. */
bool relay_is_needed(struct call *call, ref_t host);
