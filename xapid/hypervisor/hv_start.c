/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hv_start.c -- starting the simulator or the executor from the daemon.
 *
 * With --daemonize they fork once more and end when their socket listens, so the daemon waits for
 * one child for a moment and is parent of nothing afterwards.  The pipe tells of its end: a
 * deadline, and no race with whoever else reaps children.
 */
#include <errno.h>
#include <poll.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libxapi/base/seam.h"
#include "xapid/hypervisor/hv.h"

#define START_TIMEOUT (10 * USEC_PER_SEC)
#define PROBE_TIMEOUT (2 * USEC_PER_SEC)
#define TEXT_MAX 1024
#define EXIT_RUNS_ALREADY 3 /* as PROCESS_RUNS_ALREADY of server/process.h */

/* NULL if it answers. */
static struct error *probe(struct arena *arena, const char *socket_path, usec_t timeout)
{
    struct hv_request rq = {.arena = arena, .timeout = timeout};
    struct hv *hv = hv_new(socket_path);
    struct hv_host_info info;
    struct error *e = hv_host(hv, &rq, &info);

    hv_free(hv);
    return e;
}

static void say(const char *text)
{
    /* Nobody is left to be told of a failure. */
    if (write(STDERR_FILENO, text, strlen(text)) < 0)
        return;
}

/* Between fork and exec only what a child of a process with threads may do. */
static void become(char *const *argv, int output)
{
    int null = open("/dev/null", O_RDONLY);
    sigset_t none;
    int saved;

    setsid();
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    dup2(null, STDIN_FILENO);
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
    close_range(3, ~0u, 0);
    execv(argv[0], argv);
    saved = errno;
    say(argv[0]);
    say(": ");
    say(strerrordesc_np(saved));
    _exit(127);
}

/* Reads what the child says until it ends (true) or the deadline. */
static bool read_to_end(int fd, char *text, usec_t deadline)
{
    size_t n = 0;

    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        usec_t left = deadline - clock_mono();
        char data[256];
        ssize_t got;

        if (left <= 0)
            return false;
        if (poll(&p, 1, (int)(left / USEC_PER_MSEC) + 1) <= 0)
            continue;
        got = read(fd, data, sizeof data);
        if (got == 0)
            return true;
        for (ssize_t i = 0; i < got && n < TEXT_MAX - 1; i++)
            text[n++] = data[i] == '\n' ? ' ' : data[i];
        text[n] = '\0';
    }
}

/* A process to be there: what it is called, and how it is started. */
struct wanted {
    const char *name; /* "the simulator" */
    const char *socket_path, *dir;
    const char *argv[16];
};

/* Starts it and waits until it listens.  *other: another one runs, or just starts, for the same
 * directory. */
static struct error *run(struct arena *arena, const struct wanted *w, usec_t deadline, bool *other)
{
    char text[TEXT_MAX] = "";
    int status = 0;
    bool ended;
    int ends[2];
    pid_t pid;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return error_internal(arena, "starting %s: %s", w->name, strerrordesc_np(errno));
    pid = fork();
    if (pid == 0)
        become((char *const *)w->argv, ends[1]);
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return error_internal(arena, "starting %s: %s", w->name, strerrordesc_np(errno));
    }
    ended = read_to_end(ends[0], text, deadline);
    close(ends[0]);
    if (!ended)
        kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (!ended)
        return error_internal(arena, "%s did not start in time: %s", w->name, text);
    *other = WIFEXITED(status) && WEXITSTATUS(status) == EXIT_RUNS_ALREADY;
    /* A status that someone else reaped reads as 0: the probe that follows has the last word. */
    if (status && !*other)
        return error_internal(arena, "%s did not start: %s", w->name, text);
    return OK;
}

static void add_option(struct wanted *w, const char *name, const char *value)
{
    const char **argv = w->argv;

    while (*argv)
        argv++;
    argv[0] = name;
    argv[1] = value;
}

static struct error *start(struct arena *arena, struct wanted *w, usec_t timeout)
{
    usec_t deadline = clock_mono() + (timeout > 0 ? timeout : START_TIMEOUT);
    bool other = false;
    struct error *e;

    /* Where there is no socket there is nothing to wait for. */
    if (access(w->socket_path, F_OK) == 0 && !probe(arena, w->socket_path, PROBE_TIMEOUT))
        return OK;
    add_option(w, "--socket", w->socket_path);
    add_option(w, "--dir", w->dir);
    TRY(run(arena, w, deadline, &other));
    e = probe(arena, w->socket_path, MAX(deadline - clock_mono(), USEC_PER_MSEC));
    if (e && other)
        return error_internal(arena, "%s holds %s but does not answer at %s: %s", w->name, w->dir,
                              w->socket_path, error_line(arena, e));
    return e;
}

struct error *hv_start_simulator(struct arena *arena, const struct hv_simulator *sim,
                                 usec_t timeout)
{
    struct wanted w = {"the simulator", sim->socket_path, sim->dir, {sim->program, "--daemonize"}};

    if (sim->memory)
        add_option(&w, "--memory", arena_printf(arena, "%lld", (long long)sim->memory));
    if (sim->cpus)
        add_option(&w, "--cpus", arena_printf(arena, "%d", sim->cpus));
    if (sim->boot_ms)
        add_option(&w, "--boot-ms", arena_printf(arena, "%d", sim->boot_ms));
    return start(arena, &w, timeout);
}

struct error *hv_start_executor(struct arena *arena, const struct hv_executor *executor,
                                usec_t timeout)
{
    struct wanted w = {
        "the executor", executor->socket_path, executor->dir, {executor->program, "--daemonize"}};

    return start(arena, &w, timeout);
}

bool hv_xen_is_here(void)
{
    char text[256] = "";
    int fd = open("/proc/xen/capabilities", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

    if (fd >= 0)
        close(fd);
    return n > 0 && strstr(text, "control_d");
}
