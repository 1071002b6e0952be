/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>
#include <stdio.h>

#include "api_types.h"
#include "libxapi/codec/codec.h"
#include "tests/unit/value/types.h"

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

/* Writes a value in both formats; the counting pass must agree with the writing one. */
static void expect(const struct type *type, const void *value, const char *xml, const char *json)
{
    const struct codec *const codecs[] = {&codec_xmlrpc, &codec_json};
    const char *const want[] = {xml, json};

    for (int i = 0; i < 2; i++) {
        AUTO(buf) text = {0}, count = {.count_only = true};

        codecs[i]->value(&text, NULL, type, value);
        codecs[i]->value(&count, NULL, type, value);
        assert_string_equal(text.data, want[i]);
        assert_int_equal(count.len, text.len);
    }
}

static void scalars_look_as_clients_expect_them(void **state)
{
    int64_t i = INT64_MIN;
    bool yes = true, no = false;
    double d = 0.1;
    usec_t date = 1742357784 * USEC_PER_SEC;
    ref_t null = REF_NULL, r = {0x0123456789abcdefull, 0xfedcba9876543210ull};
    int blue = 2;

    (void)state;
    expect(&t_int, &i, "<value>-9223372036854775808</value>", "-9223372036854775808");
    expect(&t_bool, &yes, "<value><boolean>1</boolean></value>", "true");
    expect(&t_bool, &no, "<value><boolean>0</boolean></value>", "false");
    expect(&t_float, &d, "<value><double>0.1</double></value>", "0.1");
    expect(&t_date, &date, "<value><dateTime.iso8601>20250319T04:16:24Z</dateTime.iso8601></value>",
           "\"20250319T04:16:24Z\"");
    expect(&t_ref, &null, "<value>OpaqueRef:NULL</value>", "\"OpaqueRef:NULL\"");
    expect(&t_ref, &r, "<value>OpaqueRef:01234567-89ab-cdef-fedc-ba9876543210</value>",
           "\"OpaqueRef:01234567-89ab-cdef-fedc-ba9876543210\"");
    expect(&t_enum, &blue, "<value>blue</value>", "\"blue\"");
    expect(&t_void, NULL, "<value></value>", "\"\"");
}

static void references_are_written_as_base_writes_them(void **state)
{
    for (int i = 0; i < 100; i++) {
        AUTO(buf) text = {0};
        ref_t r = ref_new();

        codec_xmlrpc.ref(&text, r);
        assert_string_equal(text.data,
                            arena_printf(*state, "<value>%s</value>", ref_text(*state, r)));
    }
}

static void strings_are_escaped_wherever_the_characters_stand(void **state)
{
    const char *s = "a<b>&\"c'\n\t\r";

    (void)state;
    expect(&t_string, &s, "<value>a&lt;b&gt;&amp;&quot;c'\n\t\r</value>",
           "\"a<b>&\\\"c'\\n\\t\\r\"");
    s = "\x01x\x1f\x7f\\";
    expect(&t_string, &s, "<value>x\x7f\\</value>", "\"\\u0001x\\u001f\x7f\\\\\"");
    s = "";
    expect(&t_string, &s, "<value></value>", "\"\"");
    /* U+FFFD and U+FF0C are characters; U+FFFE and U+FFFF are none in XML. */
    s = "\xef\xbf\xbd\xef\xbc\x8c\xef\xbf\xbe\xef\xbf\xbf!";
    expect(&t_string, &s, "<value>\xef\xbf\xbd\xef\xbc\x8c!</value>",
           "\"\xef\xbf\xbd\xef\xbc\x8c\xef\xbf\xbe\xef\xbf\xbf!\"");
    for (int at = 0; at < 40; at++) {
        char text[41], want[80];

        memset(text, 'x', 40);
        text[40] = '\0';
        snprintf(want, sizeof want, "<value>%.*s&amp;%s", at, text, text + at + 1);
        strcat(want, "</value>");
        text[at] = '&';
        s = text;
        AUTO(buf) out = {0};
        codec_xmlrpc.string(&out, s);
        assert_string_equal(out.data, want);
    }
}

static void doubles_that_json_has_not_are_strings(void **state)
{
    double nan = NAN, inf = -INFINITY;

    (void)state;
    expect(&t_float, &nan, "<value><double>nan</double></value>", "\"NaN\"");
    expect(&t_float, &inf, "<value><double>-inf</double></value>", "\"-Infinity\"");
}

static void sets_and_maps_look_as_clients_expect_them(void **state)
{
    struct strings set = STRINGS("a", "b"), none = {0};
    struct strmap map = STRMAP({"k<", "v"}, {"l\"", ""}), empty = {0};
    struct enummap enums = {1, (struct enumpair[]){{"t", 1}}};

    (void)state;
    expect(&t_strings, &set,
           "<value><array><data><value>a</value><value>b</value></data></array></value>",
           "[\"a\",\"b\"]");
    expect(&t_strings, &none, "<value><array><data></data></array></value>", "[]");
    expect(&t_strmap, &map,
           "<value><struct><member><name>k&lt;</name><value>v</value></member>"
           "<member><name>l&quot;</name><value></value></member></struct></value>",
           "{\"k<\":\"v\",\"l\\\"\":\"\"}");
    expect(&t_strmap, &empty, "<value><struct></struct></value>", "{}");
    expect(&t_enummap, &enums,
           "<value><struct><member><name>t</name><value>green</value></member></struct></value>",
           "{\"t\":\"green\"}");
}

