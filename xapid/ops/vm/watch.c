/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/vm/watch.h"

#include <stdlib.h>
#include <string.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/message.h"
#include "xapid/ops/migrate/migrate.h"
#include "xapid/ops/vm/cut_off.h"
#include "xapid/ops/vm/domain.h"
#include "xapid/ops/vm/ended.h"
#include "xapid/ops/vm/guest.h"
#include "xapid/ops/vm/squeezer.h"
#include "xapid/worker/workers.h"

/* When a VM that was busy, or that could not be dealt with, is looked at again. */
#define AGAIN (250 * USEC_PER_MSEC)
#define MAX_STRANGERS 1024

/*** one VM ***/

enum outcome { LOOK_DONE, LOOK_AGAIN, LOOK_ENDED, LOOK_STRANGER };

struct seen {
    ref_t vm;
    uint64_t version; /* of the row, before the domain was looked at */
    const struct hv_domain *domain;
    bool adopt;    /* the record says that there is no domain */
    bool by_order; /* a user ended it while this host was cut off */
};

/* Nothing has happened to the VM since, so that what was seen of its domain is still the other half
 * of the same picture. */
static struct error *still(struct txn *txn, const struct seen *s, const struct vm **vm)
{
    TRY(TXN_GET(txn, vm, s->vm, vm));
    if ((*vm)->row_version != s->version)
        return err_other_operation_in_progress(txn_call(txn), "VM", call_ref(txn_call(txn), s->vm),
                                               "", "");
    return OK;
}

static struct error *record_state(struct txn *txn, void *arg)
{
    const struct seen *s = arg;
    bool paused = s->domain->state == HV_PAUSED;
    const struct vm *vm;

    TRY(still(txn, s, &vm));
    if (vm->domid == s->domain->domid && !s->adopt) {
        TXN_SET(txn, vm, vm->ref, power_state, paused ? VM_PAUSED : VM_RUNNING);
        return OK;
    }
    TRY(txn_vm_started(txn, vm->ref, s->domain->domid, paused));
    if (!ref_is_null(vm->metrics))
        TXN_SET(txn, vm_metrics, vm->metrics, start_time, s->domain->start_time);
    return OK;
}

static struct error *record_gone(struct txn *txn, void *arg)
{
    const struct seen *s = arg;
    const struct vm *vm;

    TRY(still(txn, s, &vm));
    if (s->by_order)
        TXN_SET(txn, vm, s->vm, ha_always_run, false);
    return txn_vm_halted(txn, s->vm);
}

static enum outcome follow_state(struct call *call, const struct vm *vm, struct seen *s)
{
    struct error *e;

    s->adopt = vm->power_state == VM_HALTED || vm->power_state == VM_SUSPENDED;
    if (s->adopt)
        log_warning("domain %d of VM %s (%s) was not known; it is recorded as it runs",
                    s->domain->domid, vm->uuid, vm->name_label);
    else if (vm->domid != s->domain->domid) /* a checkpoint that was cut off had brought it back */
        log_info("VM %s (%s) runs on as domain %d, no longer %lld", vm->uuid, vm->name_label,
                 s->domain->domid, (long long)vm->domid);
    e = db_update(call, record_state, s);
    if (e && !error_is(e, "OTHER_OPERATION_IN_PROGRESS"))
        log_error("the state of VM %s could not be recorded: %s", vm->uuid,
                  error_line(call->arena, e));
    if (!e && s->adopt && (vm = db_find(call, CLASS_vm, s->vm)))
        vm_disks_adopt(call, vm);
    return e ? LOOK_AGAIN : LOOK_DONE;
}

static bool same_state(const struct vm *vm, const struct hv_domain *d)
{
    return vm->domid == d->domid && (d->state == HV_PAUSED) == (vm->power_state == VM_PAUSED);
}

/* A crashed domain that is kept for those who want to look at it has been dealt with. */
static bool is_preserved(const struct vm *vm, const struct hv_domain *d)
{
    return d && vm->power_state == VM_PAUSED && d->domid == vm->domid &&
           vm_ended_action(vm, d->reason, 0) == ENDED_PRESERVE;
}

static const struct vm *find_vm(struct call *call, const char *uuid)
{
    ref_t ref;

    return db_by_uuid(call, CLASS_vm, uuid, &ref) ? NULL : db_find(call, CLASS_vm, ref);
}

