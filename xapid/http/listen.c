/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * listen.c -- listening sockets.
 *
 * Each belongs to one loop, which accepts and hands the connections out to all loops in turn.  (One
 * socket per loop with SO_REUSEPORT would spread them by a hash of the address: a few busy clients
 * would often meet on one loop.)
 */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "xapid/http/internal.h"

#define BACKLOG 1024
#define ACCEPTS_PER_TURN 32
/* After a failure that would come again at once, such as having no descriptors left. */
#define ACCEPT_PAUSE (100 * USEC_PER_MSEC)

void http_address_text(const struct sockaddr_storage *address, char out[INET6_ADDRSTRLEN])
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;

    out[0] = '\0';
    if (address->ss_family == AF_INET)
        inet_ntop(AF_INET, &v4->sin_addr, out, INET6_ADDRSTRLEN);
    else if (address->ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr))
        inet_ntop(AF_INET, &v6->sin6_addr.s6_addr[12], out, INET6_ADDRSTRLEN);
    else if (address->ss_family == AF_INET6)
        inet_ntop(AF_INET6, &v6->sin6_addr, out, INET6_ADDRSTRLEN);
}

/* As the limit counts it: an IPv4 address, or the network of an IPv6 one. */
static void count_as(const struct sockaddr_storage *from, struct http_address *address)
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)from;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)from;

    memset(address, 0, sizeof *address);
    if (from->ss_family == AF_INET) {
        memcpy(address->bytes + 12, &v4->sin_addr, 4);
    } else if (from->ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) {
        memcpy(address->bytes + 12, &v6->sin6_addr.s6_addr[12], 4);
    } else if (from->ss_family == AF_INET6) {
        memcpy(address->bytes, &v6->sin6_addr, 8);
        address->bytes[15] = 1; /* apart from IPv4 and from nothing */
    }
}

static void refuse_busy(int fd, enum http_via via)
{
    static const char reply[] = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n"
                                "Connection: close\r\n\r\n";

    if (via != VIA_TLS && send(fd, reply, sizeof reply - 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        log_debug("http: a refused client could not be told");
    close(fd);
}

void http_tcp_settings(int fd)
{
    int on = 1, idle = 60, interval = 15, count = 4;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
}

static void accepted(struct http_listener *listener, int fd, const struct sockaddr_storage *from)
{
    char peer[INET6_ADDRSTRLEN];
    struct http_address address;

    http_address_text(from, peer);
    count_as(from, &address);
    if (!http_count_in(listener->server, listener->via, &address)) {
        refuse_busy(fd, listener->via);
        return;
    }
    if (listener->via != VIA_UNIX)
        http_tcp_settings(fd);
    http_conn_new(http_server_loop(listener->server), fd, listener->via, peer, &address);
}

static void on_connection(uv_poll_t *poll, int status, int events)
{
    struct http_listener *listener = poll->data;

    (void)events;
    if (status < 0) {
        loop_timer_set(listener->home->loop, &listener->pause, clock_mono() + ACCEPT_PAUSE);
        return;
    }
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        struct sockaddr_storage from = {0};
        socklen_t size = sizeof from;
        int fd =
            accept4(listener->fd, (struct sockaddr *)&from, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd >= 0) {
            accepted(listener, fd, &from);
            continue;
        }
        if (errno == EINTR || errno == ECONNABORTED)
            continue;
        if (errno != EAGAIN && errno != EWOULDBLOCK) {
            log_warning("http: cannot accept a connection: %s", strerror(errno));
            uv_poll_stop(&listener->poll);
            loop_timer_set(listener->home->loop, &listener->pause, clock_mono() + ACCEPT_PAUSE);
        }
        return;
    }
}

static void on_pause_over(struct loop_timer *timer)
{
    struct http_listener *listener = container_of(timer, struct http_listener, pause);

    if (!uv_is_closing((uv_handle_t *)&listener->poll))
        uv_poll_start(&listener->poll, UV_READABLE, on_connection);
}

static void on_listener_closed(uv_handle_t *handle)
{
    struct http_listener *listener = handle->data;

    mutex_lock(&listener->server->mutex);
    listener->closed = true;
    cond_broadcast(&listener->server->cond);
    mutex_unlock(&listener->server->mutex);
}

static void listener_open(void *arg)
{
    struct http_listener *listener = arg;

    uv_poll_init(loop_uv(listener->home->loop), &listener->poll, listener->fd);
    listener->poll.data = listener;
    uv_poll_start(&listener->poll, UV_READABLE, on_connection);
}

static void listener_shut(void *arg)
{
    struct http_listener *listener = arg;

    loop_timer_stop(listener->home->loop, &listener->pause);
    uv_close((uv_handle_t *)&listener->poll, on_listener_closed);
}

static void listener_free(struct http_listener *listener)
{
    struct stat st;

    close(listener->fd);
    if (listener->path && lstat(listener->path, &st) == 0 && st.st_dev == listener->dev &&
        st.st_ino == listener->ino)
        unlink(listener->path);
    free(listener->path);
    free(listener);
}

void http_listeners_close(struct http_server *server)
{
    struct http_listener *listener;

    mutex_lock(&server->mutex);
    listener = server->listeners;
    server->listeners = NULL;
    mutex_unlock(&server->mutex);
    while (listener) {
        struct http_listener *next = listener->next;

        loop_post(listener->home->loop, listener_shut, listener);
        mutex_lock(&server->mutex);
        while (!listener->closed)
            cond_wait(&server->cond, &server->mutex);
        mutex_unlock(&server->mutex);
        listener_free(listener);
        listener = next;
    }
}

static struct http_listener *listener_new(struct http_server *server, int fd, enum http_via via)
{
    struct http_listener *listener = xcalloc(1, sizeof *listener);

    listener->server = server;
    listener->home = http_server_loop(server);
    listener->fd = fd;
    listener->via = via;
    listener->pause.fn = on_pause_over;
    return listener;
}

static void listener_begin(struct http_listener *listener)
{
    struct http_server *server = listener->server;

    mutex_lock(&server->mutex);
    listener->next = server->listeners;
    server->listeners = listener;
    mutex_unlock(&server->mutex);
    loop_post(listener->home->loop, listener_open, listener);
}

static int bound_port_of(int fd)
{
    struct sockaddr_storage at = {0};
    socklen_t size = sizeof at;

    if (getsockname(fd, (struct sockaddr *)&at, &size) < 0)
        return 0;
    return ntohs(at.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&at)->sin6_port
                                          : ((struct sockaddr_in *)&at)->sin_port);
}

