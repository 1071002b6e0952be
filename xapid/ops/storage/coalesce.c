/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/storage/coalesce.h"

#include <stdlib.h>
#include <string.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "libxapi/value/value.h"
#include "xapid/db/ready.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/message.h"
#include "xapid/ops/storage/attach.h"
#include "xapid/ops/storage/check.h"
#include "xapid/ops/storage/making.h"
#include "xapid/ops/storage/scan.h"
#include "xapid/task/task.h"

/* Several disks are often removed one after the other: how long all has to be quiet, and how long
 * that is waited for. */
#define DELAY (10 * USEC_PER_SEC)
#define DELAY_MAX (120 * USEC_PER_SEC)
#define AGAIN (100 * USEC_PER_MSEC) /* between two looks whether a scan has ended */
#define LAST_ERROR "last-coalesce-error"

/* An SR that is to be looked at. */
struct due {
    struct due *next;
    ref_t sr;
    usec_t at, latest; /* monotonic */
};

struct coalescer {
    struct xapid *xapid;
    struct thread thread;
    struct mutex lock; /* of the rest */
    struct cond wake, left;
    struct due *due;
    ref_t busy;   /* what the thread is at; null: nothing */
    bool give_up; /* that */
    bool stopping;
};

/* One round over an SR. */
struct round {
    struct coalescer *c;
    struct call *call;
    struct sr_handle *handle;
    ref_t sr;
    int64_t speed;
    bool leaves; /* disks themselves too */
    size_t n_done, n_left;
};

/* A pair. */
struct pair {
    const struct vdi_info *base, *upper;
};

/*** which pairs there are ***/

static bool says_no(const struct strmap *config, const char *key)
{
    const char *value = strmap_get(config, key);

    return value && strcmp(value, "false") == 0;
}

static const struct vdi *row_of(struct call *call, ref_t sr, const char *location)
{
    struct refs disks = db_referrers(call, FIELD_vdi_sr, sr);

    for (size_t i = 0; i < disks.n; i++) {
        const struct vdi *vdi = db_find(call, CLASS_vdi, disks.v[i]);

        if (vdi && strcmp(vdi->location, location) == 0)
            return vdi;
    }
    return NULL;
}

static bool is_in_use(struct call *call, const struct vdi *vdi)
{
    struct refs vbds = db_referrers(call, FIELD_vbd_vdi, vdi->ref);

    for (size_t i = 0; i < vbds.n; i++) {
        const struct vbd *vbd = db_find(call, CLASS_vbd, vbds.v[i]);

        if (vbd && (vbd->currently_attached || vbd->current_operations.n ||
                    vbd_vm_is_changing(call->snap, vbd)))
            return true;
    }
    return vdi_is_attached(call, vdi->ref);
}

/* A disk itself is left alone while somebody has it, and where it goes back at each start. */
static bool may_take(const struct round *r, const struct vdi_info *upper)
{
    const struct vdi *vdi = row_of(r->call, r->sr, upper->location);

    if (upper->stripped || upper->unknown)
        return false;
    if (upper->hidden)
        return true;
    return r->leaves && vdi && vdi->on_boot == ON_BOOT_PERSIST && !vdi->current_operations.n &&
           !says_no(&vdi->other_config, "leaf-coalesce") && !is_in_use(r->call, vdi);
}

/* What lies on a base: the only one, or NULL. */
static const struct vdi_info *only_child(size_t n, const struct vdi_info *v,
                                         const struct vdi_info *base)
{
    const struct vdi_info *child = NULL;

    for (size_t i = 0; i < n; i++) {
        if (strcmp(v[i].parent, base->location) != 0)
            continue;
        if (child)
            return NULL;
        child = &v[i];
    }
    return child;
}

/* Pairs that overlap are done in later rounds. */
static struct error *find_pairs(struct round *r, struct pair **out, size_t *n_out)
{
    struct vdi_info *v;
    size_t n = 0, found = 0;

