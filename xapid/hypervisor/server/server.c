/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * server.c -- the socket and its connections: hello, frames in, frames out.
 *
 * A connection that does not read is slowed (nothing more is read from it) and in the end closed;
 * changes it could not be told are summed up as "anything may have changed".
 */
#include "xapid/hypervisor/server/server.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"

#define READ_SIZE ((size_t)64 * 1024)
#define OUT_SLOW ((size_t)1024 * 1024) /* beyond it no requests are read and no changes pushed */
#define OUT_MAX ((size_t)128 * 1024 * 1024) /* beyond it the connection is closed */

struct connection {
    struct connection *prev, *next;
    struct server *server;
    struct source source;
    uint64_t number;
    bool greeted, watching, missed, closing;
    struct buf in, out;
};

static void put(json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value) < 0)
        abort(); /* out of memory */
}

static struct connection *find(struct server *server, uint64_t number)
{
    struct connection *c = server->connections;

    while (c && c->number != number)
        c = c->next;
    return c;
}

static void close_connection(struct connection *c)
{
    struct server *server = c->server;
    int fd = c->source.fd;

    requests_orphan(server, c->number);
    source_remove(&c->source);
    close(fd);
    if (c->prev)
        c->prev->next = c->next;
    else
        server->connections = c->next;
    if (c->next)
        c->next->prev = c->prev;
    server->n_connections--;
    buf_release(&c->in);
    buf_release(&c->out);
    free(c);
}

static void push_now(struct connection *c, const char *uuid)
{
    json_t *m = json_object();

    put(m, "changed", json_string(uuid));
    if (!frame_append(&c->out, m, PROTOCOL_REPLY_MAX))
        abort(); /* it is fifty bytes */
    json_decref(m);
}

/* Writes what the socket takes; false if the connection is lost. */
static bool flush(struct connection *c)
{
    size_t done = 0;

    while (done < c->out.len) {
        ssize_t n = send(c->source.fd, c->out.data + done, c->out.len - done, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN)
            return false;
        if (n < 0)
            break;
        done += (size_t)n;
    }
    if (done) {
        memmove(c->out.data, c->out.data + done, c->out.len - done + 1);
        c->out.len -= done;
    }
    if (c->missed && c->out.len < OUT_SLOW) {
        c->missed = false;
        push_now(c, "");
    }
    return c->out.len <= OUT_MAX;
}

/* Arranges what to wait for.  Never frees: callers hold pointers. */
static void settle(struct connection *c)
{
    if (!flush(c))
        c->closing = true;
    /* A connection to be closed reports itself as writable at once, and is closed from the loop. */
    if (c->closing)
        source_want(&c->source, EPOLLOUT);
    else
        source_want(&c->source,
                    (c->out.len < OUT_SLOW ? EPOLLIN : 0u) | (c->out.len ? EPOLLOUT : 0u));
}

void server_answer(struct server *server, uint64_t connection, uint64_t serial, json_t *error,
                   json_t *result)
{
    struct connection *c = find(server, connection);
    json_t *m;

    if (!c)
        return;
    m = json_object();
    put(m, "serial", json_integer((json_int_t)serial));
    if (error)
        put(m, "error", json_incref(error));
    else
        put(m, "result", result ? json_incref(result) : json_object());
    if (!frame_append(&c->out, m, PROTOCOL_REPLY_MAX)) {
        log_error("an answer is larger than the protocol allows: closing the connection");
        c->closing = true;
    }
    json_decref(m);
    settle(c);
}

void server_push(struct server *server, const char *uuid)
{
    for (struct connection *c = server->connections; c; c = c->next) {
        if (!c->watching || c->closing)
            continue;
        if (c->out.len >= OUT_SLOW)
            c->missed = true;
        else
            push_now(c, uuid);
        settle(c);
    }
}

void server_watch(struct server *server, uint64_t connection)
{
    struct connection *c = find(server, connection);

    if (c)
        c->watching = true;
}

void server_drop(struct server *server, uint64_t connection)
{
    struct connection *c = find(server, connection);

    if (!c)
        return;
    c->out.len = 0;
    c->missed = false;
    c->closing = true;
    source_want(&c->source, EPOLLOUT);
}

void server_drop_others(struct server *server, uint64_t connection)
{
    for (struct connection *c = server->connections; c; c = c->next)
        if (c->number != connection)
            server_drop(server, c->number);
}

static void greet(struct connection *c, const json_t *hello)
{
    const char *name = json_string_value(json_object_get(hello, "hello"));
    int64_t oldest = json_integer_value(json_object_get(hello, "oldest"));
    int64_t newest = json_integer_value(json_object_get(hello, "newest"));
    json_t *answer = json_object();

    put(answer, "hello", json_string(PROTOCOL_NAME));
    c->greeted = name && strcmp(name, PROTOCOL_NAME) == 0 && oldest <= PROTOCOL_NEWEST &&
                 newest >= PROTOCOL_OLDEST && oldest > 0;
    if (c->greeted) {
        put(answer, "version", json_integer(MIN(newest, PROTOCOL_NEWEST)));
        put(answer, "instance", json_string(c->server->instance));
        put(answer, "hypervisor", json_string(c->server->program->hypervisor));
    } else {
        put(answer, "refused", json_string("this speaks " PROTOCOL_NAME " version 1"));
        c->closing = true;
    }
    if (!frame_append(&c->out, answer, PROTOCOL_HELLO_MAX))
        abort(); /* it is two hundred bytes */
    json_decref(answer);
}

