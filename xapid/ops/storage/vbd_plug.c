/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vbd_plug.c -- disks and media of running VMs: VBD.plug, unplug, unplug_force, insert, eject.
 *
 * Recovery asks the hypervisor what became of the one request an operation makes, and records that.
 */
#include <string.h>

#include "libxapi/base/log.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/hotplug.h"
#include "xapid/ops/storage/attach.h"
#include "xapid/ops/storage/check.h"
#include "xapid/ops/storage/making.h"
#include "xapid/ops/storage/vdi_ops.h"
#include "xapid/ops/vm/device.h"
#include "xapid/ops/vm/domain.h"
#include "xapid/ops/vm/qos.h"

/* A VBD as an operation needs it, in the call's memory: rows go with the snapshot. */
struct drive {
    ref_t vbd, vdi, vm;
    const char *vm_uuid;
    bool has_domain, attached, empty;
    int priority;        /* of its I/O */
    struct hv_disk disk; /* without its path */
};

static struct error *find_drive(struct call *call, ref_t ref, struct drive *out)
{
    const struct vbd *vbd;
    const struct vdi *vdi;
    const struct vm *vm;

    TRY(DB_GET(call, vbd, ref, &vbd));
    TRY(DB_GET(call, vm, vbd->vm, &vm));
    vdi = db_find(call, CLASS_vdi, vbd->vdi);
    *out = (struct drive){
        .vbd = ref,
        .vdi = vbd->vdi,
        .vm = vbd->vm,
        .vm_uuid = arena_strdup(call->arena, vm->uuid),
        .has_domain = vm->power_state == VM_RUNNING || vm->power_state == VM_PAUSED,
        .attached = vbd->currently_attached,
        .empty = vbd->empty,
        .priority = vbd_io_priority(vbd),
        .disk = {.device = vbd_device_name(call->arena, MAX(vbd_device_number(vbd->userdevice), 0)),
                 .path = "",
                 .format = "raw",
                 .cdrom = vbd->type == VBD_TYPE_CD,
                 .shared = vdi && vdi->sharable,
                 .mode = vbd->mode == VBD_RW ? HV_DISK_RW : HV_DISK_RO},
    };
    return OK;
}

/* A path, and the hypervisor's use of it, that are given back unless they are kept. */
struct plugged {
    struct op *op;
    ref_t vdi;                  /* attached here; null: none */
    const char *vm_uuid;        /* the domain may have the disk; NULL: no */
    const struct hv_disk *undo; /* how to take it out: a medium to put back, NULL: unplug */
    const char *device;
};

static void plugged_release(struct plugged *p)
{
    struct hv_request rq;
    struct error *e = OK;

    if (!p->op || !op_may_undo(p->op))
        return;
    if (p->vm_uuid) {
        struct hv *hv = p->op->call->xapid->hv;

        rq = op_hv_request(p->op, "undo");
        e = p->undo ? hv_disk_change(hv, &rq, p->vm_uuid, p->undo)
                    : hv_disk_unplug(hv, &rq, p->vm_uuid, p->device, true);
    }
    if (e && hv_failure_of(e) != HV_NO_DOMAIN) {
        log_error("a disk stays with a VM that should not have it, until the next start: %s",
                  error_line(p->op->call->arena, e));
        p->op->unknown = true; /* keeps the intent for recovery */
        return;
    }
    if (!ref_is_null(p->vdi))
        vdi_path_detach(p->op->call, p->vdi);
}

static struct error *attach_path(struct op *op, ref_t vdi, struct hv_disk *disk,
                                 struct plugged *plugged)
{
    struct vdi_path path;

    TRY(vdi_path_attach(op->call, vdi, disk->mode == HV_DISK_RW, &path));
    plugged->vdi = vdi;
    disk->path = path.path;
    disk->format = path.format;
    return OK;
}

struct attach_ctx {
    ref_t vbd, vdi;
    enum vbd_operations op;
    bool attached; /* to be recorded */
    const char *device;
};

static struct error *check_vbd_op(struct txn *txn, void *arg)
{
    const struct attach_ctx *a = arg;
    const struct vbd *vbd;

    TRY(txn_vbd_check(txn, a->vbd, a->op, &vbd));
    return a->op == VBD_OP_INSERT || a->op == VBD_OP_EJECT ? OK
                                                           : txn_check_has_domain(txn, vbd->vm);
}

static struct error *record_attached(struct txn *txn, void *arg)
{
    const struct attach_ctx *a = arg;
    const struct vbd *vbd = txn_find(txn, CLASS_vbd, a->vbd);

