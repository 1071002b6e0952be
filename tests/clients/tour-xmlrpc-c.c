/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tour-xmlrpc-c.c -- what a C client of another make meets: a machine's life over xmlrpc-c
 * (libxmlrpc-core-c3) and its curl transport, which share nothing with libxapi.
 *
 * Address and password: XAPID_HOST (127.0.0.1), XAPID_PORT (443), XAPID_USER (root),
 * XAPID_PASSWORD; XAPID_URL, where given, instead of host and port.  Prints "ok - ..." and stops at
 * the first failure.
 *
 *   cc tour-xmlrpc-c.c -lxmlrpc_client -lxmlrpc -lxmlrpc_util
 */
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <xmlrpc-c/base.h>
#include <xmlrpc-c/client.h>

#define TEMPLATE "Other install media"
#define TIMEOUT_MSEC 300000
#define ANSWER_MAX (64 << 20)
#define DISK_SIZE ((xmlrpc_int64)64 << 20)

struct tour {
    xmlrpc_env env;
    xmlrpc_client *client;
    xmlrpc_server_info *server;
    char *session;
    char *vm, *snapshot, *copy;
};

static void ok(const char *what)
{
    printf("ok - %s\n", what);
    fflush(stdout);
}

static void die(const char *what, const char *why)
{
    printf("not ok - %s\n#   %s\n", what, why);
    exit(1);
}

/* The library's own failures: of the transport, of reading the answer, of a wrong type. */
static void check_env(struct tour *t, const char *what)
{
    if (t->env.fault_occurred)
        die(what, t->env.fault_string);
}

static char *string_of(struct tour *t, xmlrpc_value *v, const char *what)
{
    const char *s = NULL;
    char *copy;

    xmlrpc_read_string(&t->env, v, &s);
    check_env(t, what);
    copy = strdup(s);
    free((void *)s);
    return copy;
}

static xmlrpc_value *member(struct tour *t, xmlrpc_value *v, const char *name)
{
    xmlrpc_value *m = NULL;

    xmlrpc_struct_read_value(&t->env, v, name, &m);
    check_env(t, name);
    return m;
}

static char *text_member(struct tour *t, xmlrpc_value *v, const char *name)
{
    xmlrpc_value *m = member(t, v, name);
    char *s = string_of(t, m, name);

    xmlrpc_DECREF(m);
    return s;
}

/* The first string of an array. */
static char *first_of(struct tour *t, xmlrpc_value *v, const char *what)
{
    xmlrpc_value *item = NULL;
    char *s;

    if (xmlrpc_array_size(&t->env, v) < 1)
        die(what, "there is none");
    xmlrpc_array_read_item(&t->env, v, 0, &item);
    check_env(t, what);
    s = string_of(t, item, what);
    xmlrpc_DECREF(item);
    return s;
}

/* One call; gives away the parameters.  *failed is the error's code, NULL for success. */
static xmlrpc_value *exchange(struct tour *t, const char *method, xmlrpc_value *params,
                              char **failed)
{
    xmlrpc_value *answer = NULL, *value = NULL;
    char *status;

    xmlrpc_client_call2(&t->env, t->client, t->server, method, params, &answer);
    check_env(t, method);
    xmlrpc_DECREF(params);
    status = text_member(t, answer, "Status");
    *failed = NULL;
    if (strcmp(status, "Success") == 0) {
        value = member(t, answer, "Value");
    } else {
        xmlrpc_value *description = member(t, answer, "ErrorDescription");

        *failed = first_of(t, description, method);
        xmlrpc_DECREF(description);
    }
    free(status);
    xmlrpc_DECREF(answer);
    return value;
}

/* A call that must succeed, its parameters in xmlrpc-c's notation; the session comes before them.
 */
