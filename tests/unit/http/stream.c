/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* stream.c -- connections taken over, TLS, certificates. */
#include "harness.h"

#include <openssl/evp.h>
#include <openssl/x509v3.h>

static const struct http_limits usual = {0};

static void echo_both_ways(struct harness *h, struct client *c, const char *request)
{
    char got[16] = "";
    struct reply r;

    h->worker_result = 0;
    thread_start(&h->worker, "worker", echo_worker, h);
    /* What follows the head at once is not lost. */
    client_send(c, request);
    client_read_head(c, &r);
    assert_int_equal(r.status, 200);
    assert_true(client_read_exactly(c, got, 5));
    assert_string_equal(got, "early");
    client_send(c, "later");
    assert_true(client_read_exactly(c, got, 5));
    assert_string_equal(got, "later");
    client_send(c, "end.");
    assert_true(client_read_exactly(c, got, 4));
    assert_true(client_at_end(c));
    if (c->ssl)
        assert_int_equal(SSL_get_shutdown(c->ssl) & SSL_RECEIVED_SHUTDOWN, SSL_RECEIVED_SHUTDOWN);
    client_close(c);
    thread_join(&h->worker);
    assert_int_equal(h->worker_result, 1);
}

static void a_connection_can_be_taken_over(void **state)
{
    static const char connect_request[] = "CONNECT /stream?x=y HTTP/1.0\r\n\r\nearly";
    static const char put_request[] =
        "PUT /stream HTTP/1.1\r\nContent-Length: 1125899906842624\r\n\r\nearly";
    struct harness *h = harness_new(usual, 2);
    struct client c;

    (void)state;
    c = client_tls(h->tls_port);
    echo_both_ways(h, &c, connect_request);
    c = client_tls(h->tls_port);
    ask(&c, "GET /hello HTTP/1.1\r\n\r\n", 200, "hello");
    echo_both_ways(h, &c, put_request);
    c = client_tcp(h->port);
    echo_both_ways(h, &c, connect_request);
    c = client_unix(h->path);
    echo_both_ways(h, &c, put_request);
    harness_free(h);
}

static void a_stream_sends_continue_where_asked(void **state)
{
    struct harness *h = harness_new(usual, 1);
    struct client c = client_tls(h->tls_port);
    struct reply r;

    (void)state;
    thread_start(&h->worker, "worker", echo_worker, h);
    client_send(&c, "PUT /stream HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n");
    client_read_head(&c, &r);
    assert_int_equal(r.status, 100);
    client_read_head(&c, &r);
    assert_int_equal(r.status, 200);
    assert_true(r.length == -1);
    client_send(&c, ".");
    client_close(&c);
    harness_free(h);
}

static void a_stream_sees_its_client_go(void **state)
{
    struct harness *h = harness_new(usual, 1);
    struct client c = client_tls(h->tls_port);
    struct reply r;

    (void)state;
    thread_start(&h->worker, "worker", echo_worker, h);
    client_send(&c, "CONNECT /stream HTTP/1.1\r\n\r\n");
    client_read_head(&c, &r);
    client_close(&c);
    AWAIT(h, h->worker_result == 2);
    harness_free(h);
}

static void much_goes_through_a_stream(void **state)
{
    struct harness *h = harness_new(usual, 1);
    struct client c = client_tls(h->tls_port);
    char out[10000], in[10000];
    struct reply r;

    (void)state;
    thread_start(&h->worker, "worker", echo_worker, h);
    client_send(&c, "CONNECT /stream HTTP/1.1\r\n\r\n");
    client_read_head(&c, &r);
    for (int i = 0; i < 200; i++) {
        memset(out, 'a' + i % 26, sizeof out);
        assert_true(client_try_send(&c, out, sizeof out));
        assert_true(client_read_exactly(&c, in, sizeof in));
        assert_memory_equal(in, out, sizeof in);
    }
    client_close(&c);
    harness_free(h);
}

static void reads_and_waits_of_a_stream_have_an_end(void **state)
{
    struct harness *h = harness_new(usual, 1);
    struct client c = client_tls(h->tls_port);
    struct http_stream *s;
    bool other = false;
    int pipes[2];
    char byte;

    (void)state;
    client_send(&c, "CONNECT /stream HTTP/1.1\r\n\r\n");
    s = http_take_over(take_waiting(h));
    assert_int_equal(http_stream_read(s, &byte, 1, 10 * USEC_PER_MSEC), -1);
    assert_int_equal(errno, ETIMEDOUT);
    assert_int_equal(pipe(pipes), 0);
    assert_false(http_stream_wait(s, pipes[0], &other, 10 * USEC_PER_MSEC));
    assert_false(other);
    assert_int_equal(write(pipes[1], "x", 1), 1);
    assert_false(http_stream_wait(s, pipes[0], &other, PATIENCE));
    assert_true(other);
    client_send(&c, "y");
    assert_true(http_stream_wait(s, -1, &other, PATIENCE));
    assert_true(http_stream_wait(s, pipes[0], &other, PATIENCE));
    assert_true(other);
    assert_int_equal(http_stream_read(s, &byte, 1, PATIENCE), 1);
    assert_int_equal(byte, 'y');
    assert_true(http_stream_error(s, 503, "busy"));
    http_stream_close(s);
    expect_reply(&c, 503, NULL);
    assert_true(client_at_end(&c));
    close(pipes[0]);
    close(pipes[1]);
    client_close(&c);
    harness_free(h);
}