static void absent_options_are_left_out_of_a_record(void **state)
{
    const struct class_desc *class = api_class_by_name("sr_stat");
    struct sr_stat stat = {.row_class = class->id, .name_label = "a", .name_description = ""};
    const struct sr_stat *p = &stat;
    const char *uuid = "u";
    AUTO(buf) without = {0}, with = {0};

    (void)state;
    codec_json.value(&without, NULL, class->record_type, &p);
    stat.uuid = &uuid;
    codec_json.value(&with, NULL, class->record_type, &p);
    assert_null(strstr(without.data, "uuid"));
    assert_non_null(strstr(without.data, "{\"name_label\":\"a\","));
    assert_non_null(strstr(with.data, "{\"uuid\":\"u\",\"name_label\":\"a\","));
}

static struct vm *empty_vm(struct arena *arena)
{
    struct vm *vm = arena_new(arena, struct vm);
    const struct class_desc *class = api_class_by_name("VM");

    for (size_t i = 0; i < class->n_fields; i++) {
        const struct field_desc *f = &api_fields[class->first_field + i];

        if (field_is_stored(f))
            value_empty(f->type, (char *)vm + f->offset);
    }
    vm->row_class = class->id;
    return vm;
}

static const void *one_vbd(const struct codec_env *env, const void *row, const struct field_desc *f)
{
    static const ref_t vbd = {1, 2};
    struct refs *refs = arena_new(env->arena, struct refs);

    assert_ptr_equal(row, env->ctx);
    assert_true(f->flags & (FIELD_DERIVED | FIELD_COMPUTED));
    if (strcmp(f->name, "VBDs") != 0)
        return NULL;
    *refs = (struct refs){1, &vbd};
    return refs;
}

static void a_record_has_its_derived_fields_from_the_environment(void **state)
{
    const struct vm *vm = empty_vm(*state);
    struct codec_env env = {.arena = *state, .field_value = one_vbd, .ctx = (void *)vm};
    AUTO(buf) with = {0}, without = {0};

    codec_json.value(&with, &env, api_class_by_name("VM")->record_type, &vm);
    codec_json.value(&without, NULL, api_class_by_name("VM")->record_type, &vm);
    assert_non_null(
        strstr(with.data, "\"VBDs\":[\"OpaqueRef:00000000-0000-0001-0000-000000000002\"]"));
    assert_non_null(strstr(with.data, "\"VIFs\":[]"));
    assert_non_null(strstr(without.data, "\"VBDs\":[]"));
    assert_non_null(strstr(without.data, "\"power_state\":\"Halted\""));
}

/* What is remembered of the one row. */
static uint32_t remembered[CODEC_FORMATS];

static uint32_t *written(const void *row, enum codec_format format)
{
    (void)row;
    return &remembered[format];
}

/* As without a memory, the first time and later, counted and written. */
static void expect_the_same_with_a_memory(struct arena *arena, const struct vm *vm)
{
    const struct codec *const codecs[] = {&codec_xmlrpc, &codec_json};
    const struct type *type = api_class_by_name("VM")->record_type;
    struct codec_env env = {.arena = arena, .field_value = one_vbd, .ctx = (void *)vm};
    struct codec_env memory = env;

    memory.written = written;
    memset(remembered, 0, sizeof remembered);
    for (int i = 0; i < 2; i++) {
        AUTO(buf) without = {0};

        codecs[i]->value(&without, &env, type, &vm);
        for (int n = 0; n < 3; n++) {
            AUTO(buf) with = {0}, count = {.count_only = true};

            if (n)
                codecs[i]->value(&count, &memory, type, &vm);
            codecs[i]->value(&with, &memory, type, &vm);
            assert_string_equal(with.data, without.data);
            assert_int_equal(n ? count.len : with.len, without.len);
            assert_int_equal(remembered[codecs[i]->format] != 0, n > 0);
        }
    }
}

static void what_is_remembered_of_a_row_changes_nothing(void **state)
{
    struct vm *vm = empty_vm(*state);

    expect_the_same_with_a_memory(*state, vm);
    vm->name_label = "plain";
    expect_the_same_with_a_memory(*state, vm);
    /* In XML a control character is left out, and a mark becomes longer by three: the same length
     * does not mean that the text is plain. */
    vm->name_label = "\x01\x02\x03<";
    expect_the_same_with_a_memory(*state, vm);
    vm->name_label = "a \"quoted\\ text\" with <marks>\n";
    vm->other_config = (struct strmap)STRMAP({"k<", "v&"}, {"l\"", "\xef\xbf\xbe"});
    expect_the_same_with_a_memory(*state, vm);
}

