/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * plugins.c -- VM.call_plugin and call_host_plugin.
 *
 * The one plug-in of VM.call_plugin is "guest-agent-operation", which the agent in the guest
 * carries out: it is asked through keys in xenstore.  call_host_plugin runs a program of the host's
 * administrator; whoever may operate a VM may call it, so only those in <config_dir>/vm-plugins.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "libxapi/base/seam.h"
#include "libxapi/value/value.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/host/plugin.h"
#include "xapid/ops/vm/lifecycle.h"
#include "xapid/ops/vm/tell.h"
#include "xapid/task/task.h"

#define AGENT "guest-agent-operation"
#define SCRIPT_MAX 1024 /* bytes: what agents read */
#define NAME_MAX_BYTES 256
#define SCRIPT_TIMEOUT (30 * 60 * USEC_PER_SEC)
#define AGAIN (200 * USEC_PER_MSEC)
#define BATCH "control/batcmd/"

static struct error *agent_failed(struct call *call, const char *why)
{
    return err_xenapi_plugin_failure(call, "failed", why, why);
}

static struct error *write_keys(struct op *op, const struct vm *vm, const struct strpair *keys,
                                size_t n, const struct strings *gone)
{
    struct hv_request rq = op_hv_request(op, NULL);

    return vm_hv_error(
        op->call, vm,
        hv_guest_write(op->call->xapid->hv, &rq, vm->uuid, &(struct strmap){n, keys}, gone));
}

static struct error *need_feature(struct op *op, const struct vm *vm, const char *feature)
{
    return vm_has_feature(op->call->snap, vm, feature)
               ? OK
               : err_vm_lacks_feature(op->call, call_ref(op->call, vm->ref));
}

/*** remote desktop ***/

static struct error *request_rdp(struct op *op, const struct vm *vm, void *arg)
{
    const struct strpair key = {"control/ts", *(const bool *)arg ? "1" : "0"};

    TRY(need_feature(op, vm, "feature-ts2"));
    return write_keys(op, vm, &key, 1, &(struct strings){0});
}

/*** a script ***/

struct script {
    const struct strmap *args;
    const char *answer;
};

static const char *key_of(const struct hv_domain *d, const char *key)
{
    const char *value = strmap_get(&d->guest, key);

    return value ? value : "";
}

static const char *answer_text(struct call *call, const struct hv_domain *d, const char *state)
{
    json_t *o = json_object();
    const char *rc = key_of(d, BATCH "return"), *text;
    char *dump;

    json_object_set_new(o, "rc", json_string(strcmp(state, "SUCCESS") == 0 && !*rc ? "0" : rc));
    json_object_set_new(o, "stdout", json_string(key_of(d, BATCH "stdout")));
    json_object_set_new(o, "stderr", json_string(key_of(d, BATCH "stderr")));
    dump = json_dumps(o, JSON_COMPACT);
    text = arena_strdup(call->arena, dump ? dump : "");
    free(dump);
    json_decref(o);
    return text;
}

/* Until the agent has done it.  Cancelled, or too late: the agent may go on, but nobody listens. */
static struct error *wait_for_agent(struct op *op, const struct vm *vm, const char **answer)
{
    usec_t deadline = clock_mono() + SCRIPT_TIMEOUT;
    struct call *call = op->call;

    for (;;) {
        struct hv_request rq = op_hv_request(op, NULL);
        const struct hv_domain *d;
        const char *state;

        TRY(vm_hv_error(call, vm, hv_get(call->xapid->hv, &rq, vm->uuid, &d)));
        if (!d || d->state == HV_SHUTDOWN)
            return agent_failed(call, "the VM ended while its agent ran the script");
        state = key_of(d, BATCH "state");
        if (strcmp(state, "SUCCESS") == 0 || strcmp(state, "TRUNCATED") == 0) {
            *answer = answer_text(call, d, state);
            return OK;
        }
        if (strcmp(state, "READY") != 0 && strcmp(state, "IN PROGRESS") != 0)
            return agent_failed(call, arena_printf(call->arena, "the agent says '%s'", state));
        if (clock_mono() > deadline)
            return agent_failed(call, "the agent did not finish in time");
        if (xapid_is_stopping(call->xapid))
            return agent_failed(call, "xapid ended while the agent ran the script");
        TRY(task_check(call));
        TRY(vm_overruled(op, vm->ref));
        clock_sleep(AGAIN);
    }
}