/* A listening socket, or -1 with errno. */
static int tcp_socket(const struct addrinfo *at)
{
    int fd = socket(at->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1, off = 0, saved;

    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (at->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (bind(fd, at->ai_addr, at->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

struct error *http_tcp_listen(struct arena *arena, const char *address, int port, int *out,
                              int *bound_port)
{
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
                             .ai_socktype = SOCK_STREAM};
    struct addrinfo *at = NULL;
    char service[16];
    int fd, rc;

    snprintf(service, sizeof service, "%d", port);
    rc = getaddrinfo(address, service, &hints, &at);
    if (rc)
        return error_internal(arena, "cannot listen on %s: %s", address, gai_strerror(rc));
    fd = tcp_socket(at);
    freeaddrinfo(at);
    if (fd < 0)
        return error_internal(arena, "cannot listen on %s port %d: %s", address, port,
                              strerror(errno));
    if (bound_port)
        *bound_port = bound_port_of(fd);
    *out = fd;
    return OK;
}

struct error *http_listen_tcp(struct arena *arena, struct http_server *server, const char *address,
                              int port, bool tls, int *bound_port)
{
    int fd;

    if (tls && !server->cert_path)
        return error_internal(arena, "cannot listen with TLS: no certificate was given");
    TRY(http_tcp_listen(arena, address, port, &fd, bound_port));
    listener_begin(listener_new(server, fd, tls ? VIA_TLS : VIA_TCP));
    return OK;
}

/* True when nobody listens at 'path', and whatever is there is a socket that may be replaced. */
static bool path_is_free(const struct sockaddr_un *at)
{
    struct stat st;
    bool free_path;
    int fd;

    if (lstat(at->sun_path, &st) < 0)
        return errno == ENOENT;
    errno = EEXIST;
    if (!S_ISSOCK(st.st_mode))
        return false;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return false;
    free_path = connect(fd, (const struct sockaddr *)at, sizeof *at) < 0 &&
                (errno == ECONNREFUSED || errno == ENOENT);
    close(fd);
    errno = EADDRINUSE;
    return free_path;
}

/*
 * Binds beside the path and renames: so the socket has its mode before anybody can reach it, and a
 * path that a killed daemon left behind is replaced in one step.
 */
static int unix_socket(const struct sockaddr_un *at, mode_t mode, struct stat *st)
{
    struct sockaddr_un beside = *at;
    int fd, saved;

    strcat(beside.sun_path, ".new");
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    unlink(beside.sun_path);
    if (bind(fd, (struct sockaddr *)&beside, sizeof beside) == 0 &&
        chmod(beside.sun_path, mode) == 0 && listen(fd, BACKLOG) == 0 &&
        lstat(beside.sun_path, st) == 0 && rename(beside.sun_path, at->sun_path) == 0)
        return fd;
    saved = errno;
    unlink(beside.sun_path);
    close(fd);
    errno = saved;
    return -1;
}

struct error *http_listen_unix(struct arena *arena, struct http_server *server, const char *path,
                               mode_t mode)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    struct http_listener *listener;
    struct stat st;
    int fd;

    if (strlen(path) + sizeof ".new" > sizeof at.sun_path)
        return error_internal(arena, "the path of the socket is too long: %s", path);
    memcpy(at.sun_path, path, strlen(path) + 1);
    if (!path_is_free(&at))
        return error_internal(arena, "cannot listen on %s: %s", path, strerror(errno));
    fd = unix_socket(&at, mode, &st);
    if (fd < 0)
        return error_internal(arena, "cannot listen on %s: %s", path, strerror(errno));
    listener = listener_new(server, fd, VIA_UNIX);
    listener->path = xstrdup(path);
    listener->dev = st.st_dev;
    listener->ino = st.st_ino;
    listener_begin(listener);
    return OK;
}
