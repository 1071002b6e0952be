/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * main.c -- xapid-sim: a hypervisor that is none, for tests and for trying xapid without Xen.
 *
 * It outlives the daemon: with --daemonize it has a session of its own and no parent, and its
 * domains run on while no daemon is connected.  One simulator for a directory: a locked pid file
 * says so, and the lock ends with the process however it dies.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "libxapi/base/log.h"
#include "xapid/hypervisor/server/process.h"
#include "xapid/hypervisor/sim/sim.h"

#define NAME "xapid-sim"

static const char usage[] = "usage: xapid-sim --socket PATH --dir DIR [--memory BYTES] [--cpus N] "
                            "[--boot-ms N] [--daemonize]\n"
                            "       xapid-sim --socket PATH control KEY=VALUE...\n";

struct arguments {
    struct sim_options sim;
    bool daemonize;
};

static bool parse_number(const char *text, int64_t min, int64_t max, int64_t *out)
{
    char *end;

    errno = 0;
    *out = strtoll(text, &end, 10);
    return !errno && end != text && !*end && *out >= min && *out <= max;
}

static bool take_option(struct arguments *a, int option, const char *value)
{
    int64_t n = 0;

    switch (option) {
    case 's':
        a->sim.socket_path = value;
        return true;
    case 'd':
        a->sim.dir = value;
        return *value && strlen(value) <= PROCESS_DIR_MAX;
    case 'm':
        return parse_number(value, 1 << 20, (int64_t)1 << 50, &a->sim.memory);
    case 'c':
        if (!parse_number(value, 1, 4096, &n))
            return false;
        a->sim.cpus = (int)n;
        return true;
    case 'b':
        if (!parse_number(value, 0, 24 * 3600 * 1000, &n))
            return false;
        a->sim.boot_time = n * USEC_PER_MSEC;
        return true;
    case 'D':
        a->daemonize = true;
        return true;
    }
    return false;
}

static bool parse_arguments(int argc, char **argv, struct arguments *a)
{
    static const struct option options[] = {
        {"socket", required_argument, NULL, 's'},
        {"dir", required_argument, NULL, 'd'},
        {"memory", required_argument, NULL, 'm'},
        {"cpus", required_argument, NULL, 'c'},
        {"boot-ms", required_argument, NULL, 'b'},
        {"daemonize", no_argument, NULL, 'D'},
        {NULL, 0, NULL, 0},
    };
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
        if (!take_option(a, option, optarg))
            return false;
    return a->sim.socket_path != NULL;
}

static int control(const char *socket_path, int n, char **pairs)
{
    struct strpair *v = calloc((size_t)n + 1, sizeof *v);
    struct strmap command = {(size_t)n, v};
    AUTO(arena) arena = {0};
    struct hv_request rq = {.arena = &arena, .timeout = 10 * USEC_PER_SEC};
    struct hv *hv = hv_new(socket_path);
    struct strmap answer = {0};
    struct error *e = OK;

    for (int i = 0; v && i < n; i++) {
        char *equals = strchr(pairs[i], '=');

        if (equals)
            *equals = '\0';
        v[i] = (struct strpair){pairs[i], equals ? equals + 1 : ""};
    }
    e = hv_control(hv, &rq, &command, &answer);
    if (e)
        fprintf(stderr, "xapid-sim: %s\n", error_line(&arena, e));
    for (size_t i = 0; i < answer.n; i++)
        printf("%s=%s\n", answer.v[i].key, answer.v[i].value);
    hv_free(hv);
    free(v);
    return e ? 1 : 0;
}

static int serve(const struct arguments *a, int ready_fd)
{
    struct sim *sim;
    int lock = process_lock(a->sim.dir, NAME);

    if (lock < 0)
        return lock == PROCESS_LOCK_HELD ? PROCESS_RUNS_ALREADY : EXIT_FAILURE;
    process_shed_heritage();
    sim = sim_new(&a->sim);
    if (!sim)
        return EXIT_FAILURE;
    if (ready_fd >= 0) {
        process_redirect_output(a->sim.dir, NAME);
        process_tell_parent(ready_fd, EXIT_SUCCESS);
    }
    log_info("simulator of %lld bytes and %d CPUs at %s", (long long)a->sim.memory, a->sim.cpus,
             a->sim.socket_path);
    loop_run(sim->loop);
    log_info("simulator ends, and with it %zu domains", sim->n_domains);
    sim_free(sim);
    close(lock);
    return 0;
}

int main(int argc, char **argv)
{
    struct arguments a = {
        .sim = {.memory = (int64_t)64 << 30, .cpus = 16, .boot_time = 200 * USEC_PER_MSEC}};
    int ready_fd = -1;
    int code;

    if (!parse_arguments(argc, argv, &a)) {
        fputs(usage, stderr);
        return 2;
    }
    if (optind < argc && strcmp(argv[optind], "control") == 0)
        return control(a.sim.socket_path, argc - optind - 1, argv + optind + 1);
    if (optind < argc || !a.sim.dir) {
        fputs(usage, stderr);
        return 2;
    }
    if (a.daemonize && !process_leave_parent(&ready_fd)) {
        log_error("fork: %s", strerrordesc_np(errno));
        return 1;
    }
    code = serve(&a, ready_fd);
    if (ready_fd >= 0 && code)
        process_tell_parent(ready_fd, code);
    return code;
}
