/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * rpc.h -- one call of the XenAPI, from the body of a POST to its answer.
 *
 * Order: decode -> session -> role -> task -> operation -> encode -> log once.  What only reads is
 * answered on the loop thread from a snapshot; everything else goes to a worker.  Exactly one
 * answer is given, by rpc_answer or rpc_answer_value.
 */
#pragma once

#include "libxapi/codec/codec.h"
#include "xapid/db/db.h"
#include "xapid/forward/forward.h"
#include "xapid/http/http.h"
#include "xapid/trace/trace.h"

struct rpc_call {
    struct call call; /* first; its arena is the request's */
    struct http_request *http;
    struct rpc_request request;
    const struct message_desc *message;
    bool async;     /* Async. was asked for */
    bool answered;  /* an async call has given its task already */
    bool on_worker; /* it was held back, or its session brought here, first: this is no loop thread
                       any more */
    void *args;     /* as message->params lay out */
    const char *extension; /* the message is no message of the XenAPI but an extension's name */
    usec_t started;        /* monotonic */
    const char *name;      /* as the client spelled it */
    struct trace_parent parent; /* of what it is a part */
    struct forward_sent sent;   /* where another host runs it */
    struct forward_came *came;  /* it came from another member, which will answer the client */
};

/* Runs a call that came from another member of the pool; on a worker. */
void rpc_run_came(struct forward_came *came);

/* The handlers of POST /, /RPC2, any other path, and /jsonrpc; 'ctx' is the struct xapid. */
void rpc_post_xml(struct http_request *request, void *ctx);
void rpc_post_json(struct http_request *request, void *ctx);

/* Answers with an error, or with a result of message->result's type (NULL for void). From any
 * thread; the call is gone afterwards. */
void rpc_answer(struct rpc_call *rpc, struct error *e, const void *result);
/* Answers with a value that was written with codec_of(rpc->request.protocol) already; takes the
 * buffer's bytes. */
void rpc_answer_value(struct rpc_call *rpc, struct buf *value);

/* Fills 'env' so that records written with it show derived and computed fields as of 'snap'. */
void rpc_env(struct codec_env *env, struct arena *arena, struct xapid *xapid, struct db_snap *snap);

/*
 * Where no message has the name that was asked for: makes the call one of an extension of that
 * name, where there is one, the session is good and may use it.  Else MESSAGE_METHOD_UNKNOWN, or
 * why not.
 */
MUST_CHECK struct error *extension_find(struct rpc_call *rpc);
/* Runs an extension, by its name or through host.call_extension, on a worker, and answers. */
void extension_call(struct rpc_call *rpc);
/* Its end, with what it printed. */
void extension_answer(struct rpc_call *rpc, struct error *e, const struct wire *answer);
/* Where the call is for another host, as its error says: it is on its way there, and will be
 * answered. */
bool rpc_forward(struct rpc_call *rpc, const struct error *e);
/* The session that the first parameter names; SESSION_INVALID. */
MUST_CHECK struct error *rpc_find_session(struct rpc_call *rpc);
/* Where the call may wait no longer: too many do. */
MUST_CHECK struct error *rpc_too_many(struct rpc_call *rpc);
/* The client's own task, or null. */
ref_t rpc_task_of_client(const struct rpc_call *rpc);

/* Implicit messages.  True if it was one that only reads and is answered now. */
bool implicit_read(struct rpc_call *rpc);
/* Implicit setters; on a worker thread. */
MUST_CHECK struct error *implicit_write(struct rpc_call *rpc);
