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
#include "pool/peer/peer.h"
#include "xapid/auth/agents.h"
#include "xapid/auth/audit.h"
#include "xapid/auth/auth.h"
#include "xapid/auth/callers.h"
#include "xapid/auth/session.h"
#include "xapid/db/db.h"
#include "xapid/db/member.h"
#include "xapid/db/replace.h"
#include "xapid/event/event.h"
#include "xapid/http/certificate.h"
#include "xapid/http/http.h"
#include "xapid/hypervisor/hv.h"
#include "xapid/join/file.h"
#include "xapid/join/join.h"
#include "xapid/join/leave.h"
#include "xapid/join/receive.h"
#include "xapid/join/takeover.h"
#include "xapid/boot/bootstrap.h"
#include "xapid/main/members.h"
#include "xapid/main/office.h"
#include "xapid/main/roam.h"
#include "xapid/main/routes.h"
#include "xapid/main/voters.h"
#include "xapid/nbd/nbd.h"
#include "xapid/stream/cli.h"
#include "xapid/stream/console.h"
#include "xapid/stream/relay.h"
#include "xapid/ops/blob.h"
#include "xapid/ops/ha/ha.h"
#include "xapid/ops/certificates/server.h"
#include "xapid/ops/faults.h"
#include "xapid/ops/host/settle.h"
#include "xapid/ops/mail.h"
#include "xapid/ops/network/change.h"
#include "xapid/ops/network/guards.h"
#include "xapid/ops/network/management.h"
#include "xapid/ops/network/reached.h"
#include "xapid/ops/network/follow.h"
#include "xapid/ops/network/scan.h"
#include "xapid/ops/op.h"
#include "xapid/ops/storage/attach.h"
#include "xapid/ops/storage/coalesce.h"
#include "xapid/ops/storage/shared.h"
#include "xapid/ops/storage/turn.h"
#include "xapid/ops/vm/appliance.h"
#include "xapid/ops/vm/claims.h"
#include "xapid/ops/vm/image.h"
#include "xapid/ops/vm/scheduler.h"
#include "xapid/ops/vm/squeezer.h"
#include "xapid/ops/vm/watch.h"
#include "xapid/stats/stats.h"
#include "xapid/rpc/rpc.h"
#include "xapid/task/task.h"
#include "xapid/task/timing.h"
#include "xapid/trace/trace.h"
#include "xapid/transfer/replication.h"
#include "xapid/worker/workers.h"

#define MAX_WORKERS 512
#define HOUSEKEEPING_PERIOD (30 * USEC_PER_SEC)
#define STORAGE_PERIOD (15 * USEC_PER_SEC)
#define LOCKS_PERIOD (60 * USEC_PER_SEC)
#define SCHEDULER_PERIOD (5 * USEC_PER_SEC)
#define SIM_TIMEOUT (20 * USEC_PER_SEC)
#define NETWORK_TRIAL (60 * USEC_PER_SEC)
#define STOP_GRACE (5 * USEC_PER_SEC)
/* How long a host that is alone may take to lead itself. */
#define ALONE_WITHIN (30 * USEC_PER_SEC)
#define WAIT_SLICE (50 * USEC_PER_MSEC)
#define WAIT_TOLD (60 * USEC_PER_SEC)
/* After so long without a coordinator a start goes on in emergency mode. */
#define CUT_OFF_START (10 * USEC_PER_SEC)
/* For the word of others, before one that needs no other vote goes on; where one of them refuses
 * it, until it has said why. */
