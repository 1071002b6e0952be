/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* harness.h -- a server with handlers to try it with, and a client of its own over real sockets. */
#pragma once

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "xapid/http/certificate.h"
#include "xapid/http/http.h"

#define PATIENCE (20 * USEC_PER_SEC)

struct harness {
    struct arena arena;
    struct http_server *server;
    int port, tls_port;
    char dir[64], cert[96], path[96];

    struct mutex mutex; /* guards what follows */
    struct cond cond;
    struct http_request *waiting; /* of the handlers that answer late */
    int gone, started, released;
    int64_t produced; /* bytes of streamed bodies */
    struct thread worker;
    int worker_result;
};

/* --- the client --- */

struct client {
    int fd;
    SSL_CTX *ctx;
    SSL *ssl;
};

struct reply {
    int status;
    int64_t length; /* -1 without Content-Length */
    char head[8192];
    char *body; /* NUL terminated */
};

static inline void reply_release(struct reply *r)
{
    free(r->body);
    *r = (struct reply){0};
}

static inline struct client client_of_fd(int fd)
{
    struct timeval limit = {20, 0};

    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    return (struct client){.fd = fd};
}

static inline struct client client_tcp_window(int port, int window)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

    if (window)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &window, sizeof window);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    return client_of_fd(fd);
}

static inline struct client client_tcp(int port)
{
    return client_tcp_window(port, 0);
}

static inline struct client client_unix(const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    return client_of_fd(fd);
}

/* False when the handshake fails. */
static inline bool client_tls_try(int port, int max_version, const char *alpn, struct client *out)
{
    struct client c = client_tcp(port);
    bool done;

    c.ctx = SSL_CTX_new(TLS_client_method());
    if (max_version)
        SSL_CTX_set_max_proto_version(c.ctx, max_version);
    SSL_CTX_set_security_level(c.ctx, max_version && max_version < TLS1_2_VERSION ? 0 : 1);
    c.ssl = SSL_new(c.ctx);
    if (alpn)
        SSL_set_alpn_protos(c.ssl, (const unsigned char *)alpn, (unsigned)strlen(alpn));
    SSL_set_fd(c.ssl, c.fd);
    done = SSL_connect(c.ssl) == 1;
    *out = c;
    return done;
}

static inline struct client client_tls(int port)
{
    struct client c;

    assert_true(client_tls_try(port, 0, "\x08http/1.1", &c));
    return c;
}

static inline void client_close(struct client *c)
{
    if (c->ssl)
        SSL_shutdown(c->ssl);
    SSL_free(c->ssl);
    SSL_CTX_free(c->ctx);
    close(c->fd);
    *c = (struct client){.fd = -1};
}

/* As much as goes; the server may have closed. */
static inline bool client_try_send(struct client *c, const void *p, size_t n)
{
    const char *from = p;

    while (n) {
        ssize_t sent =
            c->ssl ? SSL_write(c->ssl, from, (int)n) : send(c->fd, from, n, MSG_NOSIGNAL);

        if (sent <= 0)
            return false;
        from += sent;
        n -= (size_t)sent;
    }
    return true;
}

static inline void client_send(struct client *c, const char *text)
{
    assert_true(client_try_send(c, text, strlen(text)));
}

/* Bytes read, 0 at the end or when the connection was reset; fails the test when nothing comes in
 * time. */
static inline size_t client_recv(struct client *c, void *out, size_t n)
{
    ssize_t got = c->ssl ? SSL_read(c->ssl, out, (int)n) : recv(c->fd, out, n, 0);

    if (got < 0 && !c->ssl)
        assert_int_equal(errno, ECONNRESET);
    return got > 0 ? (size_t)got : 0;
}

static inline bool client_read_exactly(struct client *c, char *out, size_t n)
{
    while (n) {
        size_t got = client_recv(c, out, n);

        if (!got)
            return false;
        out += got;
        n -= got;
    }
    return true;
}

static inline bool client_at_end(struct client *c)
{
    char byte;

    return client_recv(c, &byte, 1) == 0;
}

/* Reads a head, byte by byte so that nothing beyond is taken. */
static inline void client_read_head(struct client *c, struct reply *r)
{
    size_t n = 0;
    const char *length;

    *r = (struct reply){.length = -1};
    while (n < 4 || memcmp(r->head + n - 4, "\r\n\r\n", 4) != 0) {
        assert_true(n + 1 < sizeof r->head);
        assert_true(client_read_exactly(c, r->head + n, 1));
        r->head[++n] = '\0';
    }
    assert_int_equal(sscanf(r->head, "HTTP/1.1 %d", &r->status), 1);
    length = strstr(r->head, "\r\nContent-Length: ");
    if (length)
        r->length = atoll(length + 18);
}