static xmlrpc_value *call(struct tour *t, const char *method, const char *format, ...)
{
    xmlrpc_value *params = xmlrpc_array_new(&t->env), *rest = NULL, *session, *value;
    const char *tail;
    char *failed;
    va_list ap;

    session = xmlrpc_string_new(&t->env, t->session);
    xmlrpc_array_append_item(&t->env, params, session);
    xmlrpc_DECREF(session);
    va_start(ap, format);
    xmlrpc_build_value_va(&t->env, format, ap, &rest, &tail);
    va_end(ap);
    check_env(t, method);
    for (int i = 0; i < xmlrpc_array_size(&t->env, rest); i++) {
        xmlrpc_value *item = NULL;

        xmlrpc_array_read_item(&t->env, rest, (unsigned)i, &item);
        xmlrpc_array_append_item(&t->env, params, item);
        xmlrpc_DECREF(item);
    }
    xmlrpc_DECREF(rest);
    check_env(t, method);
    value = exchange(t, method, params, &failed);
    if (failed)
        die(method, failed);
    return value;
}

static char *call_text(struct tour *t, const char *method, const char *a)
{
    xmlrpc_value *v = call(t, method, "(s)", a);
    char *s = string_of(t, v, method);

    xmlrpc_DECREF(v);
    return s;
}

static void call_void(struct tour *t, const char *method, const char *a)
{
    char *s = call_text(t, method, a);

    if (*s)
        die(method, "its result is not the empty string");
    free(s);
}

static void expect_state(struct tour *t, const char *wanted, const char *what)
{
    char *is = call_text(t, "VM.get_power_state", t->vm);

    if (strcmp(is, wanted) != 0)
        die(what, is);
    free(is);
    ok(what);
}

/* ---- the steps ---- */

static void log_in(struct tour *t)
{
    const char *user = getenv("XAPID_USER"), *password = getenv("XAPID_PASSWORD");
    xmlrpc_value *params, *v;
    char *failed;

    params = xmlrpc_build_value(&t->env, "(ssss)", user ? user : "root", password ? password : "",
                                "2.23", "tour-xmlrpc-c");
    check_env(t, "login");
    v = exchange(t, "session.login_with_password", params, &failed);
    if (failed)
        die("a login", failed);
    t->session = string_of(t, v, "login");
    xmlrpc_DECREF(v);
    ok("a login over xmlrpc-c and curl");
}

static void read_record(struct tour *t)
{
    xmlrpc_value *record = call(t, "VM.get_record", "(s)", t->vm);
    xmlrpc_value *date = member(t, record, "snapshot_time");
    xmlrpc_value *flag = member(t, record, "is_a_template");
    xmlrpc_value *vbds = member(t, record, "VBDs");
    char *size = text_member(t, record, "memory_static_max");
    const char *text = NULL;
    xmlrpc_bool is_template = 1;

    xmlrpc_read_datetime_str(&t->env, date, &text);
    check_env(t, "a date is understood");
    free((void *)text);
    xmlrpc_read_bool(&t->env, flag, &is_template);
    check_env(t, "a boolean is understood");
    if (is_template)
        die("a provisioned machine is no template", "is_a_template is true");
    xmlrpc_array_size(&t->env, vbds);
    check_env(t, "a set is understood");
    if (!*size || strspn(size, "0123456789") != strlen(size))
        die("an int is text", size);
    free(size);
    xmlrpc_DECREF(vbds);
    xmlrpc_DECREF(flag);
    xmlrpc_DECREF(date);
    xmlrpc_DECREF(record);
    ok("its record is understood");
}

static void make_vm(struct tour *t)
{
    xmlrpc_value *found = call(t, "VM.get_by_name_label", "(s)", TEMPLATE), *v;
    char *template = first_of(t, found, "a template '" TEMPLATE "'");
    char name[64];

    snprintf(name, sizeof(name), "tour-xmlrpc-c %ld %d", (long)time(NULL), (int)getpid());
    v = call(t, "VM.clone", "(ss)", template, name);
    t->vm = string_of(t, v, "VM.clone");
    xmlrpc_DECREF(v);
    call_void(t, "VM.provision", t->vm);
    free(template);
    xmlrpc_DECREF(found);
    expect_state(t, "Halted", "a machine is made from the template '" TEMPLATE "'");
}

