/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ssh.c -- SSH access to this host, and how long its shells may idle.
 *
 * In automatic mode SSH is there only while xapid is not: a drop-in of xapid's own unit starts it
 * when the daemon ends, however it ends, and stops it when the daemon has started.
 */
#include <string.h>
#include <unistd.h>

#include "libxapi/base/log.h"
#include "libxapi/base/seam.h"
#include "xapid/db/ready.h"
#include "xapid/forward/forward.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/host/here.h"
#include "xapid/ops/host/setting.h"
#include "xapid/ops/host/settle.h"
#include "xapid/ops/host/system.h"

/* Two days. */
#define TIMEOUT_MAX 172800
#define AUTO_FILE "/etc/systemd/system/xapid.service.d/ssh-auto.conf"
#define SHELL_FILE "/etc/profile.d/xapid-console-timeout.sh"

/* Debian's name, or that of the others. */
static const char *unit(struct call *call)
{
    static const char *const debian[] = {"/usr/lib/systemd/system/ssh.service",
                                         "/lib/systemd/system/ssh.service"};

    for (size_t i = 0; i < ARRAY_SIZE(debian); i++)
        if (access(system_path(call, debian[i]), F_OK) == 0)
            return "ssh.service";
    return "sshd.service";
}

/* The errors have only the host; why stands behind it. */
static struct error *because(struct call *call, const char *code, ref_t host, const struct error *e)
{
    return error_new(call->arena, code, 2, call_ref(call, host),
                     e->n_params ? e->params[0] : e->code);
}

/*** the record ***/

struct access {
    ref_t host;
    bool enabled, automatic;
    int64_t timeout;    /* -1: as it is */
    const char *failed; /* the error's code where the system does not take it; NULL: its own */
};

static struct error *record(struct txn *txn, void *arg)
{
    const struct access *a = arg;
    const struct host *host;
    int64_t timeout;

    TRY(TXN_GET(txn, host, a->host, &host));
    timeout = a->timeout < 0 ? host->ssh_enabled_timeout : a->timeout;
    TXN_SET(txn, host, a->host, ssh_enabled, a->enabled);
    TXN_SET(txn, host, a->host, ssh_auto_mode, a->automatic);
    TXN_SET(txn, host, a->host, ssh_enabled_timeout, timeout);
    TXN_SET(txn, host, a->host, ssh_expiry,
            a->enabled && timeout ? clock_wall() + timeout * USEC_PER_SEC : 0);
    return OK;
}

/*** on, off, by itself ***/

static struct error *reload_units(struct call *call, void *arg)
{
    (void)arg;
    return SYSTEM_RUN(call, NULL, "systemctl", "daemon-reload");
}

static struct system_file auto_file(struct call *call, bool automatic)
{
    struct system_file file = {AUTO_FILE, NULL, reload_units, NULL};

    if (automatic)
        file.text = arena_printf(call->arena,
                                 "# xapid: SSH only while xapid does not run.\n[Service]\n"
                                 "ExecStartPost=-+/usr/bin/systemctl --no-block stop %s\n"
                                 "ExecStopPost=-+/usr/bin/systemctl --no-block start %s\n",
                                 unit(call), unit(call));
    return file;
}

/* Does nothing where the mode is that already. */
static struct error *set_automatic(struct call *call, bool automatic)
{
    struct system_file file = auto_file(call, automatic);

    if (!automatic && !system_read(call, AUTO_FILE))
        return OK;
    return system_configure(call, &file);
}

static struct error *tell_access(struct call *call, void *arg)
{
    const struct access *a = arg;
    struct error *e = set_automatic(call, a->automatic);

    if (!e)
        e = SYSTEM_RUN(call, NULL, "systemctl", a->enabled ? "enable" : "disable", "--now",
                       unit(call));
    return e && a->failed ? because(call, a->failed, a->host, e) : e;
}

struct error *ssh_tell(struct call *call)
{
    const struct host *row = host_here(call);

