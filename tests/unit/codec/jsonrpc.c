/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "libxapi/codec/codec.h"

static int arena_setup(void **state)
{
    *state = calloc(1, sizeof(struct arena));
    return *state ? 0 : -1;
}

static int arena_teardown(void **state)
{
    arena_release(*state);
    free(*state);
    return 0;
}

static bool read_text(struct arena *arena, const char *body, struct rpc_request *r)
{
    const char *why = NULL;
    bool good = jsonrpc_read_request(arena, body, strlen(body), r, &why);

    assert_true(good || why);
    return good;
}

static void the_version_decides_the_protocol(void **state)
{
    struct rpc_request r;

    assert_true(
        read_text(*state, "{\"jsonrpc\":\"2.0\",\"method\":\"a.b\",\"params\":[],\"id\":1}", &r));
    assert_int_equal(r.protocol, RPC_JSON_2);
    assert_string_equal(r.method, "a.b");
    assert_true(read_text(*state, "{\"method\":\"a.b\",\"params\":[],\"id\":1}", &r));
    assert_int_equal(r.protocol, RPC_JSON_1);
    assert_true(read_text(*state, "{\"method\":\"a.b\",\"id\":1}", &r));
    assert_int_equal(r.n_params, 0);
}

static void the_id_comes_back_with_its_type(void **state)
{
    struct rpc_request r;

    assert_true(read_text(*state, "{\"method\":\"a\",\"id\":9007199254740993}", &r));
    assert_string_equal(r.id, "9007199254740993");
    assert_true(read_text(*state, "{\"method\":\"a\",\"id\":\"1\\\"\\u00fc\"}", &r));
    assert_string_equal(r.id, "\"1\\\"\xc3\xbc\"");
}

static void params_of_all_kinds_are_read(void **state)
{
    struct rpc_request r;

    assert_true(read_text(*state,
                          "{\"method\":\"a\",\"id\":1,\"params\":[\"s\",-9223372036854775808,1.5,"
                          "true,null,[1,2],{\"k\":{\"l\":\"m\"},\"n\":0}]}",
                          &r));
    assert_int_equal(r.n_params, 7);
    assert_string_equal(r.params[0].text, "s");
    assert_true(r.params[1].i == INT64_MIN);
    assert_true(r.params[2].d == 1.5);
    assert_int_equal(r.params[3].kind, WIRE_BOOL);
    assert_int_equal(r.params[4].kind, WIRE_NIL);
    assert_int_equal(r.params[5].n, 2);
    assert_int_equal(r.params[6].n, 2);
    assert_string_equal(r.params[6].v[0].name, "k");
    assert_string_equal(r.params[6].v[0].v[0].text, "m");
}

static void what_is_no_request_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "1",
        "[]",
        "[{\"method\":\"a\",\"id\":1}]",
        "{\"method\":\"a\"}",
        "{\"method\":\"a\",\"id\":null}",
        "{\"method\":\"a\",\"id\":1.5}",
        "{\"method\":\"a\",\"id\":[1]}",
        "{\"method\":1,\"id\":1}",
        "{\"id\":1}",
        "{\"method\":\"a\",\"id\":1,\"params\":{\"x\":1}}",
        "{\"method\":\"a\",\"id\":1,\"params\":[9223372036854775808]}",
        "{\"method\":\"a\",\"id\":1,\"params\":[1e999]}",
        "{\"method\":\"a\",\"id\":1,\"params\":[\"\\u0000\"]}",
        "{\"method\":\"a\",\"id\":1,\"params\":[{\"k\":1,\"k\":2}]}",
        "{\"method\":\"a\",\"id\":1} x",
        "{\"method\":\"a\",\"id\":1",
    };
    struct rpc_request r;

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        if (read_text(*state, bad[i], &r))
            fail_msg("accepted: %s", bad[i]);
    }
}

static bool nested_is_read(struct arena *arena, int depth)
{
    AUTO(buf) text = {0};
    struct rpc_request r;

    buf_puts(&text, "{\"method\":\"a\",\"id\":1,\"params\":[");
    for (int i = 0; i < depth; i++)
        buf_putc(&text, '[');
    for (int i = 0; i < depth; i++)
        buf_putc(&text, ']');
    buf_puts(&text, "]}");
    return read_text(arena, text.data, &r);
}

static void depth_and_number_have_limits_but_not_inside_strings(void **state)
{
    AUTO(buf) text = {0};
    struct rpc_request r;

    assert_true(nested_is_read(*state, WIRE_MAX_DEPTH));
    assert_false(nested_is_read(*state, WIRE_MAX_DEPTH + 1));
    assert_false(nested_is_read(*state, 100000));

    buf_puts(&text, "{\"method\":\"a\",\"id\":1,\"params\":[\"\\\"");
    for (int i = 0; i < WIRE_MAX_NODES; i++)
        buf_puts(&text, "[,");
    buf_puts(&text, "\"]}");
    assert_true(read_text(*state, text.data, &r));

    text.len = 0;
    buf_puts(&text, "{\"method\":\"a\",\"id\":1,\"params\":[0");
    for (int i = 0; i < WIRE_MAX_NODES; i++)
        buf_puts(&text, ",0");
    buf_puts(&text, "]}");
    assert_false(read_text(*state, text.data, &r));
}

static void bad_utf8_is_reported_and_not_refused(void **state)
{
    struct rpc_request r;

    assert_true(read_text(*state, "{\"method\":\"a\",\"id\":1,\"params\":[\"x\xff\"]}", &r));
    assert_true(r.bad_utf8);
    assert_string_equal(r.params[0].text, "x\xef\xbf\xbd");
}

static void replies_have_the_form_of_their_version(void **state)
{
    struct rpc_request one = {.protocol = RPC_JSON_1, .id = "7"};
    struct rpc_request two = {.protocol = RPC_JSON_2, .id = "\"x\""};
    struct error *e = error_new(*state, "CODE", 2, "a\"b", "");
    AUTO(buf) text = {0};

    rpc_success_begin(&text, &one);
    codec_of(one.protocol)->integer(&text, 5);
    rpc_success_end(&text, &one);
    assert_string_equal(text.data, "{\"result\":5,\"error\":null,\"id\":7}");

    text.len = 0;
    rpc_failure(&text, &one, e);
    assert_string_equal(text.data,
                        "{\"result\":null,\"error\":[\"CODE\",\"a\\\"b\",\"\"],\"id\":7}");

    text.len = 0;
    rpc_success_begin(&text, &two);
    codec_of(two.protocol)->nothing(&text);
    rpc_success_end(&text, &two);
    assert_string_equal(text.data, "{\"jsonrpc\":\"2.0\",\"result\":\"\",\"id\":\"x\"}");

    text.len = 0;
    rpc_failure(&text, &two, e);
    assert_string_equal(text.data,
                        "{\"jsonrpc\":\"2.0\",\"error\":{\"code\":1,\"message\":\"CODE\","
                        "\"data\":[\"a\\\"b\",\"\"]},\"id\":\"x\"}");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, arena_setup, arena_teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_version_decides_the_protocol),
        TEST(the_id_comes_back_with_its_type),
        TEST(params_of_all_kinds_are_read),
        TEST(what_is_no_request_is_refused),
        TEST(depth_and_number_have_limits_but_not_inside_strings),
        TEST(bad_utf8_is_reported_and_not_refused),
        TEST(replies_have_the_form_of_their_version),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
