/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bootstrap.c -- the first start, killed at each of its write-sets: just before one is proposed,
 * and just after it is durable but before anybody heard of it.
 *
 * Each start is a process of its own on the real log; the simulator ($XAPID_SIM) stays.
 */
#include "xapid/boot/bootstrap.h"
#include "xapid/main/members.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libxapi/base/memory.h"
#include "libxapi/codec/codec.h"
#include "libxapi/value/value.h"
#include "tests/unit/ops/lab.h"
#include "xapid/db/ready.h"
#include "xapid/hypervisor/hv.h"
#include "xapid/boot/templates.h"
#include "xapid/ops/network/change.h"
#include "xapid/ops/storage/attach.h"

/* Exit statuses that no sanitizer and no failed assertion has. */
#define KILLED 99
#define REFUSED 98
#define NOT_SO 97
/* More write-sets than a first start can have. */
#define MANY 40

/*** a log that ends the process ***/

enum moment { NEVER, BEFORE, AFTER };

struct deadly_log {
    struct log base;
    struct log *below;
    int n, at; /* atomic: the proposal that is the last one */
    enum moment moment;
};

struct deadly_proposal {
    struct log_proposal proposal;
    struct log_proposal *outer;
    bool last;
};

static void deadly_done(struct log_proposal *p, const struct log_result *result)
{
    struct deadly_proposal *d = (struct deadly_proposal *)p;

    if (d->last)
        _exit(KILLED);
    d->outer->done(d->outer, result);
    free(d);
}

static void deadly_propose(struct log *base, struct log_proposal *p)
{
    struct deadly_log *log = (struct deadly_log *)base;
    struct deadly_proposal *d = xcalloc(1, sizeof *d);
    int n = __atomic_add_fetch(&log->n, 1, __ATOMIC_SEQ_CST);

    if (log->moment == BEFORE && n == log->at)
        _exit(KILLED);
    d->proposal = (struct log_proposal){.data = p->data, .size = p->size, .done = deadly_done};
    d->outer = p;
    d->last = log->moment == AFTER && n == log->at;
    log_propose(log->below, &d->proposal);
}

static void deadly_status(struct log *base, struct log_status *out)
{
    log_status(((struct deadly_log *)base)->below, out);
}

static void deadly_close(struct log *base)
{
    struct deadly_log *log = (struct deadly_log *)base;

    log_close(log->below);
    free(log);
}

static const struct log_engine deadly_engine = {
    .propose = deadly_propose,
    .status = deadly_status,
    .close = deadly_close,
};

struct death {
    enum moment moment;
    int at;
};

static struct error *open_deadly(void *ctx, struct arena *arena, const char *dir,
                                 const struct log_fsm *fsm, struct log **out)
{
    const struct death *death = ctx;
    struct deadly_log *log = xcalloc(1, sizeof *log);

    log->base.engine = &deadly_engine;
    log->moment = death->moment;
    log->at = death->at;
    TRY(log_raft_open(arena, dir, NULL, fsm, &log->below));
    *out = &log->base;
    return OK;
}

/*** one start ***/

struct house {
    char dir[64], sim_socket[96], sim_dir[96], state[96];
};

typedef void check_fn(struct call *call);

static void demand(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "not so: %s\n", what);
    _exit(NOT_SO);
}

static void must(struct arena *arena, const struct error *e)
{
    if (e)
        fprintf(stderr, "%s\n", error_line(arena, e));
    demand(!e, "no error");
}

/* In the child. */
static void start(const struct house *h, struct death death, check_fn *check)
{
    struct arena arena = {0};
    struct db_options options = {.open_log = open_deadly, .ctx = &death};
    struct xapid x = {.options = {.state_dir = h->state,
                                  .config_dir = h->state,
                                  .sysfs_dir = h->state,
                                  .hypervisor = "sim",
                                  .network = "none",
                                  .tls_port = 443}};
    struct call call;
    struct error *e;

    codec_init();
    x.options.storage_dir = arena_printf(&arena, "%s/storage", h->state);
    x.options.config_dir = x.options.sysfs_dir = h->state; /* no devices */
    options.dir = arena_printf(&arena, "%s/db", h->state);
    must(&arena, members_new(&arena, &x, &x.members));
    must(&arena, host_network_new(&arena, &x, &x.network));
    must(&arena, db_open(&arena, &options, &x.db));
    x.hv = hv_new(h->sim_socket);
    x.srs = sr_table_new(&(struct sr_site){.mounts = "/nonexistent"});
    call_init_internal(&call, &x, &arena);
    e = bootstrap(&call);
    if (e && strstr(error_line(&arena, e), "belongs to another one"))
        _exit(REFUSED);
    must(&arena, e);
    call_refresh(&call);
    if (check)
        check(&call);
    call_release(&call);
    sr_table_free(x.srs);
    hv_free(x.hv);
    db_close(x.db);
    host_network_free(x.network);
    members_free(x.members);
    _exit(0);
}

