/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* thin.c -- the bytes of the thin protocol. */
#include "xe-cli/thin_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void lines_are_words_and_the_first_may_be_a_session(void **state)
{
    static const struct {
        const char *text, *session, *words; /* joined with | */
    } cases[] = {
        {"vm-list\nusername=root\npassword=a b", NULL, "vm-list|username=root|password=a b"},
        {"session_id=OpaqueRef:1\nvm-list\n", "OpaqueRef:1", "vm-list"},
        {"session_id=OpaqueRef:1\r\nvm-list\r\nuuid=x\r\n", "OpaqueRef:1", "vm-list|uuid=x"},
        {"vm-list\r\nname-label=two\nlines\r\n", NULL, "vm-list|name-label=two\nlines"},
        {"vm-list\nsession_id=later", NULL, "vm-list|session_id=later"},
        {"vm-list\n\nx", NULL, "vm-list||x"},
        {"session_id=only", "only", ""},
        {"session_id=", "", ""},
        {"\n", NULL, ""},
        {"", NULL, ""},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct arena arena = {0};
        struct thin_request r;
        AUTO(buf) joined = {0};

        assert_true(thin_request_read(&arena, cases[i].text, strlen(cases[i].text), &r));
        for (size_t k = 0; k < r.n; k++)
            buf_printf(&joined, "%s%s", k ? "|" : "", r.words[k]);
        assert_string_equal(joined.data ? joined.data : "", cases[i].words);
        if (cases[i].session)
            assert_string_equal(r.session, cases[i].session);
        else
            assert_null(r.session);
        arena_release(&arena);
    }
}

static void a_request_with_a_nul_or_too_many_words_is_refused(void **state)
{
    struct arena arena = {0};
    struct thin_request r;
    AUTO(buf) many = {0};

    (void)state;
    assert_false(thin_request_read(&arena, "vm\0list", 7, &r));
    for (int i = 0; i < THIN_WORDS_MAX - 1; i++)
        buf_puts(&many, "a\n");
    assert_true(thin_request_read(&arena, many.data, many.len, &r));
    buf_puts(&many, "a\n");
    assert_false(thin_request_read(&arena, many.data, many.len, &r));
    arena_release(&arena);
}

static void answers_are_told_apart(void **state)
{
#define N(a) 0, 0, 0, (a)
    static const struct {
        uint8_t bytes[16];
        size_t n;
        enum thin_answer answer;
        size_t size;
    } cases[] = {
        {{N(10), N(5)}, 8, THIN_OK, 0},
        {{N(10), N(6)}, 8, THIN_FAILED, 0},
        {{N(10), N(18)}, 8, THIN_WAIT, 0},
        {{N(11), N(7), 0, 0, 1, 2}, 12, THIN_CHUNK, 258},
        {{N(11), N(7), 0x7f, 0xff, 0xff, 0xff}, 12, THIN_CHUNK, INT32_MAX},
        {{N(11), N(7), 0x80, 0, 0, 0}, 12, THIN_BROKEN, 0},
        {{N(11), N(8)}, 8, THIN_END, 0},
        {{N(11), N(8), N(0)}, 12, THIN_BROKEN, 0},
        {{N(11), N(7)}, 8, THIN_BROKEN, 0},
        {{N(9), N(4), N(0)}, 12, THIN_BROKEN, 0},
        {{N(10), N(7)}, 8, THIN_BROKEN, 0},
        {{N(10)}, 4, THIN_BROKEN, 0},
        {{0}, 0, THIN_BROKEN, 0},
    };
#undef N

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        size_t size = 1;

        assert_int_equal(thin_answer_read(cases[i].bytes, cases[i].n, &size), cases[i].answer);
        assert_int_equal(size, cases[i].size);
    }
}

static void commands_carry_their_texts(void **state)
{
    static const char get[] = "\0\0\0\x14"
                              "\0\0\0\x09\0\0\0\x0c"
                              "\0\0\0\1f"
                              "\0\0\0\3/ab";
    static const char end[] = "\0\0\0\x0c\0\0\0\x09\0\0\0\x04\0\0\0\x02";
    AUTO(buf) out = {0};

    (void)state;
    thin_command(&out, THIN_HTTP_GET, "f", 1, "/ab");
    assert_int_equal(out.len, sizeof get - 1);
    assert_memory_equal(out.data, get, out.len);
    out.len = 0;
    thin_command_exit(&out, 2);
    assert_int_equal(out.len, sizeof end - 1);
    assert_memory_equal(out.data, end, out.len);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_words_and_the_first_may_be_a_session),
        cmocka_unit_test(a_request_with_a_nul_or_too_many_words_is_refused),
        cmocka_unit_test(answers_are_told_apart),
        cmocka_unit_test(commands_carry_their_texts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
