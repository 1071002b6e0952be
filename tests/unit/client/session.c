/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* session.c -- tests of libxapi's sessions against a scripted server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "libxapi/codec/codec.h"
#include "tests/unit/client/mock.h"
#include "xapi/api.h"

#define REF "OpaqueRef:11111111-2222-3333-4444-555555555555"
#define VM_REF "OpaqueRef:99999999-2222-3333-4444-555555555555"
#define OK_XML(value)                                                                              \
    "<?xml version=\"1.0\"?><methodResponse><params><param><value><struct>"                        \
    "<member><name>Status</name><value>Success</value></member>"                                   \
    "<member><name>Value</name>" value "</member>"                                                 \
    "</struct></value></param></params></methodResponse>"
#define FAILURE_XML(params)                                                                        \
    "<?xml version=\"1.0\"?><methodResponse><params><param><value><struct>"                        \
    "<member><name>Status</name><value>Failure</value></member>"                                   \
    "<member><name>ErrorDescription</name><value><array><data>" params                             \
    "</data></array></value></member></struct></value></param></params></methodResponse>"
#define V(text) "<value>" text "</value>"
#define LOGIN                                                                                      \
    {                                                                                              \
        MOCK_ANSWER, OK_XML(V(REF)), NULL                                                          \
    }
#define VOID                                                                                       \
    {                                                                                              \
        MOCK_ANSWER, OK_XML("<value></value>"), NULL                                               \
    }

static struct xapi_options options_for(const struct mock *m)
{
    struct xapi_options o = {.user = "root", .password = "a&b", .originator = "test"};

    o.plain = !m->tls;
    o.unix_path = m->unix_path;
    o.host = m->unix_path ? NULL : "127.0.0.1";
    o.port = m->port;
    o.timeout = 20 * USEC_PER_SEC;
    return o;
}

/* Starts the server and logs in. */
static struct xapi_session *session_on(struct mock *m, enum mock_via via,
                                       const struct mock_step *steps, size_t n)
{
    struct xapi_session *s;
    struct xapi_options o;
    struct error *e;

    mock_start(m, via, steps, n);
    o = options_for(m);
    e = xapi_connect(&o, &s);
    if (e)
        fail_msg("%s", xapi_error_text(s, e));
    return s;
}

static void end(struct mock *m, struct xapi_session *s)
{
    xapi_disconnect(s);
    mock_stop(m);
}

static ref_t vm_ref(void)
{
    ref_t r;

    assert_true(ref_from_text(VM_REF, &r));
    return r;
}

static void assert_error(struct error *e, const char *code)
{
    assert_non_null(e);
    assert_string_equal(e->code, code);
}

static void a_session_logs_in_calls_and_logs_out(void **state)
{
    static const struct mock_step steps[] = {
        LOGIN, {MOCK_ANSWER, OK_XML(V("a &lt;name&gt;")), NULL}, VOID};
    struct xapi_session *s;
    const char *name;
    struct mock m;

    (void)state;
    s = session_on(&m, MOCK_TCP, steps, ARRAY_SIZE(steps));
    assert_string_equal(xapi_session_ref(s), REF);
    assert_null(xapi_vm_get_name_label(s, vm_ref(), &name));
    assert_string_equal(name, "a <name>");
    assert_non_null(strstr(mock_request(&m, 0), "session.login_with_password"));
    assert_non_null(strstr(mock_request(&m, 0), "a&amp;b"));
    assert_non_null(strstr(mock_request(&m, 0), "<value>test</value>"));
    assert_non_null(strstr(mock_request(&m, 1), "VM.get_name_label"));
    assert_non_null(strstr(mock_request(&m, 1), REF));
    assert_non_null(strstr(mock_request(&m, 1), VM_REF));
    xapi_disconnect(s);
    assert_non_null(strstr(mock_request(&m, 2), "session.logout"));
    mock_stop(&m);
}