static void a_record_has_every_public_field_and_no_internal_one(void **state)
{
    const struct class_desc *class = api_class_by_name("VM");
    const struct vm *vm = empty_vm(*state);
    AUTO(buf) text = {0};
    const struct wire *read;
    size_t public = 0;

    codec_xmlrpc.value(&text, NULL, class->record_type, &vm);
    assert_true(xmlrpc_read_value(*state, text.data, text.len, &read));
    for (size_t i = 0; i < class->n_fields; i++) {
        const struct field_desc *f = &api_fields[class->first_field + i];
        bool shown = !(f->flags & (FIELD_INTERNAL | FIELD_PSEUDO));

        public += shown;
        assert_true(!!wire_member(read, f->name) == shown);
    }
    assert_int_equal(read->n, public);
}

static void what_is_written_is_read_back(void **state)
{
    const struct class_desc *class = api_class_by_name("VM");
    struct vm *vm = empty_vm(*state);
    const struct vm *in = vm, *out;
    AUTO(buf) text = {0};
    const struct wire *read;

    vm->name_label = "a <b> & \"c\"";
    vm->memory_static_max = 1LL << 40;
    vm->power_state = VM_SUSPENDED;
    vm->affinity = (ref_t){5, 6};
    vm->other_config = STRMAP({"x", "<y>"});
    codec_xmlrpc.value(&text, NULL, class->record_type, &in);
    assert_true(xmlrpc_read_value(*state, text.data, text.len, &read));
    assert_null(wire_to_result(*state, class->record_type, read, &out));
    assert_true(value_equal(class->record_type, &in, &out));
}

static void a_call_is_read_as_it_was_written(void **state)
{
    const char *s = "a&b";
    int64_t i = 7;
    AUTO(buf) text = {0};
    struct rpc_request r;
    const char *why;

    xmlrpc_call_begin(&text, "VM.start");
    xmlrpc_call_param(&text, &t_string, &s);
    xmlrpc_call_param(&text, &t_int, &i);
    xmlrpc_call_end(&text);
    assert_true(xmlrpc_read_request(*state, text.data, text.len, &r, &why));
    assert_string_equal(r.method, "VM.start");
    assert_string_equal(r.params[0].text, "a&b");
    assert_string_equal(r.params[1].text, "7");
}

static void only_typed_ints_have_a_type_in_xml(void **state)
{
    AUTO(buf) xml = {0}, json = {0};

    (void)state;
    codec_xmlrpc.typed_int(&xml, 3);
    codec_json.typed_int(&json, 3);
    assert_string_equal(xml.data, "<value><i4>3</i4></value>");
    assert_string_equal(json.data, "3");
}

static void utf8_is_told_from_what_is_none(void **state)
{
    static const char *const good[] = {"",
                                       "abc",
                                       "\xc3\xbc",
                                       "\xe2\x82\xac",
                                       "\xf0\x9f\x98\x80",
                                       "0123456789abcdef\xc3\xbc",
                                       "\xf4\x8f\xbf\xbf"};
    static const char *const bad[] = {"\x80",
                                      "\xc3",
                                      "\xc0\xaf",
                                      "\xed\xa0\x80",
                                      "\xf5\x80\x80\x80",
                                      "\xe0\x80\x80",
                                      "\xf4\x90\x80\x80",
                                      "01234567\xff",
                                      "\xc3("};
    size_t n;

    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        assert_true(utf8_valid(good[i], strlen(good[i])));
        assert_string_equal(utf8_clean(*state, good[i], strlen(good[i]), &n), good[i]);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_false(utf8_valid(bad[i], strlen(bad[i])));
        utf8_clean(*state, bad[i], strlen(bad[i]), &n);
        assert_true(utf8_valid(utf8_clean(*state, bad[i], strlen(bad[i]), &n), n));
    }
    assert_false(utf8_valid("a\0b", 3));
    assert_false(utf8_valid("0123456\0", 8));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, arena_setup, arena_teardown)
    const struct CMUnitTest tests[] = {
        TEST(scalars_look_as_clients_expect_them),
        TEST(references_are_written_as_base_writes_them),
        TEST(strings_are_escaped_wherever_the_characters_stand),
        TEST(doubles_that_json_has_not_are_strings),
        TEST(sets_and_maps_look_as_clients_expect_them),
        TEST(absent_options_are_left_out_of_a_record),
        TEST(a_record_has_its_derived_fields_from_the_environment),
        TEST(what_is_remembered_of_a_row_changes_nothing),
        TEST(a_record_has_every_public_field_and_no_internal_one),
        TEST(what_is_written_is_read_back),
        TEST(a_call_is_read_as_it_was_written),
        TEST(only_typed_ints_have_a_type_in_xml),
        TEST(utf8_is_told_from_what_is_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
