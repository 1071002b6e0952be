/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tests of the pure parts of the links: addresses, frames, greetings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "pool/peer/address.h"
#include "pool/peer/frame.h"

#define FP "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF"

static void addresses_are_taken_apart(void **state)
{
    struct address a;

    (void)state;
    assert_true(address_parse("host-1.example:7/" FP, &a));
    assert_string_equal(a.host, "host-1.example");
    assert_int_equal(a.port, 7);
    assert_string_equal(a.fingerprint + 32,
                        "00112233445566778899aabbccddeeff"); /* in small letters */
    assert_true(address_parse("[fe80::1%eth0]:65535/" FP, &a));
    assert_string_equal(a.host, "fe80::1%eth0");
    assert_true(address_parse_partial(FP, &a));
    assert_string_equal(a.host, "");
}

static void what_is_no_address_is_refused(void **state)
{
    static const char *const bad[] = {"",
                                      "host",
                                      "host:1",
                                      "host:1/",
                                      "host:0/" FP,
                                      "host:65536/" FP,
                                      "host:1x/" FP,
                                      ":1/" FP,
                                      "[]:1/" FP,
                                      "fe80::1:1/" FP,
                                      "ho st:1/" FP,
                                      "host:1/" FP "0",
                                      "host:1/x" FP,
                                      FP};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_false(peer_address_ok(bad[i]));
}

static void a_frame_comes_out_as_it_went_in_and_not_before_it_is_whole(void **state)
{
    uint8_t bytes[FRAME_HEADER + 5];
    struct frame f;

    (void)state;
    frame_header(bytes, FRAME_REQUEST, PEER_DIGEST, 0x1122334455667788, 5);
    memcpy(bytes + FRAME_HEADER, "hello", 5);
    for (size_t n = 0; n < sizeof bytes; n++)
        assert_int_equal(frame_read(bytes, n, &f), FRAME_PARTIAL);
    assert_int_equal(frame_read(bytes, sizeof bytes, &f), FRAME_GOOD);
    assert_int_equal(f.type, FRAME_REQUEST);
    assert_int_equal(f.kind, PEER_DIGEST);
    assert_true(f.number == 0x1122334455667788);
    assert_int_equal(f.size, 5);
    assert_memory_equal(f.data, "hello", 5);
}

static void a_frame_larger_than_its_type_allows_is_refused_at_once(void **state)
{
    uint8_t bytes[FRAME_HEADER];
    struct frame f;

    (void)state;
    frame_header(bytes, FRAME_REQUEST, 1, 1, PEER_MESSAGE_MAX + 1);
    assert_int_equal(frame_read(bytes, sizeof bytes, &f), FRAME_BAD);
    frame_header(bytes, FRAME_PING, 0, 0, 1);
    assert_int_equal(frame_read(bytes, sizeof bytes, &f), FRAME_BAD);
    frame_header(bytes, (enum frame_type)99, 0, 0, 0);
    assert_int_equal(frame_read(bytes, sizeof bytes, &f), FRAME_BAD);
}

static void a_greeting_comes_out_as_it_went_in_or_is_refused(void **state)
{
    struct hello h = {.oldest = 1,
                      .newest = 7,
                      .link = LINK_LOG,
                      .id = 5,
                      .to = 6,
                      .address = "a:1/" FP},
                 got;
    uint8_t bytes[FRAME_HELLO_MAX];
    size_t n = hello_write(bytes, &h);

    (void)state;
    assert_true(hello_read(bytes, n, &got));
    assert_int_equal(got.link, LINK_LOG);
    assert_int_equal(got.id, 5);
    assert_int_equal(got.to, 6);
    assert_string_equal(got.address, h.address);
    assert_false(hello_read(bytes, n - 1, &got));
    bytes[0]++;
    assert_false(hello_read(bytes, n, &got));
    h.oldest = 2; /* a daemon that no longer speaks with us */
    n = hello_write(bytes, &h);
    assert_false(hello_read(bytes, n, &got));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_taken_apart),
        cmocka_unit_test(what_is_no_address_is_refused),
        cmocka_unit_test(a_frame_comes_out_as_it_went_in_and_not_before_it_is_whole),
        cmocka_unit_test(a_frame_larger_than_its_type_allows_is_refused_at_once),
        cmocka_unit_test(a_greeting_comes_out_as_it_went_in_or_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
