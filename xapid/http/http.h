/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * http.h -- HTTP/1.0 and 1.1 over TCP, TLS and Unix sockets.
 *
 * A server owns a number of I/O loops (xapid/loop); each connection belongs to one loop, with its
 * TLS.  A loop thread never blocks.  A request reaches its handler on the loop thread once its head
 * (and, for handlers with a body limit, its whole body) has arrived; the handler answers at once or
 * later and from any thread, exactly once, with http_reply, or takes the connection over with
 * http_take_over.  Everything a client can push has a limit.
 */
#pragma once

#include "libxapi/base/arena.h"
#include "libxapi/base/buf.h"

struct http_server;
struct http_conn;

enum http_method {
    HTTP_M_GET,
    HTTP_M_POST,
    HTTP_M_PUT,
    HTTP_M_OPTIONS,
    HTTP_M_CONNECT,
    HTTP_M_HEAD,
    HTTP_M_OTHER
};

/*
 * A local program that passes on what somebody else asks for says so with the header Forwarded
 * (RFC 7239).  Its request then counts as that client's, VIA_TCP: it has no rights of its own.
 */
enum http_via { VIA_TCP, VIA_TLS, VIA_UNIX };

struct http_pair {
    const char *name, *value;
};

/* Lives until it was answered.  All memory is in its arena; a handler that answers later may use it
 * from one thread at a time. */
struct http_request {
    struct arena *arena;
    struct http_conn *conn;
    enum http_method method;
    enum http_via via;
    int minor_version;  /* HTTP/1.x */
    const char *path;   /* decoded, without the query */
    const char *target; /* as sent */
    size_t n_headers;
    const struct http_pair *headers; /* names in lower case */
    size_t n_query;
    const struct http_pair *query; /* decoded, in the order sent, duplicates kept */
    const char *peer;  /* address of the client, "" for a Unix socket; "unknown" where a local
                          program speaks for somebody it does not name */
    bool known_client; /* showed a certificate that http_trust_clients says to believe */
    const char *body;  /* a NUL follows it; never NULL */
    size_t body_size;
    int64_t content_length; /* -1 when absent */
    void *user;             /* free for the handler */
};

/* The first value of that header; NULL when absent. */
const char *http_header(const struct http_request *request, const char *lower_name);
/* The first value of that name in the query; NULL when absent. */
const char *http_query(const struct http_request *request, const char *name);
/* A cookie ("a=b; c=d", also the old "a=b&c=d"), then the query: the order the XenAPI looks
 * parameters up in. */
const char *http_param(const struct http_request *request, const char *name);

/*
 * A body made piece by piece as the socket takes it: 'next' appends about 'want' more bytes to
 * 'out' and returns false once nothing follows.  Called on the loop thread, never blocks. 'release'
 * is called once, also when the client goes away.
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
    const struct http_pair *headers; /* further ones; control characters in them become spaces */
    const char *data;                /* whole body, copied; or: */
    size_t size;
    struct http_body *body; /* streamed body; takes precedence */
    bool close;             /* close after this reply */
};

/*
 * Answers.  May be called from any thread; the request must not be touched afterwards.  The server
 * adds Date, Content-Length and Connection, and sends no body for HEAD.
 */
void http_reply(struct http_request *request, const struct http_response *response);
/* One of the small HTML pages for 4xx and 5xx; 'detail' may be NULL, and is escaped. */
void http_error(struct http_request *request, int status, const char *detail);
/* The same with further headers: WWW-Authenticate for 401. */
void http_error_with(struct http_request *request, int status, const char *detail, size_t n_headers,
                     const struct http_pair *headers);
/* True once the client has gone away: long operations may ask. */
bool http_client_gone(const struct http_request *request);
/* The address of this host that the client has connected to; "" for a Unix socket.  In the
 * request's arena; to be called from the handler. */
const char *http_local_address(const struct http_request *request);
/*
 * True where the client's system has answered something since then (monotonic clock), over TCP.
 * Asks it to, about once a second from the first call on.  From any thread, until the request is
 * answered.
 */
bool http_client_hears(const struct http_request *request, usec_t since);
/*
 * Calls 'fn' once, on the request's loop thread, when the client goes away before the answer: for
 * long polls, so that they end early.  To be called from the handler, before the request is given
 * to anybody else; takes no thread.  'request' and what is in its arena are valid while 'fn' runs,
 * but another thread may be about to answer at the same time: who answers is decided under a lock
 * of the caller's.  The answer is still owed, and freed unsent.
 */
void http_on_gone(struct http_request *request, void (*fn)(struct http_request *request, void *arg),
                  void *arg);

/*
 * Takes the connection out of its loop for blocking use by one worker thread: CONNECT, WebSocket,
 * import and export.  Nothing has been answered yet.  May be called by the handler or later from a
 * worker; never NULL (where the client has gone, reads and writes fail).  The request stays valid
 * until http_stream_close, which frees both.  Bytes that had arrived already are read first.
 */
struct http_stream;
struct http_stream *http_take_over(struct http_request *request);
/*
 * Reads up to n bytes; 0 at the end, -1 on failure or when 'timeout' (microseconds, < 0: none) has
 * passed: errno is ETIMEDOUT then.  Knows nothing of Content-Length.
 */
ssize_t http_stream_read(struct http_stream *s, void *out, size_t n, usec_t timeout);
/* Writes all or fails (false).  'timeout' bounds each wait for the socket. */
MUST_CHECK bool http_stream_write(struct http_stream *s, const void *p, size_t n, usec_t timeout);
/* True when read would return at once: waits for this stream or 'other_fd' (may be -1); *other is
 * set when that is readable. */
