/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* count.c -- how many connections there are, in all and from each address; what each route is
 * asked. */
#include <stdlib.h>
#include <string.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "xapid/http/count.h"
#include "xapid/http/internal.h"

static struct http_address_count **address_find(struct http_server *server,
                                                const struct http_address *address)
{
    uint64_t hash = server->address_seed;
    struct http_address_count **at;

    for (size_t i = 0; i < sizeof address->bytes; i++)
        hash = (hash ^ address->bytes[i]) * UINT64_C(0x100000001b3);
    at = &server->addresses[(hash ^ hash >> 32) % HTTP_ADDRESS_BUCKETS];
    while (*at && memcmp((*at)->address.bytes, address->bytes, sizeof address->bytes) != 0)
        at = &(*at)->next;
    return at;
}

static bool address_in(struct http_server *server, const struct http_address *address)
{
    struct http_address_count **at = address_find(server, address);

    if (!*at) {
        *at = xcalloc(1, sizeof **at);
        (*at)->address = *address;
    }
    if ((*at)->n >= server->limits.connections_per_address)
        return false;
    (*at)->n++;
    return true;
}

/* True at most once in ten seconds: a flood of connections must not become a flood of log lines. */
static bool may_log(struct http_server *server)
{
    usec_t now = clock_mono();

    if (server->limit_logged && now < server->limit_logged + 10 * USEC_PER_SEC)
        return false;
    server->limit_logged = now;
    return true;
}

bool http_count_in(struct http_server *server, enum http_via via,
                   const struct http_address *address)
{
    bool taken, tell;

    mutex_lock(&server->mutex);
    if (via == VIA_UNIX) {
        taken = server->n_unix < server->limits.unix_connections;
        server->n_unix += taken;
    } else {
        taken = server->n_tcp < server->limits.connections && address_in(server, address);
        server->n_tcp += taken;
    }
    tell = !taken && may_log(server);
    mutex_unlock(&server->mutex);
    if (tell)
        log_warning("http: connections are refused: a limit on their number is reached");
    return taken;
}

void http_count_out(struct http_server *server, enum http_via via,
                    const struct http_address *address)
{
    struct http_address_count **at, *count;

    MUTEX_GUARD(&server->mutex);
    cond_broadcast(&server->cond);
    if (via == VIA_UNIX) {
        server->n_unix--;
        return;
    }
    server->n_tcp--;
    at = address_find(server, address);
    count = *at;
    if (count && --count->n == 0) {
        *at = count->next;
        free(count);
    }
}

/*** requests ***/

void http_count_request(struct http_conn *conn)
{
    struct http_server *server = conn->server;
    struct http_route_used *used;

    if (!conn->route)
        return; /* nobody takes such requests */
    used = &server->used[conn->route - server->all_routes];
    atomic_fetch_add(&used->requests, 1);
    if (!conn->keep_alive)
        atomic_fetch_add(&used->last, 1);
    if (conn->body_size)
        atomic_fetch_add(&used->bodies, 1);
}

static const char *const method_names[] = {
    [HTTP_M_GET] = "GET",         [HTTP_M_POST] = "POST",       [HTTP_M_PUT] = "PUT",
    [HTTP_M_OPTIONS] = "OPTIONS", [HTTP_M_CONNECT] = "CONNECT", [HTTP_M_HEAD] = "HEAD",
    [HTTP_M_OTHER] = "other",
};

size_t http_routes_used(struct arena *arena, struct http_server *server,
                        const struct http_route_count **out)
{
    struct http_route_count *v;
    size_t n = 0;

    while (server->all_routes[n].prefix)
        n++;
    v = arena_array(arena, struct http_route_count, n + 1);
    for (size_t i = 0; i < n; i++) {
        struct http_route_used *used = &server->used[i];

        v[i] = (struct http_route_count){method_names[server->all_routes[i].method],
                                         server->all_routes[i].prefix, used->requests, used->last,
                                         used->bodies};
    }
    *out = v;
    return n;
}