#define LOOK_AROUND (3 * USEC_PER_SEC)
#define LOOK_AROUND_MOST (15 * USEC_PER_SEC)

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
    o->cli_program = xstrdup(or_default(o->cli_program, "xe"));
    o->pam_helper = xstrdup(or_default(o->pam_helper, beside_me(arena, "xapid-pam")));
    o->storage_dir =
        o->storage_dir ? xstrdup(o->storage_dir) : xasprintf("%s/storage", o->state_dir);
    o->storage_program = xstrdup(or_default(o->storage_program, beside_me(arena, "xapid-storage")));
    if (o->mounts)
        o->mounts = xstrdup(o->mounts);
    else
        o->mounts = strcmp(o->hypervisor, "sim") == 0 ? xasprintf("%s/sr-mount", o->state_dir)
                                                      : xstrdup("/run/sr-mount");
    if (!o->storage_wait)
        o->storage_wait = 60 * USEC_PER_SEC;
    o->datapath =
        xstrdup(or_default(o->datapath, strcmp(o->hypervisor, "xen") == 0 ? "nbd" : "none"));
    o->network =
        xstrdup(or_default(o->network, strcmp(o->hypervisor, "sim") == 0 ? "none" : "linux"));
    if (o->network_trial < 0)
        o->network_trial = strcmp(o->network, "none") != 0 ? NETWORK_TRIAL : 0;
    o->password_file = o->password_file ? xstrdup(o->password_file) : NULL;
    o->web_root = o->web_root ? xstrdup(o->web_root) : NULL;
    if (o->system_root)
        o->system_root = xstrdup(o->system_root);
    else
        o->system_root =
            strcmp(o->hypervisor, "sim") == 0 ? xasprintf("%s/system", o->state_dir) : xstrdup("");
    o->pool_address = o->pool_address ? xstrdup(o->pool_address) : NULL;
    o->pool_trust = o->pool_trust ? xstrdup(o->pool_trust) : NULL;
    if (o->sysfs_dir)
        o->sysfs_dir = xstrdup(o->sysfs_dir);
    else if (strcmp(o->hypervisor, "sim") == 0)
        o->sysfs_dir = xasprintf("%s/sysfs", o->state_dir);
    else
        o->sysfs_dir = xstrdup("/sys");
    if (!o->level)
        o->level = api_level;
    if (!o->op_wait)
        o->op_wait = 20 * 60 * USEC_PER_SEC;
    if (!o->end_wait)
        o->end_wait = 20 * 60 * USEC_PER_SEC;
}

static struct error *make_dir(struct arena *arena, const char *path)
{
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return error_internal(arena, "cannot make directory %s: %s", path, strerror(errno));
    return OK;
}

static struct error *start_simulator(struct arena *arena, struct xapid *x)
{
    const char *dir = arena_printf(arena, "%s/sim", x->options.state_dir);
    const char *socket = arena_printf(arena, "%s/sim.socket", x->options.state_dir);
    struct hv_simulator sim = {
        .program = x->options.sim_program, .socket_path = socket, .dir = dir};

    TRY(make_dir(arena, dir));
    TRY(hv_start_simulator(arena, &sim, SIM_TIMEOUT));
    x->hv = hv_new(socket);
    return OK;
}

static struct error *start_executor(struct arena *arena, struct xapid *x)
{
    const char *dir = arena_printf(arena, "%s/executor", x->options.state_dir);
    const char *socket = arena_printf(arena, "%s/executor.socket", x->options.state_dir);
    struct hv_executor executor = {
        .program = beside_me(arena, "xapid-executor"), .socket_path = socket, .dir = dir};

    TRY(make_dir(arena, dir));
    TRY(hv_start_executor(arena, &executor, SIM_TIMEOUT));
    x->hv = hv_new(socket);
    return OK;
}

static struct error *start_hypervisor(struct arena *arena, struct xapid *x)
{
    const char *which = x->options.hypervisor;

    if (!*which && hv_xen_is_here())
        which = "xen";
    if (strcmp(which, "sim") == 0)
        return start_simulator(arena, x);
    if (strcmp(which, "xen") == 0)
        return start_executor(arena, x);
    return error_internal(
        arena, "%s",
        *which ? "the hypervisor is either xen or sim"
               : "this host has no Xen that xapid can drive; to run the simulator say so: "
                 "--hypervisor=sim");
}

static void on_leader(void *ctx, uint64_t leader, uint64_t term, bool me)
{
    office_leader(((struct xapid *)ctx)->office, leader, term, me);
}

static void on_members(void *ctx)
{
    members_changed(((struct xapid *)ctx)->members);
}

/* A host that has joined a pool puts its own database aside and trusts the pool's members. */
static struct error *begin_as_member(struct arena *arena, struct xapid *x)
{
    struct join_file joined;
    AUTO(buf) trust = {0};

    TRY(join_switch(arena, x->options.state_dir, &joined));
    if (!joined.in)
        return OK;
    faults_at(x, "pool_join", "switched");
    for (size_t i = 0; i < joined.members.n; i++)
        buf_printf(&trust, "%s,", joined.members.v[i]);
    free((char *)x->options.pool_trust);
    x->options.pool_trust = buf_steal(&trust);
    x->options.member_id = joined.id;
    x->options.joining = true;
    return OK;
}

static struct error *start_database(struct arena *arena, struct xapid *x)
{
    struct db_options options = x->options.db ? *x->options.db : (struct db_options){0};
    struct log_raft_options raft;
    bool forced;

