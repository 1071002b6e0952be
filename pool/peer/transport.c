/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * transport.c -- the log's streams.
 *
 * The library wants streams on its own loop.  It gets one end of a socket pair; the other end is
 * pumped through a link by the peers' thread.  Its streams go one way: each side connects to the
 * other.  What the two threads tell each other are the dials (wanted streams, under the peers'
 * lock) and the results (streams made or not, under the same lock).
 */
#include "pool/peer/peers.h"

#include <raft.h>
#include <raft/uv.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"

/* A stream for the log, or that there is none. */
struct result {
    struct result *next;
    uint64_t number; /* of the dial; 0: somebody connected to us */
    uint64_t id;
    int fd; /* -1: none */
    char address[PEER_ADDRESS_MAX];
};

/* The library waits for a connection. */
struct wait {
    struct wait *next;
    uint64_t number;
    struct raft_uv_connect *req;
};

struct transport {
    struct peers *peers;
    struct raft_uv_transport *face;

    /* Shared, under the peers' lock. */
    bool listening;
    struct result *results, **last_result;

    /* Of the log's thread. */
    uv_loop_t *loop;
    uv_async_t wake;
    raft_uv_accept_cb accepted;
    raft_uv_transport_close_cb closed;
    struct wait *waits;
};

/* The peers' side. */

/* Takes over the descriptor. */
static void post(struct peers *peers, const struct result *what)
{
    struct result *r = xmalloc(sizeof *r);

    *r = *what;
    r->next = NULL;
    MUTEX_GUARD(&peers->lock);
    if (peers->transport) {
        *peers->transport->last_result = r;
        peers->transport->last_result = &r->next;
        uv_async_send(&peers->transport->wake);
        return;
    }
    if (r->fd >= 0)
        close(r->fd);
    free(r);
}

static void post_failure(struct peers *peers, struct dial *dial)
{
    struct result r = {.number = dial->number, .fd = -1};

    free(dial);
    post(peers, &r);
}

void transport_dial(struct peers *peers, struct dial *dial)
{
    struct link *link = NULL;

    if (!peers->ending)
        link = peer_link_open(peers, LINK_LOG, dial->id, dial->address, dial);
    if (!link)
        post_failure(peers, dial);
}

void transport_link_closed(struct link *link)
{
    if (link->dial)
        post_failure(link->peers, link->dial);
    link->dial = NULL;
}

static bool is_listening(struct peers *peers)
{
    MUTEX_GUARD(&peers->lock);
    return peers->transport && peers->transport->listening;
}

static void on_local_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct link *link = handle->data;

    (void)suggested;
    *buf = uv_buf_init(link->peers->buffer, sizeof link->peers->buffer);
}

static void on_local_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct link *link = stream->data;

    if (n < 0) {
        peer_link_close(link, NULL);
        return;
    }
    if (n == 0)
        return;
    link_send(link, FRAME_DATA, 0, 0, buf->base, (size_t)n);
    link_flush(link);
    if (link->state != LINK_CLOSED)
        transport_pace(link);
}

void transport_pace(struct link *link)
{
    bool read = link->tx_queued < PEERS_STREAM_HIGH;

    if (read == link->local_reading)
        return;
    link->local_reading = read;
    if (read)
        uv_read_start((uv_stream_t *)&link->local, on_local_alloc, on_local_read);
    else
        uv_read_stop((uv_stream_t *)&link->local);
}

bool transport_link_up(struct link *link)
{
    struct result r = {.id = link->id};
    int fds[2];

    if (!link->outgoing && !is_listening(link->peers))
        return false;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0)
        return false;
    uv_pipe_init(&link->peers->loop, &link->local, 0);
    link->local.data = link;
    link->has_local = true;
    link->refs++;
    if (uv_pipe_open(&link->local, fds[0]) != 0) {
        close(fds[0]);
        close(fds[1]);
        return false;
    }
    transport_pace(link);
    r.fd = fds[1];
    snprintf(r.address, sizeof r.address, "%s", link->address);
    if (link->dial) {
        r.number = link->dial->number;
        free(link->dial);
        link->dial = NULL;
    }
    post(link->peers, &r);
    return true;
}

struct local_write {
    uv_write_t req;
    struct link *link;
    size_t size;
    uint8_t data[];
};

static void on_local_written(uv_write_t *req, int status)
{
    struct local_write *w = container_of(req, struct local_write, req);
    struct link *link = w->link;

    link->local_queued -= w->size;
    free(w);
    if (link->state == LINK_CLOSED)
        return;
    if (status)
        peer_link_close(link, NULL);
    else
        link_pace(link);
}

void transport_data(struct link *link, const uint8_t *data, size_t size)
{
    struct local_write *w;
    uv_buf_t buf = uv_buf_init((char *)data, (unsigned)size);
    int n = uv_try_write((uv_stream_t *)&link->local, &buf, 1);

    if (n < 0 && n != UV_EAGAIN) {
        peer_link_close(link, NULL);
        return;
    }
    if (n > 0) {
        data += n;
        size -= (size_t)n;
    }
    if (size == 0)
        return;
    w = xmalloc(sizeof *w + size);
    w->link = link;
    w->size = size;
    memcpy(w->data, data, size);
    buf = uv_buf_init((char *)w->data, (unsigned)size);
    link->local_queued += size;
    if (uv_write(&w->req, (uv_stream_t *)&link->local, &buf, 1, on_local_written) == 0)
        return;
    link->local_queued -= size;
    free(w);
    peer_link_close(link, NULL);
}

