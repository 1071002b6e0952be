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

/* A call of one parameter with this inside its <value>, as a tree. */
static const struct wire *value_of(struct arena *arena, const char *inside)
{
    const char *text = arena_printf(arena, "<value>%s</value>", inside);
    const struct wire *value;

    assert_true(xmlrpc_read_value(arena, text, strlen(text), &value));
    return value;
}

static bool refused(struct arena *arena, const char *body)
{
    struct rpc_request request;
    const char *why = NULL;

    if (xmlrpc_read_request(arena, body, strlen(body), &request, &why))
        return false;
    assert_non_null(why);
    return true;
}

static void the_call_that_python_sends_is_read(void **state)
{
    static const char body[] =
        "<?xml version='1.0'?>\n<methodCall>\n<methodName>VM.start</methodName>\n<params>\n"
        "<param>\n<value><string>OpaqueRef:1</string></value>\n</param>\n"
        "<param>\n<value><boolean>1</boolean></value>\n</param>\n"
        "<param>\n<value><int>-5</int></value>\n</param>\n</params>\n</methodCall>\n";
    struct rpc_request r;
    const char *why;

    assert_true(xmlrpc_read_request(*state, body, sizeof body - 1, &r, &why));
    assert_int_equal(r.protocol, RPC_XML);
    assert_string_equal(r.method, "VM.start");
    assert_int_equal(r.n_params, 3);
    assert_string_equal(r.params[0].text, "OpaqueRef:1");
    assert_int_equal(r.params[1].kind, WIRE_BOOL);
    assert_int_equal(r.params[1].i, 1);
    assert_int_equal(r.params[2].i, -5);
    assert_false(r.bad_utf8);
}

static void a_call_may_have_no_params(void **state)
{
    static const char *const bodies[] = {
        "<methodCall><methodName> system.listMethods </methodName></methodCall>",
        "<methodCall><methodName>system.listMethods</methodName><params/></methodCall>"};
    struct rpc_request r;
    const char *why;

    for (size_t i = 0; i < ARRAY_SIZE(bodies); i++) {
        assert_true(xmlrpc_read_request(*state, bodies[i], strlen(bodies[i]), &r, &why));
        assert_string_equal(r.method, "system.listMethods");
        assert_int_equal(r.n_params, 0);
    }
}

static void each_type_is_read(void **state)
{
    const struct wire *v;

    v = value_of(*state, " two  words\n");
    assert_int_equal(v->kind, WIRE_STRING);
    assert_string_equal(v->text, " two  words\n");
    assert_string_equal(value_of(*state, "")->text, "");
    assert_string_equal(value_of(*state, "<string/>")->text, "");
    assert_string_equal(value_of(*state, "\n <string> a </string> \n")->text, " a ");
    assert_true(value_of(*state, "<i8> 9223372036854775807 </i8>")->i == INT64_MAX);
    assert_true(value_of(*state, "<i4>-9223372036854775808</i4>")->i == INT64_MIN);
    assert_true(value_of(*state, "<double>-1.5e3</double>")->d == -1500);
    assert_int_equal(value_of(*state, "<boolean>0</boolean>")->i, 0);
    v = value_of(*state, "<dateTime.iso8601>20250319T04:16:24Z</dateTime.iso8601>");
    assert_int_equal(v->kind, WIRE_DATE);
    assert_string_equal(v->text, "20250319T04:16:24Z");
    assert_int_equal(value_of(*state, "<nil/>")->kind, WIRE_NIL);
    assert_string_equal(value_of(*state, "<base64>QUJD</base64>")->text, "QUJD");
}

static void escapes_and_cdata_become_characters(void **state)
{
    assert_string_equal(value_of(*state, "&lt;a&gt; &amp;&quot;&apos;&#x41;&#66;")->text,
                        "<a> &\"'AB");
    assert_string_equal(value_of(*state, "x<![CDATA[<b>&]]>y")->text, "x<b>&y");
    assert_string_equal(value_of(*state, "a<!-- no -->b")->text, "ab");
}

static void arrays_and_structs_keep_their_order(void **state)
{
    const struct wire *v =
        value_of(*state, "<struct><member><name>a&amp;b</name><value><array><data>"
                         "<value>1</value><value><int>2</int></value></data></array></value>"
                         "</member> <member><value/><name>second</name></member></struct>");

    assert_int_equal(v->kind, WIRE_STRUCT);
    assert_int_equal(v->n, 2);
    assert_string_equal(v->v[0].name, "a&b");
    assert_int_equal(v->v[0].n, 2);
    assert_string_equal(v->v[0].v[0].text, "1");
    assert_int_equal(v->v[0].v[1].i, 2);
    assert_string_equal(v->v[1].name, "second");
    assert_ptr_equal(wire_member(v, "second"), &v->v[1]);
    assert_null(wire_member(v, "third"));
    assert_int_equal(value_of(*state, "<array><data/></array>")->n, 0);
    assert_int_equal(value_of(*state, "<struct/>")->n, 0);
}

