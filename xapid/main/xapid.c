/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* xapid.c -- one daemon: its parts in the order they are started, and the other way round. */
#include "xapid/main/xapid.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "xapid/auth/audit.h"
#include "xapid/auth/auth.h"
#include "xapid/auth/session.h"
#include "xapid/db/db.h"
#include "xapid/event/event.h"
#include "xapid/http/certificate.h"
#include "xapid/http/http.h"
#include "xapid/hypervisor/hv.h"
#include "xapid/main/bootstrap.h"
#include "xapid/main/routes.h"
#include "xapid/stream/console.h"
#include "xapid/ops/op.h"
#include "xapid/ops/storage/attach.h"
#include "xapid/ops/vm/watch.h"
#include "xapid/task/task.h"
#include "xapid/worker/workers.h"

#define MAX_WORKERS 512
#define HOUSEKEEPING_PERIOD (30 * USEC_PER_SEC)
#define SIM_TIMEOUT (20 * USEC_PER_SEC)
#define STOP_GRACE (5 * USEC_PER_SEC)

/*** calls of the daemon's own ***/

void call_init_internal(struct call *call, struct xapid *xapid, struct arena *arena)
{
    *call = (struct call){.arena = arena, .xapid = xapid, .originator = "xapid"};
    call->snap = db_snapshot(xapid->db);
}

void call_release(struct call *call)
{
    call_let_go(call);
    session_unref(call->session);
    call->session = NULL;
}

/*** start ***/

static const char *or_default(const char *value, const char *def)
{
    return value ? value : def;
}

/* The simulator lies beside this program, installed or in the build tree. */
static const char *beside_me(struct arena *arena, const char *name)
{
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    const char *beside;

    if (n < 0)
        return name;
    self[n] = '\0';
    *strrchr(self, '/') = '\0';
    beside = arena_printf(arena, "%s/%s", self, name);
    return access(beside, X_OK) == 0 ? beside : arena_printf(arena, "/usr/libexec/xapid/%s", name);
}

static void set_defaults(struct xapid *x, struct arena *arena)
{
    struct xapid_options *o = &x->options;

    o->state_dir = xstrdup(or_default(o->state_dir, "/var/lib/xapid"));
    o->config_dir = xstrdup(or_default(o->config_dir, "/etc/xapid"));
    o->unix_socket = xstrdup(or_default(o->unix_socket, "/var/lib/xcp/xapi"));
    o->listen_address = xstrdup(or_default(o->listen_address, "::"));
    o->hypervisor = xstrdup(or_default(o->hypervisor, ""));
    o->sim_program = xstrdup(or_default(o->sim_program, beside_me(arena, "xapid-sim")));
    o->pam_helper = xstrdup(or_default(o->pam_helper, beside_me(arena, "xapid-pam")));
    o->storage_dir =
        o->storage_dir ? xstrdup(o->storage_dir) : xasprintf("%s/storage", o->state_dir);
    o->password_file = o->password_file ? xstrdup(o->password_file) : NULL;
    o->web_root = o->web_root ? xstrdup(o->web_root) : NULL;
    if (!o->op_wait)
        o->op_wait = 20 * 60 * USEC_PER_SEC;
}

static struct error *make_dir(struct arena *arena, const char *path)
{
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return error_internal(arena, "cannot make directory %s: %s", path, strerror(errno));
    return OK;
}

static struct error *start_hypervisor(struct arena *arena, struct xapid *x)
{
    const char *dir = arena_printf(arena, "%s/sim", x->options.state_dir);
    const char *socket = arena_printf(arena, "%s/sim.socket", x->options.state_dir);
    struct hv_simulator sim = {
        .program = x->options.sim_program, .socket_path = socket, .dir = dir};

    if (strcmp(x->options.hypervisor, "sim") != 0)
        return error_internal(
            arena, "%s",
            *x->options.hypervisor
                ? "only the simulator is available so far: start xapid with --hypervisor=sim"
                : "this host has no Xen that xapid can drive; to run the simulator say so: "
                  "--hypervisor=sim");
    TRY(make_dir(arena, dir));
    TRY(hv_start_simulator(arena, &sim, SIM_TIMEOUT));
    x->hv = hv_new(socket);
    return OK;
}

static struct error *start_database(struct arena *arena, struct xapid *x)
{
    struct db_options options = x->options.db ? *x->options.db : (struct db_options){0};

    options.dir = arena_printf(arena, "%s/db", x->options.state_dir);
    return db_open(arena, &options, &x->db);
}

/* What a first start makes and every start brings up to date; then what a crash left half done. */
static struct error *start_world(struct arena *arena, struct xapid *x)
{
    struct call call;
    struct error *e;
    int n;

    call_init_internal(&call, x, arena);
    e = bootstrap(&call);
    if (!e)
        e = srs_attach_all(&call);
    if (!e)
        e = vms_reconcile(&call);
    if (!e) {
        n = ops_recover(&call);
        if (n)
            log_info("%d operations of before were finished or undone", n);
        tasks_recover(&call);
    }
    call_release(&call);
    return e;
}

