/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * relay.c -- two hosts between a client and what it asks for.
 *
 * The host that was asked opens a stream to the one that must answer, writes the request's head and
 * then whatever the client sends.  That one joins the stream with its own Unix socket, where it is
 * a program that speaks for somebody else (the header Forwarded): the request has the rights of its
 * session or password and no others.
 */
#include "xapid/stream/relay.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "pool/peer/stream.h"
#include "xapid/db/member.h"
#include "xapid/main/xapid.h"

#define BLOCK (64 << 10) /* more than a record of TLS: peer_stream_fd */
/* Requests of others that are answered here at a time. */
#define RELAYS_MAX 256
#define CONNECT_WITHIN (5 * USEC_PER_SEC)
/* How often it is looked whether the daemon ends. */
#define LOOK (500 * USEC_PER_MSEC)
/* What looked readable may have been TLS's own. */
#define NOTHING (50 * USEC_PER_MSEC)
/* A side that takes nothing for that long is gone. */
#define STALL (60 * USEC_PER_SEC)
/* How long the rest of a request is read that was answered early, so that the answer arrives. */
#define LINGER (10 * USEC_PER_SEC)

struct relays {
    struct xapid *xapid;
    struct mutex lock;
    struct cond gone;
    int n;
};

struct relay {
    struct xapid *xapid;
    struct peer_stream *stream;
    struct http_stream *client; /* on the host that was asked; else NULL */
    int fd;                     /* on the host that answers: its own server */
    bool near_ended, far_ended; /* client or server; stream */
    char block[BLOCK];
};

/*** the near side: client or server ***/

/* True where it has something; '*far': the stream has. */
static bool wait_near(struct relay *r, bool *far)
{
    struct pollfd fds[2] = {
        {.fd = r->near_ended ? -1 : r->fd, .events = POLLIN},
        {.fd = r->far_ended ? -1 : peer_stream_fd(r->stream), .events = POLLIN}};

    *far = false;
    if (r->client && !r->near_ended)
        return http_stream_wait(r->client, fds[1].fd, far, LOOK);
    if (poll(fds, 2, (int)(LOOK / USEC_PER_MSEC)) <= 0)
        return false;
    *far = fds[1].revents != 0;
    return fds[0].revents != 0;
}

/* Bytes; 0 at the end, -1 where there was nothing. */
static ssize_t read_near(struct relay *r)
{
    ssize_t n;

    errno = 0;
    n = r->client ? http_stream_read(r->client, r->block, BLOCK, NOTHING)
                  : recv(r->fd, r->block, BLOCK, MSG_DONTWAIT);
    if (n < 0 && (errno == ETIMEDOUT || errno == EAGAIN || errno == EINTR))
        return -1;
    return MAX(n, 0);
}

static bool write_near(struct relay *r, size_t size)
{
    const char *at = r->block;

    if (r->client)
        return http_stream_write(r->client, at, size, STALL);
    while (size) {
        struct pollfd p = {.fd = r->fd, .events = POLLOUT};
        ssize_t n = send(r->fd, at, size, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && (errno != EAGAIN || poll(&p, 1, (int)(STALL / USEC_PER_MSEC)) <= 0))
            return false;
        at += MAX(n, 0);
        size -= (size_t)MAX(n, 0);
    }
    return true;
}

/*** both ways ***/

/* False: there is nobody any more. */
static bool from_near(struct relay *r)
{
    ssize_t n = read_near(r);

    if (n > 0)
        return peer_stream_write(r->stream, r->block, (size_t)n, STALL) == PEER_IO_DONE;
    if (n == 0) {
        r->near_ended = true;
        peer_stream_end(r->stream);
    }
    return true;
}

static bool from_far(struct relay *r)
{
    size_t n;

    switch (peer_stream_read(r->stream, r->block, BLOCK, &n, NOTHING)) {
    case PEER_IO_DONE:
        /* The server has answered: the rest is not wanted. */
        return (r->near_ended && !r->client) || write_near(r, n);
    case PEER_IO_LATE:
        return true;
    case PEER_IO_END:
        r->far_ended = true;
        if (!r->client)
            shutdown(r->fd, SHUT_WR);
        return true;
    default:
        return false;
    }
}

/* Until who answers has ended: on one host the stream, on the other the server. */
static void carry(struct relay *r)
{
    bool *answered = r->client ? &r->far_ended : &r->near_ended;
    bool good = true;

    while (good && !*answered && !xapid_is_stopping(r->xapid)) {
        bool far, near = wait_near(r, &far);

        if (near)
            good = from_near(r);
        if (good && far)
            good = from_far(r);
    }
}

/*** the host that was asked ***/

static const char *const methods[] = {
    [HTTP_M_GET] = "GET",         [HTTP_M_POST] = "POST",       [HTTP_M_PUT] = "PUT",
    [HTTP_M_OPTIONS] = "OPTIONS", [HTTP_M_CONNECT] = "CONNECT", [HTTP_M_HEAD] = "HEAD"};

