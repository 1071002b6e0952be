/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vdi_move.c -- VDI.pool_migrate: a disk moves to another repository, with its snapshots, whether
 * or not somebody uses it.
 *
 * It stays the same disk: reference, uuid, and what users see of it.  First all is copied, while
 * its users go on.  At the end they are held for a moment, in which both copies are the same, and
 * one write-set decides: its record names the other repository.  Before it whatever fails leaves
 * the disk as it was and removes the copy; after it users go on with the copy, and the images of
 * the first repository are removed.  So recovery has one question: what the record says.
 */
#include "xapid/ops/storage/vdi_move.h"

#include <stdlib.h>
#include <string.h>

#include "libxapi/base/log.h"
#include "libxapi/base/seam.h"
#include "libxapi/value/value.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/intent.h"
#include "xapid/ops/migrate/migrate.h"
#include "xapid/ops/registry.h"
#include "xapid/ops/storage/attach.h"
#include "xapid/ops/storage/check.h"
#include "xapid/ops/storage/far_disk.h"
#include "xapid/ops/storage/making.h"
#include "xapid/ops/storage/mirror.h"
#include "xapid/ops/storage/move_plan.h"
#include "xapid/ops/storage/scan.h"
#include "xapid/ops/storage/vdi_copy.h"
#include "xapid/ops/vm/domain.h"
#include "xapid/ops/vm/lifecycle.h"
#include "xapid/task/task.h"

#define AT_ONCE 3 /* on a host */
#define ERASED_WITHIN (60 * USEC_PER_SEC)
#define LOOK_AGAIN (50 * USEC_PER_MSEC)
#define BEGUN 0.05 /* of the progress */
#define COPIED 0.9

/* The disk or one of its snapshots; memory of the call. */
struct image {
    ref_t vdi;
    const char *uuid; /* its location in the new repository */
    struct vdi_spec spec;
    struct vdi_plan fork; /* by which it comes to be there, where that is how */
    struct vdi_made made;
    struct vdi_info info; /* at the end */
};

struct move {
    struct op *op;
    const struct vdi_move_intent *intent;
    size_t n;
    struct image *v; /* the disk is the last */
    struct move_plan plan;
    struct sr_use to;
    ref_t vm;      /* that uses it; null: none does */
    bool live;     /* it is written to meanwhile */
    bool use;      /* it is attached, by us too */
    bool far;      /* another host has it: nobody here can do anything with it but read it */
    int64_t bytes; /* copied so far */
};

static struct image *disk_of(struct move *m)
{
    return &m->v[m->n - 1];
}

/*** what moves ***/

static int by_time(const void *a, const void *b)
{
    const struct vdi *const *x = a, *const *y = b;

    return (*x)->snapshot_time < (*y)->snapshot_time   ? -1
           : (*x)->snapshot_time > (*y)->snapshot_time ? 1
                                                       : strcmp((*x)->uuid, (*y)->uuid);
}

/* The snapshots in the same repository, the oldest first, then the disk.  What is left of one whose
 * data was destroyed says something about images that do not move. */
static const struct vdi **find_disks(struct call *call, const struct vdi *vdi, size_t *n)
{
    struct refs all = db_referrers(call, FIELD_vdi_snapshot_of, vdi->ref);
    const struct vdi **v = arena_array(call->arena, const struct vdi *, all.n + 1);

    *n = 0;
    for (size_t i = 0; i < all.n; i++) {
        const struct vdi *snapshot = db_find(call, CLASS_vdi, all.v[i]);

        if (snapshot && ref_equal(snapshot->sr, vdi->sr) && snapshot->managed &&
            snapshot->type != VDI_TYPE_CBT_METADATA)
            v[(*n)++] = snapshot;
    }
    qsort(v, *n, sizeof *v, by_time);
    v[(*n)++] = vdi;
    return v;
}

