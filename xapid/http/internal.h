/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * internal.h -- what the files of this folder share; for them only.
 *
 * A connection is touched by its loop's thread and nobody else, with two exceptions that its state
 * makes exclusive: while a request is with its handler (CONN_PENDING) whoever answers writes 'out',
 * 'body' and 'close_after', which the loop leaves alone; and while the connection is taken over
 * (CONN_DETACHED) it belongs to the worker.  Both end by an item posted to the loop.  It is freed
 * when the loop and the handler have both let go of it.
 */
#pragma once

/* First: uv.h brings a MIN and MAX of its own where there is none yet. */
#include "libxapi/base/seam.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <stdatomic.h>
#include <uv.h>

#include "xapid/http/certificate.h"
#include "xapid/http/head.h"
#include "xapid/http/http.h"
#include "xapid/http/io.h"
#include "xapid/loop/loop.h"

/* What arrives while a request is pending (pipelined requests, early bytes of a stream) is kept up
 * to this. */
#define HTTP_EARLY_LIMIT ((size_t)64 << 10)
#define HTTP_SLICE ((size_t)64 << 10)

enum conn_state {
    CONN_HANDSHAKE, /* TLS */
    CONN_HEAD,      /* idle, or part of a head is there */
    CONN_BODY,
    CONN_PENDING,  /* the handler has the request */
    CONN_WRITE,    /* 'out' and 'body' go to the client */
    CONN_LINGER,   /* all is sent, the client is read until it closes */
    CONN_DETACHED, /* taken over */
    CONN_CLOSED    /* waits for its handler's answer, or for libuv, to be freed */
};

struct http_stream {
    struct http_conn *conn;
    size_t early_taken; /* bytes of conn->early already read */
    bool failed;
    /* In the server's list of streams. */
    struct http_stream *next, **prev;
};

/* An address as the limit counts it. */
struct http_address {
    uint8_t bytes[16];
};

struct http_loop {
    struct loop *loop;
    struct http_server *server;
    struct http_conn *conns; /* those with an open socket */
    char *scratch; /* HTTP_SLICE bytes to read into; never in use across a call to a handler */
};

struct http_conn {
    struct http_request request;
    struct arena arena; /* of the request */
    struct http_server *server;
    struct http_loop *home;
    struct http_conn *next, **prev; /* in home->conns */

    int fd;   /* changes under the server's mutex */
    SSL *ssl; /* NULL for plain */
    bool known_client;
    enum http_via via;
    char peer[INET6_ADDRSTRLEN];
    struct http_address address;
    uv_poll_t poll;
    int events;

    enum conn_state state;
    bool poll_open;     /* libuv still knows 'poll' */
    bool pending;       /* an answer is owed */
    bool again_queued;  /* 'again' is in the loop's queue */
    bool linger_queued; /* linger as soon as 'poll' may be opened again */
    bool busy;          /* http_conn_drive is at work further up the stack */
    bool readable;      /* a read may find something */
    bool keep_alive;    /* the client's wish */
    bool unread;        /* a body was announced that nobody reads */
    bool linger;        /* the client may be sending: do not reset the connection under our reply */
    bool close_after;   /* the reply */
    bool then_body;     /* what is written is "100 Continue" */
    bool counted;       /* in the server's numbers of connections */
    atomic_bool gone;   /* the client */
    atomic_bool answered;
    int budget;     /* requests left for this turn of the loop */
    size_t drained; /* bytes thrown away in CONN_LINGER */

    struct buf in; /* the head and body being read or answered */
    struct http_scan scan;
    size_t head_size, body_size;
    const struct http_route *route;
    struct buf early; /* what follows them */
    struct buf out;
    size_t out_sent;
    struct http_body *body;
    int64_t body_left;

    struct loop_timer timer; /* runs at or before 'deadline' */
    usec_t timer_due;        /* 0: unarmed */
    usec_t deadline;         /* 0: none */
    usec_t idle_deadline, head_deadline, reply_deadline;
    void (*gone_fn)(struct http_request *request, void *arg);
    void *gone_arg;
    struct loop_item item;  /* start, answer, take-over, return */
    struct loop_item again; /* go on after others had their turn */
    bool detached;          /* under the server's mutex: the loop has let go */
    struct http_stream stream;
};

