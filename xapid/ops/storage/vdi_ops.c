/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/storage/vdi_ops.h"

#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

#include "libxapi/base/seam.h"
#include "libxapi/value/value.h"
#include "xapid/db/row.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/storage/attach.h"
#include "xapid/ops/storage/check.h"
#include "xapid/ops/storage/coalesce.h"
#include "xapid/ops/storage/far_disk.h"
#include "xapid/ops/storage/making.h"
#include "xapid/ops/storage/vdi_copy.h"
#include "xapid/task/task.h"

/*** names that follow from a reference ***/

/* 16 bytes that are the same for the same reference and purpose; in the form of a random uuid. */
static void derive(ref_t vdi, const char *what, uint8_t out[16])
{
    uint8_t in[16 + 16] = {0}, digest[SHA256_DIGEST_LENGTH];

    for (int i = 0; i < 8; i++) {
        in[i] = (uint8_t)(vdi.hi >> (8 * i));
        in[8 + i] = (uint8_t)(vdi.lo >> (8 * i));
    }
    memcpy(in + 16, what, strnlen(what, 16));
    SHA256(in, sizeof in, digest);
    memcpy(out, digest, 16);
    out[6] = (uint8_t)((out[6] & 0x0f) | 0x40);
    out[8] = (uint8_t)((out[8] & 0x3f) | 0x80);
}

static const char *derive_uuid(struct arena *arena, ref_t vdi, const char *what)
{
    uint8_t bytes[16];

    derive(vdi, what, bytes);
    return uuid_to_text(bytes, arena_alloc(arena, UUID_TEXT_SIZE));
}

const char *vdi_uuid_for(struct arena *arena, ref_t vdi)
{
    return derive_uuid(arena, vdi, "disk");
}

const char *vdi_base_uuid_for(struct arena *arena, ref_t vdi)
{
    return derive_uuid(arena, vdi, "base");
}

/* Of its row. */
static ref_t base_ref(ref_t vdi)
{
    uint8_t bytes[16];
    ref_t ref;

    derive(vdi, "base row", bytes);
    memcpy(&ref.hi, bytes, 8);
    memcpy(&ref.lo, bytes + 8, 8);
    return ref;
}

bool op_hold_sr(struct op_hold holds[OP_MAX_HOLDS], size_t *n, ref_t sr,
                enum storage_operations operation)
{
    for (size_t i = 0; i < *n; i++)
        if (holds[i].class_id == CLASS_sr && ref_equal(holds[i].ref, sr))
            return true;
    if (*n == OP_MAX_HOLDS)
        return false;
    holds[(*n)++] = (struct op_hold){CLASS_sr, sr, (int)operation};
    return true;
}

/*** making ***/

static bool is_fork(const struct vdi_plan *plan)
{
    return plan->how == VDI_CLONE || plan->how == VDI_SNAPSHOT;
}

struct error *vdi_plan_check(struct call *call, struct vdi_plan *plan)
{
    unsigned features, need = SR_F_VDI_CREATE;
    AUTO(sr_use) use = {0};

    TRY(sr_use(call, plan->sr, &use));
    features = use.handle->driver->features;
    if (plan->how == VDI_CLONE && !(features & SR_F_VDI_CLONE))
        plan->how = VDI_COPY;
    if (plan->how == VDI_SNAPSHOT)
        need = SR_F_VDI_SNAPSHOT;
    else if (plan->how == VDI_CLONE)
        need = SR_F_VDI_CLONE;
    return features & need ? OK : err_sr_operation_not_supported(call, call_ref(call, plan->sr));
}

struct part {
    struct call *call;
    double from, to;
};

static bool progress(void *ctx, double done)
{
    const struct part *p = ctx;

    task_progress(p->call, p->from + (p->to - p->from) * done);
    return task_check(p->call) == OK;
}

/* What is needed of the source, for as long as the call lives. */
struct source {
    ref_t ref, sr;
    const char *location;
    int64_t virtual_size;
};