    return tell_access(
        call, &(struct access){.enabled = row->ssh_enabled, .automatic = row->ssh_auto_mode});
}

static struct error *switch_to(struct call *call, struct access to)
{
    to.timeout = -1;
    TRY(host_check_here(call, to.host));
    return host_change(call, &(struct host_change){HOST_SETTING_SSH, tell_access, record, &to});
}

static struct error *switch_on(struct call *call, ref_t host, void *arg)
{
    (void)arg;
    return switch_to(call,
                     (struct access){.host = host, .enabled = true, .failed = "ENABLE_SSH_FAILED"});
}

static struct error *switch_off(struct call *call, ref_t host, void *arg)
{
    (void)arg;
    return switch_to(call, (struct access){.host = host, .failed = "DISABLE_SSH_FAILED"});
}

static struct error *switch_automatic(struct call *call, ref_t host, void *arg)
{
    bool automatic = *(const bool *)arg;
    const struct host *row;

    TRY(DB_GET(call, host, host, &row));
    return switch_to(call, (struct access){.host = host,
                                           .enabled = !automatic && row->ssh_enabled,
                                           .automatic = automatic});
}

static struct error *set_timeout(struct call *call, ref_t host, void *arg)
{
    const struct host *row;

    TRY(DB_GET(call, host, host, &row));
    return db_update(
        call, record,
        &(struct access){host, row->ssh_enabled, row->ssh_auto_mode, *(const int64_t *)arg, NULL});
}

/*** shells ***/

static struct system_file shell_file(struct call *call, int64_t seconds)
{
    struct system_file file = {.path = SHELL_FILE};

    if (seconds)
        file.text = arena_printf(call->arena,
                                 "# xapid: host.console_idle_timeout\n"
                                 "TMOUT=%lld\nreadonly TMOUT\nexport TMOUT\n",
                                 (long long)seconds);
    return file;
}

static struct error *set_idle(struct call *call, ref_t host, void *arg)
{
    int64_t seconds = *(const int64_t *)arg;
    struct system_file file = shell_file(call, seconds);

    TRY(host_check_here(call, host));
    TRY(system_configure(call, &file));
    return CALL_SET(call, host, host, console_idle_timeout, seconds);
}

/*** host. ***/

static struct error *check_seconds(struct call *call, const char *field, int64_t value, int64_t max)
{
    if (value >= 0 && value <= max)
        return OK;
    return err_invalid_value(call, field, arena_printf(call->arena, "%lld", (long long)value));
}

struct error *host_enable_ssh(struct call *call, const struct host_enable_ssh_args *args)
{
    return switch_on(call, args->self, NULL);
}

struct error *host_disable_ssh(struct call *call, const struct host_disable_ssh_args *args)
{
    return switch_off(call, args->self, NULL);
}

struct error *host_set_ssh_auto_mode(struct call *call,
                                     const struct host_set_ssh_auto_mode_args *args)
{
    bool automatic = args->value;

    return switch_automatic(call, args->self, &automatic);
}

struct error *host_set_ssh_enabled_timeout(struct call *call,
                                           const struct host_set_ssh_enabled_timeout_args *args)
{
    int64_t seconds = args->value;

    TRY(host_check(call, args->self));
    TRY(check_seconds(call, "ssh_enabled_timeout", seconds, TIMEOUT_MAX));
    return set_timeout(call, args->self, &seconds);
}

struct error *host_set_console_idle_timeout(struct call *call,
                                            const struct host_set_console_idle_timeout_args *args)
{
    int64_t seconds = args->value;

    TRY(host_check(call, args->self));
    TRY(check_seconds(call, "console_idle_timeout", seconds, INT32_MAX));
    return set_idle(call, args->self, &seconds);
}

/*** pool. ***/

/* Each host does it itself. */
static struct error *tell_on(struct call *call, ref_t host, void *arg)
{
    (void)arg;
    return forward_run(call, MSG_host_enable_ssh, &(struct host_enable_ssh_args){host}, NULL);
}

