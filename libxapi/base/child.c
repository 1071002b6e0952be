/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libxapi/base/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libxapi/base/buf.h"
#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"

#define OUTPUT_LIMIT (64 * 1024)
#define ERRORS_LIMIT 4096
#define DRAIN_LIMIT (1024 * 1024) /* a grandchild that inherited a pipe may write for ever */
#define DEATH_GRACE (10 * USEC_PER_SEC)
#define WATCH_TICK USEC_PER_SEC
#define PATH_LIMIT 4096

/* A descriptor of ours; zero is "none", for descriptor 0 is never given to a pipe. */
struct run {
    const struct child_spec *spec;
    pid_t pid; /* not yet reaped; 0 once it is */
    int pid_fd, in, out, err;
    int child_in, child_out, child_err; /* the child's ends, closed after the start */
    int cancel_fd;                      /* readable: kill; 0: none; borrowed */
    size_t in_done;
    struct buf output, errors;
    usec_t deadline; /* 0: none; after the kill: when to give up */
    bool killed;
    struct child_result *result;
};

struct child {
    struct arena arena;
    struct child_spec spec;
    struct child_result result;
    int cancel_fd;
    struct thread keeper;
    struct mutex mutex; /* guards what follows; 'result' is the keeper's until done */
    struct cond changed;
    struct error *start_error;
    bool started, done, lost;
};

static void fd_close(int *fd)
{
    if (*fd)
        close(*fd);
    *fd = 0;
}

static void run_release(struct run *r)
{
    fd_close(&r->pid_fd);
    fd_close(&r->in);
    fd_close(&r->out);
    fd_close(&r->err);
    fd_close(&r->child_in);
    fd_close(&r->child_out);
    fd_close(&r->child_err);
    buf_release(&r->output);
    buf_release(&r->errors);
}

/* ---- the start ---- */

/* All that the new process needs, made before it exists: between vfork and exec nothing may
 * allocate. */
struct launch {
    const char *path;
    const char *const *argv;
    const char *const *env;
    char *listen_pid; /* where the number in "LISTEN_PID=" goes; NULL: no listen_fd */
    int fds[4];
    int n_fds;
    bool private_files;
    pid_t parent;
};

static void write_number(char *out, unsigned long v)
{
    char digits[24];
    size_t n = 0;

    do {
        digits[n++] = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    while (n)
        *out++ = digits[--n];
    *out = '\0';
}

/* The daemon is spared when memory is short; what it starts is to go before the machines do.
 * Nothing is lost where it cannot be said. */
static void launch_spare_no_more(void)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

    if (fd < 0)
        return;
    if (write(fd, "0", 1) < 0)
        errno = 0;
    close(fd);
}

/*
 * In the new process, which shares our memory until exec: only system calls from here.  Descriptors
 * are first moved out of the way, for the ones we pass may themselves be below 4.
 */
__attribute__((noreturn)) static void launch_exec(const struct launch *l)
{
    static const char failed[] = "the program could not be executed";
    struct sigaction dfl = {.sa_handler = SIG_DFL};
    sigset_t none;
    int high[4];

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != l->parent)
        _exit(127);
    for (int i = 0; i < l->n_fds; i++)
        high[i] = fcntl(l->fds[i], F_DUPFD, 16);
    for (int i = 0; i < l->n_fds; i++)
        if (high[i] < 0 || dup2(high[i], i) < 0)
            _exit(127);
    close_range((unsigned)l->n_fds, ~0U, 0);
    for (int s = 1; s < NSIG; s++)
        sigaction(s, &dfl, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid();
    launch_spare_no_more();
    if (l->private_files)
        umask(077);
    if (l->listen_pid)
        write_number(l->listen_pid, (unsigned long)getpid());
    execve(l->path, (char *const *)l->argv, (char *const *)l->env);
    if (write(2, failed, sizeof failed - 1) < 0)
        _exit(126);
    _exit(127);
}

/* vfork, for the daemon is large and copying its page tables would stall it; signals wait until the
 * child is on its own. */