static struct error *find_source(struct call *call, const struct vdi_plan *plan, struct source *out)
{
    const struct vdi *vdi;

    TRY(DB_GET(call, vdi, plan->source, &vdi));
    *out = (struct source){vdi->ref, vdi->sr, arena_strdup(call->arena, vdi->location),
                           vdi->virtual_size};
    return OK;
}

static struct error *fork_disk(struct call *call, struct sr_use *use, const struct vdi_plan *plan,
                               const struct vdi_spec *spec, const struct source *source,
                               struct vdi_made *out)
{
    const struct sr_driver *driver = use->handle->driver;
    const char *base = vdi_base_uuid_for(call->arena, plan->vdi);
    struct vdi_info info;
    struct error *e = driver->vdi_fork(call, use->handle, source->location, base, spec, &out->info);

    TRY(vdi_error(call, e, plan->sr, plan->source));
    /* A driver that forks without a base is none the worse. */
    out->forked = driver->vdi_stat(call, use->handle, base, &out->base) == OK;
    TRY(vdi_error(call, driver->vdi_stat(call, use->handle, source->location, &info), plan->sr,
                  plan->source));
    out->source_utilisation = info.physical_utilisation;
    return OK;
}

/* Between repositories, and where a driver cannot copy, the data goes through this host. */
static struct error *copy_across(struct call *call, struct sr_use *use, const struct vdi_plan *plan,
                                 struct vdi_spec *spec, const struct source *source,
                                 const struct part *part, struct vdi_made *out)
{
    bool is_far = !sr_is_plugged(call->snap, source->sr, call->xapid->host);
    const struct sr_driver *driver = use->handle->driver;
    AUTO(far_disk) far = {0};
    struct vdi_path from, to;
    struct error *e;

    spec->virtual_size = source->virtual_size;
    TRY(driver->vdi_create(call, use->handle, spec, &out->info));
    TRY(is_far ? far_disk_open(call, plan->intent, source->ref, &far, &from)
               : vdi_path_attach(call, source->ref, false, &from));
    e = driver->vdi_attach(call, use->handle, spec->location, true, &to);
    if (!e) {
        e = data_copy(
            call,
            &(struct data_copy){
                .from = &from, .to = &to, .fresh = true, .start = part->from, .end = part->to});
        driver->vdi_detach(call, use->handle, spec->location);
    }
    if (!is_far)
        vdi_path_detach(call, source->ref);
    TRY(e);
    return driver->vdi_stat(call, use->handle, spec->location, &out->info);
}

/* The names the storage keeps: the row's. */
static struct error *spec_names(struct call *call, const struct vdi_plan *plan,
                                struct vdi_spec *spec)
{
    const struct vdi *source = NULL;

    if (plan->how != VDI_EMPTY)
        TRY(DB_GET(call, vdi, plan->source, &source));
    spec->name_label = plan->name_label ? plan->name_label
                       : source         ? arena_strdup(call->arena, source->name_label)
                                        : "";
    spec->name_description = plan->name_description ? plan->name_description
                             : source ? arena_strdup(call->arena, source->name_description)
                                      : "";
    return OK;
}

struct error *vdi_make(struct call *call, const struct vdi_plan *plan, double from, double to,
                       struct vdi_made *out)
{
    struct part part = {call, from, to};
    struct vdi_spec spec = {.location = vdi_uuid_for(call->arena, plan->vdi),
                            .virtual_size = plan->virtual_size,
                            .sm_config = plan->sm_config};
    const struct sr_driver *driver;
    struct source source = {0};
    AUTO(sr_use) use = {0};
    struct error *e;