static void a_unix_socket_serves_as_well(void **state)
{
    static const struct mock_step steps[] = {LOGIN, {MOCK_ANSWER, OK_XML(V("7")), NULL}, VOID};
    struct xapi_session *s;
    int64_t n = 0;
    struct mock m;

    (void)state;
    s = session_on(&m, MOCK_UNIX, steps, ARRAY_SIZE(steps));
    assert_null(xapi_vm_get_memory_static_max(s, vm_ref(), &n));
    assert_int_equal(n, 7);
    assert_non_null(strstr(mock_request(&m, 0), "\r\nHost: localhost\r\n"));
    end(&m, s);
}

static void the_servers_errors_come_with_their_parameters(void **state)
{
    static const struct mock_step steps[] = {
        LOGIN,
        {MOCK_ANSWER, FAILURE_XML(V("VM_BAD_POWER_STATE") V(VM_REF) V("halted") V("running")),
         NULL},
        VOID};
    struct xapi_session *s;
    struct error *e;
    struct mock m;

    (void)state;
    s = session_on(&m, MOCK_TCP, steps, ARRAY_SIZE(steps));
    e = xapi_vm_start(s, vm_ref(), false, true);
    assert_error(e, "VM_BAD_POWER_STATE");
    assert_int_equal(e->n_params, 3);
    assert_string_equal(e->params[2], "running");
    assert_non_null(strstr(xapi_error_text(s, e), api_error_by_code(e->code)->doc));
    assert_non_null(strstr(xapi_error_text(s, e), "\nactual: running"));
    end(&m, s);
}

static void a_failed_login_leaves_a_session_that_tells_why(void **state)
{
    static const struct mock_step steps[] = {
        {MOCK_ANSWER, FAILURE_XML(V("SESSION_AUTHENTICATION_FAILED") V("root") V("no")), NULL}};
    struct xapi_session *s;
    struct xapi_options o;
    struct mock m;

    (void)state;
    mock_start(&m, MOCK_TCP, steps, ARRAY_SIZE(steps));
    o = options_for(&m);
    assert_error(xapi_connect(&o, &s), "SESSION_AUTHENTICATION_FAILED");
    assert_string_equal(xapi_session_ref(s), "");
    assert_error(xapi_vm_start(s, vm_ref(), false, false), "SESSION_INVALID");
    end(&m, s);
}

static void nobody_listening_is_told(void **state)
{
    struct xapi_options o = {.unix_path = "/nonexistent/xapi", .user = "root"};
    struct xapi_session *s;
    struct error *e;

    (void)state;
    e = xapi_connect(&o, &s);
    assert_error(e, "CANNOT_CONTACT_HOST");
    assert_non_null(strstr(xapi_error_text(s, e), "No such file"));
    xapi_disconnect(s);
}

/* ---- TLS ---- */

static void connect_with(enum mock_via via, const char *fingerprint, bool with_ca, const char *why)
{
    static const struct mock_step steps[] = {LOGIN, VOID};
    struct xapi_session *s;
    struct xapi_options o;
    struct error *e;
    struct mock m;

    mock_start(&m, via, steps, ARRAY_SIZE(steps));
    o = options_for(&m);
    o.fingerprint = fingerprint && !*fingerprint ? m.fingerprint : fingerprint;
    o.ca_file = with_ca ? m.ca_file : NULL;
    e = xapi_connect(&o, &s);
    if (why) {
        assert_error(e, "CANNOT_CONTACT_HOST");
        if (!strstr(e->params[1], why))
            fail_msg("%s", e->params[1]);
        assert_int_equal(mock_count(&m), 0);
    } else if (e) {
        fail_msg("%s", xapi_error_text(s, e));
    }
    end(&m, s);
}

static void any_certificate_is_taken_where_no_trust_is_asked_for(void **state)
{
    (void)state;
    connect_with(MOCK_TLS, NULL, false, NULL);
}

static void the_right_fingerprint_is_trusted(void **state)
{
    (void)state;
    connect_with(MOCK_TLS, "", false, NULL);
}

