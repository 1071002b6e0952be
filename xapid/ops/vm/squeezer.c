/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/vm/squeezer.h"

#include <stdlib.h>
#include <string.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/vm/domain.h"
#include "xapid/ops/vm/share.h"
#include "xapid/ops/vm/squeeze.h"
#include "xapid/task/task.h"

/* Between two looks: while guests give back memory, and otherwise. */
#define MOVING (250 * USEC_PER_MSEC)
#define RESTING (10 * USEC_PER_SEC)
#define BREATH (50 * USEC_PER_MSEC) /* after each round */

/* A guest that was looked at. */
struct tracked {
    ref_t vm;
    int domid;
    struct squeeze_progress progress;
};

struct squeezer {
    struct xapid *xapid;
    struct thread thread;
    struct mutex lock; /* of the rest */
    struct cond wake, done;
    bool stopping, kicked;
    bool moving;              /* after the last round: somebody is still giving back */
    uint64_t begun, finished; /* rounds */
    size_t n, n_uncooperative;
    struct tracked *v;
};

/*** who is followed ***/

bool squeezer_knows_uncooperative(struct squeezer *s, ref_t vm)
{
    if (!s)
        return false;
    MUTEX_GUARD(&s->lock);
    for (size_t i = 0; s->n_uncooperative && i < s->n; i++)
        if (ref_equal(s->v[i].vm, vm))
            return s->v[i].progress.uncooperative;
    return false;
}

struct refs squeezer_uncooperative(struct squeezer *s, struct arena *arena)
{
    struct refs out = {0};
    ref_t *v;

    if (!s)
        return out;
    MUTEX_GUARD(&s->lock);
    out.v = v = arena_array(arena, ref_t, s->n_uncooperative + 1);
    for (size_t i = 0; i < s->n; i++)
        if (s->v[i].progress.uncooperative)
            v[out.n++] = s->v[i].vm;
    return out;
}

/* One round: what the hypervisor says, and the records. */
struct round {
    struct squeezer *squeezer;
    struct call *call;
    size_t n;
    struct seen {
        const struct vm *vm;
        const struct hv_domain *domain;
        bool uncooperative;
    } * v;
};

static bool says_balloon(const struct hv_domain *d)
{
    for (size_t i = 0; i < d->guest.n; i++)
        if (strcmp(d->guest.v[i].key, "control/feature-balloon") == 0)
            return strcmp(d->guest.v[i].value, "1") == 0;
    return false;
}

static const struct vm *vm_of(const struct round *r, const struct hv_domain *d)
{
    const struct vm *vm;
    ref_t ref;

    if (d->state != HV_RUNNING || !says_balloon(d) || db_by_uuid(r->call, CLASS_vm, d->uuid, &ref))
        return NULL;
    vm = db_find(r->call, CLASS_vm, ref);
    return vm && vm->power_state == VM_RUNNING && vm->domid == d->domid &&
                   ref_equal(vm->resident_on, r->call->xapid->host)
               ? vm
               : NULL;
}

static struct tracked tracked_before(const struct squeezer *s, const struct vm *vm)
{
    for (size_t i = 0; i < s->n; i++)
        if (ref_equal(s->v[i].vm, vm->ref) && s->v[i].domid == vm->domid)
            return s->v[i];
    return (struct tracked){.vm = vm->ref, .domid = (int)vm->domid};
}

/* Those that are no longer here are forgotten. */
static void look_at_all(struct round *r, size_t n, const struct hv_domain *domains)
{
    struct tracked *now = xcalloc(n + 1, sizeof *now);
    struct squeezer *s = r->squeezer;

    r->v = arena_array(r->call->arena, struct seen, n + 1);
    MUTEX_GUARD(&s->lock);
    s->moving = false;
    s->n_uncooperative = 0;
    for (size_t i = 0; i < n; i++) {
        const struct hv_domain *d = &domains[i];
        const struct vm *vm = vm_of(r, d);
        struct tracked *t = &now[r->n];
        bool before;

        if (!vm)
            continue;
        *t = tracked_before(s, vm);
        before = t->progress.uncooperative;
        squeeze_look(&t->progress, d->memory_target, d->memory, clock_mono());
        if (t->progress.uncooperative != before)
            log_info("the guest of VM %s (%s) %s", vm->uuid, vm->name_label,
                     before ? "gives back memory again"
                            : "does not give back memory and is not counted on any more");
        s->n_uncooperative += t->progress.uncooperative;
        s->moving |= squeeze_is_shrinking(&t->progress);
        r->v[r->n++] = (struct seen){vm, d, t->progress.uncooperative};
    }
    free(s->v);
    s->v = now;
    s->n = r->n;
}

