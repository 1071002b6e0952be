/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* rfb_picture.c -- screens of servers that keep to the protocol, and of those that do not. */
#include "xapid/stream/rfb_picture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* 3 x 2 pixels; a name of two letters. */
#define INIT                                                                                       \
    "\0\3\0\2"                                                                                     \
    "\x20\x18\0\1\0\xff\0\xff\0\xff\x10\x08\0\0\0\0"                                               \
    "\0\0\0\2hi"
#define BYTES(text) (text), sizeof(text) - 1
#define ROW(n) n "\2\1\0" n "\4\3\0" n "\6\5\0"

/* One by one: what is cut must be understood as well. */
static bool feed(struct rfb_picture *p, const char *bytes, size_t n)
{
    bool more = true;

    for (size_t i = 0; i < n && more; i++)
        more = rfb_picture_feed(p, bytes + i, 1);
    return more;
}

static void handshake(struct rfb_picture *p)
{
    rfb_picture_init(p);
    assert_true(feed(p, BYTES("RFB 003.008\n\2\x10\1\0\0\0\0" INIT)));
    assert_string_equal(p->out.data, "RFB 003.008\n\1\1");
    assert_int_equal(p->out.len, 14 + 20 + 8 + 10);
    assert_int_equal(p->width, 3);
    assert_int_equal(p->height, 2);
}

static void a_picture_is_made_of_its_rectangles(void **state)
{
    static const uint8_t expected[18] = {1, 2, 0x30, 3, 4, 0x30, 5, 6, 0x30,
                                         1, 2, 0x31, 3, 4, 0x31, 5, 6, 0x31};
    struct rfb_picture p;

    (void)state;
    handshake(&p);
    /* A bell, a colour map, a clipboard and an update of nothing come before. */
    assert_true(feed(&p, BYTES("\2\1\0\0\0\0\1rrggbb\3\0\0\0\0\0\0\4clip\0\0\0\0")));
    assert_true(feed(&p, BYTES("\0\0\0\2\0\0\0\1\0\3\0\1\0\0\0\0" ROW("1"))));
    assert_false(p.done);
    assert_false(feed(&p, BYTES("\0\0\0\0\0\3\0\1\0\0\0\0" ROW("0"))));
    assert_true(p.done);
    assert_null(p.why);
    assert_memory_equal(p.pixels, expected, sizeof expected);
    assert_false(rfb_picture_feed(&p, "\2", 1));
    rfb_picture_release(&p);
}

static void older_servers_are_understood(void **state)
{
    struct rfb_picture p;

    (void)state;
    rfb_picture_init(&p);
    assert_true(feed(&p, BYTES("RFB 003.007\n\1\1" INIT)));
    assert_string_equal(p.out.data, "RFB 003.007\n\1\1");
    rfb_picture_release(&p);
    rfb_picture_init(&p);
    assert_true(feed(&p, BYTES("RFB 003.005\n\0\0\0\1" INIT)));
    assert_string_equal(p.out.data, "RFB 003.003\n\1");
    assert_int_equal(p.height, 2);
    rfb_picture_release(&p);
}

static void a_server_that_breaks_the_rules_is_left(void **state)
{
    static const struct {
        const char *bytes;
        size_t n;
        const char *why;
    } wrong[] = {
        {BYTES("SSH-2.0-open"), "it does not speak RFB 3"},
        {BYTES("RFB 003.003\n\0\0\0\2"), "it wants a password"},
        {BYTES("RFB 003.008\n\1\2"), "it wants a password"},
        {BYTES("RFB 003.008\n\0"), "it refuses the connection"},
        {BYTES("RFB 003.008\n\1\1\0\0\0\1"), "it refuses the connection"},
        {BYTES("RFB 003.007\n\1\1\0\0\0\1                \0\0\0\0"),
         "its screen has an impossible size"},
        {BYTES("RFB 003.007\n\1\1\xff\xff\0\1                \0\0\0\0"),
         "its screen has an impossible size"},
        {BYTES("RFB 003.007\n\1\1\x20\0\x20\0                \0\0\0\0"),
         "its screen has an impossible size"},
        {BYTES("RFB 003.007\n\1\1" INIT "\7"), "it sends a message that does not exist"},
        {BYTES("RFB 003.007\n\1\1" INIT "\0\0\0\1\0\1\0\0\0\3\0\1\0\0\0\0"),
         "it draws outside its screen"},
        {BYTES("RFB 003.007\n\1\1" INIT "\0\0\0\1\0\0\0\1\0\3\0\2\0\0\0\0"),
         "it draws outside its screen"},
        {BYTES("RFB 003.007\n\1\1" INIT "\0\0\0\1\0\0\0\0\0\3\0\1\0\0\0\5"),
         "it sends an encoding nobody asked for"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        struct rfb_picture p;

        rfb_picture_init(&p);
        assert_false(feed(&p, wrong[i].bytes, wrong[i].n));
        assert_string_equal(p.why, wrong[i].why);
        assert_false(p.done);
        rfb_picture_release(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_picture_is_made_of_its_rectangles),
        cmocka_unit_test(older_servers_are_understood),
        cmocka_unit_test(a_server_that_breaks_the_rules_is_left),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
