/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* request.c -- looking things up in a request. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "xapid/http/internal.h"

static const char *pair_find(const struct http_pair *pairs, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(pairs[i].name, name) == 0)
            return pairs[i].value;
    return NULL;
}

const char *http_header(const struct http_request *request, const char *lower_name)
{
    return pair_find(request->headers, request->n_headers, lower_name);
}

const char *http_query(const struct http_request *request, const char *name)
{
    return pair_find(request->query, request->n_query, name);
}

/* The value of 'name' in one Cookie header, decoded into the arena. */
static const char *cookie_find(struct arena *arena, const char *text, const char *name)
{
    size_t name_size = strlen(name);

    while (*text) {
        size_t size;

        text += strspn(text, " \t;&");
        size = strcspn(text, ";&");
        if (size > name_size && text[name_size] == '=' && strncmp(text, name, name_size) == 0) {
            const char *value = text + name_size + 1;

            size -= name_size + 1;
            while (size && (value[size - 1] == ' ' || value[size - 1] == '\t'))
                size--;
            return http_decode(arena, value, size, false);
        }
        text += size;
    }
    return NULL;
}

const char *http_param(const struct http_request *request, const char *name)
{
    for (size_t i = 0; i < request->n_headers; i++) {
        const char *value;

        if (strcmp(request->headers[i].name, "cookie") != 0)
            continue;
        value = cookie_find(request->arena, request->headers[i].value, name);
        if (value)
            return value;
    }
    return http_query(request, name);
}

bool http_client_gone(const struct http_request *request)
{
    return request->conn->gone;
}

const char *http_local_address(const struct http_request *request)
{
    struct sockaddr_storage address = {0};
    socklen_t size = sizeof address;
    char text[INET6_ADDRSTRLEN] = "";

    if (getsockname(request->conn->fd, (struct sockaddr *)&address, &size) == 0)
        http_address_text(&address, text);
    return arena_strdup(request->arena, text);
}

bool http_client_hears(const struct http_request *request, usec_t since)
{
    struct http_conn *conn = request->conn;
    struct tcp_info info = {0};
    socklen_t size = sizeof info;
    int second = 1, count = 60;

    MUTEX_GUARD(&conn->server->mutex);
    if (conn->fd < 0 || conn->via == VIA_UNIX)
        return false;
    setsockopt(conn->fd, IPPROTO_TCP, TCP_KEEPIDLE, &second, sizeof second);
    setsockopt(conn->fd, IPPROTO_TCP, TCP_KEEPINTVL, &second, sizeof second);
    setsockopt(conn->fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
    return getsockopt(conn->fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 &&
           clock_mono() - (usec_t)info.tcpi_last_ack_recv * USEC_PER_MSEC > since;
}

void http_on_gone(struct http_request *request, void (*fn)(struct http_request *request, void *arg),
                  void *arg)
{
    request->conn->gone_fn = fn;
    request->conn->gone_arg = arg;
}
