/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tests of streams between daemons: two in one process over the loopback. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "pool/peer/stream.h"

#define SOON (20 * USEC_PER_SEC)
#define MUCH ((size_t)8 << 20)

struct node {
    char dir[64];
    struct peers *peers;
    char *address;
    uint64_t id;
};

struct world {
    struct arena arena;
    struct node a, b;
    struct mutex lock;
    struct cond changed;
    struct peer_stream *taken; /* by b */
};

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

static int setup(void **state)
{
    struct world *w = xcalloc(1, sizeof *w);

    signal(SIGPIPE, SIG_IGN);
    mutex_init(&w->lock);
    cond_init(&w->changed);
    node_open(w, &w->a, 1);
    node_open(w, &w->b, 2);
    peers_serve_streams(w->b.peers, on_stream, w);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    peer_stream_close(w->taken);
    node_end(&w->a);
    node_end(&w->b);
    cond_release(&w->changed);
    mutex_release(&w->lock);
    arena_release(&w->arena);
    free(w);
    return 0;
}

static void know_each_other(struct world *w)
{
    peers_allow(w->a.peers, 1, &(struct peer){w->b.id, w->b.address});
    peers_allow(w->b.peers, 1, &(struct peer){w->a.id, w->a.address});
}

/* A member's list reaches the other thread some time. */
static struct peer_stream *open_stream(struct world *w)
{
    usec_t deadline = clock_mono() + SOON;
    struct peer_stream *stream = NULL;

    while (peer_stream_open(&w->arena, w->a.peers, w->b.id, w->b.address, NULL, SOON, &stream))
        assert_true(clock_mono() < deadline);
    return stream;
}

static struct peer_stream *other_end(struct world *w)
{
    usec_t deadline = clock_mono() + SOON;

    MUTEX_GUARD(&w->lock);
    while (!w->taken)
        assert_true(cond_wait_until(&w->changed, &w->lock, deadline));
    return w->taken;
}

static void *write_much(void *arg)
{
    char *data = xmalloc(MUCH);

    for (size_t i = 0; i < MUCH; i++)
        data[i] = (char)(i * 7 + i / 251);
    assert_int_equal(peer_stream_write(arg, data, MUCH, SOON), PEER_IO_DONE);
    free(data);
    return NULL;
}

static void what_is_written_is_read_on_the_other_side_and_back(void **state)
{
    struct world *w = *state;
    struct peer_stream *mine, *theirs;
    struct thread thread = {0};
    size_t n, at = 0;
    char data[5000];

    know_each_other(w);
    mine = open_stream(w);
    theirs = other_end(w);
    assert_int_equal(peer_stream_from(mine), 2);
    assert_int_equal(peer_stream_from(theirs), 1);
    thread_start(&thread, "writes", write_much, mine);
    while (at < MUCH) {
        assert_int_equal(peer_stream_read(theirs, data, sizeof data, &n, SOON), PEER_IO_DONE);
        for (size_t i = 0; i < n; i++, at++)
            assert_int_equal(data[i], (char)(at * 7 + at / 251));
    }
    thread_join(&thread);
    assert_int_equal(peer_stream_write(theirs, "back", 4, SOON), PEER_IO_DONE);
    assert_int_equal(peer_stream_read(mine, data, sizeof data, &n, SOON), PEER_IO_DONE);
    assert_int_equal(n, 4);
    peer_stream_close(mine);
    assert_int_equal(peer_stream_read(theirs, data, sizeof data, &n, SOON), PEER_IO_END);
}

static void who_is_no_member_gets_no_stream(void **state)
{
    struct world *w = *state;
    struct peer_stream *stream;

    assert_non_null(
        peer_stream_open(&w->arena, w->a.peers, w->b.id, w->b.address, NULL, SOON, &stream));
    assert_null(stream);
    assert_null(w->taken);
}

static void another_certificate_than_the_members_is_refused(void **state)
{
    struct world *w = *state;
    char *wrong =
        xasprintf("127.0.0.1:%d/%s", peers_port(w->b.peers), peers_fingerprint(w->a.peers));
    struct peer_stream *stream;
    struct error *e;

    know_each_other(w);
    peer_stream_close(open_stream(w));
    peer_stream_close(other_end(w));
    w->taken = NULL;
    e = peer_stream_open(&w->arena, w->a.peers, w->b.id, wrong, NULL, SOON, &stream);
    assert_non_null(e);
    assert_non_null(strstr(e->params[0], "another certificate"));
    free(wrong);
}

static void silence_and_a_port_where_nobody_is_end_in_time(void **state)
{
    struct world *w = *state;
    struct peer_stream *stream;
    char data[8];
    size_t n;

    know_each_other(w);
    stream = open_stream(w);
    assert_int_equal(peer_stream_read(stream, data, sizeof data, &n, USEC_PER_SEC / 10),
                     PEER_IO_LATE);
    peer_stream_close(stream);
    assert_non_null(
        peer_stream_open(&w->arena, w->a.peers, w->b.id,
                         arena_printf(&w->arena, "127.0.0.1:1/%s", peers_fingerprint(w->b.peers)),
                         NULL, SOON, &stream));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_written_is_read_on_the_other_side_and_back),
        TEST(who_is_no_member_gets_no_stream),
        TEST(another_certificate_than_the_members_is_refused),
        TEST(silence_and_a_port_where_nobody_is_end_in_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
