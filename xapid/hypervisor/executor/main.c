/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * main.c -- xapid-executor: drives Xen for the daemon, and outlives it.
 *
 * One for a directory, by a locked pid file.  It may be killed at any moment: see settle.c.  On
 * SIGTERM it takes no more calls and lets those that run come to their end.
 */
#include <errno.h>
#include <getopt.h>
#include <dirent.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xenstore_lib.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "xapid/hypervisor/executor/executor.h"
#include "xapid/hypervisor/server/outcome.h"
#include "xapid/hypervisor/server/process.h"

#define NAME "xapid-executor"
#define END_GRACE (30 * USEC_PER_SEC)

static const char usage[] = "usage: xapid-executor --socket PATH --dir DIR [--daemonize]\n";

struct arguments {
    const char *socket_path, *dir;
    bool daemonize;
};

static bool parse_arguments(int argc, char **argv, struct arguments *a)
{
    static const struct option options[] = {
        {"socket", required_argument, NULL, 's'},
        {"dir", required_argument, NULL, 'd'},
        {"daemonize", no_argument, NULL, 'D'},
        {NULL, 0, NULL, 0},
    };
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 's')
            a->socket_path = optarg;
        else if (option == 'd')
            a->dir = optarg;
        else if (option == 'D')
            a->daemonize = true;
        else
            return false;
    }
    /* A relative path would mean another place to libxl's children. */
    return optind == argc && a->socket_path && a->dir && *a->dir == '/' &&
           strlen(a->dir) <= PROCESS_DIR_MAX;
}

/*** the journal's memory ***/

static void sealed(void *ctx, const char *id)
{
    journal_sealed(((struct executor *)ctx)->journal, id);
}

static void epoch_rose(void *ctx, uint64_t epoch)
{
    journal_epoch_rose(((struct executor *)ctx)->journal, epoch);
}

static void read_ended(void *ctx, const char *id, uint64_t what, json_t *error, json_t *result)
{
    struct executor *x = ctx;

    if (!outcome_find(x->server->outcomes, id))
        outcome_end(outcome_begin(x->server->outcomes, id, OUTCOME_RUNNING, what), error, result);
}

static void read_sealed(void *ctx, const char *id)
{
    struct executor *x = ctx;

    if (!outcome_find(x->server->outcomes, id))
        outcome_begin(x->server->outcomes, id, OUTCOME_SEALED, 0);
}

static void read_unfinished(void *ctx, const char *id, uint64_t what, const char *call,
                            json_t *args, bool noted)
{
    struct executor *x = ctx;

    for (size_t i = 0; i < EXECUTOR_N_HANDLERS; i++)
        if (strcmp(executor_handlers[i].call, call) == 0 &&
            !outcome_find(x->server->outcomes, id)) {
            request_again(x->server, &executor_handlers[i], id, what, json_deep_copy(args), noted);
            return;
        }
}

/*** beginning ***/

/* Sockets of a life before this, whose domains may be gone. */
static void remove_old_sockets(const char *dir)
{
    DIR *d = opendir(dir);
    struct dirent *entry;

    while (d && (entry = readdir(d))) {
        const char *dot = strrchr(entry->d_name, '.');

        if (dot && (strcmp(dot, ".rfb") == 0 || strcmp(dot, ".tty") == 0))
            unlinkat(dirfd(d), entry->d_name, 0);
    }
    if (d)
        closedir(d);
}

static void open_consoles(struct executor *x, struct arena *arena, struct xen *xen)
{
    int n = 0;
    libxl_dominfo *all = libxl_list_domain(xen->ctx, &n);

    for (int i = 0; all && i < n; i++) {
        uint32_t domid = all[i].domid;
        const char *name, *type;
        json_t *domain;

        if (!xs_text(arena, xen, mark_path(arena, domid, "complete")))
            continue;
        name = xs_text(arena, xen, arena_printf(arena, "/local/domain/%u/name", domid));
        type = xs_text(arena, xen, mark_path(arena, domid, "type"));
        domain = json_object();
        json_object_set_new(domain, "domid", json_integer(domid));
        json_object_set_new(domain, "name", json_text(name ? name : ""));
        json_object_set_new(domain, "hvm", json_boolean(type && strcmp(type, "hvm") == 0));
        console_ensure(x, domain);
        json_decref(domain);
    }
    if (all)
        libxl_dominfo_list_free(all, n);
}

