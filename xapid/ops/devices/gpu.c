/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* gpu.c -- graphics processors and their groups: which types they may run, how many more. */
#include <string.h>

#include "libxapi/value/value.h"
#include "xapid/db/ready.h"
#include "xapid/db/row.h"
#include "xapid/ops/devices/refresh.h"
#include "xapid/ops/rows.h"
#include "xapid/ops/vm/passthrough.h"

/*** which types a card may run ***/

static const char *refs_text(struct call *call, const struct refs *refs)
{
    const char *text = "";

    for (size_t i = 0; i < refs->n; i++)
        text = arena_printf(call->arena, "%s%s%s", text, i ? "," : "", call_ref(call, refs->v[i]));
    return text;
}

/* VMs whose virtual GPUs run on the card, of the given type, or of any where that is null. */
static struct refs users(struct txn *txn, ref_t pgpu, ref_t type)
{
    struct refs vgpus = txn_referrers(txn, FIELD_vgpu_resident_on, pgpu);
    ref_t *v = arena_array(txn_arena(txn), ref_t, vgpus.n + 1);
    size_t n = 0;

    for (size_t i = 0; i < vgpus.n; i++) {
        const struct vgpu *vgpu = txn_find(txn, CLASS_vgpu, vgpus.v[i]);

        if (vgpu && (ref_is_null(type) || ref_equal(vgpu->type, type)))
            v[n++] = vgpu->vm;
    }
    return (struct refs){n, v};
}

struct types_ctx {
    ref_t pgpu;
    struct refs add, remove;
    const struct refs *all; /* instead of both */
};

static struct error *check_supported(struct call *call, const struct pgpu *pgpu,
                                     const struct refs *types)
{
    for (size_t i = 0; i < types->n; i++)
        if (!refs_contain(&pgpu->supported_vgpu_types, types->v[i]))
            return err_vgpu_type_not_supported(call, call_ref(call, types->v[i]),
                                               refs_text(call, &pgpu->supported_vgpu_types));
    return OK;
}

static struct refs changed(struct arena *arena, const struct pgpu *pgpu, const struct types_ctx *c)
{
    const struct refs *old = &pgpu->enabled_vgpu_types;
    ref_t *v = arena_array(arena, ref_t, old->n + c->add.n + 1);
    size_t n = 0;

    if (c->all)
        return *c->all;
    for (size_t i = 0; i < old->n; i++)
        if (!refs_contain(&c->remove, old->v[i]))
            v[n++] = old->v[i];
    for (size_t i = 0; i < c->add.n; i++)
        if (!refs_contain(&(struct refs){n, v}, c->add.v[i]))
            v[n++] = c->add.v[i];
    return (struct refs){n, v};
}

static struct error *types_txn(struct txn *txn, void *arg)
{
    const struct types_ctx *c = arg;
    struct call *call = txn_call(txn);
    const struct pgpu *pgpu;
    struct refs after;

    TRY(TXN_GET(txn, pgpu, c->pgpu, &pgpu));
    after = changed(txn_arena(txn), pgpu, c);
    for (size_t i = 0; i < after.n; i++) {
        const struct vgpu_type *type;

        TRY(TXN_GET(txn, vgpu_type, after.v[i], &type));
    }
    TRY(check_supported(call, pgpu, &after));
    for (size_t i = 0; i < pgpu->enabled_vgpu_types.n; i++) {
        ref_t type = pgpu->enabled_vgpu_types.v[i];
        struct refs vms = users(txn, c->pgpu, type);

        if (!refs_contain(&after, type) && vms.n)
            return error_of_refs(call, "PGPU_IN_USE_BY_VM", &vms);
    }
    TXN_SET(txn, pgpu, c->pgpu, enabled_vgpu_types, after);
    return OK;
}

static struct error *change_types(struct call *call, struct types_ctx *c)
{
    TRY(db_update(call, types_txn, c));
    return gpu_groups_refresh(call);
}

struct error *pgpu_add_enabled_vgpu_types(struct call *call,
                                          const struct pgpu_add_enabled_vgpu_types_args *args)
{
    return change_types(call, &(struct types_ctx){.pgpu = args->self, .add = {1, &args->value}});
}

struct error *pgpu_remove_enabled_vgpu_types(struct call *call,
                                             const struct pgpu_remove_enabled_vgpu_types_args *args)
{
    return change_types(call, &(struct types_ctx){.pgpu = args->self, .remove = {1, &args->value}});
}

struct error *pgpu_set_enabled_vgpu_types(struct call *call,
                                          const struct pgpu_set_enabled_vgpu_types_args *args)
{
    return change_types(
        call, &(struct types_ctx){.pgpu = args->self, .all = (const struct refs *)&args->value});
}

/*** moving between groups ***/

static struct error *group_txn(struct txn *txn, void *arg)
{
    const struct pgpu_set_gpu_group_args *a = arg;
    struct call *call = txn_call(txn);
    const struct gpu_group *group;
    const struct pgpu *pgpu;
    const struct pci *pci;
    struct refs vms;
    const char *kind;