static void a_wrong_fingerprint_stops_before_the_password_is_sent(void **state)
{
    (void)state;
    connect_with(MOCK_TLS,
                 "00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:"
                 "00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff",
                 false, "another fingerprint");
    connect_with(MOCK_TLS, "00:11", false, "not 64 hexadecimal digits");
}

static void an_authority_is_trusted_for_the_name_it_signed(void **state)
{
    (void)state;
    connect_with(MOCK_TLS, NULL, true, NULL);
    connect_with(MOCK_TLS, "", true, NULL);
}

static void an_unknown_authority_or_another_name_stops_before_the_password(void **state)
{
    static const struct mock_step steps[] = {LOGIN};
    struct xapi_session *s;
    struct xapi_options o;
    struct mock m, other;
    struct error *e;

    (void)state;
    mock_start(&m, MOCK_TLS, steps, ARRAY_SIZE(steps));
    mock_start(&other, MOCK_TLS, steps, ARRAY_SIZE(steps));
    o = options_for(&m);
    o.ca_file = other.ca_file;
    e = xapi_connect(&o, &s);
    assert_error(e, "CANNOT_CONTACT_HOST");
    assert_non_null(strstr(e->params[1], "not trusted"));
    xapi_disconnect(s);
    /* The certificate is for 127.0.0.1. */
    o.ca_file = m.ca_file;
    o.host = "localhost";
    e = xapi_connect(&o, &s);
    assert_error(e, "CANNOT_CONTACT_HOST");
    assert_non_null(strstr(e->params[1], "not trusted"));
    assert_int_equal(mock_count(&m), 0);
    xapi_disconnect(s);
    mock_stop(&m);
    mock_stop(&other);
}

/* ---- connections that end ---- */

static void a_connection_closed_while_idle_is_opened_again(void **state)
{
    static const struct mock_step steps[] = {{MOCK_ANSWER_CLOSE, OK_XML(V(REF)), NULL},
                                             {MOCK_ANSWER_CLOSE, OK_XML("<value/>"), NULL},
                                             {MOCK_ANSWER, OK_XML(V("x")), NULL},
                                             VOID};
    static const enum mock_via ways[] = {MOCK_TCP, MOCK_TLS, MOCK_UNIX};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
        struct xapi_session *s;
        const char *name;
        struct mock m;

        s = session_on(&m, ways[i], steps, ARRAY_SIZE(steps));
        mock_wait_closed(&m, 1);
        assert_null(xapi_vm_start(s, vm_ref(), false, false));
        mock_wait_closed(&m, 2);
        assert_null(xapi_vm_get_name_label(s, vm_ref(), &name));
        end(&m, s);
    }
}

static void a_call_that_changes_something_is_not_sent_twice(void **state)
{
    static const struct mock_step steps[] = {LOGIN, {MOCK_DROP, NULL, NULL}, VOID};
    static const enum mock_via ways[] = {MOCK_TCP, MOCK_TLS, MOCK_UNIX};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
        struct xapi_session *s;
        struct error *e;
        struct mock m;

        s = session_on(&m, ways[i], steps, ARRAY_SIZE(steps));
        e = xapi_vm_start(s, vm_ref(), false, false);
        assert_error(e, "CANNOT_CONTACT_HOST");
        assert_non_null(strstr(e->params[1], "may have carried out"));
        assert_int_equal(mock_count(&m), 2);
        end(&m, s);
    }
}