__attribute__((noinline)) static pid_t launch(const struct launch *l)
{
    sigset_t all, old;
    pid_t pid;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    pid = vfork();
    if (pid == 0)
        launch_exec(l);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return pid;
}

static const char *find_program(struct arena *arena, const char *name)
{
    static const char *const folders[] = {"/usr/local/sbin", "/usr/local/bin", "/usr/sbin",
                                          "/usr/bin",        "/sbin",          "/bin"};

    if (strchr(name, '/'))
        return access(name, X_OK) == 0 ? name : NULL;
    for (size_t i = 0; i < ARRAY_SIZE(folders); i++) {
        const char *path = arena_printf(arena, "%s/%s", folders[i], name);

        if (access(path, X_OK) == 0)
            return path;
    }
    return NULL;
}

/* One pipe; the child's end blocks as programs expect, ours does not. */
static int open_pipe(int *ours, int *theirs, bool we_write)
{
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) < 0)
        return -1;
    *ours = fds[we_write ? 1 : 0];
    *theirs = fds[we_write ? 0 : 1];
    return fcntl(*ours, F_SETFL, O_NONBLOCK);
}

static int open_pipes(struct run *r)
{
    if (r->spec->input) {
        if (open_pipe(&r->in, &r->child_in, true) < 0)
            return -1;
    } else {
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

        if (fd < 0)
            return -1;
        r->child_in = fd;
    }
    if (open_pipe(&r->out, &r->child_out, false) < 0)
        return -1;
    return open_pipe(&r->err, &r->child_err, false);
}

static struct error *run_start(struct arena *arena, struct run *r)
{
    const char *env[8] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                          "LC_ALL=C", "HOME=/"};
    struct launch l = {.argv = r->spec->argv,
                       .env = env,
                       .n_fds = 3,
                       .private_files = r->spec->private_files,
                       .parent = getpid()};
    int fd;

    l.path = find_program(arena, r->spec->argv[0]);
    if (!l.path)
        return error_internal(arena, "the program %s is not installed", r->spec->argv[0]);
    if (open_pipes(r) < 0)
        return error_internal(arena, "no pipe for %s: %s", l.path, strerror(errno));
    l.fds[0] = r->child_in;
    l.fds[1] = r->child_out;
    l.fds[2] = r->child_err;
    if (r->spec->listen_fd) {
        char *text = arena_strdup(arena, "LISTEN_PID=00000000000000000000");

        l.listen_pid = strchr(text, '=') + 1;
        env[3] = text;
        env[4] = "LISTEN_FDS=1";
        l.fds[l.n_fds++] = r->spec->listen_fd;
    }
    r->pid = launch(&l);
    if (r->pid < 0) {
        r->pid = 0;
        return error_internal(arena, "%s could not be started: %s", l.path, strerror(errno));
    }
    fd_close(&r->child_in);
    fd_close(&r->child_out);
    fd_close(&r->child_err);
    fd = pidfd_open(r->pid, 0);
    if (fd < 0) {
        int why = errno;

        kill(r->pid, SIGKILL);
        waitpid(r->pid, NULL, 0);
        return error_internal(arena, "%s cannot be watched: %s", l.path, strerror(why));
    }
    r->pid_fd = fd;
    r->deadline = r->spec->timeout ? clock_mono() + r->spec->timeout : 0;
    return OK;
}

/* ---- the run ---- */

/* The whole session of the child, which it leads; it is not reaped, so its number is still its own.
 */
static void run_kill(struct run *r)
{
    if (r->killed)
        return;
    r->killed = true;
    kill(-r->pid, SIGKILL);
    kill(r->pid, SIGKILL);
    r->deadline = clock_mono() + DEATH_GRACE;
}

static void keep(struct buf *buf, size_t limit, const char *text, size_t n, bool *truncated)
{
    size_t room = limit - MIN(limit, buf->len);

    if (n > room && truncated)
        *truncated = true;
    buf_add(buf, text, MIN(n, room));
}