static struct vdi_move_intent intent_of(struct call *call, const struct vdi *vdi, ref_t to)
{
    struct vdi_move_intent intent = {.vdi = vdi->ref, .from = vdi->sr, .to = to};
    const struct vdi **v = find_disks(call, vdi, &intent.disks.n);
    const char **locations = arena_array(call->arena, const char *, intent.disks.n);
    const char **copies = arena_array(call->arena, const char *, intent.disks.n);
    ref_t *disks = arena_array(call->arena, ref_t, intent.disks.n);

    for (size_t i = 0; i < intent.disks.n; i++) {
        disks[i] = v[i]->ref;
        locations[i] = arena_strdup(call->arena, v[i]->location);
        copies[i] = arena_strdup(call->arena, v[i]->uuid);
    }
    intent.disks.v = disks;
    intent.locations = (struct strings){intent.disks.n, locations};
    intent.copies = (struct strings){intent.disks.n, copies};
    return intent;
}

/* The base that a fork leaves in the new repository has a name of its own in each move: the disk
 * may have been there before, and another one may lie on what that left. */
static ref_t fork_ref(ref_t vdi, ref_t intent)
{
    return (ref_t){.hi = vdi.hi ^ intent.hi, .lo = vdi.lo ^ intent.lo};
}

static struct error *find_images(struct move *m)
{
    struct call *call = m->op->call;
    int64_t *sizes;

    m->n = m->intent->disks.n;
    m->v = arena_array(call->arena, struct image, m->n);
    sizes = arena_array(call->arena, int64_t, m->n);
    for (size_t i = 0; i < m->n; i++) {
        struct image *image = &m->v[i];
        const struct vdi *vdi;

        TRY(DB_GET(call, vdi, m->intent->disks.v[i], &vdi));
        *image = (struct image){.vdi = vdi->ref, .uuid = arena_strdup(call->arena, vdi->uuid)};
        image->spec =
            (struct vdi_spec){.location = image->uuid,
                              .name_label = arena_strdup(call->arena, vdi->name_label),
                              .name_description = arena_strdup(call->arena, vdi->name_description)};
        value_copy(call->arena, api_fields[FIELD_vdi_sm_config].type, &vdi->sm_config,
                   &image->spec.sm_config);
        image->spec.sm_config = strmap_without(call->arena, image->spec.sm_config, VDI_KEY_PARENT);
        image->fork = (struct vdi_plan){.vdi = fork_ref(vdi->ref, m->op->intent),
                                        .source = m->intent->vdi,
                                        .sr = m->intent->to,
                                        .how = VDI_SNAPSHOT};
        sizes[i] = vdi->virtual_size;
    }
    move_plan(call->arena, m->n, sizes, m->to.handle->driver->features & SR_F_VDI_SNAPSHOT,
              &m->plan);
    return OK;
}

/*** copying ***/

static struct error *to_error(struct move *m, struct error *e)
{
    return vdi_error(m->op->call, e, m->intent->to, m->intent->vdi);
}

/* Disks this scope reads. */
struct reading {
    struct move *m;
    size_t n;
    ref_t v[2];
    struct far_disk far[2];
};

static void reading_release(struct reading *r)
{
    while (r->n--)
        if (r->m->far)
            far_disk_release(&r->far[r->n]);
        else
            vdi_path_detach(r->m->op->call, r->v[r->n]);
}

static struct error *read_disk(struct reading *r, ref_t vdi, struct vdi_path *path)
{
    TRY(r->m->far ? far_disk_open(r->m->op->call, r->m->op->intent, vdi, &r->far[r->n], path)
                  : vdi_path_read(r->m->op->call, vdi, path));
    r->v[r->n++] = vdi;
    return OK;
}

static double progress_at(const struct move *m, int64_t bytes)
{
    return BEGUN + (COPIED - BEGUN) * (double)bytes / (double)MAX(m->plan.bytes, (int64_t)1);
}

