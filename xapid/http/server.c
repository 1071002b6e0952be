/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* server.c -- a server's beginning, its routes and its end. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "libxapi/base/memory.h"
#include "xapid/http/internal.h"

#define LARGEST_HEAD ((size_t)64 << 10)
#define MOST_LOOPS 64

static struct http_limits limits_complete(struct http_limits l)
{
    l.header_bytes = l.header_bytes ? MIN(l.header_bytes, LARGEST_HEAD) : 16384;
    l.header_timeout = l.header_timeout ? l.header_timeout : 60 * USEC_PER_SEC;
    l.read_timeout = l.read_timeout ? l.read_timeout : 10 * USEC_PER_SEC;
    l.body_timeout = l.body_timeout ? l.body_timeout : 120 * USEC_PER_SEC;
    l.idle_timeout = l.idle_timeout ? l.idle_timeout : 300 * USEC_PER_SEC;
    l.write_stall = l.write_stall ? l.write_stall : 60 * USEC_PER_SEC;
    l.reply_timeout = l.reply_timeout ? l.reply_timeout : 900 * USEC_PER_SEC;
    l.connections = l.connections ? l.connections : 2000;
    l.connections_per_address = l.connections_per_address ? l.connections_per_address : 400;
    l.unix_connections = l.unix_connections ? l.unix_connections : 1024;
    return l;
}

static int longest_first(const void *a, const void *b)
{
    const struct http_route *const *x = a, *const *y = b;
    size_t n = strlen((*x)->prefix), m = strlen((*y)->prefix);

    return n < m ? 1 : n > m ? -1 : 0;
}

static void routes_sort(struct http_server *server, const struct http_route *routes)
{
    const struct http_route *r;

    for (r = routes; r->prefix; r++) {
        struct http_routes *list = &server->routes[r->method];

        list->routes = xrealloc(list->routes, (list->n + 1) * sizeof list->routes[0]);
        list->routes[list->n++] = r;
    }
    server->all_routes = routes;
    server->used = xcalloc((size_t)(r - routes) + 1, sizeof *server->used);
    for (int m = 0; m <= HTTP_M_OTHER; m++)
        if (server->routes[m].n)
            qsort(server->routes[m].routes, server->routes[m].n, sizeof server->routes[m].routes[0],
                  longest_first);
}

static const struct http_route *route_in(const struct http_routes *list, const char *path)
{
    for (size_t i = 0; i < list->n; i++)
        if (strncmp(path, list->routes[i]->prefix, strlen(list->routes[i]->prefix)) == 0)
            return list->routes[i];
    return NULL;
}

const struct http_route *http_route_find(const struct http_server *server, enum http_method method,
                                         const char *path, int *status)
{
    const struct http_routes *list = &server->routes[method], *get = &server->routes[HTTP_M_GET];
    const struct http_route *route = route_in(list, path);
    bool known = list->n > 0;

    if (!route && method == HTTP_M_HEAD) {
        route = route_in(get, path);
        known |= get->n > 0;
    }
    *status = known ? 403 : 501;
    return route;
}

struct http_server *http_server_ref(struct http_server *server)
{
    server->refs++;
    return server;
}

static void trust_free(struct certificate_trust *trust)
{
    free((char *)trust->authorities);
    free((char *)trust->revoked);
    free((char *)trust->name);
}

void http_server_unref(struct http_server *server)
{
    if (--server->refs > 0)
        return;
    for (int i = 0; i < server->n_loops; i++) {
        loop_unref(server->loops[i].loop);
        free(server->loops[i].scratch);
    }
    for (int m = 0; m <= HTTP_M_OTHER; m++)
        free(server->routes[m].routes);
    free(server->used);
    SSL_CTX_free(server->tls);
    trust_free(&server->trust);
    BIO_meth_free(server->bio);
    cond_release(&server->cond);
    mutex_release(&server->mutex);
    mutex_release(&server->loading);
    free(server->loops);
    free(server->cert_path);
    free(server);
}

struct http_loop *http_server_loop(struct http_server *server)
{
    return &server->loops[server->next_loop++ % (unsigned)server->n_loops];
}

static struct error *loops_start(struct arena *arena, struct http_server *server, int n)
{
    if (n <= 0)
        n = MAX((int)sysconf(_SC_NPROCESSORS_ONLN), 2);
    n = MIN(n, MOST_LOOPS);
    server->loops = xcalloc((size_t)n, sizeof server->loops[0]);
    for (int i = 0; i < n; i++) {
        struct http_loop *l = &server->loops[i];
        char name[32];

        snprintf(name, sizeof name, "http-%d", i);
        TRY(loop_new(arena, name, &l->loop));
        l->server = server;
        l->scratch = xmalloc(HTTP_SLICE);
        server->n_loops++;
    }
    return OK;
}

static void loops_stop(struct http_server *server)
{
    for (int i = 0; i < server->n_loops; i++)
        loop_stop(server->loops[i].loop);
}