    TRY(begin_as_member(arena, x));
    TRY(takeover_is_wanted(arena, x->options.state_dir, &forced));
    x->office = office_new(x);
    TRY(members_new(arena, x, &x->members));
    options.dir = arena_printf(arena, "%s/db", x->options.state_dir);
    TRY(db_replace_settle(arena, options.dir));
    raft = *members_log_options(x->members);
    raft.force = forced;
    options.raft = &raft;
    options.level = x->options.level;
    options.leader = on_leader;
    options.members = on_members;
    options.watcher = x;
    TRY(db_open(arena, &options, &x->db));
    x->opened = clock_mono();
    office_follow(x->office);
    members_start(x->members);
    return OK;
}

/*** waiting for a pool ***/

static void not_yet(struct http_request *request, void *ctx)
{
    (void)ctx;
    http_error(request, 503, "This host waits for its pool.");
}

static const struct http_route waiting_routes[] = {
    {HTTP_M_GET, "/internal/pool", members_get, 0},
    {HTTP_M_POST, "/internal/pool", members_post, 4096},
    {HTTP_M_GET, "/", not_yet, 0},
    {HTTP_M_POST, "/", not_yet, 1 << 20},
    {HTTP_M_GET, NULL, NULL, 0},
};

/* One that leads by its own vote alone asks the others first, while they may answer: they may have
 * gone on without it. */
static bool has_looked_around(struct xapid *x)
{
    usec_t since = clock_mono() - x->opened;
    AUTO(arena) arena = {0};
    bool all = true;
    uint64_t *ids;
    size_t n;

    if (!db_leads(x->db) || x->options.manual_members || since > LOOK_AROUND_MOST)
        return true;
    members_others(x->members, &arena, &n, &ids);
    for (size_t i = 0; i < n; i++) {
        if (peer_refuses(x->peers, ids[i]))
            return false; /* leave_look asks why */
        all &= peer_heard(x->peers, ids[i]) != 0;
    }
    return all || since > LOOK_AROUND;
}

/* Somebody leads, this host is a member (one that joins first reads of times when it was none) and
 * has not left (leave_look ends that), and there is a pool's database, or this host is the one to
 * make it. */
static bool is_ready(struct xapid *x)
{
    AUTO(arena) arena = {0};
    struct log_member *members;
    struct log_status status;
    struct db_snap *snap;
    bool has_pool, is_member;
    size_t n;

    if (!db_wait_leader(x->db, 0))
        return false;
    snap = db_snapshot(x->db);
    has_pool = snap_root(snap)->tables[CLASS_pool].count > 0;
    db_snap_unref(snap);
    db_members(x->db, &arena, &n, &members);
    db_status(x->db, &status);
    is_member = n == 0;
    for (size_t i = 0; i < n; i++)
        is_member |= members[i].id == status.id;
    if (!x->options.manual_members && leave_is_departed(x, member_id_text(&arena, status.id)))
        return false;
    return is_member && (has_pool || (n <= 1 && db_leads(x->db))) && has_looked_around(x);
}

/* It knows its pool and itself, and was neither added just now nor given another number. */
static bool may_start_cut_off(struct xapid *x, struct arena *arena)
{
    struct call call;
    bool known;

    if (x->options.manual_members || x->options.joining || !db_has_others(x->db))
        return false;
    call_init_internal(&call, x, arena);
    known = bootstrap_recall(&call);
    call_release(&call);
    return known;
}

static struct error *wait_until_ready(struct arena *arena, struct xapid *x)
{
    usec_t tell = clock_mono(), refused = 0;

    while (x->replaced || !is_ready(x)) {
        if ((x->replaced || clock_mono() - x->opened > CUT_OFF_START) &&
            may_start_cut_off(x, arena)) {
            x->cut_off = true;
            log_warning("this host starts without its pool, which has no coordinator: emergency "
                        "mode");
            return OK;
        }
        if (x->options.give_up && x->options.give_up())
            return error_internal(arena, "it was asked to end while it waited for its pool");
        TRY(db_failure(x->db, arena));
        if (leave_look(x, &refused))
            return error_internal(arena, "this host belongs to its pool no longer");
        if (clock_mono() >= tell) {
            log_info(x->options.joining && !db_has_others(x->db)
                         ? "waiting to be added to a pool (/internal/pool on %s says who this is)"
                         : "waiting for the other members of the pool; asked on %s",
                     x->options.unix_socket);
            tell = clock_mono() + WAIT_TOLD;
        }
        clock_sleep(WAIT_SLICE);
    }
    return OK;
}