/* Lost in the middle of a move, it is halted; the half of it that is left at either end goes by
 * itself, and is not the VM. */
static bool is_on_its_way(struct call *call, const struct vm *vm)
{
    return migrate_is_arriving(call, call->snap, vm->ref) ||
           migrate_is_leaving(call, call->snap, vm->ref);
}

/* The record is read before the domain: what changed in between shows in its version. */
static enum outcome look(struct call *call, const char *uuid, ref_t *ref)
{
    struct hv_request rq = {.arena = call->arena, .epoch = xapid_epoch(call->xapid)};
    const struct vm *vm = find_vm(call, uuid);
    struct seen s = {0};
    bool here, has_domain;
    struct error *e = hv_get(call->xapid->hv, &rq, uuid, &s.domain);

    if (e) {
        log_warning("domain of VM %s: %s", uuid, error_line(call->arena, e));
        return LOOK_DONE; /* when the hypervisor is back everything is looked at */
    }
    if (!vm)
        return s.domain ? LOOK_STRANGER : LOOK_DONE;
    *ref = s.vm = vm->ref;
    s.version = vm->row_version;
    if (!s.domain || s.domain->memory_target != vm->memory_target)
        squeezer_kick(call->xapid->squeezer);
    here = ref_equal(vm->resident_on, call->xapid->host);
    has_domain = vm->power_state == VM_RUNNING || vm->power_state == VM_PAUSED;
    if (vm->is_control_domain || (has_domain && !here)) {
        if (!s.domain || vm->is_control_domain)
            return LOOK_DONE;
        /* It leaves or comes. */
        if (vm->current_operations.n || migrate_is_arriving(call, call->snap, vm->ref))
            return LOOK_AGAIN;
        log_error("VM %s has a domain here, but the records say that it runs on another host",
                  uuid);
        return LOOK_DONE;
    }
    if (vm->current_operations.n || (s.domain && !has_domain && is_on_its_way(call, vm)))
        return LOOK_AGAIN;
    if (!s.domain || s.domain->state == HV_SHUTDOWN)
        return (s.domain || has_domain) && !is_preserved(vm, s.domain) ? LOOK_ENDED : LOOK_DONE;
    if (!has_domain || !same_state(vm, s.domain))
        return follow_state(call, vm, &s) == LOOK_AGAIN || !has_domain ? LOOK_AGAIN : LOOK_DONE;
    e = vm_guest_update(call, vm, s.domain);
    if (e)
        log_warning("what the guest of VM %s says could not be recorded: %s", uuid,
                    error_line(call->arena, e));
    return e ? LOOK_AGAIN : LOOK_DONE;
}

/*** at start ***/

static const struct hv_domain *domain_of(const char *uuid, size_t n,
                                         const struct hv_domain *domains)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(domains[i].uuid, uuid) == 0)
            return &domains[i];
    return NULL;
}

static bool is_ours(const struct call *call, const struct vm *vm)
{
    return !vm->is_control_domain &&
           (ref_equal(vm->resident_on, call->xapid->host) ||
            ref_equal(vm->scheduled_to_be_resident_on, call->xapid->host));
}

static void reconcile_vm(struct call *call, const struct vm *vm, const struct hv_domain *d)
{
    struct seen s = {.vm = vm->ref, .version = vm->row_version, .domain = d};
    bool has_domain = vm->power_state == VM_RUNNING || vm->power_state == VM_PAUSED;
    struct error *e = OK;

    if (is_ours(call, vm) && d && !migrate_is_arriving(call, call->snap, vm->ref))
        vm_disks_adopt(call, vm);
    if (vm->current_operations.n || vm->is_control_domain)
        return;
    if (has_domain && !d && is_ours(call, vm)) {
        log_warning("VM %s (%s) ended while xapid was not running", vm->uuid, vm->name_label);
        s.by_order = vm_was_ended_cut_off(call, vm);
        e = db_update(call, record_gone, &s);
        if (!e)
            vm_end_is_recorded(call, vm);
    } else if (d && d->state != HV_SHUTDOWN &&
               (has_domain ? is_ours(call, vm) && !same_state(vm, d) : !is_on_its_way(call, vm))) {
        follow_state(call, vm, &s);
    }
    if (e)
        log_error("that VM %s is halted could not be recorded: %s", vm->uuid,
                  error_line(call->arena, e));
}

