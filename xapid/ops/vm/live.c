/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * live.c -- settings that a running domain is told at once: VM.add_to_VCPUs_params_live and
 * set_shadow_multiplier_live; and the keys of xenstore_data, which its guest reads.
 *
 * The hypervisor is told, then it is recorded.  After a crash the hypervisor says whether it was
 * told.
 */
#include <string.h>

#include "libxapi/base/log.h"
#include "libxapi/value/value.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/vm/checks.h"
#include "xapid/ops/vm/domain.h"
#include "xapid/ops/vm/lifecycle.h"
#include "xapid/ops/vm/placement.h"
#include "xapid/ops/vm/xenstore.h"

static struct error *begin(struct call *call, ref_t vm, enum intent_kind kind, const void *intent,
                           enum vm_operations operation, db_txn_fn *check, struct op *op)
{
    return op_begin(call,
                    &(struct op_spec){.kind = kind,
                                      .intent = intent,
                                      .n_holds = 1,
                                      .holds = &(struct op_hold){CLASS_vm, vm, (int)operation},
                                      .check = check,
                                      .arg = (void *)intent},
                    op);
}

/*** scheduling ***/

static bool is_number(const char *text, int64_t min, int64_t max)
{
    int64_t n;

    return int_from_text(text, &n) && n >= min && n <= max;
}

static bool is_cpu_list(const char *text)
{
    do {
        size_t n = strspn(text, "0123456789");

        if (n == 0 || n > 4)
            return false;
        text += n;
        if (*text && (*text != ',' || !text[1]))
            return false;
        text += *text == ',';
    } while (*text);
    return true;
}

static struct error *check_param(struct call *call, const char *key, const char *value)
{
    bool good;

    if (strcmp(key, "weight") == 0)
        good = is_number(value, 1, 65535);
    else if (strcmp(key, "cap") == 0)
        good = is_number(value, 0, 65535);
    else if (strcmp(key, "mask") == 0)
        good = is_cpu_list(value);
    else
        return err_invalid_value(call, "key", key);
    return good ? OK : err_invalid_value(call, key, value);
}

static struct error *check_scheduling(struct txn *txn, void *arg)
{
    const struct vm_scheduling_intent *intent = arg;
    const struct vm *vm;

    TRY(txn_vm_check(txn, intent->vm, VM_OP_CHANGING_VCPUS_LIVE, &vm));
    return host_is_here(txn_call(txn), vm->resident_on);
}

static struct error *record_scheduling(struct txn *txn, void *arg)
{
    const struct vm_scheduling_intent *intent = arg;
    const struct vm *vm = txn_find(txn, CLASS_vm, intent->vm);

    if (!vm)
        return OK;
    TXN_SET(txn, vm, vm->ref, vcpus_params, intent->params);
    if (txn_find(txn, CLASS_vm_metrics, vm->metrics))
        TXN_SET(txn, vm_metrics, vm->metrics, vcpus_params, intent->params);
    return OK;
}

static struct error *tell_scheduling(struct op *op, const struct vm *vm,
                                     const struct strmap *params, const char *what)
{
    struct hv_request rq = op_hv_request(op, what);

    return vm_hv_error(op->call, vm, hv_set_scheduling(op->call->xapid->hv, &rq, vm->uuid, params));
}

struct error *vm_add_to_vcpus_params_live(struct call *call,
                                          const struct vm_add_to_vcpus_params_live_args *args)
{
    struct vm_scheduling_intent intent = {.vm = args->self};
    AUTO(op) op = {0};
    const struct vm *vm;
    struct error *e;

    TRY(DB_GET(call, vm, args->self, &vm));
    TRY(vm_check_unless_busy(call, vm, VM_OP_CHANGING_VCPUS_LIVE));
    TRY(check_param(call, args->key, args->value));
    intent.params = strmap_with(call->arena, vm->vcpus_params, args->key, args->value);
    TRY(begin(call, args->self, INTENT_vm_scheduling, &intent, VM_OP_CHANGING_VCPUS_LIVE,
              check_scheduling, &op));
    TRY(tell_scheduling(&op, vm, &intent.params, "set"));
    e = vm_step(&op, args->self, "told", 0.8);
    if (!e)
        e = op_commit(&op, record_scheduling, &intent);
    if (e && op_may_undo(&op))
        error_ignore(tell_scheduling(&op, vm, &vm->vcpus_params, "undo")); /* e is to be told */
    return e;
}

struct error *vm_scheduling_recover(struct call *call, struct op *op,
                                    const struct vm_scheduling_intent *intent)
{
    bool told, undone;

    (void)call;
    TRY(domain_outcome(op, "set", &told));
    TRY(domain_outcome(op, "undo", &undone));
    return op_commit(op, told && !undone ? record_scheduling : NULL, (void *)intent);
}

/*** shadow memory ***/

static struct error *check_shadow(struct txn *txn, void *arg)
{
    const struct vm_shadow_intent *intent = arg;
    struct call *call = txn_call(txn);
    const struct host *host;
    const struct vm *vm;
    struct vm after;
    int64_t more, free;

