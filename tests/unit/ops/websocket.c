/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/stream/websocket.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libxapi/base/buf.h"

static const uint8_t mask[4] = {0x37, 0xfa, 0x21, 0x3d};

/* A client's frame. */
static void frame(struct buf *b, int first, const char *payload, size_t n)
{
    buf_putc(b, (char)first);
    if (n < 126) {
        buf_putc(b, (char)(0x80 | n));
    } else if (n < 65536) {
        buf_putc(b, (char)(0x80 | 126));
        buf_putc(b, (char)(n >> 8));
        buf_putc(b, (char)n);
    } else {
        buf_putc(b, (char)(0x80 | 127));
        for (int i = 7; i >= 0; i--)
            buf_putc(b, (char)((uint64_t)n >> (8 * i)));
    }
    buf_add(b, mask, 4);
    for (size_t i = 0; i < n; i++)
        buf_putc(b, (char)(payload[i] ^ mask[i % 4]));
}

/* What a connection carried, as one line: "text hello.|ping x|". */
static void feed(struct buf *bytes, size_t step, struct buf *out)
{
    struct ws_decoder d = {0};

    for (size_t at = 0; at < bytes->len; at += step) {
        uint8_t block[256];
        size_t n = MIN(step, bytes->len - at), used = 0;

        memcpy(block, bytes->data + at, n);
        for (;;) {
            struct ws_event e;

            used += ws_decode(&d, block + used, n - used, &e);
            assert_true(used <= n);
            if (e.kind == WS_EVENT_NONE)
                break;
            if (e.kind == WS_EVENT_BROKEN) {
                buf_printf(out, "broken %d", (int)e.code);
                return;
            }
            if (e.kind == WS_EVENT_CONTROL)
                buf_printf(out, "<%d:", (int)e.opcode);
            buf_add(out, e.data, e.size);
            if (e.kind == WS_EVENT_CONTROL)
                buf_putc(out, '>');
            if (e.message_end)
                buf_printf(out, "/%d ", (int)e.opcode);
        }
    }
}

static void assert_feeds(struct buf *bytes, const char *expected)
{
    static const size_t steps[] = {1, 2, 3, 7, 256};

    for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
        struct buf out = {0};

        buf_puts(&out, "");
        feed(bytes, steps[i], &out);
        assert_string_equal(out.data ? out.data : "", expected);
        buf_release(&out);
    }
    buf_release(bytes);
}

static void messages_arrive_whole_however_the_bytes_are_cut(void **state)
{
    struct buf b = {0};

    (void)state;
    frame(&b, 0x81, "hello", 5);
    frame(&b, 0x82, "", 0);
    frame(&b, 0x82, "world", 5);
    assert_feeds(&b, "hello/1 /2 world/2 ");
}

static void control_frames_come_between_the_parts_of_a_message(void **state)
{
    struct buf b = {0};

    (void)state;
    frame(&b, 0x02, "one ", 4);
    frame(&b, 0x89, "ping", 4);
    frame(&b, 0x00, "two ", 4);
    frame(&b, 0x8a, "", 0);
    frame(&b, 0x80, "three", 5);
    frame(&b, 0x88, "\x03\xe8", 2);
    assert_feeds(&b, "one <9:ping>two <10:>three/2 <8:\x03\xe8>");
}

static void longer_lengths_are_understood(void **state)
{
    char payload[200];
    char expected[256];
    struct buf b = {0};

    (void)state;
    memset(payload, 'a', sizeof payload);
    frame(&b, 0x82, payload, sizeof payload);
    memcpy(expected, payload, sizeof payload);
    strcpy(expected + sizeof payload, "/2 ");
    assert_feeds(&b, expected);
}

static void assert_breaks(const char *bytes, size_t n, int code)
{
    struct buf b = {0};
    char expected[32];

    buf_add(&b, bytes, n);
    snprintf(expected, sizeof expected, "broken %d", code);
    assert_feeds(&b, expected);
}