/*** the plan ***/

/* An uncooperative guest is promised what it has, so that nobody counts on more. */
static void promise_what_it_has(struct txn *txn, const struct seen *seen)
{
    const struct vm *vm = txn_find(txn, CLASS_vm, seen->vm->ref);
    int64_t has = seen->domain->memory;

    if (vm && !vm->current_operations.n && vm->domid == seen->domain->domid &&
        (vm->memory_target < has || vm->memory_target - has > SQUEEZE_TOLERANCE))
        TXN_SET(txn, vm, vm->ref, memory_target, has);
}

static struct error *promise_txn(struct txn *txn, void *arg)
{
    const struct round *r = arg;

    for (size_t i = 0; i < r->n; i++)
        if (r->v[i].uncooperative)
            promise_what_it_has(txn, &r->v[i]);
    return OK;
}

static struct error *share_txn(struct txn *txn, void *arg)
{
    const struct host *host;

    (void)arg;
    TRY(TXN_GET(txn, host, txn_call(txn)->xapid->host, &host));
    return txn_host_share(txn, host, NULL);
}

/*** telling ***/

/* What may be told twice needs no id.  One that is refused is told again in the next round. */
static void tell(struct round *r, const struct seen *seen, bool shrink)
{
    const struct vm *vm = db_find(r->call, CLASS_vm, seen->vm->ref);
    struct hv_request rq = {.arena = r->call->arena, .epoch = xapid_epoch(r->call->xapid)};
    struct error *e;

    if (!vm || seen->uncooperative || vm->current_operations.n || vm->memory_target <= 0 ||
        vm->domid != seen->domain->domid || vm->memory_target == seen->domain->memory_target ||
        (vm->memory_target < seen->domain->memory_target) != shrink)
        return;
    e = hv_set_memory(r->call->xapid->hv, &rq, vm->uuid, vm->memory_target);
    if (!e && shrink) {
        MUTEX_GUARD(&r->squeezer->lock);
        r->squeezer->moving = true;
    }
    if (e && !error_is(e, "HOST_NOT_ENOUGH_FREE_MEMORY"))
        log_warning("the memory target of VM %s: %s", vm->uuid, error_line(r->call->arena, e));
}

/* Nobody's memory can change on most hosts: then the hypervisor is not asked. */
static bool anybody_can_change(const struct call *call)
{
    struct refs here = db_referrers(call, FIELD_vm_resident_on, call->xapid->host);

    for (size_t i = 0; i < here.n; i++) {
        const struct vm *vm = db_find(call, CLASS_vm, here.v[i]);

        if (vm && !vm->is_control_domain &&
            (vm->memory_dynamic_min < vm->memory_dynamic_max ||
             vm->memory_target != vm->memory_dynamic_max))
            return true;
    }
    return false;
}

static struct error *run_round(struct round *r)
{
    struct hv_request rq = {.arena = r->call->arena, .epoch = xapid_epoch(r->call->xapid)};
    const struct hv_domain *domains = NULL;
    size_t n = 0;

    if (anybody_can_change(r->call))
        TRY(hv_list(r->call->xapid->hv, &rq, &n, &domains));
    call_refresh(r->call);
    look_at_all(r, n, domains);
    if (!r->n)
        return OK;
    TRY(db_update(r->call, promise_txn, r));
    TRY(db_update(r->call, share_txn, r));
    call_refresh(r->call);
    for (size_t i = 0; i < r->n; i++)
        tell(r, &r->v[i], true);
    for (size_t i = 0; i < r->n; i++)
        tell(r, &r->v[i], false);
    return OK;
}

