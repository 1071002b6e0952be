/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * handover.h -- from a request that is no call to work on a thread of its own: who asks, the task
 * the client watches, what refuses it, and the bytes of its body.
 */
#pragma once

#include "xapid/auth/auth.h"
#include "xapid/db/db.h"
#include "xapid/http/http.h"

/* Lives in an arena of its own: the request ends before the task does. */
struct handover {
    struct call call;
    struct http_request *request; /* NULL once answered or taken over */
    struct auth_http_who who;
    const char *action; /* the permission, "get_export" */
    ref_t task;         /* the client's, or null */
};

/* Why a request is refused, as an HTTP status; 0: it is not. */
struct refusal {
    int status;
    const char *why;
    struct error *e; /* for the task */
};
struct refusal refuse(int status, struct error *e);

/*
 * Finds out who asks and runs 'run' on a worker, inside the client's task (task_id) where there is
 * one.  What may not be done is answered, and told to the task.  'run' answers or takes over the
 * request, and ends the task; afterwards the handover is gone.
 */
void handover_begin(struct xapid *xapid, struct http_request *request, const char *action,
                    void (*run)(struct handover *h));
/* The same for what everybody may do: nobody is asked who they are, and there is no task. */
void handover_begin_open(struct xapid *xapid, struct http_request *request, const char *action,
                         void (*run)(struct handover *h));
/* Answers the request with the refusal, and ends the task with its error. */
void handover_refuse(struct handover *h, struct refusal r);
/* The same, 411 or 413, for an upload that says no length, or one that is too large. */
void handover_refuse_length(struct handover *h);
/* Another host answers the request: its address is told, or it is passed on (relay.h).  The task
 * goes on there. */
void handover_elsewhere(struct handover *h, const struct host *host);
/* Takes the connection; h->request is NULL afterwards. */
struct http_stream *handover_take(struct handover *h);
/* A task of our own, where the client gave none. */
MUST_CHECK struct error *handover_own_task(struct handover *h, const char *name);

/* A row by the text of its reference or its uuid. */
MUST_CHECK struct error *handover_find(struct call *call, int class_id, const char *text,
                                       ref_t *out);
/* True for a parameter that is given and not "false". */
bool handover_flag(const struct http_request *request, const char *name, bool otherwise);

/*** the body of an upload ***/

/* A client that sends or takes nothing for that long has gone. */
#define HANDOVER_IDLE (10 * 60 * USEC_PER_SEC)

struct body {
    struct http_stream *http;
    int64_t length; /* as announced; -1: until the end of the connection */
    int64_t taken;  /* bytes read of it */
    bool has_first; /* body_wait has read the first byte */
    char first;
    bool ended; /* nothing more comes */
};

/* The answer's head: the upload may begin.  False where the client has gone. */
MUST_CHECK bool body_answer(struct call *call, struct body *body, ref_t task);
/* Waits for the first byte, which is then read like the others; IMPORT_ERROR_PREMATURE_EOF where
 * none comes. */
MUST_CHECK struct error *body_wait(struct call *call, struct body *body);
/* Some bytes, or 0 at the end of the body or the connection; TASK_CANCELLED. */
MUST_CHECK struct error *body_read(struct call *call, struct body *body, void *out, size_t n,
                                   size_t *got);
/* All of it into a file; CLIENT_ERROR where less comes than was announced. */
MUST_CHECK struct error *body_save(struct call *call, struct body *body, int fd);
/* Answers an upload that has had no answer yet, logs the error, and closes the connection. */
void body_done(struct call *call, struct body *body, const char *action, const struct error *e);