static void a_call_that_only_reads_is_sent_again_once(void **state)
{
    static const struct mock_step steps[] = {
        LOGIN, {MOCK_DROP, NULL, NULL}, {MOCK_ANSWER, OK_XML(V("x")), NULL}, VOID};
    static const struct mock_step twice[] = {
        LOGIN, {MOCK_DROP, NULL, NULL}, {MOCK_DROP, NULL, NULL}, VOID};
    struct xapi_session *s;
    const char *name;
    struct mock m;

    (void)state;
    s = session_on(&m, MOCK_TLS, steps, ARRAY_SIZE(steps));
    assert_null(xapi_vm_get_name_label(s, vm_ref(), &name));
    assert_string_equal(name, "x");
    assert_int_equal(mock_count(&m), 3);
    end(&m, s);
    s = session_on(&m, MOCK_TCP, twice, ARRAY_SIZE(twice));
    assert_error(xapi_vm_get_name_label(s, vm_ref(), &name), "CANNOT_CONTACT_HOST");
    assert_int_equal(mock_count(&m), 3);
    end(&m, s);
}

static void a_silent_server_is_left_after_the_timeout(void **state)
{
    static const struct mock_step steps[] = {{MOCK_SILENT, NULL, NULL}};
    struct xapi_session *s;
    struct xapi_options o;
    struct error *e;
    struct mock m;

    (void)state;
    mock_start(&m, MOCK_TCP, steps, ARRAY_SIZE(steps));
    o = options_for(&m);
    o.timeout = 50 * USEC_PER_MSEC;
    e = xapi_connect(&o, &s);
    assert_error(e, "CANNOT_CONTACT_HOST");
    assert_non_null(strstr(e->params[1], "timed out"));
    end(&m, s);
}

/* ---- bad answers ---- */

static void answers_that_make_no_sense_are_refused(void **state)
{
    static const char *const answers[] = {
        "SSH-2.0-OpenSSH\r\n\r\n",
        "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 4000000000000\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\n\r\n<methodResponse>",
        "HTTP/1.1 20",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
        struct mock_step steps[] = {{MOCK_RAW, answers[i], NULL}};
        struct xapi_session *s;
        struct xapi_options o;
        struct mock m;

        mock_start(&m, MOCK_TCP, steps, 1);
        o = options_for(&m);
        assert_error(xapi_connect(&o, &s), "CANNOT_CONTACT_HOST");
        end(&m, s);
    }
}

static void an_endless_head_is_refused(void **state)
{
    static char head[40000];
    struct mock_step steps[] = {{MOCK_RAW, head, NULL}};
    struct xapi_session *s;
    struct xapi_options o;
    struct error *e;
    struct mock m;

    (void)state;
    memset(head, 'a', sizeof(head) - 1);
    memcpy(head, "HTTP/1.1 200 OK\r\nX: ", 20);
    mock_start(&m, MOCK_TCP, steps, 1);
    o = options_for(&m);
    e = xapi_connect(&o, &s);
    assert_error(e, "CANNOT_CONTACT_HOST");
    assert_non_null(strstr(e->params[1], "too long"));
    end(&m, s);
}

static void interim_answers_and_bodies_up_to_the_end_are_understood(void **state)
{
    static const struct mock_step steps[] = {
        {MOCK_RAW, "HTTP/1.1 102 Wait\r\n\r\nHTTP/1.0 200 OK\r\n\r\n" OK_XML(V(REF)), NULL}, VOID};
    struct xapi_session *s;
    struct mock m;

    (void)state;
    s = session_on(&m, MOCK_TLS, steps, ARRAY_SIZE(steps));
    assert_string_equal(xapi_session_ref(s), REF);
    end(&m, s);
}

/* ---- calls without a type, records ---- */

static void a_raw_call_wraps_its_values_as_parameters(void **state)
{
    static const struct mock_step steps[] = {
        LOGIN,
        {MOCK_ANSWER, OK_XML(V("<array><data>" V("a") V("b") "</data></array>")), NULL},
        VOID};
    const struct wire *w;
    struct xapi_session *s;
    struct mock m;

    (void)state;
    s = session_on(&m, MOCK_TCP, steps, ARRAY_SIZE(steps));
    assert_null(xapi_call_raw(s, "host.call_extension",
                              V("<array><data>" V("1") "</data></array>") "<value/>" V("2"), &w));
    assert_int_equal(w->kind, WIRE_ARRAY);
    assert_int_equal(w->n, 2);
    assert_non_null(
        strstr(mock_request(&m, 1),
               "<param><value><array><data><value>1</value></data></array></value>"
               "</param><param><value></value></param><param><value>2</value></param>"));
    end(&m, s);
}

