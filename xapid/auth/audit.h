/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * audit.h -- who did what: one line for each call that may change something, in
 * <state_dir>/audit.log.
 *
 * A call never waits: its line goes into a queue, and a thread of this module writes, and syncs the
 * file once a second.  When the queue is full or the disk refuses, lines are lost, and a line says
 * how many.  The file is rotated by size, audit.log.1 being the youngest of the old ones.  Secrets
 * are never written: nothing of messages marked secret, no values of maps, no strings whose
 * parameter is named like a password.
 */
#pragma once

#include "api_daemon.h"

struct audit;
struct http_request;

/* Zero fields take their defaults. */
struct audit_options {
    const char *path;   /* copied */
    int64_t max_size;   /* of one file: 8 MiB */
    int keep;           /* old files: 8, at most 99 */
    size_t max_waiting; /* bytes in the queue: 4 MiB */
    bool syslog;        /* also to syslog, facility authpriv */
};

/* <state_dir>/audit.log with the defaults. */
MUST_CHECK struct error *audit_new(struct arena *arena, struct xapid *xapid, struct audit **out);
MUST_CHECK struct error *audit_open(struct arena *arena, const struct audit_options *options,
                                    struct audit **out);
/* Writes what is waiting.  No calls may come any more. */
void audit_free(struct audit *audit);
/* Waits until what is queued now is written or given up, at most 'timeout'; false if it was not. */
bool audit_flush(struct audit *audit, usec_t timeout);

/*
 * The line of a call that has ended, to call->xapid->audit (nothing if that is NULL).  'args' may
 * be NULL or filled only in part, as after a failure to read them.  Nothing is written for pure
 * messages, for logins (auth writes their lines) and for the daemon's own calls.
 */
void audit_call(struct call *call, const struct message_desc *m, const void *args,
                const struct error *e);
/*
 * The same in two parts, for messages that destroy what their arguments name: the text of the
 * arguments is made before, from call->snap, in the call's arena.
 */
const char *audit_args(struct call *call, const struct message_desc *m, const void *args);
void audit_call_with(struct call *call, const struct message_desc *m, const char *args_text,
                     const struct error *e);
/* The line of an HTTP request by call->session. */
void audit_http(struct call *call, const char *action, const struct error *e);

struct audit_login {
    const char *message, *user, *originator, *client;
    ref_t session; /* null where there is none */
    const struct error *error;
};
void audit_login(struct audit *audit, const struct audit_login *login);

/* A line another member made (pool.audit_log_append); control characters are escaped. */
void audit_append(struct audit *audit, const char *line);

/*
 * GET /audit_log?since=<beginning of a date>: all lines from then on, oldest first, as text/plain.
 * Checks the credentials itself; 'ctx' is the struct xapid.
 */
void audit_log_get(struct http_request *request, void *ctx);
