/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pair.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "libxapi/base/memory.h"

static void node_open(struct world *w, struct node *n, uint64_t id)
{
    struct peers_options options = {.dir = n->dir, .listen_address = "127.0.0.1"};
    struct error *e;

    snprintf(n->dir, sizeof n->dir, "/tmp/xapid-stream-XXXXXX");
    assert_non_null(mkdtemp(n->dir));
    e = peers_open(&w->arena, &options, &n->peers);
    if (e)
        fail_msg("%s", error_line(&w->arena, e));
    n->id = id;
    peers_set_id(n->peers, id);
    n->address = xasprintf("127.0.0.1:%d/%s", peers_port(n->peers), peers_fingerprint(n->peers));
}

static void node_end(struct node *n)
{
    char *file = xasprintf("%s/peer.pem", n->dir);

    peers_close(n->peers);
    unlink(file);
    rmdir(n->dir);
    free(file);
    free(n->address);
}

static void on_stream(void *ctx, struct peer_stream *stream)
{
    struct world *w = ctx;

    MUTEX_GUARD(&w->lock);
    w->taken = stream;
    cond_signal(&w->changed);
}

int world_setup(void **state)
{
    struct world *w = xcalloc(1, sizeof *w);

    signal(SIGPIPE, SIG_IGN);
    mutex_init(&w->lock);
    cond_init(&w->changed);
    node_open(w, &w->a, 1);
    node_open(w, &w->b, 2);
    peers_serve_streams(w->b.peers, PEER_STREAM_MIGRATE, on_stream, w);
    *state = w;
    return 0;
}

int world_teardown(void **state)
{
    struct world *w = *state;

    /* After the threads that might still hand it over. */
    node_end(&w->a);
    node_end(&w->b);
    peer_stream_close(w->taken);
    cond_release(&w->changed);
    mutex_release(&w->lock);
    arena_release(&w->arena);
    free(w);
    return 0;
}

void know_each_other(struct world *w)
{
    peers_allow(w->a.peers, 1, &(struct peer){w->b.id, w->b.address});
    peers_allow(w->b.peers, 1, &(struct peer){w->a.id, w->a.address});
}

struct peer_stream *open_stream(struct world *w)
{
    usec_t deadline = clock_mono() + SOON;
    struct peer_stream *stream = NULL;

    while (peer_stream_open(&w->arena, w->a.peers, w->b.id, PEER_STREAM_MIGRATE, w->b.address, NULL,
                            SOON, &stream))
        assert_true(clock_mono() < deadline);
    return stream;
}

struct peer_stream *other_end(struct world *w)
{
    usec_t deadline = clock_mono() + SOON;

    MUTEX_GUARD(&w->lock);
    while (!w->taken)
        assert_true(cond_wait_until(&w->changed, &w->lock, deadline));
    return w->taken;
}