static void long_arrays_are_read_whole(void **state)
{
    AUTO(buf) text = {0};
    const struct wire *v;

    buf_puts(&text, "<value><array><data>");
    for (int i = 0; i < 1000; i++)
        buf_printf(&text, "<value><int>%d</int></value>", i);
    buf_puts(&text, "</data></array></value>");
    assert_true(xmlrpc_read_value(*state, text.data, text.len, &v));
    assert_int_equal(v->n, 1000);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(v->v[i].i, i);
}

static void documents_with_entities_or_a_type_are_refused(void **state)
{
    struct rpc_request r;
    const char *why;
    static const char dtd[] = "<?xml version='1.0'?><!DOCTYPE m [<!ENTITY a 'aaaa'>"
                              "<!ENTITY b SYSTEM 'file:///etc/passwd'>]><methodCall>"
                              "<methodName>&a;&b;</methodName></methodCall>";

    assert_false(xmlrpc_read_request(*state, dtd, sizeof dtd - 1, &r, &why));
    assert_string_equal(why, "XML-RPC message with a document type");
    assert_true(refused(*state, "<!DOCTYPE methodCall SYSTEM 'http://example.com/x.dtd'>"
                                "<methodCall><methodName>a</methodName></methodCall>"));
    assert_true(refused(*state, "<methodCall><methodName>&a;</methodName></methodCall>"));
}

#define CALL(inside)                                                                               \
    "<methodCall><methodName>a</methodName><params><param>" inside "</param></params></"           \
    "methodCall>"

static void what_is_no_call_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        " ",
        "hello",
        "<methodCall>",
        "<methodCall/>",
        "<methodCall><methodName></methodName></methodCall>",
        "<methodResponse><params/></methodResponse>",
        "<methodCall><methodName>a</methodName><methodName>b</methodName></methodCall>",
        "<methodCall><methodName>a</methodName></methodCall><x/>",
        "<methodCall>text<methodName>a</methodName></methodCall>",
        CALL(""),
        CALL("<value/><value/>"),
        CALL("<value><int>1</int><int>2</int></value>"),
        CALL("<value>text<int>1</int></value>"),
        CALL("<value><int>1</int>text</value>"),
        CALL("<value><int></int></value>"),
        CALL("<value><int>99999999999999999999</int></value>"),
        CALL("<value><int>1<b/></int></value>"),
        CALL("<value><boolean>true</boolean></value>"),
        CALL("<value><double>one</double></value>"),
        CALL("<value><array/></value>"),
        CALL("<value><array><data/><data/></array></value>"),
        CALL("<value><struct><member><name>a</name></member></struct></value>"),
        CALL("<value><struct><member><value/></member></struct></value>"),
        CALL("<value><unknown/></value>"),
        CALL("<value>&#0;</value>"),
        CALL("<value>\x01</value>"),
        CALL("<int>1</int>"),
    };

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        if (!refused(*state, bad[i]))
            fail_msg("accepted: %s", bad[i]);
    }
}

static bool nested_is_read(struct arena *arena, int depth)
{
    AUTO(buf) text = {0};
    const struct wire *v;

    for (int i = 0; i < depth; i++)
        buf_puts(&text, "<value><array><data>");
    for (int i = 0; i < depth; i++)
        buf_puts(&text, "</data></array></value>");
    return xmlrpc_read_value(arena, text.data, text.len, &v);
}

static void depth_has_a_limit(void **state)
{
    assert_true(nested_is_read(*state, WIRE_MAX_DEPTH - 1));
    assert_false(nested_is_read(*state, WIRE_MAX_DEPTH + 10));
    assert_false(nested_is_read(*state, 100000));
}

static void the_number_of_values_has_a_limit(void **state)
{
    AUTO(buf) text = {0};

    buf_puts(&text, "<methodCall><methodName>a</methodName><params><param><value><array><data>");
    for (int i = 0; i < WIRE_MAX_NODES + 1; i++)
        buf_puts(&text, "<value/>");
    buf_puts(&text, "</data></array></value></param></params></methodCall>");
    assert_true(refused(*state, text.data));
}

static void bad_utf8_is_reported_and_not_refused(void **state)
{
    static const char body[] = CALL("<value>a\xff\xfe\xc3(b</value>");
    struct rpc_request r;
    const char *why;

    assert_true(xmlrpc_read_request(*state, body, sizeof body - 1, &r, &why));
    assert_true(r.bad_utf8);
    assert_string_equal(r.params[0].text, "a\xef\xbf\xbd(b");
}

