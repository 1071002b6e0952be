/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * scheduler.c -- VMSS.snapshot_now, and the schedules.
 *
 * Each snapshot is an operation with an intent of its own.  Old ones go disk by disk, the VM last:
 * a crash in the middle leaves one that the next run removes.
 */
#include "xapid/ops/vm/scheduler.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "libxapi/base/buf.h"
#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "xapid/db/ready.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/faults.h"
#include "xapid/ops/message.h"
#include "xapid/ops/vm/sequence.h"
#include "xapid/ops/vm/snapshots.h"
#include "xapid/ops/vm/timetable.h"
#include "xapid/task/task.h"

#define SUMMARY_MAX MESSAGE_BODY_MAX

/*** one machine ***/

static struct error *take(struct call *call, const struct vmss *vmss, ref_t vm, ref_t *snapshot)
{
    time_t now = (time_t)(clock_wall() / USEC_PER_SEC);
    char stamp[32];
    struct tm tm;

    gmtime_r(&now, &tm);
    strftime(stamp, sizeof stamp, "%Y%m%dT%H%M%SZ", &tm);
    return vm_snapshot_scheduled(call, vm,
                                 arena_printf(call->arena, "%s-%s", vmss->name_label, stamp),
                                 vmss->type == VMSS_TYPE_CHECKPOINT, snapshot);
}

static struct error *remove_snapshot(struct call *call, const struct vm *snapshot)
{
    struct refs vbds = db_referrers(call, FIELD_vbd_vm, snapshot->ref);
    ref_t ref = snapshot->ref;

    for (size_t i = 0; i < vbds.n; i++) {
        const struct vbd *vbd = db_find(call, CLASS_vbd, vbds.v[i]);

        if (vbd && vbd->type == VBD_TYPE_DISK && db_find(call, CLASS_vdi, vbd->vdi))
            TRY(vdi_destroy(call, &(struct vdi_destroy_args){vbd->vdi}));
    }
    return vm_destroy(call, &(struct vm_destroy_args){ref});
}

static int by_age(const void *a, const void *b)
{
    const struct vm *const *x = a, *const *y = b;

    return ((*x)->snapshot_time > (*y)->snapshot_time) -
           ((*x)->snapshot_time < (*y)->snapshot_time);
}

/* The oldest ones that schedules have taken go, until 'keep' are left; users' own stay. */
static struct error *retain(struct call *call, ref_t vm, int64_t keep)
{
    struct refs all;
    const struct vm **v;
    size_t n = 0;

    call_refresh(call);
    all = db_referrers(call, FIELD_vm_snapshot_of, vm);
    v = arena_array(call->arena, const struct vm *, all.n + 1);
    for (size_t i = 0; i < all.n; i++) {
        const struct vm *s = db_find(call, CLASS_vm, all.v[i]);

        if (s && s->is_a_snapshot && s->is_vmss_snapshot)
            v[n++] = s;
    }
    qsort(v, n, sizeof *v, by_age);
    for (size_t i = 0; i + (size_t)keep < n; i++)
        TRY(remove_snapshot(call, v[i]));
    return OK;
}

/*** a run ***/

struct run {
    struct buf done, failed; /* lines about the machines */
};

static void run_release(struct run *r)
{
    buf_release(&r->done);
    buf_release(&r->failed);
}

static void note_failure(struct run *r, const struct vm *vm, const struct error *e)
{
    if (r->failed.len > SUMMARY_MAX / 2)
        return;
    buf_printf(&r->failed, "VM:%s UUID:%s Error:['%s'", vm->name_label, vm->uuid, e->code);
    for (size_t i = 0; i < e->n_params; i++)
        buf_printf(&r->failed, ",'%s'", e->params[i]);
    buf_printf(&r->failed, "],\n");
}

static void run_vm(struct call *call, const struct vmss *vmss, const struct vm *vm, struct run *r)
{
    const struct vm *row;
    struct error *e;
    ref_t snapshot;

    e = take(call, vmss, vm->ref, &snapshot);
    if (!e) {
        row = db_find(call, CLASS_vm, snapshot);
        if (row && r->done.len <= SUMMARY_MAX / 2)
            buf_printf(&r->done, "VM:%s UUID:%s Snapshot:%s\n", vm->name_label, vm->uuid,
                       row->uuid);
        e = retain(call, vm->ref, vmss->retained_snapshots);
    }
    if (e)
        note_failure(r, vm, e);
}