/* The pool's default SR, or the first that can hold disks. */
static char *find_sr(struct tour *t)
{
    xmlrpc_value *pools = call(t, "pool.get_all", "()"), *all;
    char *pool = first_of(t, pools, "a pool");
    char *sr = call_text(t, "pool.get_default_SR", pool);
    bool found = false;

    all = call(t, "SR.get_all", "()");
    for (int i = 0; i < xmlrpc_array_size(&t->env, all) && !found; i++) {
        xmlrpc_value *item = NULL;
        char *ref, *type;

        if (strcmp(sr, "OpaqueRef:NULL") != 0)
            break;
        xmlrpc_array_read_item(&t->env, all, (unsigned)i, &item);
        ref = string_of(t, item, "SR.get_all");
        type = call_text(t, "SR.get_type", ref);
        found = strcmp(type, "iso") != 0 && strcmp(type, "udev") != 0;
        if (found) {
            free(sr);
            sr = strdup(ref);
        }
        free(type);
        free(ref);
        xmlrpc_DECREF(item);
    }
    if (strcmp(sr, "OpaqueRef:NULL") == 0)
        die("there is storage for disks", "no SR will do");
    xmlrpc_DECREF(all);
    xmlrpc_DECREF(pools);
    free(pool);
    return sr;
}

/* The size goes as an <i8>, which this library has and others have not. */
static void add_disk(struct tour *t)
{
    char *sr = find_sr(t), *vdi, *device;
    xmlrpc_value *v;

    v = call(t, "VDI.create", "({s:s,s:s,s:s,s:I,s:s,s:b,s:b,s:{}})", "name_label", "a disk",
             "name_description", "", "SR", sr, "virtual_size", DISK_SIZE, "type", "user",
             "sharable", (xmlrpc_bool)0, "read_only", (xmlrpc_bool)0, "other_config");
    vdi = string_of(t, v, "VDI.create");
    xmlrpc_DECREF(v);
    v = call(t, "VM.get_allowed_VBD_devices", "(s)", t->vm);
    device = first_of(t, v, "a free device number");
    xmlrpc_DECREF(v);
    v = call(t, "VBD.create", "({s:s,s:s,s:s,s:b,s:s,s:s,s:b,s:{},s:s,s:{}})", "VM", t->vm, "VDI",
             vdi, "userdevice", device, "bootable", (xmlrpc_bool)1, "mode", "RW", "type", "Disk",
             "empty", (xmlrpc_bool)0, "other_config", "qos_algorithm_type", "",
             "qos_algorithm_params");
    xmlrpc_DECREF(v);
    free(device);
    free(vdi);
    free(sr);
    ok("it gets a disk, its size sent as an i8");
}

static void run(struct tour *t)
{
    xmlrpc_value *v;
    char *name;

    v = call(t, "VM.start", "(sbb)", t->vm, (xmlrpc_bool)0, (xmlrpc_bool)0);
    xmlrpc_DECREF(v);
    expect_state(t, "Running", "it starts");
    v = call(t, "VM.get_all_records_where", "(s)", "field \"power_state\"=\"Running\"");
    if (!xmlrpc_struct_has_key(&t->env, v, t->vm))
        die("it is listed", "it is not");
    xmlrpc_DECREF(v);
    ok("it is listed");
    v = call(t, "VM.snapshot", "(ss())", t->vm, "a snapshot");
    t->snapshot = string_of(t, v, "VM.snapshot");
    xmlrpc_DECREF(v);
    ok("a snapshot is taken of it");
    call_void(t, "VM.suspend", t->vm);
    expect_state(t, "Suspended", "it is suspended");
    v = call(t, "VM.resume", "(sbb)", t->vm, (xmlrpc_bool)0, (xmlrpc_bool)0);
    xmlrpc_DECREF(v);
    expect_state(t, "Running", "it is resumed");
    call_void(t, "VM.clean_shutdown", t->vm);
    expect_state(t, "Halted", "it shuts down by itself");
    v = call(t, "VM.set_name_description", "(ss)", t->vm, "changed");
    xmlrpc_DECREF(v);
    call_void(t, "VM.revert", t->snapshot);
    name = call_text(t, "VM.get_name_description", t->vm);
    if (strcmp(name, "changed") == 0)
        die("it is reverted to the snapshot", name);
    free(name);
    ok("it is reverted to the snapshot");
    v = call(t, "VM.clone", "(ss)", t->vm, "a clone");
    t->copy = string_of(t, v, "VM.clone");
    xmlrpc_DECREF(v);
    ok("it is cloned");
}

