/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/vm/ended.h"

#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libxapi/base/log.h"
#include "libxapi/base/seam.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/vm/cut_off.h"
#include "xapid/ops/vm/power.h"

#define DUMP_TIMEOUT (3600 * USEC_PER_SEC)

enum ended_action vm_ended_action(const struct vm *vm, enum hv_reason reason, usec_t age)
{
    switch (reason) {
    case HV_POWEROFF:
        return vm->actions_after_shutdown == ON_EXIT_RESTART ? ENDED_RESTART : ENDED_DESTROY;
    case HV_REBOOT:
        return vm->actions_after_reboot == ON_EXIT_RESTART ? ENDED_RESTART : ENDED_DESTROY;
    case HV_CRASH:
        if (vm->actions_after_crash == ON_CRASH_PRESERVE)
            return ENDED_PRESERVE;
        if (vm->actions_after_crash == ON_CRASH_DESTROY ||
            vm->actions_after_crash == ON_CRASH_COREDUMP_AND_DESTROY)
            return ENDED_DESTROY;
        return age < CRASH_LOOP_SECONDS * USEC_PER_SEC ? ENDED_DESTROY : ENDED_RESTART;
    case HV_SOFT_REBOOT:
        if (vm->actions_after_softreboot == ON_SOFTREBOOT_BEHAVIOR_PRESERVE)
            return ENDED_PRESERVE;
        /* The new kernel that the guest left in its memory is lost: it boots as after a reboot. */
        return vm->actions_after_softreboot == ON_SOFTREBOOT_BEHAVIOR_DESTROY ? ENDED_DESTROY
                                                                              : ENDED_RESTART;
    case HV_NONE:
    case HV_SUSPEND:
        break;
    }
    return ENDED_DESTROY;
}

/*** beginning ***/

/* Nothing else may be going on: whoever ended the domain on purpose deals with it. */
static struct error *check_idle(struct txn *txn, void *arg)
{
    const ref_t *ref = arg;
    struct call *call = txn_call(txn);
    const struct vm *vm;

    TRY(TXN_GET(txn, vm, *ref, &vm));
    if (vm->current_operations.n)
        return err_other_operation_in_progress(
            call, "VM", call_ref(call, *ref),
            enum_vm_operations.names[vm->current_operations.v[0].value],
            vm->current_operations.v[0].key);
    return OK;
}

static struct error *begin(struct call *call, ref_t vm, enum intent_kind kind, const void *intent,
                           enum vm_operations operation, struct op *op)
{
    return op_begin(call,
                    &(struct op_spec){.kind = kind,
                                      .intent = intent,
                                      .n_holds = 1,
                                      .holds = &(struct op_hold){CLASS_vm, vm, (int)operation},
                                      .check = check_idle,
                                      .arg = &vm},
                    op);
}

static struct error *look(struct call *call, ref_t ref, const struct vm **vm,
                          const struct hv_domain **domain)
{
    struct hv_request rq = {.arena = call->arena, .epoch = xapid_epoch(call->xapid)};

    call_refresh(call);
    TRY(DB_GET(call, vm, ref, vm));
    return hv_get(call->xapid->hv, &rq, (*vm)->uuid, domain);
}

static bool is_alive(const struct hv_domain *d)
{
    return d && d->state != HV_SHUTDOWN;
}

static bool has_domain(const struct call *call, const struct vm *vm)
{
    return (vm->power_state == VM_RUNNING || vm->power_state == VM_PAUSED) &&
           ref_equal(vm->resident_on, call->xapid->host);
}

/*** core dumps ***/

/* A dump is as large as the guest's memory. */
#define DUMPS_MAX 4

static int count_dumps(const char *dir)
{
    DIR *d = opendir(dir);
    int n = 0;

    while (d) {
        const struct dirent *entry = readdir(d);

        if (!entry)
            break;
        n += entry->d_name[0] != '.';
    }
    if (d)
        closedir(d);
    return n;
}