    TRY(r->handle->driver->scan(r->call, r->handle, &n, &v));
    *out = arena_array(r->call->arena, struct pair, n + 1);
    for (size_t i = 0; i < n; i++) {
        const struct vdi_info *upper = v[i].hidden ? only_child(n, v, &v[i]) : NULL;
        bool taken = false;

        for (size_t k = 0; upper && k < found; k++)
            taken |= (*out)[k].upper == &v[i] || (*out)[k].base == upper;
        if (upper && !taken && may_take(r, upper))
            (*out)[found++] = (struct pair){&v[i], upper};
    }
    *n_out = found;
    return OK;
}

/*** one pair ***/

struct outcome {
    const struct round *round;
    const char *base;
    const struct vdi_info *upper; /* as it is now; NULL where it is gone */
};

/* A scan that is under way may have seen the base still: it is let finish first. */
static struct error *record(struct txn *txn, void *arg)
{
    const struct outcome *o = arg;
    ref_t sr_ref = o->round->sr;
    const struct vdi *base, *upper;
    const struct sr *sr;

    if (!txn_find(txn, CLASS_sr, sr_ref))
        return OK;
    TRY(txn_sr_check(txn, sr_ref, SR_OP_VDI_DESTROY, &sr));
    base = row_of(txn_call(txn), sr_ref, o->base);
    upper = o->upper ? row_of(txn_call(txn), sr_ref, o->upper->location) : NULL;
    if (base && !base->managed)
        txn_vdi_gone(txn, &(struct vdi_gone){.vdi = base->ref});
    if (upper && txn_find(txn, CLASS_vdi, upper->ref))
        txn_vdi_seen(txn, txn_find(txn, CLASS_vdi, upper->ref), o->upper, false);
    if (strmap_get(&sr->other_config, LAST_ERROR))
        txn_strmap_remove(txn, FIELD_sr_other_config, sr_ref, LAST_ERROR);
    return OK;
}

static bool goes_on(struct round *r)
{
    MUTEX_GUARD(&r->c->lock);
    return !r->c->stopping && !r->c->give_up;
}

static struct error *commit(struct round *r, struct op *op, const char *base, const char *location)
{
    struct outcome o = {.round = r, .base = base};
    struct vdi_info info;
    struct error *e = r->handle->driver->vdi_stat(r->call, r->handle, location, &info);

    if (e && !error_is(e, "VDI_MISSING"))
        return e;
    o.upper = e ? NULL : &info;
    do {
        call_refresh(r->call);
        e = op_commit(op, record, &o);
        if (error_is(e, "OTHER_OPERATION_IN_PROGRESS"))
            clock_sleep(AGAIN);
    } while (error_is(e, "OTHER_OPERATION_IN_PROGRESS") && r->c && goes_on(r));
    return e;
}

/* Of all pairs that are known, with so much of this one done. */
static double part_done(const struct round *r, double done)
{
    return ((double)r->n_done + done) / (double)(r->n_done + r->n_left);
}

static bool progress(void *ctx, double done)
{
    struct round *r = ctx;

    task_progress(r->call, part_done(r, done));
    return goes_on(r) && task_check(r->call) == OK;
}

static struct error *coalesce(struct round *r, const struct pair *p)
{
    struct sr_coalesce_intent intent = {
        .sr = r->sr, .base = p->base->location, .location = p->upper->location};
    struct vdi_coalesce what = {
        .location = p->upper->location, .base = p->base->location, .speed = r->speed};
    AUTO(op) op = {0};
    struct error *e;

    TRY(op_begin(r->call, &(struct op_spec){.kind = INTENT_sr_coalesce, .intent = &intent}, &op));
    TRY(op_step(&op, "begun", part_done(r, 0)));
    TRY(r->handle->driver->vdi_coalesce(r->call, r->handle, &what, progress, r));
    /* It is done, cancelled or not. */
    error_ignore(op_step(&op, "coalesced", part_done(r, 1)));
    log_info("image %s of SR %s has become one with %s", what.base, r->handle->uuid, what.location);
    e = commit(r, &op, what.base, what.location);
    if (e)
        op_leave(&op); /* the storage has changed, and the records are to follow */
    return e;
}

