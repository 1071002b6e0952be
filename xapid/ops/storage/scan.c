/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/storage/scan.h"

#include <string.h>

#include "libxapi/value/value.h"
#include "xapid/db/log.h"
#include "xapid/db/row.h"
#include "xapid/db/root.h"
#include "xapid/ops/storage/attach.h"
#include "xapid/ops/storage/vdi_ops.h"

/* Bytes after which the rest waits for the next change; the names of one disk may need as much
 * again. */
#define PIECE ((size_t)LOG_MAX_WRITE_SET / 4)
#define ROW 1024 /* bytes that a record needs at most, but for its texts */

struct error *scan_storage(struct call *call, ref_t sr, struct scan *out)
{
    AUTO(sr_use) use = {0};
    struct vdi_info *v;

    TRY(sr_use(call, sr, &use));
    *out = (struct scan){.sr = sr, .names = use.handle->driver->vdi_describe != NULL};
    TRY(use.handle->driver->scan(call, use.handle, &out->n, &v));
    out->v = v;
    return OK;
}

/* Ordered by location, as drivers give them. */
static const struct vdi_info *find_info(const struct scan *scan, const char *location)
{
    size_t low = 0, high = scan->n;

    while (low < high) {
        size_t mid = (low + high) / 2;
        int order = strcmp(location, scan->v[mid].location);

        if (order == 0)
            return &scan->v[mid];
        if (order < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return NULL;
}

static struct strmap sm_config_of(struct txn *txn, const struct vdi_info *info, struct strmap old)
{
    struct arena *arena = txn_arena(txn);
    struct strmap map = strmap_without(arena, old, VDI_KEY_DAMAGED);

    for (size_t i = 0; i < info->sm_config.n; i++)
        map = strmap_with(arena, map, info->sm_config.v[i].key, info->sm_config.v[i].value);
    return info->parent[0] ? strmap_with(arena, map, VDI_KEY_PARENT, info->parent)
                           : strmap_without(arena, map, VDI_KEY_PARENT);
}

void txn_vdi_seen(struct txn *txn, const struct vdi *vdi, const struct vdi_info *info, bool names)
{
    struct strmap sm_config = sm_config_of(txn, info, vdi->sm_config);

    if (vdi->virtual_size != info->virtual_size)
        TXN_SET(txn, vdi, vdi->ref, virtual_size, info->virtual_size);
    if (vdi->physical_utilisation != info->physical_utilisation)
        TXN_SET(txn, vdi, vdi->ref, physical_utilisation, info->physical_utilisation);
    if (vdi->missing)
        TXN_SET(txn, vdi, vdi->ref, missing, false);
    if (vdi->managed == info->hidden)
        TXN_SET(txn, vdi, vdi->ref, managed, !info->hidden);
    if (!value_equal(api_fields[FIELD_vdi_sm_config].type, &sm_config, &vdi->sm_config))
        TXN_SET(txn, vdi, vdi->ref, sm_config, sm_config);
    if (!names)
        return;
    if (strcmp(vdi->name_label, info->name_label) != 0)
        TXN_SET(txn, vdi, vdi->ref, name_label, info->name_label);
    if (strcmp(vdi->name_description, info->name_description) != 0)
        TXN_SET(txn, vdi, vdi->ref, name_description, info->name_description);
}

/* Its file is there, and no image any more: that is seen, and nothing is lost, for it may be
 * repaired, or come from a backup. */
static void update_damaged(struct txn *txn, const struct vdi *vdi, const char *why)
{
    const char *said = strmap_get(&vdi->sm_config, VDI_KEY_DAMAGED);

    if (!vdi->missing)
        TXN_SET(txn, vdi, vdi->ref, missing, true);
    if (!said || strcmp(said, why) != 0)
        txn_strmap_put(txn, FIELD_vdi_sm_config, vdi->ref, VDI_KEY_DAMAGED, why);
}

/* Records of other classes that need the disk's record to stay. */
static bool is_wanted(struct txn *txn, ref_t vdi)
{
    return txn_referrers(txn, FIELD_vbd_vdi, vdi).n ||
           txn_referrers(txn, FIELD_vm_suspend_vdi, vdi).n;
}

static void update_unseen(struct txn *txn, const struct vdi *vdi)
{
    if (vdi->current_operations.n)
        return;
    if (!is_wanted(txn, vdi->ref))
        txn_destroy(txn, CLASS_vdi, vdi->ref);
    else if (!vdi->missing)
        TXN_SET(txn, vdi, vdi->ref, missing, true);
}

static bool uuid_is_free(struct txn *txn, const char *uuid)
{
    struct refs same = txn_referrers(txn, FIELD_vdi_uuid, index_key_string(uuid));

    for (size_t i = 0; i < same.n; i++) {
        const struct vdi *vdi = txn_find(txn, CLASS_vdi, same.v[i]);

        if (vdi && strcmp(vdi->uuid, uuid) == 0)
            return false;
    }
    return true;
}

static void add_found(struct txn *txn, const struct scan *scan, const struct vdi_info *info)
{
    struct vdi row;

    row_defaults(&api_classes[CLASS_vdi], &row);
    row.ref = ref_new();
    row.uuid = info->uuid[0] && uuid_is_free(txn, info->uuid)
                   ? info->uuid
                   : uuid_new(arena_alloc(txn_arena(txn), UUID_TEXT_SIZE));
    row.name_label = info->name_label;
    row.name_description = info->name_description;
    row.sr = scan->sr;
    row.type =
        strmap_get(&info->sm_config, VDI_KEY_METADATA_OF_POOL) ? VDI_TYPE_METADATA : VDI_TYPE_USER;
    if (info->stripped) {
        row.type = VDI_TYPE_CBT_METADATA;
        row.cbt_enabled = true;
    }
    row.read_only = info->read_only;
    row.location = info->location;
    row.managed = !info->hidden;
    row.virtual_size = info->virtual_size;
    row.physical_utilisation = info->physical_utilisation;
    row.on_boot = ON_BOOT_PERSIST;
    row.sm_config = sm_config_of(txn, info, row.sm_config);
    txn_create(txn, CLASS_vdi, &row);
}

/* The set of rows is relied on as a whole, with their versions: none of them is named again, for
 * there may be tens of thousands. */
static void update_known(struct txn *txn, struct scan *scan, struct refs known, bool *seen)
{
    for (size_t i = 0; i < known.n; i++) {
        const struct vdi *vdi = root_get(snap_root(txn_snap(txn)), CLASS_vdi, known.v[i]);
        const struct vdi_info *info = vdi ? find_info(scan, vdi->location) : NULL;

        if (info)
            seen[info - scan->v] = true;
        if (!vdi || scan->more)
            continue;
        if (!info)
            update_unseen(txn, vdi);
        else if (!info->unknown)
            txn_vdi_seen(txn, vdi, info, scan->names);
        else if (info->damaged && info->damaged[0])
            update_damaged(txn, vdi, info->damaged);
        scan->more = txn_size(txn) > PIECE;
    }
}

struct error *txn_scanned(struct txn *txn, struct scan *scan)
{
    struct refs known = txn_referrers(txn, FIELD_vdi_sr, scan->sr);
    bool *seen = arena_array(txn_arena(txn), bool, scan->n + 1);
    const struct sr *sr;

    scan->more = false;
    TRY(TXN_GET(txn, sr, scan->sr, &sr));
    update_known(txn, scan, known, seen);
    for (size_t i = 0; i < scan->n && !scan->more; i++) {
        if (seen[i] || scan->v[i].unknown)
            continue;
        add_found(txn, scan, &scan->v[i]);
        scan->more = txn_size(txn) > PIECE;
    }
    return OK;
}

static struct error *record_piece(struct txn *txn, void *arg)
{
    return txn_scanned(txn, arg);
}

/* At most so many bytes, where each record is written. */
static size_t size_at_most(const struct call *call, const struct scan *scan)
{
    size_t size = ROW * (db_referrers(call, FIELD_vdi_sr, scan->sr).n + scan->n);

    for (size_t i = 0; i < scan->n; i++) {
        const struct vdi_info *v = &scan->v[i];

        size += strlen(v->name_label) + strlen(v->name_description);
        for (size_t k = 0; k < v->sm_config.n; k++)
            size += strlen(v->sm_config.v[k].key) + strlen(v->sm_config.v[k].value);
    }
    return size;
}

struct error *scan_record_many(struct call *call, struct scan *scan)
{
    if (size_at_most(call, scan) <= PIECE)
        return OK;
    do
        TRY(db_update(call, record_piece, scan));
    while (scan->more);
    return OK;
}