static void a_stream_refused_in_mid_upload_is_still_told(void **state)
{
    struct harness *h = harness_new(usual, 1);
    struct client c = client_tcp(h->port);
    char *megabyte = xcalloc(1, 1 << 20);
    struct http_stream *s;

    (void)state;
    client_send(&c, "PUT /stream HTTP/1.1\r\nContent-Length: 1125899906842624\r\n\r\n");
    s = http_take_over(take_waiting(h));
    assert_true(http_stream_error(s, 400, NULL));
    http_stream_close(s);
    assert_true(client_try_send(&c, megabyte, 1 << 20));
    expect_reply(&c, 400, NULL);
    free(megabyte);
    client_close(&c);
    harness_free(h);
}

static void a_stream_nobody_reads_fails_to_write(void **state)
{
    struct harness *h = harness_new(usual, 1);
    struct client c = client_tcp(h->port);
    char *block = xcalloc(1, 64 << 20);
    struct http_stream *s;

    (void)state;
    client_send(&c, "CONNECT /stream HTTP/1.1\r\n\r\n");
    s = http_take_over(take_waiting(h));
    assert_false(http_stream_write(s, block, 64 << 20, 50 * USEC_PER_MSEC));
    assert_int_equal(errno, ETIMEDOUT);
    free(block);
    http_stream_close(s);
    client_close(&c);
    harness_free(h);
}

static void a_connection_gone_before_it_is_taken_over_only_fails(void **state)
{
    struct harness *h = harness_new(usual, 1);
    struct client c = client_tcp(h->port);
    struct linger reset = {1, 0};
    struct http_request *request;
    struct http_stream *s;
    char byte;

    (void)state;
    client_send(&c, "CONNECT /stream HTTP/1.1\r\n\r\n");
    request = take_waiting(h);
    setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    client_close(&c);
    while (!http_client_gone(request))
        clock_sleep(USEC_PER_MSEC);
    s = http_take_over(request);
    assert_int_equal(http_stream_read(s, &byte, 1, PATIENCE), -1);
    assert_false(http_stream_write(s, "x", 1, PATIENCE));
    http_stream_close(s);
    harness_free(h);
}

static void streams_outlive_the_server(void **state)
{
    struct harness *h = harness_new(usual, 2);
    struct client c = client_tls(h->tls_port), late = client_tcp(h->port);
    struct http_request *request;
    struct http_stream *s;
    struct reply r;
    char byte;

    (void)state;
    client_send(&late, "CONNECT /stream HTTP/1.1\r\n\r\n");
    request = take_waiting(h);
    thread_start(&h->worker, "worker", echo_worker, h);
    client_send(&c, "CONNECT /stream HTTP/1.1\r\n\r\n");
    client_read_head(&c, &r);
    http_server_free(h->server, 0);
    h->server = NULL;
    AWAIT(h, h->worker_result != 0);
    s = http_take_over(request);
    assert_int_equal(http_stream_read(s, &byte, 1, PATIENCE), -1);
    http_stream_close(s);
    client_close(&c);
    client_close(&late);
    harness_free(h);
}

static void tls_speaks_only_what_is_safe(void **state)
{
    struct harness *h = harness_new(usual, 1);
    struct client c;
    const unsigned char *protocol;
    unsigned size;

    (void)state;
    assert_false(client_tls_try(h->tls_port, TLS1_1_VERSION, NULL, &c));
    client_close(&c);
    assert_true(client_tls_try(h->tls_port, TLS1_2_VERSION, NULL, &c));
    assert_string_equal(SSL_get_version(c.ssl), "TLSv1.2");
    ask(&c, "GET /hello HTTP/1.1\r\n\r\n", 200, "hello");
    client_close(&c);
    assert_true(client_tls_try(h->tls_port, 0, "\x02h2\x08http/1.1", &c));
    assert_string_equal(SSL_get_version(c.ssl), "TLSv1.3");
    SSL_get0_alpn_selected(c.ssl, &protocol, &size);
    assert_memory_equal(protocol, "http/1.1", size);
    ask(&c, "GET /hello HTTP/1.1\r\n\r\n", 200, "hello");
    client_close(&c);
    assert_false(client_tls_try(h->tls_port, 0, "\x02h2", &c));
    client_close(&c);
    c = client_tcp(h->tls_port);
    client_send(&c, "GET /hello HTTP/1.1\r\n\r\n");
    while (!client_at_end(&c))
        ;
    client_close(&c);
    harness_free(h);
}

static void fingerprint_of(struct client *c, unsigned char out[32])
{
    X509 *cert = SSL_get1_peer_certificate(c->ssl);
    unsigned n = 32;

    assert_int_equal(X509_digest(cert, EVP_sha256(), out, &n), 1);
    X509_free(cert);
}

