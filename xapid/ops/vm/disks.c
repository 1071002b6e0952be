/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/vm/disks.h"

#include "libxapi/base/log.h"
#include "xapid/ops/storage/attach.h"
#include "xapid/ops/storage/vdi_ops.h"
#include "xapid/ops/vm/device.h"
#include "xapid/ops/vm/qos.h"

static bool is_writable(const struct vbd *vbd)
{
    return vbd->type != VBD_TYPE_CD && vbd->mode == VBD_RW;
}

struct error *txn_vm_disks_reserve(struct txn *txn, const struct vm *vm)
{
    struct refs vbds = txn_referrers(txn, FIELD_vbd_vm, vm->ref);

    for (size_t i = 0; i < vbds.n; i++) {
        const struct vbd *vbd = txn_find(txn, CLASS_vbd, vbds.v[i]);

        if (!vbd->empty)
            TRY(txn_vdi_check_attach(txn, vbd->vdi, vbd->ref, is_writable(vbd)));
        TXN_SET(txn, vbd, vbd->ref, currently_attached, true);
    }
    return OK;
}

void txn_vm_disks_unreserve(struct txn *txn, ref_t vm)
{
    struct refs vbds = txn_referrers(txn, FIELD_vbd_vm, vm);

    for (size_t i = 0; i < vbds.n; i++)
        TXN_SET(txn, vbd, vbds.v[i], currently_attached, false);
}

struct error *vm_disks_put_back(struct call *call, ref_t vm)
{
    struct refs vbds = db_referrers(call, FIELD_vbd_vm, vm);

    for (size_t i = 0; i < vbds.n; i++) {
        const struct vbd *vbd = db_find(call, CLASS_vbd, vbds.v[i]);

        if (is_writable(vbd) && !vbd->empty)
            TRY(vdi_put_back(call, vbd->vdi));
    }
    return OK;
}

static struct error *attach_one(struct op *op, const struct vbd *vbd, struct vm_disks *disks)
{
    struct call *call = op->call;
    struct hv_disk *disk = &disks->hv[disks->n];
    const struct vdi *vdi = db_find(call, CLASS_vdi, vbd->vdi);
    int number = vbd_device_number(vbd->userdevice);

    if (number < 0)
        return err_invalid_device(call, vbd->userdevice);
    *disk = (struct hv_disk){
        .device = vbd_device_name(call->arena, number),
        .path = "",
        .format = "raw",
        .cdrom = vbd->type == VBD_TYPE_CD,
        .mode = is_writable(vbd) ? HV_DISK_RW : HV_DISK_RO,
        .shared = vdi && vdi->sharable,
    };
    if (!vbd->empty) {
        struct vdi_path path;

        TRY(vdi_path_attach(call, vbd->vdi, is_writable(vbd), &path));
        disk->path = path.path;
        disk->format = path.format;
        disks->vdis[disks->n] = vbd->vdi;
        vdi_prefer(call, vbd->vdi, vbd_io_priority(vbd));
    } else if (!disk->cdrom) {
        return OK; /* a disk without a medium is no device */
    }
    disks->n++;
    return OK;
}

/* A boot loader looks into the first: the bootable one, else the one with the lowest number. */
static void put_boot_disk_first(struct vm_disks *disks, const bool *bootable)
{
    size_t first = 0;

    for (size_t i = 1; i < disks->n; i++)
        if (bootable[i] != bootable[first] ? bootable[i]
                                           : vbd_device_number(disks->hv[i].device) <
                                                 vbd_device_number(disks->hv[first].device))
            first = i;
    if (disks->n) {
        struct hv_disk disk = disks->hv[first];
        ref_t vdi = disks->vdis[first];

        disks->hv[first] = disks->hv[0];
        disks->vdis[first] = disks->vdis[0];
        disks->hv[0] = disk;
        disks->vdis[0] = vdi;
    }
}

struct error *vm_disks_attach(struct op *op, const struct vm *vm, struct vm_disks *out)
{
    struct call *call = op->call;
    struct refs vbds = db_referrers(call, FIELD_vbd_vm, vm->ref);
    bool *bootable = arena_array(call->arena, bool, vbds.n + 1);

    out->op = op;
    out->hv = arena_array(call->arena, struct hv_disk, vbds.n + 1);
    out->vdis = arena_array(call->arena, ref_t, vbds.n + 1);
    for (size_t i = 0; i < vbds.n; i++) {
        const struct vbd *vbd = db_find(call, CLASS_vbd, vbds.v[i]);

        bootable[out->n] = vbd->bootable;
        TRY(attach_one(op, vbd, out));
    }
    put_boot_disk_first(out, bootable);
    return OK;
}

void vm_disks_keep(struct vm_disks *disks)
{
    disks->op = NULL;
}

void vm_disks_release(struct vm_disks *disks)
{
    if (!disks->op || !op_may_undo(disks->op))
        return;
    for (size_t i = disks->n; i > 0; i--)
        if (!ref_is_null(disks->vdis[i - 1]))
            vdi_path_detach(disks->op->call, disks->vdis[i - 1]);
    disks->n = 0;
}

struct refs vm_disks_attached(struct call *call, ref_t vm)
{
    struct refs vbds = db_referrers(call, FIELD_vbd_vm, vm);
    ref_t *v = arena_array(call->arena, ref_t, vbds.n + 1);
    size_t n = 0;

    for (size_t i = 0; i < vbds.n; i++) {
        const struct vbd *vbd = db_find(call, CLASS_vbd, vbds.v[i]);

        if (vbd->currently_attached && !ref_is_null(vbd->vdi))
            v[n++] = vbd->vdi;
    }
    return (struct refs){n, v};
}

void vm_disks_detach(struct call *call, const struct refs *vdis)
{
    for (size_t i = 0; i < vdis->n; i++)
        vdi_path_detach(call, vdis->v[i]);
}

struct error *vm_disks_flush(struct call *call, ref_t vm)
{
    struct refs vbds = db_referrers(call, FIELD_vbd_vm, vm);

    for (size_t i = 0; i < vbds.n; i++) {
        const struct vbd *vbd = db_find(call, CLASS_vbd, vbds.v[i]);

        if (vbd->currently_attached && is_writable(vbd) && !ref_is_null(vbd->vdi))
            TRY(vdi_flush(call, vbd->vdi));
    }
    return OK;
}

void vm_disks_adopt(struct call *call, const struct vm *vm)
{
    struct refs vbds = db_referrers(call, FIELD_vbd_vm, vm->ref);

    for (size_t i = 0; i < vbds.n; i++) {
        const struct vbd *vbd = db_find(call, CLASS_vbd, vbds.v[i]);
        struct error *e;

        if (!vbd->currently_attached || ref_is_null(vbd->vdi))
            continue;
        e = vdi_path_adopt(call, vbd->vdi, is_writable(vbd));
        if (e)
            log_warning("disk %s of the running VM %s cannot be counted as attached: %s",
                        vbd->userdevice, vm->uuid, error_line(call->arena, e));
    }
}
