/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/host/plugin.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libxapi/base/child.h"
#include "libxapi/base/log.h"
#include "libxapi/codec/codec.h"
#include "xapid/auth/session.h"
#include "xapid/db/db.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/host/here.h"
#include "xapid/task/task.h"

#define OUTPUT_LIMIT (4 << 20)
/* A program's argument may have 128 KiB; the rest of the call is small. */
#define CALL_LIMIT (120 << 10)
#define TIMEOUT (4 * 3600 * USEC_PER_SEC)

/*** finding it ***/

/* The path of a program that may be run, or NULL: a plain file of the administrator's. */
static const char *find_program(struct call *call, const char *folder, const char *name)
{
    const char *path;
    struct stat st;

    if (!*name || *name == '.' || strlen(name) > 255 || strchr(name, '/'))
        return NULL;
    path = arena_printf(call->arena, "%s/%s/%s", call->xapid->options.config_dir, folder, name);
    if (stat(path, &st) < 0 || !S_ISREG(st.st_mode) || access(path, X_OK) < 0)
        return NULL;
    if ((st.st_mode & S_IWOTH) || (st.st_uid != 0 && st.st_uid != geteuid())) {
        log_warning("%s is not run: others than the administrator may change it", path);
        return NULL;
    }
    return path;
}

bool extension_exists(struct call *call, const char *name)
{
    return find_program(call, "extensions", name) != NULL;
}

/*** its session ***/

struct plugin_session {
    struct sessions *sessions;
    ref_t ref;
};

static void plugin_session_release(struct plugin_session *s)
{
    if (s->sessions)
        session_destroy(s->sessions, s->ref);
}

/* A plug-in acts for the pool, as a program of the host itself would. */
static void plugin_session_begin(struct call *call, const char *plugin, struct plugin_session *out)
{
    struct session_request rq = {.role = ROLE_LOCAL_ROOT,
                                 .is_local_superuser = true,
                                 .user = "root",
                                 .originator = arena_printf(call->arena, "plugin:%s", plugin),
                                 .client = ""};

    out->ref = session_create(call->xapid->sessions, &rq);
    out->sessions = call->xapid->sessions;
}

/*** running it ***/

static const char *call_text(struct call *call, ref_t session, const char *function,
                             const struct strmap *args)
{
    const char *ref = call_ref(call, session);
    struct buf b = {0};
    const char *text;

    xmlrpc_call_begin(&b, function);
    xmlrpc_call_param(&b, api_fields[FIELD_vm_name_label].type, &ref);
    xmlrpc_call_param(&b, api_fields[FIELD_vm_other_config].type, args);
    xmlrpc_call_end(&b);
    text = arena_strndup(call->arena, b.data, b.len);
    buf_release(&b);
    return text;
}

/* Called about once a second: a cancelled task ends the program. */
static bool still_wanted(void *ctx, const char *text, size_t n)
{
    const struct call *call = ctx;

    (void)text, (void)n;
    return !call->task || !__atomic_load_n(&call->task->cancelled, __ATOMIC_RELAXED);
}

static const char *clean(struct call *call, const char *text, size_t n)
{
    size_t len;

    return utf8_clean(call->arena, text, n, &len);
}

static struct error *failure(struct call *call, const char *status, const struct child_result *r)
{
    return err_xenapi_plugin_failure(call, status, clean(call, r->output, r->output_size),
                                     clean(call, r->errors, strlen(r->errors)));
}

static struct error *read_answer(struct call *call, const struct child_result *r,
                                 const char **result)
{
    const struct wire *value = NULL;
    struct error *e = NULL;
    const char *why = "";

    if (r->timed_out)
        return failure(call, "the plug-in did not end in time", r);
    if (r->status != 0)
        return failure(call, arena_printf(call->arena, "%d", r->status), r);
    if (r->truncated)
        return failure(call, "the plug-in printed too much", r);
    if (!xmlrpc_read_reply(call->arena, r->output, r->output_size, &value, &e, &why))
        return failure(call, "the plug-in printed no XML-RPC reply", r);
    if (e)
        return e;
    /* The API knows only texts; what else a plug-in gives is refused by clients, too. */
    return wire_to_value(call->arena, api_fields[FIELD_vm_name_label].type, value, "result",
                         result);
}

struct error *plugin_run(struct call *call, const char *folder, const char *plugin,
                         const char *function, const struct strmap *args, const char **result)
{
    __attribute__((cleanup(plugin_session_release))) struct plugin_session session = {0};
    struct child_result answer;
    struct child_spec spec = {
        .output_limit = OUTPUT_LIMIT, .timeout = TIMEOUT, .watch = still_wanted, .ctx = call};
    const char *argv[3] = {NULL};

    argv[0] = find_program(call, folder, plugin);
    if (!argv[0])
        return err_xenapi_missing_plugin(call, plugin);
    plugin_session_begin(call, plugin, &session);
    argv[1] = call_text(call, session.ref, function, args);
    if (strlen(argv[1]) > CALL_LIMIT)
        return err_invalid_value(call, "args", "more than a plug-in can be given");
    spec.argv = argv;
    TRY(child_run(call->arena, &spec, &answer));
    if (answer.cancelled)
        TRY(task_check(call));
    return read_answer(call, &answer, result);
}

struct error *host_call_plugin(struct call *call, const struct host_call_plugin_args *args,
                               const char **result)
{
    TRY(host_check_here(call, args->host));
    return plugin_run(call, "plugins", args->plugin, args->fn, &args->args, result);
}

/*** extensions ***/

/* The error is declared without parameters, but clients are shown what there is. */
static struct error *protocol_failure(struct call *call, const char *name, const char *why,
                                      const struct child_result *r)
{
    return error_new(call->arena, "EXTENSION_PROTOCOL_FAILURE", 3, name, why,
                     clean(call, r->output, MIN(r->output_size, (size_t)1024)));
}

struct error *extension_run(struct call *call, const char *name, const char *text, size_t size,
                            const struct wire **result)
{
    const char *argv[] = {find_program(call, "extensions", name), "--xmlrpc", NULL};
    struct child_spec spec = {.argv = argv,
                              .input = text,
                              .input_size = size,
                              .output_limit = OUTPUT_LIMIT,
                              .timeout = TIMEOUT,
                              .watch = still_wanted,
                              .ctx = call};
    struct child_result answer;
    struct error *e = NULL;
    const char *why = "";

    if (!argv[0])
        return err_message_method_unknown(call, name);
    TRY(child_run(call->arena, &spec, &answer));
    if (answer.cancelled)
        TRY(task_check(call));
    if (answer.timed_out)
        return error_internal(call->arena, "the extension %s did not end in time", name);
    if (answer.status != 0)
        return error_internal(call->arena, "the extension %s failed with status %d: %s", name,
                              answer.status, clean(call, answer.errors, strlen(answer.errors)));
    if (answer.truncated)
        return protocol_failure(call, name, "it printed too much", &answer);
    if (!xmlrpc_read_reply(call->arena, answer.output, answer.output_size, result, &e, &why))
        return protocol_failure(call, name, why, &answer);
    return e;
}