/* Whether it was done is what the storage says; what was not is found again by the thread. */
struct error *sr_coalesce_recover(struct call *call, struct op *op,
                                  const struct sr_coalesce_intent *intent)
{
    struct round r = {.call = call, .sr = intent->sr};
    AUTO(sr_use) use = {0};
    struct vdi_info info;
    struct error *e;

    if (!db_find(call, CLASS_sr, intent->sr) || !sr_is_attached(call->xapid, intent->sr))
        return OK;
    TRY(sr_use(call, intent->sr, &use));
    r.handle = use.handle;
    if (!error_is(use.handle->driver->vdi_stat(call, use.handle, intent->base, &info),
                  "VDI_MISSING"))
        return OK;
    e = commit(&r, op, intent->base, intent->location);
    /* What is at the SR instead looks at all records. */
    return error_is(e, "OTHER_OPERATION_IN_PROGRESS") ? OK : e;
}

/*** what nothing needs ***/

/* A driver removes all of them when it is asked for one; the records follow one by one. */
static struct error *drop(struct round *r, const char *base)
{
    const struct sr_driver *driver = r->handle->driver;
    struct sr_coalesce_intent intent = {.sr = r->sr, .base = base, .location = base};
    struct vdi_info info;
    AUTO(op) op = {0};
    struct error *e;

    TRY(op_begin(r->call, &(struct op_spec){.kind = INTENT_sr_coalesce, .intent = &intent}, &op));
    e = driver->vdi_stat(r->call, r->handle, base, &info);
    if (!error_is(e, "VDI_MISSING"))
        TRY(driver->vdi_delete(r->call, r->handle, base));
    e = commit(r, &op, base, base);
    if (e)
        op_leave(&op);
    return e;
}

static int by_location(const void *a, const void *b)
{
    return strcmp(((const struct vdi_info *)a)->location, ((const struct vdi_info *)b)->location);
}

/* Which of them something lies upon; drivers give them in order. */
static const bool *find_needed(struct call *call, size_t n, const struct vdi_info *v)
{
    bool *needed = arena_array(call->arena, bool, n + 1);

    for (size_t i = 0; i < n; i++) {
        struct vdi_info key = {.location = v[i].parent};
        const struct vdi_info *base =
            v[i].stripped || !v[i].parent[0] ? NULL : bsearch(&key, v, n, sizeof key, by_location);

        if (base)
            needed[base - v] = true;
    }
    return needed;
}

/* Hidden images that VDI.destroy has left, for there are too many images to look at all of them
 * while somebody waits (storage-repos/dir/vdi.c). */
static struct error *drop_unneeded(struct round *r)
{
    const bool *needed;
    struct vdi_info *v;
    size_t n = 0;

    TRY(r->handle->driver->scan(r->call, r->handle, &n, &v));
    needed = find_needed(r->call, n, v);
    for (size_t i = 0; i < n && goes_on(r); i++) {
        struct error *e;

        if (!v[i].hidden || v[i].unknown || needed[i])
            continue;
        e = drop(r, v[i].location);
        if (e && !error_is(e, "VDI_IN_USE")) /* somebody has just forked */
            return e;
        r->n_done += e == OK;
    }
    return OK;
}

/*** a round ***/

struct failure {
    ref_t sr;
    const char *text;
    bool full;
};

/* Said once, however often it is tried again. */
static struct error *record_failure(struct txn *txn, void *arg)
{
    const struct failure *f = arg;
    const struct sr *sr = txn_find(txn, CLASS_sr, f->sr);
    const char *before = sr ? strmap_get(&sr->other_config, LAST_ERROR) : NULL;

    if (!sr || (before && strcmp(before, f->text) == 0))
        return OK;
    txn_strmap_put(txn, FIELD_sr_other_config, f->sr, LAST_ERROR, f->text);
    if (f->full)
        txn_alert(txn, "SM_GC_NO_SPACE", CLS_SR, sr->uuid,
                  "Images of this storage repository cannot be coalesced: it is full.");
    return OK;
}