    *out = (struct vdi_made){0};
    TRY(sr_use(call, plan->sr, &use));
    driver = use.handle->driver;
    TRY(spec_names(call, plan, &spec));
    if (plan->how != VDI_EMPTY) {
        TRY(vdi_put_back(call, plan->source));
        TRY(find_source(call, plan, &source));
    }
    if (is_fork(plan))
        return fork_disk(call, &use, plan, &spec, &source, out);
    if (plan->how == VDI_EMPTY)
        e = driver->vdi_create(call, use.handle, &spec, &out->info);
    else if (driver->vdi_copy && ref_equal(source.sr, plan->sr))
        e = driver->vdi_copy(call, use.handle, source.location, &spec, &out->info, progress, &part);
    else
        e = copy_across(call, &use, plan, &spec, &source, &part, out);
    return vdi_error(call, e, plan->sr, plan->how == VDI_EMPTY ? plan->vdi : plan->source);
}

struct error *vdi_unmake(struct call *call, const struct vdi_plan *plan)
{
    AUTO(sr_use) use = {0};
    struct error *e;

    if (!db_find(call, CLASS_sr, plan->sr))
        return OK;
    TRY(sr_use(call, plan->sr, &use));
    TRY(vdi_error(
        call,
        use.handle->driver->vdi_delete(call, use.handle, vdi_uuid_for(call->arena, plan->vdi)),
        plan->sr, plan->vdi));
    if (!is_fork(plan))
        return OK;
    e = use.handle->driver->vdi_delete(call, use.handle, vdi_base_uuid_for(call->arena, plan->vdi));
    /* The source lies on it by now, and keeps it. */
    return error_is(e, "VDI_IN_USE") ? OK : vdi_error(call, e, plan->sr, plan->vdi);
}

/*** recording ***/

static void txn_free_uuid(struct txn *txn, const char *uuid, ref_t keep)
{
    struct refs same = txn_referrers(txn, FIELD_vdi_uuid, index_key_string(uuid));

    /* A scan that saw the file before it had its row. */
    for (size_t i = 0; i < same.n; i++) {
        const struct vdi *vdi = txn_find(txn, CLASS_vdi, same.v[i]);

        if (vdi && strcmp(vdi->uuid, uuid) == 0 && !ref_equal(vdi->ref, keep))
            txn_destroy(txn, CLASS_vdi, vdi->ref);
    }
}

static void fill_from_info(struct vdi *row, const struct vdi_info *info)
{
    row->location = info->location;
    row->virtual_size = info->virtual_size;
    row->physical_utilisation = info->physical_utilisation;
}

static void record_base(struct txn *txn, const struct vdi_plan *plan, const struct vdi_info *base)
{
    struct vdi row;

    row_defaults(&api_classes[CLASS_vdi], &row);
    row.ref = base_ref(plan->vdi);
    if (txn_find(txn, CLASS_vdi, row.ref))
        return;
    row.uuid = vdi_base_uuid_for(txn_arena(txn), plan->vdi);
    row.name_label = base->name_label;
    row.name_description = base->name_description;
    row.sr = plan->sr;
    row.type = VDI_TYPE_USER;
    row.read_only = true;
    row.managed = false;
    row.on_boot = ON_BOOT_PERSIST;
    fill_from_info(&row, base);
    if (base->parent[0])
        row.sm_config = strmap_with(txn_arena(txn), row.sm_config, VDI_KEY_PARENT, base->parent);
    txn_free_uuid(txn, row.uuid, row.ref);
    txn_create(txn, CLASS_vdi, &row);
}

/* What a copy has in common with its source. */
static void fill_from_source(struct txn *txn, struct vdi *row, const struct vdi *source)
{
    row->name_label = source->name_label;
    row->name_description = source->name_description;
    row->type = source->type;
    row->sharable = source->sharable;
    row->read_only = source->read_only;
    row->other_config = source->other_config;
    row->xenstore_data = source->xenstore_data;
    row->sm_config = strmap_without(txn_arena(txn), source->sm_config, VDI_KEY_PARENT);
    row->tags = source->tags;
    row->allow_caching = source->allow_caching;
}