/* Xen is there, and its domains' consoles are open. */
static struct error *look_at_xen(struct executor *x, struct arena *arena)
{
    AUTO(xen) xen = {0};

    TRY(xen_open(arena, &xen));
    remove_old_sockets(x->dir);
    open_consoles(x, arena, &xen);
    return OK;
}

static bool start(struct executor *x, const struct arguments *a)
{
    static const struct program program = {
        .hypervisor = "xen",
        .handlers = executor_handlers,
        .n_handlers = EXECUTOR_N_HANDLERS,
        .dispatch = worker_dispatch,
        .sealed = sealed,
        .epoch_rose = epoch_rose,
    };
    const struct journal_visitor visitor = {x, read_ended, read_sealed, read_unfinished};
    AUTO(arena) arena = {0};
    struct error *e;

    e = journal_open(&arena, a->dir, &x->journal);
    if (e) {
        log_error("%s", e->params[0]);
        return false;
    }
    x->server = server_new(&program, &(struct server_options){
                                         .socket_path = a->socket_path,
                                         .instance = journal_instance(x->journal),
                                         .epoch = journal_epoch(x->journal),
                                         .ctx = x,
                                     });
    if (!x->server || !workers_start(x))
        return false;
    screens_init(&x->screens, x->server->loop);
    e = look_at_xen(x, &arena);
    if (e) {
        log_error("%s", e->params[0]);
        return false;
    }
    journal_replay(x->journal, &visitor);
    x->watch = watch_start(x);
    return server_listen(x->server);
}

/*** the end ***/

/* Takes no more calls and waits for those that run; what is cut short is settled at the next start.
 */
static void wind_up(struct executor *x)
{
    usec_t until = clock_mono() + END_GRACE;

    server_close(x->server);
    while (!workers_idle(x) && clock_mono() < until) {
        loop_run_for(x->server->loop, USEC_PER_SEC);
    }
}

/* The program xapid-block, where it lies beside this one. */
static const char *find_block_script(void)
{
    char self[PATH_MAX], *path;
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);

    if (n < 0)
        return NULL;
    self[n] = '\0';
    path = xasprintf("%s/xapid-block", dirname(self));
    if (access(path, X_OK) == 0)
        return path; /* for as long as the process lives */
    log_warning("%s is not there: Xen's own script, a slow one, serves disks", path);
    free(path);
    return NULL;
}

static int serve(const struct arguments *a, int ready_fd)
{
    /* Threads hold on to it until the process ends. */
    struct executor *x = xcalloc(1, sizeof *x);
    int lock = process_lock(a->dir, NAME);

    if (lock < 0)
        return lock == PROCESS_LOCK_HELD ? PROCESS_RUNS_ALREADY : EXIT_FAILURE;
    process_shed_heritage();
    x->dir = a->dir;
    x->block_script = find_block_script();
    if (!start(x, a))
        return EXIT_FAILURE;
    if (ready_fd >= 0) {
        process_redirect_output(a->dir, NAME);
        process_tell_parent(ready_fd, EXIT_SUCCESS);
    }
    log_info("driving Xen, at %s", a->socket_path);
    loop_run(x->server->loop);
    log_info("ends; domains go on");
    wind_up(x);
    return EXIT_SUCCESS;
}

/* libxenstore composes its socket's path in a buffer that all threads share, for each connection
 * anew; a path that is given is left alone. */
static void settle_xenstore_path(void)
{
    const char *path = xs_daemon_socket();

    if (path && !getenv("XENSTORED_PATH"))
        setenv("XENSTORED_PATH", path, 0);
}

int main(int argc, char **argv)
{
    struct arguments a = {0};
    int ready_fd = -1;
    int code;

    if (!parse_arguments(argc, argv, &a)) {
        fputs(usage, stderr);
        return 2;
    }
    settle_xenstore_path();
    if (a.daemonize && !process_leave_parent(&ready_fd)) {
        log_error("fork: %s", strerrordesc_np(errno));
        return 1;
    }
    code = serve(&a, ready_fd);
    if (ready_fd >= 0 && code)
        process_tell_parent(ready_fd, code);
    /* Without the handlers of exit: other threads may be in libxl. */
    fflush(NULL);
    _exit(code);
}
