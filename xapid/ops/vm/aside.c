/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/vm/aside.h"

#include "libxapi/base/log.h"
#include "xapid/main/xapid.h"

#define SAVE_TIMEOUT (3600 * USEC_PER_SEC)

/* The answer may have been lost; then the domain says whether it was done. */
struct error *vm_save(struct op *op, const struct vm *vm, const struct vm_image *image)
{
    static const char *const what[] = {"save", NULL};
    struct hv_request rq = op_hv_request(op, "save");
    const struct hv_domain *found;
    struct error *e;

    rq.timeout = SAVE_TIMEOUT;
    e = hv_save(op->call->xapid->hv, &rq, vm->uuid, image->path);
    if (!e || hv_failure_of(e) != HV_UNKNOWN)
        return vm_hv_error(op->call, vm, e);
    TRY(domain_settle(op, vm, what, &found));
    return found && found->state == HV_SHUTDOWN && found->reason == HV_SUSPEND &&
                   vm_image_exists(image)
               ? OK
               : e;
}

struct error *vm_set_aside(struct op *op, const struct vm *vm, struct vm_image *image)
{
    struct refs disks = vm_disks_attached(op->call, vm->ref);

    if (image->aside)
        return OK;
    TRY(domain_end(op, vm, "aside"));
    vm_disks_detach(op->call, &disks);
    image->aside = true;
    return OK;
}

struct back {
    ref_t vm;
    int domid;
};

static struct error *record_back(struct txn *txn, void *arg)
{
    const struct back *b = arg;

    return txn_vm_started(txn, b->vm, b->domid, false);
}

struct error *vm_bring_back(struct op *op, const struct vm *vm, struct vm_image *image)
{
    struct call *call = op->call;
    AUTO(vm_disks) disks = {0};
    AUTO(domain) domain = {0};
    struct hv_domain_config config;
    struct error *e;

    TRY(vm_overruled(op, vm->ref));
    TRY(vm_set_aside(op, vm, image));
    TRY(vm_disks_attach(op, vm, &disks));
    TRY(domain_config(call, vm, &disks, &config));
    TRY(domain_build(op, vm, &config, image->path, &domain));
    TRY(domain_unpause(op, &domain));
    e = op_update(op, record_back, &(struct back){vm->ref, domain.domid});
    if (db_outcome_is_unknown(e))
        op->unknown = true;
    TRY(e);
    domain_keep(&domain);
    vm_disks_keep(&disks);
    return OK;
}

static struct error *record_halted(struct txn *txn, void *arg)
{
    const ref_t *vm = arg;

    return txn_find(txn, CLASS_vm, *vm) ? txn_vm_halted(txn, *vm) : OK;
}

void vm_give_up(struct op *op, const struct vm *vm, const struct error *why)
{
    struct call *call = op->call;
    ref_t ref = vm->ref;
    struct error *e;

    if (!op_may_undo(op))
        return;
    log_warning("VM %s (%s) cannot go on and is halted: %s", vm->uuid, vm->name_label,
                error_line(call->arena, why));
    error_ignore(domain_end(op, vm, "give-up")); /* a domain that is left is found by the watch */
    e = op_update(op, record_halted, &ref);
    if (e)
        log_error("that VM %s is halted could not be recorded: %s", vm->uuid,
                  error_line(call->arena, e));
}

struct error *vm_recover_aside(struct op *op, ref_t vm_ref, ref_t image_vdi)
{
    static const char *const what[] = {"save", "aside", "build", "unpause", NULL};
    const struct vm *vm = db_find(op->call, CLASS_vm, vm_ref);
    const struct hv_domain *found = NULL;
    AUTO(vm_image) image = {0};
    struct error *e;
    bool saved;

    if (!vm || (vm->power_state != VM_RUNNING && vm->power_state != VM_PAUSED))
        return OK;
    TRY(domain_outcome(op, "save", &saved));
    TRY(domain_settle(op, vm, what, &found));
    /* One that runs is back: vms_reconcile knows it by its number.  One that was built but does not
     * run yet is built once more. */
    if (!saved || (found && found->state == HV_RUNNING))
        return OK;
    TRY(vm_image_for_writing(op, db_find(op->call, CLASS_vdi, image_vdi) ? image_vdi : REF_NULL,
                             &image));
    if (!vm_image_exists(&image))
        return OK;
    uuid_new(op->id);
    e = vm_bring_back(op, vm, &image);
    if (e)
        vm_give_up(op, vm, e);
    return OK;
}