    TRY(txn_vm_check(txn, intent->vm, VM_OP_CHANGING_SHADOW_MEMORY_LIVE, &vm));
    TRY(host_is_here(call, vm->resident_on));
    TRY(TXN_GET(txn, host, vm->resident_on, &host));
    after = *vm;
    after.hvm_shadow_multiplier = intent->multiplier;
    more = vm_memory_overhead(&after) - vm_memory_overhead(vm);
    txn_referrers(txn, FIELD_vm_resident_on, host->ref);
    txn_referrers(txn, FIELD_vm_scheduled_to_be_resident_on, host->ref);
    free = host_memory_free(txn_snap(txn), host, REF_NULL);
    if (more > MAX(free, 0))
        return err_host_not_enough_free_memory(
            call, arena_printf(call->arena, "%lld", (long long)more),
            arena_printf(call->arena, "%lld", (long long)MAX(free, 0)));
    return OK;
}

static struct error *record_shadow(struct txn *txn, void *arg)
{
    const struct vm_shadow_intent *intent = arg;
    const struct vm *vm = txn_find(txn, CLASS_vm, intent->vm);
    struct vm after;

    if (!vm)
        return OK;
    after = *vm;
    after.hvm_shadow_multiplier = intent->multiplier;
    TXN_SET(txn, vm, vm->ref, hvm_shadow_multiplier, intent->multiplier);
    TXN_SET(txn, vm, vm->ref, memory_overhead, vm_memory_overhead(&after));
    return OK;
}

static struct error *tell_shadow(struct op *op, const struct vm *vm, double multiplier,
                                 const char *what)
{
    struct hv_request rq = op_hv_request(op, what);
    struct vm after = *vm;

    after.hvm_shadow_multiplier = multiplier;
    return vm_hv_error(op->call, vm,
                       hv_set_shadow(op->call->xapid->hv, &rq, vm->uuid, vm_shadow_memory(&after)));
}

struct error *vm_set_shadow_multiplier_live(struct call *call,
                                            const struct vm_set_shadow_multiplier_live_args *args)
{
    const struct vm_shadow_intent intent = {.vm = args->self, .multiplier = args->multiplier};
    AUTO(op) op = {0};
    const struct vm *vm;
    struct error *e;

    TRY(DB_GET(call, vm, args->self, &vm));
    TRY(vm_check_unless_busy(call, vm, VM_OP_CHANGING_SHADOW_MEMORY_LIVE));
    if (!vm_needs_hvm(vm))
        return err_vm_hvm_required(call, call_ref(call, vm->ref));
    TRY(vm_check_shadow_multiplier(call, args->multiplier));
    TRY(begin(call, args->self, INTENT_vm_shadow, &intent, VM_OP_CHANGING_SHADOW_MEMORY_LIVE,
              check_shadow, &op));
    TRY(tell_shadow(&op, vm, args->multiplier, "set"));
    e = vm_step(&op, args->self, "told", 0.8);
    if (!e)
        e = op_commit(&op, record_shadow, (void *)&intent);
    if (e && op_may_undo(&op))
        error_ignore(tell_shadow(&op, vm, vm->hvm_shadow_multiplier, "undo")); /* e is to be told */
    return e;
}

struct error *vm_shadow_recover(struct call *call, struct op *op,
                                const struct vm_shadow_intent *intent)
{
    bool told, undone;

    (void)call;
    TRY(domain_outcome(op, "set", &told));
    TRY(domain_outcome(op, "undo", &undone));
    return op_commit(op, told && !undone ? record_shadow : NULL, (void *)intent);
}

/*** xenstore_data ***/

static bool reaches_guest(const char *key)
{
    return strncmp(key, "vm-data/", 8) == 0 || strcmp(key, "vm-data") == 0;
}

void vm_xenstore_changed(struct call *call, ref_t ref, const struct strmap *before)
{
    struct hv_request rq = {.arena = call->arena, .epoch = xapid_epoch(call->xapid)};
    const struct vm *vm = db_find(call, CLASS_vm, ref);
    struct strings gone = {0};
    struct strmap set = {0};
    const char **v;
    struct error *e;

    if (!vm || (vm->power_state != VM_RUNNING && vm->power_state != VM_PAUSED) ||
        !ref_equal(vm->resident_on, call->xapid->host))
        return;
    for (size_t i = 0; i < vm->xenstore_data.n; i++) {
        const struct strpair *p = &vm->xenstore_data.v[i];
        const char *old = strmap_get(before, p->key);

        if (reaches_guest(p->key) && (!old || strcmp(old, p->value) != 0))
            set = strmap_with(call->arena, set, p->key, p->value);
    }
    gone.v = v = arena_array(call->arena, const char *, before->n + 1);
    for (size_t i = 0; i < before->n; i++)
        if (reaches_guest(before->v[i].key) && !strmap_get(&vm->xenstore_data, before->v[i].key))
            v[gone.n++] = before->v[i].key;
    if (!set.n && !gone.n)
        return;
    e = hv_guest_write(call->xapid->hv, &rq, vm->uuid, &set, &gone);
    if (e)
        log_warning("the guest of VM %s gets its new xenstore_data at its next start: %s", vm->uuid,
                    error_line(call->arena, e));
}
