/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xapi/session.h -- libxapi: a connection to a XenAPI server, and calls over it.
 *
 *   struct xapi_session *s;
 *   struct error *e = xapi_connect(&(struct xapi_options){.host = "xen1", .user = "root", .password = "..."}, &s);
 *   if (!e)
 *       e = xapi_vm_start(s, vm, false, false);
 *   if (e)
 *       fprintf(stderr, "%s\n", xapi_error_text(s, e));
 *   xapi_disconnect(s);
 *
 * A session is used by one thread at a time.  Errors and results live until the next xapi_results_free or the session's end.
 */
#pragma once

#include "libxapi/base/base.h"
#include "libxapi/value/type.h"

struct xapi_session;
struct message_desc;
struct wire;

struct xapi_options {
    const char *host;        /* name or address; NULL: the local Unix socket */
    int port;                /* 0: 443 with TLS, 80 without */
    const char *unix_path;   /* NULL: /var/lib/xcp/xapi */
    bool plain;              /* without TLS */
    const char *user, *password; /* NULL user: no login; calls then need 'session' */
    const char *session;     /* use this session (its reference text) instead of logging in */
    const char *originator;  /* "xe", ... */
    /* Trust: the SHA-256 fingerprint the server's certificate must have, or a PEM file of authorities; both NULL: any certificate is taken,
       as XenServer's own tools do on first contact. */
    const char *fingerprint, *ca_file;
    usec_t timeout;          /* of one call, 0: none */
};

/* Connects and logs in.  On failure *out is still set, to a session that can only tell about the error and be disconnected. */
MUST_CHECK struct error *xapi_connect(const struct xapi_options *options, struct xapi_session **out);
/* Logs out where xapi_connect had logged in, closes and frees. */
void xapi_disconnect(struct xapi_session *session);
/* The session's reference text. */
const char *xapi_session_ref(const struct xapi_session *session);
/* Frees the results and errors of all calls so far. */
void xapi_results_free(struct xapi_session *session);
/* The arena results live in. */
struct arena *xapi_arena(struct xapi_session *session);

/* One call by its number: 'args' as the message's parameters are laid out, 'result' of the message's result type.  The typed functions of
   xapi/api.h are made of this.  Errors of the transport are CANNOT_CONTACT_HOST(host, why). */
MUST_CHECK struct error *xapi_call(struct xapi_session *session, int message, const void *args, void *result);
/* The same as Async: returns the task. */
MUST_CHECK struct error *xapi_call_async(struct xapi_session *session, int message, const void *args, ref_t *task);
/* Any method by name with parameters already written as XML-RPC values after the session; *value is the untyped answer. */
MUST_CHECK struct error *xapi_call_raw(struct xapi_session *session, const char *method, const char *params_xml,
                                       const struct wire **value);

/* Waits for a task; 'progress' (may be NULL) is told about each change.  Returns the task's error; *result (may be NULL) is its result text.
   The task is destroyed afterwards. */
MUST_CHECK struct error *xapi_task_wait(struct xapi_session *session, ref_t task,
                                        void (*progress)(void *ctx, double done), void *ctx, const char **result);

/* One event, as event.from gives it. */
struct xapi_event {
    const struct class_desc *class; /* NULL for classes this library does not know */
    const char *class_name, *operation; /* "vm", "add" */
    ref_t ref;
    const void *snapshot; /* the record; NULL for "del" */
};
struct xapi_events {
    size_t n;
    const struct xapi_event *v;
    const char *token;
};
/* event.from: waits up to 'timeout' for something newer than 'token' ("" for everything there is). */
MUST_CHECK struct error *xapi_event_from(struct xapi_session *session, struct strings classes, const char *token,
                                         usec_t timeout, struct xapi_events *out);

/* An HTTP transfer beside the calls (import, export): opens "METHOD path?query&session_id=..." and gives the connected stream. */
struct xapi_stream;
MUST_CHECK struct error *xapi_http_open(struct xapi_session *session, const char *method, const char *path_and_query,
                                        int64_t content_length, struct xapi_stream **out, int *status, int64_t *length);
ssize_t xapi_stream_read(struct xapi_stream *s, void *out, size_t n);
bool xapi_stream_write(struct xapi_stream *s, const void *p, size_t n);
void xapi_stream_close(struct xapi_stream *s);

/* A sentence for people: the error's documentation, then its parameters by name. */
const char *xapi_error_text(struct xapi_session *session, const struct error *e);