/* Of what nobody writes to. */
static struct error *copy_content(struct move *m, const struct move_step *step)
{
    struct call *call = m->op->call;
    const struct sr_driver *driver = m->to.handle->driver;
    const char *location = m->v[step->into].uuid;
    AUTO(reading) reading = {.m = m};
    struct vdi_path from, base, to;
    struct data_copy copy = {.from = &from,
                             .to = &to,
                             .fresh = step->base == MOVE_NOTHING,
                             .start = progress_at(m, m->bytes),
                             .end = progress_at(m, m->bytes + step->size)};
    struct error *e;

    TRY(read_disk(&reading, m->v[step->image].vdi, &from));
    if (step->base != MOVE_NOTHING) {
        TRY(read_disk(&reading, m->v[step->base].vdi, &base));
        copy.base = &base;
    }
    TRY(to_error(m, driver->vdi_attach(call, m->to.handle, location, true, &to)));
    e = data_copy(call, &copy);
    driver->vdi_detach(call, m->to.handle, location);
    return e;
}

/* What is below the disk's own image is what the copy has already: its youngest snapshot lies on
 * the same image, and is not written to. */
static bool needs_top_only(struct move *m)
{
    struct call *call = m->op->call;
    struct vdi_info disk, snapshot;
    AUTO(sr_use) from = {0};

    if (!m->plan.forks || m->n < 2 || sr_use(call, m->intent->from, &from))
        return false;
    return !from.handle->driver->vdi_stat(call, from.handle, m->intent->locations.v[m->n - 1],
                                          &disk) &&
           !from.handle->driver->vdi_stat(call, from.handle, m->intent->locations.v[m->n - 2],
                                          &snapshot) &&
           disk.parent[0] && strcmp(disk.parent, snapshot.parent) == 0;
}

static struct error *broken(struct move *m, const char *why)
{
    struct call *call = m->op->call;

    log_warning("disk %s does not move: %s", disk_of(m)->uuid, why);
    return err_mirror_failed(call, call_ref(call, m->intent->vdi));
}

/* 'size': how much of the whole is copied so. */
static struct error *wait_until_ready(struct move *m, int64_t size)
{
    struct call *call = m->op->call;
    struct datapath_mirror now;

    while (true) {
        TRY(vdi_mirror_look(call, disk_of(m)->uuid, &now));
        if (now.phase == MIRROR_READY)
            return OK;
        if (now.phase != MIRROR_COPYING)
            return broken(m, now.phase == MIRROR_BROKEN ? now.why : "its server knows of no move");
        task_progress(call, progress_at(m, m->bytes + (int64_t)(now.done * (double)size)));
        TRY(task_check(call));
        TRY(vm_overruled(m->op, m->vm));
        clock_sleep(LOOK_AGAIN);
    }
}

static struct error *mirror(struct move *m, const struct move_step *step)
{
    TRY(vdi_mirror(m->op->call, disk_of(m)->uuid, m->intent->to, needs_top_only(m)));
    return wait_until_ready(m, step->size);
}

static struct error *hold(struct move *m)
{
    bool held = false;

    while (!held) {
        TRY(vdi_mirror_hold(m->op->call, disk_of(m)->uuid, &held));
        if (!held)
            TRY(wait_until_ready(m, 0));
    }
    return OK;
}

static struct error *fork_image(struct move *m, struct image *image)
{
    struct call *call = m->op->call;
    const struct sr_driver *driver = m->to.handle->driver;
    const char *base = vdi_base_uuid_for(call->arena, image->fork.vdi);

    TRY(driver->vdi_fork(call, m->to.handle, disk_of(m)->uuid, base, &image->spec,
                         &image->made.info));
    image->made.forked = driver->vdi_stat(call, m->to.handle, base, &image->made.base) == OK;
    return OK;
}

static struct error *take_step(struct move *m, const struct move_step *step)
{
    struct call *call = m->op->call;
    const struct sr_driver *driver = m->to.handle->driver;
    struct image *into = &m->v[step->into];

