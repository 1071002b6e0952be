/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/vm/sequence.h"

#include "libxapi/base/log.h"
#include "libxapi/base/seam.h"
#include "xapid/forward/forward.h"
#include "xapid/main/xapid.h"
#include "xapid/task/task.h"
#include "xapid/worker/workers.h"

#define SLICE (250 * USEC_PER_MSEC) /* between two looks at who wants it to end */

/*** order ***/

static bool is_start(enum sequence_kind kind)
{
    return kind == SEQUENCE_START || kind == SEQUENCE_START_PAUSED;
}

void sequence_sort(enum sequence_kind kind, size_t n, struct sequence_vm *v)
{
    bool up = is_start(kind);

    for (size_t i = 1; i < n; i++) {
        struct sequence_vm x = v[i];
        size_t j = i;

        for (; j && (up ? v[j - 1].order > x.order : v[j - 1].order < x.order); j--)
            v[j] = v[j - 1];
        v[j] = x;
    }
}

size_t sequence_group(size_t n, const struct sequence_vm *v, int64_t *delay)
{
    size_t i = 0;

    *delay = 0;
    for (; i < n && v[i].order == v[0].order; i++)
        *delay = MAX(*delay, v[i].delay);
    return i;
}

/* In the state that is wanted. */
static bool is_there(enum sequence_kind kind, const struct vm *vm)
{
    return is_start(kind) ? vm->power_state == VM_RUNNING || vm->power_state == VM_PAUSED
                          : vm->power_state == VM_HALTED;
}

/*** one VM ***/

struct latch {
    struct mutex lock;
    struct cond changed;
    size_t left;
};

static void latch_release(struct latch *l)
{
    cond_release(&l->changed);
    mutex_release(&l->lock);
}

struct job {
    struct xapid *xapid;
    struct latch *latch;
    enum sequence_kind kind;
    ref_t vm;
    struct task_handle *task; /* under the latch's lock: of one that runs */
    bool cancelled;           /* the same */
};

/* Each VM on its own host. */
static struct error *do_one(struct call *call, const struct job *job)
{
    switch (job->kind) {
    case SEQUENCE_START:
    case SEQUENCE_START_PAUSED:
        return forward_run(
            call, MSG_vm_start,
            &(struct vm_start_args){.vm = job->vm, .start_paused = job->kind != SEQUENCE_START},
            NULL);
    case SEQUENCE_CLEAN_SHUTDOWN:
        return forward_run(call, MSG_vm_clean_shutdown, &(struct vm_clean_shutdown_args){job->vm},
                           NULL);
    case SEQUENCE_HARD_SHUTDOWN:
        return forward_run(call, MSG_vm_hard_shutdown, &(struct vm_hard_shutdown_args){job->vm},
                           NULL);
    case SEQUENCE_SHUTDOWN:
        return forward_run(call, MSG_vm_shutdown, &(struct vm_shutdown_args){job->vm}, NULL);
    }
    return OK;
}

static void set_task(struct job *job, struct task_handle *task)
{
    MUTEX_GUARD(&job->latch->lock);
    job->task = task;
    if (task && job->cancelled)
        __atomic_store_n(&task->cancelled, true, __ATOMIC_RELAXED);
}

static void run_job(void *arg)
{
    struct job *job = arg;
    struct latch *latch = job->latch;
    AUTO(arena) arena = {0};
    struct call call;
    struct error *e;

    call_init_internal(&call, job->xapid, &arena);
    e = task_begin(&call, "VM of a sequence", false, REF_NULL);
    if (!e) {
        set_task(job, call.task);
        e = do_one(&call, job);
        set_task(job, NULL);
        task_end(&call, e, NULL);
    }
    if (e)
        log_warning("VM %s of a sequence: %s", ref_text(&arena, job->vm), error_line(&arena, e));
    call_release(&call);
    MUTEX_GUARD(&latch->lock);
    latch->left--;
    cond_broadcast(&latch->changed);
}

/*** a group ***/

