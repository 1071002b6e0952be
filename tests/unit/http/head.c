/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* head.c -- request heads: what is understood and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "xapid/http/head.h"

/* 0 for a head that is taken, otherwise the status it is refused with; 1 when it is not complete.
 */
static int judge(struct arena *arena, const char *data, size_t size, struct http_head *head)
{
    struct http_scan scan = {0};
    ssize_t n = http_head_scan(&scan, data, size, 16384);

    if (n <= 0)
        return n < 0 ? (int)-n : 1;
    return http_head_parse(arena, data, (size_t)n, head);
}

static int verdict(const char *text)
{
    struct arena arena = {0};
    struct http_head head;
    int status = judge(&arena, text, strlen(text), &head);

    arena_release(&arena);
    return status;
}

static void a_head_is_taken_apart(void **state)
{
    static const char text[] =
        "PUT /import%20it/?session_id=OpaqueRef:1&a=1&a=2+3&flag&=x HTTP/1.1\r\n"
        "HOST: here\r\nEmpty:\r\nX-Spaces:  a b \t \r\n"
        "Content-Length: 1125899906842624\r\nLast:\r\n\r\nbody";
    struct arena arena = {0};
    struct http_head head;

    (void)state;
    assert_int_equal(judge(&arena, text, sizeof text - 1, &head), 0);
    assert_int_equal(head.method, HTTP_M_PUT);
    assert_int_equal(head.minor_version, 1);
    assert_true(head.keep_alive);
    assert_string_equal(head.path, "/import it/");
    assert_true(strncmp(head.target, "/import%20it/?session_id", 24) == 0);
    assert_int_equal(head.n_headers, 5);
    assert_string_equal(head.headers[0].name, "host");
    assert_string_equal(head.headers[0].value, "here");
    assert_string_equal(head.headers[1].name, "empty");
    assert_string_equal(head.headers[1].value, "");
    assert_string_equal(head.headers[2].value, "a b");
    assert_string_equal(head.headers[4].name, "last");
    assert_true(head.content_length == INT64_C(1125899906842624));
    assert_int_equal(head.n_query, 5);
    assert_string_equal(head.query[0].value, "OpaqueRef:1");
    assert_string_equal(head.query[2].value, "2 3");
    assert_string_equal(head.query[3].name, "flag");
    assert_string_equal(head.query[3].value, "");
    arena_release(&arena);
}

static void the_end_is_found_however_the_bytes_arrive(void **state)
{
    static const char text[] = "\r\nGET / HTTP/1.1\r\nA: b\r\n\r\nGET";
    struct http_scan scan = {0};

    (void)state;
    for (size_t n = 1; n < sizeof text - 4; n++)
        assert_int_equal(http_head_scan(&scan, text, n, 16384), 0);
    assert_int_equal(http_head_scan(&scan, text, sizeof text - 4, 16384), sizeof text - 4);
}