    switch (step->what) {
    case MOVE_MAKE:
        into->spec.virtual_size = step->size;
        return to_error(m, driver->vdi_create(call, m->to.handle, &into->spec, &into->info));
    case MOVE_GROW:
        return to_error(
            m, driver->vdi_resize(call, m->to.handle, into->uuid, step->size, &into->info));
    case MOVE_FORK:
        return to_error(m, fork_image(m, &m->v[step->image]));
    case MOVE_COPY:
        TRY(m->live && step->image == m->n - 1 ? mirror(m, step) : copy_content(m, step));
        m->bytes += step->size;
        return OK;
    }
    return OK;
}

static struct error *copy_all(struct move *m)
{
    for (size_t i = 0; i + 1 < m->plan.n; i++) {
        TRY(take_step(m, &m->plan.v[i]));
        TRY(vm_overruled(m->op, m->vm));
    }
    TRY(op_step(m->op, "filled", progress_at(m, m->bytes)));
    TRY(take_step(m, &m->plan.v[m->plan.n - 1]));
    return op_step(m->op, "copied", COPIED);
}

/*** the decision ***/

static struct error *look_at_images(struct move *m)
{
    for (size_t i = 0; i < m->n; i++)
        TRY(to_error(m, m->to.handle->driver->vdi_stat(m->op->call, m->to.handle, m->v[i].uuid,
                                                       &m->v[i].info)));
    return OK;
}

static struct error *record_moved(struct txn *txn, void *arg)
{
    const struct move *m = arg;

    for (size_t i = 0; i < m->n; i++) {
        const struct image *image = &m->v[i];
        const struct vdi *vdi;

        TRY(TXN_GET(txn, vdi, image->vdi, &vdi));
        TXN_SET(txn, vdi, vdi->ref, sr, m->intent->to);
        TXN_SET(txn, vdi, vdi->ref, location, image->uuid);
        txn_vdi_forked(txn, &image->fork, &image->made);
        vdi = txn_find(txn, CLASS_vdi, image->vdi);
        txn_vdi_seen(txn, vdi, &image->info, false);
    }
    return OK;
}

/*
 * The old images are another host's to remove.  The intent becomes that of whoever has them
 * (ha/orphans.c), and says that this is all that is left of it; the disk is free from now on, for
 * that host may be away for long.
 */
static void hand_over(struct txn *txn, const struct move *m)
{
    const struct op_hold rest = {CLASS_sr, m->intent->from, SR_OP_VDI_MIRROR};
    struct vdi_move_intent intent = *m->intent;
    struct op gone = *m->op;

    gone.n_holds = 0;
    for (size_t i = 0; i < m->op->n_holds; i++)
        if (!ref_equal(m->op->holds[i].ref, rest.ref))
            gone.holds[gone.n_holds++] = m->op->holds[i];
    txn_unhold(txn, &gone);
    intent.moved = true;
    txn_intent_set(txn, m->op, &intent);
    TXN_SET(txn, intent, m->op->intent, holds,
            intent_holds(txn_arena(txn), m->op->task_key, 1, &rest));
    TXN_SET(txn, intent, m->op->intent, host, REF_NULL);
}

static struct error *record_decided(struct txn *txn, void *arg)
{
    const struct move *m = arg;

    TRY(record_moved(txn, arg));
    if (m->far)
        hand_over(txn, m);
    return OK;
}

static bool has_moved(struct call *call, const struct vdi_move_intent *intent)
{
    const struct vdi *vdi;

    call_refresh(call);
    vdi = db_find(call, CLASS_vdi, intent->vdi);
    return vdi && ref_equal(vdi->sr, intent->to);
}

/* What may have been decided is asked again until it is known; only the daemon's end leaves that to
 * recovery, and users wait until then.  One that was handed over is refused the second time. */
static struct error *decide(struct move *m)
{
    struct call *call = m->op->call;
    struct error *e;