static struct error *check_wanted(struct call *call)
{
    TRY(task_check(call));
    return xapid_is_stopping(call->xapid)
               ? err_task_cancelled(call, call->task ? call->task->key : "")
               : OK;
}

/* With the lock held. */
static void cancel_all(size_t n, struct job *jobs)
{
    for (size_t i = 0; i < n; i++) {
        jobs[i].cancelled = true;
        if (jobs[i].task)
            __atomic_store_n(&jobs[i].task->cancelled, true, __ATOMIC_RELAXED);
    }
}

/* Jobs are never left: they use our memory. */
static struct error *wait_for_all(struct call *call, struct latch *latch, size_t n,
                                  struct job *jobs)
{
    struct error *e = OK;

    mutex_lock(&latch->lock);
    while (latch->left) {
        cond_wait_until(&latch->changed, &latch->lock, clock_mono() + SLICE);
        if (!e && latch->left) {
            mutex_unlock(&latch->lock);
            e = check_wanted(call);
            mutex_lock(&latch->lock);
            if (e)
                cancel_all(n, jobs);
        }
    }
    mutex_unlock(&latch->lock);
    return e;
}

static struct error *run_group(struct call *call, enum sequence_kind kind, size_t n,
                               const struct sequence_vm *v)
{
    struct job *jobs = arena_array(call->arena, struct job, n);
    AUTO(latch) latch = {.left = n};

    mutex_init(&latch.lock);
    cond_init(&latch.changed);
    for (size_t i = 0; i < n; i++) {
        jobs[i] = (struct job){.xapid = call->xapid, .latch = &latch, .kind = kind, .vm = v[i].vm};
        if (!workers_run(call->xapid->workers, run_job, &jobs[i]))
            run_job(&jobs[i]);
    }
    return wait_for_all(call, &latch, n, jobs);
}

static struct error *pause_between(struct call *call, int64_t seconds)
{
    usec_t until = clock_mono() + MIN(seconds, (int64_t)24 * 3600) * USEC_PER_SEC;

    while (clock_mono() < until) {
        TRY(check_wanted(call));
        clock_sleep(MIN(SLICE, MAX(until - clock_mono(), 0)));
    }
    return OK;
}

/*** all ***/

static struct sequence_vm *choose(struct call *call, enum sequence_kind kind,
                                  const struct refs *vms, size_t *n)
{
    struct sequence_vm *v = arena_array(call->arena, struct sequence_vm, vms->n + 1);

    *n = 0;
    for (size_t i = 0; i < vms->n; i++) {
        const struct vm *vm = db_find(call, CLASS_vm, vms->v[i]);

        if (vm && !is_there(kind, vm))
            v[(*n)++] = (struct sequence_vm){vm->ref, vm->order,
                                             is_start(kind) ? vm->start_delay : vm->shutdown_delay};
    }
    sequence_sort(kind, *n, v);
    return v;
}

static struct refs not_there(struct call *call, enum sequence_kind kind, const struct refs *vms)
{
    ref_t *v = arena_array(call->arena, ref_t, vms->n + 1);
    size_t n = 0;

    call_refresh(call);
    for (size_t i = 0; i < vms->n; i++) {
        const struct vm *vm = db_find(call, CLASS_vm, vms->v[i]);

        if (vm && !is_there(kind, vm))
            v[n++] = vm->ref;
    }
    return (struct refs){n, v};
}

struct error *sequence_run(struct call *call, enum sequence_kind kind, const struct refs *vms,
                           struct error *(*between)(void *ctx, double done), void *ctx,
                           struct refs *failed)
{
    size_t n, at = 0;
    struct sequence_vm *v = choose(call, kind, vms, &n);

    while (at < n) {
        int64_t delay;
        size_t size = sequence_group(n - at, v + at, &delay);

        TRY(run_group(call, kind, size, v + at));
        at += size;
        if (between)
            TRY(between(ctx, (double)at / (double)n));
        if (at < n)
            TRY(pause_between(call, delay));
    }
    *failed = not_there(call, kind, vms);
    return OK;
}
