/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xapi/session.h -- libxapi: a connection to a XenAPI server, and calls over it.
 *
 *   struct xapi_options options = {.host = "xen1", .user = "root", .password = "..."};
 *   struct xapi_session *s;
 *   struct error *e = xapi_connect(&options, &s);
 *
 *   if (!e)
 *       e = xapi_vm_start(s, vm, false, false);
 *   if (e)
 *       fprintf(stderr, "%s\n", xapi_error_text(s, e));
 *   xapi_disconnect(s);
 *
 * A session, with its streams, is used by one thread at a time; different sessions know nothing of
 * each other.  Errors and results live until the next xapi_results_free or the session's end.
 *
 * The connection is kept between calls and silently opened again where a server closed it while
 * nothing was under way.  A call that changes something is never sent twice: where its answer is
 * lost, the error says that the server may have carried it out.
 */
#pragma once

#include "libxapi/base/base.h"
#include "libxapi/value/type.h"

struct xapi_session;
struct message_desc;
struct wire;

/* Copied by xapi_connect. */
struct xapi_options {
    const char *host;            /* name or address; NULL: the local Unix socket */
    int port;                    /* 0: 443 with TLS, 80 without */
    const char *unix_path;       /* NULL: /var/lib/xcp/xapi */
    bool plain;                  /* without TLS */
    const char *user, *password; /* NULL user: no login; calls then need 'session' */
    const char *session;         /* use this session (its reference text) instead of logging in */
    const char *originator;      /* "xe", ... */
    const char *forwarded_for;   /* the address of the client this program acts for: its calls over
                                    the Unix socket then have no rights of their own; NULL: none */
    /* Trust: the SHA-256 fingerprint the server's certificate must have (64 hex digits, colons
       allowed), or a PEM file of authorities that must have signed it for 'host'; with both, both.
       Both NULL: any certificate is taken, as XenServer's own tools do on first contact. */
    const char *fingerprint, *ca_file;
    usec_t timeout; /* of one call or of one read or write of a stream, 0: none */
};

/* Connects and logs in.  On failure *out is still set, to a session that can only tell about the
 * error and be disconnected. */
MUST_CHECK struct error *xapi_connect(const struct xapi_options *options,
                                      struct xapi_session **out);
/* Logs out where xapi_connect had logged in (waiting 5 s at most), closes and frees.  Its streams
 * must be closed before. */
void xapi_disconnect(struct xapi_session *session);
/* The session's reference text, a secret; "" where there is none. */
const char *xapi_session_ref(const struct xapi_session *session);
/* The SHA-256 fingerprint of the server's certificate, 64 hex digits; "" where nothing is connected
 * by TLS at the moment. */
const char *xapi_server_fingerprint(struct xapi_session *session);
/* Frees the results and errors of all calls so far. */
void xapi_results_free(struct xapi_session *session);
/* The arena results live in. */
struct arena *xapi_arena(struct xapi_session *session);

/*
 * One call by its number: 'args' as the message's parameters are laid out (NULL where it has none),
 * 'result' of the message's result type (may be NULL).  The typed functions of xapi/api.h are made
 * of this.  Errors of the transport are CANNOT_CONTACT_HOST(host, why).
 */
MUST_CHECK struct error *xapi_call(struct xapi_session *session, int message, const void *args,
                                   void *result);
/* The same as Async: returns the task. */
MUST_CHECK struct error *xapi_call_async(struct xapi_session *session, int message,
                                         const void *args, ref_t *task);
/*
 * Any method by name.  'params_xml' (may be NULL) are the parameters after the session as XML-RPC
 * values, one after the other: "<value>a</value><value>b</value>"; already wrapped in <param> they
 * are sent as they are.  The session is left out where there is none.  *value is the untyped
 * answer (libxapi/codec/codec.h).  Never sent twice.
 */
MUST_CHECK struct error *xapi_call_raw(struct xapi_session *session, const char *method,
                                       const char *params_xml, const struct wire **value);

/*
 * A record with every field at its default or empty, to be filled in and given to a create message:
 *   struct vbd *vbd = xapi_record_new(session, CLASS_vbd);
 * Lives as results do.  All pointers in a record given to a call must be set: start from this.
 */