/*** the thread ***/

static void do_round(struct squeezer *s)
{
    AUTO(arena) arena = {0};
    struct call call;
    struct round r = {.squeezer = s, .call = &call};
    struct error *e;

    call_init_internal(&call, s->xapid, &arena);
    e = run_round(&r);
    if (e)
        log_warning("the host's memory could not be shared anew: %s", error_line(&arena, e));
    call_release(&call);
}

static void *squeezer_thread(void *arg)
{
    struct squeezer *s = arg;
    usec_t breath;

    mutex_lock(&s->lock);
    while (!s->stopping) {
        if (!s->kicked)
            cond_wait_until(&s->wake, &s->lock, clock_mono() + (s->moving ? MOVING : RESTING));
        if (s->stopping)
            break;
        s->kicked = false;
        s->begun++;
        mutex_unlock(&s->lock);
        do_round(s);
        mutex_lock(&s->lock);
        s->finished = s->begun;
        cond_broadcast(&s->done);
        breath = clock_mono() + BREATH;
        while (!s->stopping && cond_wait_until(&s->wake, &s->lock, breath))
            ;
    }
    mutex_unlock(&s->lock);
    return NULL;
}

struct squeezer *squeezer_start(struct xapid *xapid)
{
    struct squeezer *s = xcalloc(1, sizeof *s);

    s->xapid = xapid;
    mutex_init(&s->lock);
    cond_init(&s->wake);
    cond_init(&s->done);
    thread_start(&s->thread, "squeezer", squeezer_thread, s);
    return s;
}

void squeezer_stop(struct squeezer *s)
{
    if (!s)
        return;
    mutex_lock(&s->lock);
    s->stopping = true;
    cond_broadcast(&s->wake);
    cond_broadcast(&s->done);
    mutex_unlock(&s->lock);
    thread_join(&s->thread);
}

void squeezer_free(struct squeezer *s)
{
    if (!s)
        return;
    cond_release(&s->wake);
    cond_release(&s->done);
    mutex_release(&s->lock);
    free(s->v);
    free(s);
}

void squeezer_kick(struct squeezer *s)
{
    if (!s)
        return;
    MUTEX_GUARD(&s->lock);
    s->kicked = true;
    cond_signal(&s->wake);
}

/*** waiting ***/

/* A whole round, begun from now on; true while somebody gives back memory after it. */
static bool wait_round(struct squeezer *s)
{
    usec_t deadline = clock_mono() + USEC_PER_SEC;
    uint64_t wanted;
    bool moving;

    mutex_lock(&s->lock);
    wanted = s->begun + 1;
    s->kicked = true;
    cond_signal(&s->wake);
    while (!s->stopping && s->finished < wanted)
        if (!cond_wait_until(&s->done, &s->lock, deadline))
            break;
    /* The daemon ends, and so does the wait. */
    moving = !s->stopping && (s->finished < wanted || s->moving);
    mutex_unlock(&s->lock);
    return moving;
}

static struct error *has_room(struct op *op, int64_t bytes, bool *has)
{
    struct hv_request rq = op_hv_request(op, NULL);
    struct hv_host_info info;

    TRY(hv_host(op->call->xapid->hv, &rq, &info));
    *has = info.memory_free >= bytes;
    return OK;
}

struct error *squeezer_wait_room(struct op *op, ref_t vm, int64_t bytes, bool *has)
{
    struct squeezer *s = op->call->xapid->squeezer;
    bool moving = true;

    TRY(has_room(op, bytes, has));
    while (s && !*has && moving) {
        usec_t next = clock_mono() + MOVING;

        moving = wait_round(s);
        TRY(task_check(op->call));
        TRY(vm_overruled(op, vm));
        TRY(has_room(op, bytes, has));
        if (!*has && moving)
            clock_sleep(MAX(next - clock_mono(), 0));
    }
    return OK;
}