static void run_saw(struct run *r, const char *text, size_t n)
{
    size_t limit = r->spec->output_limit ? r->spec->output_limit : OUTPUT_LIMIT;

    keep(&r->output, limit, text, n, &r->result->truncated);
    if (r->spec->watch && !r->killed && !r->spec->watch(r->spec->ctx, text, n)) {
        r->result->cancelled = true;
        run_kill(r);
    }
}

/* Takes what is there, a chunk at a time; closes the pipe at its end.  False when nothing more
 * came. */
static bool run_read(struct run *r, int *fd)
{
    char chunk[4096];
    ssize_t n = *fd ? read(*fd, chunk, sizeof chunk) : 0;

    if (n > 0) {
        if (fd == &r->out)
            run_saw(r, chunk, (size_t)n);
        else
            keep(&r->errors, ERRORS_LIMIT, chunk, (size_t)n, NULL);
        return true;
    }
    if (n == 0 || (errno != EAGAIN && errno != EINTR))
        fd_close(fd);
    return false;
}

/* A child that does not want its input is no error: SIGPIPE is blocked or ignored in every thread
 * of ours. */
static void run_write(struct run *r)
{
    const char *from = (const char *)r->spec->input + r->in_done;
    sigset_t pipe_only, old, pending;
    struct timespec now = {0};
    ssize_t n;

    sigemptyset(&pipe_only);
    sigaddset(&pipe_only, SIGPIPE);
    sigpending(&pending);
    pthread_sigmask(SIG_BLOCK, &pipe_only, &old);
    n = write(r->in, from, MIN(r->spec->input_size - r->in_done, (size_t)65536));
    if (n < 0 && errno == EPIPE && !sigismember(&pending, SIGPIPE))
        sigtimedwait(&pipe_only, NULL, &now);
    else if (n < 0 && (errno == EAGAIN || errno == EINTR))
        n = 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (n > 0)
        r->in_done += (size_t)n;
    if (n < 0 || r->in_done == r->spec->input_size)
        fd_close(&r->in);
}

static int run_timeout(const struct run *r)
{
    usec_t now = clock_mono();
    usec_t left = r->deadline ? MAX(r->deadline - now, 0) : INT64_MAX;

    if (r->spec->watch && !r->killed)
        left = MIN(left, WATCH_TICK);
    return left == INT64_MAX ? -1 : (int)MIN((left + 999) / 1000, (usec_t)3600000);
}

/* Waits for one thing to happen and deals with it; true when the child has ended. */
static bool run_turn(struct run *r)
{
    struct pollfd p[5] = {{.fd = r->pid_fd, .events = POLLIN},
                          {.fd = r->out ? r->out : -1, .events = POLLIN},
                          {.fd = r->err ? r->err : -1, .events = POLLIN},
                          {.fd = r->in ? r->in : -1, .events = POLLOUT},
                          {.fd = r->cancel_fd && !r->killed ? r->cancel_fd : -1, .events = POLLIN}};
    int n = poll(p, ARRAY_SIZE(p), run_timeout(r));

    if (n <= 0) {
        if (n == 0)
            run_saw(r, "", 0);
        return false;
    }
    if (p[1].revents)
        run_read(r, &r->out);
    if (p[2].revents)
        run_read(r, &r->err);
    if (p[3].revents)
        run_write(r);
    if (p[4].revents) {
        r->result->cancelled = true;
        run_kill(r);
    }
    return p[0].revents != 0;
}

static void run_drain(struct run *r)
{
    size_t n = 0;

    while (n++ < DRAIN_LIMIT / 4096 && run_read(r, &r->out))
        ;
    while (n++ < DRAIN_LIMIT / 2048 && run_read(r, &r->err))
        ;
}

static void run_finish(struct arena *arena, struct run *r, int status)
{
    struct child_result *result = r->result;
    size_t n = r->errors.len;

    result->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    result->output_size = r->output.len;
    result->output = arena_strndup(arena, r->output.data ? r->output.data : "", r->output.len);
    while (n && strchr(" \r\n\t", r->errors.data[n - 1]))
        n--;
    result->errors = arena_strndup(arena, r->errors.data ? r->errors.data : "", n);
}