    TRY(TXN_GET(txn, pgpu, a->self, &pgpu));
    TRY(TXN_GET(txn, gpu_group, a->value, &group));
    TRY(TXN_GET(txn, pci, pgpu->pci, &pci));
    vms = users(txn, a->self, REF_NULL);
    if (vms.n)
        return error_of_refs(call, "PGPU_IN_USE_BY_VM", &vms);
    kind = gpu_kind(call->arena, pci);
    if (group->gpu_types.n && !strings_contain(&group->gpu_types, kind))
        return err_pgpu_not_compatible_with_gpu_group(
            call, kind, arena_printf(call->arena, "[%s]", group->gpu_types.v[0]));
    if (!group->gpu_types.n)
        TXN_SET(txn, gpu_group, a->value, gpu_types, (struct strings){1, &kind});
    TXN_SET(txn, pgpu, a->self, gpu_group, a->value);
    return OK;
}

struct error *pgpu_set_gpu_group(struct call *call, const struct pgpu_set_gpu_group_args *args)
{
    TRY(db_update(call, group_txn, (void *)args));
    return gpu_groups_refresh(call);
}

struct error *gpu_group_create(struct call *call, const struct gpu_group_create_args *args,
                               ref_t *result)
{
    char uuid[UUID_TEXT_SIZE];
    struct gpu_group row;

    TRY(check_room(call, CLASS_gpu_group));
    row_defaults(&api_classes[CLASS_gpu_group], &row);
    row.ref = ref_new();
    row.uuid = uuid_new(uuid);
    row.name_label = args->name_label;
    row.name_description = args->name_description;
    row.other_config = args->other_config;
    TRY(db_update(call, db_create_txn, &(struct db_create){CLASS_gpu_group, &row}));
    *result = row.ref;
    return OK;
}

/* Virtual GPUs that do not run go with their group. */
static struct error *destroy_group_txn(struct txn *txn, void *arg)
{
    ref_t ref = *(const ref_t *)arg;
    struct refs vgpus = txn_referrers(txn, FIELD_vgpu_gpu_group, ref);
    struct refs pgpus = txn_referrers(txn, FIELD_pgpu_gpu_group, ref);
    ref_t *attached = arena_array(txn_arena(txn), ref_t, vgpus.n + 1);
    const struct gpu_group *group;
    size_t n = 0;

    TRY(TXN_GET(txn, gpu_group, ref, &group));
    for (size_t i = 0; i < vgpus.n; i++) {
        const struct vgpu *vgpu = txn_find(txn, CLASS_vgpu, vgpus.v[i]);

        if (vgpu->currently_attached || !ref_is_null(vgpu->scheduled_to_be_resident_on))
            attached[n++] = vgpu->ref;
    }
    if (n)
        return error_of_refs(txn_call(txn), "GPU_GROUP_CONTAINS_VGPU", &(struct refs){n, attached});
    if (pgpus.n)
        return error_of_refs(txn_call(txn), "GPU_GROUP_CONTAINS_PGPU", &pgpus);
    for (size_t i = 0; i < vgpus.n; i++)
        txn_destroy(txn, CLASS_vgpu, vgpus.v[i]);
    txn_destroy(txn, CLASS_gpu_group, ref);
    return OK;
}

struct error *gpu_group_destroy(struct call *call, const struct gpu_group_destroy_args *args)
{
    ref_t ref = args->self;

    return db_update(call, destroy_group_txn, &ref);
}

struct error *gpu_group_update_enabled_vgpu_types(
    struct call *call, const struct gpu_group_update_enabled_vgpu_types_args *args)
{
    const struct gpu_group *group;

    TRY(DB_GET(call, gpu_group, args->self, &group));
    return gpu_groups_refresh(call);
}

struct error *gpu_group_update_supported_vgpu_types(
    struct call *call, const struct gpu_group_update_supported_vgpu_types_args *args)
{
    const struct gpu_group *group;

    TRY(DB_GET(call, gpu_group, args->self, &group));
    return gpu_groups_refresh(call);
}

/*** room ***/

struct error *pgpu_get_remaining_capacity(struct call *call,
                                          const struct pgpu_get_remaining_capacity_args *args,
                                          int64_t *result)
{
    const struct vgpu_type *type;
    const struct pgpu *pgpu;

    TRY(DB_GET(call, pgpu, args->self, &pgpu));
    TRY(DB_GET(call, vgpu_type, args->vgpu_type, &type));
    *result = pgpu_can_run(call->snap, pgpu, args->vgpu_type, REF_NULL) ? 1 : 0;
    return OK;
}

struct error *gpu_group_get_remaining_capacity(
    struct call *call, const struct gpu_group_get_remaining_capacity_args *args, int64_t *result)
{
    struct refs pgpus = db_referrers(call, FIELD_pgpu_gpu_group, args->self);
    const struct gpu_group *group;
    const struct vgpu_type *type;

    TRY(DB_GET(call, gpu_group, args->self, &group));
    TRY(DB_GET(call, vgpu_type, args->vgpu_type, &type));
    *result = 0;
    for (size_t i = 0; i < pgpus.n; i++)
        *result += pgpu_can_run(call->snap, db_find(call, CLASS_pgpu, pgpus.v[i]), args->vgpu_type,
                                REF_NULL);
    return OK;
}