static void what_breaks_the_protocol_is_refused(void **state)
{
    (void)state;
    assert_breaks("\x82\x01xxxx", 6, WS_CLOSE_PROTOCOL);         /* not masked */
    assert_breaks("\xc2\x81mmmmx", 7, WS_CLOSE_PROTOCOL);        /* an extension's bit */
    assert_breaks("\x83\x81mmmmx", 7, WS_CLOSE_PROTOCOL);        /* no such opcode */
    assert_breaks("\x80\x81mmmmx", 7, WS_CLOSE_PROTOCOL);        /* continues nothing */
    assert_breaks("\x09\x81mmmmx", 7, WS_CLOSE_PROTOCOL);        /* a ping in parts */
    assert_breaks("\x89\xfe\x00\x80mmmm", 8, WS_CLOSE_PROTOCOL); /* a ping of 128 bytes */
    assert_breaks("\x82\xfe\x00\x05mmmm", 8, WS_CLOSE_PROTOCOL); /* a length too long written */
    assert_breaks("\x82\xff\0\0\0\0\0\0\x01\x00mmmm", 14, WS_CLOSE_PROTOCOL);
    assert_breaks("\x82\xff\0\0\0\0\x7f\0\0\0mmmm", 14, WS_CLOSE_TOO_BIG);
    assert_breaks("\x82\xff\xff\xff\xff\xff\xff\xff\xff\xffmmmm", 14, WS_CLOSE_TOO_BIG);
}

static void a_second_message_inside_the_first_is_refused(void **state)
{
    struct buf b = {0};

    (void)state;
    frame(&b, 0x02, "", 0);
    frame(&b, 0x82, "", 0);
    assert_feeds(&b, "broken 1002");
}

static void our_headers_are_as_short_as_possible(void **state)
{
    uint8_t h[WS_HEADER_MAX];

    (void)state;
    assert_int_equal(ws_header(h, WS_BINARY, 125), 2);
    assert_memory_equal(h, "\x82\x7d", 2);
    assert_int_equal(ws_header(h, WS_TEXT, 126), 4);
    assert_memory_equal(h, "\x81\x7e\x00\x7e", 4);
    assert_int_equal(ws_header(h, WS_BINARY, 65536), 10);
    assert_memory_equal(h, "\x82\x7f\0\0\0\0\0\x01\0\0", 10);
}

/* The example of RFC 6455. */
static void the_key_is_answered_as_the_rfc_says(void **state)
{
    char out[WS_ACCEPT_SIZE];

    (void)state;
    assert_true(ws_accept("dGhlIHNhbXBsZSBub25jZQ==", out));
    assert_string_equal(out, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_false(ws_accept("dGhlIHNhbXBsZSBub25jZQ=", out));
    assert_false(ws_accept("dGhlIHNhbXBsZSBub25j!Q==", out));
    assert_false(ws_accept("", out));
}

static void tokens_are_found_in_lists_without_regard_to_case(void **state)
{
    (void)state;
    assert_true(ws_has_token("keep-alive, Upgrade", "upgrade"));
    assert_true(ws_has_token("binary,base64", "base64"));
    assert_false(ws_has_token("binaryx, xbinary", "binary"));
    assert_false(ws_has_token(NULL, "binary"));
    assert_false(ws_has_token("", "binary"));
}

static void base64_survives_any_cut(void **state)
{
    uint8_t bytes[64], back[128];
    char text[WS_BASE64_SIZE(sizeof bytes)];

    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 37);
    for (size_t n = 0; n <= sizeof bytes; n++) {
        for (size_t step = 1; step < 6; step++) {
            size_t length = ws_base64_encode(bytes, n, text), got = 0;
            struct ws_base64 b = {0};

            for (size_t at = 0; at < length; at += step) {
                ssize_t k = ws_base64_decode(&b, (const uint8_t *)text + at, MIN(step, length - at),
                                             back + got);

                assert_true(k >= 0);
                got += (size_t)k;
            }
            assert_true(ws_base64_end(&b));
            assert_int_equal(got, n);
            assert_memory_equal(back, bytes, n);
        }
    }
}

static void bad_base64_is_refused(void **state)
{
    static const char *const bad[] = {"!", "A===", "=", "AA==A", "AAAA=", "AA A"};
    uint8_t out[16];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct ws_base64 b = {0};
        ssize_t n = ws_base64_decode(&b, (const uint8_t *)bad[i], strlen(bad[i]), out);

        assert_true(n < 0 || !ws_base64_end(&b));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_arrive_whole_however_the_bytes_are_cut),
        cmocka_unit_test(control_frames_come_between_the_parts_of_a_message),
        cmocka_unit_test(longer_lengths_are_understood),
        cmocka_unit_test(what_breaks_the_protocol_is_refused),
        cmocka_unit_test(a_second_message_inside_the_first_is_refused),
        cmocka_unit_test(our_headers_are_as_short_as_possible),
        cmocka_unit_test(the_key_is_answered_as_the_rfc_says),
        cmocka_unit_test(tokens_are_found_in_lists_without_regard_to_case),
        cmocka_unit_test(base64_survives_any_cut),
        cmocka_unit_test(bad_base64_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