    do
        e = op_update(m->op, record_decided, m);
    while (db_outcome_is_unknown(e) && !xapid_is_stopping(call->xapid));
    m->op->unknown = db_outcome_is_unknown(e);
    return e && !m->op->unknown && has_moved(call, m->intent) ? OK : e;
}

static struct error *move_content(struct move *m)
{
    TRY(op_step(m->op, "begun", BEGUN));
    TRY(copy_all(m));
    TRY(look_at_images(m));
    if (m->live)
        TRY(hold(m));
    TRY(op_step(m->op, "held", 0.92));
    return decide(m);
}

/*** before it: the copy goes ***/

/* Its name; NULL where nobody knows it any more. */
static const char *copy_of(struct call *call, const struct vdi_move_intent *intent, size_t i)
{
    const struct vdi *vdi = db_find(call, CLASS_vdi, intent->disks.v[i]);

    /* Intents of earlier versions do not say. */
    if (intent->copies.n == intent->disks.n)
        return intent->copies.v[i];
    return vdi ? vdi->uuid : NULL;
}

static struct error *erase_copy(struct call *call, const struct vdi_move_intent *intent,
                                ref_t intent_ref)
{
    AUTO(sr_use) use = {0};
    const struct sr_driver *driver;

    TRY(sr_use(call, intent->to, &use));
    driver = use.handle->driver;
    /* The disk lies on all the others. */
    for (size_t i = intent->disks.n; i > 0; i--) {
        const char *copy = copy_of(call, intent, i - 1);

        if (copy)
            TRY(vdi_error(call, driver->vdi_delete(call, use.handle, copy), intent->to,
                          intent->disks.v[i - 1]));
    }
    for (size_t i = intent->disks.n; i > 0; i--)
        TRY(driver->vdi_delete(
            call, use.handle,
            vdi_base_uuid_for(call->arena, fork_ref(intent->disks.v[i - 1], intent_ref))));
    return OK;
}

static struct error *undo(struct call *call, const struct vdi_move_intent *intent, ref_t intent_ref)
{
    const struct vdi *vdi = db_find(call, CLASS_vdi, intent->vdi);

    /* First: its users may be waiting. */
    if (vdi)
        TRY(vdi_mirror_drop(call, vdi->uuid));
    return db_find(call, CLASS_sr, intent->to) ? erase_copy(call, intent, intent_ref) : OK;
}

/*** after it: what was before goes ***/

struct erased {
    struct refs bases; /* rows of hidden images that nothing needs any more */
};

/* Nothing that a record names is old. */
static bool is_recorded(struct call *call, ref_t sr, const char *location)
{
    struct refs disks = db_referrers(call, FIELD_vdi_sr, sr);

    for (size_t i = 0; i < disks.n; i++) {
        const struct vdi *vdi = db_find(call, CLASS_vdi, disks.v[i]);

        if (vdi && strcmp(vdi->location, location) == 0)
            return true;
    }
    return false;
}

static struct error *erase_old(struct call *call, const struct vdi_move_intent *intent,
                               struct erased *out)
{
    AUTO(sr_use) use = {0};

    TRY(sr_use(call, intent->from, &use));
    for (size_t i = intent->locations.n; i > 0; i--) {
        const char *location = intent->locations.v[i - 1];

        if (!is_recorded(call, intent->from, location))
            TRY(vdi_error(call, use.handle->driver->vdi_delete(call, use.handle, location),
                          intent->from, intent->disks.v[i - 1]));
    }
    out->bases = vdi_bases_gone(call, &use, intent->from);
    return OK;
}

static struct error *record_erased(struct txn *txn, void *arg)
{
    const struct erased *erased = arg;

    txn_vdi_gone(txn, &(struct vdi_gone){.bases = erased->bases});
    return OK;
}