static int run(const struct house *h, struct death death, check_fn *check)
{
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (!pid)
        start(h, death, check);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/*** what must be there in the end ***/

static size_t count(const struct call *call, int class_id)
{
    return snap_root(call->snap)->tables[class_id].count;
}

static void check_world(struct call *call)
{
    const struct pool *pool = db_find(call, CLASS_pool, call->xapid->pool);
    const struct host *host = db_find(call, CLASS_host, call->xapid->host);
    size_t templates = 0;

    while (default_templates[templates].label)
        templates++;
    demand(pool && host, "a pool and its host");
    demand(ref_equal(pool->master, host->ref), "the host is the coordinator");
    demand(count(call, CLASS_pool) == 1 && count(call, CLASS_host) == 1, "one of each");
    demand(count(call, CLASS_host_state) == 1 && count(call, CLASS_coordinator) == 1,
           "one of each of our own");
    demand(count(call, CLASS_host_metrics) == 1, "one host_metrics");
    demand(count(call, CLASS_vm) == templates + 1, "all templates and a control domain, once");
    demand(count(call, CLASS_network) == 2 && count(call, CLASS_pif) == 1, "networks, once");
    demand(count(call, CLASS_pif_metrics) == 1, "metrics of the interface, once");
    demand(count(call, CLASS_sr) == 2 && count(call, CLASS_pbd) == 2, "repositories, once");
    demand(db_find(call, CLASS_sr, pool->default_sr) != NULL, "a default repository");
    demand(count(call, CLASS_console) == 1, "the control domain's console, once");
    demand((int64_t)count(call, CLASS_host_cpu) > 0, "processors");
    demand(host->enabled, "the host is enabled");
    demand(db_check(call->snap) == 0, "the database's rules");
}

/*** tests ***/

/* $XAPID_SIM, or in the test program's own directory. */
static const char *sim_program(struct arena *arena)
{
    const char *named = getenv("XAPID_SIM");
    char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);

    if (named || n < 0)
        return named;
    self[n] = '\0';
    *strrchr(self, '/') = '\0';
    return arena_printf(arena, "%s/xapid-sim", self);
}

static int house_setup(void **state)
{
    struct house *h = xcalloc(1, sizeof *h);
    struct arena arena = {0};
    struct hv_simulator sim = {.program = sim_program(&arena)};

    strcpy(h->dir, "/tmp/xapid-boot-XXXXXX");
    assert_non_null(mkdtemp(h->dir));
    snprintf(h->sim_socket, sizeof h->sim_socket, "%s/sim.socket", h->dir);
    snprintf(h->sim_dir, sizeof h->sim_dir, "%s/sim", h->dir);
    snprintf(h->state, sizeof h->state, "%s/state", h->dir);
    assert_int_equal(mkdir(h->sim_dir, 0700), 0);
    sim.socket_path = h->sim_socket;
    sim.dir = h->sim_dir;
    assert_non_null(sim.program);
    assert_null(hv_start_simulator(&arena, &sim, 0));
    arena_release(&arena);
    *state = h;
    return 0;
}

static void clear(const struct house *h, const char *path)
{
    char command[160];

    (void)h;
    snprintf(command, sizeof command, "rm -rf '%s'", path);
    assert_int_equal(system(command), 0);
}

static void make_state(const struct house *h)
{
    char path[128];

    clear(h, h->state);
    assert_int_equal(mkdir(h->state, 0700), 0);
    snprintf(path, sizeof path, "%s/storage", h->state);
    assert_int_equal(mkdir(path, 0700), 0);
}

/* The simulator outlives who started it: a test ends its own. */
static int house_teardown(void **state)
{
    struct house *h = *state;
    char path[128];
    FILE *f;
    int pid = 0;

    snprintf(path, sizeof path, "%s/xapid-sim.pid", h->sim_dir);
    f = fopen(path, "r");
    if (f) {
        if (fscanf(f, "%d", &pid) == 1 && pid > 1)
            kill(pid, SIGTERM);
        fclose(f);
    }
    clear(h, h->dir);
    free(h);
    return 0;
}