static inline struct reply client_read(struct client *c)
{
    struct reply r;

    client_read_head(c, &r);
    assert_true(r.length >= 0);
    r.body = xcalloc(1, (size_t)r.length + 1);
    assert_true(client_read_exactly(c, r.body, (size_t)r.length));
    return r;
}

static inline void expect_reply(struct client *c, int status, const char *body)
{
    struct reply r = client_read(c);

    assert_int_equal(r.status, status);
    if (body)
        assert_string_equal(r.body, body);
    reply_release(&r);
}

static inline void ask(struct client *c, const char *request, int status, const char *body)
{
    client_send(c, request);
    expect_reply(c, status, body);
}

/* --- waiting for something another thread does --- */

#define AWAIT(h, condition)                                                                        \
    do {                                                                                           \
        usec_t await_end_ = clock_mono() + PATIENCE;                                               \
        bool await_met_ = true;                                                                    \
        mutex_lock(&(h)->mutex);                                                                   \
        while (!(condition) && await_met_)                                                         \
            await_met_ = cond_wait_until(&(h)->cond, &(h)->mutex, await_end_);                     \
        mutex_unlock(&(h)->mutex);                                                                 \
        assert_true(await_met_);                                                                   \
    } while (0)

static inline void harness_set(struct harness *h, int *field, int value)
{
    MUTEX_GUARD(&h->mutex);
    *field = value;
    cond_broadcast(&h->cond);
}

/* --- handlers --- */

static inline void reply_text(struct http_request *request, const char *text)
{
    http_reply(request, &(struct http_response){.status = 200,
                                                .content_type = "text/plain",
                                                .data = text,
                                                .size = strlen(text)});
}

static inline void on_hello(struct http_request *request, void *ctx)
{
    (void)ctx;
    reply_text(request, "hello");
}

static inline void on_path(struct http_request *request, void *ctx)
{
    const char *value = http_param(request, "name");

    (void)ctx;
    reply_text(request, arena_printf(request->arena, "%s|%s", request->path, value ? value : "-"));
}

static inline void on_echo(struct http_request *request, void *ctx)
{
    (void)ctx;
    assert(strlen(request->body) == request->body_size);
    reply_text(request, request->body);
}

static inline void on_denied(struct http_request *request, void *ctx)
{
    (void)ctx;
    http_error_with(request, 401, "<who?>\"&", 2,
                    (struct http_pair[]){{"WWW-Authenticate", "Basic realm=\"x\""},
                                         {"X-Split", "a\r\nInjected: b"}});
}

static inline void waiter_gone(struct http_request *request, void *arg)
{
    struct harness *h = arg;
    bool mine;

    mutex_lock(&h->mutex);
    h->gone++;
    mine = h->waiting == request;
    if (mine)
        h->waiting = NULL;
    cond_broadcast(&h->cond);
    mutex_unlock(&h->mutex);
    if (mine)
        http_error(request, 503, NULL);
}

/* A long poll: answered by whoever takes 'waiting', or when its client goes. */
static inline void on_poll_handler(struct http_request *request, void *ctx)
{
    struct harness *h = ctx;

    http_on_gone(request, waiter_gone, h);
    mutex_lock(&h->mutex);
    h->waiting = request;
    cond_broadcast(&h->cond);
    mutex_unlock(&h->mutex);
}

/* The same without asking to be told. */
static inline void on_hold(struct http_request *request, void *ctx)
{
    struct harness *h = ctx;

    mutex_lock(&h->mutex);
    h->waiting = request;
    cond_broadcast(&h->cond);
    mutex_unlock(&h->mutex);
}

static inline struct http_request *take_waiting(struct harness *h)
{
    struct http_request *request;

    AWAIT(h, h->waiting);
    mutex_lock(&h->mutex);
    request = h->waiting;
    h->waiting = NULL;
    mutex_unlock(&h->mutex);
    return request;
}

struct pattern {
    struct http_body body;
    struct harness *h;
    int64_t made;
};

static inline char pattern_at(int64_t at)
{
    return (char)('a' + at % 23);
}

static inline bool pattern_next(struct http_body *body, struct buf *out, size_t want)
{
    struct pattern *p = container_of(body, struct pattern, body);
    size_t n = (size_t)MIN((int64_t)want, body->size - p->made);

    for (size_t i = 0; i < n; i++)
        buf_putc(out, pattern_at(p->made++));
    mutex_lock(&p->h->mutex);
    p->h->produced += (int64_t)n;
    cond_broadcast(&p->h->cond);
    mutex_unlock(&p->h->mutex);
    return p->made < body->size;
}

