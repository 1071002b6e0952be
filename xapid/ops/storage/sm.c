/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/storage/sm.h"

#include <string.h>

#include "libxapi/value/value.h"
#include "storage-repos/sr.h"
#include "xapid/db/row.h"

/* The names clients know, by what a driver can do; 0: all can. */
static const struct {
    unsigned feature;
    const char *name;
    int64_t version;
} names[] = {
    {SR_F_CREATE, "SR_CREATE", 1},
    {SR_F_CREATE, "SR_DELETE", 1},
    {0, "SR_ATTACH", 1},
    {0, "SR_DETACH", 1},
    {SR_F_SCAN, "SR_SCAN", 1},
    {SR_F_PROBE, "SR_PROBE", 1},
    {SR_F_UPDATE, "SR_UPDATE", 1},
    {SR_F_STATS, "SR_STATS", 1},
    {SR_F_VDI_CREATE, "VDI_CREATE", 1},
    {SR_F_VDI_DELETE, "VDI_DELETE", 1},
    {SR_F_VDI_ATTACH, "VDI_ATTACH", 1},
    {SR_F_VDI_ATTACH, "VDI_DETACH", 1},
    {SR_F_VDI_ATTACH, "VDI_ACTIVATE", 1},
    {SR_F_VDI_ATTACH, "VDI_DEACTIVATE", 1},
    {SR_F_VDI_RESIZE, "VDI_RESIZE", 1},
    {SR_F_VDI_RESIZE_ONLINE, "VDI_RESIZE_ONLINE", 1},
    {SR_F_VDI_CLONE, "VDI_CLONE", 1},
    {SR_F_VDI_SNAPSHOT, "VDI_SNAPSHOT", 1},
    {SR_F_VDI_INTRODUCE, "VDI_INTRODUCE", 1},
    {SR_F_VDI_REVERT, "VDI_REVERT", 1},
    /* Version 2: the disk goes back when a machine starts, not when it is attached. */
    {SR_F_VDI_RESET, "VDI_RESET_ON_BOOT", 2},
    {SR_F_VDI_CBT, "VDI_CONFIG_CBT", 1},
    {SR_F_THIN, "THIN_PROVISIONING", 1},
    /* Names are kept beside the disks, so that a scan finds them again. */
    {SR_F_VDI_CREATE, "SR_METADATA", 1},
    /* Images of xapid have no two-terabyte limit. */
    {SR_F_VDI_CREATE, "LARGE_VDI", 1},
};

struct feature_entry {
    const char *key;
    int64_t value;
};

static void set_features(struct arena *arena, const struct sr_driver *driver, struct sm *row)
{
    const char **v = arena_array(arena, const char *, ARRAY_SIZE(names));
    struct feature_entry *m = arena_array(arena, struct feature_entry, ARRAY_SIZE(names));
    size_t n = 0;

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (names[i].feature && !(driver->features & names[i].feature))
            continue;
        m[n] = (struct feature_entry){names[i].name, names[i].version};
        v[n++] = names[i].name;
    }
    row->capabilities = (struct strings){n, v};
    row->features = (struct map){n, m};
}

static void fill_row(struct arena *arena, const struct sr_driver *driver, struct sm *row)
{
    int *format = arena_new(arena, int);
    size_t n = 0;

    *format = driver->features & SR_F_VDI_CREATE ? IMAGE_FORMAT_TYPE_QCOW2 : IMAGE_FORMAT_TYPE_RAW;
    row->name_label = driver->name_label;
    row->name_description = driver->description;
    row->type = driver->type;
    row->vendor = "xapid";
    row->copyright = "LGPL-2.1-or-later";
    row->version = "1.0";
    row->required_api_version = "1.0";
    while (driver->config_help && driver->config_help[n].key)
        n++;
    row->configuration = (struct strmap){n, driver->config_help};
    row->supported_image_formats = (struct enums){1, format};
    set_features(arena, driver, row);
}

/* Only what differs is written, so that a start without news is no event. */
static void update_row(struct txn *txn, const struct sm *old, const struct sm *now)
{
    static const int fields[] = {
        FIELD_sm_name_label,    FIELD_sm_name_description,
        FIELD_sm_vendor,        FIELD_sm_copyright,
        FIELD_sm_version,       FIELD_sm_required_api_version,
        FIELD_sm_configuration, FIELD_sm_capabilities,
        FIELD_sm_features,      FIELD_sm_supported_image_formats,
    };

    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        const struct field_desc *f = &api_fields[fields[i]];

        if (!value_equal(f->type, field_in(old, f), field_in(now, f)))
            txn_set_value(txn, f->id, old->ref, field_in(now, f));
    }
}

static void refresh_driver(struct txn *txn, const struct sr_driver *driver)
{
    struct db_walk walk;
    const struct sm *old;
    struct sm row;

    row_defaults(&api_classes[CLASS_sm], &row);
    fill_row(txn_arena(txn), driver, &row);
    db_walk(txn_snap(txn), CLASS_sm, &walk);
    while ((old = db_walk_next(&walk)))
        if (strcmp(old->type, driver->type) == 0)
            break;
    if (old) {
        update_row(txn, old, &row);
        return;
    }
    row.ref = ref_new();
    row.uuid = uuid_new(arena_alloc(txn_arena(txn), UUID_TEXT_SIZE));
    txn_create(txn, CLASS_sm, &row);
}

static struct error *refresh_txn(struct txn *txn, void *arg)
{
    struct db_walk walk;
    const struct sm *old;

    (void)arg;
    for (size_t i = 0; sr_drivers[i]; i++)
        refresh_driver(txn, sr_drivers[i]);
    db_walk(txn_snap(txn), CLASS_sm, &walk);
    while ((old = db_walk_next(&walk)))
        if (!sr_driver_by_type(old->type))
            txn_destroy(txn, CLASS_sm, old->ref);
    return OK;
}

struct error *sm_rows_refresh(struct call *call)
{
    return db_update(call, refresh_txn, NULL);
}
