/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* stream.c -- a connection taken out of its loop, for one thread that may block. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "xapid/http/internal.h"

/* How long the closing of a stream may wait for room to say goodbye. */
#define GOODBYE_TIME USEC_PER_SEC

static void stream_enter(struct http_conn *conn)
{
    struct http_server *server = conn->server;
    struct http_stream *s = &conn->stream;

    http_conn_detach(conn);
    mutex_lock(&server->mutex);
    if (conn->state == CONN_DETACHED) {
        s->next = server->streams;
        s->prev = &server->streams;
        if (s->next)
            s->next->prev = &s->next;
        server->streams = s;
    }
    s->failed = conn->state != CONN_DETACHED;
    conn->detached = true;
    cond_broadcast(&server->cond);
    mutex_unlock(&server->mutex);
}

static void enter_item(struct loop_item *item)
{
    stream_enter(container_of(item, struct http_conn, item));
}

struct http_stream *http_take_over(struct http_request *request)
{
    struct http_conn *conn = request->conn;
    struct http_server *server = conn->server;

    conn->answered = true;
    conn->item.fn = enter_item;
    if (loop_is_current(conn->home->loop) || !loop_post_item(conn->home->loop, &conn->item)) {
        stream_enter(conn);
        return &conn->stream;
    }
    /* A worker: loops never block, so this is short. */
    mutex_lock(&server->mutex);
    while (!conn->detached)
        cond_wait(&server->cond, &server->mutex);
    mutex_unlock(&server->mutex);
    return &conn->stream;
}

/* Waits for the socket; with 'other_fd' >= 0 for that too.  1: the socket, 0: only the other or
 * time is up, -1: failure. */
static int stream_poll(struct http_conn *conn, short events, int other_fd, bool *other,
                       usec_t timeout)
{
    usec_t deadline = timeout < 0 ? 0 : clock_mono() + timeout;
    struct pollfd fds[2] = {{.fd = conn->fd, .events = events}, {.fd = other_fd, .events = POLLIN}};

    for (;;) {
        usec_t left = timeout < 0 ? -1 : MAX(deadline - clock_mono(), 0);
        int n = poll(fds, 2, left < 0 ? -1 : (int)MIN((left + 999) / 1000, 3600 * 1000));

        if (n < 0 && errno != EINTR)
            return -1;
        if (n > 0) {
            if (other)
                *other = fds[1].revents != 0;
            return fds[0].revents != 0;
        }
        if (n == 0 && timeout >= 0 && clock_mono() >= deadline) {
            errno = ETIMEDOUT;
            return 0;
        }
    }
}

static bool stream_await(struct http_stream *s, ssize_t result, usec_t timeout)
{
    short events = result == HTTP_IO_WANT_READ ? POLLIN : POLLOUT;

    if (result == HTTP_IO_ERROR || result == HTTP_IO_EOF) {
        s->failed = true;
        errno = ECONNRESET;
        return false;
    }
    return stream_poll(s->conn, events, -1, NULL, timeout) > 0;
}

ssize_t http_stream_read(struct http_stream *s, void *out, size_t n, usec_t timeout)
{
    struct http_conn *conn = s->conn;
    size_t early = conn->early.len - s->early_taken;

    if (early) {
        n = MIN(n, early);
        memcpy(out, conn->early.data + s->early_taken, n);
        s->early_taken += n;
        return (ssize_t)n;
    }
    while (!s->failed && n) {
        ssize_t got = http_io_read(conn->fd, conn->ssl, out, n);

        if (got >= 0)
            return got;
        if (!stream_await(s, got, timeout))
            return -1;
    }
    if (n == 0)
        return 0;
    errno = ECONNRESET;
    return -1;
}

bool http_stream_write(struct http_stream *s, const void *p, size_t n, usec_t timeout)
{
    const char *from = p;

    while (n) {
        ssize_t sent;

        if (s->failed) {
            errno = ECONNRESET;
            return false;
        }
        sent = http_io_write(s->conn->fd, s->conn->ssl, from, n);
        if (sent > 0) {
            from += sent;
            n -= (size_t)sent;
        } else if (!stream_await(s, sent ? sent : HTTP_IO_ERROR, timeout)) {
            return false;
        }
    }
    return true;
}

/* True when a read would not wait.  A TLS socket may be readable with nothing in it for us, so the
 * record is looked at. */
static bool stream_has_input(struct http_stream *s)
{
    struct http_conn *conn = s->conn;
    struct pollfd fd = {.fd = conn->fd, .events = POLLIN};
    char byte;

    if (s->failed || conn->early.len > s->early_taken)
        return true;
    if (!conn->ssl)
        return poll(&fd, 1, 0) > 0;
    return http_io_peek(conn->ssl, &byte) != HTTP_IO_WANT_READ;
}

bool http_stream_wait(struct http_stream *s, int other_fd, bool *other, usec_t timeout)
{
    usec_t deadline = clock_mono() + timeout;
    bool other_ready = false, mine = stream_has_input(s);

    while (!mine && !other_ready) {
        usec_t left = timeout < 0 ? -1 : MAX(deadline - clock_mono(), 0);

        if (stream_poll(s->conn, POLLIN, other_fd, &other_ready, left) <= 0)
            break;
        mine = stream_has_input(s);
    }
    if (mine && other && other_fd >= 0) {
        struct pollfd fd = {.fd = other_fd, .events = POLLIN};

        other_ready = poll(&fd, 1, 0) > 0;
    }
    if (other)
        *other = other_ready;
    return mine;
}

bool http_stream_continue(struct http_stream *s)
{
    static const char reply[] = "HTTP/1.1 100 Continue\r\n\r\n";
    const char *expect = http_header(&s->conn->request, "expect");

    if (!expect || strcasecmp(expect, "100-continue") != 0 || s->conn->request.minor_version == 0)
        return true;
    return http_stream_write(s, reply, sizeof reply - 1, s->conn->server->limits.write_stall);
}

bool http_stream_start(struct http_stream *s, int status, int64_t content_length, size_t n_headers,
                       const struct http_pair *headers)
{
    __attribute__((cleanup(buf_release))) struct buf head = {0};

    http_head_write(&head, status, NULL, content_length, true, n_headers, headers);
    return http_stream_write(s, head.data, head.len, s->conn->server->limits.write_stall);
}

bool http_stream_error(struct http_stream *s, int status, const char *detail)
{
    __attribute__((cleanup(buf_release))) struct buf reply = {0}, page = {0};

    http_page_write(&page, status, detail);
    http_head_write(&reply, status, "text/html", (int64_t)page.len, true, 0, NULL);
    buf_add(&reply, page.data, page.len);
    return http_stream_write(s, reply.data, reply.len, s->conn->server->limits.write_stall);
}

static void stream_leave(struct http_stream *s)
{
    MUTEX_GUARD(&s->conn->server->mutex);
    if (!s->prev)
        return;
    *s->prev = s->next;
    if (s->next)
        s->next->prev = s->prev;
    s->prev = NULL;
}

void http_stream_close(struct http_stream *s)
{
    struct http_conn *conn;

    if (!s)
        return;
    conn = s->conn;
    stream_leave(s);
    if (conn->fd >= 0 && !s->failed) {
        /* close_notify wants room in the socket, which a reader that is merely slow will make. */
        if (conn->ssl)
            stream_poll(conn, POLLOUT, -1, NULL, GOODBYE_TIME);
        http_io_shutdown(conn->fd, conn->ssl);
    }
    http_conn_return(conn);
}
