/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * http.h -- HTTP/1.0 and 1.1 over TCP, TLS and Unix sockets.
 *
 * A server owns a number of I/O loops (xapid/loop); each connection belongs to one loop, with its TLS.  A loop thread never
 * blocks.  A request reaches its handler on the loop thread once its head (and, for handlers with a body limit, its whole
 * body) has arrived; the handler answers at once or later and from any thread, exactly once, with http_reply, or takes the
 * connection over with http_take_over.  Everything a client can push has a limit.
 */
#pragma once

#include "libxapi/base/arena.h"
#include "libxapi/base/buf.h"

struct http_server;
struct http_conn;

enum http_method { HTTP_M_GET, HTTP_M_POST, HTTP_M_PUT, HTTP_M_OPTIONS, HTTP_M_CONNECT, HTTP_M_HEAD, HTTP_M_OTHER };

enum http_via { VIA_TCP, VIA_TLS, VIA_UNIX };

struct http_pair {
    const char *name, *value;
};

/* Lives until it was answered.  All memory is in its arena; a handler that answers later may use it from one thread at a time. */
struct http_request {
    struct arena *arena;
    struct http_conn *conn;
    enum http_method method;
    enum http_via via;
    int minor_version; /* HTTP/1.x */
    const char *path;  /* decoded, without the query */
    const char *target; /* as sent */
    size_t n_headers;
    const struct http_pair *headers; /* names in lower case */
    size_t n_query;
    const struct http_pair *query; /* decoded, in the order sent, duplicates kept */
    const char *peer; /* address of the client, "" for a Unix socket */
    const char *body;
    size_t body_size;
    int64_t content_length; /* -1 when absent */
    void *user;             /* free for the handler */
};

/* NULL when absent. */
const char *http_header(const struct http_request *request, const char *lower_name);
const char *http_query(const struct http_request *request, const char *name);
/* A cookie ("a=b; c=d", also the old "a=b&c=d"), then the query: the order the XenAPI looks parameters up in. */
const char *http_param(const struct http_request *request, const char *name);

/*
 * A body made piece by piece as the socket takes it: 'next' appends about 'want' more bytes to 'out' and returns false once
 * nothing follows.  Called on the loop thread, never blocks.  'release' is called once, also when the client goes away.
 */
struct http_body {
    int64_t size; /* total bytes, known in advance: it becomes Content-Length */
    bool (*next)(struct http_body *body, struct buf *out, size_t want);
    void (*release)(struct http_body *body);
};

struct http_response {
    int status; /* 200, ... */
    const char *content_type;
    size_t n_headers;
    const struct http_pair *headers; /* further ones */
    const char *data; /* whole body, copied; or: */
    size_t size;
    struct http_body *body; /* streamed body; takes precedence */
    bool close;             /* close after this reply */
};

/* Answers.  May be called from any thread; the request must not be touched afterwards. */
void http_reply(struct http_request *request, const struct http_response *response);
/* One of the small HTML pages for 4xx and 5xx; 'detail' may be NULL. */
void http_error(struct http_request *request, int status, const char *detail);
/* True once the client has gone away: long operations may ask. */
bool http_client_gone(const struct http_request *request);

/*
 * Takes the connection out of its loop for blocking use by a worker thread: CONNECT, WebSocket, import and export.  Nothing has
 * been answered yet.  The request stays valid until http_stream_close, which frees both.  Bytes that had arrived already are
 * read first.
 */
struct http_stream;
struct http_stream *http_take_over(struct http_request *request);
/* Reads up to n bytes; 0 at the end, -1 on failure or when 'timeout' (microseconds, < 0: none) has passed. */
ssize_t http_stream_read(struct http_stream *s, void *out, size_t n, usec_t timeout);
/* Writes all or fails (false).  'timeout' bounds each wait for the socket. */
bool http_stream_write(struct http_stream *s, const void *p, size_t n, usec_t timeout);
/* True when read would return at once: waits for this stream or 'other_fd' (may be -1); *other is set when that is readable. */
bool http_stream_wait(struct http_stream *s, int other_fd, bool *other, usec_t timeout);
void http_stream_close(struct http_stream *s);

typedef void http_handler_fn(struct http_request *request, void *ctx);

/* The longest matching path prefix wins. */
struct http_route {
    enum http_method method;
    const char *prefix;
    http_handler_fn *handler;
    /* The body is read before the call, up to this many bytes (413 beyond).  -1: called after the head, reads the body itself
       through http_take_over (100-continue is then its matter too: http_stream_continue). */
    int64_t body_limit;
};
/* Sends "HTTP/1.1 100 Continue" where the client asked for it. */
void http_stream_continue(struct http_stream *s);

struct http_limits {
    size_t header_bytes;     /* default 16384 */
    usec_t header_timeout;   /* whole head, default 60 s; 10 s between reads */
    usec_t idle_timeout;     /* keep-alive, default 300 s */
    usec_t write_stall;      /* client takes nothing for that long: closed; default 60 s */
    int connections;         /* per server, default 2000 */
    int connections_per_address; /* default 400 */
};

struct http_options {
    int n_loops; /* 0: as many as cores, at least two */
    struct http_limits limits; /* zero fields take their defaults */
    const struct http_route *routes; /* ends with a NULL prefix; must outlive the server */
    void *ctx;                       /* given to every handler */
    /* Paths for TLS; NULL: no TLS listeners possible. */
    const char *cert_path; /* PEM: key and certificate chain in one file */
};

MUST_CHECK struct error *http_server_new(struct arena *arena, const struct http_options *options,
                                         struct http_server **out);
/* Listens; 'address' "127.0.0.1", "::" ...; port 0 picks one, returned in *bound_port (may be NULL). */
MUST_CHECK struct error *http_listen_tcp(struct arena *arena, struct http_server *server,
                                         const char *address, int port, bool tls, int *bound_port);
MUST_CHECK struct error *http_listen_unix(struct arena *arena, struct http_server *server,
                                          const char *path, mode_t mode);
/* Reads the certificate again; connections made from now on use it.  On failure the old one stays. */
MUST_CHECK struct error *http_reload_certificate(struct arena *arena, struct http_server *server);
/* Stops listening, lets replies in progress end for up to 'grace', closes everything, joins the loops. */
void http_server_free(struct http_server *server, usec_t grace);

/* Runs fn on one of the server's loop threads, soon. */
void http_post(struct http_server *server, void (*fn)(void *arg), void *arg);
/* Runs fn(arg) on a loop thread after 'delay'; used for delayed answers and long polls.  Returns a handle to cancel with. */
struct http_timer;
struct http_timer *http_timer_start(struct http_server *server, usec_t delay, void (*fn)(void *arg),
                                    void *arg);
/* True if it will not run any more; false if it has run or is running. Either way the handle is gone. */
bool http_timer_cancel(struct http_timer *timer);