static void a_new_record_can_be_sent_at_once(void **state)
{
    static const struct mock_step steps[] = {LOGIN, {MOCK_ANSWER, OK_XML(V(VM_REF)), NULL}, VOID};
    struct xapi_session *s;
    struct vbd *vbd;
    struct mock m;
    ref_t ref;

    (void)state;
    s = session_on(&m, MOCK_TCP, steps, ARRAY_SIZE(steps));
    vbd = xapi_record_new(s, CLASS_vbd);
    vbd->vm = vm_ref();
    vbd->userdevice = "0";
    assert_null(xapi_vbd_create(s, vbd, &ref));
    assert_true(ref_equal(ref, vm_ref()));
    assert_non_null(strstr(mock_request(&m, 1), "<name>userdevice</name><value>0</value>"));
    end(&m, s);
}

/* ---- events and tasks ---- */

#define TASK_REF "OpaqueRef:77777777-2222-3333-4444-555555555555"
#define TASK(status, progress, result, errors)                                                     \
    "<value><struct><member><name>status</name>" V(                                                \
        status) "</member><member><name>progress</name><value><double>" progress                   \
                "</double></value></member>"                                                       \
                "<member><name>result</name>" V(                                                   \
                    result) "</member><member><name>error_info</name><value><array><data>" errors  \
                            "</data></array></value></member></struct></value>"
#define EVENT(class, op, ref, snapshot)                                                            \
    "<value><struct><member><name>class</name>" V(                                                 \
        class) "</member><member><name>operation</name>" V(op) "</member><member><name>ref</"      \
                                                               "name>" V(ref) "</member>" snapshot \
                                                                              "</struct></value>"
#define SNAPSHOT(xml) "<member><name>snapshot</name>" xml "</member>"
#define EVENTS(list, token)                                                                        \
    OK_XML("<value><struct><member><name>events</name><value><array><data>" list                   \
           "</data></array></value></member><member><name>valid_ref_counts</name><value><struct>"  \
           "<member><name>task</name><value><i4>3</i4></value></member></struct></value></member>" \
           "<member><name>token</name>" V(token) "</member></struct></value>")
#define VM_SNAPSHOT(state)                                                                         \
    SNAPSHOT("<value><struct><member><name>name_label</name>" V(                                   \
        "web") "</member><member><name>power_state</name>" V(state) "</member></struct></value>")

static void events_carry_their_records(void **state)
{
    static const struct mock_step steps[] = {
        LOGIN,
        {MOCK_ANSWER,
         EVENTS(EVENT("vm", "add", VM_REF, VM_SNAPSHOT("Running")) EVENT(
                    "vm", "mod", VM_REF, VM_SNAPSHOT("Levitating")) EVENT("vm", "del", VM_REF, "")
                    EVENT("novelty", "add", VM_REF, VM_SNAPSHOT("Running")),
                "00001,00002"),
         NULL},
        VOID};
    static const char *const classes[] = {"*"};
    struct xapi_events events;
    struct xapi_session *s;
    const struct vm *vm;
    struct mock m;

    (void)state;
    s = session_on(&m, MOCK_TCP, steps, ARRAY_SIZE(steps));
    assert_null(
        xapi_event_from(s, (struct strings){1, classes}, "", 1500 * USEC_PER_MSEC, &events));
    assert_non_null(strstr(mock_request(&m, 1), "<double>1.5</double>"));
    assert_int_equal(events.n, 4);
    assert_string_equal(events.token, "00001,00002");
    assert_int_equal(events.n_counts, 1);
    assert_int_equal(events.counts[0].n, 3);
    vm = events.v[0].snapshot;
    assert_int_equal(events.v[0].class->id, CLASS_vm);
    assert_string_equal(vm->name_label, "web");
    assert_int_equal(vm->power_state, VM_RUNNING);
    assert_true(ref_equal(vm->ref, vm_ref()));
    /* A value of a newer server hides that record only. */
    assert_null(events.v[1].snapshot);
    assert_non_null(events.v[1].raw);
    assert_null(events.v[2].snapshot);
    assert_string_equal(events.v[2].operation, "del");
    assert_null(events.v[3].class);
    assert_string_equal(events.v[3].class_name, "novelty");
    end(&m, s);
}