static struct error *tell_off(struct call *call, ref_t host, void *arg)
{
    (void)arg;
    return forward_run(call, MSG_host_disable_ssh, &(struct host_disable_ssh_args){host}, NULL);
}

static struct error *tell_automatic(struct call *call, ref_t host, void *arg)
{
    return forward_run(call, MSG_host_set_ssh_auto_mode,
                       &(struct host_set_ssh_auto_mode_args){host, *(const bool *)arg}, NULL);
}

static struct error *tell_timeout(struct call *call, ref_t host, void *arg)
{
    return forward_run(call, MSG_host_set_ssh_enabled_timeout,
                       &(struct host_set_ssh_enabled_timeout_args){host, *(const int64_t *)arg},
                       NULL);
}

static struct error *tell_idle(struct call *call, ref_t host, void *arg)
{
    return forward_run(call, MSG_host_set_console_idle_timeout,
                       &(struct host_set_console_idle_timeout_args){host, *(const int64_t *)arg},
                       NULL);
}

static struct error *check_pool(struct call *call, ref_t ref)
{
    const struct pool *pool;

    return DB_GET(call, pool, ref, &pool);
}

struct error *pool_enable_ssh(struct call *call, const struct pool_enable_ssh_args *args)
{
    const char *failed;

    TRY(check_pool(call, args->self));
    hosts_each(call, tell_on, NULL, &failed);
    return *failed ? err_enable_ssh_partially_failed(call, failed) : OK;
}

struct error *pool_disable_ssh(struct call *call, const struct pool_disable_ssh_args *args)
{
    const char *failed;

    TRY(check_pool(call, args->self));
    hosts_each(call, tell_off, NULL, &failed);
    return *failed ? err_disable_ssh_partially_failed(call, failed) : OK;
}

struct error *pool_set_ssh_auto_mode(struct call *call,
                                     const struct pool_set_ssh_auto_mode_args *args)
{
    bool automatic = args->value;
    const char *failed;

    TRY(check_pool(call, args->self));
    hosts_each(call, tell_automatic, &automatic, &failed);
    return *failed ? err_set_ssh_auto_mode_partially_failed(call, failed) : OK;
}

struct error *pool_set_ssh_enabled_timeout(struct call *call,
                                           const struct pool_set_ssh_enabled_timeout_args *args)
{
    int64_t seconds = args->value;
    const char *failed;

    TRY(check_pool(call, args->self));
    TRY(check_seconds(call, "ssh_enabled_timeout", seconds, TIMEOUT_MAX));
    hosts_each(call, tell_timeout, &seconds, &failed);
    return *failed ? err_set_ssh_timeout_partially_failed(call, failed) : OK;
}

struct error *pool_set_console_idle_timeout(struct call *call,
                                            const struct pool_set_console_idle_timeout_args *args)
{
    int64_t seconds = args->value;
    const char *failed;

    TRY(check_pool(call, args->self));
    TRY(check_seconds(call, "console_idle_timeout", seconds, INT32_MAX));
    hosts_each(call, tell_idle, &seconds, &failed);
    return *failed ? err_set_console_timeout_partially_failed(call, failed) : OK;
}

/*** by itself ***/

void ssh_expire(struct call *call)
{
    const struct host *host = host_here(call);
    struct error *e;

    if (!host || !host->ssh_enabled || !host->ssh_expiry || clock_wall() < host->ssh_expiry)
        return;
    e = switch_off(call, host->ref, NULL);
    if (e)
        log_error("SSH stays on although its time is over: %s", error_line(call->arena, e));
    else
        log_info("SSH was switched off: its time is over");
}

void ssh_settle(struct call *call)
{
    const struct host *host = host_here(call);
    struct system_file shells = shell_file(call, host->console_idle_timeout);
    struct system_file automatic = auto_file(call, host->ssh_auto_mode);

    system_settle(call, &shells);
    system_settle(call, &automatic);
    ssh_expire(call);
}