/* How many write-sets there were to die at. */
static int kill_at_each(const struct house *h, enum moment moment)
{
    for (int at = 1; at < MANY; at++) {
        int first;

        make_state(h);
        first = run(h, (struct death){moment, at}, check_world);
        if (first == 0)
            return at - 1;
        assert_int_equal(first, KILLED);
        assert_int_equal(run(h, (struct death){NEVER, 0}, check_world), 0);
        assert_int_equal(run(h, (struct death){NEVER, 0}, check_world), 0);
    }
    fail_msg("a first start never ends");
    return 0;
}

static void a_first_start_killed_before_any_write_set_is_completed_by_the_next(void **state)
{
    /* Fewer would mean that the log is no longer where the process dies. */
    assert_true(kill_at_each(*state, BEFORE) >= 6);
}

static void a_first_start_killed_after_any_write_set_is_completed_by_the_next(void **state)
{
    assert_true(kill_at_each(*state, AFTER) >= 6);
}

/* Every row of a class. */
static void remove_all(struct call *call, int class_id)
{
    size_t n = count(call, class_id), i = 0;
    ref_t *v = arena_array(call->arena, ref_t, n + 1);
    const struct row *row;
    struct db_walk walk;

    db_walk(call->snap, class_id, &walk);
    while (i < n && (row = db_walk_next(&walk)))
        v[i++] = row->ref;
    while (i--)
        must(call->arena, db_update(call, db_destroy_txn, &(struct db_destroy){class_id, v[i]}));
}

/* Storage, networks and one template. */
static void remove_things(struct call *call)
{
    struct refs template = db_referrers(call, FIELD_vm_name_label, index_key_string("Windows 11"));

    demand(template.n == 1, "one such template");
    must(call->arena,
         db_update(call, db_destroy_txn, &(struct db_destroy){CLASS_vm, template.v[0]}));
    remove_all(call, CLASS_pbd);
    remove_all(call, CLASS_sr);
    remove_all(call, CLASS_pif);
    remove_all(call, CLASS_network);
}

static void check_removed(struct call *call)
{
    struct refs template = db_referrers(call, FIELD_vm_name_label, index_key_string("Windows 11"));

    demand(count(call, CLASS_sr) == 0 && count(call, CLASS_pbd) == 0, "storage stays away");
    demand(count(call, CLASS_network) == 0 && count(call, CLASS_pif) == 0, "networks stay away");
    demand(template.n == 0, "the template stays away");
    demand(call->xapid->epoch == 2, "the second start is the second epoch");
}

static void what_an_administrator_removed_is_not_made_again(void **state)
{
    const struct house *h = *state;

    make_state(h);
    assert_int_equal(run(h, (struct death){NEVER, 0}, remove_things), 0);
    assert_int_equal(run(h, (struct death){NEVER, 0}, check_removed), 0);
}

static void check_same_host(struct call *call)
{
    demand(count(call, CLASS_host) == 1, "no second host");
}

static void a_lost_identity_is_taken_from_a_database_with_one_host(void **state)
{
    const struct house *h = *state;
    char path[128];

    make_state(h);
    assert_int_equal(run(h, (struct death){NEVER, 0}, NULL), 0);
    snprintf(path, sizeof path, "%s/host-uuid", h->state);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(run(h, (struct death){NEVER, 0}, check_same_host), 0);
    assert_int_equal(access(path, R_OK), 0);
}

static void a_database_of_another_host_is_refused(void **state)
{
    const struct house *h = *state;
    char path[128];
    FILE *f;

    make_state(h);
    assert_int_equal(run(h, (struct death){NEVER, 0}, NULL), 0);
    snprintf(path, sizeof path, "%s/host-uuid", h->state);
    f = fopen(path, "w");
    assert_non_null(f);
    fputs("7a0f3c9e-2d0f-4a55-9a55-0f0d6bb6afff\n", f);
    fclose(f);
    assert_int_equal(run(h, (struct death){NEVER, 0}, NULL), REFUSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_first_start_killed_before_any_write_set_is_completed_by_the_next),
        cmocka_unit_test(a_first_start_killed_after_any_write_set_is_completed_by_the_next),
        cmocka_unit_test(what_an_administrator_removed_is_not_made_again),
        cmocka_unit_test(a_lost_identity_is_taken_from_a_database_with_one_host),
        cmocka_unit_test(a_database_of_another_host_is_refused),
    };

    return cmocka_run_group_tests(tests, house_setup, house_teardown);
}
