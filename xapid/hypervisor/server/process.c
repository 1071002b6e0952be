/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* process.c -- see process.h. */
#include "xapid/hypervisor/server/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libxapi/base/log.h"
#include "libxapi/base/seam.h"

#define LOCK_TRIES 40
#define LOCK_PAUSE (50 * USEC_PER_MSEC)

void process_shed_heritage(void)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    struct rlimit files;
    sigset_t ends;

    sigaction(SIGPIPE, &ignore, NULL);
    sigaction(SIGHUP, &ignore, NULL);
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    sigprocmask(SIG_SETMASK, &ends, NULL); /* server.c reads them from a descriptor */
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

/* Whether the process that wrote its number there is gone: then a child of its, which dies with it,
 * may still hold the lock for a moment. */
static bool holder_is_gone(int fd)
{
    char text[32] = "";
    long pid;

    if (pread(fd, text, sizeof text - 1, 0) <= 0)
        return false;
    pid = strtol(text, NULL, 10);
    return pid > 0 && kill((pid_t)pid, 0) < 0 && errno == ESRCH;
}

static bool lock(int fd)
{
    for (int i = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; i++) {
        if (errno != EWOULDBLOCK)
            return false;
        if (i == LOCK_TRIES || !holder_is_gone(fd)) {
            errno = EWOULDBLOCK;
            return false;
        }
        clock_sleep(LOCK_PAUSE);
    }
    return true;
}

int process_lock(const char *dir, const char *name)
{
    char path[PROCESS_DIR_MAX + 32];
    char pid[32];
    int fd;
    int n;

    if (mkdir(dir, 0700) < 0 && errno != EEXIST) {
        log_error("%s: %s", dir, strerrordesc_np(errno));
        return -1;
    }
    snprintf(path, sizeof path, "%s/%s.pid", dir, name);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || !lock(fd)) {
        bool held = errno == EWOULDBLOCK;

        log_error("%s: %s", path, held ? "one runs already" : strerrordesc_np(errno));
        if (fd >= 0)
            close(fd);
        return held ? PROCESS_LOCK_HELD : -1;
    }
    n = snprintf(pid, sizeof pid, "%d\n", (int)getpid());
    if (ftruncate(fd, 0) < 0 || write(fd, pid, (size_t)n) != n)
        log_warning("%s: %s", path, strerrordesc_np(errno));
    return fd;
}

bool process_leave_parent(int *ready_fd)
{
    char byte = 0;
    int ends[2];
    pid_t pid;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return false;
    pid = fork();
    if (pid < 0)
        return false;
    if (pid > 0) {
        close(ends[1]);
        _exit(read(ends[0], &byte, 1) == 1 ? byte : EXIT_FAILURE);
    }
    close(ends[0]);
    setsid();
    *ready_fd = ends[1];
    return true;
}

void process_redirect_output(const char *dir, const char *name)
{
    char path[PROCESS_DIR_MAX + 32];
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int log;

    snprintf(path, sizeof path, "%s/%s.log", dir, name);
    log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (null >= 0) {
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
        dup2(log >= 0 ? log : null, STDERR_FILENO);
        close(null);
    }
    if (log >= 0)
        close(log);
}

void process_tell_parent(int ready_fd, int code)
{
    char byte = (char)code;

    if (write(ready_fd, &byte, 1) < 0)
        log_warning("whoever started this process is gone");
    close(ready_fd);
}
