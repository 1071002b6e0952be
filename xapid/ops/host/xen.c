/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xen.c -- the hypervisor's own settings and messages.
 *
 * How deep processors may sleep is told to Xen at once and again at each start, because Xen forgets
 * it; how they are scheduled together is an option of Xen's command line, for the next boot.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "libxapi/base/log.h"
#include "libxapi/codec/codec.h"
#include "libxapi/value/value.h"
#include "xapid/db/ready.h"
#include "xapid/hypervisor/hv.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/host/here.h"
#include "xapid/ops/host/setting.h"
#include "xapid/ops/host/settle.h"
#include "xapid/ops/host/system.h"

#define KEYS_LIMIT 64
#define BOOT_FILE "/etc/default/grub.d/xapid-xen.cfg"

/*** messages ***/

static struct error *messages(struct call *call, ref_t host, bool clear, const char **result)
{
    struct hv_request rq = {.arena = call->arena};
    size_t n;

    TRY(host_check_here(call, host));
    TRY(hv_messages(call->xapid->hv, &rq, clear, result));
    *result = utf8_clean(call->arena, *result, strlen(*result), &n);
    return OK;
}

struct error *host_dmesg(struct call *call, const struct host_dmesg_args *args, const char **result)
{
    return messages(call, args->host, false, result);
}

struct error *host_dmesg_clear(struct call *call, const struct host_dmesg_clear_args *args,
                               const char **result)
{
    return messages(call, args->host, true, result);
}

struct error *host_send_debug_keys(struct call *call, const struct host_send_debug_keys_args *args)
{
    struct hv_request rq = {.arena = call->arena};

    TRY(host_check_here(call, args->host));
    if (!*args->keys || strlen(args->keys) > KEYS_LIMIT)
        return err_invalid_value(call, "keys", "one to 64 keys");
    for (const char *p = args->keys; *p; p++)
        if (!isprint((unsigned char)*p))
            return err_invalid_value(call, "keys", "only keys that can be typed");
    return hv_debug_keys(call->xapid->hv, &rq, args->keys);
}

/*** idle states ***/

/* "", "N" or "N,M". */
static bool read_cstate(struct arena *arena, const char *value, const char **state,
                        const char **sub)
{
    unsigned n, m;
    char rest;

    *state = "unlimited";
    *sub = NULL;
    if (!*value)
        return true;
    if (strspn(value, "0123456789,") != strlen(value))
        return false;
    if (sscanf(value, "%3u,%3u%c", &n, &m, &rest) == 2)
        *sub = arena_printf(arena, "%u", m);
    else if (sscanf(value, "%3u%c", &n, &rest) != 1)
        return false;
    *state = arena_printf(arena, "%u", n);
    return true;
}

static struct error *tell_cstate(struct call *call, const char *value)
{
    const char *state, *sub;

    if (!read_cstate(call->arena, value, &state, &sub))
        return err_invalid_value(call, "max_cstate", value);
    return SYSTEM_RUN(call, NULL, "xenpm", "set-max-cstate", state, sub);
}

struct error *idle_states_tell(struct call *call)
{
    return tell_cstate(call, host_here(call)->max_cstate);
}

static struct error *tell_new_cstate(struct call *call, void *arg)
{
    const struct host_set_max_cstate_args *args = arg;

    return tell_cstate(call, args->value);
}

static struct error *record_cstate(struct txn *txn, void *arg)
{
    const struct host_set_max_cstate_args *args = arg;
    const struct host *host;

    TRY(TXN_GET(txn, host, args->self, &host));
    TXN_SET(txn, host, args->self, max_cstate, args->value);
    return OK;
}

struct error *host_set_max_cstate(struct call *call, const struct host_set_max_cstate_args *args)
{
    const char *state, *sub;

    TRY(host_check_here(call, args->self));
    if (!read_cstate(call->arena, args->value, &state, &sub))
        return err_invalid_value(call, "max_cstate", args->value);
    return host_change(call, &(struct host_change){HOST_SETTING_IDLE_STATES, tell_new_cstate,
                                                   record_cstate, (void *)args});
}

void xen_settle(struct call *call)
{
    struct error *e = *host_here(call)->max_cstate ? idle_states_tell(call) : OK;

    if (e)
        log_error("the limit of idle states is not in effect: %s", error_line(call->arena, e));
}

/*** scheduling ***/

struct error *host_set_sched_gran(struct call *call, const struct host_set_sched_gran_args *args)
{
    const char *text = NULL;

    TRY(host_check_here(call, args->self));
    if (args->value != HOST_SCHED_GRAN_CPU) /* what Xen does without being told */
        text = arena_printf(call->arena,
                            "# xapid: host.set_sched_gran\n"
                            "GRUB_CMDLINE_XEN=\"$GRUB_CMDLINE_XEN sched-gran=%s\"\n",
                            enum_host_sched_gran.names[args->value]);
    return system_configure_boot(call, BOOT_FILE, text);
}

struct error *host_get_sched_gran(struct call *call, const struct host_get_sched_gran_args *args,
                                  enum host_sched_gran *result)
{
    const char *text;

    TRY(host_check_here(call, args->self));
    text = system_read(call, BOOT_FILE);
    *result = text && strstr(text, "sched-gran=core")     ? HOST_SCHED_GRAN_CORE
              : text && strstr(text, "sched-gran=socket") ? HOST_SCHED_GRAN_SOCKET
                                                          : HOST_SCHED_GRAN_CPU;
    return OK;
}