static struct error *server_start(struct arena *arena, struct http_server *server,
                                  const struct http_options *options)
{
    if (options->cert_path) {
        server->cert_path = xstrdup(options->cert_path);
        TRY(http_tls_load(arena, server->cert_path, NULL, &server->tls));
    }
    return loops_start(arena, server, options->n_loops);
}

struct error *http_server_new(struct arena *arena, const struct http_options *options,
                              struct http_server **out)
{
    struct http_server *server = xcalloc(1, sizeof *server);
    struct error *e;

    server->refs = 1;
    server->limits = limits_complete(options->limits);
    server->ctx = options->ctx;
    server->plain_allowed = options->plain_allowed;
    server->remote_allowed = options->remote_allowed;
    server->address_seed = random_u64();
    server->bio = http_tls_bio_method();
    mutex_init(&server->mutex);
    mutex_init(&server->loading);
    cond_init(&server->cond);
    routes_sort(server, options->routes);
    e = server_start(arena, server, options);
    if (e) {
        loops_stop(server);
        http_server_unref(server);
        return e;
    }
    *out = server;
    return OK;
}

/* Loads certificate and key anew, with that trust. */
static struct error *load_anew(struct arena *arena, struct http_server *server,
                               const struct certificate_trust *trust)
{
    SSL_CTX *fresh, *old;

    TRY(http_tls_load(arena, server->cert_path, trust->name ? trust : NULL, &fresh));
    mutex_lock(&server->mutex);
    old = server->tls;
    server->tls = fresh;
    mutex_unlock(&server->mutex);
    /* Connections that use it keep it. */
    SSL_CTX_free(old);
    return OK;
}

struct error *http_reload_certificate(struct arena *arena, struct http_server *server)
{
    if (!server->cert_path)
        return error_internal(arena, "the server has no certificate");
    MUTEX_GUARD(&server->loading);
    return load_anew(arena, server, &server->trust);
}

static bool same_text(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "") == 0;
}

static bool same_trust(const struct certificate_trust *a, const struct certificate_trust *b)
{
    return same_text(a->name, b->name) && same_text(a->authorities, b->authorities) &&
           same_text(a->revoked, b->revoked);
}

struct error *http_trust_clients(struct arena *arena, struct http_server *server,
                                 const struct certificate_trust *trust)
{
    static const struct certificate_trust nobody = {0};
    struct certificate_trust copy = {0};
    struct error *e;

    if (!server->cert_path)
        return OK;
    MUTEX_GUARD(&server->loading);
    if (same_trust(trust ? trust : &nobody, &server->trust))
        return OK;
    if (trust)
        copy = (struct certificate_trust){.authorities = xstrdup(trust->authorities),
                                          .revoked = xstrdup(trust->revoked),
                                          .name = xstrdup(trust->name)};
    e = load_anew(arena, server, &copy);
    if (!e) {
        struct certificate_trust old = server->trust;

        server->trust = copy;
        copy = old;
    }
    trust_free(&copy);
    return e;
}

static void close_idle(void *arg)
{
    struct http_loop *l = arg;
    struct http_conn *next;

    for (struct http_conn *conn = l->conns; conn; conn = next) {
        next = conn->next;
        if (conn->state == CONN_HEAD && conn->in.len == 0)
            http_io_shutdown(conn->fd, conn->ssl);
        if (conn->state == CONN_HANDSHAKE || conn->state == CONN_LINGER ||
            (conn->state == CONN_HEAD && conn->in.len == 0))
            http_conn_close(conn);
    }
}

/* Closing one may have a long poll answered, and with it others change: the list is begun anew each
 * time. */
static void close_all(void *arg)
{
    struct http_loop *l = arg;

    while (l->conns)
        http_conn_close(l->conns);
}

static void on_all_loops(struct http_server *server, void (*fn)(void *arg))
{
    for (int i = 0; i < server->n_loops; i++)
        loop_post(server->loops[i].loop, fn, &server->loops[i]);
}

static void wait_for_replies(struct http_server *server, usec_t grace)
{
    usec_t deadline = clock_mono() + grace;

    MUTEX_GUARD(&server->mutex);
    while (server->n_tcp + server->n_unix > 0)
        if (!cond_wait_until(&server->cond, &server->mutex, deadline))
            return;
}

/* Workers that wait for a client on a stream find that it has gone. */
static void streams_cut(struct http_server *server)
{
    MUTEX_GUARD(&server->mutex);
    for (struct http_stream *s = server->streams; s; s = s->next)
        shutdown(s->conn->fd, SHUT_RDWR);
}

void http_server_free(struct http_server *server, usec_t grace)
{
    if (!server)
        return;
    http_listeners_close(server);
    server->draining = true;
    on_all_loops(server, close_idle);
    if (grace > 0)
        wait_for_replies(server, grace);
    on_all_loops(server, close_all);
    loops_stop(server);
    streams_cut(server);
    http_server_unref(server);
}