static struct error *start_listening(struct arena *arena, struct xapid *x)
{
    const char *cert = arena_printf(arena, "%s/xapid-tls.pem", x->options.state_dir);
    char host_name[256] = "localhost";

    gethostname(host_name, sizeof host_name - 1);
    TRY(certificate_ensure(arena, cert, host_name));
    TRY(http_server_new(arena,
                        &(struct http_options){.routes = http_routes, .ctx = x, .cert_path = cert},
                        &x->http));
    return OK;
}

/* Last of all: from here on calls come in. */
static struct error *open_doors(struct arena *arena, struct xapid *x)
{
    if (x->options.tls_port >= 0)
        TRY(http_listen_tcp(arena, x->http, x->options.listen_address, x->options.tls_port, true,
                            &x->tls_port));
    if (x->options.plain_port >= 0)
        TRY(http_listen_tcp(arena, x->http, "127.0.0.1", x->options.plain_port, false,
                            &x->plain_port));
    if (*x->options.unix_socket)
        TRY(http_listen_unix(arena, x->http, x->options.unix_socket, 0600));
    return OK;
}

static void housekeeping_due(void *arg);

static void housekeeping(void *arg)
{
    struct xapid *x = arg;
    struct arena arena = {0};
    struct call call;

    sessions_collect(x->sessions);
    call_init_internal(&call, x, &arena);
    tasks_collect(&call);
    call_release(&call);
    arena_release(&arena);
    MUTEX_GUARD(&x->timer_lock);
    if (!x->stopping)
        http_post_after(x->http, HOUSEKEEPING_PERIOD, housekeeping_due, x);
}

static void housekeeping_due(void *arg)
{
    struct xapid *x = arg;

    workers_run(x->workers, housekeeping, x);
}

static struct error *start_parts(struct arena *arena, struct xapid *x)
{
    TRY(make_dir(arena, x->options.state_dir));
    TRY(make_dir(arena, x->options.storage_dir));
    x->started = clock_wall();
    x->workers = workers_new(MAX_WORKERS);
    x->queue = op_queue_new();
    x->sessions = sessions_new(x);
    x->tasks = tasks_new(x);
    if (x->options.enable_faults)
        x->faults = faults_new(x->options.state_dir);
    TRY(start_database(arena, x));
    TRY(start_hypervisor(arena, x));
    TRY(start_listening(arena, x));
    TRY(auth_new(arena, x, &x->auth));
    TRY(audit_new(arena, x, &x->audit));
    x->srs = sr_table_new();
    x->consoles = consoles_new();
    TRY(start_world(arena, x));
    x->events = events_new(x);
    x->watch = vm_watch_start(x);
    TRY(open_doors(arena, x));
    http_post_after(x->http, HOUSEKEEPING_PERIOD, housekeeping_due, x);
    return OK;
}

struct error *xapid_start(struct arena *arena, const struct xapid_options *options,
                          struct xapid **out)
{
    struct xapid *x = xcalloc(1, sizeof *x);
    struct error *e;

    x->options = *options;
    mutex_init(&x->timer_lock);
    set_defaults(x, arena);
    e = start_parts(arena, x);
    if (e) {
        xapid_stop(x);
        return e;
    }
    log_info("xapid answers on %s%s%s", *x->options.unix_socket ? x->options.unix_socket : "",
             *x->options.unix_socket ? " and " : "",
             arena_printf(arena, "port %d (TLS)", x->tls_port));
    *out = x;
    return OK;
}

void xapid_reload(struct xapid *x)
{
    struct arena arena = {0};
    struct error *e = http_reload_certificate(&arena, x->http);

    if (e)
        log_error("the certificate could not be read again, the old one stays: %s",
                  error_line(&arena, e));
    arena_release(&arena);
}

void xapid_stop(struct xapid *x)
{
    mutex_lock(&x->timer_lock);
    x->stopping = true;
    mutex_unlock(&x->timer_lock);
    events_stop(x->events);
    if (x->http)
        http_server_free(x->http, STOP_GRACE);
    events_free(x->events);
    vm_watch_stop(x->watch);
    workers_free(x->workers);
    consoles_free(x->consoles);
    sr_table_free(x->srs);
    hv_free(x->hv);
    vm_watch_free(x->watch);
    auth_free(x->auth);
    audit_free(x->audit);
    tasks_free(x->tasks);
    sessions_free(x->sessions);
    op_queue_free(x->queue);
    db_close(x->db);
    faults_free(x->faults);
    free((char *)x->options.state_dir);
    free((char *)x->options.config_dir);
    free((char *)x->options.unix_socket);
    free((char *)x->options.listen_address);
    free((char *)x->options.hypervisor);
    free((char *)x->options.sim_program);
    free((char *)x->options.pam_helper);
    free((char *)x->options.storage_dir);
    free((char *)x->options.password_file);
    free((char *)x->options.web_root);
    mutex_release(&x->timer_lock);
    free(x);
}
