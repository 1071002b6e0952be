/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/vm/plans.h"

#include <stdio.h>
#include <string.h>

#include "libxapi/base/log.h"
#include "libxapi/value/value.h"

static const char *const how_names[] = {
    [VDI_EMPTY] = "empty", [VDI_CLONE] = "clone", [VDI_SNAPSHOT] = "snapshot", [VDI_COPY] = "copy"};

void disk_plans_add(struct arena *arena, struct disk_plans *plans, const struct vdi_plan *plan)
{
    struct vdi_plan *v;

    if (!ref_is_null(plan->source) && !ref_is_null(disk_plans_of(plans, plan->source)))
        return;
    v = arena_array(arena, struct vdi_plan, plans->n + 1);
    if (plans->n)
        memcpy(v, plans->v, plans->n * sizeof *v);
    v[plans->n++] = *plan;
    plans->v = v;
}

ref_t disk_plans_of(const struct disk_plans *plans, ref_t source)
{
    for (size_t i = 0; i < plans->n; i++)
        if (ref_equal(plans->v[i].source, source))
            return plans->v[i].vdi;
    return REF_NULL;
}

/*** text ***/

struct strings disk_plans_text(struct arena *arena, const struct disk_plans *plans)
{
    const char **v = arena_array(arena, const char *, plans->n + 1);

    for (size_t i = 0; i < plans->n; i++)
        v[i] = arena_printf(arena, "%s %s %s %s", ref_text(arena, plans->v[i].vdi),
                            ref_text(arena, plans->v[i].source), ref_text(arena, plans->v[i].sr),
                            how_names[plans->v[i].how]);
    return (struct strings){plans->n, v};
}

static bool read_plan(const char *text, struct vdi_plan *out)
{
    char vdi[REF_TEXT_SIZE], source[REF_TEXT_SIZE], sr[REF_TEXT_SIZE], how[16];

    *out = (struct vdi_plan){0};
    if (sscanf(text, "%47s %47s %47s %15s", vdi, source, sr, how) != 4)
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(how_names); i++) {
        if (strcmp(how, how_names[i]) == 0) {
            out->how = (enum vdi_how)i;
            return ref_from_text(vdi, &out->vdi) && ref_from_text(source, &out->source) &&
                   ref_from_text(sr, &out->sr);
        }
    }
    return false;
}

bool disk_plans_read(struct arena *arena, const struct strings *text, struct disk_plans *out)
{
    *out = (struct disk_plans){.v = arena_array(arena, struct vdi_plan, text->n + 1)};
    for (; out->n < text->n; out->n++)
        if (!read_plan(text->v[out->n], &out->v[out->n]))
            return false;
    return true;
}

/*** checks and holds ***/

struct error *disk_plans_check(struct call *call, struct disk_plans *plans)
{
    for (size_t i = 0; i < plans->n; i++)
        TRY(vdi_plan_check(call, &plans->v[i]));
    return OK;
}

static enum vdi_operations source_operation(enum vdi_how how)
{
    return how == VDI_SNAPSHOT ? VDI_OP_SNAPSHOT : how == VDI_CLONE ? VDI_OP_CLONE : VDI_OP_COPY;
}

static enum storage_operations sr_operation(enum vdi_how how)
{
    return how == VDI_SNAPSHOT ? SR_OP_VDI_SNAPSHOT
           : how == VDI_CLONE  ? SR_OP_VDI_CLONE
                               : SR_OP_VDI_CREATE;
}

struct error *txn_disk_plans_check(struct txn *txn, const struct disk_plans *plans)
{
    for (size_t i = 0; i < plans->n; i++) {
        const struct vdi_plan *plan = &plans->v[i];
        const struct vdi *vdi;
        const struct sr *sr;

        TRY(txn_sr_check(txn, plan->sr, sr_operation(plan->how), &sr));
        if (plan->how != VDI_EMPTY)
            TRY(txn_vdi_check_source(txn, plan, source_operation(plan->how), &vdi));
    }
    return OK;
}

struct error *disk_plans_hold(struct call *call, const struct disk_plans *plans,
                              struct op_hold holds[OP_MAX_HOLDS], size_t *n)
{
    for (size_t i = 0; i < plans->n; i++)
        if (!op_hold_sr(holds, n, plans->v[i].sr, sr_operation(plans->v[i].how)))
            return err_operation_not_allowed(
                call,
                "The VM's disks are on more storage repositories than one operation can hold.");
    for (size_t i = 0; i < plans->n && *n < OP_MAX_HOLDS; i++)
        if (plans->v[i].how != VDI_EMPTY)
            holds[(*n)++] = (struct op_hold){CLASS_vdi, plans->v[i].source,
                                             (int)source_operation(plans->v[i].how)};
    return OK;
}

/*** making ***/

struct error *disk_plans_make(struct op *op, struct disk_plans *plans, double from, double to)
{
    double each = plans->n ? (to - from) / (double)plans->n : 0;

    plans->op = op;
    plans->made = arena_array(op->call->arena, struct vdi_made, plans->n + 1);
    for (size_t i = 0; i < plans->n; i++, from += each) {
        plans->v[i].intent = op->intent;
        TRY(vdi_make(op->call, &plans->v[i], from, from + each, &plans->made[i]));
        TRY(op_step(op, "disk", from + each));
    }
    return OK;
}

struct error *txn_disk_plans_made(struct txn *txn, const struct disk_plans *plans)
{
    for (size_t i = 0; i < plans->n; i++)
        TRY(txn_vdi_made(txn, &plans->v[i], &plans->made[i]));
    return OK;
}

void disk_plans_keep(struct disk_plans *plans)
{
    plans->op = NULL;
}

struct error *disk_plans_unmake(struct call *call, const struct disk_plans *plans)
{
    struct error *first = OK;

    for (size_t i = 0; i < plans->n; i++) {
        struct error *e = vdi_unmake(call, &plans->v[i]);

        first = first ? first : e;
    }
    return first;
}

void disk_plans_release(struct disk_plans *plans)
{
    struct error *e;

    if (!plans->op || !op_may_undo(plans->op))
        return;
    e = disk_plans_unmake(plans->op->call, plans);
    if (e)
        log_warning("disks of an operation that failed are left over until the SR is scanned: %s",
                    error_line(plans->op->call->arena, e));
    plans->op = NULL;
}

/*** erased ***/

struct gone {
    size_t n;
    const struct vdi_gone *v;
};

static struct error *record_gone(struct txn *txn, void *arg)
{
    const struct gone *g = arg;

    for (size_t i = 0; i < g->n; i++)
        txn_vdi_gone(txn, &g->v[i]);
    return OK;
}

struct error *op_commit_gone(struct op *op, size_t n, const struct vdi_gone *gone)
{
    struct gone g = {n, gone};
    struct error *e = op_commit(op, record_gone, &g), *e2;

    if (!e || !op_may_undo(op))
        return e;
    e2 = db_update(op->call, record_gone, &g);
    if (e2)
        log_error("that disks are gone could not be recorded: %s", error_line(op->call->arena, e2));
    return e;
}
