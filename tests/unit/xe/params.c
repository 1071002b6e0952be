/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* params.c -- reading and changing parameters. */
#include <string.h>

#include "tests/unit/xe/mock.h"

static void expect(int code, const char *out, const char *err, const char *const *argv)
{
    struct mock m = {0};

    assert_int_equal(mock_run(&m, mock_pool, argv), code);
    assert_string_equal(m.err, err);
    assert_string_equal(m.out, out);
    mock_release(&m);
}
#define EXPECT(code, out, err, ...)                                                                \
    expect((code), (out), (err), (const char *const[]){__VA_ARGS__, NULL})

/* The command does well and makes a call whose parameters contain 'with'. */
static void expect_call(const char *call, const char *const *argv)
{
    struct mock m = {0};

    if (mock_run(&m, mock_pool, argv) != 0 || !strstr(m.calls.data, call))
        fail_msg("not called: %s\nbut: %s\nerror: %s", call, m.calls.data, m.err);
    mock_release(&m);
}
#define EXPECT_CALL(call, ...) expect_call((call), (const char *const[]){__VA_ARGS__, NULL})
#define P(text) "<param><value>" text "</value></param>"

static void get_shows_one_value(void **state)
{
    (void)state;
    EXPECT(0, "running\n", "", "vm-param-get", "uuid=" WEB, "param-name=power-state");
    EXPECT(0, "folder: /a; color: red\n", "", "vm-param-get", "uuid=" WEB,
           "param-name=other-config");
    EXPECT(0, "red\n", "", "vm-param-get", "uuid=" WEB, "param-name=other-config",
           "param-key=color");
    EXPECT(1, "", "Error: Key x not found in map\n", "vm-param-get", "uuid=" WEB,
           "param-name=other-config", "param-key=x");
    EXPECT(1, "", "Required parameter not found: uuid\nFor usage run: 'xe help'\n", "vm-param-get",
           "param-name=other-config");
}

static void set_sends_values_as_the_api_has_them(void **state)
{
    (void)state;
    EXPECT_CALL("VM.set_name_label " P("OpaqueRef:web") P("a &lt;b&gt;"), "vm-param-set",
                "uuid=" WEB, "name-label=a <b>");
    EXPECT_CALL("VM.set_memory_static_max " P("OpaqueRef:web") P("2147483648"), "vm-param-set",
                "uuid=" WEB, "memory-static-max=2GiB");
    EXPECT_CALL("VM.set_actions_after_crash " P("OpaqueRef:web") P("coredump_and_destroy"),
                "vm-param-set", "uuid=" WEB, "actions-after-crash=Core dump and destroy");
}

static void setting_a_key_of_a_map_replaces_it(void **state)
{
    (void)state;
    EXPECT_CALL("VM.remove_from_other_config " P("OpaqueRef:web")
                    P("color") "\n"
                               "VM.add_to_other_config " P("OpaqueRef:web") P("color") P("blue"),
                "vm-param-set", "uuid=" WEB, "other-config:color=blue");
    EXPECT_CALL("VM.add_to_other_config " P("OpaqueRef:web") P("new") P("1"), "vm-param-set",
                "uuid=" WEB, "other-config:new=1");
}

static void what_cannot_be_set_is_said(void **state)
{
    (void)state;
    EXPECT(1, "", "Error: Field 'power-state' is read-only.\n", "vm-param-set", "uuid=" WEB,
           "power-state=running");
    EXPECT(1, "", "Error: Field 'tags' is a map or set. use the 'name:key=value' syntax.\n",
           "vm-param-set", "uuid=" WEB, "tags=x");
    EXPECT(1, "", "Error: Unknown field 'x'\n", "vm-param-set", "uuid=" WEB, "x=1");
    EXPECT(1, "", "Error: Failed to parse parameter 'VCPUs-max': expecting an integer\n",
           "vm-param-set", "uuid=" WEB, "VCPUs-max=two");
    EXPECT(1, "",
           "Error: Failed to parse field 'memory-static-max': Unknown suffix: 'GB' (try KiB, MiB, "
           "GiB or TiB)\n",
           "vm-param-set", "uuid=" WEB, "memory-static-max=2GB");
    EXPECT(1, "",
           "Error: Failed to parse field 'memory-static-max': number too big (maximum = 8388607 "
           "TiB)\n",
           "vm-param-set", "uuid=" WEB, "memory-static-max=99999999TiB");
}

static void sets_grow_and_shrink(void **state)
{
    (void)state;
    EXPECT_CALL("VM.add_tags " P("OpaqueRef:web") P("d"), "vm-param-add", "uuid=" WEB,
                "param-name=tags", "param-key=d");
    EXPECT_CALL("VM.remove_tags " P("OpaqueRef:web") P("c"), "vm-param-remove", "uuid=" WEB,
                "param-name=tags", "param-key=c");
    EXPECT(1, "", "Error: Key d is not in the set\n", "vm-param-remove", "uuid=" WEB,
           "param-name=tags", "param-key=d");
    EXPECT_CALL("VM.remove_tags " P("OpaqueRef:web") P("a,b") "\nVM.remove_tags ", "vm-param-clear",
                "uuid=" WEB, "param-name=tags");
    EXPECT_CALL("VM.add_to_other_config " P("OpaqueRef:web") P("k") P("v"), "vm-param-add",
                "uuid=" WEB, "param-name=other-config", "k=v");
    EXPECT(1, "", "Error: Can only add to parameters of type Set or Map\n", "vm-param-add",
           "uuid=" WEB, "param-name=name-label", "k=v");
}

static void an_unknown_uuid_is_the_servers_error(void **state)
{
    struct mock m = {0};

    (void)state;
    assert_int_equal(MOCK_RUN(&m, mock_pool, "vm-param-list", "uuid=nothing"), 1);
    assert_non_null(strstr(m.err, "\ntype: VM\n"));
    assert_non_null(strstr(m.err, "\nuuid: <unknown>\n"));
    mock_release(&m);
}

int xe_params_tests(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(get_shows_one_value),
        cmocka_unit_test(set_sends_values_as_the_api_has_them),
        cmocka_unit_test(setting_a_key_of_a_map_replaces_it),
        cmocka_unit_test(what_cannot_be_set_is_said),
        cmocka_unit_test(sets_grow_and_shrink),
        cmocka_unit_test(an_unknown_uuid_is_the_servers_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
