/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* mock.c -- a server for the tests of xe. */
#include "tests/unit/xe/mock.h"

#include <stdlib.h>
#include <string.h>

#include "xe-cli/errors.h"
#include "xe-cli/help.h"
#include "xe-cli/table.h"

static struct mock *of(struct xe_server *server)
{
    return container_of(server, struct mock, server);
}

static struct error *mock_call(struct xe_server *server, const char *method, const char *params,
                               const struct wire **value)
{
    struct mock *m = of(server);

    buf_printf(&m->calls, "%s %s\n", method, params);
    for (const struct mock_reply *r = m->replies; r->method; r++) {
        if (strcmp(r->method, method) != 0 || (r->with && !strstr(params, r->with)))
            continue;
        if (!r->value)
            return error_new(&m->arena, r->code, r->param ? 1 : 0, r->param);
        assert_true(xmlrpc_read_value(&m->arena, r->value, strlen(r->value), value));
        return OK;
    }
    return error_new(&m->arena, "MESSAGE_METHOD_UNKNOWN", 1, method);
}

static struct error *mock_wait(struct xe_server *server, const char *task,
                               void (*progress)(void *ctx, double done), void *ctx,
                               const char **result)
{
    struct mock *m = of(server);

    if (progress)
        progress(ctx, 1.0);
    *result = "<value>OpaqueRef:made</value>";
    if (!strncmp(task, "fail:", 5))
        return error_new(&m->arena, task + 5, 3, "OpaqueRef:web", "halted", "running");
    return OK;
}

static const char *mock_session(struct xe_server *server)
{
    (void)server;
    return "OpaqueRef:session";
}

static struct error *mock_connect(struct xe *xe)
{
    xe->server = xe->connect_ctx;
    return OK;
}

static int run(struct mock *m, int argc, const char *const *argv)
{
    struct xe_command_line line;
    struct error *e;
    const char *why;

    assert_int_equal(args_parse(&m->xe.arena, argc, argv, NULL, NULL, &line, &why), ARGS_OK);
    m->xe.command = line.command;
    m->xe.params = line.params;
    e = xe_flag(&m->xe, "minimal", false, &m->xe.out.minimal);
    if (!e && !strcmp(line.command, "help"))
        help_run(&m->xe);
    else if (!e)
        e = command_run(&m->xe);
    if (e)
        return errors_report(&m->xe, e);
    out_flush(&m->xe.out);
    return 0;
}

int mock_run(struct mock *m, const struct mock_reply *replies, const char *const *argv)
{
    const char *words[32] = {"xe"};
    char input[256];
    int argc = 1, code;

    for (; argv[argc - 1]; argc++)
        words[argc] = argv[argc - 1];
    *m = (struct mock){.replies = replies, .input = m->input};
    snprintf(input, sizeof input, "%s\n", m->input ? m->input : "");
    m->server = (struct xe_server){.call = mock_call, .wait = mock_wait, .session = mock_session};
    m->xe.options = &m->options;
    m->xe.io = &xe_here;
    m->xe.connect = mock_connect;
    m->xe.connect_ctx = &m->server;
    m->xe.in = fmemopen(input, strlen(input), "r");
    m->xe.out.arena = &m->xe.arena;
    m->xe.out.out = open_memstream(&m->out, &m->out_size);
    m->xe.out.err = open_memstream(&m->err, &m->err_size);
    code = run(m, argc, words);
    fclose(m->xe.out.out);
    fclose(m->xe.out.err);
    fclose(m->xe.in);
    return code;
}

void mock_release(struct mock *m)
{
    arena_release(&m->xe.arena);
    arena_release(&m->arena);
    buf_release(&m->calls);
    free(m->out);
    free(m->err);
    *m = (struct mock){0};
}

int mock_count(const struct mock *m, const char *method)
{
    const char *p = m->calls.data ? m->calls.data : "";
    size_t len = strlen(method);
    int n = 0;

    while (*p) {
        n += !strncmp(p, method, len) && p[len] == ' ';
        p += strcspn(p, "\n");
        p += *p == '\n';
    }
    return n;
}

#define MEMBER(name, value) "<member><name>" name "</name>" value "</member>"
#define S(name, text) MEMBER(name, "<value>" text "</value>")
#define B(name, n) MEMBER(name, "<value><boolean>" #n "</boolean></value>")
#define SET(name, values) MEMBER(name, "<value><array><data>" values "</data></array></value>")
#define MAP(name, members) MEMBER(name, "<value><struct>" members "</struct></value>")
#define VM(uuid, name, state, template, snapshot)                                                  \
    "<value><struct>" S("uuid", uuid) S("name_label", name) S("name_description", "")              \
        S("power_state", state) B("is_a_template", template) B("is_a_snapshot", snapshot)          \
            B("is_control_domain", 0) S("memory_static_max", "1073741824")                         \
                S("snapshot_time", "19700101T00:00:00Z") S("snapshot_of", "OpaqueRef:NULL")        \
                    MAP("other_config", S("folder", "/a") S("color", "red"))                       \
                        SET("tags", "<value>a,b</value><value>c</value>")                          \
                            SET("allowed_operations", "<value>start</value><value>clone</value>")  \
                                SET("VBDs", "<value>OpaqueRef:vbd</value>") SET("snapshots", "")   \
                                    S("metrics", "OpaqueRef:NULL")                                 \
                                        S("suspend_VDI", "OpaqueRef:NULL")                         \
                                            MAP("current_operations",                              \
                                                S("OpaqueRef:t", "start")) "</struct></value>"
