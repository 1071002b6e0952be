/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * child.h -- child processes, through one door: a program with arguments, no shell, no descriptor
 * of ours, a fixed small environment (C locale), limits on what it may say, a deadline, and death
 * with the daemon.
 *
 * A child is reaped by its own process id only, so nothing here minds what others do with SIGCHLD.
 * It gets SIGKILL when the thread that started it ends; that is why child_start gives each
 * long-running child a thread of its own.
 */
#pragma once

#include "libxapi/base/arena.h"

struct child_spec {
    const char *const
        *argv; /* ends with NULL; argv[0] is a path, or a name searched in the system's folders */
    const void *input; /* its standard input; NULL: /dev/null */
    size_t input_size;
    size_t output_limit; /* bytes of standard output that are kept; 0: 64 KiB.  The rest is read and
                            dropped. */
    usec_t timeout;      /* killed after that long; 0: no limit */
    int listen_fd; /* passed on as the service manager does (LISTEN_FDS=1, descriptor 3); 0: none */
    bool private_files; /* what it makes is for the daemon's user alone */
    /*
     * Sees standard output as it comes, and is called with n = 0 about once a second.  False kills
     * the child.  May be NULL. Called on the thread that runs the child.
     */
    bool (*watch)(void *ctx, const char *text, size_t n);
    void *ctx;
};

struct child_result {
    int status; /* exit status; 128 + the signal that ended it */
    bool timed_out, cancelled,
        truncated;      /* killed by the deadline, by 'watch' or child_kill; output was dropped */
    const char *output; /* standard output, followed by a NUL */
    size_t output_size;
    const char *errors; /* standard error without white space at its end; its first 4 KiB */
};

/*
 * Runs a program to its end and fills 'result' (memory of the arena).  An error (INTERNAL_ERROR)
 * only where the program could not be run at all, or did not die within ten seconds of SIGKILL; a
 * bad exit status is for the caller to judge.
 */
MUST_CHECK struct error *child_run(struct arena *arena, const struct child_spec *spec,
                                   struct child_result *result);

/* A child that runs beside its starter. */
struct child;
/*
 * Starts it; 'spec' and what it points to are copied, except 'ctx'.  When this returns the child
 * has its own copy of listen_fd and the caller may close it.  Ends with child_free.
 */
MUST_CHECK struct error *child_start(struct arena *arena, const struct child_spec *spec,
                                     struct child **out);
/* Asks for its death and returns at once. */
void child_kill(struct child *child);
/*
 * Waits until it has ended, at most 'timeout'; false if it still runs.  '*out' is valid until
 * child_free, and NULL if the end was not an orderly one (child_run would have returned an error).
 */
bool child_wait(struct child *child, usec_t timeout, const struct child_result **out);
/* Kills it if it still runs, and forgets it.  NULL is fine. */
void child_free(struct child *child);
