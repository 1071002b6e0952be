/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* usb.c -- USB devices of hosts and their groups. */
#include <string.h>

#include "libxapi/value/value.h"
#include "xapid/db/ready.h"
#include "xapid/db/row.h"
#include "xapid/ops/devices/refresh.h"
#include "xapid/ops/rows.h"
#include "xapid/ops/vm/domain.h"
#include "xapid/ops/vm/passthrough.h"

/*** devices ***/

struct error *pusb_scan(struct call *call, const struct pusb_scan_args *args)
{
    const struct host *host;

    TRY(DB_GET(call, host, args->host, &host));
    TRY(host_is_here(call, args->host));
    return devices_refresh_usb(call);
}

/* A disk of a repository of removable storage that is on the device. */
static struct error *check_no_disk(struct txn *txn, const struct pusb *pusb)
{
    struct refs pbds = txn_referrers(txn, FIELD_pbd_host, pusb->host);
    struct call *call = txn_call(txn);

    for (size_t i = 0; i < pbds.n; i++) {
        const struct pbd *pbd = txn_find(txn, CLASS_pbd, pbds.v[i]);
        const struct sr *sr = pbd ? txn_find(txn, CLASS_sr, pbd->sr) : NULL;
        struct refs vdis;

        if (!sr || strcmp(sr->type, "udev") != 0)
            continue;
        vdis = txn_referrers(txn, FIELD_vdi_sr, sr->ref);
        for (size_t k = 0; k < vdis.n; k++) {
            const struct vdi *vdi = txn_find(txn, CLASS_vdi, vdis.v[k]);
            const char *path = vdi ? strmap_get(&vdi->sm_config, "usb_path") : NULL;

            if (path && strcmp(path, pusb->path) == 0)
                return err_pusb_vdi_conflict(call, call_ref(call, pusb->ref),
                                             call_ref(call, vdi->ref));
        }
    }
    return OK;
}

static struct error *check_no_vm(struct txn *txn, const struct pusb *pusb)
{
    struct refs vusbs = txn_referrers(txn, FIELD_vusb_usb_group, pusb->usb_group);
    struct call *call = txn_call(txn);

    for (size_t i = 0; i < vusbs.n; i++) {
        const struct vusb *vusb = txn_find(txn, CLASS_vusb, vusbs.v[i]);

        if (vusb && vusb_has(vusb, pusb))
            return err_usb_already_attached(call, call_ref(call, pusb->ref),
                                            call_ref(call, vusb->vm));
    }
    return OK;
}

static struct error *passthrough_txn(struct txn *txn, void *arg)
{
    const struct pusb_set_passthrough_enabled_args *a = arg;
    const struct pusb *pusb;

    TRY(TXN_GET(txn, pusb, a->self, &pusb));
    TRY(a->value ? check_no_disk(txn, pusb) : check_no_vm(txn, pusb));
    TXN_SET(txn, pusb, a->self, passthrough_enabled, a->value);
    return OK;
}

struct error *pusb_set_passthrough_enabled(struct call *call,
                                           const struct pusb_set_passthrough_enabled_args *args)
{
    return db_update(call, passthrough_txn, (void *)args);
}

/*** groups ***/

struct error *usb_group_create(struct call *call, const struct usb_group_create_args *args,
                               ref_t *result)
{
    char uuid[UUID_TEXT_SIZE];
    struct usb_group row;

    TRY(check_room(call, CLASS_usb_group));
    row_defaults(&api_classes[CLASS_usb_group], &row);
    row.ref = ref_new();
    row.uuid = uuid_new(uuid);
    row.name_label = args->name_label;
    row.name_description = args->name_description;
    row.other_config = args->other_config;
    TRY(db_update(call, db_create_txn, &(struct db_create){CLASS_usb_group, &row}));
    *result = row.ref;
    return OK;
}

/* Virtual USB devices that are not attached go with their group. */
static struct error *destroy_group_txn(struct txn *txn, void *arg)
{
    ref_t ref = *(const ref_t *)arg;
    struct refs vusbs = txn_referrers(txn, FIELD_vusb_usb_group, ref);
    struct refs pusbs = txn_referrers(txn, FIELD_pusb_usb_group, ref);
    ref_t *attached = arena_array(txn_arena(txn), ref_t, vusbs.n + 1);
    const struct usb_group *group;
    size_t n = 0;

    TRY(TXN_GET(txn, usb_group, ref, &group));
    for (size_t i = 0; i < vusbs.n; i++) {
        const struct vusb *vusb = txn_find(txn, CLASS_vusb, vusbs.v[i]);

        if (vusb->currently_attached || vusb->current_operations.n)
            attached[n++] = vusb->ref;
    }
    if (n)
        return error_of_refs(txn_call(txn), "USB_GROUP_CONTAINS_VUSB", &(struct refs){n, attached});
    if (pusbs.n)
        return error_of_refs(txn_call(txn), "USB_GROUP_CONTAINS_PUSB", &pusbs);
    for (size_t i = 0; i < vusbs.n; i++)
        txn_destroy(txn, CLASS_vusb, vusbs.v[i]);
    txn_destroy(txn, CLASS_usb_group, ref);
    return OK;
}

struct error *usb_group_destroy(struct call *call, const struct usb_group_destroy_args *args)
{
    ref_t ref = args->self;

    return db_update(call, destroy_group_txn, &ref);
}
