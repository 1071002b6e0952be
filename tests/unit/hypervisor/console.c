/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* console.c -- the screens and serial lines of simulated guests, as a VNC client and a terminal see
 * them. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "fixture.h"
#include "xapid/hypervisor/server/picture.h"

#define FULL PICTURE_WIDTH, PICTURE_HEIGHT

struct rect {
    int x, y, w, h;
    size_t size;
    uint8_t *pixels; /* as they came */
};

static int dial(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    memcpy(addr.sun_path, path, strlen(path));
    assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    return fd;
}

static void must_send(int fd, const void *p, size_t n)
{
    assert_int_equal(send(fd, p, n, MSG_NOSIGNAL), (ssize_t)n);
}

/* Whether something, or the end, comes within that time. */
static bool comes(int fd, int ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, ms) == 1;
}

static void must_receive(int fd, void *p, size_t n)
{
    size_t done = 0;

    while (done < n) {
        ssize_t got;

        assert_true(comes(fd, (int)(PATIENCE / USEC_PER_MSEC)));
        got = recv(fd, (char *)p + done, n - done, 0);
        assert_true(got > 0);
        done += (size_t)got;
    }
}

static void must_be_closed(int fd)
{
    char byte;

    assert_true(comes(fd, (int)(PATIENCE / USEC_PER_MSEC)));
    assert_true(recv(fd, &byte, 1, 0) <= 0);
}

static int get16(const uint8_t *p)
{
    return p[0] << 8 | p[1];
}

/* Shakes hands as version 3.'minor' and checks what the server says of itself. */
static int rfb_dial(const struct hv_domain *d, char minor)
{
    char version[13] = "RFB 003.008\n";
    uint8_t init[24], word[4];
    char name[64];
    int fd = dial(d->console_rfb);

    must_receive(fd, version, 12);
    assert_string_equal(version, "RFB 003.008\n");
    version[10] = minor;
    must_send(fd, version, 12);
    if (minor == '3') {
        must_receive(fd, word, 4);
        assert_memory_equal(word, "\0\0\0\1", 4);
    } else {
        must_receive(fd, word, 2);
        assert_memory_equal(word, "\1\1", 2);
        must_send(fd, "\1", 1);
    }
    if (minor == '8') {
        must_receive(fd, word, 4);
        assert_memory_equal(word, "\0\0\0\0", 4);
    }
    must_send(fd, "\1", 1);
    must_receive(fd, init, 24);
    assert_int_equal(get16(init), PICTURE_WIDTH);
    assert_int_equal(get16(init + 2), PICTURE_HEIGHT);
    assert_int_equal(init[4], 32);
    assert_int_equal(init[7], 1);
    must_receive(fd, name, init[23]);
    assert_memory_equal(name, "web", init[23]);
    return fd;
}

static void ask(int fd, bool incremental, int x, int y, int w, int h)
{
    uint8_t m[10] = {
        3,          incremental,       (uint8_t)(x >> 8), (uint8_t)x,        (uint8_t)(y >> 8),
        (uint8_t)y, (uint8_t)(w >> 8), (uint8_t)w,        (uint8_t)(h >> 8), (uint8_t)h};

    must_send(fd, m, sizeof m);
}

/* Receives one update of one rectangle; the caller frees the pixels. */
static struct rect update(int fd, int bytes)
{
    uint8_t head[16];
    struct rect r;

    must_receive(fd, head, sizeof head);
    assert_memory_equal(head, "\0\0\0\1", 4);
    assert_memory_equal(head + 12, "\0\0\0\0", 4);
    r = (struct rect){
        .x = get16(head + 4), .y = get16(head + 6), .w = get16(head + 8), .h = get16(head + 10)};
    r.size = (size_t)(r.w * r.h * bytes);
    r.pixels = malloc(r.size);
    must_receive(fd, r.pixels, r.size);
    return r;
}