static struct error *wait_for_pool(struct arena *arena, struct xapid *x)
{
    struct http_options options = {.n_loops = 1, .routes = waiting_routes, .ctx = x};
    struct http_server *server = NULL;
    struct error *e = OK;

    if (!x->peers && db_has_others(x->db))
        return error_internal(
            arena, "this host is one of a pool, and has no address where the others reach "
                   "it: give xapid a --pool-address");
    if (!x->peers)
        return db_wait_leader(x->db, clock_mono() + ALONE_WITHIN)
                   ? OK
                   : error_internal(arena, "the database's log does not begin to work");
    if (is_ready(x))
        return OK;
    TRY(http_server_new(arena, &options, &server));
    if (*x->options.unix_socket)
        e = http_listen_unix(arena, server, x->options.unix_socket, 0600);
    if (!e)
        e = wait_until_ready(arena, x);
    http_server_free(server, STOP_GRACE);
    return e;
}

static struct error *start_storage(struct arena *arena, struct xapid *x)
{
    enum datapath_kind kind;

    if (!datapath_kind_from_text(x->options.datapath, &kind))
        return error_internal(arena, "--datapath: '%s' is none of fuse, nbd, socket and none",
                              x->options.datapath);
    x->srs = sr_table_new(&(struct sr_site){.program = x->options.storage_program,
                                            .mounts = x->options.mounts,
                                            .system_root = x->options.system_root,
                                            .timeout = x->options.storage_wait,
                                            .turns = &sr_turns});
    sr_table_serve(x->srs, arena_printf(arena, "%s/datapath", x->options.state_dir), kind);
    return OK;
}

static void follow_secret(struct call *call)
{
    struct error *e = auth_follow_pool_secret(call);

    if (e)
        log_warning("the file of the pool's secret is not up to date: %s",
                    error_line(call->arena, e));
}

/* What a first start makes and every start brings up to date; then what a crash left half done. */
static struct error *start_world(struct arena *arena, struct xapid *x)
{
    uint64_t term = office_term(x->office);
    struct call call;
    struct error *e;
    int n;

    if (x->cut_off) {
        x->ha = ha_start(x);
        return OK; /* nothing can be written down: the next start does all this */
    }
    call_init_internal(&call, x, arena);
    e = bootstrap(&call);
    if (!e) {
        x->ha = ha_start(x);
        e = takeover_settle(&call);
    }
    if (!e)
        e = network_adopt(&call);
    if (!e)
        network_settle(&call);
    if (!e)
        office_start(x->office, term);
    if (!e)
        e = nbd_recover(&call);
    if (!e)
        e = srs_attach_all(&call);
    if (!e)
        e = vms_reconcile(&call);
    if (!e) {
        n = ops_recover(&call);
        if (n)
            log_info("%d operations of before were finished or undone", n);
        guards_settle(&call, true);
        tasks_recover(&call);
        srs_end_servers(&call);
        host_settle(&call);
        e = certificates_start(&call);
        follow_secret(&call);
        blobs_sweep(&call);
        vm_images_sweep(&call);
    }
    call_release(&call);
    return e;
}

/* Whether calls without TLS are taken in: as host.https_only says at the moment. */
static bool plain_allowed(void *ctx)
{
    struct xapid *x = ctx;
    struct db_snap *snap = db_snapshot(x->db);
    const struct host *host = root_get(snap_root(snap), CLASS_host, x->host);
    bool allowed = !host || !host->https_only;

    db_snap_unref(snap);
    return allowed;
}

/* Whether other machines may speak to this one: not once host.management_disable was called. */
static bool remote_allowed(void *ctx)
{
    struct xapid *x = ctx;
    struct db_snap *snap = db_snapshot(x->db);
    bool allowed = host_has_management(snap, x->host);

    db_snap_unref(snap);
    return allowed;
}

static struct error *start_listening(struct arena *arena, struct xapid *x)
{
    const char *cert = arena_printf(arena, "%s/xapid-tls.pem", x->options.state_dir);
    char host_name[256] = "localhost";

