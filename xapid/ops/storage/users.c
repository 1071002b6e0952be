/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* users.c -- who has a disk, in words. */
#include <time.h>

#include "libxapi/base/seam.h"
#include "xapid/ops/intent.h"
#include "xapid/ops/storage/check.h"
#include "xapid/ops/vm/lifecycle.h"

#define MOMENT_SIZE sizeof "2026-11-22T09:00:00Z"

static const char *moment(struct arena *arena, usec_t when)
{
    char *text = arena_zalloc(arena, MOMENT_SIZE);
    time_t seconds = (time_t)(when / USEC_PER_SEC);
    struct tm tm;

    gmtime_r(&seconds, &tm);
    strftime(text, MOMENT_SIZE, "%Y-%m-%dT%H:%M:%SZ", &tm);
    return text;
}

static const char *by_vm(struct call *call, const struct db_root *root, const struct vbd *vbd)
{
    const struct vm *vm = root_get(root, CLASS_vm, vbd->vm);
    const struct host *host = vm ? root_get(root, CLASS_host, vm->resident_on) : NULL;
    const struct vm_metrics *m = vm ? root_get(root, CLASS_vm_metrics, vm->metrics) : NULL;

    if (!vm)
        return "";
    return arena_printf(call->arena, "; VM '%s' (%s), %s%s%s%s, %s it%s%s", vm->name_label,
                        vm->uuid, vm_power_state_text(vm->power_state), host ? " on host '" : "",
                        host ? host->name_label : "", host ? "'" : "",
                        vbd->mode == VBD_RW ? "writes to" : "reads", m && host ? " since " : "",
                        m && host ? moment(call->arena, m->start_time) : "");
}

/* Where an operation of this intent has the disk; "" where it does not. */
static const char *by_operation(struct call *call, const struct db_root *root,
                                const struct intent *row, ref_t vdi)
{
    const struct host *host = root_get(root, CLASS_host, row->host);
    const struct task *task = root_get(root, CLASS_task, row->task);
    struct op op = {.call = call};

    if (!intent_read_holds(call->arena, row, &op) || !op_holds(&op, CLASS_vdi, vdi))
        return "";
    return arena_printf(call->arena, "; operation %s%s%s%s of host '%s' (epoch %lld), since %s",
                        row->kind, task ? " (task " : "", task ? task->uuid : "", task ? ")" : "",
                        host ? host->name_label : "", (long long)row->epoch,
                        moment(call->arena, row->created));
}

struct error *vdi_used_error(struct call *call, const struct db_snap *snap, ref_t vdi,
                             const char *operation)
{
    const struct db_root *root = snap_root(snap);
    const char *text = operation;
    const struct intent *row;
    struct index_walk walk;
    struct db_walk intents;
    ref_t ref;

    index_walk(root, &api_fields[FIELD_vbd_vdi], vdi, &walk);
    while (index_next(&walk, &ref)) {
        const struct vbd *vbd = root_get(root, CLASS_vbd, ref);

        if (vbd->currently_attached)
            text = arena_printf(call->arena, "%s%s", text, by_vm(call, root, vbd));
    }
    db_walk(snap, CLASS_intent, &intents);
    while ((row = db_walk_next(&intents)))
        text = arena_printf(call->arena, "%s%s", text, by_operation(call, root, row, vdi));
    return err_vdi_in_use(call, call_ref(call, vdi), text);
}
