/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * server.h -- the server's side of protocol.h: what the simulator and the executor have in common.
 *
 * Its files: loop (descriptors, timers), server (connections), requests (ids, epochs, outcomes,
 * waiting), outcome (their memory), screen (console sockets), rfb and picture (what they show),
 * process (one for a directory, in a session of its own).  A program gives a table of handlers; a
 * handler runs on the loop, or, where the program has a dispatcher, on a thread of the program's.
 * Everything else here belongs to the loop's thread alone.
 */
#pragma once

#include <jansson.h>

#include "libxapi/base/arena.h"
#include "xapid/hypervisor/protocol.h"
#include "xapid/hypervisor/server/loop.h"

#define REQUESTS_MAX 8192
#define CONNECTIONS_MAX 256

struct server;
struct request;
struct outcome;
struct outcomes;
struct connection;
struct call_fault;

struct handler {
    const char *call;
    bool changes; /* refused with a stale epoch, done once for an id */
    /* Either fills *result (may stay NULL: {}), or has called request_wait and is finished later by
     * request_finish. */
    struct error *(*run)(struct request *rq, json_t **result);
};

/* What a program is to the server.  Lives as long as the server. */
struct program {
    const char *hypervisor; /* as the hello says it */
    const struct handler *handlers;
    size_t n_handlers;
    /*
     * The rest may be NULL.  'dispatch' takes a request to another thread, which ends in
     * request_finish on the loop; without it handlers run on the loop.
     */
    void (*dispatch)(struct request *rq);
    /* Memory that outlives the process: both return once what they were told is durable. */
    void (*sealed)(void *ctx, const char *id);
    void (*epoch_rose)(void *ctx, uint64_t epoch);
};

struct server_options {
    const char *socket_path;
    const char *instance; /* a uuid; copied.  NULL: a new one */
    uint64_t epoch;       /* the highest seen so far */
    void *ctx;            /* the program's */
};

struct server {
    const struct program *program;
    void *ctx;
    const char *socket_path;
    struct loop *loop;
    char instance[UUID_TEXT_SIZE];
    uint64_t epoch;           /* the highest seen */
    uint64_t last_connection; /* connections are named by rising numbers, so that a request never
                                 holds a stale pointer */
    struct source signals;    /* a signalfd */
    struct source listener;
    struct connection *connections;
    size_t n_connections;
    struct request *requests;
    size_t n_requests;
    struct outcomes *outcomes;
    struct call_fault *faults; /* by call */
};

/*
 * server.c
 */
/* Makes a server that does not listen yet.  SIGTERM and SIGINT, which the caller has blocked, end
 * its loop.  NULL with a line in the log. */
struct server *server_new(const struct program *program, const struct server_options *options);
/* False, with a line in the log, if the socket cannot be made. */
bool server_listen(struct server *server);
/* Closes the connections; requests stay until server_free. */
void server_close(struct server *server);
void server_free(struct server *server);
/* Sends an answer to a connection, or drops it when the connection is gone.  'error' as write_error
   makes it, or NULL; a NULL result is {}.  Takes neither reference. */
void server_answer(struct server *server, uint64_t connection, uint64_t serial, json_t *error,
                   json_t *result);
/* Tells every watching connection. */
void server_push(struct server *server, const char *uuid);
void server_watch(struct server *server, uint64_t connection);
/* Closes one connection, or all but one, as a broken network would. */
void server_drop(struct server *server, uint64_t connection);
void server_drop_others(struct server *server, uint64_t connection);

/*
 * requests.c
 */
enum wait_kind {
    WAIT_NOTHING,
    WAIT_DELAY,
    WAIT_OUTCOME,
    WAIT_THREAD, /* a thread of the program's works on it */
    WAIT_ACK,    /* these two are the program's */
    WAIT_DEATH
};

struct request {
    struct request *prev, *next;
    struct server *server;
    const struct handler *handler;
    struct arena arena;          /* a thread that works on it has it for itself */
    uint64_t connection, serial; /* to whom the answer goes; 0: to nobody any more */
    usec_t deadline;             /* loop time */
    struct reader args;
    json_t *args_json;
    struct outcome *outcome; /* NULL without an id */
    enum wait_kind wait;
    const void *subject; /* of WAIT_ACK and WAIT_DEATH: what wakes it */
    void (*expired)(struct request *rq);
    struct outcome *waited; /* of WAIT_OUTCOME */
    struct timer timer;
    bool again; /* request_again: a life before this began it */
    bool noted; /* the program's */
    void *work; /* the dispatcher's */
};

void requests_start(struct server *server);
void requests_stop(struct server *server);
/* A message arrived; false if the connection must end. */
bool request_arrived(struct server *server, uint64_t connection, const json_t *message);
/* The connection is gone: reads are dropped, what has an id goes on. */
void requests_orphan(struct server *server, uint64_t connection);
/* Ends a request: remembers the outcome, answers, frees.  'result' is taken. */
void request_finish(struct request *rq, struct error *e, json_t *result);
/* The handler goes on later.  At 'at' (loop time) 'expired' is called, which finishes the request;
 * NULL answers that it is not known. */
void request_wait(struct request *rq, enum wait_kind wait, const void *subject, usec_t at,
                  void (*expired)(struct request *rq));
/* Ends all that wait so for the subject.  Each gets an error (copied) or a result (a reference of
 * its own); both may be NULL. */
void requests_wake(struct server *server, enum wait_kind wait, const void *subject,
                   const struct error *e, json_t *result);
/* Runs the handler and tells a wrong argument from a failure, for a dispatcher's thread. */
MUST_CHECK struct error *request_run(struct request *rq, json_t **result);
/* An argument was missing or wrong. */
MUST_CHECK struct error *request_bad(struct request *rq);
/* Begins, on the loop and for nobody, what a life before began under that id; 'what' is its
 * outcome_hash.  Takes 'args'. */
void request_again(struct server *server, const struct handler *handler, const char *id,
                   uint64_t what, json_t *args, bool noted);

/* What tests want to go wrong with a call. */
struct call_fault {
    char *fail_code, *fail_text; /* the next one fails */
    usec_t delay;
    bool lose_request, lose_answer; /* the next one */
};
/* NULL if there is no such call. */
struct call_fault *call_fault_of(struct server *server, const char *call);
