/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cli_frames.c -- where one command ends and the next begins. */
#include "xapid/stream/cli_frames.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void the_end_is_seen_however_the_bytes_are_cut(void **state)
{
    AUTO(buf) bytes = {0};

    (void)state;
    cli_frame_error(&bytes, "INTERNAL_ERROR", "why");
    buf_add(&bytes, "\0\0\0\0", 4);
    cli_frame_exit(&bytes, 1);
    for (size_t step = 1; step <= bytes.len; step++) {
        struct cli_frames f = {0};

        for (size_t at = 0; at < bytes.len; at += step) {
            assert_false(f.ended);
            cli_frames_see(&f, (const uint8_t *)bytes.data + at, MIN(step, bytes.len - at));
        }
        assert_true(f.ended);
        assert_true(cli_frames_whole(&f));
    }
}

static void a_half_frame_is_not_whole_and_an_error_is_no_end(void **state)
{
    struct cli_frames f = {0};
    AUTO(buf) bytes = {0};

    (void)state;
    assert_true(cli_frames_whole(&f));
    cli_frame_error(&bytes, "INTERNAL_ERROR", "why");
    cli_frames_see(&f, (const uint8_t *)bytes.data, bytes.len - 1);
    assert_false(cli_frames_whole(&f));
    cli_frames_see(&f, (const uint8_t *)bytes.data + bytes.len - 1, 1);
    assert_true(cli_frames_whole(&f));
    assert_false(f.ended);
}

static void only_this_protocol_is_greeted(void **state)
{
    uint8_t theirs[CLI_GREETING_SIZE];

    (void)state;
    memcpy(theirs, cli_greeting, sizeof theirs);
    assert_memory_equal(theirs, "XenSource thin CLI protocol\0\0\0\0\0\0\0\2", sizeof theirs);
    assert_true(cli_greeting_is_ours(theirs));
    theirs[34] = 1; /* an older minor version */
    assert_true(cli_greeting_is_ours(theirs));
    theirs[30] = 1;
    assert_false(cli_greeting_is_ours(theirs));
    memcpy(theirs, "GET / HTTP/1.1", 14);
    assert_false(cli_greeting_is_ours(theirs));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_end_is_seen_however_the_bytes_are_cut),
        cmocka_unit_test(a_half_frame_is_not_whole_and_an_error_is_no_end),
        cmocka_unit_test(only_this_protocol_is_greeted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