static void fill_from_plan(struct vdi *row, const struct vdi_plan *plan)
{
    if (plan->name_label)
        row->name_label = plan->name_label;
    if (plan->name_description)
        row->name_description = plan->name_description;
    if (!plan->own_fields)
        return;
    row->type = plan->type;
    row->sharable = plan->sharable;
    row->read_only = plan->read_only;
    row->other_config = plan->other_config;
    row->xenstore_data = plan->xenstore_data;
    row->sm_config = plan->sm_config;
    row->tags = plan->tags;
}

void txn_vdi_forked(struct txn *txn, const struct vdi_plan *plan, const struct vdi_made *made)
{
    if (!made->forked)
        return;
    record_base(txn, plan, &made->base);
    txn_strmap_put(txn, FIELD_vdi_sm_config, plan->source, VDI_KEY_PARENT,
                   vdi_base_uuid_for(txn_arena(txn), plan->vdi));
    TXN_SET(txn, vdi, plan->source, physical_utilisation, made->source_utilisation);
}

struct error *txn_vdi_made(struct txn *txn, const struct vdi_plan *plan,
                           const struct vdi_made *made)
{
    const struct vdi *source = NULL;
    struct vdi row;

    row_defaults(&api_classes[CLASS_vdi], &row);
    row.type = VDI_TYPE_USER;
    row.on_boot = ON_BOOT_PERSIST;
    if (plan->how != VDI_EMPTY) {
        TRY(TXN_GET(txn, vdi, plan->source, &source));
        fill_from_source(txn, &row, source);
    }
    /* A full copy has nothing it could go back to. */
    if (is_fork(plan))
        row.on_boot = source->on_boot;
    fill_from_plan(&row, plan);
    fill_from_info(&row, &made->info);
    row.ref = plan->vdi;
    row.uuid = vdi_uuid_for(txn_arena(txn), plan->vdi);
    row.sr = plan->sr;
    row.managed = true;
    if (plan->how == VDI_SNAPSHOT) {
        row.is_a_snapshot = true;
        row.snapshot_of = plan->source;
        row.snapshot_time = clock_wall();
        row.cbt_enabled = source->cbt_enabled;
    }
    if (made->info.parent[0])
        row.sm_config =
            strmap_with(txn_arena(txn), row.sm_config, VDI_KEY_PARENT, made->info.parent);
    txn_vdi_forked(txn, plan, made);
    txn_free_uuid(txn, row.uuid, row.ref);
    txn_create(txn, CLASS_vdi, &row);
    return OK;
}

/*** deleting ***/

static int by_location(const void *a, const void *b)
{
    return strcmp(((const struct vdi_info *)a)->location, ((const struct vdi_info *)b)->location);
}

/* All of the repository's are looked at, not only those that the disk's row leads to: between them
 * may lie one without a row, which a fork that was undone has left.  One scan sees them; what it
 * leaves out may be gone, or damaged: each of those is asked about. */
struct refs vdi_bases_gone(struct call *call, struct sr_use *use, ref_t sr)
{
    const struct sr_driver *driver = use->handle->driver;
    struct refs disks = db_referrers(call, FIELD_vdi_sr, sr);
    ref_t *v = arena_array(call->arena, ref_t, disks.n + 1);
    size_t n = 0, n_seen = 0;
    struct vdi_info *seen;

    if (!(driver->features & SR_F_SCAN) || driver->scan(call, use->handle, &n_seen, &seen))
        n_seen = 0;
    for (size_t i = 0; i < disks.n; i++) {
        const struct vdi *vdi = db_find(call, CLASS_vdi, disks.v[i]);
        struct vdi_info info = {.location = vdi->location};

        if (vdi->managed || (n_seen && bsearch(&info, seen, n_seen, sizeof info, by_location)))
            continue;
        if (error_is(driver->vdi_stat(call, use->handle, vdi->location, &info), "VDI_MISSING"))
            v[n++] = vdi->ref;
    }
    return (struct refs){n, v};
}