static inline void pattern_release(struct http_body *body)
{
    struct pattern *p = container_of(body, struct pattern, body);
    struct harness *h = p->h;

    free(p);
    mutex_lock(&h->mutex);
    h->released++;
    cond_broadcast(&h->cond);
    mutex_unlock(&h->mutex);
}

static inline void on_big(struct http_request *request, void *ctx)
{
    struct pattern *p = xcalloc(1, sizeof *p);

    p->h = ctx;
    p->body = (struct http_body){.size = atoll(http_query(request, "size")),
                                 .next = pattern_next,
                                 .release = pattern_release};
    http_reply(request, &(struct http_response){.status = 200, .body = &p->body});
}

static inline bool short_next(struct http_body *body, struct buf *out, size_t want)
{
    (void)body;
    (void)want;
    buf_puts(out, "too little");
    return false;
}

static inline void on_short(struct http_request *request, void *ctx)
{
    struct pattern *p = xcalloc(1, sizeof *p);

    p->h = ctx;
    p->body = (struct http_body){.size = 1000, .next = short_next, .release = pattern_release};
    http_reply(request, &(struct http_response){.status = 200, .body = &p->body});
}

/* Echoes a taken-over connection until "." comes or the client goes. */
static inline void *echo_worker(void *arg)
{
    struct harness *h = arg;
    struct http_request *request;
    struct http_stream *s;
    char block[4096];
    ssize_t n = 0;
    bool more = true;

    mutex_lock(&h->mutex);
    while (!h->waiting)
        cond_wait(&h->cond, &h->mutex);
    request = h->waiting;
    h->waiting = NULL;
    mutex_unlock(&h->mutex);
    s = http_take_over(request);
    more = http_stream_continue(s) && http_stream_start(s, 200, -1, 0, NULL);
    while (more && http_stream_wait(s, -1, NULL, PATIENCE) &&
           (n = http_stream_read(s, block, sizeof block, PATIENCE)) > 0) {
        more = http_stream_write(s, block, (size_t)n, PATIENCE);
        if (memchr(block, '.', (size_t)n))
            break;
    }
    http_stream_close(s);
    harness_set(h, &h->worker_result, n > 0 ? 1 : n == 0 ? 2 : 3);
    return NULL;
}

static inline const struct http_route *harness_routes(void)
{
    static const struct http_route routes[] = {
        {HTTP_M_GET, "/", on_path, 0},
        {HTTP_M_GET, "/hello", on_hello, 100},
        {HTTP_M_GET, "/denied", on_denied, 0},
        {HTTP_M_GET, "/poll", on_poll_handler, 0},
        {HTTP_M_GET, "/hold", on_hold, 0},
        {HTTP_M_GET, "/big", on_big, 0},
        {HTTP_M_GET, "/short", on_short, 0},
        {HTTP_M_POST, "/echo", on_echo, 300 * 1024},
        {HTTP_M_POST, "/echo/small", on_echo, 10},
        {HTTP_M_CONNECT, "/stream", on_hold, -1},
        {HTTP_M_PUT, "/stream", on_hold, -1},
        {HTTP_M_PUT, "/refused", on_denied, -1},
        {0, NULL, NULL, 0},
    };

    return routes;
}

static inline struct harness *harness_new(struct http_limits limits, int n_loops)
{
    struct harness *h = xcalloc(1, sizeof *h);
    struct http_options options = {
        .n_loops = n_loops, .limits = limits, .routes = harness_routes(), .ctx = h};

    signal(SIGPIPE, SIG_IGN); /* for the client's TLS; the server does not need it */
    mutex_init(&h->mutex);
    cond_init(&h->cond);
    snprintf(h->dir, sizeof h->dir, "/tmp/xapid-http-XXXXXX");
    assert_non_null(mkdtemp(h->dir));
    snprintf(h->cert, sizeof h->cert, "%s/cert.pem", h->dir);
    snprintf(h->path, sizeof h->path, "%s/socket", h->dir);
    assert_null(certificate_ensure(&h->arena, h->cert, "test"));
    options.cert_path = h->cert;
    assert_null(http_server_new(&h->arena, &options, &h->server));
    assert_null(http_listen_tcp(&h->arena, h->server, "127.0.0.1", 0, false, &h->port));
    assert_null(http_listen_tcp(&h->arena, h->server, "127.0.0.1", 0, true, &h->tls_port));
    assert_null(http_listen_unix(&h->arena, h->server, h->path, 0600));
    return h;
}

static inline void harness_free(struct harness *h)
{
    http_server_free(h->server, 5 * USEC_PER_SEC);
    thread_join(&h->worker);
    unlink(h->cert);
    assert_int_equal(access(h->path, F_OK), -1);
    assert_int_equal(rmdir(h->dir), 0);
    cond_release(&h->cond);
    mutex_release(&h->mutex);
    arena_release(&h->arena);
    free(h);
}