static uint32_t pixel32(const struct rect *r, int x, int y)
{
    const uint8_t *p = r->pixels + 4 * ((y - r->y) * r->w + x - r->x);

    return (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}

static size_t count32(const struct rect *r, uint32_t colour)
{
    size_t n = 0;

    for (int y = r->y; y < r->y + r->h; y++)
        for (int x = r->x; x < r->x + r->w; x++)
            n += pixel32(r, x, y) == colour;
    return n;
}

static void the_screen_shows_the_guest(void **state)
{
    struct fixture *f = *state;
    struct rect r;
    int fd = rfb_dial(get_domain(f, start_guest(f)), '8');

    ask(fd, false, 0, 0, FULL);
    r = update(fd, 4);
    assert_int_equal(r.w, PICTURE_WIDTH);
    assert_int_equal(r.h, PICTURE_HEIGHT);
    assert_int_equal(pixel32(&r, 639, 0), PICTURE_BAND);
    assert_int_equal(pixel32(&r, 639, 479), PICTURE_GROUND);
    assert_int_equal(pixel32(&r, 0, 0), PICTURE_CURSOR);
    /* The title begins with a 'w', drawn twice as large: its first column is ink, the second is
     * not. */
    assert_int_equal(pixel32(&r, 24, 20 + 2 * 2), PICTURE_INK);
    assert_int_equal(pixel32(&r, 26, 20 + 2 * 2), PICTURE_BAND);
    assert_in_range(count32(&r, PICTURE_INK), 1000, 10000);
    free(r.pixels);
    close(fd);
}

static void older_clients_are_served_too(void **state)
{
    struct fixture *f = *state;
    const char *uuid = start_guest(f);
    const char *minors = "378";

    for (; *minors; minors++) {
        int fd = rfb_dial(get_domain(f, uuid), *minors);
        struct rect r;

        ask(fd, false, 630, 0, 10, 10);
        r = update(fd, 4);
        assert_int_equal(r.size, 400);
        assert_int_equal(count32(&r, PICTURE_BAND), 100);
        free(r.pixels);
        close(fd);
    }
}

static void set_format(int fd, uint8_t bits, uint8_t big, uint16_t red, uint16_t green,
                       uint16_t blue, const char shifts[3])
{
    uint8_t m[20] = {0,
                     0,
                     0,
                     0,
                     bits,
                     bits,
                     big,
                     1,
                     (uint8_t)(red >> 8),
                     (uint8_t)red,
                     (uint8_t)(green >> 8),
                     (uint8_t)green,
                     (uint8_t)(blue >> 8),
                     (uint8_t)blue,
                     (uint8_t)shifts[0],
                     (uint8_t)shifts[1],
                     (uint8_t)shifts[2]};

    must_send(fd, m, sizeof m);
}

static void pixels_come_in_the_format_the_client_wants(void **state)
{
    struct fixture *f = *state;
    int fd = rfb_dial(get_domain(f, start_guest(f)), '8');
    struct rect r;
    /* PICTURE_BAND is 2f 66 90. */

    set_format(fd, 8, 0, 7, 7, 3, "\0\3\6");
    ask(fd, false, 630, 0, 1, 1);
    r = update(fd, 1);
    assert_int_equal(r.pixels[0], 1 | 2 << 3 | 1 << 6);
    free(r.pixels);
    set_format(fd, 16, 1, 31, 63, 31, "\13\5\0");
    ask(fd, false, 630, 0, 1, 1);
    r = update(fd, 2);
    assert_int_equal(get16(r.pixels), 5 << 11 | 25 << 5 | 17);
    free(r.pixels);
    set_format(fd, 32, 1, 255, 255, 255, "\20\10\0");
    ask(fd, false, 630, 0, 1, 1);
    r = update(fd, 4);
    assert_memory_equal(r.pixels, "\0\x2f\x66\x90", 4);
    free(r.pixels);
    close(fd);
}

static void an_incremental_update_comes_when_something_changes_and_holds_only_that(void **state)
{
    struct fixture *f = *state;
    const char *uuid = start_guest(f);
    struct rect r;
    int fd;

    /* An ended guest's clock stands still: nothing on the screen changes by itself. */
    control(f, "crash", uuid, NULL);
    fd = rfb_dial(get_domain(f, uuid), '8');
    ask(fd, false, 0, 0, FULL);
    free(update(fd, 4).pixels);
    ask(fd, true, 0, 0, FULL);
    /* A second request of another client is answered after this one was looked at: no news for it.
     */
    close(rfb_dial(get_domain(f, uuid), '8'));
    assert_false(comes(fd, 0));
    must_send(fd, "\4\1\0\0\0\0\0x", 8); /* key x */
    r = update(fd, 4);
    assert_true(r.h < 200 && r.w < 200);
    assert_true(count32(&r, PICTURE_INK) > 0);
    free(r.pixels);
    ask(fd, true, 0, 0, FULL);
    must_send(fd, "\5\0\1\0\1\0", 6); /* pointer to 256, 256 */
    r = update(fd, 4);
    assert_true(r.x == 0 && r.y == 0 && r.w >= 258 && r.h >= 258);
    assert_int_equal(pixel32(&r, 256, 256), PICTURE_CURSOR);
    free(r.pixels);
    close(fd);
}

static void a_client_that_breaks_the_rules_is_shown_out(void **state)
{
    static const struct {
        const char *bytes;
        size_t n;
    } wrong[] = {
        {"\x63", 1},                                                    /* no such message */
        {"\6\0\0\0\x7f\xff\xff\xff", 8},                                /* two gigabytes of text */
        {"\2\0\xff\xff", 4},                                            /* 65535 encodings */
        {"\0\0\0\0\x20\x18\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20},           /* a colour map */
        {"\0\0\0\0\x18\x18\0\1\0\xff\0\xff\0\xff\x10\x08\0\0\0\0", 20}, /* 24 bits */
        {"\0\0\0\0\x08\x08\0\1\xff\xff\0\xff\0\xff\x10\x08\0\0\0\0", 20}, /* channels outside */
    };
    struct fixture *f = *state;
    const struct hv_domain *d = get_domain(f, start_guest(f));
    int fd;

    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        fd = rfb_dial(d, '8');
        must_send(fd, wrong[i].bytes, wrong[i].n);
        must_be_closed(fd);
        close(fd);
    }
    fd = dial(d->console_rfb);
    must_send(fd, "SSH-2.0-nope", 12);
    must_receive(fd, (char[12]){0}, 12);
    must_be_closed(fd);
    close(fd);
    fd = rfb_dial(d, '8');
    must_send(fd, "\6\0\0\0\0\0\0\3abc\2\0\0\1\0\0\0\0", 19);
    ask(fd, false, 0, 0, 1, 1);
    free(update(fd, 4).pixels);
    close(fd);
}

static void expect_text(int fd, const char *part)
{
    char text[4096] = "";
    size_t n = 0;

    while (!strstr(text, part)) {
        assert_true(n < sizeof text - 1);
        must_receive(fd, text + n, 1);
        n++;
    }
}

static void the_serial_line_asks_who_is_there(void **state)
{
    struct fixture *f = *state;
    int fd = dial(get_domain(f, start_guest(f))->console_text);

    expect_text(fd, "web login: ");
    must_send(fd, "roox\x7ft\r", 7);
    expect_text(fd, "roox\b \bt\r\n");
    expect_text(fd, "Password: ");
    must_send(fd, "secret\r", 7);
    expect_text(fd, "\r\nLogin incorrect\r\n");
    expect_text(fd, "web login: ");
    close(fd);
}

static void consoles_end_with_their_domain(void **state)
{
    struct fixture *f = *state;
    const struct hv_domain *d = get_domain(f, start_guest(f));
    int screen = rfb_dial(d, '8'), line = dial(d->console_text);

    expect_text(line, "login: ");
    assert_ok(f, hv_destroy(f->hv, rq_new(f), d->uuid));
    must_be_closed(screen);
    must_be_closed(line);
    assert_int_equal(access(d->console_rfb, F_OK), -1);
    close(screen);
    close(line);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(the_screen_shows_the_guest),
        TEST(older_clients_are_served_too),
        TEST(pixels_come_in_the_format_the_client_wants),
        TEST(an_incremental_update_comes_when_something_changes_and_holds_only_that),
        TEST(a_client_that_breaks_the_rules_is_shown_out),
        TEST(the_serial_line_asks_who_is_there),
        TEST(consoles_end_with_their_domain),
    };

    return cmocka_run_group_tests_name("hypervisor-console", tests, NULL, NULL);
}
