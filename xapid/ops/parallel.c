/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/parallel.h"

#include "libxapi/base/seam.h"
#include "xapid/main/xapid.h"
#include "xapid/task/task.h"
#include "xapid/worker/workers.h"

#define SLICE (250 * USEC_PER_MSEC) /* between two looks at who wants it to end */

struct many;

struct job {
    struct many *many;
    size_t i;
    struct arena arena;       /* of its call, until its error was copied */
    struct error *e;          /* in it */
    struct task_handle *task; /* under the lock: of one that runs */
};

struct many {
    struct xapid *xapid;
    const struct parallel *p;
    struct mutex lock;
    struct cond changed;
    size_t n_begun, n_done;
    bool cancelled;
    struct job *jobs;
};

static void many_release(struct many *m)
{
    cond_release(&m->changed);
    mutex_release(&m->lock);
}

static void set_task(struct job *job, struct task_handle *task)
{
    MUTEX_GUARD(&job->many->lock);
    job->task = task;
    if (task && job->many->cancelled)
        __atomic_store_n(&task->cancelled, true, __ATOMIC_RELAXED);
}

static void run_job(void *arg)
{
    struct job *job = arg;
    struct many *m = job->many;
    struct call call;

    call_init_internal(&call, m->xapid, &job->arena);
    job->e = task_begin(&call, m->p->name, false, REF_NULL);
    if (!job->e) {
        set_task(job, call.task);
        job->e = m->p->run(&call, m->p->arg, job->i);
        set_task(job, NULL);
        task_end(&call, job->e, NULL);
    }
    call_release(&call);
    MUTEX_GUARD(&m->lock);
    m->n_done++;
    cond_signal(&m->changed);
}

struct error *parallel_check(struct call *call)
{
    TRY(task_check(call));
    return xapid_is_stopping(call->xapid)
               ? err_task_cancelled(call, call->task ? call->task->key : "")
               : OK;
}

static void cancel_all(struct many *m)
{
    MUTEX_GUARD(&m->lock);
    m->cancelled = true;
    for (size_t i = 0; i < m->n_begun; i++)
        if (m->jobs[i].task)
            __atomic_store_n(&m->jobs[i].task->cancelled, true, __ATOMIC_RELAXED);
}

/* As many as may run. */
static void begin_some(struct many *m)
{
    size_t at_once = m->p->at_once ? m->p->at_once : m->p->n, done;

    mutex_lock(&m->lock);
    done = m->n_done;
    mutex_unlock(&m->lock);
    while (m->n_begun < m->p->n && m->n_begun - done < at_once) {
        struct job *job = &m->jobs[m->n_begun];

        mutex_lock(&m->lock);
        m->n_begun++;
        mutex_unlock(&m->lock);
        if (!workers_run(m->xapid->workers, run_job, job))
            run_job(job);
    }
}

/* Until one more has come to an end than were known to, or for a moment. */
static size_t wait_for_one(struct many *m, size_t known)
{
    MUTEX_GUARD(&m->lock);
    if (m->n_done == known && m->n_done < m->n_begun)
        cond_wait_until(&m->changed, &m->lock, clock_mono() + SLICE);
    return m->n_done;
}

/* Jobs are never left: they use our memory. */
static struct error *run_all(struct call *call, struct many *m)
{
    struct error *e = OK;
    size_t done = 0, now;

    while (done < (e ? m->n_begun : m->p->n)) {
        if (!e)
            begin_some(m);
        now = wait_for_one(m, done);
        if (now > done && m->p->done)
            m->p->done(m->p->arg, now);
        done = now;
        if (!e && done < m->p->n) {
            e = parallel_check(call);
            if (e)
                cancel_all(m);
        }
    }
    return e;
}

struct error *parallel_run(struct call *call, const struct parallel *p, struct error **errors)
{
    AUTO(many) m = {.xapid = call->xapid, .p = p};
    struct error *e;

    m.jobs = arena_array(call->arena, struct job, p->n + 1);
    for (size_t i = 0; i < p->n; i++)
        m.jobs[i] = (struct job){.many = &m, .i = i};
    mutex_init(&m.lock);
    cond_init(&m.changed);
    e = run_all(call, &m);
    for (size_t i = 0; i < p->n; i++) {
        errors[i] = i >= m.n_begun ? e : m.jobs[i].e ? error_copy(call->arena, m.jobs[i].e) : OK;
        arena_release(&m.jobs[i].arena);
    }
    return e;
}