/* True where it is worth another try by itself. */
static bool judge(struct round *r, const struct pair *p, const struct error *e)
{
    struct failure f = {.sr = r->sr};

    if (!e || error_is(e, "TASK_CANCELLED") || error_is(e, "VDI_IN_USE"))
        return false;
    f.text = error_line(r->call->arena, e);
    f.full = error_is(e, "SR_FULL");
    log_warning("image %s of SR %s is not coalesced with %s: %s", p->base->location,
                r->handle->uuid, p->upper->location, f.text);
    error_ignore(db_update(r->call, record_failure, &f)); /* the log has it */
    return true;
}

/* Rounds go on as long as they make chains shorter. */
static struct error *run_rounds(struct round *r, bool *again)
{
    struct pair *pairs;
    size_t n, before;

    do {
        before = r->n_done;
        call_refresh(r->call);
        TRY(find_pairs(r, &pairs, &n));
        for (size_t i = 0; i < n; i++) {
            struct error *e;

            r->n_left = n - i;
            if (!r->call->task)
                TRY(task_begin(r->call, "Garbage Collection", true, REF_NULL));
            e = coalesce(r, &pairs[i]);
            if (!goes_on(r) || error_is(e, "TASK_CANCELLED"))
                return e;
            *again |= judge(r, &pairs[i], e);
            r->n_done += e == OK;
        }
    } while (r->n_done > before);
    return OK;
}

/*** which host does it ***/

static bool is_before(ref_t a, ref_t b)
{
    return a.hi != b.hi ? a.hi < b.hi : a.lo < b.lo;
}

static bool has_it(struct call *call, ref_t sr, ref_t host)
{
    return sr_is_plugged(call->snap, sr, host) && host_lives(call->snap, host);
}

static bool is_ours(struct call *call, const struct sr *sr)
{
    const struct pool *pool = db_find(call, CLASS_pool, call->xapid->pool);
    struct refs pbds = db_referrers(call, FIELD_pbd_sr, sr->ref);
    ref_t self = call->xapid->host, first = self;

    if (!sr->shared)
        return true;
    if (pool && has_it(call, sr->ref, pool->master))
        return ref_equal(pool->master, self);
    for (size_t i = 0; i < pbds.n; i++) {
        const struct pbd *pbd = db_find(call, CLASS_pbd, pbds.v[i]);

        if (pbd && is_before(pbd->host, first) && has_it(call, sr->ref, pbd->host))
            first = pbd->host;
    }
    return ref_equal(first, self);
}

static bool is_looked_at(struct call *call, const struct sr *sr)
{
    const struct sr_driver *driver = sr ? sr_driver_by_type(sr->type) : NULL;

    return driver && driver->features & SR_F_VDI_COALESCE && sr_is_attached(call->xapid, sr->ref) &&
           is_ours(call, sr);
}

static bool is_wanted(const struct sr *sr)
{
    return !says_no(&sr->other_config, "coalesce") && !says_no(&sr->other_config, "gc");
}

static int64_t speed_of(const struct sr *sr)
{
    const char *kbps = strmap_get(&sr->other_config, "coalesce-kbps");
    long long n = kbps ? strtoll(kbps, NULL, 10) : 0;

    return n > 0 && n < INT64_MAX / 1024 ? n * 1024 : 0;
}

static bool look_at(struct coalescer *c, struct call *call, ref_t ref)
{
    const struct sr *sr = db_find(call, CLASS_sr, ref);
    struct round r = {.c = c, .call = call, .sr = ref};
    AUTO(sr_use) use = {0};
    bool again = false, wanted;
    struct error *e;

    if (!is_looked_at(call, sr) || sr_use(call, ref, &use))
        return false;
    r.handle = use.handle;
    r.speed = speed_of(sr);
    r.leaves = !says_no(&sr->other_config, "leaf-coalesce");
    wanted = is_wanted(sr);
    e = drop_unneeded(&r);
    if (!e && wanted)
        e = run_rounds(&r, &again);
    if (e && !error_is(e, "TASK_CANCELLED"))
        log_warning("the chains of SR %s: %s", use.handle->uuid, error_line(call->arena, e));
    if (r.n_done)
        error_ignore(sr_refresh_sizes(call, ref)); /* comes right at the next look anyway */
    task_end(call, e, NULL);
    return again;
}

