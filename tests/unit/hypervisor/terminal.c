/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* terminal.c -- what a text console shows on a screen, and what its keys send. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "libxapi/base/memory.h"
#include "xapid/hypervisor/executor/terminal.h"
#include "xapid/hypervisor/server/picture.h"

static struct terminal t;
static struct buf reply;

static void feed(const char *text)
{
    terminal_feed(&t, text, strlen(text), &reply);
}

static int setup(void **state)
{
    (void)state;
    terminal_init(&t);
    reply.len = 0;
    return 0;
}

/* A row without the blanks at its end. */
static const char *row(int n)
{
    static char text[TERMINAL_COLUMNS + 1];
    int end = TERMINAL_COLUMNS;

    for (int i = 0; i < TERMINAL_COLUMNS; i++)
        text[i] = t.cells[n][i].c;
    while (end && text[end - 1] == ' ')
        end--;
    text[end] = '\0';
    return text;
}

static void lines_follow_each_other_and_scroll(void **state)
{
    (void)state;
    feed("one\r\ntwo");
    assert_string_equal(row(0), "one");
    assert_string_equal(row(1), "two");
    for (int i = 0; i < TERMINAL_ROWS - 1; i++)
        feed("\r\nnext");
    assert_string_equal(row(0), "two");
    assert_string_equal(row(TERMINAL_ROWS - 1), "next");
}

static void a_full_line_wraps_with_its_next_character(void **state)
{
    (void)state;
    for (int i = 0; i < TERMINAL_COLUMNS; i++)
        feed("x");
    assert_int_equal(t.row, 0);
    feed("\r\ny");
    assert_string_equal(row(1), "y");
    feed("\033[1;80Habc");
    assert_int_equal(t.cells[0][79].c, 'a');
    assert_string_equal(row(1), "bc");
}

static void the_cursor_goes_where_it_is_sent(void **state)
{
    (void)state;
    feed("\033[3;5Hhere\033[A\033[2Dup\033[99;999H!\033[Htop");
    assert_string_equal(row(2), "    here");
    assert_string_equal(row(1), "      up");
    assert_int_equal(t.cells[TERMINAL_ROWS - 1][TERMINAL_COLUMNS - 1].c, '!');
    assert_string_equal(row(0), "top");
}

static void parts_are_erased_and_moved(void **state)
{
    (void)state;
    feed("abcdef\033[3D\033[K");
    assert_string_equal(row(0), "abc");
    feed("\r\033[2@");
    assert_string_equal(row(0), "  abc");
    feed("\033[3P");
    assert_string_equal(row(0), "bc");
    feed("\033[2J");
    assert_string_equal(row(0), "");
    feed("\033[5;7r\033[5Ha\r\nb\r\nc\r\nd");
    assert_string_equal(row(4), "b");
    assert_string_equal(row(6), "d");
    feed("\033[5H\033M");
    assert_string_equal(row(4), "");
    assert_string_equal(row(5), "b");
}

static void what_it_does_not_know_leaves_no_trace(void **state)
{
    (void)state;
    feed("a\033]0;a title\ab\033P+q\033\\c\033(Bd\033[?2004he\033[38;5;200mf\033[>4;2mg");
    assert_string_equal(row(0), "abcdefg");
    feed("\r\nx\xe2\x94\x82y\xc3\xa4z\xff!");
    assert_string_equal(row(1), "x|y?z?!");
}

static void no_bytes_bring_it_down(void **state)
{
    uint32_t x = 1;

    (void)state;
    for (int i = 0; i < 300000; i++) {
        static const char some[] = "\033\033\033[[[;;?0123456789ABCDHJKLMPSTXr@mhldfusn\r\n\t\b";
        char c;

        x = x * 1664525 + 1013904223;
        c = x >> 31 ? some[(x >> 16) % (sizeof some - 1)] : (char)(x >> 16);
        terminal_feed(&t, &c, 1, &reply);
        assert_in_range(t.row, 0, TERMINAL_ROWS - 1);
        assert_in_range(t.column, 0, TERMINAL_COLUMNS - 1);
        reply.len = 0;
    }
}

static void it_answers_where_the_cursor_is(void **state)
{
    (void)state;
    feed("\033[4;9H\033[6n");
    assert_string_equal(reply.data, "\033[4;9R");
}

static void the_picture_shows_ink_where_characters_are(void **state)
{
    uint32_t *pixels = xcalloc(PICTURE_PIXELS, sizeof *pixels);
    size_t inked = 0, red = 0;

    (void)state;
    feed("\033[?25lM\033[31mM\033[44m ");
    terminal_draw(&t, pixels);
    for (size_t i = 0; i < PICTURE_PIXELS; i++) {
        inked += pixels[i] == 0xcccccc;
        red += pixels[i] == 0xcc3333;
    }
    assert_true(inked > 20 && inked == red);
    assert_int_equal(pixels[(size_t)(40 + 15) * PICTURE_WIDTH + 23], 0x5588dd);
    free(pixels);
}

static const char *sends(uint32_t keysym)
{
    static char text[16];
    AUTO(buf) out = {0};

    terminal_key(&t, true, keysym, &out);
    terminal_key(&t, false, keysym, &out);
    memcpy(text, out.data ? out.data : "", out.len + 1);
    return text;
}

static void keys_send_what_a_terminal_sends(void **state)
{
    AUTO(buf) none = {0};

    (void)state;
    assert_string_equal(sends('a'), "a");
    assert_string_equal(sends(0xff0d), "\r");
    assert_string_equal(sends(0xff52), "\033[A");
    assert_string_equal(sends(0xe4), "\xc3\xa4");
    terminal_key(&t, true, 0xffe3, &none);
    assert_string_equal(sends('c'), "\003");
    terminal_key(&t, false, 0xffe3, &none);
    assert_string_equal(sends('c'), "c");
    assert_int_equal(none.len, 0);
}

static int release(void **state)
{
    (void)state;
    buf_release(&reply);
    return 0;
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(lines_follow_each_other_and_scroll, setup),
        cmocka_unit_test_setup(a_full_line_wraps_with_its_next_character, setup),
        cmocka_unit_test_setup(the_cursor_goes_where_it_is_sent, setup),
        cmocka_unit_test_setup(parts_are_erased_and_moved, setup),
        cmocka_unit_test_setup(what_it_does_not_know_leaves_no_trace, setup),
        cmocka_unit_test_setup(no_bytes_bring_it_down, setup),
        cmocka_unit_test_setup(it_answers_where_the_cursor_is, setup),
        cmocka_unit_test_setup(the_picture_shows_ink_where_characters_are, setup),
        cmocka_unit_test_setup(keys_send_what_a_terminal_sends, setup),
    };

    return cmocka_run_group_tests(tests, NULL, release);
}