/* Can be repeated from its beginning, as the next one. */
static struct error *erase(struct op *op, const struct vdi_move_intent *intent)
{
    struct call *call = op->call;
    struct erased erased = {0};

    TRY(erase_old(call, intent, &erased));
    error_ignore(op_step(op, "erased", 0.98));
    TRY(op_commit_forward(op, record_erased, &erased));
    error_ignore(
        sr_refresh_sizes(call, intent->from)); /* they come right at the next look anyway */
    return OK;
}

static struct error *finish(struct op *op, const struct vdi_move_intent *intent)
{
    struct call *call = op->call;
    const struct vdi *vdi;

    TRY(DB_GET(call, vdi, intent->vdi, &vdi));
    TRY(vdi_mirror_keep(call, vdi->uuid, intent->to));
    vdi_path_moved(call, intent->vdi, intent->to, vdi->uuid);
    error_ignore(op_step(op, "switched", 0.95));
    TRY(erase(op, intent));
    error_ignore(sr_refresh_sizes(call, intent->to));
    return OK;
}

/*** the operation ***/

static void move_release(struct move *m)
{
    if (m->use)
        vdi_path_detach(m->op->call, m->intent->vdi);
    sr_use_release(&m->to);
}

/* Nobody has it attached but that VM, which is held too: it cannot go to another host meanwhile. */
static struct error *check_users(struct txn *txn, ref_t vdi, ref_t vm)
{
    struct refs vbds = txn_referrers(txn, FIELD_vbd_vdi, vdi);
    struct call *call = txn_call(txn);

    for (size_t i = 0; i < vbds.n; i++) {
        const struct vbd *vbd = txn_find(txn, CLASS_vbd, vbds.v[i]);

        if (vbd && vbd->currently_attached && !ref_equal(vbd->vm, vm))
            return vdi_used_error(call, txn_snap(txn), vdi, "mirror");
    }
    return OK;
}

/* Each takes its share of what storage and network can carry. */
static struct error *check_number(struct txn *txn)
{
    struct call *call = txn_call(txn);
    const struct intent *row;
    struct db_walk walk;
    int n = 0;

    db_walk(txn_snap(txn), CLASS_intent, &walk);
    while ((row = db_walk_next(&walk)))
        n += ref_equal(row->host, call->xapid->host) &&
             strcmp(row->kind, api_intents[INTENT_vdi_move].name) == 0;
    return n < AT_ONCE
               ? OK
               : err_too_many_storage_migrates(call, arena_printf(call->arena, "%d", AT_ONCE));
}

static struct error *check_move(struct txn *txn, void *arg)
{
    const struct move *m = arg;
    const struct vdi_move_intent *intent = m->intent;
    const struct vdi *vdi;
    const struct vm *vm;
    const struct sr *sr;

    TRY(check_number(txn));
    TRY(txn_vdi_check_anywhere(txn, intent->vdi, VDI_OP_MIRROR, &vdi));
    TRY(check_users(txn, intent->vdi, m->vm));
    TRY(txn_sr_check_anywhere(txn, intent->from, SR_OP_VDI_MIRROR, &sr));
    TRY(txn_sr_check(txn, intent->to, SR_OP_VDI_MIRROR, &sr));
    for (size_t i = 0; i + 1 < intent->disks.n; i++) {
        TRY(txn_vdi_check_anywhere(txn, intent->disks.v[i], VDI_OP_MIRROR, &vdi));
        TRY(check_users(txn, intent->disks.v[i], REF_NULL));
    }
    return ref_is_null(m->vm) ? OK : txn_vm_check(txn, m->vm, VM_OP_MIGRATE_SEND, &vm);
}

static struct error *begin(struct call *call, struct move *m)
{
    const struct vdi_move_intent *intent = m->intent;
    struct op_hold holds[OP_MAX_HOLDS];
    size_t n = 0;