static void latin_1_is_converted_and_other_encodings_are_refused(void **state)
{
    static const char latin[] =
        "<?xml version=\"1.0\" encoding='ISO-8859-1'?>" CALL("<value>\xfc</value>");
    static const char utf8[] =
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>" CALL("<value>\xc3\xbc</value>");
    struct rpc_request r;
    const char *why;

    assert_true(xmlrpc_read_request(*state, latin, sizeof latin - 1, &r, &why));
    assert_string_equal(r.params[0].text, "\xc3\xbc");
    assert_false(r.bad_utf8);
    assert_true(xmlrpc_read_request(*state, utf8, sizeof utf8 - 1, &r, &why));
    assert_string_equal(r.params[0].text, "\xc3\xbc");
    assert_true(refused(*state, "<?xml version='1.0' encoding='EUC-JP'?>" CALL("<value/>")));
}

static void a_reply_of_many_megabytes_is_read(void **state)
{
    AUTO(buf) text = {0};
    const struct wire *value;
    struct error *error;
    const char *why;

    buf_puts(&text, "<methodResponse><params><param><value><array><data>");
    for (int i = 0; i < 300000; i++)
        buf_puts(&text, "<value>sixty-four bytes of text make a reply of twenty megabytes</value>");
    buf_puts(&text, "</data></array></value></param></params></methodResponse>");
    assert_true(xmlrpc_read_reply(*state, text.data, text.len, &value, &error, &why));
    assert_int_equal(value->n, 300000);
}

static const struct rpc_request xml_request = {.protocol = RPC_XML};

static void a_success_is_read_back(void **state)
{
    AUTO(buf) text = {0};
    const struct wire *value;
    struct error *error;
    const char *why;

    rpc_success_begin(&text, &xml_request);
    codec_xmlrpc.string(&text, "result");
    rpc_success_end(&text, &xml_request);
    assert_true(xmlrpc_read_reply(*state, text.data, text.len, &value, &error, &why));
    assert_null(error);
    assert_string_equal(value->text, "result");
}

static void a_failure_is_read_back(void **state)
{
    struct error *e = error_new(*state, "VM_BAD_POWER_STATE", 2, "<vm>", "halted");
    AUTO(buf) text = {0};
    const struct wire *value;
    struct error *error;
    const char *why;

    rpc_failure(&text, &xml_request, e);
    assert_true(xmlrpc_read_reply(*state, text.data, text.len, &value, &error, &why));
    assert_null(value);
    assert_string_equal(error->code, "VM_BAD_POWER_STATE");
    assert_int_equal(error->n_params, 2);
    assert_string_equal(error->params[0], "<vm>");
    assert_string_equal(error->params[1], "halted");
}

static void faults_and_bare_values_are_read(void **state)
{
    static const char fault[] =
        "<methodResponse><fault><value><struct><member><name>faultCode</name><value><int>4</int>"
        "</value></member><member><name>faultString</name><value>bad</value></member></struct>"
        "</value></fault></methodResponse>";
    AUTO(buf) text = {0};
    const struct wire *value;
    struct error *error;
    const char *why;

    assert_true(xmlrpc_read_reply(*state, fault, sizeof fault - 1, &value, &error, &why));
    assert_string_equal(error->code, "Fault");
    assert_string_equal(error->params[1], "bad");

    rpc_bare_begin(&text, &xml_request);
    codec_xmlrpc.array_begin(&text);
    codec_xmlrpc.array_end(&text);
    rpc_bare_end(&text, &xml_request);
    assert_true(xmlrpc_read_reply(*state, text.data, text.len, &value, &error, &why));
    assert_int_equal(value->kind, WIRE_ARRAY);
}

static void replies_without_a_value_or_an_error_are_refused(void **state)
{
#define STATUS(s, rest)                                                                            \
    "<methodResponse><params><param><value><struct><member><name>Status</name><value>" s           \
    "</value></member>" rest "</struct></value></param></params></methodResponse>"
    static const char *const bad[] = {
        STATUS("Success", ""), STATUS("Failure", ""),
        STATUS("Failure", "<member><name>ErrorDescription</name><value><array><data/></array>"
                          "</value></member>"),
        "<methodResponse><params/></methodResponse>", "<methodResponse/>"};
    const struct wire *value;
    struct error *error;
    const char *why;

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_false(xmlrpc_read_reply(*state, bad[i], strlen(bad[i]), &value, &error, &why));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, arena_setup, arena_teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_call_that_python_sends_is_read),
        TEST(a_call_may_have_no_params),
        TEST(each_type_is_read),
        TEST(escapes_and_cdata_become_characters),
        TEST(arrays_and_structs_keep_their_order),
        TEST(long_arrays_are_read_whole),
        TEST(documents_with_entities_or_a_type_are_refused),
        TEST(what_is_no_call_is_refused),
        TEST(depth_has_a_limit),
        TEST(the_number_of_values_has_a_limit),
        TEST(bad_utf8_is_reported_and_not_refused),
        TEST(latin_1_is_converted_and_other_encodings_are_refused),
        TEST(a_reply_of_many_megabytes_is_read),
        TEST(a_success_is_read_back),
        TEST(a_failure_is_read_back),
        TEST(faults_and_bare_values_are_read),
        TEST(replies_without_a_value_or_an_error_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
