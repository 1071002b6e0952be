/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* client.h -- what the files of this folder share about a session.  Private to this folder. */
#pragma once

#include "libxapi/codec/codec.h"
#include "libxapi/client/http.h"
#include "libxapi/include/xapi/session.h"

struct xapi_session {
    struct link_target target;
    struct link link;
    struct arena arena; /* results and errors */
    usec_t timeout;
    usec_t last_used;    /* monotonic: when the link carried its last answer */
    char *ref;           /* the login's reference text; NULL: none */
    bool logged_in;      /* by us: to be logged out */
    char *forwarded_for; /* NULL: none */
};

/* How one call is sent. */
struct client_call {
    bool repeatable; /* it changes nothing: it may be sent again when the answer was lost */
    bool secret;     /* the request is wiped afterwards */
    usec_t wait;     /* how long the server itself may take on purpose, beside the timeout */
};

/* A request's head and the session's parameter, unless there is none; parameters follow, then
 * xmlrpc_call_end. */
void client_begin(const struct xapi_session *session, struct buf *request, const char *method,
                  bool with_session);
/* The type "string" of the tables. */
const struct type *client_string_type(void);
/* Sends the finished request, whose bytes are freed, and reads the answer into 'arena'. */
MUST_CHECK struct error *client_exchange(struct xapi_session *session, struct arena *arena,
                                         struct buf *request, const struct client_call *how,
                                         const struct wire **value);
/* xapi_call, with the result and errors in 'arena'. */
MUST_CHECK struct error *client_message(struct xapi_session *session, struct arena *arena,
                                        int message, const void *args, void *result);
/* xapi_event_from, with the events and errors in 'arena'. */
MUST_CHECK struct error *client_events(struct xapi_session *session, struct arena *arena,
                                       struct strings classes, const char *token, usec_t timeout,
                                       struct xapi_events *out);
/* CANNOT_CONTACT_HOST(host, why). */
MUST_CHECK struct error *client_cannot_contact(struct xapi_session *session, struct arena *arena,
                                               const char *why);
/* The deadline of something that starts now; 0 where the session has no timeout. */
usec_t client_deadline(const struct xapi_session *session, usec_t wait);
/* The value of the Host header: the name, in brackets where it is an IPv6 address, with the port
 * where it is unusual. */
void client_host_header(const struct xapi_session *session, struct buf *out);
/* The header lines every request has: User-Agent, and for whom it is made where not for us. */
void client_common_headers(const struct xapi_session *session, struct buf *out);