bool http_stream_wait(struct http_stream *s, int other_fd, bool *other, usec_t timeout);
/* Sends "HTTP/1.1 100 Continue" where the client asked for it. */
bool http_stream_continue(struct http_stream *s);
/*
 * Sends a status line and headers (those given, Date, and "Connection: close") for a body that ends
 * when the stream is closed; 'content_length' < 0 leaves that header out.
 */
MUST_CHECK bool http_stream_start(struct http_stream *s, int status, int64_t content_length,
                                  size_t n_headers, const struct http_pair *headers);
/* Sends a whole error page, as http_error would have. */
bool http_stream_error(struct http_stream *s, int status, const char *detail);
/* Ends TLS and the connection; what the client still sends is read away by the loop, so that it
 * sees our last bytes. */
void http_stream_close(struct http_stream *s);

typedef void http_handler_fn(struct http_request *request, void *ctx);

/* The longest matching path prefix wins.  HEAD goes to the route for GET unless it has one of its
 * own. */
struct http_route {
    enum http_method method;
    const char *prefix;
    http_handler_fn *handler;
    /* The body is read before the call, up to this many bytes (413 beyond; 411 for a POST or PUT
       without a length).  -1: called after the head, reads the body itself through http_take_over
       (100-continue is then its matter too: http_stream_continue); where such a handler answers
       instead, and a body was announced, the connection is closed. */
    int64_t body_limit;
};

struct http_limits {
    size_t header_bytes;   /* default 16384, at most 65536; 431 beyond */
    usec_t header_timeout; /* TLS handshake and whole head, default 60 s */
    usec_t read_timeout;   /* between two reads of a head, default 10 s */
    usec_t body_timeout;   /* whole body of a route with a body limit, default 120 s */
    usec_t idle_timeout;   /* keep-alive, default 300 s */
    usec_t write_stall;    /* client takes nothing for that long: closed; default 60 s */
    usec_t reply_timeout; /* whole reply, for a client that takes little at a time; default 900 s */
    int connections;      /* per server over TCP and TLS, default 2000 */
    int connections_per_address; /* default 400; an IPv6 /64 counts as one address */
    int unix_connections; /* default 1024; apart, so that the network cannot lock local programs out
                           */
};

struct http_options {
    int n_loops;                     /* 0: as many as cores, at least two */
    struct http_limits limits;       /* zero fields take their defaults */
    const struct http_route *routes; /* ends with a NULL prefix; must outlive the server */
    void *ctx;                       /* given to every handler */
    /* Asked for each request that came over TCP without TLS; false answers 403.  NULL: all may. */
    bool (*plain_allowed)(void *ctx);
    /* The same for those that came from another machine. */
    bool (*remote_allowed)(void *ctx);
    /* Paths for TLS; NULL: no TLS listeners possible. */
    const char *cert_path; /* PEM: key and certificate chain in one file */
};

MUST_CHECK struct error *http_server_new(struct arena *arena, const struct http_options *options,
                                         struct http_server **out);
/* Listens; 'address' "127.0.0.1", "::" (IPv4 too) ...; port 0 picks one, returned in *bound_port
 * (may be NULL). */
MUST_CHECK struct error *http_listen_tcp(struct arena *arena, struct http_server *server,
                                         const char *address, int port, bool tls, int *bound_port);
/* Replaces a socket nobody listens on any more; an error where somebody does.  Removed again by
 * http_server_free. */
MUST_CHECK struct error *http_listen_unix(struct arena *arena, struct http_server *server,
                                          const char *path, mode_t mode);
/* Reads the certificate again; connections made from now on use it.  On failure the old one stays.
 */
MUST_CHECK struct error *http_reload_certificate(struct arena *arena, struct http_server *server);
struct certificate_trust; /* certificate.h */
/* From now on new connections are asked for a certificate of the client; they may go without, or
 * have one that is not believed.  NULL: they are not asked.  Nothing happens where it is so
 * already; on failure all stays as it was. */
MUST_CHECK struct error *http_trust_clients(struct arena *arena, struct http_server *server,
                                            const struct certificate_trust *trust);
/*
 * Stops listening, lets replies in progress end for up to 'grace', closes everything, joins the
 * loops.  Requests and streams that others still hold stay valid, see a client that has gone, and
 * must still be answered or closed.  Not from a loop thread, and not at the same time as another
 * call with 'server'.
 */
void http_server_free(struct http_server *server, usec_t grace);

/* Runs fn on one of the server's loop threads, soon; before http_server_free returns at the latest.
 */
void http_post(struct http_server *server, void (*fn)(void *arg), void *arg);
/* The same after 'delay': for delayed answers.  Runs early when the server ends first. */
void http_post_after(struct http_server *server, usec_t delay, void (*fn)(void *arg), void *arg);
/*
 * Runs fn(arg) on a loop thread after 'delay', for long polls.  The handle is valid until it is
 * given to http_timer_cancel, once, which every timer needs: also one that has run, also from
 * within 'fn', also after http_server_free.  When the server ends first the timer does not run.
 */
struct http_timer;
struct http_timer *http_timer_start(struct http_server *server, usec_t delay, void (*fn)(void *arg),
                                    void *arg);
/* True if it will not run any more; false if it has run or is running. Either way the handle is
 * gone. */
bool http_timer_cancel(struct http_timer *timer);