static struct error *run_script(struct op *op, const struct vm *vm, void *arg)
{
    static const char *const keys[] = {BATCH "state",    BATCH "script", BATCH "username",
                                       BATCH "password", BATCH "stdout", BATCH "stderr",
                                       BATCH "return"};
    const struct strings all = {ARRAY_SIZE(keys), (const char **)keys};
    struct script *s = arg;
    const struct strpair ask[] = {
        {BATCH "script", strmap_get(s->args, "script")},
        {BATCH "username", strmap_get(s->args, "username")},
        {BATCH "password", strmap_get(s->args, "password")},
    };
    const struct strpair ready = {BATCH "state", "READY"};
    struct error *e, *e2;

    TRY(need_feature(op, vm, "feature-xs-batcmd"));
    TRY(write_keys(op, vm, ask, ARRAY_SIZE(ask), &all));
    e = write_keys(op, vm, &ready, 1, &(struct strings){0});
    if (!e)
        e = wait_for_agent(op, vm, &s->answer);
    /* There is a password in them. */
    e2 = write_keys(op, vm, NULL, 0, &all);
    return e ? e : e2;
}

static struct error *check_script(struct call *call, const struct strmap *args)
{
    static const char *const needed[] = {"username", "password", "script"};
    const struct pool *pool;
    const char *allowed;

    TRY(DB_GET(call, pool, call->xapid->pool, &pool));
    allowed = strmap_get(&pool->other_config, "allow_guest_agent_run_script");
    if (!allowed || strcmp(allowed, "true") != 0)
        return agent_failed(call, "the pool's other_config does not have "
                                  "allow_guest_agent_run_script=true");
    for (size_t i = 0; i < ARRAY_SIZE(needed); i++) {
        const char *value = strmap_get(args, needed[i]);

        if (!value)
            return agent_failed(call,
                                arena_printf(call->arena, "the argument %s is missing", needed[i]));
        if (strlen(value) > (strcmp(needed[i], "script") == 0 ? SCRIPT_MAX : NAME_MAX_BYTES))
            return agent_failed(
                call, arena_printf(call->arena, "the argument %s is too long", needed[i]));
    }
    return OK;
}

/*** messages ***/

struct error *vm_call_plugin(struct call *call, const struct vm_call_plugin_args *args,
                             const char **result)
{
    bool on = strcmp(args->fn, "request-rdp-on") == 0;
    struct script script = {&args->args, ""};
    const struct vm *vm;

    TRY(DB_GET(call, vm, args->vm, &vm));
    if (strcmp(args->plugin, AGENT) != 0)
        return err_xenapi_missing_plugin(call, args->plugin);
    *result = "";
    if (on || strcmp(args->fn, "request-rdp-off") == 0)
        return vm_tell(call, args->vm, VM_OP_CALL_PLUGIN, request_rdp, &on);
    if (strcmp(args->fn, "run-script") != 0)
        return agent_failed(call, arena_printf(call->arena, "there is no function '%s'", args->fn));
    TRY(check_script(call, &args->args));
    TRY(vm_tell(call, args->vm, VM_OP_CALL_PLUGIN, run_script, &script));
    *result = script.answer;
    return OK;
}

struct error *vm_call_host_plugin(struct call *call, const struct vm_call_host_plugin_args *args,
                                  const char **result)
{
    struct strmap with;
    const struct vm *vm;

    TRY(DB_GET(call, vm, args->vm, &vm));
    TRY(vm_check_unless_busy(call, vm, VM_OP_CALL_PLUGIN));
    TRY(host_is_here(call, vm->resident_on));
    with = strmap_with(call->arena, args->args, "vm_uuid", vm->uuid);
    return plugin_run(call, "vm-plugins", args->plugin, args->fn, &with, result);
}