static const struct vdi *row_at(struct call *call, struct refs disks, const char *location)
{
    for (size_t i = 0; i < disks.n; i++) {
        const struct vdi *vdi = db_find(call, CLASS_vdi, disks.v[i]);

        if (vdi && strcmp(vdi->location, location) == 0)
            return vdi;
    }
    return NULL;
}

/*
 * The same, where one disk has gone: only what it lay upon can have gone with it, and of that the
 * lowest images are left.  'parent' is what its file said, NULL where that is not known.  Where the
 * rows do not tell how it goes on, all are looked at.
 */
static struct refs bases_below_gone(struct call *call, struct sr_use *use, const struct vdi *vdi,
                                    const char *parent)
{
    const char *known = strmap_get(&vdi->sm_config, VDI_KEY_PARENT);
    struct refs disks = db_referrers(call, FIELD_vdi_sr, vdi->sr);
    ref_t *v = arena_array(call->arena, ref_t, disks.n + 1);
    size_t n = 0;

    if (!parent || strcmp(parent, known ? known : "") != 0)
        return vdi_bases_gone(call, use, vdi->sr);
    while (parent && parent[0] && n < disks.n) {
        const struct vdi *base = row_at(call, disks, parent);
        struct vdi_info info;

        if (!base)
            return vdi_bases_gone(call, use, vdi->sr);
        if (base->managed ||
            !error_is(use->handle->driver->vdi_stat(call, use->handle, base->location, &info),
                      "VDI_MISSING"))
            break;
        v[n++] = base->ref;
        parent = strmap_get(&base->sm_config, VDI_KEY_PARENT);
    }
    return (struct refs){n, v};
}

struct error *vdi_erase(struct call *call, ref_t ref, struct vdi_gone *out)
{
    const struct vdi *vdi = db_find(call, CLASS_vdi, ref);
    AUTO(sr_use) use = {0};
    struct vdi_info info;
    struct error *e;

    *out = (struct vdi_gone){.vdi = ref};
    if (!vdi)
        return OK;
    TRY(sr_use(call, vdi->sr, &use));
    e = use.handle->driver->vdi_stat(call, use.handle, vdi->location, &info);
    TRY(vdi_error(call, use.handle->driver->vdi_delete(call, use.handle, vdi->location), vdi->sr,
                  ref));
    out->bases = bases_below_gone(call, &use, vdi, e ? NULL : info.parent);
    coalescer_kick(call->xapid->coalescer, vdi->sr, false);
    return OK;
}

static void forget_users(struct txn *txn, ref_t vdi)
{
    struct refs vbds = txn_referrers(txn, FIELD_vbd_vdi, vdi);
    struct refs dumps = txn_referrers(txn, FIELD_crashdump_vdi, vdi);

    for (size_t i = 0; i < vbds.n; i++) {
        const struct vbd *vbd = txn_find(txn, CLASS_vbd, vbds.v[i]);

        if (!vbd)
            continue;
        if (vbd->type != VBD_TYPE_DISK)
            TXN_SET(txn, vbd, vbd->ref, empty, true);
        else if (!vbd->currently_attached)
            txn_destroy(txn, CLASS_vbd, vbd->ref);
    }
    for (size_t i = 0; i < dumps.n; i++)
        txn_destroy(txn, CLASS_crashdump, dumps.v[i]);
}

void txn_vdi_gone(struct txn *txn, const struct vdi_gone *gone)
{
    if (txn_find(txn, CLASS_vdi, gone->vdi)) {
        forget_users(txn, gone->vdi);
        txn_destroy(txn, CLASS_vdi, gone->vdi);
    }
    for (size_t i = 0; i < gone->bases.n; i++)
        if (txn_find(txn, CLASS_vdi, gone->bases.v[i]))
            txn_destroy(txn, CLASS_vdi, gone->bases.v[i]);
}