static void report_stranger(struct call *call, const char *uuid)
{
    const struct host *host = db_find(call, CLASS_host, call->xapid->host);

    log_warning("domain %s belongs to no VM in the database; it is left alone", uuid);
    if (host)
        alert_create(
            call, "UNKNOWN_DOMAIN", CLS_HOST, host->uuid,
            arena_printf(call->arena,
                         "A domain with the uuid %s runs on this host but belongs to no VM.",
                         uuid));
}

struct error *vms_reconcile(struct call *call)
{
    struct hv_request rq = {.arena = call->arena, .epoch = xapid_epoch(call->xapid)};
    const struct hv_domain *domains;
    const struct vm **vms, *vm;
    struct db_snap *snap;
    struct db_walk walk;
    size_t n_domains, n = 0;

    TRY(hv_list(call->xapid->hv, &rq, &n_domains, &domains));
    call_refresh(call);
    snap = db_snap_ref(call->snap);
    vms = arena_array(call->arena, const struct vm *, snap_root(snap)->tables[CLASS_vm].count + 1);
    db_walk(snap, CLASS_vm, &walk);
    while ((vm = db_walk_next(&walk)))
        vms[n++] = vm;
    for (size_t i = 0; i < n; i++)
        reconcile_vm(call, vms[i], domain_of(vms[i]->uuid, n_domains, domains));
    for (size_t i = 0; i < n_domains; i++)
        if (!find_vm(call, domains[i].uuid))
            report_stranger(call, domains[i].uuid);
    db_snap_unref(snap);
    return OK;
}

/*** the thread ***/

struct dirty {
    char uuid[UUID_TEXT_SIZE];
    usec_t when; /* monotonic */
};

struct vm_watch {
    struct xapid *xapid;
    struct mutex lock;
    struct cond changed;
    struct thread thread;
    bool stopping, all;
    size_t n, room;
    struct dirty *v;
    /* Of the thread only. */
    size_t n_strangers;
    char strangers[MAX_STRANGERS][UUID_TEXT_SIZE];
};

/* With the lock held.  One that waits already is looked at at the earlier of both times. */
static void add(struct vm_watch *w, const char *uuid, usec_t when)
{
    if (strlen(uuid) != UUID_TEXT_SIZE - 1)
        return;
    for (size_t i = 0; i < w->n; i++) {
        if (strcmp(w->v[i].uuid, uuid) == 0) {
            w->v[i].when = MIN(w->v[i].when, when);
            return;
        }
    }
    if (w->n == w->room) {
        w->room = w->room ? w->room * 2 : 64;
        w->v = xrealloc(w->v, w->room * sizeof *w->v);
    }
    memcpy(w->v[w->n].uuid, uuid, UUID_TEXT_SIZE);
    w->v[w->n++].when = when;
}

static void on_change(void *ctx, const char *uuid)
{
    struct vm_watch *w = ctx;
    MUTEX_GUARD(&w->lock);

    if (*uuid)
        add(w, uuid, 0);
    else
        w->all = true;
    cond_signal(&w->changed);
}

/* An end can take as long as a boot: a worker's matter. */
struct ended_job {
    struct xapid *xapid;
    ref_t vm;
};

static void run_ended(void *arg)
{
    struct ended_job *job = arg;
    AUTO(arena) arena = {0};
    struct call call;
    struct error *e;

    call_init_internal(&call, job->xapid, &arena);
    e = vm_domain_ended(&call, job->vm);
    /* A VM that was destroyed, or was taken over by a harder operation, needs nothing more. */
    if (e && !error_is(e, "HANDLE_INVALID") && !error_is(e, "TASK_CANCELLED"))
        log_error("the end of the domain of VM %s: %s", ref_text(&arena, job->vm),
                  error_line(&arena, e));
    call_release(&call);
    free(job);
}

static bool hand_over(struct vm_watch *w, ref_t vm)
{
    struct ended_job *job = xcalloc(1, sizeof *job);

    *job = (struct ended_job){w->xapid, vm};
    if (workers_run(w->xapid->workers, run_ended, job))
        return true;
    free(job);
    return false;
}