    if (intent->disks.n > OP_MAX_HOLDS - 3)
        return err_operation_not_allowed(call, "The disk has more snapshots than can be moved.");
    for (size_t i = intent->disks.n; i > 0; i--)
        holds[n++] = (struct op_hold){CLASS_vdi, intent->disks.v[i - 1], VDI_OP_MIRROR};
    op_hold_sr(holds, &n, intent->from, SR_OP_VDI_MIRROR);
    op_hold_sr(holds, &n, intent->to, SR_OP_VDI_MIRROR);
    if (!ref_is_null(m->vm))
        holds[n++] = (struct op_hold){CLASS_vm, m->vm, VM_OP_MIGRATE_SEND};
    return op_begin(call,
                    &(struct op_spec){.kind = INTENT_vdi_move,
                                      .intent = intent,
                                      .n_holds = n,
                                      .holds = holds,
                                      .check = check_move,
                                      .arg = m},
                    m->op);
}

/* Users of a disk go on through the server that it has: it is held by us too, so that it lives as
 * long as we look at it, whatever its users do. */
static struct error *look_at_users(struct move *m)
{
    struct call *call = m->op->call;
    struct vdi_path path;

    if (!vdi_is_attached(call, m->intent->vdi))
        return OK;
    TRY(vdi_path_attach(call, m->intent->vdi, false, &path));
    m->use = m->live = true;
    return vdi_is_served(call, m->intent->vdi)
               ? OK
               : vdi_used_error(call, call->snap, m->intent->vdi,
                                "mirror (its host serves no disks: --datapath nbd)");
}

static struct error *run(struct call *call, const struct vdi_move_intent *intent, ref_t vm)
{
    AUTO(op) op = {0};
    AUTO(move) m = {.op = &op,
                    .intent = intent,
                    .vm = vm,
                    .far = !sr_is_plugged(call->snap, intent->from, call->xapid->host)};
    struct error *e;

    TRY(sr_use(call, intent->to, &m.to));
    TRY(begin(call, &m));
    TRY(find_images(&m));
    TRY(look_at_users(&m));
    e = move_content(&m);
    if (e && op_may_undo(&op)) {
        struct error *left = undo(call, intent, op.intent);

        if (left) {
            log_error("the unfinished copy of disk %s is removed later: %s", disk_of(&m)->uuid,
                      error_line(call->arena, left));
            op_leave(&op);
        }
    }
    TRY(e);
    if (m.far)
        op.intent = REF_NULL; /* handed over */
    error_ignore(op_step(&op, "decided", 0.93));
    if (m.far) {
        error_ignore(sr_refresh_sizes(call, intent->to)); /* come right at the next look anyway */
        return OK;
    }
    e = finish(&op, intent);
    if (e) {
        log_error("disk %s has moved; what was before is removed later: %s", disk_of(&m)->uuid,
                  error_line(call->arena, e));
        op_leave(&op);
    }
    return OK;
}

/*** where ***/

/* The VM that has it attached; VDI_IN_USE where that is more than one. */
static struct error *find_user(struct call *call, ref_t vdi, ref_t *vm)
{
    struct refs vbds = db_referrers(call, FIELD_vbd_vdi, vdi);

    *vm = REF_NULL;
    for (size_t i = 0; i < vbds.n; i++) {
        const struct vbd *vbd = db_find(call, CLASS_vbd, vbds.v[i]);

        if (!vbd || !vbd->currently_attached)
            continue;
        if (!ref_is_null(*vm) && !ref_equal(*vm, vbd->vm))
            return vdi_used_error(call, call->snap, vdi, "mirror");
        *vm = vbd->vm;
    }
    return OK;
}

/* Where it is in use, that host does it; else one that has both repositories, or, where none has
 * (each is a host's own), the one that has the new one. */
static struct error *find_host(struct call *call, const struct vdi *vdi, ref_t to, ref_t vm_ref)
{
    const struct vm *vm = db_find(call, CLASS_vm, vm_ref);
    ref_t host;