struct http_listener {
    struct http_listener *next;
    struct http_server *server;
    struct http_loop *home;
    enum http_via via;
    int fd;
    uv_poll_t poll;
    struct loop_timer pause; /* after a failure to accept */
    bool closed;             /* under the server's mutex */
    char *path;              /* of a Unix socket, to be removed while it is still ours */
    dev_t dev;
    ino_t ino;
};

#define HTTP_ADDRESS_BUCKETS 1024
struct http_address_count {
    struct http_address_count *next;
    struct http_address address;
    int n;
};

/* What has come for one route; each number by itself is right. */
struct http_route_used {
    atomic_uint_fast64_t requests, last, bodies;
};

struct http_routes {
    const struct http_route **routes; /* longest prefix first */
    size_t n;
};

struct http_server {
    atomic_int refs; /* the owner, each connection, each timer handle */
    struct http_limits limits;
    void *ctx;
    bool (*plain_allowed)(void *ctx);
    bool (*remote_allowed)(void *ctx);
    const struct http_route *all_routes;         /* ends with a NULL prefix */
    struct http_route_used *used;                /* of each of them */
    struct http_routes routes[HTTP_M_OTHER + 1]; /* by method */
    int n_loops;
    struct http_loop *loops;
    atomic_uint next_loop;
    atomic_bool draining;
    char *cert_path;
    BIO_METHOD *bio;

    struct mutex loading;           /* held while TLS is set up anew; guards 'trust' */
    struct certificate_trust trust; /* copies; name NULL: clients are not asked */

    struct mutex mutex; /* guards what follows */
    struct cond cond;
    SSL_CTX *tls;
    int n_tcp, n_unix;
    uint64_t address_seed;
    struct http_address_count *addresses[HTTP_ADDRESS_BUCKETS];
    usec_t limit_logged;
    struct http_listener *listeners;
    struct http_stream *streams;
};

/* server.c */
struct http_server *http_server_ref(struct http_server *server);
void http_server_unref(struct http_server *server);
struct http_loop *http_server_loop(struct http_server *server); /* round robin */
/* The route for a request; NULL with *status set to 403 or 501. */
const struct http_route *http_route_find(const struct http_server *server, enum http_method method,
                                         const char *path, int *status);

/* count.c: counts a connection in, unless a limit is reached; and out. */
bool http_count_in(struct http_server *server, enum http_via via,
                   const struct http_address *address);
void http_count_out(struct http_server *server, enum http_via via,
                    const struct http_address *address);

/* Counts a request that is about to be handled. */
void http_count_request(struct http_conn *conn);

/* listen.c */
void http_listeners_close(struct http_server *server);

/* tls.c */
MUST_CHECK struct error *http_tls_load(struct arena *arena, const char *path,
                                       const struct certificate_trust *trust, SSL_CTX **out);
/* The client has shown a certificate that is believed; after the handshake. */
bool http_tls_knows_client(const SSL *ssl);
BIO_METHOD *http_tls_bio_method(void);

/* reply.c: appends a whole head.  'size' < 0: no Content-Length. */
void http_head_write(struct buf *out, int status, const char *content_type, int64_t size,
                     bool close, size_t n_headers, const struct http_pair *headers);
/* Appends an error page's body. */
void http_page_write(struct buf *out, int status, const char *detail);

/* conn.c */
void http_conn_new(struct http_loop *home, int fd, enum http_via via, const char *peer,
                   const struct http_address *address);
void http_conn_close(struct http_conn *conn);
/* The answer is in 'out' and 'body': send it.  On the loop's thread, or on any once the loop has
 * stopped. */
void http_conn_answered(struct http_conn *conn);
/* Takes a pending connection out of its loop, which is the current one. */
void http_conn_detach(struct http_conn *conn);
/* Gives a detached connection back, to be closed in peace. */
void http_conn_return(struct http_conn *conn);
/* Frees it unless somebody still holds it. */
void http_conn_free_if_done(struct http_conn *conn);