/* The connection ends with the answer, unless it becomes something else. */
static void write_head(struct buf *out, const struct http_request *q)
{
    bool upgrade = http_header(q, "upgrade") != NULL, v6 = strchr(q->peer, ':') != NULL;

    buf_printf(out, "%s %s HTTP/1.%d\r\n", methods[q->method], q->target, q->minor_version);
    for (size_t i = 0; i < q->n_headers; i++)
        if (strcmp(q->headers[i].name, "forwarded") != 0 &&
            (upgrade || strcmp(q->headers[i].name, "connection") != 0))
            buf_printf(out, "%s: %s\r\n", q->headers[i].name, q->headers[i].value);
    buf_printf(out, "Forwarded: for=%s%s%s\r\n%s\r\n", v6 ? "\"[" : "",
               *q->peer ? q->peer : "_local", v6 ? "]\"" : "",
               upgrade ? "" : "Connection: close\r\n");
}

static struct error *open_stream(struct call *call, ref_t host, struct peer_stream **out)
{
    struct log_member member;

    *out = NULL;
    if (!call->xapid->peers)
        return err_cannot_contact_host(call, call_ref(call, host));
    TRY(host_log_member(call, host, &member));
    return peer_stream_open(call->arena, call->xapid->peers, member.id, PEER_STREAM_RELAY,
                            member.address, NULL, CONNECT_WITHIN, out);
}

bool relay_request(struct call *call, struct http_request *request, ref_t host)
{
    struct relay *r;
    struct peer_stream *stream;
    struct error *e = OK;
    AUTO(buf) head = {0};

    if (request->method == HTTP_M_OTHER)
        return false;
    e = open_stream(call, host, &stream);
    if (!e) {
        write_head(&head, request);
        if (peer_stream_write(stream, head.data, head.len, CONNECT_WITHIN) != PEER_IO_DONE)
            e = error_internal(call->arena, "%s", peer_stream_trouble(stream));
    }
    if (e) {
        log_warning("%s cannot be passed on to another host: %s", request->path,
                    error_line(call->arena, e));
        peer_stream_close(stream);
        return false;
    }
    call_let_go(call);
    r = xcalloc(1, sizeof *r);
    r->xapid = call->xapid;
    r->stream = stream;
    r->fd = -1;
    r->client = http_take_over(request);
    carry(r);
    peer_stream_close(stream);
    http_stream_close(r->client);
    free(r);
    return true;
}

bool relay_is_needed(struct call *call, ref_t host)
{
    const struct pool *pool = db_find(call, CLASS_pool, call->xapid->pool);

    return pool && ref_equal(pool->master, host);
}

/*** the host that answers ***/

static int connect_server(const struct xapid *x)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd;

    if (strlen(x->options.unix_socket) >= sizeof at.sun_path)
        return -1;
    strcpy(at.sun_path, x->options.unix_socket);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&at, sizeof at) < 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

/* Where a request was answered before it had come as a whole, the rest would cut the answer off. */
static void linger(struct relay *r)
{
    usec_t deadline = clock_mono() + LINGER;
    bool good = r->near_ended;

    while (good && !r->far_ended && clock_mono() < deadline && !xapid_is_stopping(r->xapid))
        good = from_far(r);
}

static void *serve(void *arg)
{
    struct relay *r = arg;
    struct relays *relays = r->xapid->relays;

    r->fd = connect_server(r->xapid);
    if (r->fd >= 0) {
        carry(r);
        linger(r);
        close(r->fd);
    }
    peer_stream_close(r->stream);
    free(r);
    MUTEX_GUARD(&relays->lock);
    relays->n--;
    cond_broadcast(&relays->gone);
    return NULL;
}

static bool begin(struct relays *relays)
{
    MUTEX_GUARD(&relays->lock);
    if (relays->n >= RELAYS_MAX || xapid_is_stopping(relays->xapid))
        return false;
    relays->n++;
    return true;
}

void relay_serve(void *ctx, struct peer_stream *stream)
{
    struct xapid *x = ctx;
    struct thread thread;
    struct relay *r;

    if (!begin(x->relays)) {
        peer_stream_close(stream);
        return;
    }
    r = xcalloc(1, sizeof *r);
    r->xapid = x;
    r->stream = stream;
    thread_start(&thread, "relay", serve, r);
    thread_detach(&thread);
}

struct relays *relays_new(struct xapid *xapid)
{
    struct relays *r = xcalloc(1, sizeof *r);

    r->xapid = xapid;
    mutex_init(&r->lock);
    cond_init(&r->gone);
    return r;
}

void relays_free(struct relays *r)
{
    if (!r)
        return;
    mutex_lock(&r->lock);
    while (r->n)
        cond_wait(&r->gone, &r->lock);
    mutex_unlock(&r->lock);
    cond_release(&r->gone);
    mutex_release(&r->lock);
    free(r);
}
