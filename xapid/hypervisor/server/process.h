/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * process.h -- what makes a program one that outlives the daemon: a session and descriptors of its
 * own, and one of it for a directory.
 */
#pragma once

#include "libxapi/base/base.h"

#define PROCESS_RUNS_ALREADY 3 /* exit status: another one holds the directory */
#define PROCESS_LOCK_HELD (-2)
#define PROCESS_DIR_MAX 88 /* bytes: room for the names of sockets in a socket address */

/* Signals as they come with a new process, but for SIGTERM and SIGINT, which are blocked (server.c
 * reads them from a descriptor); descriptors for thousands of domains. */
void process_shed_heritage(void);
/* Locks DIR/NAME.pid, making the directory where there is none.  The descriptor, held to the end of
 * the process, however it ends; -1, or PROCESS_LOCK_HELD, with a line in the log. */
int process_lock(const char *dir, const char *name);
/* Forks; the child gets a session of its own and goes on with *ready_fd.  The parent waits for
 * process_tell_parent and exits with that code.  False with errno. */
bool process_leave_parent(int *ready_fd);
/* Standard descriptors no longer lead to whoever started it: the log goes to DIR/NAME.log. */
void process_redirect_output(const char *dir, const char *name);
void process_tell_parent(int ready_fd, int code);