#define VBD                                                                                        \
    "<value><struct>" S("uuid", "b1") S("VM", "OpaqueRef:web") S("VDI", "OpaqueRef:vdi")           \
        S("userdevice", "0") S("device", "xvda") B("empty", 0) S("type", "Disk")                   \
            B("currently_attached", 1) MAP("other_config", S("owner", "")) "</struct></value>"
#define VDI                                                                                        \
    "<value><struct>" S("uuid", "d1") S("name_label", "disk") S("SR", "OpaqueRef:gone")            \
        S("virtual_size", "1024") SET("VBDs", "<value>OpaqueRef:vbd</value>") "</struct></value>"
#define HOST                                                                                       \
    "<value><struct>" S("uuid", "h1") S("name_label", "xen1") S("hostname", "xen1")                \
        S("metrics", "OpaqueRef:NULL") "</struct></value>"
#define NAMED(ref, value) "<member><name>OpaqueRef:" ref "</name>" value "</member>"

const struct mock_reply mock_pool[] = {
    {.method = "VM.get_all_records",
     .value = "<value><struct>" NAMED("web", VM(WEB, "web", "Running", 0, 0))
         NAMED("db", VM(DB, "db", "Halted", 0, 0)) NAMED("tmpl", VM("t1", "Debian", "Halted", 1, 0))
             NAMED("snap", VM("s1", "before", "Halted", 1, 1)) "</struct></value>"},
    {.method = "VM.get_by_uuid", .with = WEB, .value = "<value>OpaqueRef:web</value>"},
    {.method = "VM.get_by_uuid", .with = "s1", .value = "<value>OpaqueRef:snap</value>"},
    {.method = "VM.get_by_uuid", .code = "UUID_INVALID", .param = "VM"},
    {.method = "VM.get_record", .with = "OpaqueRef:web", .value = VM(WEB, "web", "Running", 0, 0)},
    {.method = "VM.get_record",
     .with = "OpaqueRef:snap",
     .value = VM("s1", "before", "Halted", 1, 1)},
    {.method = "VM.get_uuid", .value = "<value>new-uuid</value>"},
    {.method = "VBD.get_all_records",
     .value = "<value><struct>" NAMED("vbd", VBD) "</struct></value>"},
    {.method = "VBD.get_record", .value = VBD},
    {.method = "VDI.get_record", .value = VDI},
    {.method = "SR.get_record", .code = "HANDLE_INVALID", .param = "SR"},
    {.method = "host.get_all_records",
     .value = "<value><struct>" NAMED("host", HOST) "</struct></value>"},
    {.method = "network.get_by_uuid", .value = "<value>OpaqueRef:net</value>"},
    {.method = "network.get_record",
     .value = "<value><struct>" S("uuid", "n1") S("MTU", "9000") "</struct></value>"},
    {.method = "VIF.create", .value = "<value>OpaqueRef:vif</value>"},
    {.method = "VIF.get_uuid", .value = "<value>vif-uuid</value>"},
    {.method = "VDI.create", .value = "<value>OpaqueRef:vdi</value>"},
    {.method = "VDI.get_uuid", .value = "<value>vdi-uuid</value>"},
    {.method = "SR.get_by_uuid", .value = "<value>OpaqueRef:sr</value>"},
    {.method = "VM.create", .value = "<value>OpaqueRef:web</value>"},
    {.method = "Async.VM.start",
     .with = "OpaqueRef:web",
     .value = "<value>fail:VM_BAD_POWER_STATE</value>"},
    {.method = "Async.VM.start", .value = "<value>OpaqueRef:task</value>"},
    {.method = "Async.VM.clone", .value = "<value>OpaqueRef:task</value>"},
    {.method = "VM.set_name_label", .value = "<value></value>"},
    {.method = "VM.set_memory_static_max", .value = "<value></value>"},
    {.method = "VM.add_to_other_config", .value = "<value></value>"},
    {.method = "VM.remove_from_other_config", .value = "<value></value>"},
    {.method = "VM.add_tags", .value = "<value></value>"},
    {.method = "VM.remove_tags", .value = "<value></value>"},
    {.method = "VM.set_actions_after_crash", .value = "<value></value>"},
    {.method = "VM.destroy", .value = "<value></value>"},
    {.method = "Async.VM.hard_shutdown", .value = "<value>OpaqueRef:task</value>"},
    {.method = "Async.VDI.destroy", .value = "<value>OpaqueRef:task</value>"},
    {0},
};
