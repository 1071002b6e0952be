/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* server.c -- the server over real sockets: requests and replies, limits, slow and absent clients.
 */
#include "harness.h"

static const struct http_limits usual = {0};

static void requests_follow_each_other_on_a_connection(void **state)
{
    struct harness *h = harness_new(usual, 0);
    struct client c = client_tcp(h->port);

    (void)state;
    ask(&c, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n", 200, "hello");
    ask(&c, "POST /echo HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 200, "abc");
    ask(&c, "\r\nGET /a%20b?name=q HTTP/1.1\r\nCookie: a=b; name=c%20k\r\n\r\n", 200, "/a b|c k");
    ask(&c, "GET /a?name=q HTTP/1.1\r\nCookie: a=b&names=d\r\n\r\n", 200, "/a|q");
    client_close(&c);
    harness_free(h);
}

static void a_reply_says_what_follows(void **state)
{
    struct harness *h = harness_new(usual, 1);
    struct client c = client_tcp(h->port);
    struct reply r;

    (void)state;
    client_send(&c, "GET /hello HTTP/1.1\r\n\r\n");
    r = client_read(&c);
    assert_non_null(strstr(r.head, "\r\nConnection: keep-alive\r\n"));
    assert_non_null(strstr(r.head, "\r\nContent-Length: 5\r\n"));
    assert_non_null(strstr(r.head, "\r\nContent-Type: text/plain\r\n"));
    assert_non_null(strstr(r.head, " GMT\r\n"));
    reply_release(&r);
    client_send(&c, "GET /hello HTTP/1.1\r\nConnection: close\r\n\r\n");
    r = client_read(&c);
    assert_non_null(strstr(r.head, "\r\nConnection: close\r\n"));
    reply_release(&r);
    assert_true(client_at_end(&c));
    client_close(&c);
    harness_free(h);
}

static void old_clients_are_closed_unless_they_ask(void **state)
{
    struct harness *h = harness_new(usual, 1);
    struct client c = client_tcp(h->port);

    (void)state;
    ask(&c, "GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", 200, "hello");
    ask(&c, "GET /hello HTTP/1.0\r\n\r\n", 200, "hello");
    assert_true(client_at_end(&c));
    client_close(&c);
    harness_free(h);
}

static void head_has_the_length_but_no_body(void **state)
{
    struct harness *h = harness_new(usual, 1);
    struct client c = client_tcp(h->port);
    struct reply r;

    (void)state;
    client_send(&c, "HEAD /hello HTTP/1.1\r\n\r\n");
    client_read_head(&c, &r);
    assert_int_equal(r.length, 5);
    client_send(&c, "HEAD /big?size=100000 HTTP/1.1\r\n\r\n");
    client_read_head(&c, &r);
    assert_int_equal(r.length, 100000);
    AWAIT(h, h->released == 1);
    ask(&c, "GET /hello HTTP/1.1\r\n\r\n", 200, "hello");
    client_close(&c);
    harness_free(h);
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    struct harness *h = harness_new(usual, 2);
    struct client c = client_tcp(h->port);
    struct buf many = {0};

    (void)state;
    /* The first is answered by another thread, after the second has arrived. */
    client_send(&c, "GET /hold HTTP/1.1\r\n\r\n"
                    "POST /echo HTTP/1.1\r\nContent-Length: 6\r\n\r\nsecond"
                    "GET /third HTTP/1.1\r\n\r\n");
    reply_text(take_waiting(h), "first");
    expect_reply(&c, 200, "first");
    expect_reply(&c, 200, "second");
    expect_reply(&c, 200, "/third|-");
    for (int i = 0; i < 200; i++)
        buf_printf(&many, "GET /%d HTTP/1.1\r\n\r\n", i);
    client_send(&c, many.data);
    buf_release(&many);
    for (int i = 0; i < 200; i++) {
        char expected[16];

        snprintf(expected, sizeof expected, "/%d|-", i);
        expect_reply(&c, 200, expected);
    }
    client_close(&c);
    harness_free(h);
}

static void a_request_may_come_byte_by_byte(void **state)
{
    static const char text[] = "POST /echo HTTP/1.1\r\nContent-Length: 5\r\n\r\nbytes";
    struct harness *h = harness_new(usual, 1);
    struct client plain = client_tcp(h->port), tls = client_tls(h->tls_port);

    (void)state;
    for (size_t i = 0; i < sizeof text - 1; i++) {
        assert_true(client_try_send(&plain, text + i, 1));
        assert_true(client_try_send(&tls, text + i, 1));
    }
    expect_reply(&plain, 200, "bytes");
    expect_reply(&tls, 200, "bytes");
    client_close(&plain);
    client_close(&tls);
    harness_free(h);
}

static void refusals_have_a_page_and_close(void **state)
{
    static const struct {
        const char *request;
        int status;
    } cases[] = {
        {"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
        {"POST /echo HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nGET", 400},
        {"GET /hello HTTP/1.1\nHost: x\n\n", 400},
        {"GET /hello HTTP/1.1\r\nA: b\r\n c\r\n\r\n", 400},
        {"POST /echo HTTP/1.1\r\nContent-Length: 307201\r\n\r\n", 413},
        {"POST /echo/small HTTP/1.1\r\nContent-Length: 11\r\n\r\nhello world", 413},
        {"POST /echo HTTP/1.1\r\n\r\n", 411},
        {"GET /hello HTTP/1.1\r\nExpect: miracles\r\n\r\n", 417},
        {"POST /nowhere HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 403},
        {"PUT /refused HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 401},
        {"BREW /hello HTTP/1.1\r\n\r\n", 501},
        {"GET /hello HTTP/3.0\r\n\r\n", 505},
    };
    struct harness *h = harness_new(usual, 2);

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct client c = client_tcp(h->port);
        struct reply r;

        client_send(&c, cases[i].request);
        r = client_read(&c);
        if (r.status != cases[i].status)
            fail_msg("%d for: %s", r.status, cases[i].request);
        assert_non_null(strstr(r.body, "<html>"));
        reply_release(&r);
        assert_true(client_at_end(&c));
        client_close(&c);
    }
    harness_free(h);
}

static void what_is_not_there_does_not_end_the_connection(void **state)
{
    struct harness *h = harness_new(usual, 1);
    struct client c = client_tcp(h->port);
    struct reply r;

    (void)state;
    ask(&c, "POST /nowhere HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 403, NULL);
    ask(&c, "OPTIONS / HTTP/1.1\r\n\r\n", 501, NULL);
    client_send(&c, "GET /denied HTTP/1.1\r\n\r\n");
    r = client_read(&c);
    assert_int_equal(r.status, 401);
    assert_non_null(strstr(r.head, "\r\nWWW-Authenticate: Basic realm=\"x\"\r\n"));
    assert_null(strstr(r.head, "\nInjected"));
    assert_non_null(strstr(r.body, "&lt;who?&gt;&quot;&amp;"));
    reply_release(&r);
    ask(&c, "GET /hello HTTP/1.1\r\n\r\n", 200, "hello");
    client_close(&c);
    harness_free(h);
}

static void a_long_head_is_refused_before_it_ends(void **state)
{
    struct harness *h = harness_new((struct http_limits){.header_bytes = 1000}, 1);
    struct client c = client_tcp(h->port);
    char junk[1000];

    (void)state;
    memset(junk, 'x', sizeof junk);
    client_send(&c, "GET / HTTP/1.1\r\nA: ");
    assert_true(client_try_send(&c, junk, sizeof junk));
    expect_reply(&c, 431, NULL);
    client_close(&c);
    harness_free(h);
}

static void a_refused_upload_still_sees_the_reply(void **state)
{
    struct harness *h = harness_new(usual, 1);
    struct client c = client_tcp(h->port);
    char *megabyte = xcalloc(1, 1 << 20);

    (void)state;
    client_send(&c, "POST /echo HTTP/1.1\r\nContent-Length: 4194304\r\n\r\n");
    for (int i = 0; i < 4; i++)
        assert_true(client_try_send(&c, megabyte, 1 << 20));
    expect_reply(&c, 413, NULL);
    free(megabyte);
    client_close(&c);
    harness_free(h);
}

static void continue_is_sent_when_the_body_is_wanted(void **state)
{
    struct harness *h = harness_new(usual, 1);
    struct client c = client_tcp(h->port);
    struct reply r;

    (void)state;
    client_send(&c, "POST /echo HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    client_read_head(&c, &r);
    assert_int_equal(r.status, 100);
    ask(&c, "body", 200, "body");
    /* Not where the body comes along, and not to be refused. */
    ask(&c, "POST /echo HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nbody", 200,
        "body");
    ask(&c, "POST /echo HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 999999\r\n\r\n", 413,
        NULL);
    client_close(&c);
    harness_free(h);
}

static void a_body_up_to_the_limit_arrives_whole(void **state)
{
    struct harness *h = harness_new(usual, 1);
    struct client c = client_tls(h->tls_port);
    char *body = xcalloc(1, 300 * 1024 + 1);

    (void)state;
    for (int i = 0; i < 300 * 1024; i++)
        body[i] = pattern_at(i);
    client_send(&c, "POST /echo HTTP/1.1\r\nContent-Length: 307200\r\n\r\n");
    client_send(&c, body);
    expect_reply(&c, 200, body);
    free(body);
    client_close(&c);
    harness_free(h);
}

static void read_pattern(struct client *c, int64_t from, int64_t to)
{
    static char block[1 << 16];

    while (from < to) {
        size_t n = client_recv(c, block, (size_t)MIN((int64_t)sizeof block, to - from));

        assert_true(n > 0);
        for (size_t i = 0; i < n; i++)
            if (block[i] != pattern_at(from + (int64_t)i))
                fail_msg("wrong byte at %lld", (long long)from + (long long)i);
        from += (int64_t)n;
    }
}

static void slow_reader(bool tls)
{
    struct harness *h = harness_new(usual, 1);
    struct client c = tls ? client_tls(h->tls_port) : client_tcp_window(h->port, 65536);
    struct client other = client_tcp(h->port);
    const int64_t size = 48 << 20;
    struct reply r;

    client_send(&c, "GET /big?size=50331648 HTTP/1.1\r\n\r\n");
    client_read_head(&c, &r);
    assert_true(r.length == size);
    read_pattern(&c, 0, 1 << 20);
    /* The one loop there is has time for others, and makes no more than the sockets hold. */
    for (int i = 0; i < 100; i++)
        ask(&other, "GET /hello HTTP/1.1\r\n\r\n", 200, "hello");
    mutex_lock(&h->mutex);
    assert_true(h->produced < 24 << 20);
    mutex_unlock(&h->mutex);
    read_pattern(&c, 1 << 20, size);
    AWAIT(h, h->released == 1);
    ask(&c, "GET /hello HTTP/1.1\r\n\r\n", 200, "hello");
    client_close(&c);
    client_close(&other);
    harness_free(h);
}

static void a_slow_reader_costs_no_memory(void **state)
{
    (void)state;
    slow_reader(false);
}

static void a_slow_reader_over_tls_costs_no_memory(void **state)
{
    (void)state;
    slow_reader(true);
}

static void a_reader_that_stops_is_closed(void **state)
{
    struct harness *h = harness_new((struct http_limits){.write_stall = 200 * USEC_PER_MSEC}, 1);
    struct client c = client_tcp_window(h->port, 65536);

    (void)state;
    client_send(&c, "GET /big?size=50331648 HTTP/1.1\r\n\r\n");
    AWAIT(h, h->released == 1);
    assert_true(h->produced < 48 << 20);
    client_close(&c);
    harness_free(h);
}

static void a_body_shorter_than_announced_is_cut_off(void **state)
{
    struct harness *h = harness_new(usual, 1);
    struct client c = client_tcp(h->port);
    char rest[1000];

    (void)state;
    client_send(&c, "GET /short HTTP/1.1\r\n\r\n");
    AWAIT(h, h->released == 1);
    assert_false(client_read_exactly(&c, rest, sizeof rest));
    client_close(&c);
    harness_free(h);
}

static void a_slow_head_and_a_slow_body_are_told_408(void **state)
{
    static const char *const parts[] = {"GET /hello HTT",
                                        "POST /echo HTTP/1.1\r\nContent-Length: 5\r\n\r\nabc"};
    struct harness *h = harness_new((struct http_limits){.read_timeout = 100 * USEC_PER_MSEC,
                                                         .body_timeout = 100 * USEC_PER_MSEC},
                                    1);

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        struct client c = client_tcp(h->port);

        ask(&c, parts[i], 408, NULL);
        assert_true(client_at_end(&c));
        client_close(&c);
    }
    harness_free(h);
}

static void a_head_has_a_time_in_all(void **state)
{
    struct harness *h = harness_new((struct http_limits){.header_timeout = 300 * USEC_PER_MSEC}, 1);
    struct client c = client_tcp(h->port);
    usec_t begin = clock_mono();
    struct timeval tick = {0, 20000};
    char byte;

    (void)state;
    client_send(&c, "GET / HTTP/1.1\r\nA: ");
    setsockopt(c.fd, SOL_SOCKET, SO_RCVTIMEO, &tick, sizeof tick);
    /* A byte every now and then does not help; reading is the pause between them. */
    while (recv(c.fd, &byte, 1, MSG_PEEK) < 0 && clock_mono() < begin + PATIENCE)
        client_try_send(&c, "x", 1);
    expect_reply(&c, 408, NULL);
    client_close(&c);
    harness_free(h);
}

static void idle_connections_end_in_silence(void **state)
{
    struct harness *h = harness_new((struct http_limits){.idle_timeout = 500 * USEC_PER_MSEC,
                                                         .header_timeout = 500 * USEC_PER_MSEC},
                                    1);
    struct client fresh = client_tcp(h->port), used = client_tls(h->tls_port);
    struct client mute = client_tcp(h->tls_port);

    (void)state;
    ask(&used, "GET /hello HTTP/1.1\r\n\r\n", 200, "hello");
    assert_true(client_at_end(&fresh));
    assert_true(client_at_end(&used));
    assert_true(client_at_end(&mute));
    client_close(&fresh);
    client_close(&used);
    client_close(&mute);
    harness_free(h);
}

static void a_pending_request_outlasts_the_timeouts(void **state)
{
    struct harness *h = harness_new((struct http_limits){.idle_timeout = 250 * USEC_PER_MSEC,
                                                         .read_timeout = 250 * USEC_PER_MSEC,
                                                         .write_stall = 250 * USEC_PER_MSEC},
                                    1);
    struct client c = client_tcp(h->port), other = client_tcp(h->port);

    (void)state;
    client_send(&c, "GET /poll HTTP/1.1\r\n\r\n");
    AWAIT(h, h->waiting);
    /* Another connection meets its idle timeout meanwhile. */
    ask(&other, "GET /hello HTTP/1.1\r\n\r\n", 200, "hello");
    assert_true(client_at_end(&other));
    reply_text(take_waiting(h), "late");
    expect_reply(&c, 200, "late");
    assert_int_equal(h->gone, 0);
    client_close(&c);
    client_close(&other);
    harness_free(h);
}

static void a_long_poll_learns_that_its_client_has_gone(void **state)
{
    struct harness *h = harness_new(usual, 2);

    (void)state;
    for (int tls = 0; tls < 2; tls++) {
        struct client c = tls ? client_tls(h->tls_port) : client_tcp(h->port);

        client_send(&c, "GET /poll HTTP/1.1\r\n\r\n");
        AWAIT(h, h->waiting);
        client_close(&c);
        AWAIT(h, h->gone == tls + 1);
    }
    harness_free(h);
}

static void a_client_gone_is_seen_behind_a_flood(void **state)
{
    struct harness *h = harness_new(usual, 1);
    struct client c = client_tcp(h->port);
    char *junk = xcalloc(1, 96 << 10);

    (void)state;
    client_send(&c, "GET /poll HTTP/1.1\r\n\r\n");
    AWAIT(h, h->waiting);
    assert_true(client_try_send(&c, junk, 96 << 10));
    free(junk);
    client_close(&c);
    AWAIT(h, h->gone == 1);
    harness_free(h);
}

static void a_late_answer_to_nobody_is_freed(void **state)
{
    struct harness *h = harness_new(usual, 1);
    struct client c = client_tcp(h->port);
    struct linger reset = {1, 0};
    struct http_request *request;
    struct pattern *p = xcalloc(1, sizeof *p);

    (void)state;
    client_send(&c, "GET /hold HTTP/1.1\r\n\r\n");
    request = take_waiting(h);
    setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    client_close(&c);
    while (!http_client_gone(request))
        clock_sleep(USEC_PER_MSEC);
    p->h = h;
    p->body = (struct http_body){.size = 5, .next = pattern_next, .release = pattern_release};
    http_reply(request, &(struct http_response){.status = 200, .body = &p->body});
    AWAIT(h, h->released == 1);
    assert_true(h->produced == 0);
    harness_free(h);
}

static void a_half_closed_client_gets_its_reply(void **state)
{
    struct harness *h = harness_new(usual, 1);
    struct client c = client_tcp(h->port);

    (void)state;
    client_send(&c, "GET /hold HTTP/1.1\r\n\r\n");
    AWAIT(h, h->waiting);
    shutdown(c.fd, SHUT_WR);
    reply_text(take_waiting(h), "still");
    expect_reply(&c, 200, "still");
    assert_true(client_at_end(&c));
    client_close(&c);
    harness_free(h);
}

static void the_number_of_connections_is_limited(void **state)
{
    struct harness *h =
        harness_new((struct http_limits){.connections = 3, .unix_connections = 1}, 1);
    struct client c[3], more, local = client_unix(h->path);

    (void)state;
    for (int i = 0; i < 3; i++) {
        c[i] = client_tcp(h->port);
        ask(&c[i], "GET /hello HTTP/1.1\r\n\r\n", 200, "hello");
    }
    more = client_tcp(h->port);
    expect_reply(&more, 503, NULL);
    assert_true(client_at_end(&more));
    client_close(&more);
    /* Local programs have places of their own. */
    ask(&local, "GET /hello HTTP/1.1\r\n\r\n", 200, "hello");
    more = client_unix(h->path);
    expect_reply(&more, 503, NULL);
    client_close(&more);
    for (int i = 0; i < 3; i++)
        client_close(&c[i]);
    client_close(&local);
    harness_free(h);
}

static void the_connections_of_an_address_are_limited(void **state)
{
    struct harness *h = harness_new((struct http_limits){.connections_per_address = 1}, 1);
    struct client c = client_tcp(h->port), more;
    usec_t end = clock_mono() + PATIENCE;
    struct reply r = {0};

    (void)state;
    ask(&c, "GET /hello HTTP/1.1\r\n\r\n", 200, "hello");
    more = client_tcp(h->port);
    expect_reply(&more, 503, NULL);
    client_close(&more);
    client_close(&c);
    /* The place becomes free once the server has seen the end. */
    while (r.status != 200 && clock_mono() < end) {
        more = client_tcp(h->port);
        client_try_send(&more, "GET /hello HTTP/1.1\r\n\r\n", 23);
        reply_release(&r);
        r = client_read(&more);
        client_close(&more);
    }
    assert_int_equal(r.status, 200);
    reply_release(&r);
    harness_free(h);
}

static void a_unix_socket_has_its_mode_and_replaces_a_stale_one(void **state)
{
    struct harness *h = harness_new(usual, 1);
    struct client c = client_unix(h->path);
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    char stale[96];
    struct stat st;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    (void)state;
    assert_int_equal(stat(h->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    ask(&c, "GET /hello HTTP/1.1\r\n\r\n", 200, "hello");
    assert_non_null(http_listen_unix(&h->arena, h->server, h->path, 0600));
    snprintf(stale, sizeof stale, "%s/stale", h->dir);
    memcpy(at.sun_path, stale, strlen(stale) + 1);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    close(fd);
    assert_null(http_listen_unix(&h->arena, h->server, stale, 0666));
    client_close(&c);
    c = client_unix(stale);
    ask(&c, "GET /hello HTTP/1.1\r\n\r\n", 200, "hello");
    client_close(&c);
    /* A file that is no socket is nobody's to remove. */
    assert_non_null(http_listen_unix(&h->arena, h->server, h->cert, 0600));
    assert_int_equal(access(h->cert, R_OK), 0);
    harness_free(h);
}

static void say_hello(void *arg)
{
    on_hello(arg, NULL);
}

static void ending_lets_replies_finish_and_closes_the_rest(void **state)
{
    struct harness *h = harness_new(usual, 2);
    struct client busy = client_tcp(h->port), idle = client_tls(h->tls_port);
    struct http_request *request;

    (void)state;
    ask(&idle, "GET /hello HTTP/1.1\r\n\r\n", 200, "hello");
    client_send(&busy, "GET /hold HTTP/1.1\r\n\r\n");
    request = take_waiting(h);
    /* Answered from a loop, during the grace. */
    http_post_after(h->server, 300 * USEC_PER_MSEC, say_hello, request);
    http_server_free(h->server, 10 * USEC_PER_SEC);
    h->server = NULL;
    expect_reply(&busy, 200, "hello");
    assert_true(client_at_end(&busy));
    assert_true(client_at_end(&idle));
    client_close(&busy);
    client_close(&idle);
    harness_free(h);
}

static void requests_outlive_the_server(void **state)
{
    struct harness *h = harness_new(usual, 2);
    struct client held = client_tcp(h->port), polling = client_tcp(h->port);
    struct http_request *request;

    (void)state;
    client_send(&held, "GET /hold HTTP/1.1\r\n\r\n");
    request = take_waiting(h);
    client_send(&polling, "GET /poll HTTP/1.1\r\n\r\n");
    AWAIT(h, h->waiting);
    http_server_free(h->server, 0);
    h->server = NULL;
    assert_int_equal(h->gone, 1);
    assert_true(http_client_gone(request));
    reply_text(request, "too late");
    assert_true(client_at_end(&held));
    client_close(&held);
    client_close(&polling);
    harness_free(h);
}

struct chance {
    struct harness *h;
    int runs;
};

static void chance_taken(void *arg)
{
    struct chance *c = arg;

    harness_set(c->h, &c->runs, c->runs + 1);
}

static void timers_run_once_or_not_at_all(void **state)
{
    struct harness *h = harness_new(usual, 2);
    struct chance soon = {h, 0}, never = {h, 0}, posted = {h, 0}, after = {h, 0}, early = {h, 0};
    struct http_timer *a = http_timer_start(h->server, USEC_PER_MSEC, chance_taken, &soon);
    struct http_timer *b = http_timer_start(h->server, 3600 * USEC_PER_SEC, chance_taken, &never);
    struct http_timer *c = http_timer_start(h->server, 3600 * USEC_PER_SEC, chance_taken, &never);

    (void)state;
    http_post(h->server, chance_taken, &posted);
    http_post_after(h->server, USEC_PER_MSEC, chance_taken, &after);
    http_post_after(h->server, 3600 * USEC_PER_SEC, chance_taken, &early);
    AWAIT(h, soon.runs && posted.runs && after.runs);
    assert_false(http_timer_cancel(a));
    assert_true(http_timer_cancel(b));
    http_server_free(h->server, 0);
    h->server = NULL;
    assert_true(http_timer_cancel(c));
    assert_int_equal(never.runs, 0);
    assert_int_equal(early.runs, 1);
    harness_free(h);
}

#define THREADS 4
#define CALLS 200

struct caller {
    struct harness *h;
    struct thread thread;
    bool tls;
    int good;
};

static void *caller_main(void *arg)
{
    struct caller *caller = arg;
    struct client c = caller->tls ? client_tls(caller->h->tls_port) : client_tcp(caller->h->port);

    for (int i = 0; i < CALLS; i++) {
        struct reply r;

        client_send(&c, "POST /echo HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc");
        r = client_read(&c);
        caller->good += r.status == 200 && strcmp(r.body, "abc") == 0;
        reply_release(&r);
    }
    client_close(&c);
    return NULL;
}

static void many_clients_are_served_at_once(void **state)
{
    struct harness *h = harness_new(usual, 2);
    struct caller callers[THREADS] = {0};

    (void)state;
    for (int i = 0; i < THREADS; i++) {
        callers[i].h = h;
        callers[i].tls = i % 2;
        thread_start(&callers[i].thread, "caller", caller_main, &callers[i]);
    }
    for (int i = 0; i < THREADS; i++) {
        thread_join(&callers[i].thread);
        assert_int_equal(callers[i].good, CALLS);
    }
    harness_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_follow_each_other_on_a_connection),
        cmocka_unit_test(a_reply_says_what_follows),
        cmocka_unit_test(old_clients_are_closed_unless_they_ask),
        cmocka_unit_test(head_has_the_length_but_no_body),
        cmocka_unit_test(pipelined_requests_are_answered_in_order),
        cmocka_unit_test(a_request_may_come_byte_by_byte),
        cmocka_unit_test(refusals_have_a_page_and_close),
        cmocka_unit_test(what_is_not_there_does_not_end_the_connection),
        cmocka_unit_test(a_long_head_is_refused_before_it_ends),
        cmocka_unit_test(a_refused_upload_still_sees_the_reply),
        cmocka_unit_test(continue_is_sent_when_the_body_is_wanted),
        cmocka_unit_test(a_body_up_to_the_limit_arrives_whole),
        cmocka_unit_test(a_slow_reader_costs_no_memory),
        cmocka_unit_test(a_slow_reader_over_tls_costs_no_memory),
        cmocka_unit_test(a_reader_that_stops_is_closed),
        cmocka_unit_test(a_body_shorter_than_announced_is_cut_off),
        cmocka_unit_test(a_slow_head_and_a_slow_body_are_told_408),
        cmocka_unit_test(a_head_has_a_time_in_all),
        cmocka_unit_test(idle_connections_end_in_silence),
        cmocka_unit_test(a_pending_request_outlasts_the_timeouts),
        cmocka_unit_test(a_long_poll_learns_that_its_client_has_gone),
        cmocka_unit_test(a_client_gone_is_seen_behind_a_flood),
        cmocka_unit_test(a_late_answer_to_nobody_is_freed),
        cmocka_unit_test(a_half_closed_client_gets_its_reply),
        cmocka_unit_test(the_number_of_connections_is_limited),
        cmocka_unit_test(the_connections_of_an_address_are_limited),
        cmocka_unit_test(a_unix_socket_has_its_mode_and_replaces_a_stale_one),
        cmocka_unit_test(ending_lets_replies_finish_and_closes_the_rest),
        cmocka_unit_test(requests_outlive_the_server),
        cmocka_unit_test(timers_run_once_or_not_at_all),
        cmocka_unit_test(many_clients_are_served_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