/* Takes the first message out of the input; false when there is none. */
static bool handle_one(struct connection *c)
{
    size_t limit = c->greeted ? PROTOCOL_REQUEST_MAX : PROTOCOL_HELLO_MAX;
    const char *why = NULL;
    json_t *message;
    size_t used;

    switch (frame_take(c->in.data, c->in.len, limit, &used, &message, &why)) {
    case FRAME_MORE:
        return false;
    case FRAME_BAD:
        log_warning("closing a connection: %s", why);
        c->closing = true;
        return false;
    case FRAME_READY:
        break;
    }
    memmove(c->in.data, c->in.data + used, c->in.len - used + 1);
    c->in.len -= used;
    if (!c->greeted)
        greet(c, message);
    else if (!request_arrived(c->server, c->number, message))
        c->closing = true;
    json_decref(message);
    return !c->closing;
}

static bool fill(struct connection *c)
{
    ssize_t n;

    buf_reserve(&c->in, READ_SIZE);
    n = recv(c->source.fd, c->in.data + c->in.len, READ_SIZE - 1, 0);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    c->in.len += (size_t)n;
    c->in.data[c->in.len] = '\0';
    return n > 0;
}

static void connection_ready(struct source *source, uint32_t events)
{
    struct connection *c = container_of(source, struct connection, source);

    if (!c->closing && (events & (EPOLLIN | EPOLLHUP | EPOLLERR))) {
        if (!fill(c))
            c->closing = true;
        while (!c->closing && handle_one(c))
            ;
    }
    if (!flush(c))
        c->closing = true;
    if (c->closing)
        close_connection(c);
    else
        settle(c);
}

/* Only root and the user it runs as may drive a hypervisor. */
static bool welcome(int fd)
{
    struct ucred peer;
    socklen_t size = sizeof peer;

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
           (peer.uid == 0 || peer.uid == geteuid());
}

static void listener_ready(struct source *source, uint32_t events)
{
    struct server *server = container_of(source, struct server, listener);
    struct connection *c;
    int fd = accept4(source->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    (void)events;
    if (fd < 0)
        return;
    c = xcalloc(1, sizeof *c);
    if (!welcome(fd) || server->n_connections >= CONNECTIONS_MAX ||
        !source_add(server->loop, &c->source, fd, EPOLLIN, connection_ready)) {
        close(fd);
        free(c);
        return;
    }
    c->server = server;
    c->number = ++server->last_connection;
    c->next = server->connections;
    if (c->next)
        c->next->prev = c;
    server->connections = c;
    server->n_connections++;
}

bool server_listen(struct server *server)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    const char *path = server->socket_path;
    mode_t mask;
    int fd;
    int rc;

    if (strlen(path) >= sizeof addr.sun_path) {
        log_error("%s: the socket's path is too long", path);
        return false;
    }
    memcpy(addr.sun_path, path, strlen(path));
    /* The caller holds the lock of the directory: a socket found there is of a process that is
     * gone. */
    unlink(path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    mask = umask(0177);
    rc = fd < 0 ? -1 : bind(fd, (struct sockaddr *)&addr, sizeof addr);
    umask(mask);
    if (rc < 0 || listen(fd, 128) < 0 ||
        !source_add(server->loop, &server->listener, fd, EPOLLIN, listener_ready)) {
        log_error("%s: %s", path, strerrordesc_np(errno));
        if (fd >= 0)
            close(fd);
        return false;
    }
    return true;
}

void server_close(struct server *server)
{
    int fd = server->listener.fd;

    while (server->connections)
        close_connection(server->connections);
    source_remove(&server->listener);
    if (fd >= 0) {
        close(fd);
        unlink(server->socket_path);
    }
}

static void signal_arrived(struct source *source, uint32_t events)
{
    (void)events;
    loop_stop(source->loop);
}

static bool watch_signals(struct server *server)
{
    sigset_t ends;
    int fd;

    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    fd = signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd >= 0 && source_add(server->loop, &server->signals, fd, EPOLLIN, signal_arrived))
        return true;
    log_error("signals: %s", strerrordesc_np(errno));
    if (fd >= 0)
        close(fd);
    return false;
}

struct server *server_new(const struct program *program, const struct server_options *options)
{
    struct server *server = xcalloc(1, sizeof *server);

    server->program = program;
    server->ctx = options->ctx;
    server->socket_path = options->socket_path;
    server->epoch = options->epoch;
    if (options->instance)
        snprintf(server->instance, sizeof server->instance, "%s", options->instance);
    else
        uuid_new(server->instance);
    server->loop = loop_new();
    server->listener.fd = server->signals.fd = -1;
    requests_start(server);
    if (watch_signals(server))
        return server;
    server_free(server);
    return NULL;
}

void server_free(struct server *server)
{
    int fd;

    if (!server)
        return;
    server_close(server);
    requests_stop(server);
    fd = server->signals.fd;
    source_remove(&server->signals);
    if (fd >= 0)
        close(fd);
    loop_free(server->loop);
    free(server);
}
