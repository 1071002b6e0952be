/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* agent.c -- the daemon itself: its end and its beginning, its log, what it knows of its work and
 * of its clients. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libxapi/base/buf.h"
#include "libxapi/base/log.h"
#include "libxapi/base/seam.h"
#include "libxapi/value/value.h"
#include "xapid/auth/agents.h"
#include "xapid/db/ready.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/ha/state.h"
#include "xapid/ops/host/here.h"
#include "xapid/ops/host/redact.h"
#include "xapid/ops/host/system.h"
#include "xapid/task/timing.h"

#define UNIT "xapid.service"
#define LOG_LINES "2000"
#define THREADS_LIMIT 4096

/*** end and beginning ***/

/* The service manager does it when it has been told: the answer still reaches the client. */
struct error *host_restart_agent(struct call *call, const struct host_restart_agent_args *args)
{
    TRY(host_check_here(call, args->host));
    log_info("the daemon is to be restarted");
    return SYSTEM_RUN(call, NULL, "systemctl", "--no-block", "restart", UNIT);
}

struct error *host_shutdown_agent(struct call *call)
{
    log_info("the daemon is to be stopped");
    return SYSTEM_RUN(call, NULL, "systemctl", "--no-block", "stop", UNIT);
}

/*** its log ***/

struct error *host_get_log(struct call *call, const struct host_get_log_args *args,
                           const char **result)
{
    const char *log;
    char *text;

    TRY(host_check_here(call, args->host));
    TRY(SYSTEM_RUN(call, &log, "journalctl", "--no-pager", "--quiet", "--unit=" UNIT,
                   "--lines=" LOG_LINES));
    /* Every role may read it. */
    text = arena_strdup(call->arena, log);
    redact(text, strlen(text));
    *result = text;
    return OK;
}

/*** its members ***/

/* A member is alive: said again and again, so nobody waits for it to be written. */
struct error *host_tickle_heartbeat(struct call *call,
                                    const struct host_tickle_heartbeat_args *args,
                                    struct strmap *result)
{
    const struct host_metrics *metrics;
    const struct host *host;
    usec_t now = clock_wall();

    TRY(DB_GET(call, host, args->host, &host));
    *result = (struct strmap){0};
    metrics = db_find(call, CLASS_host_metrics, host->metrics);
    if (!metrics)
        return OK;
    db_set_lazily(call->xapid->db, FIELD_host_metrics_last_updated, metrics->ref, &now);
    return metrics->live ? OK : CALL_SET(call, host_metrics, metrics->ref, live, true);
}

/* The administrator's word that a host is off: what ran there is halted, and what its daemon did
 * with it is let go.  This host speaks, and one that was heard of lately lives. */
static struct error *dead_txn(struct txn *txn, void *arg)
{
    ref_t ref = *(const ref_t *)arg;
    struct call *call = txn_call(txn);
    const struct host_metrics *metrics;
    const struct host *host;

    TRY(TXN_GET(txn, host, ref, &host));
    metrics = txn_find(txn, CLASS_host_metrics, host->metrics);
    if (ref_equal(ref, call->xapid->host) || (metrics && metrics->live))
        return err_host_is_live(call, call_ref(call, ref));
    return txn_host_dead(txn, ref);
}

struct error *host_declare_dead(struct call *call, const struct host_declare_dead_args *args)
{
    ref_t host = args->host;

    return db_update(call, dead_txn, &host);
}

/* Every member has the whole database, by the log. */
struct error *host_request_backup(struct call *call, const struct host_request_backup_args *args)
{
    TRY(host_check_here(call, args->host));
    db_flush_lazy(call->xapid->db);
    return OK;
}

struct error *host_set_license_params(struct call *call,
                                      const struct host_set_license_params_args *args)
{
    TRY(host_check(call, args->self));
    return CALL_SET(call, host, args->self, license_params, args->value);
}

/*** its work ***/

struct error *host_get_diagnostic_timing_stats(
    struct call *call, const struct host_get_diagnostic_timing_stats_args *args,
    struct strmap *result)
{
    struct strpair *v = arena_array(call->arena, struct strpair, api_n_messages + 1);
    struct timing t;
    size_t n = 0;

    TRY(host_check_here(call, args->host));
    for (size_t i = 0; i < api_n_messages; i++) {
        if (!timing_of(call->xapid->timings, i, &t))
            continue;
        v[n].key = api_messages[i].full_name;
        v[n++].value = arena_printf(
            call->arena, "%.6f average, %.6f longest%s", (double)t.sum / (double)t.count / 1e6,
            (double)t.longest / 1e6,
            args->counts ? arena_printf(call->arena, " of %llu", (unsigned long long)t.count) : "");
    }
    *result = (struct strmap){n, v};
    return OK;
}

/* The first line of a file of /proc; "" where the thread has just ended. */
static const char *proc_line(struct call *call, const char *thread, const char *name)
{
    FILE *f = fopen(arena_printf(call->arena, "/proc/self/task/%s/%s", thread, name), "re");
    char line[512] = "";

    if (!f)
        return "";
    if (!fgets(line, sizeof line, f))
        *line = '\0';
    fclose(f);
    line[strcspn(line, "\n")] = '\0';
    return arena_strdup(call->arena, line);
}

/* "R" and so on, behind the name in brackets. */
static const char *thread_state(struct call *call, const char *thread)
{
    const char *end = strrchr(proc_line(call, thread, "stat"), ')');

    return end && end[1] ? arena_strndup(call->arena, end + 2, 1) : "?";
}

struct error *host_get_thread_diagnostics(struct call *call,
                                          const struct host_get_thread_diagnostics_args *args,
                                          const char **result)
{
    struct buf text = {0};
    struct dirent *entry;
    size_t n = 0;
    DIR *dir;

    TRY(host_check_here(call, args->host));
    dir = opendir("/proc/self/task");
    if (!dir)
        return error_internal(call->arena, "/proc/self/task cannot be read");
    buf_puts(&text, "thread  state  name             waits in\n");
    while (n < THREADS_LIMIT && (entry = readdir(dir))) {
        if (*entry->d_name == '.')
            continue;
        n++;
        buf_printf(&text, "%-7s %-6s %-16s %s\n", entry->d_name, thread_state(call, entry->d_name),
                   proc_line(call, entry->d_name, "comm"), proc_line(call, entry->d_name, "wchan"));
    }
    closedir(dir);
    *result = arena_strndup(call->arena, text.data, text.len);
    buf_release(&text);
    return OK;
}

/*** its clients ***/

struct error *host_get_tracked_user_agents(struct call *call,
                                           const struct host_get_tracked_user_agents_args *args,
                                           struct strmap *result)
{
    TRY(host_check_here(call, args->self));
    *result = agents_seen(call->xapid->agents, call->arena);
    return OK;
}
