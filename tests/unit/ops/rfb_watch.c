/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/stream/rfb_watch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static bool sends(struct rfb_watch *w, const char *bytes, size_t n)
{
    bool activity = false;

    /* One by one: what is cut must be understood as well. */
    for (size_t i = 0; i < n; i++)
        activity |= rfb_watch(w, (const uint8_t *)bytes + i, 1);
    return activity;
}

static void handshake(struct rfb_watch *w)
{
    *w = (struct rfb_watch){0};
    assert_false(sends(w, "RFB 003.008\n\x01\x01", 14));
}

static void a_viewer_that_only_looks_is_not_active(void **state)
{
    static const char request[10] = {3, 1};
    static const char encodings[12] = {2, 0, 0, 2};
    static const char format[20] = {0};
    struct rfb_watch w;

    (void)state;
    handshake(&w);
    assert_false(sends(&w, format, sizeof format));
    assert_false(sends(&w, encodings, sizeof encodings));
    assert_false(sends(&w, request, sizeof request));
    assert_false(w.lost);
}

static void keys_pointer_and_clipboard_are_activity(void **state)
{
    static const char key[8] = {4, 1}, pointer[6] = {5}, paste[11] = {6, 0, 0, 0, 0, 0, 0, 3};
    static const char qemu_key[12] = {(char)255}, request[10] = {3};
    struct rfb_watch w;

    (void)state;
    handshake(&w);
    assert_true(sends(&w, key, sizeof key));
    assert_true(sends(&w, pointer, sizeof pointer));
    assert_true(sends(&w, paste, sizeof paste));
    assert_true(sends(&w, qemu_key, sizeof qemu_key));
    /* Still in step. */
    assert_false(sends(&w, request, sizeof request));
    assert_false(w.lost);
}

static void bytes_that_are_not_understood_count_as_activity(void **state)
{
    struct rfb_watch w;

    (void)state;
    handshake(&w);
    assert_true(sends(&w, "\x77", 1));
    assert_true(sends(&w, "x", 1));
    w = (struct rfb_watch){0};
    assert_true(sends(&w, "RFB 003.008\n\x02q", 14)); /* with a password */
}

static void the_oldest_protocol_has_a_shorter_handshake(void **state)
{
    static const char request[10] = {3};
    struct rfb_watch w = {0};

    (void)state;
    assert_false(sends(&w, "RFB 003.003\n\x01", 13));
    assert_false(sends(&w, request, sizeof request));
    assert_false(w.lost);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_viewer_that_only_looks_is_not_active),
        cmocka_unit_test(keys_pointer_and_clipboard_are_activity),
        cmocka_unit_test(bytes_that_are_not_understood_count_as_activity),
        cmocka_unit_test(the_oldest_protocol_has_a_shorter_handshake),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
