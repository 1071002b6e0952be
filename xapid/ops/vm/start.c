/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * start.c -- VM.start and VM.start_on: choose a host, attach its disks, build the domain, let it
 * run.
 *
 * Checks, then an intent, then steps.  A step that fails undoes what came before through the
 * guards; a daemon that dies is followed by vm_start_recover, which knows nothing but the intent: a
 * domain that was built and runs is kept and recorded, anything less is taken down.
 */
#include "libxapi/base/log.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/host/cpu.h"
#include "xapid/ops/migrate/migrate.h"
#include "xapid/ops/vm/checks.h"
#include "xapid/ops/vm/disks.h"
#include "xapid/ops/vm/domain.h"
#include "xapid/ops/vm/lifecycle.h"
#include "xapid/ops/vm/passthrough.h"
#include "xapid/ops/vm/placement.h"
#include "xapid/ops/vm/power.h"

struct start {
    struct vm_start_intent *intent;
    enum vm_operations operation;
    db_txn_fn *wanted; /* NULL: it is */
    void *arg;         /* of wanted */
};

static struct error *check_start(struct txn *txn, void *arg)
{
    const struct start *s = arg;
    const struct vm *vm;

    if (s->wanted)
        TRY(s->wanted(txn, s->arg));
    TRY(txn_vm_check(txn, s->intent->vm, s->operation, &vm));
    /* It was lost on its way: where it came from its disks may be open still, and here may be half
     * of it. */
    if (migrate_is_leaving(txn_call(txn), txn_snap(txn), vm->ref) ||
        migrate_is_arriving(txn_call(txn), txn_snap(txn), vm->ref))
        return err_other_operation_in_progress(txn_call(txn), "VM",
                                               call_ref(txn_call(txn), vm->ref), "", "");
    TRY(txn_host_reserve(txn, s->intent->host, vm));
    txn_vm_will_boot(txn, vm);
    TRY(txn_vm_devices_reserve(txn, s->intent->host, vm));
    return txn_vm_disks_reserve(txn, vm);
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

static struct error *record_not_started(struct txn *txn, void *arg)
{
    const struct vm_start_intent *intent = arg;

    txn_vm_not_started(txn, intent->vm, intent->old_target, false);
    return OK;
}

static struct error *run(struct op *op, const struct vm_start_intent *intent)
{
    struct call *call = op->call;
    AUTO(vm_disks) disks = {0};
    AUTO(domain) domain = {0};
    struct hv_domain_config config;
    const struct vm *vm;

    TRY(vm_make_room(op, intent->vm));
    TRY(vm_step(op, intent->vm, "room", 0.1));
    TRY(DB_GET(call, vm, intent->vm, &vm));
    TRY(vm_disks_put_back(call, vm->ref));
    TRY(vm_disks_attach(op, vm, &disks));
    TRY(vm_step(op, vm->ref, "attached", 0.3));
    TRY(domain_config(call, vm, &disks, &config));
    TRY(domain_build(op, vm, &config, NULL, &domain));
    TRY(vm_step(op, vm->ref, "built", 0.8));
    if (!intent->start_paused)
        TRY(domain_unpause(op, &domain));
    TRY(vm_step(op, vm->ref, "unpaused", 0.9));

    /* One write-set: power state, residence, devices, lock and intent gone. */
    TRY(op_commit(op, record_started, &(struct started){intent, domain.domid}));
    domain_keep(&domain);
    vm_disks_keep(&disks);
    return OK;
}

/* Nothing runs, so nothing stays promised; the op's guard then lets go of the lock. */
static void take_back(struct op *op, const struct vm_start_intent *intent)
{
    struct error *e;

    if (!op_may_undo(op))
        return;
    e = op_update(op, record_not_started, (void *)intent);
    if (e)
        log_error("what a failed start reserved stays reserved: %s",
                  error_line(op->call->arena, e));
}

/* On the host that is asked for, or (null) the best. */
static struct error *begin(struct call *call, const struct vm *vm, struct start *s, ref_t asked,
                           struct op *op)
{
    const struct op_hold hold = {CLASS_vm, vm->ref, (int)s->operation};
    const struct op_spec spec = {.kind = INTENT_vm_start,
                                 .intent = s->intent,
                                 .n_holds = 1,
                                 .holds = &hold,
                                 .check = check_start,
                                 .arg = s};
    struct error *e;
    int tries = 0;

    do {
        TRY(vm_choose_host(call, vm, asked, &s->intent->host));
        e = op_begin(call, &spec, op);
    } while (e && vm_choose_again(call, e, asked, &tries));
    return e;
}

static struct error *start(struct call *call, struct start *s, bool force)
{
    struct vm_start_intent *intent = s->intent;
    AUTO(op) op = {0};
    const struct vm *vm;
    struct error *e;

    TRY(DB_GET(call, vm, intent->vm, &vm));
    /* Before a host is looked for: what the VM itself forbids is the better error. */
    TRY(vm_check_unless_busy(call, vm, s->operation));
    TRY(vm_check_bootable(call, vm, force));
    intent->old_target = vm->memory_target;
    TRY(begin(call, vm, s, intent->host, &op));
    e = run(&op, intent);
    if (e) {
        take_back(&op, intent);
        return e;
    }
    TRY(DB_GET(call, vm, intent->vm, &vm));
    vm_alert(call, vm, "VM_STARTED", "was started");
    return OK;
}

struct error *vm_start(struct call *call, const struct vm_start_args *args)
{
    struct vm_start_intent intent = {.vm = args->vm, .start_paused = args->start_paused};

    return start(call, &(struct start){&intent, VM_OP_START, NULL, NULL}, args->force);
}

struct error *vm_start_if(struct call *call, const struct vm_start_on_args *args, db_txn_fn *wanted,
                          void *arg)
{
    struct vm_start_intent intent = {
        .vm = args->vm, .host = args->host, .start_paused = args->start_paused};

    return start(call, &(struct start){&intent, VM_OP_START_ON, wanted, arg}, args->force);
}

struct error *vm_start_on(struct call *call, const struct vm_start_on_args *args)
{
    return vm_start_if(call, args, NULL, NULL);
}

struct error *vm_start_recover(struct call *call, struct op *op,
                               const struct vm_start_intent *intent)
{
    static const char *const what[] = {"build", "unpause", NULL};
    const struct vm *vm = db_find(call, CLASS_vm, intent->vm);
    const struct hv_domain *found = NULL;
    struct refs disks = {0};

    if (!vm)
        return op_commit(op, NULL, NULL);
    TRY(domain_settle(op, vm, what, &found));
    if (found &&
        (found->state == HV_RUNNING || (found->state == HV_PAUSED && intent->start_paused)))
        return op_commit(op, record_started, &(struct started){intent, found->domid});
    disks = found ? vm_disks_attached(call, vm->ref) : disks;
    TRY(domain_end(op, vm, "undo"));
    vm_disks_detach(call, &disks);
    return op_commit(op, record_not_started, (void *)intent);
}