static bool wants_dump(const struct vm *vm)
{
    return vm->actions_after_crash == ON_CRASH_COREDUMP_AND_DESTROY ||
           vm->actions_after_crash == ON_CRASH_COREDUMP_AND_RESTART;
}

/* Into <state_dir>/dumps, for whoever wants to know why.  What goes wrong here keeps nothing back:
 * the guest is gone in any case.  A dump that a crash of ours cut short is written anew, under the
 * name of its domain. */
static void dump_core(struct op *op, const struct vm *vm, const struct hv_domain *d)
{
    struct call *call = op->call;
    const char *dir = arena_printf(call->arena, "%s/dumps", call->xapid->options.state_dir);
    const char *path = arena_printf(call->arena, "%s/%s.%d.core", dir, vm->uuid, d->domid);
    struct hv_request rq = op_hv_request(op, "dump");
    struct error *e;

    if (!wants_dump(vm) || d->reason != HV_CRASH)
        return;
    if ((mkdir(dir, 0700) < 0 && errno != EEXIST) || (unlink(path) < 0 && errno != ENOENT)) {
        log_warning("no core dump of VM %s: %s: %m", vm->uuid, dir);
        return;
    }
    if (count_dumps(dir) >= DUMPS_MAX) {
        log_warning("no core dump of VM %s: there are %d in %s already", vm->uuid, DUMPS_MAX, dir);
        return;
    }
    rq.timeout = DUMP_TIMEOUT;
    e = hv_core_dump(call->xapid->hv, &rq, vm->uuid, path);
    if (e)
        log_warning("no core dump of VM %s: %s", vm->uuid, error_line(call->arena, e));
    else
        log_info("the core of VM %s (%s) is in %s", vm->uuid, vm->name_label, path);
}

/*** halted ***/

struct end {
    ref_t vm;
    bool preserve;
    bool wanted;   /* its guest switched it off */
    bool by_order; /* a user did, while this host was cut off */
};

/* What its guest has switched off stays so, unless the pool wants it to run all the same. */
static void note_wanted(struct txn *txn, ref_t vm)
{
    const struct pool *pool = txn_find(txn, CLASS_pool, txn_call(txn)->xapid->pool);

    if (pool && !pool->ha_reboot_vm_on_internal_shutdown)
        TXN_SET(txn, vm, vm, ha_always_run, false);
}

static struct error *record_end(struct txn *txn, void *arg)
{
    const struct end *end = arg;

    if (end->by_order)
        TXN_SET(txn, vm, end->vm, ha_always_run, false);
    else if (end->wanted)
        note_wanted(txn, end->vm);
    if (!end->preserve)
        return txn_vm_halted(txn, end->vm);
    TXN_SET(txn, vm, end->vm, power_state, VM_PAUSED);
    return OK;
}

static void tell(struct call *call, const struct vm *vm, const struct hv_domain *d)
{
    if (d && d->reason == HV_CRASH)
        vm_alert(call, vm, "VM_CRASHED", "crashed");
    else if (d && (d->reason == HV_POWEROFF || d->reason == HV_REBOOT))
        vm_alert(call, vm, "VM_SHUTDOWN", "was shut down from inside");
    else
        log_warning("the domain of VM %s (%s) is gone without having been asked to end", vm->uuid,
                    vm->name_label);
}

static struct error *halt(struct call *call, ref_t ref)
{
    struct vm_ended_intent intent = {.vm = ref};
    const struct hv_domain *d;
    struct refs disks = {0};
    AUTO(op) op = {0};
    const struct vm *vm;
    struct end end = {.vm = ref};