static void a_new_certificate_is_for_new_connections(void **state)
{
    struct harness *h = harness_new(usual, 2);
    struct client old = client_tls(h->tls_port), fresh;
    unsigned char before[32], after[32];
    FILE *f;

    (void)state;
    fingerprint_of(&old, before);
    ask(&old, "GET /hello HTTP/1.1\r\n\r\n", 200, "hello");
    unlink(h->cert);
    assert_null(certificate_ensure(&h->arena, h->cert, "test"));
    assert_null(http_reload_certificate(&h->arena, h->server));
    fresh = client_tls(h->tls_port);
    fingerprint_of(&fresh, after);
    assert_memory_not_equal(before, after, 32);
    ask(&fresh, "GET /hello HTTP/1.1\r\n\r\n", 200, "hello");
    ask(&old, "GET /hello HTTP/1.1\r\n\r\n", 200, "hello");
    client_close(&fresh);
    client_close(&old);
    /* A file that is no good changes nothing. */
    f = fopen(h->cert, "w");
    fputs("nonsense\n", f);
    fclose(f);
    assert_non_null(http_reload_certificate(&h->arena, h->server));
    fresh = client_tls(h->tls_port);
    fingerprint_of(&fresh, before);
    assert_memory_equal(before, after, 32);
    client_close(&fresh);
    harness_free(h);
}

static void the_certificate_is_made_once(void **state)
{
    struct harness *h = harness_new(usual, 1);
    struct certificate_info first, second;
    char aside[112];
    struct stat st;
    FILE *f;

    (void)state;
    assert_int_equal(stat(h->cert, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_null(certificate_read(&h->arena, h->cert, &first));
    assert_null(certificate_ensure(&h->arena, h->cert, "test"));
    assert_null(certificate_read(&h->arena, h->cert, &second));
    assert_string_equal(first.sha256, second.sha256);
    assert_int_equal(strlen(first.sha256), 95);
    assert_int_equal(strlen(first.sha1), 59);
    assert_non_null(strstr(first.pem, "BEGIN CERTIFICATE"));
    assert_null(strstr(first.pem, "PRIVATE"));
    assert_true(first.not_before < clock_wall());
    assert_true(first.not_after > clock_wall() + (usec_t)3000 * 86400 * USEC_PER_SEC);
    /* A broken one is kept aside. */
    f = fopen(h->cert, "w");
    fputs("nonsense\n", f);
    fclose(f);
    assert_null(certificate_ensure(&h->arena, h->cert, "test"));
    assert_null(certificate_read(&h->arena, h->cert, &second));
    assert_string_not_equal(first.sha256, second.sha256);
    snprintf(aside, sizeof aside, "%s.bad", h->cert);
    assert_int_equal(unlink(aside), 0);
    assert_non_null(certificate_read(&h->arena, "/nonexistent/file", &second));
    assert_non_null(certificate_ensure(&h->arena, "/nonexistent/file", "test"));
    harness_free(h);
}

static void the_certificate_names_the_host_in_every_way(void **state)
{
    struct harness *h = harness_new(usual, 1);
    struct client c = client_tls(h->tls_port);
    X509 *cert = SSL_get1_peer_certificate(c.ssl);
    char host[256] = "";

    (void)state;
    gethostname(host, sizeof host - 1);
    assert_int_equal(X509_check_host(cert, "localhost", 0, 0, NULL), 1);
    assert_int_equal(X509_check_host(cert, "test", 0, 0, NULL), 1);
    assert_int_equal(X509_check_host(cert, host, 0, 0, NULL), 1);
    assert_int_equal(X509_check_host(cert, "elsewhere", 0, 0, NULL), 0);
    assert_int_equal(X509_check_ip_asc(cert, "127.0.0.1", 0), 1);
    assert_int_equal(X509_check_ip_asc(cert, "::1", 0), 1);
    assert_string_equal(EVP_PKEY_get0_type_name(X509_get0_pubkey(cert)), "EC");
    X509_free(cert);
    client_close(&c);
    harness_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_connection_can_be_taken_over),
        cmocka_unit_test(a_stream_sends_continue_where_asked),
        cmocka_unit_test(a_stream_sees_its_client_go),
        cmocka_unit_test(much_goes_through_a_stream),
        cmocka_unit_test(reads_and_waits_of_a_stream_have_an_end),
        cmocka_unit_test(a_stream_refused_in_mid_upload_is_still_told),
        cmocka_unit_test(a_stream_nobody_reads_fails_to_write),
        cmocka_unit_test(a_connection_gone_before_it_is_taken_over_only_fails),
        cmocka_unit_test(streams_outlive_the_server),
        cmocka_unit_test(tls_speaks_only_what_is_safe),
        cmocka_unit_test(a_new_certificate_is_for_new_connections),
        cmocka_unit_test(the_certificate_is_made_once),
        cmocka_unit_test(the_certificate_names_the_host_in_every_way),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
