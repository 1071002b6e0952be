/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * parallel.h -- several calls made side by side on behalf of one: each on a worker, with a call and
 * a task of its own, so that the one's cancel reaches them all.
 */
#pragma once

#include "libxapi/base/call.h"

struct parallel {
    const char *name; /* of their tasks */
    size_t n;
    size_t at_once; /* 0: all of them */
    /* Makes the i-th.  Its memory is the call's. */
    struct error *(*run)(struct call *call, void *arg, size_t i);
    void *arg;
    /* As each has come to an end, on the caller's thread; may be NULL. */
    void (*done)(void *arg, size_t n_done);
};

/*
 * Returns when all have come to an end; errors[i] is what became of the i-th.  Once the task is
 * cancelled, or the daemon ends, those under way are cancelled, no more are begun (their error is
 * TASK_CANCELLED), and that is the result.
 */
MUST_CHECK struct error *parallel_run(struct call *call, const struct parallel *parallel,
                                      struct error **errors);
/* TASK_CANCELLED where the task was cancelled or the daemon ends. */
MUST_CHECK struct error *parallel_check(struct call *call);
