/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* refresh_usb.c -- records of USB devices, and of the groups that devices of one kind form. */
#include <string.h>

#include "libxapi/value/value.h"
#include "xapid/db/row.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/devices/refresh.h"
#include "xapid/ops/devices/sysfs.h"

/* Of a group that was made here: "046d:0825", the kind of its devices. */
#define KIND_KEY "usb_kind"

struct found {
    size_t n;
    struct usb_facts *v;
};

static bool same_device(const struct pusb *row, const struct usb_facts *u)
{
    return strcmp(row->path, u->path) == 0 && strcmp(row->vendor_id, u->vendor_id) == 0 &&
           strcmp(row->product_id, u->product_id) == 0 && strcmp(row->serial, u->serial) == 0;
}

static const char *kind_of(struct arena *arena, const char *vendor, const char *product)
{
    return arena_printf(arena, "%s:%s", vendor, product);
}

static const char *described(struct arena *arena, const struct usb_facts *u)
{
    return arena_printf(arena, "%s%s%s", *u->vendor ? u->vendor : u->vendor_id, " ",
                        *u->product ? u->product : u->product_id);
}

/* Groups that this transaction makes are not in its base: it remembers them. */
struct made {
    size_t n;
    struct {
        const char *kind;
        ref_t group;
    } * v;
};

static ref_t group_for(struct txn *txn, struct made *made, const struct usb_facts *u)
{
    struct arena *arena = txn_arena(txn);
    const char *kind = kind_of(arena, u->vendor_id, u->product_id);
    const struct usb_group *group;
    char uuid[UUID_TEXT_SIZE];
    struct usb_group row;
    struct db_walk walk;

    for (size_t i = 0; i < made->n; i++)
        if (strcmp(made->v[i].kind, kind) == 0)
            return made->v[i].group;
    db_walk(txn_snap(txn), CLASS_usb_group, &walk);
    while ((group = db_walk_next(&walk))) {
        const char *its = strmap_get(&group->other_config, KIND_KEY);

        if (its && strcmp(its, kind) == 0 && txn_find(txn, CLASS_usb_group, group->ref))
            return group->ref;
    }
    row_defaults(&api_classes[CLASS_usb_group], &row);
    row.ref = ref_new();
    row.uuid = uuid_new(uuid);
    row.name_label = arena_printf(arena, "Group of %s USBs", described(arena, u));
    row.other_config = strmap_with(arena, row.other_config, KIND_KEY, kind);
    txn_create(txn, CLASS_usb_group, &row);
    made->v[made->n].kind = kind;
    made->v[made->n++].group = row.ref;
    return row.ref;
}

static void add_found(struct txn *txn, struct made *made, const struct usb_facts *u)
{
    char uuid[UUID_TEXT_SIZE];
    struct pusb row;

    row_defaults(&api_classes[CLASS_pusb], &row);
    row.ref = ref_new();
    row.uuid = uuid_new(uuid);
    row.usb_group = group_for(txn, made, u);
    row.host = txn_call(txn)->xapid->host;
    row.path = u->path;
    row.vendor_id = u->vendor_id;
    row.vendor_desc = u->vendor;
    row.product_id = u->product_id;
    row.product_desc = u->product;
    row.serial = u->serial;
    row.version = u->version;
    row.description = described(txn_arena(txn), u);
    row.speed = u->speed;
    txn_create(txn, CLASS_pusb, &row);
}

/* A group that was made here, and that nobody uses any more, goes with its last device. */
static void drop_group(struct txn *txn, ref_t ref, const struct refs *going)
{
    const struct usb_group *group = txn_find(txn, CLASS_usb_group, ref);
    struct refs pusbs = txn_referrers(txn, FIELD_pusb_usb_group, ref);

    if (!group || !strmap_get(&group->other_config, KIND_KEY) ||
        txn_referrers(txn, FIELD_vusb_usb_group, ref).n)
        return;
    for (size_t i = 0; i < pusbs.n; i++)
        if (!refs_contain(going, pusbs.v[i]))
            return;
    txn_destroy(txn, CLASS_usb_group, ref);
}

static bool kind_is_found(const struct found *found, const struct pusb *row)
{
    for (size_t i = 0; i < found->n; i++)
        if (strcmp(found->v[i].vendor_id, row->vendor_id) == 0 &&
            strcmp(found->v[i].product_id, row->product_id) == 0)
            return true;
    return false;
}

static struct error *usb_txn(struct txn *txn, void *arg)
{
    const struct found *found = arg;
    struct arena *arena = txn_arena(txn);
    struct refs known = txn_referrers(txn, FIELD_pusb_host, txn_call(txn)->xapid->host);
    bool *seen = arena_array(arena, bool, found->n + 1);
    ref_t *gone = arena_array(arena, ref_t, known.n + 1), *groups;
    struct refs going = {0, gone};
    struct made made = {0, arena_alloc(arena, (found->n + 1) * sizeof *made.v)};

    groups = arena_array(arena, ref_t, known.n + 1);
    for (size_t k = 0; k < known.n; k++) {
        const struct pusb *row = txn_find(txn, CLASS_pusb, known.v[k]);
        size_t i = 0;

        while (i < found->n && !same_device(row, &found->v[i]))
            i++;
        if (i < found->n) {
            seen[i] = true;
            continue;
        }
        gone[going.n] = row->ref;
        groups[going.n++] = kind_is_found(found, row) ? REF_NULL : row->usb_group;
        txn_destroy(txn, CLASS_pusb, row->ref);
    }
    for (size_t i = 0; i < going.n; i++)
        if (!ref_is_null(groups[i]) && !refs_contain(&(struct refs){i, groups}, groups[i]))
            drop_group(txn, groups[i], &going);
    for (size_t i = 0; i < found->n; i++)
        if (!seen[i])
            add_found(txn, &made, &found->v[i]);
    return OK;
}

struct error *devices_refresh_usb(struct call *call)
{
    struct found found = {0};

    found.n = sysfs_usb(call->arena, call->xapid->options.sysfs_dir, &found.v);
    return db_update(call, usb_txn, &found);
}