/* The log's side. */

static struct uv_stream_s *open_stream(struct transport *t, int fd)
{
    uv_pipe_t *pipe = raft_malloc(sizeof *pipe); /* the library frees it */

    if (!pipe)
        abort();
    uv_pipe_init(t->loop, pipe, 0);
    if (uv_pipe_open(pipe, fd) == 0)
        return (struct uv_stream_s *)pipe;
    close(fd);
    uv_close((uv_handle_t *)pipe, (uv_close_cb)raft_free);
    return NULL;
}

static struct wait *take_wait(struct transport *t, uint64_t number)
{
    for (struct wait **at = &t->waits; *at; at = &(*at)->next)
        if ((*at)->number == number) {
            struct wait *w = *at;

            *at = w->next;
            return w;
        }
    return NULL;
}

static void hand_over(struct transport *t, const struct result *r)
{
    struct uv_stream_s *stream = r->fd >= 0 ? open_stream(t, r->fd) : NULL;
    struct raft_uv_connect *req;
    struct wait *w;

    if (r->number == 0) {
        if (stream)
            t->accepted(t->face, r->id, r->address, stream);
        return;
    }
    w = take_wait(t, r->number);
    if (!w) { /* of the log that was here before */
        if (stream)
            uv_close((uv_handle_t *)stream, (uv_close_cb)raft_free);
        return;
    }
    req = w->req;
    free(w);
    req->cb(req, stream, stream ? 0 : RAFT_NOCONNECTION);
}

static struct result *take_results(struct transport *t)
{
    struct result *list;

    MUTEX_GUARD(&t->peers->lock);
    list = t->results;
    t->results = NULL;
    t->last_result = &t->results;
    return list;
}

static void on_results(uv_async_t *wake)
{
    struct transport *t = wake->data;
    struct result *list = take_results(t);

    while (list) {
        struct result *next = list->next;

        hand_over(t, list);
        free(list);
        list = next;
    }
}

static int transport_init(struct raft_uv_transport *face, raft_id id, const char *address)
{
    struct transport *t = face->impl;
    struct peers *peers = t->peers;

    if (uv_async_init(t->loop, &t->wake, on_results) != 0)
        return RAFT_NOMEM;
    t->wake.data = t;
    MUTEX_GUARD(&peers->lock);
    peers->id = id;
    snprintf(peers->own_address, sizeof peers->own_address, "%s",
             peer_address_ok(address) ? address : "");
    peers->transport = t;
    return 0;
}

static int transport_listen(struct raft_uv_transport *face, raft_uv_accept_cb cb)
{
    struct transport *t = face->impl;

    t->accepted = cb;
    MUTEX_GUARD(&t->peers->lock);
    t->listening = true;
    return 0;
}

static int transport_connect(struct raft_uv_transport *face, struct raft_uv_connect *req,
                             raft_id id, const char *address, raft_uv_connect_cb cb)
{
    struct transport *t = face->impl;
    struct dial *dial = xcalloc(1, sizeof *dial);
    struct wait *w = xcalloc(1, sizeof *w);

    req->cb = cb;
    w->req = req;
    w->next = t->waits;
    t->waits = w;
    dial->id = id;
    snprintf(dial->address, sizeof dial->address, "%s", address);
    MUTEX_GUARD(&t->peers->lock);
    w->number = dial->number = ++t->peers->next_dial;
    dial->next = t->peers->dials;
    t->peers->dials = dial;
    peers_wake(t->peers);
    return 0;
}

static void on_wake_closed(uv_handle_t *handle)
{
    struct transport *t = handle->data;
    struct raft_uv_transport *face = t->face;
    raft_uv_transport_close_cb closed = t->closed;

    free(t);
    face->impl = NULL;
    closed(face);
}

/* From here on the peers' thread knows no transport, and closes what it makes. */
static void transport_close(struct raft_uv_transport *face, raft_uv_transport_close_cb cb)
{
    struct transport *t = face->impl;
    struct result *list;

    mutex_lock(&t->peers->lock);
    if (t->peers->transport == t)
        t->peers->transport = NULL;
    mutex_unlock(&t->peers->lock);
    for (list = take_results(t); list;) {
        struct result *next = list->next;

        if (list->fd >= 0)
            close(list->fd);
        free(list);
        list = next;
    }
    while (t->waits) {
        struct wait *w = t->waits;

        t->waits = w->next;
        w->req->cb(w->req, NULL, RAFT_CANCELED);
        free(w);
    }
    t->closed = cb;
    uv_close((uv_handle_t *)&t->wake, on_wake_closed);
}

void peers_transport(struct peers *peers, struct uv_loop_s *loop,
                     struct raft_uv_transport *transport)
{
    struct transport *t = xcalloc(1, sizeof *t);

    t->peers = peers;
    t->face = transport;
    t->loop = loop;
    t->last_result = &t->results;
    memset(transport, 0, sizeof *transport);
    transport->version = 1;
    transport->impl = t;
    transport->init = transport_init;
    transport->listen = transport_listen;
    transport->connect = transport_connect;
    transport->close = transport_close;
}
