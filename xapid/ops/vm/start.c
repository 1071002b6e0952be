/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * start.c -- VM.start: choose a host, attach its disks, build the domain, let it run.
 *
 * Checks, then an intent, then steps.  A step that fails undoes what came before through the guards; a daemon that dies is followed by vm_start_recover, which knows
 * nothing but the intent: a domain that was built is kept and recorded, anything less is taken down.
 */
#include "xapid/ops/vm/disks.h"
#include "xapid/ops/vm/domain.h"
#include "xapid/ops/vm/lifecycle.h"
#include "xapid/ops/vm/placement.h"
#include "xapid/main/xapid.h"

static struct error *check_start(struct txn *txn, void *arg)
{
    const struct vm_start_intent *intent = arg;
    const struct vm *vm;

    TRY(txn_vm_check(txn, intent->vm, VM_OP_START, &vm));
    TRY(txn_host_can_run(txn, intent->host, vm));
    TXN_SET(txn, vm, vm->ref, scheduled_to_be_resident_on, intent->host);
    return OK;
}

struct started {
    const struct vm_start_intent *intent;
    int domid;
};

static struct error *record_started(struct txn *txn, void *arg)
{
    const struct started *s = arg;

    return txn_vm_started(txn, s->intent->vm, s->domid, s->intent->start_paused);
}

struct error *vm_start(struct call *call, const struct vm_start_args *args)
{
    struct vm_start_intent intent = {.vm = args->vm, .start_paused = args->start_paused};
    AUTO(op) op = {0};
    AUTO(vm_disks) disks = {0};
    AUTO(domain) domain = {0};
    struct hv_domain_config config;
    const struct vm *vm;

    TRY(DB_GET(call, vm, args->vm, &vm));
    /* Before a host is looked for: what the VM itself forbids is the better error. */
    TRY(vm_check_unless_busy(call, vm, VM_OP_START));
    TRY(vm_check_bootable(call, vm, args->force));
    TRY(host_choose(call, vm, &intent.host));
    TRY(op_begin(call,
                 &(struct op_spec){.kind = INTENT_vm_start,
                                   .intent = &intent,
                                   .n_holds = 1,
                                   .holds = &(struct op_hold){CLASS_vm, args->vm, VM_OP_START},
                                   .check = check_start,
                                   .arg = &intent},
                 &op));
    TRY(DB_GET(call, vm, args->vm, &vm));

    TRY(vm_disks_attach(&op, vm, &disks));
    TRY(op_step(&op, "attached", 0.3));
    TRY(domain_config(call, vm, &config));
    TRY(domain_build(&op, vm, &config, &domain));
    TRY(op_step(&op, "built", 0.8));
    if (!args->start_paused)
        TRY(domain_unpause(&op, &domain));
    TRY(op_step(&op, "unpaused", 0.9));

    /* One write-set: power state, residence, devices, lock and intent gone. */
    TRY(op_commit(&op, record_started, &(struct started){&intent, domain.domid}));
    domain_keep(&domain);
    vm_disks_keep(&disks);
    vm_message(call, vm, "VM_STARTED", arena_printf(call->arena, "VM '%s' (uuid: %s) was started", vm->name_label, vm->uuid));
    return OK;
}

static struct error *record_not_started(struct txn *txn, void *arg)
{
    const struct vm_start_intent *intent = arg;

    if (txn_find(txn, CLASS_vm, intent->vm))
        TXN_SET(txn, vm, intent->vm, scheduled_to_be_resident_on, REF_NULL);
    return OK;
}

struct error *vm_start_recover(struct call *call, struct op *op, const struct vm_start_intent *intent)
{
    const struct vm *vm = db_find(call, CLASS_vm, intent->vm);
    struct hv_request rq = op_hv_request(op, NULL);
    const struct hv_domain *found = NULL;

    if (vm)
        TRY(hv_get(call->xapid->hv, &rq, vm->uuid, &found));
    if (found && found->state == HV_RUNNING)
        return op_commit(op, record_started, &(struct started){intent, found->domid});
    if (found) {
        rq = op_hv_request(op, "undo");
        TRY(hv_destroy(call->xapid->hv, &rq, vm->uuid));
    }
    if (vm)
        vm_disks_detach_all(op, vm);
    return op_commit(op, record_not_started, (void *)intent);
}
