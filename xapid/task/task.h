/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * task.h -- what a call is doing, for those who watch it and those who want it stopped.
 *
 * A call made with Async., or inside a client's own task, has a row of class task; others have only
 * a name, under which they appear in current_operations.  Every task ends: by its call, by its
 * deadline, or by recovery after a crash.
 */
#pragma once

#include "api_daemon.h"

struct xapid;
struct tasks;
struct txn;

/* Owned by the call. */
struct task_handle {
    ref_t ref;        /* null where there is no row */
    const char *key;  /* in current_operations: the row's reference, or "DummyRef:|uuid|name" */
    const char *name; /* "VM.start" */
    bool cancelled;   /* atomic */
    usec_t deadline;  /* monotonic; how long the call may wait in line */
    struct task_handle *next; /* for tasks.c */
};

struct tasks *tasks_new(struct xapid *xapid);
void tasks_free(struct tasks *tasks);

/* Gives the call a task.  'with_row': a row is made, with the caller's session as its owner.
 * 'existing': not null, that client's row is used instead. */
MUST_CHECK struct error *task_begin(struct call *call, const char *name, bool with_row,
                                    ref_t existing);
/* Ends it: 'result' is the XML-RPC text of the value (NULL with an error).  The row says success,
 * failure or cancelled.  The handle is gone afterwards. */
void task_end(struct call *call, const struct error *error, const char *result);
/* The task of a call that another member of the pool has passed on, with its row's reference (or
 * null) and its key; that member ends it.  'name' and 'key' live as long as the call. */
void task_join(struct call *call, const char *name, ref_t ref, const char *key);
/* Lets go of a client's task without ending it: the client goes on with it on another host.  The
 * same of one that was joined. */
void task_leave(struct call *call);
/* 0 to 1; lazily written. */
void task_progress(struct call *call, double done);
/* TASK_CANCELLED(task) once somebody asked for it, else OK.  Long work asks often. */
MUST_CHECK struct error *task_check(struct call *call);
/* Whether cancel is offered in allowed_operations. */
void task_waiting_for(struct call *call, const char *whom);
/* At start: tasks of this host that never ended have failed. */
void tasks_recover(struct call *call);
/* In the write that says that a host is dead: its tasks have failed, for nobody can know better. */
MUST_CHECK struct error *txn_tasks_lost(struct txn *txn, ref_t host);
/* Drops old ones: those that ended on the coordinator only, others on their host; about every 30 s.
 */
void tasks_collect(struct call *call);