void *xapi_record_new(struct xapi_session *session, int class_id);

/*
 * Waits for a task; 'progress' (may be NULL) is told about each change, from 0 to 1.  Returns the
 * task's error; *result (may be NULL) is its result text, as the server wrote it:
 * "<value>OpaqueRef:...</value>".  The task is destroyed afterwards, unless the server could not
 * be asked to the end.
 */
MUST_CHECK struct error *xapi_task_wait(struct xapi_session *session, ref_t task,
                                        void (*progress)(void *ctx, double done), void *ctx,
                                        const char **result);
/* Reads such a text as the result of 'message' (the number it was called by), into 'result' of
 * that message's result type. */
MUST_CHECK struct error *xapi_task_result(struct xapi_session *session, int message,
                                          const char *text, void *result);

/* One event, as event.from gives it. */
struct xapi_event {
    const struct class_desc *class;     /* NULL for classes this library does not know */
    const char *class_name, *operation; /* "vm", "add" */
    ref_t ref;
    const void *snapshot; /* the record, with its ref; NULL for "del", for an unknown class, and for
                             a record this library cannot read (a newer server's) */
    const struct wire *raw; /* the same as it came; NULL for "del" */
};
struct xapi_count {
    const char *class_name;
    int64_t n;
};
struct xapi_events {
    size_t n;
    const struct xapi_event *v;
    const char *token;
    size_t n_counts; /* how many objects of each class there are: a listener that has more or fewer
                        has missed something */
    const struct xapi_count *counts;
};
/* event.from: waits up to 'timeout' for something newer than 'token' ("" for everything there
 * is). */
MUST_CHECK struct error *xapi_event_from(struct xapi_session *session, struct strings classes,
                                         const char *token, usec_t timeout,
                                         struct xapi_events *out);

/*
 * An HTTP transfer beside the calls: opens "METHOD path?query&session_id=..." on a connection of
 * its own and gives the stream.  'path_and_query' is percent-encoded.
 *
 * GET: *status and *length (-1: unknown) are the answer's; read until 0.  Redirections are not
 * followed: xapi_stream_header(s, "location") says where to.
 * PUT, POST: 'content_length' bytes follow, -1: until xapi_stream_finish.  *status is 200 where the
 * server answered before the body, as import handlers do; 100 where it wants the body first; above
 * 299 it has refused and wants no body.  After the last write: xapi_stream_finish.
 * CONNECT: with *status 200, bytes both ways.
 *
 * 'status' and 'length' may be NULL.  On failure *out is NULL.
 */
struct xapi_stream;
MUST_CHECK struct error *xapi_http_open(struct xapi_session *session, const char *method,
                                        const char *path_and_query, int64_t content_length,
                                        struct xapi_stream **out, int *status, int64_t *length);
/* At least one byte; 0 at the end, -1 on failure, also where the connection ends before the
 * announced length. */
ssize_t xapi_stream_read(struct xapi_stream *s, void *out, size_t n);
/* Writes all of it, or fails.  A server that has had enough may still have answered: see
 * xapi_stream_finish. */
bool xapi_stream_write(struct xapi_stream *s, const void *p, size_t n);
/* Ends an upload and waits until the server has taken it all: the final status, -1 on failure.  The
 * outcome of an import is in its task.  Of a GET: the status. */
int xapi_stream_finish(struct xapi_stream *s);
/* A header of the final answer, or NULL; lives as long as the stream. */
const char *xapi_stream_header(const struct xapi_stream *s, const char *name);
/* Why the last read, write or finish failed, as a part of a sentence. */
const char *xapi_stream_why(const struct xapi_stream *s);
/* The socket, for polling beside other things; bytes may wait in buffers before it. */
int xapi_stream_fd(const struct xapi_stream *s);
/* Closes and frees; NULL is nothing. */
void xapi_stream_close(struct xapi_stream *s);

/* For people: the error's documentation, then one line for each parameter, "name: value".  "" for
 * no error. */
const char *xapi_error_text(struct xapi_session *session, const struct error *e);
