/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* transport.c -- the library's transport: streams on the log's loop.  Those between two members go
 * one way: each side connects to the other. */
#include "pool/log/transport.h"

#include <raft.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libxapi/base/memory.h"
#include "pool/peer/peer.h"

/*** a member that is alone ***/

static int none_init(struct raft_uv_transport *t, raft_id id, const char *address)
{
    (void)t, (void)id, (void)address;
    return 0;
}

static int none_listen(struct raft_uv_transport *t, raft_uv_accept_cb cb)
{
    (void)t, (void)cb;
    return 0;
}

static int none_connect(struct raft_uv_transport *t, struct raft_uv_connect *req, raft_id id,
                        const char *address, raft_uv_connect_cb cb)
{
    (void)t, (void)req, (void)id, (void)address, (void)cb;
    return RAFT_NOCONNECTION;
}

static void none_close(struct raft_uv_transport *t, raft_uv_transport_close_cb cb)
{
    cb(t);
}

void transport_none(struct raft_uv_transport *transport)
{
    memset(transport, 0, sizeof *transport);
    transport->version = 1;
    transport->init = none_init;
    transport->listen = none_listen;
    transport->connect = none_connect;
    transport->close = none_close;
}

/*** over the links of pool/peer ***/

/* The library waits for a connection. */
struct wait {
    struct wait *next;
    uint64_t number; /* of the pipe */
    struct raft_uv_connect *req;
};

/* Of the log's thread. */
struct transport {
    struct raft_uv_transport *face;
    struct peers *peers;
    struct peer_pipes *pipes;
    uv_loop_t *loop;
    uv_async_t wake;
    raft_uv_accept_cb accepted;
    raft_uv_transport_close_cb closed;
    struct wait *waits;
};

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

static void hand_over(struct transport *t, const struct peer_pipe *pipe)
{
    struct uv_stream_s *stream = pipe->fd >= 0 ? open_stream(t, pipe->fd) : NULL;
    struct raft_uv_connect *req;
    struct wait *w;

    if (pipe->number == 0) {
        if (stream)
            t->accepted(t->face, pipe->id, pipe->address, stream);
        return;
    }
    w = take_wait(t, pipe->number);
    if (!w) { /* of the log that was here before */
        if (stream)
            uv_close((uv_handle_t *)stream, (uv_close_cb)raft_free);
        return;
    }
    req = w->req;
    free(w);
    req->cb(req, stream, stream ? 0 : RAFT_NOCONNECTION);
}

static void on_pipes(uv_async_t *wake)
{
    struct transport *t = wake->data;
    struct peer_pipe pipe;

    while (peer_pipes_take(t->pipes, &pipe))
        hand_over(t, &pipe);
}

/* On the peers' thread. */
static void pipes_ready(void *ctx)
{
    struct transport *t = ctx;

    uv_async_send(&t->wake);
}

static int over_peers_init(struct raft_uv_transport *face, raft_id id, const char *address)
{
    struct transport *t = face->impl;

    if (uv_async_init(t->loop, &t->wake, on_pipes) != 0)
        return RAFT_NOMEM;
    t->wake.data = t;
    t->pipes = peer_pipes_open(t->peers, id, address, pipes_ready, t);
    return 0;
}

static int over_peers_listen(struct raft_uv_transport *face, raft_uv_accept_cb cb)
{
    struct transport *t = face->impl;

    t->accepted = cb;
    peer_pipes_listen(t->pipes);
    return 0;
}

static int over_peers_connect(struct raft_uv_transport *face, struct raft_uv_connect *req,
                              raft_id id, const char *address, raft_uv_connect_cb cb)
{
    struct transport *t = face->impl;
    struct wait *w = xmalloc(sizeof *w);

    req->cb = cb;
    /* What becomes of it is told on this thread, so not before it is waited for. */
    *w = (struct wait){t->waits, peer_pipes_dial(t->pipes, id, address), req};
    t->waits = w;
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

static void over_peers_close(struct raft_uv_transport *face, raft_uv_transport_close_cb cb)
{
    struct transport *t = face->impl;

    peer_pipes_close(t->pipes);
    while (t->waits) {
        struct wait *w = t->waits;

        t->waits = w->next;
        w->req->cb(w->req, NULL, RAFT_CANCELED);
        free(w);
    }
    t->closed = cb;
    uv_close((uv_handle_t *)&t->wake, on_wake_closed);
}

void transport_peers(struct raft_uv_transport *transport, struct uv_loop_s *loop,
                     struct peers *peers)
{
    struct transport *t = xcalloc(1, sizeof *t);

    *t = (struct transport){.face = transport, .peers = peers, .loop = loop};
    memset(transport, 0, sizeof *transport);
    transport->version = 1;
    transport->impl = t;
    transport->init = over_peers_init;
    transport->listen = over_peers_listen;
    transport->connect = over_peers_connect;
    transport->close = over_peers_close;
}