    if (vm && !ref_is_null(vm->resident_on))
        return sr_is_plugged(call->snap, to, vm->resident_on)
                   ? host_is_here(call, vm->resident_on)
                   : err_vm_requires_sr(call, call_ref(call, vm_ref), call_ref(call, to));
    host = srs_seen_by(call, vdi->sr, to);
    if (ref_is_null(host) && ref_is_null(sr_seen_by(call->snap, vdi->sr)))
        return err_sr_not_attached(call, call_ref(call, vdi->sr));
    if (ref_is_null(host))
        host = sr_seen_by(call->snap, to);
    return ref_is_null(host) ? err_sr_not_attached(call, call_ref(call, to))
                             : host_is_here(call, host);
}

/* What another move has left there of the disk, and has not removed yet; null where there is none.
 */
static ref_t find_leftover(struct call *call, const struct vdi_move_intent *intent)
{
    struct db_walk walk;
    const struct intent *row;

    db_walk(call->snap, CLASS_intent, &walk);
    while ((row = db_walk_next(&walk))) {
        const struct vdi_move_intent *other = migrate_intent(call, row, INTENT_vdi_move);

        if (other && ref_equal(other->moved ? other->from : other->to, intent->to) &&
            refs_contain(&other->disks, intent->vdi))
            return row->ref;
    }
    return REF_NULL;
}

/* Something of that name that is not ours, which must not be touched. */
static struct error *check_room_at(struct call *call, const struct vdi_move_intent *intent)
{
    AUTO(sr_use) use = {0};
    struct vdi_info info;

    migrate_wait_gone(call, find_leftover(call, intent), ERASED_WITHIN);
    TRY(sr_use(call, intent->to, &use));
    for (size_t i = 0; i < intent->disks.n; i++) {
        const struct vdi *vdi;

        TRY(DB_GET(call, vdi, intent->disks.v[i], &vdi));
        if (!use.handle->driver->vdi_stat(call, use.handle, vdi->uuid, &info))
            return err_location_not_unique(call, call_ref(call, intent->to), vdi->uuid);
    }
    return OK;
}

struct error *vdi_move_check(struct call *call, const struct vdi *vdi, ref_t to)
{
    const struct sr_driver *driver;
    const struct sr *sr;

    TRY(DB_GET(call, sr, to, &sr));
    driver = sr_driver_by_type(sr->type);
    if (!driver || !(driver->features & SR_F_VDI_CREATE))
        return err_sr_does_not_support_migration(call, call_ref(call, to), "VDI_CREATE");
    if (vdi->type == VDI_TYPE_CBT_METADATA)
        return vdi_check_contents(call, vdi);
    return OK;
}

struct error *vdi_move(struct call *call, ref_t ref, ref_t to)
{
    struct vdi_move_intent intent;
    const struct vdi *vdi;
    ref_t vm;

    TRY(DB_GET(call, vdi, ref, &vdi));
    TRY(vdi_move_check(call, vdi, to));
    if (ref_equal(vdi->sr, to))
        return OK;
    TRY(find_user(call, ref, &vm));
    TRY(find_host(call, vdi, to, vm));
    intent = intent_of(call, vdi, to);
    TRY(check_room_at(call, &intent));
    return run(call, &intent, vm);
}

struct error *vdi_pool_migrate(struct call *call, const struct vdi_pool_migrate_args *args,
                               ref_t *result)
{
    TRY(vdi_move(call, args->vdi, args->sr));
    *result = args->vdi;
    return OK;
}

struct error *vdi_move_recover(struct call *call, struct op *op,
                               const struct vdi_move_intent *intent)
{
    const struct vdi *vdi = db_find(call, CLASS_vdi, intent->vdi);

    /* It may be anywhere by now. */
    if (intent->moved)
        return erase(op, intent);
    if (vdi && ref_equal(vdi->sr, intent->to))
        return finish(op, intent);
    return undo(call, intent, op->intent);
}