static void versions_decide_about_keep_alive(void **state)
{
    static const struct {
        const char *text;
        bool keep;
    } cases[] = {
        {"GET / HTTP/1.1\r\n\r\n", true},
        {"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", false},
        {"GET / HTTP/1.1\r\nConnection: x, CLOSE\r\n\r\n", false},
        {"GET / HTTP/1.0\r\n\r\n", false},
        {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct arena arena = {0};
        struct http_head head;

        assert_int_equal(judge(&arena, cases[i].text, strlen(cases[i].text), &head), 0);
        assert_int_equal(head.keep_alive, cases[i].keep);
        arena_release(&arena);
    }
}

static void an_upload_in_pieces_is_left_to_its_handler_to_refuse(void **state)
{
    const char *text = "PUT /import HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n";
    struct arena arena = {0};
    struct http_head head;

    (void)state;
    assert_int_equal(judge(&arena, text, strlen(text), &head), 0);
    assert_true(head.chunked);
    assert_int_equal(head.content_length, -1);
    arena_release(&arena);
}

static void what_has_two_readings_is_refused(void **state)
{
    static const char *const refused[] = {
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\ntransfer-ENCODING: identity\r\nContent-Length: 3\r\n\r\n",
        "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
        "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "PUT / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 3, 3\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: +3\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: -3\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 0x3\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length:\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length : 3\r\n\r\n",
        "GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
        "GET / HTTP/1.1\r\nA: b\r\n\tc\r\n\r\n",
        "GET / HTTP/1.1\r\n A: b\r\n\r\n",
        "GET / HTTP/1.1\nA: b\r\n\r\n",
        "GET / HTTP/1.1\r\nA: b\n\r\n",
        "GET / HTTP/1.1\r\nA: b\rc\r\n\r\n",
        "GET / HTTP/1.1\r\nA: b\x01\r\n\r\n",
        "GET / HTTP/1.1\r\nA b\r\n\r\n",
        "GET / HTTP/1.1\r\n: b\r\n\r\n",
        "GET / HTTP/1.1\r\nA\"b: c\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET  / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1 \r\n\r\n",
        "GET /a b HTTP/1.1\r\n\r\n",
        "GET /a\tb HTTP/1.1\r\n\r\n",
        "GET /\xc3\xa4 HTTP/1.1\r\n\r\n",
        "GET /a%00b HTTP/1.1\r\n\r\n",
        "GET /?a=%00 HTTP/1.1\r\n\r\n",
        "GET /\r\n\r\n",
        "GET / HTTP/0.9\r\n\r\n",
        "get / HTTP/1.1\r\n\r\n\r\n",
        "\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        "\x16\x03\x01\x02",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
        int status = verdict(refused[i]);

        if (status != 400 && !(status == 501 && refused[i][0] == 'g'))
            fail_msg("%d for: %s", status, refused[i]);
    }
}

static void nul_bytes_are_refused(void **state)
{
    static const char text[] = "GET / HTTP/1.1\r\nA: b\0c\r\n\r\n";
    struct arena arena = {0};
    struct http_head head;

    (void)state;
    assert_int_equal(judge(&arena, text, sizeof text - 1, &head), 400);
    arena_release(&arena);
}

static void other_refusals_say_why(void **state)
{
    (void)state;
    assert_int_equal(verdict("BREW / HTTP/1.1\r\n\r\n"), 501);
    assert_int_equal(verdict("PRI * HTTP/2.0\r\n\r\n"), 501);
    assert_int_equal(verdict("GET / HTTP/2.0\r\n\r\n"), 505);
    assert_int_equal(verdict("GET / HTTP/1.1\r\nExpect: more\r\n\r\n"), 417);
    assert_int_equal(verdict("GET / HTTP/1.1\r\nA: b\r\n"), 1);
}

static void a_head_may_not_be_too_long(void **state)
{
    char *text = calloc(1, 20000);
    struct http_scan scan = {0};

    (void)state;
    strcpy(text, "GET / HTTP/1.1\r\nA: ");
    memset(text + strlen(text), 'x', 16384 - strlen(text) - 4);
    memcpy(text + 16380, "\r\n\r\n", 5);
    assert_int_equal(http_head_scan(&scan, text, 16384, 16384), 16384);
    memcpy(text + 16380, "x\r\n\r\n", 6);
    scan = (struct http_scan){0};
    assert_int_equal(http_head_scan(&scan, text, 16385, 16384), -431);
    free(text);
}

static void there_may_not_be_too_many_headers(void **state)
{
    struct buf text = {0};

    (void)state;
    buf_puts(&text, "GET / HTTP/1.1\r\n");
    for (int i = 0; i < HTTP_HEAD_MAX_HEADERS; i++)
        buf_puts(&text, "A: b\r\n");
    buf_puts(&text, "\r\n");
    assert_int_equal(verdict(text.data), 0);
    text.len -= 2;
    buf_puts(&text, "A: b\r\n\r\n");
    assert_int_equal(verdict(text.data), 431);
    buf_release(&text);
}

static void targets_of_every_form_give_a_path(void **state)
{
    static const struct {
        const char *text, *path;
    } cases[] = {
        {"GET http://h:80/a?b=c HTTP/1.1\r\n\r\n", "/a"},
        {"GET http://h?b=c HTTP/1.1\r\n\r\n", "/"},
        {"CONNECT /console?uuid=1&session_id=OpaqueRef:2 HTTP/1.0\r\n\r\n", "/console"},
        {"CONNECT h:443 HTTP/1.1\r\n\r\n", "h:443"},
        {"OPTIONS * HTTP/1.1\r\n\r\n", "*"},
        {"GET /a%2Fb%zz%4 HTTP/1.1\r\n\r\n", "/a/b%zz%4"},
        {"GET /a#b?c HTTP/1.1\r\n\r\n", "/a"},
        {"GET /a HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", "/a"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct arena arena = {0};
        struct http_head head;

        assert_int_equal(judge(&arena, cases[i].text, strlen(cases[i].text), &head), 0);
        assert_string_equal(head.path, cases[i].path);
        arena_release(&arena);
    }
}

static void expect_is_honoured_for_new_clients_only(void **state)
{
    static const char modern[] = "PUT / HTTP/1.1\r\nExpect: 100-Continue\r\n\r\n";
    static const char old[] = "PUT / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n";
    struct arena arena = {0};
    struct http_head head;

    (void)state;
    assert_int_equal(judge(&arena, modern, sizeof modern - 1, &head), 0);
    assert_true(head.expect_continue);
    assert_int_equal(judge(&arena, old, sizeof old - 1, &head), 0);
    assert_false(head.expect_continue);
    arena_release(&arena);
}

static void a_forwarded_client_is_known_by_its_address(void **state)
{
    static const struct {
        const char *value, *address;
    } cases[] = {
        {"for=192.0.2.43", "192.0.2.43"},
        {"by=10.0.0.1; For=192.0.2.43:4711, for=198.51.100.17", "192.0.2.43"},
        {"for=\"[2001:db8::17]:4711\"", "2001:db8::17"},
        {"for=_hidden", "unknown"},
        {"for=\"[2001:db8::17\\\"]\"", "unknown"},
        {"for=", "unknown"},
        {"", "unknown"},
        {"proto=http", "unknown"},
    };
    struct arena arena = {0};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        assert_string_equal(http_forwarded_for(&arena, cases[i].value), cases[i].address);
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_head_is_taken_apart),
        cmocka_unit_test(the_end_is_found_however_the_bytes_arrive),
        cmocka_unit_test(versions_decide_about_keep_alive),
        cmocka_unit_test(an_upload_in_pieces_is_left_to_its_handler_to_refuse),
        cmocka_unit_test(what_has_two_readings_is_refused),
        cmocka_unit_test(nul_bytes_are_refused),
        cmocka_unit_test(other_refusals_say_why),
        cmocka_unit_test(a_head_may_not_be_too_long),
        cmocka_unit_test(there_may_not_be_too_many_headers),
        cmocka_unit_test(targets_of_every_form_give_a_path),
        cmocka_unit_test(expect_is_honoured_for_new_clients_only),
        cmocka_unit_test(a_forwarded_client_is_known_by_its_address),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