    if (!vbd)
        return OK;
    /* A VM that has halted meanwhile took its devices with it. */
    if (a->attached)
        TRY(txn_check_has_domain(txn, vbd->vm));
    TXN_SET(txn, vbd, a->vbd, currently_attached, a->attached);
    TXN_SET(txn, vbd, a->vbd, device, a->attached ? a->device : "");
    return OK;
}

static struct error *begin(struct call *call, enum intent_kind kind, const void *intent,
                           struct attach_ctx *a, db_txn_fn *check, struct op *op)
{
    return op_begin(call,
                    &(struct op_spec){.kind = kind,
                                      .intent = intent,
                                      .n_holds = 1,
                                      .holds = &(struct op_hold){CLASS_vbd, a->vbd, (int)a->op},
                                      .check = check,
                                      .arg = a},
                    op);
}

/*** plug ***/

struct error *vbd_plug(struct call *call, const struct vbd_plug_args *args)
{
    struct vbd_plug_intent intent = {args->self};
    struct attach_ctx a = {.vbd = args->self, .op = VBD_OP_PLUG, .attached = true};
    AUTO(op) op = {0};
    AUTO(plugged) plugged = {0};
    struct hv_request rq;
    struct drive drive;

    TRY(begin(call, INTENT_vbd_plug, &intent, &a, check_vbd_op, &op));
    TRY(find_drive(call, args->self, &drive));
    a.device = drive.disk.device;
    plugged = (struct plugged){.op = &op, .device = drive.disk.device};
    if (!drive.empty) {
        TRY(vdi_put_back(call, drive.vdi));
        TRY(attach_path(&op, drive.vdi, &drive.disk, &plugged));
        vdi_prefer(call, drive.vdi, drive.priority);
    }
    TRY(op_step(&op, "attached", 0.4));
    rq = op_hv_request(&op, "plug");
    TRY(hotplug_settle(&op, "plug",
                       hv_disk_plug(call->xapid->hv, &rq, drive.vm_uuid, &drive.disk)));
    plugged.vm_uuid = drive.vm_uuid;
    TRY(op_step(&op, "plugged", 0.8));
    TRY(op_commit(&op, record_attached, &a));
    plugged.op = NULL;
    return OK;
}

struct error *vbd_plug_recover(struct call *call, struct op *op,
                               const struct vbd_plug_intent *intent)
{
    struct attach_ctx a = {.vbd = intent->vbd, .attached = true};
    struct drive drive;
    bool happened;

    TRY(hotplug_happened(op, "plug", &happened));
    if (!happened || find_drive(call, intent->vbd, &drive) != OK || !drive.has_domain)
        return OK;
    /* Its path is counted with those of all other disks of the domain. */
    a.device = drive.disk.device;
    return op_commit(op, record_attached, &a);
}

/*** unplug ***/

static struct error *unplug(struct call *call, ref_t ref, enum vbd_operations vbd_op, bool force)
{
    struct vbd_unplug_intent intent = {ref};
    struct attach_ctx a = {.vbd = ref, .op = vbd_op};
    struct hv_request rq;
    struct drive drive;
    struct error *e;
    AUTO(op) op = {0};

    TRY(begin(call, INTENT_vbd_unplug, &intent, &a, check_vbd_op, &op));
    TRY(op_step(&op, "begun", 0.1));
    TRY(find_drive(call, ref, &drive));
    rq = op_hv_request(&op, "unplug");
    e = hv_disk_unplug(call->xapid->hv, &rq, drive.vm_uuid, drive.disk.device, force);
    TRY(hotplug_refused(call, hotplug_settle(&op, "unplug", e), "VBD", ref));
    error_ignore(op_step(&op, "unplugged", 0.8)); /* it is, whatever comes */
    if (!drive.empty)
        vdi_path_detach(call, drive.vdi);
    return op_commit_forward(&op, record_attached, &a);
}

struct error *vbd_unplug(struct call *call, const struct vbd_unplug_args *args)
{
    return unplug(call, args->self, VBD_OP_UNPLUG, false);
}

struct error *vbd_unplug_force(struct call *call, const struct vbd_unplug_force_args *args)
{
    return unplug(call, args->self, VBD_OP_UNPLUG_FORCE, true);
}

struct error *vbd_unplug_force_no_safety_check(
    struct call *call, const struct vbd_unplug_force_no_safety_check_args *args)
{
    return unplug(call, args->self, VBD_OP_UNPLUG_FORCE, true);
}

struct error *vbd_unplug_recover(struct call *call, struct op *op,
                                 const struct vbd_unplug_intent *intent)
{
    struct attach_ctx a = {.vbd = intent->vbd};
    struct drive drive;
    bool happened;

    TRY(hotplug_happened(op, "unplug", &happened));
    if (!happened || find_drive(call, intent->vbd, &drive) != OK)
        return OK;
    if (!drive.empty)
        vdi_path_detach(call, drive.vdi);
    return op_commit(op, record_attached, &a);
}