/*** the thread ***/

/* The one that is due, taken out; NULL with the time of the next. */
static struct due *take_due(struct coalescer *c, usec_t *next)
{
    usec_t now = clock_mono();

    *next = now + 3600 * USEC_PER_SEC;
    for (struct due **p = &c->due; *p; p = &(*p)->next) {
        struct due *d = *p;

        if (MIN(d->at, d->latest) <= now) {
            *p = d->next;
            return d;
        }
        *next = MIN(*next, MIN(d->at, d->latest));
    }
    return NULL;
}

static void run_one(struct coalescer *c, ref_t sr)
{
    AUTO(arena) arena = {0};
    struct call call;
    bool again;

    call_init_internal(&call, c->xapid, &arena);
    again = look_at(c, &call, sr);
    call_release(&call);
    if (again)
        coalescer_kick(c, sr, false);
}

static void *coalescer_thread(void *arg)
{
    struct coalescer *c = arg;

    mutex_lock(&c->lock);
    while (!c->stopping) {
        usec_t next;
        struct due *d = take_due(c, &next);

        if (!d) {
            cond_wait_until(&c->wake, &c->lock, next);
            continue;
        }
        c->busy = d->sr;
        c->give_up = false;
        free(d);
        mutex_unlock(&c->lock);
        run_one(c, c->busy);
        mutex_lock(&c->lock);
        c->busy = REF_NULL;
        cond_broadcast(&c->left);
    }
    mutex_unlock(&c->lock);
    return NULL;
}

/* What was not finished when the daemon ended. */
static void kick_all(struct coalescer *c)
{
    AUTO(arena) arena = {0};
    struct refs pbds;
    struct call call;

    call_init_internal(&call, c->xapid, &arena);
    pbds = db_referrers(&call, FIELD_pbd_host, c->xapid->host);
    for (size_t i = 0; i < pbds.n; i++) {
        const struct pbd *pbd = db_find(&call, CLASS_pbd, pbds.v[i]);

        if (pbd && pbd->currently_attached)
            coalescer_kick(c, pbd->sr, false);
    }
    call_release(&call);
}

struct coalescer *coalescer_start(struct xapid *xapid)
{
    struct coalescer *c = xcalloc(1, sizeof *c);

    c->xapid = xapid;
    mutex_init(&c->lock);
    cond_init(&c->wake);
    cond_init(&c->left);
    kick_all(c);
    thread_start(&c->thread, "coalescer", coalescer_thread, c);
    return c;
}

void coalescer_stop(struct coalescer *c)
{
    if (!c)
        return;
    mutex_lock(&c->lock);
    c->stopping = true;
    cond_broadcast(&c->wake);
    mutex_unlock(&c->lock);
    thread_join(&c->thread);
}

void coalescer_free(struct coalescer *c)
{
    if (!c)
        return;
    while (c->due) {
        struct due *next = c->due->next;

        free(c->due);
        c->due = next;
    }
    cond_release(&c->wake);
    cond_release(&c->left);
    mutex_release(&c->lock);
    free(c);
}

void coalescer_kick(struct coalescer *c, ref_t sr, bool now)
{
    usec_t at = clock_mono() + (now ? 0 : DELAY);
    struct due *d;

    if (!c)
        return;
    MUTEX_GUARD(&c->lock);
    for (d = c->due; d && !ref_equal(d->sr, sr); d = d->next)
        ;
    if (!d) {
        d = xcalloc(1, sizeof *d);
        *d = (struct due){.next = c->due, .sr = sr, .latest = clock_mono() + DELAY_MAX};
        c->due = d;
    }
    d->at = at;
    cond_signal(&c->wake);
}

void coalescer_leave(struct coalescer *c, ref_t sr)
{
    if (!c)
        return;
    MUTEX_GUARD(&c->lock);
    while (ref_equal(c->busy, sr) && !c->stopping) {
        c->give_up = true;
        cond_wait(&c->left, &c->lock);
    }
}