/* A machine, then its disks. */
static void destroy(struct tour *t, const char *vm)
{
    xmlrpc_value *vbds = call(t, "VM.get_VBDs", "(s)", vm);
    int n = xmlrpc_array_size(&t->env, vbds);
    char **disks = calloc((size_t)n + 1, sizeof(*disks));

    for (int i = 0; i < n; i++) {
        xmlrpc_value *item = NULL;
        char *vbd, *type;

        xmlrpc_array_read_item(&t->env, vbds, (unsigned)i, &item);
        vbd = string_of(t, item, "VM.get_VBDs");
        type = call_text(t, "VBD.get_type", vbd);
        if (strcmp(type, "Disk") == 0)
            disks[i] = call_text(t, "VBD.get_VDI", vbd);
        free(type);
        free(vbd);
        xmlrpc_DECREF(item);
    }
    call_void(t, "VM.destroy", vm);
    for (int i = 0; i < n; i++) {
        if (disks[i])
            call_void(t, "VDI.destroy", disks[i]);
        free(disks[i]);
    }
    free(disks);
    xmlrpc_DECREF(vbds);
}

static void expect_gone(struct tour *t)
{
    xmlrpc_value *params = xmlrpc_build_value(&t->env, "(ss)", t->session, t->vm);
    char *failed;

    exchange(t, "VM.get_record", params, &failed);
    if (!failed || strcmp(failed, "HANDLE_INVALID") != 0)
        die("it is destroyed", failed ? failed : "it is still there");
    free(failed);
    ok("it is destroyed");
}

static void connect_to(struct tour *t)
{
    const char *host = getenv("XAPID_HOST"), *port = getenv("XAPID_PORT"),
               *url = getenv("XAPID_URL");
    struct xmlrpc_curl_xportparms curl = {
        .no_ssl_verifypeer = 1, .no_ssl_verifyhost = 1, .timeout = TIMEOUT_MSEC};
    struct xmlrpc_clientparms params = {.transport = "curl",
                                        .transportparmsP = &curl,
                                        .transportparm_size = XMLRPC_CXPSIZE(timeout)};
    char built[512];

    xmlrpc_env_init(&t->env);
    xmlrpc_client_setup_global_const(&t->env);
    check_env(t, "the client library");
    xmlrpc_limit_set(XMLRPC_XML_SIZE_LIMIT_ID, ANSWER_MAX);
    xmlrpc_client_create(&t->env, XMLRPC_CLIENT_NO_FLAGS, "tour-xmlrpc-c", "1", &params,
                         XMLRPC_CPSIZE(transportparm_size), &t->client);
    check_env(t, "the client library");
    snprintf(built, sizeof(built), "https://%s:%s/RPC2", host ? host : "127.0.0.1",
             port ? port : "443");
    t->server = xmlrpc_server_info_new(&t->env, url ? url : built);
    check_env(t, "the server's address");
}

int main(void)
{
    struct tour t = {0};
    xmlrpc_value *v;

    connect_to(&t);
    log_in(&t);
    make_vm(&t);
    read_record(&t);
    add_disk(&t);
    run(&t);
    destroy(&t, t.copy);
    destroy(&t, t.snapshot);
    destroy(&t, t.vm);
    expect_gone(&t);
    v = call(&t, "session.logout", "()");
    xmlrpc_DECREF(v);
    ok("logged out");
    xmlrpc_server_info_free(t.server);
    xmlrpc_client_destroy(t.client);
    xmlrpc_client_teardown_global_const();
    xmlrpc_env_clean(&t.env);
    free(t.copy);
    free(t.snapshot);
    free(t.vm);
    free(t.session);
    return 0;
}