static void note_stranger(struct vm_watch *w, struct call *call, const char *uuid)
{
    for (size_t i = 0; i < w->n_strangers; i++)
        if (strcmp(w->strangers[i], uuid) == 0)
            return;
    if (w->n_strangers == MAX_STRANGERS)
        return;
    memcpy(w->strangers[w->n_strangers++], uuid, UUID_TEXT_SIZE);
    log_warning("domain %s belongs to no VM in the database; it is left alone", uuid);
    (void)call;
}

/* Returns whether it must be looked at again. */
static bool look_at(struct vm_watch *w, const char *uuid)
{
    AUTO(arena) arena = {0};
    struct call call;
    ref_t ref = REF_NULL;
    enum outcome outcome;

    call_init_internal(&call, w->xapid, &arena);
    outcome = look(&call, uuid, &ref);
    if (outcome == LOOK_STRANGER)
        note_stranger(w, &call, uuid);
    /* A second look makes sure that the end was dealt with. */
    if (outcome == LOOK_ENDED)
        hand_over(w, ref);
    call_release(&call);
    return outcome == LOOK_AGAIN || outcome == LOOK_ENDED;
}

/* All domains, and all VMs that should have one. */
static void list_all(struct vm_watch *w)
{
    AUTO(arena) arena = {0};
    const struct hv_domain *domains = NULL;
    size_t n_domains = 0;
    struct hv_request rq;
    struct db_walk walk;
    const struct vm *vm;
    struct call call;
    struct error *e;

    call_init_internal(&call, w->xapid, &arena);
    rq = (struct hv_request){.arena = &arena, .epoch = xapid_epoch(w->xapid)};
    e = hv_list(w->xapid->hv, &rq, &n_domains, &domains);
    if (e)
        log_warning("list of domains: %s", error_line(&arena, e));
    mutex_lock(&w->lock);
    for (size_t i = 0; i < n_domains; i++)
        add(w, domains[i].uuid, 0);
    db_walk(call.snap, CLASS_vm, &walk);
    while ((vm = db_walk_next(&walk)))
        if (is_ours(&call, vm))
            add(w, vm->uuid, 0);
    mutex_unlock(&w->lock);
    call_release(&call);
}

/* With the lock held: takes one that is due; else *next is when one will be, 0 for never. */
static bool take_due(struct vm_watch *w, char uuid[UUID_TEXT_SIZE], usec_t *next)
{
    usec_t now = clock_mono();

    *next = 0;
    for (size_t i = 0; i < w->n; i++) {
        if (w->v[i].when <= now) {
            memcpy(uuid, w->v[i].uuid, UUID_TEXT_SIZE);
            w->v[i] = w->v[--w->n];
            return true;
        }
        *next = *next ? MIN(*next, w->v[i].when) : w->v[i].when;
    }
    return false;
}

static void *watch_thread(void *arg)
{
    struct vm_watch *w = arg;
    char uuid[UUID_TEXT_SIZE];
    usec_t next;
    bool again;

    mutex_lock(&w->lock);
    while (!w->stopping) {
        if (w->all) {
            w->all = false;
            mutex_unlock(&w->lock);
            list_all(w);
            mutex_lock(&w->lock);
        } else if (take_due(w, uuid, &next)) {
            mutex_unlock(&w->lock);
            again = look_at(w, uuid);
            mutex_lock(&w->lock);
            if (again)
                add(w, uuid, clock_mono() + AGAIN);
        } else if (next) {
            cond_wait_until(&w->changed, &w->lock, next);
        } else {
            cond_wait(&w->changed, &w->lock);
        }
    }
    mutex_unlock(&w->lock);
    return NULL;
}

struct vm_watch *vm_watch_start(struct xapid *xapid)
{
    struct vm_watch *w = xcalloc(1, sizeof *w);

    w->xapid = xapid;
    mutex_init(&w->lock);
    cond_init(&w->changed);
    thread_start(&w->thread, "vm-watch", watch_thread, w);
    hv_watch(xapid->hv, on_change, w);
    return w;
}

void vm_watch_stop(struct vm_watch *w)
{
    if (!w)
        return;
    mutex_lock(&w->lock);
    w->stopping = true;
    cond_signal(&w->changed);
    mutex_unlock(&w->lock);
    thread_join(&w->thread);
}

void vm_watch_free(struct vm_watch *w)
{
    if (!w)
        return;
    cond_release(&w->changed);
    mutex_release(&w->lock);
    free(w->v);
    free(w);
}