    TRY(begin(call, ref, INTENT_vm_ended, &intent, VM_OP_HARD_SHUTDOWN, &op));
    TRY(look(call, ref, &vm, &d));
    if (is_alive(d) || (!has_domain(call, vm) && !d))
        return op_commit(&op, NULL, NULL);
    if (!has_domain(call, vm)) {
        /* What a start left that did not come to it. */
        TRY(domain_end(&op, vm, "destroy"));
        return op_commit(&op, NULL, NULL);
    }
    end.wanted = d && d->reason == HV_POWEROFF;
    end.by_order = vm_was_ended_cut_off(call, vm);
    end.preserve =
        d && vm_ended_action(vm, d->reason, clock_wall() - d->start_time) == ENDED_PRESERVE;
    if (!end.preserve) {
        if (d)
            dump_core(&op, vm, d);
        disks = vm_disks_attached(call, ref);
        TRY(domain_end(&op, vm, "destroy"));
    }
    TRY(op_step(&op, "destroyed", 0.5));
    vm_disks_detach(call, &disks);
    TRY(op_commit(&op, record_end, &end));
    vm_end_is_recorded(call, vm);
    tell(call, vm, d);
    return OK;
}

struct error *vm_ended_recover(struct call *call, struct op *op,
                               const struct vm_ended_intent *intent)
{
    static const char *const what[] = {"destroy", NULL};
    const struct vm *vm = db_find(call, CLASS_vm, intent->vm);
    const struct hv_domain *d = NULL;
    struct refs disks;

    if (!vm || !has_domain(call, vm))
        return op_commit(op, NULL, NULL);
    TRY(domain_settle(op, vm, what, &d));
    if (d)
        return op_commit(op, NULL, NULL); /* the watch looks at it again */
    disks = vm_disks_attached(call, vm->ref);
    vm_disks_detach(call, &disks);
    TRY(op_commit(op, record_end,
                  &(struct end){.vm = vm->ref, .by_order = vm_was_ended_cut_off(call, vm)}));
    vm_end_is_recorded(call, vm);
    return OK;
}

/*** started again ***/

/* Guests that reboot as soon as they are up would keep the host busy.  A harder operation cuts the
 * wait short. */
static struct error *wait_early(struct op *op, const struct vm *vm, const struct hv_domain *d)
{
    usec_t age = clock_wall() - d->start_time;
    usec_t deadline = clock_mono() + EARLY_REBOOT_DELAY_SECONDS * USEC_PER_SEC;

    if (d->reason != HV_REBOOT || age >= EARLY_REBOOT_SECONDS * USEC_PER_SEC)
        return OK;
    log_info("VM %s rebooted %d seconds after its start; it is started again later", vm->uuid,
             (int)(age / USEC_PER_SEC));
    while (clock_mono() < deadline) {
        TRY(vm_step(op, vm->ref, "early", 0.1));
        db_wait(op->call->xapid->db, snap_root(op->call->snap)->revision,
                MIN(deadline, clock_mono() + USEC_PER_SEC));
    }
    return OK;
}

static struct error *restart(struct call *call, ref_t ref, const struct vm *vm)
{
    struct vm_reboot_intent intent = {.vm = ref, .hard = true, .domid = vm->domid};
    const struct hv_domain *d;
    AUTO(op) op = {0};

    TRY(begin(call, ref, INTENT_vm_reboot, &intent, VM_OP_HARD_REBOOT, &op));
    TRY(look(call, ref, &vm, &d));
    if (!has_domain(call, vm) || !d || d->state != HV_SHUTDOWN || d->domid != intent.domid)
        return op_commit(&op, NULL, NULL);
    if (d->reason == HV_CRASH)
        vm_alert(call, vm, "VM_CRASHED", "crashed");
    dump_core(&op, vm, d);
    TRY(wait_early(&op, vm, d));
    TRY(DB_GET(call, vm, ref, &vm));
    TRY(vm_rebuild(&op, vm));
    vm_alert(call, vm, "VM_REBOOTED",
             d->reason == HV_CRASH ? "was started again after its crash"
                                   : "was rebooted from inside");
    return OK;
}

struct error *vm_domain_ended(struct call *call, ref_t ref)
{
    const struct hv_domain *d;
    const struct vm *vm;

    TRY(look(call, ref, &vm, &d));
    if (has_domain(call, vm) && d && d->state == HV_SHUTDOWN &&
        vm_ended_action(vm, d->reason, clock_wall() - d->start_time) == ENDED_RESTART)
        return restart(call, ref, vm);
    return halt(call, ref);
}