static void count_progress(void *ctx, double done)
{
    char *log = ctx;
    size_t n = strlen(log);

    snprintf(log + n, 64 - n, "%.2f ", done);
}

static void a_task_is_followed_by_events_to_its_result(void **state)
{
    static const struct mock_step steps[] = {
        LOGIN,
        {MOCK_ANSWER, OK_XML(V(TASK_REF)), NULL},
        {MOCK_ANSWER, OK_XML(TASK("pending", "0", "", "")), NULL},
        {MOCK_ANSWER,
         EVENTS(EVENT("task", "add", TASK_REF, SNAPSHOT(TASK("pending", "0.5", "", ""))), "1,0"),
         NULL},
        {MOCK_ANSWER,
         EVENTS(EVENT("task", "mod", TASK_REF,
                      SNAPSHOT(TASK("success", "1", "&lt;value&gt;" VM_REF "&lt;/value&gt;", ""))),
                "2,0"),
         NULL},
        VOID,
        VOID};
    struct {
        ref_t vm;
        const char *new_name;
    } args = {vm_ref(), "copy"};
    struct xapi_session *s;
    const char *result;
    char log[64] = "";
    struct mock m;
    ref_t task, made;

    (void)state;
    s = session_on(&m, MOCK_TCP, steps, ARRAY_SIZE(steps));
    assert_null(xapi_call_async(s, MSG_vm_clone, &args, &task));
    assert_null(xapi_task_wait(s, task, count_progress, log, &result));
    assert_string_equal(log, "0.00 0.50 1.00 ");
    assert_string_equal(result, V(VM_REF));
    assert_null(xapi_task_result(s, MSG_vm_clone, result, &made));
    assert_true(ref_equal(made, vm_ref()));
    assert_non_null(strstr(mock_request(&m, 1), "Async.VM.clone"));
    assert_non_null(strstr(mock_request(&m, 3), "task/" TASK_REF));
    assert_non_null(strstr(mock_request(&m, 4), V("1,0")));
    assert_non_null(strstr(mock_request(&m, 5), "task.destroy"));
    end(&m, s);
}

static void a_task_is_polled_where_events_fail(void **state)
{
    static const struct mock_step steps[] = {
        LOGIN,
        {MOCK_ANSWER, OK_XML(TASK("pending", "0", "", "")), NULL},
        {MOCK_ANSWER, FAILURE_XML(V("NOT_IMPLEMENTED") V("event.from")), NULL},
        {MOCK_ANSWER, OK_XML(TASK("pending", "0.1", "", "")), NULL},
        {MOCK_ANSWER, OK_XML(TASK("failure", "1", "", V("SR_FULL") V("10") V("5"))), NULL},
        VOID,
        VOID};
    struct xapi_session *s;
    struct error *e;
    struct mock m;
    ref_t task;

    (void)state;
    assert_true(ref_from_text(TASK_REF, &task));
    s = session_on(&m, MOCK_TCP, steps, ARRAY_SIZE(steps));
    e = xapi_task_wait(s, task, NULL, NULL, NULL);
    assert_error(e, "SR_FULL");
    assert_int_equal(e->n_params, 2);
    assert_string_equal(e->params[0], "10");
    assert_non_null(strstr(mock_request(&m, 5), "task.destroy"));
    end(&m, s);
}