/* Machines one after the other: the storage is not to be busy with all at once. */
static struct error *run_schedule(struct call *call, const struct vmss *vmss, struct run *r)
{
    struct refs vms = db_referrers(call, FIELD_vm_snapshot_schedule, vmss->ref);

    for (size_t i = 0; i < vms.n; i++) {
        const struct vm *vm = db_find(call, CLASS_vm, vms.v[i]);

        TRY(task_check(call));
        if (vm)
            run_vm(call, vmss, vm, r);
    }
    if (r->failed.len)
        alert_create(call, "VMSS_SNAPSHOT_FAILED", CLS_VMSS, vmss->uuid, r->failed.data);
    else if (vms.n)
        alert_create(call, "VMSS_SNAPSHOT_SUCCEEDED", CLS_VMSS, vmss->uuid,
                     r->done.len ? r->done.data : "");
    return OK;
}

struct error *vmss_snapshot_now(struct call *call, const struct vmss_snapshot_now_args *args,
                                const char **result)
{
    const struct vmss *vmss;
    AUTO(run) r = {0};

    TRY(DB_GET(call, vmss, args->vmss, &vmss));
    TRY(run_schedule(call, vmss, &r));
    *result = arena_printf(call->arena, "%s%s", r.done.len ? r.done.data : "",
                           r.failed.len ? r.failed.data : "");
    return OK;
}

/*** the schedules ***/

struct scheduler {
    struct xapid *xapid;
    usec_t looked; /* up to this time (wall clock) */
    bool first;
};

static usec_t now_of(const struct scheduler *s)
{
    return clock_wall() + faults_clock(s->xapid);
}

/* A time before the daemon was there, after the schedule's last run. */
static void tell_missed(struct call *call, const struct vmss *vmss, usec_t last)
{
    char text[32] = "";
    time_t t = (time_t)(last / USEC_PER_SEC);
    struct tm tm;

    if (!vmss->last_run_time || vmss->last_run_time >= last)
        return;
    localtime_r(&t, &tm);
    strftime(text, sizeof text, "%Y-%m-%d %H:%M", &tm);
    alert_create(call, "VMSS_SNAPSHOT_MISSED_EVENT", CLS_VMSS, vmss->uuid,
                 arena_printf(call->arena,
                              "The snapshots that schedule '%s' wanted at %s were not taken: xapid "
                              "did not run.",
                              vmss->name_label, text));
}

static void look_at(struct call *call, struct scheduler *s, const struct vmss *vmss, usec_t now)
{
    usec_t last = timetable_last(vmss, now);
    AUTO(run) r = {0};
    struct error *e;

    if (!vmss->enabled || !last)
        return;
    if (s->first)
        tell_missed(call, vmss, timetable_last(vmss, s->looked));
    /* Another coordinator may have taken them. */
    if (last <= s->looked || vmss->last_run_time >= last)
        return;
    log_info("schedule '%s' takes its snapshots", vmss->name_label);
    e = run_schedule(call, vmss, &r);
    if (!e)
        e = CALL_SET(call, vmss, vmss->ref, last_run_time, last);
    if (e)
        log_warning("schedule '%s': %s", vmss->name_label, error_line(call->arena, e));
}

void scheduler_tick(struct scheduler *s)
{
    usec_t now = now_of(s);
    AUTO(arena) arena = {0};
    struct db_snap *snap;
    struct db_walk walk;
    const struct vmss *vmss;
    struct call call;

    if (xapid_is_stopping(s->xapid))
        return;
    if (db_leads(s->xapid->db)) {
        call_init_internal(&call, s->xapid, &arena);
        snap = db_snap_ref(call.snap);
        db_walk(snap, CLASS_vmss, &walk);
        while ((vmss = db_walk_next(&walk)))
            look_at(&call, s, vmss, now);
        db_snap_unref(snap);
        call_release(&call);
        s->first = false;
    }
    s->looked = now;
}

struct scheduler *scheduler_new(struct xapid *xapid)
{
    struct scheduler *s = xcalloc(1, sizeof *s);

    *s = (struct scheduler){.xapid = xapid, .first = true};
    s->looked = now_of(s);
    return s;
}

void scheduler_free(struct scheduler *s)
{
    free(s);
}
