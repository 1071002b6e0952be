/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pipe.c -- the log's streams.
 *
 * The log reads and writes them on its own loop: it gets one end of a socket pair, and the other
 * end is pumped through a link by the peers' thread.  What the two threads tell each other, under
 * the peers' lock, are the dials (pipes that are wanted) and the pipes that were made or could not
 * be.
 */
#include "pool/peer/peers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"

struct made {
    struct made *next;
    struct peer_pipe pipe;
};

struct peer_pipes {
    struct peers *peers;
    void (*ready)(void *ctx);
    void *ctx;
    bool listening;
    struct made *first, **last;
};

static void made_free(struct made *made)
{
    if (made->pipe.fd >= 0)
        close(made->pipe.fd);
    free(made);
}

/*** on the peers' thread ***/

static void tell(struct peers *peers, const struct peer_pipe *pipe)
{
    struct made *made = xmalloc(sizeof *made);

    made->pipe = *pipe;
    made->next = NULL;
    MUTEX_GUARD(&peers->lock);
    if (peers->pipes) {
        *peers->pipes->last = made;
        peers->pipes->last = &made->next;
        peers->pipes->ready(peers->pipes->ctx);
        return;
    }
    made_free(made);
}

static void tell_failure(struct peers *peers, struct dial *dial)
{
    struct peer_pipe none = {.number = dial->number, .fd = -1};

    free(dial);
    tell(peers, &none);
}

void pipe_dial(struct peers *peers, struct dial *dial)
{
    struct link *link = NULL;

    if (!peers->ending)
        link = peer_link_open(peers, LINK_LOG, dial->id, dial->address, dial);
    if (!link)
        tell_failure(peers, dial);
}

void pipe_link_closed(struct link *link)
{
    if (link->dial)
        tell_failure(link->peers, link->dial);
    link->dial = NULL;
}

static bool is_listening(struct peers *peers)
{
    MUTEX_GUARD(&peers->lock);
    return peers->pipes && peers->pipes->listening;
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
        pipe_pace(link);
}

void pipe_pace(struct link *link)
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

bool pipe_link_up(struct link *link)
{
    struct peer_pipe pipe = {.id = link->id};
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
    pipe_pace(link);
    pipe.fd = fds[1];
    snprintf(pipe.address, sizeof pipe.address, "%s", link->address);
    if (link->dial) {
        pipe.number = link->dial->number;
        free(link->dial);
        link->dial = NULL;
    }
    tell(link->peers, &pipe);
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

void pipe_data(struct link *link, const uint8_t *data, size_t size)
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

/*** on the log's ***/

struct peer_pipes *peer_pipes_open(struct peers *peers, uint64_t id, const char *address,
                                   void (*ready)(void *ctx), void *ctx)
{
    struct peer_pipes *p = xcalloc(1, sizeof *p);

    *p = (struct peer_pipes){.peers = peers, .ready = ready, .ctx = ctx, .last = &p->first};
    MUTEX_GUARD(&peers->lock);
    peers->id = id;
    snprintf(peers->own_address, sizeof peers->own_address, "%s",
             peer_address_ok(address) ? address : "");
    peers->pipes = p;
    return p;
}

void peer_pipes_listen(struct peer_pipes *pipes)
{
    MUTEX_GUARD(&pipes->peers->lock);
    pipes->listening = true;
}

uint64_t peer_pipes_dial(struct peer_pipes *pipes, uint64_t id, const char *address)
{
    struct peers *peers = pipes->peers;
    struct dial *dial = xcalloc(1, sizeof *dial);

    dial->id = id;
    snprintf(dial->address, sizeof dial->address, "%s", address);
    MUTEX_GUARD(&peers->lock);
    dial->number = ++peers->next_dial;
    dial->next = peers->dials;
    peers->dials = dial;
    peers_wake(peers);
    return dial->number;
}

bool peer_pipes_take(struct peer_pipes *pipes, struct peer_pipe *out)
{
    struct made *made;

    MUTEX_GUARD(&pipes->peers->lock);
    made = pipes->first;
    if (!made)
        return false;
    pipes->first = made->next;
    if (!pipes->first)
        pipes->last = &pipes->first;
    *out = made->pipe;
    free(made);
    return true;
}

/* From here on the peers' thread knows of none, and closes what it makes. */
void peer_pipes_close(struct peer_pipes *pipes)
{
    mutex_lock(&pipes->peers->lock);
    if (pipes->peers->pipes == pipes)
        pipes->peers->pipes = NULL;
    mutex_unlock(&pipes->peers->lock);
    while (pipes->first) {
        struct made *made = pipes->first;

        pipes->first = made->next;
        made_free(made);
    }
    free(pipes);
}