/*** media ***/

static struct error *check_insert(struct txn *txn, void *arg)
{
    const struct attach_ctx *a = arg;
    struct call *call = txn_call(txn);
    const struct vdi *vdi;
    const struct vbd *vbd;
    const struct sr *sr;

    TRY(check_vbd_op(txn, arg));
    TRY(TXN_GET(txn, vbd, a->vbd, &vbd));
    TRY(TXN_GET(txn, vdi, a->vdi, &vdi));
    TRY(TXN_GET(txn, sr, vdi->sr, &sr));
    if (vbd->type == VBD_TYPE_CD && strcmp(sr->content_type, "iso") != 0)
        return err_vdi_is_not_iso(call, call_ref(call, a->vdi), sr->content_type);
    return txn_vdi_check_attach(txn, a->vdi, a->vbd, vbd->mode == VBD_RW);
}

static struct error *record_medium(struct txn *txn, void *arg)
{
    const struct attach_ctx *a = arg;

    if (!txn_find(txn, CLASS_vbd, a->vbd))
        return OK;
    TXN_SET(txn, vbd, a->vbd, vdi, a->vdi);
    TXN_SET(txn, vbd, a->vbd, empty, ref_is_null(a->vdi));
    return OK;
}

static bool is_live(const struct drive *drive)
{
    return drive->has_domain && drive->attached;
}

struct error *vbd_insert(struct call *call, const struct vbd_insert_args *args)
{
    struct vbd_insert_intent intent = {args->vbd, args->vdi};
    struct attach_ctx a = {.vbd = args->vbd, .vdi = args->vdi, .op = VBD_OP_INSERT};
    struct hv_disk nothing;
    AUTO(op) op = {0};
    AUTO(plugged) plugged = {0};
    struct hv_request rq;
    struct drive drive;

    TRY(begin(call, INTENT_vbd_insert, &intent, &a, check_insert, &op));
    TRY(find_drive(call, args->vbd, &drive));
    nothing = drive.disk;
    plugged = (struct plugged){.op = &op, .undo = &nothing};
    if (is_live(&drive)) {
        TRY(attach_path(&op, args->vdi, &drive.disk, &plugged));
        TRY(op_step(&op, "attached", 0.4));
        rq = op_hv_request(&op, "insert");
        TRY(hotplug_settle(&op, "insert",
                           hv_disk_change(call->xapid->hv, &rq, drive.vm_uuid, &drive.disk)));
        plugged.vm_uuid = drive.vm_uuid;
    }
    TRY(op_step(&op, "inserted", 0.8));
    TRY(op_commit(&op, record_medium, &a));
    plugged.op = NULL;
    return OK;
}

struct error *vbd_insert_recover(struct call *call, struct op *op,
                                 const struct vbd_insert_intent *intent)
{
    struct attach_ctx a = {.vbd = intent->vbd, .vdi = intent->vdi};
    bool happened;

    TRY(hotplug_happened(op, "insert", &happened));
    if (!happened || !db_find(call, CLASS_vdi, intent->vdi))
        return OK;
    return op_commit(op, record_medium, &a);
}

struct error *vbd_eject(struct call *call, const struct vbd_eject_args *args)
{
    struct vbd_eject_intent intent = {args->vbd};
    struct attach_ctx a = {.vbd = args->vbd, .op = VBD_OP_EJECT};
    struct hv_request rq;
    struct drive drive;
    struct error *e;
    AUTO(op) op = {0};

    TRY(begin(call, INTENT_vbd_eject, &intent, &a, check_vbd_op, &op));
    TRY(op_step(&op, "begun", 0.1));
    TRY(find_drive(call, args->vbd, &drive));
    if (is_live(&drive)) {
        rq = op_hv_request(&op, "eject");
        e = hv_disk_change(call->xapid->hv, &rq, drive.vm_uuid, &drive.disk);
        TRY(hotplug_refused(call, hotplug_settle(&op, "eject", e), "VBD", args->vbd));
    }
    error_ignore(op_step(&op, "ejected", 0.8)); /* it is, whatever comes */
    TRY(op_commit_forward(&op, record_medium, &a));
    if (is_live(&drive))
        vdi_path_detach(call, drive.vdi);
    return OK;
}

struct error *vbd_eject_recover(struct call *call, struct op *op,
                                const struct vbd_eject_intent *intent)
{
    struct attach_ctx a = {.vbd = intent->vbd};
    struct drive drive;
    bool happened;

    TRY(hotplug_happened(op, "eject", &happened));
    if (!happened || find_drive(call, intent->vbd, &drive) != OK)
        return OK;
    TRY(op_commit(op, record_medium, &a));
    vdi_path_detach(call, drive.vdi);
    return OK;
}