static struct error *run_loop(struct arena *arena, struct run *r)
{
    const char *name = r->spec->argv[0];
    int status;

    while (!run_turn(r)) {
        if (!r->deadline || clock_mono() < r->deadline)
            continue;
        if (r->killed)
            return error_internal(arena, "%s does not die, it may hang in the kernel", name);
        r->result->timed_out = true;
        run_kill(r);
    }
    while (waitpid(r->pid, &status, 0) < 0)
        if (errno != EINTR)
            return error_internal(arena, "the end of %s was lost: %s", name, strerror(errno));
    r->pid = 0;
    run_drain(r);
    run_finish(arena, r, status);
    return OK;
}

struct error *child_run(struct arena *arena, const struct child_spec *spec,
                        struct child_result *result)
{
    AUTO(run) r = {.spec = spec, .result = result};

    memset(result, 0, sizeof *result);
    TRY(run_start(arena, &r));
    return run_loop(arena, &r);
}

/* ---- beside the starter ---- */

static void child_tell_started(struct child *child, struct error *e)
{
    MUTEX_GUARD(&child->mutex);
    child->started = true;
    child->start_error = e;
    cond_broadcast(&child->changed);
}

static void child_tell_done(struct child *child, struct error *e)
{
    MUTEX_GUARD(&child->mutex);
    child->done = true;
    child->lost = e != OK;
    cond_broadcast(&child->changed);
}

static void *child_keep(void *arg)
{
    struct child *child = arg;
    AUTO(run) r = {.spec = &child->spec, .result = &child->result, .cancel_fd = child->cancel_fd};
    struct error *e = run_start(&child->arena, &r);

    child_tell_started(child, e);
    if (!e)
        e = run_loop(&child->arena, &r);
    child_tell_done(child, e);
    return NULL;
}

static const char *const *argv_copy(struct arena *arena, const char *const *argv)
{
    const char **copy;
    size_t n = 0;

    while (argv[n])
        n++;
    copy = arena_array(arena, const char *, n + 1);
    for (size_t i = 0; i < n; i++)
        copy[i] = arena_strdup(arena, argv[i]);
    return copy;
}

struct error *child_start(struct arena *arena, const struct child_spec *spec, struct child **out)
{
    struct child *child = xcalloc(1, sizeof *child);
    struct error *e;

    child->cancel_fd = eventfd(0, EFD_CLOEXEC);
    if (child->cancel_fd < 0) {
        e = error_internal(arena, "no descriptor for %s: %s", spec->argv[0], strerror(errno));
        free(child);
        return e;
    }
    child->spec = *spec;
    child->spec.argv = argv_copy(&child->arena, spec->argv);
    if (spec->input)
        child->spec.input = arena_memdup(&child->arena, spec->input, spec->input_size);
    mutex_init(&child->mutex);
    cond_init(&child->changed);
    thread_start(&child->keeper, "child", child_keep, child);
    mutex_lock(&child->mutex);
    while (!child->started)
        cond_wait(&child->changed, &child->mutex);
    e = error_copy(arena, child->start_error);
    mutex_unlock(&child->mutex);
    if (e) {
        child_free(child);
        return e;
    }
    *out = child;
    return OK;
}

void child_kill(struct child *child)
{
    uint64_t one = 1;

    /* Cannot fail: the counter is nowhere near its end. */
    if (write(child->cancel_fd, &one, sizeof one) < 0)
        return;
}

bool child_wait(struct child *child, usec_t timeout, const struct child_result **out)
{
    usec_t deadline = clock_mono() + timeout;
    MUTEX_GUARD(&child->mutex);

    while (!child->done)
        if (!cond_wait_until(&child->changed, &child->mutex, deadline) && !child->done)
            return false;
    *out = child->lost ? NULL : &child->result;
    return true;
}

void child_free(struct child *child)
{
    if (!child)
        return;
    child_kill(child);
    thread_join(&child->keeper);
    cond_release(&child->changed);
    mutex_release(&child->mutex);
    close(child->cancel_fd);
    arena_release(&child->arena);
    free(child);
}