    gethostname(host_name, sizeof host_name - 1);
    TRY(certificate_ensure(arena, cert, host_name));
    TRY(http_server_new(arena,
                        &(struct http_options){.routes = http_routes,
                                               .ctx = x,
                                               .plain_allowed = plain_allowed,
                                               .remote_allowed = remote_allowed,
                                               .cert_path = cert},
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
    sessions_announce_again(x->sessions);
    call_init_internal(&call, x, &arena);
    tasks_collect(&call);
    certificates_look_after(&call);
    blobs_sweep(&call);
    mailer_look(x->mailer);
    srs_check_servers(&call);
    network_look_after(&call);
    ssh_expire(&call);
    join_sweep(&call);
    leave_sweep(&call);
    follow_secret(&call);
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

/* A schedule's snapshots may take long: it has a worker of its own. */
static void schedules_due(void *arg);

static void schedules_later(struct xapid *x)
{
    MUTEX_GUARD(&x->timer_lock);
    if (!x->stopping)
        http_post_after(x->http, SCHEDULER_PERIOD, schedules_due, x);
}

static void schedules(void *arg)
{
    struct xapid *x = arg;

    scheduler_tick(x->scheduler);
    replication_tick(x->replication);
    schedules_later(x);
}

static void schedules_due(void *arg)
{
    struct xapid *x = arg;

    if (!workers_run(x->workers, schedules, x))
        schedules_later(x);
}

/* Storage of other machines may keep its worker waiting: it has one of its own. */
static void storage_due(void *arg);

static void storage_later(struct xapid *x)
{
    MUTEX_GUARD(&x->timer_lock);
    if (!x->stopping)
        http_post_after(x->http, STORAGE_PERIOD, storage_due, x);
}

static void storage(void *arg)
{
    struct xapid *x = arg;
    struct arena arena = {0};
    struct call call;

    call_init_internal(&call, x, &arena);
    srs_plug_again(&call);
    ops_again(&call);
    if (db_leads(x->db) && clock_mono() >= x->locks_due) {
        ops_free_leaked(&call);
        x->locks_due = clock_mono() + LOCKS_PERIOD;
    }
    call_release(&call);
    arena_release(&arena);
    storage_later(x);
}

static void storage_due(void *arg)
{
    struct xapid *x = arg;

    if (!workers_run(x->workers, storage, x))
        storage_later(x);
}

static void follow_coordinator(void *arg)
{
    AUTO(arena) arena = {0};
    struct xapid *x = arg;
    struct call call;

    call_init_internal(&call, x, &arena);
    network_follow(&call);
    call_release(&call);
}

static struct error *start_parts(struct arena *arena, struct xapid *x)
{
    TRY(make_dir(arena, x->options.state_dir));
    TRY(make_dir(arena, x->options.storage_dir));
    x->started = clock_wall();
    x->workers = workers_new(MAX_WORKERS);
    x->queue = op_queue_new();
    x->claims = claims_new();
    x->sessions = sessions_new(x);
    x->tasks = tasks_new(x);
    x->callers = callers_new();
    x->reached = reached_new();
    x->agents = agents_new();
    x->timings = timings_new(api_n_messages);
    if (x->options.enable_faults)
        x->faults = faults_new(x->options.state_dir);
    TRY(start_database(arena, x));
    TRY(wait_for_pool(arena, x));
    TRY(start_hypervisor(arena, x));
    TRY(host_network_new(arena, x, &x->network));
    TRY(start_listening(arena, x));
    TRY(auth_new(arena, x, &x->auth));
    TRY(audit_new(arena, x, &x->audit));
    TRY(start_storage(arena, x));
    x->consoles = consoles_new();
    x->clis = clis_new();
    x->relays = relays_new(x);
    TRY(start_world(arena, x));
    if (x->options.member_id && !x->cut_off) {
        faults_at(x, "pool_join", "started");
        TRY(joiner_done(arena, x));
    }
    TRY(joiner_new(arena, x, &x->joiner));
    x->events = events_new(x);
    x->mailer = mailer_new(x);
    x->squeezer = squeezer_start(x);
    x->coalescer = coalescer_start(x);
    x->watch = vm_watch_start(x); /* kicks the squeezer */
    if (x->peers) {
        x->roam = roam_new(x);
        x->forward = forward_new(x, rpc_run_came);
    }
    roam_recall(x->roam);
    x->voters = voters_start(x);
    x->stats = stats_start(x);
    x->traces = traces_new(x);
    TRY(open_doors(arena, x));
    x->nbd = nbd_start(x);
    appliances_go_on(x);
    ha_begin(x->ha);
    x->scheduler = scheduler_new(x);
    x->replication = replication_new(x);
    if (x->cut_off)
        return OK;
    http_post_after(x->http, SCHEDULER_PERIOD, schedules_due, x);
    http_post_after(x->http, HOUSEKEEPING_PERIOD, housekeeping_due, x);
    http_post_after(x->http, 0, storage_due, x);
    if (!workers_run(x->workers, follow_coordinator, x))
        log_warning("the network of the pool's coordinator is not looked at: too much else to do");
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

static void restart(void *arg)
{
    const struct xapid *x = arg;

    if (x->options.restart)
        x->options.restart();
}

void xapid_restart_soon(struct xapid *x, usec_t delay)
{
    MUTEX_GUARD(&x->timer_lock); /* the server goes only afterwards */
    if (x->http && !x->stopping)
        http_post_after(x->http, delay, restart, x);
}

struct error *xapid_reload_certificate(struct arena *arena, struct xapid *x)
{
    MUTEX_GUARD(&x->timer_lock); /* xapid_stop frees the server only afterwards */
    return x->http && !x->stopping ? http_reload_certificate(arena, x->http) : OK;
}

struct error *xapid_trust_clients(struct arena *arena, struct xapid *x,
                                  const struct certificate_trust *trust)
{
    MUTEX_GUARD(&x->timer_lock);
    return x->http && !x->stopping ? http_trust_clients(arena, x->http, trust) : OK;
}

void xapid_reload(struct xapid *x)
{
    struct arena arena = {0};
    struct error *e = xapid_reload_certificate(&arena, x);

    if (e)
        log_error("the certificate could not be read again, the old one stays: %s",
                  error_line(&arena, e));
    arena_release(&arena);
}

bool xapid_is_stopping(struct xapid *x)
{
    MUTEX_GUARD(&x->timer_lock);
    return x->stopping;
}

void xapid_stop(struct xapid *x)
{
    mutex_lock(&x->timer_lock);
    x->stopping = true;
    mutex_unlock(&x->timer_lock);
    if (x->db)
        db_give_up(x->db);
    events_stop(x->events);
    nbd_stop(x->nbd);
    forward_stop(x->forward);
    if (x->http)
        http_server_free(x->http, STOP_GRACE);
    stats_stop(x->stats);
    vm_watch_stop(x->watch);
    squeezer_stop(x->squeezer);
    coalescer_stop(x->coalescer);
    joiner_stop(x->joiner);
    voters_stop(x->voters);
    ha_stop(x->ha);
    office_stop(x->office);
    members_stop(x->members);
    relays_free(x->relays); /* no stream comes any more */
    roam_stop(x->roam);
    workers_free(x->workers);
    stats_free(x->stats);
    consoles_free(x->consoles);
    clis_free(x->clis);
    sr_table_free(x->srs);
    hv_free(x->hv);
    vm_watch_free(x->watch);
    squeezer_free(x->squeezer);
    coalescer_free(x->coalescer);
    host_network_free(x->network);
    reached_free(x->reached);
    auth_free(x->auth);
    audit_free(x->audit);
    callers_free(x->callers);
    tasks_free(x->tasks);
    roam_free(x->roam);
    joiner_free(x->joiner);
    agents_free(x->agents);
    timings_free(x->timings);
    traces_free(x->traces);
    replication_free(x->replication);
    scheduler_free(x->scheduler);
    mailer_free(x->mailer);
    op_queue_free(x->queue);
    claims_free(x->claims);
    db_close(x->db);
    sessions_free(x->sessions); /* the log's thread doubts them when another leads */
    events_free(x->events);     /* sessions that end are told to it, also by workers */
    voters_free(x->voters);
    members_free(x->members);
    forward_free(x->forward); /* the links answered it until now */
    ha_free(x->ha);           /* until now answers to heartbeats may have come */
    office_free(x->office);
    faults_free(x->faults);
    free((char *)x->options.state_dir);
    free((char *)x->options.config_dir);
    free((char *)x->options.sysfs_dir);
    free((char *)x->options.unix_socket);
    free((char *)x->options.listen_address);
    free((char *)x->options.hypervisor);
    free((char *)x->options.sim_program);
    free((char *)x->options.cli_program);
    free((char *)x->options.pam_helper);
    free((char *)x->options.storage_dir);
    free((char *)x->options.storage_program);
    free((char *)x->options.mounts);
    free((char *)x->options.datapath);
    free((char *)x->options.network);
    free((char *)x->options.password_file);
    free((char *)x->options.web_root);
    free((char *)x->options.system_root);
    free((char *)x->options.pool_address);
    free((char *)x->options.pool_trust);
    mutex_release(&x->timer_lock);
    free(x);
}
