/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tests of streams between daemons. */
#include <stdlib.h>
#include <string.h>

#include "libxapi/base/memory.h"
#include "pair.h"

#define MUCH ((size_t)8 << 20)

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

static void who_has_said_all_still_hears_the_answer(void **state)
{
    struct world *w = *state;
    struct peer_stream *mine, *theirs;
    char data[8];
    size_t n;

    know_each_other(w);
    mine = open_stream(w);
    theirs = other_end(w);
    assert_int_equal(peer_stream_write(mine, "ask", 3, SOON), PEER_IO_DONE);
    peer_stream_end(mine);
    assert_int_equal(peer_stream_read(theirs, data, sizeof data, &n, SOON), PEER_IO_DONE);
    assert_int_equal(n, 3);
    assert_int_equal(peer_stream_read(theirs, data, sizeof data, &n, SOON), PEER_IO_END);
    assert_int_equal(peer_stream_write(theirs, "answer", 6, SOON), PEER_IO_DONE);
    assert_int_equal(peer_stream_read(mine, data, sizeof data, &n, SOON), PEER_IO_DONE);
    assert_int_equal(n, 6);
    peer_stream_close(mine);
}

static void a_stream_goes_to_those_who_serve_its_kind(void **state)
{
    struct world *w = *state;
    struct peer_stream *stream;

    know_each_other(w);
    peer_stream_close(open_stream(w));
    peer_stream_close(other_end(w));
    w->taken = NULL;
    assert_non_null(peer_stream_open(&w->arena, w->a.peers, w->b.id, PEER_STREAM_RELAY,
                                     w->b.address, NULL, SOON, &stream));
    assert_null(w->taken);
}

static void who_is_no_member_gets_no_stream(void **state)
{
    struct world *w = *state;
    struct peer_stream *stream;

    assert_non_null(peer_stream_open(&w->arena, w->a.peers, w->b.id, PEER_STREAM_MIGRATE,
                                     w->b.address, NULL, SOON, &stream));
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
    e = peer_stream_open(&w->arena, w->a.peers, w->b.id, PEER_STREAM_MIGRATE, wrong, NULL, SOON,
                         &stream);
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
        peer_stream_open(&w->arena, w->a.peers, w->b.id, PEER_STREAM_MIGRATE,
                         arena_printf(&w->arena, "127.0.0.1:1/%s", peers_fingerprint(w->b.peers)),
                         NULL, SOON, &stream));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_written_is_read_on_the_other_side_and_back),
        TEST(who_has_said_all_still_hears_the_answer),
        TEST(a_stream_goes_to_those_who_serve_its_kind),
        TEST(who_is_no_member_gets_no_stream),
        TEST(another_certificate_than_the_members_is_refused),
        TEST(silence_and_a_port_where_nobody_is_end_in_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