static void a_task_that_is_gone_is_not_waited_for(void **state)
{
    static const struct mock_step steps[] = {
        LOGIN,
        {MOCK_ANSWER, FAILURE_XML(V("HANDLE_INVALID") V("task") V(TASK_REF)), NULL},
        VOID,
        VOID};
    struct xapi_session *s;
    struct mock m;
    ref_t task;

    (void)state;
    assert_true(ref_from_text(TASK_REF, &task));
    s = session_on(&m, MOCK_TCP, steps, ARRAY_SIZE(steps));
    assert_error(xapi_task_wait(s, task, NULL, NULL, NULL), "HANDLE_INVALID");
    end(&m, s);
}

/* ---- streams ---- */

static void a_download_is_read_to_its_announced_end(void **state)
{
    static const struct mock_step steps[] = {
        LOGIN,
        {MOCK_RAW, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Kind: raw\r\n\r\nhello", NULL},
        {MOCK_RAW, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", NULL},
        {MOCK_RAW, "HTTP/1.0 200 OK\r\n\r\nall of it", NULL},
        VOID};
    struct xapi_session *s;
    struct xapi_stream *t;
    int64_t length;
    char got[64];
    int status;
    struct mock m;

    (void)state;
    s = session_on(&m, MOCK_TLS, steps, ARRAY_SIZE(steps));
    assert_null(xapi_http_open(s, "GET", "/export?uuid=u", -1, &t, &status, &length));
    assert_int_equal(status, 200);
    assert_int_equal(length, 5);
    assert_string_equal(xapi_stream_header(t, "x-kind"), "raw");
    assert_int_equal(xapi_stream_read(t, got, sizeof(got)), 5);
    assert_int_equal(xapi_stream_read(t, got, sizeof(got)), 0);
    assert_int_equal(xapi_stream_finish(t), 200);
    xapi_stream_close(t);
    assert_non_null(strstr(mock_request(&m, 1), "GET /export?uuid=u&session_id=" REF " HTTP/1.1"));

    assert_null(xapi_http_open(s, "GET", "/export", -1, &t, &status, &length));
    assert_int_equal(xapi_stream_read(t, got, sizeof(got)), 5);
    assert_int_equal(xapi_stream_read(t, got, sizeof(got)), -1);
    assert_non_null(strstr(xapi_stream_why(t), "broke off"));
    xapi_stream_close(t);

    assert_null(xapi_http_open(s, "GET", "/export", -1, &t, NULL, &length));
    assert_int_equal(length, -1);
    assert_int_equal(xapi_stream_read(t, got, sizeof(got)), 9);
    assert_int_equal(xapi_stream_read(t, got, sizeof(got)), 0);
    xapi_stream_close(t);
    end(&m, s);
}

static void an_upload_waits_for_100_and_gives_the_final_status(void **state)
{
    static const struct mock_step steps[] = {
        LOGIN,
        {MOCK_RAW, "HTTP/1.1 100 Continue\r\n\r\n",
         "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"},
        VOID};
    struct xapi_session *s;
    struct xapi_stream *t;
    int status;
    struct mock m;

    (void)state;
    s = session_on(&m, MOCK_TLS, steps, ARRAY_SIZE(steps));
    assert_null(xapi_http_open(s, "PUT", "/import_raw_vdi?vdi=x", 6, &t, &status, NULL));
    assert_int_equal(status, 100);
    assert_true(xapi_stream_write(t, "abc", 3));
    assert_true(xapi_stream_write(t, "def", 3));
    assert_false(xapi_stream_write(t, "g", 1));
    assert_int_equal(xapi_stream_finish(t), 200);
    xapi_stream_close(t);
    assert_non_null(strstr(mock_request(&m, 1), "Expect: 100-continue\r\n"));
    assert_non_null(strstr(mock_request(&m, 1), "\r\n\r\nabcdef"));
    end(&m, s);
}

static void an_upload_goes_on_after_an_early_200(void **state)
{
    static const struct mock_step steps[] = {
        LOGIN, {MOCK_RAW, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", NULL}, VOID};
    static const int64_t lengths[] = {6, -1};
    static const enum mock_via ways[] = {MOCK_TCP, MOCK_TLS};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(lengths) * ARRAY_SIZE(ways); i++) {
        struct xapi_session *s;
        struct xapi_stream *t;
        int status;
        struct mock m;

        s = session_on(&m, ways[i / 2], steps, ARRAY_SIZE(steps));
        assert_null(xapi_http_open(s, "PUT", "/import", lengths[i % 2], &t, &status, NULL));
        assert_int_equal(status, 200);
        assert_true(xapi_stream_write(t, "abcdef", 6));
        assert_int_equal(xapi_stream_finish(t), 200);
        xapi_stream_close(t);
        assert_non_null(strstr(mock_request(&m, 1), "\r\n\r\nabcdef"));
        end(&m, s);
    }
}

static void a_refused_upload_is_told_before_the_body(void **state)
{
    static const struct mock_step steps[] = {
        LOGIN,
        {MOCK_RAW, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno",
         NULL},
        VOID};
    struct xapi_session *s;
    struct xapi_stream *t;
    char got[8];
    int status;
    struct mock m;

    (void)state;
    s = session_on(&m, MOCK_TCP, steps, ARRAY_SIZE(steps));
    assert_null(xapi_http_open(s, "PUT", "/import", 1 << 30, &t, &status, NULL));
    assert_int_equal(status, 403);
    assert_int_equal(xapi_stream_read(t, got, sizeof(got)), 2);
    xapi_stream_close(t);
    assert_error(xapi_http_open(s, "GET", "/a b", -1, &t, &status, NULL), "INTERNAL_ERROR");
    assert_null(t);
    end(&m, s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_session_logs_in_calls_and_logs_out),
        cmocka_unit_test(a_unix_socket_serves_as_well),
        cmocka_unit_test(the_servers_errors_come_with_their_parameters),
        cmocka_unit_test(a_failed_login_leaves_a_session_that_tells_why),
        cmocka_unit_test(nobody_listening_is_told),
        cmocka_unit_test(any_certificate_is_taken_where_no_trust_is_asked_for),
        cmocka_unit_test(the_right_fingerprint_is_trusted),
        cmocka_unit_test(a_wrong_fingerprint_stops_before_the_password_is_sent),
        cmocka_unit_test(an_authority_is_trusted_for_the_name_it_signed),
        cmocka_unit_test(an_unknown_authority_or_another_name_stops_before_the_password),
        cmocka_unit_test(a_connection_closed_while_idle_is_opened_again),
        cmocka_unit_test(a_call_that_changes_something_is_not_sent_twice),
        cmocka_unit_test(a_call_that_only_reads_is_sent_again_once),
        cmocka_unit_test(a_silent_server_is_left_after_the_timeout),
        cmocka_unit_test(answers_that_make_no_sense_are_refused),
        cmocka_unit_test(an_endless_head_is_refused),
        cmocka_unit_test(interim_answers_and_bodies_up_to_the_end_are_understood),
        cmocka_unit_test(a_raw_call_wraps_its_values_as_parameters),
        cmocka_unit_test(a_new_record_can_be_sent_at_once),
        cmocka_unit_test(events_carry_their_records),
        cmocka_unit_test(a_task_is_followed_by_events_to_its_result),
        cmocka_unit_test(a_task_is_polled_where_events_fail),
        cmocka_unit_test(a_task_that_is_gone_is_not_waited_for),
        cmocka_unit_test(a_download_is_read_to_its_announced_end),
        cmocka_unit_test(an_upload_waits_for_100_and_gives_the_final_status),
        cmocka_unit_test(an_upload_goes_on_after_an_early_200),
        cmocka_unit_test(a_refused_upload_is_told_before_the_body),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
