/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/vm/sequence.h"

#include "libxapi/base/log.h"
#include "libxapi/base/seam.h"
#include "xapid/forward/forward.h"
#include "xapid/ops/parallel.h"

#define SLICE (250 * USEC_PER_MSEC) /* between two looks at who wants it to end */

/*** order ***/

static bool is_start(enum sequence_kind kind)
{
    return kind == SEQUENCE_START || kind == SEQUENCE_START_PAUSED;
}

void sequence_sort(enum sequence_kind kind, size_t n, struct sequence_vm *v)
{
    bool up = is_start(kind);

    for (size_t i = 1; i < n; i++) {
        struct sequence_vm x = v[i];
        size_t j = i;

        for (; j && (up ? v[j - 1].order > x.order : v[j - 1].order < x.order); j--)
            v[j] = v[j - 1];
        v[j] = x;
    }
}

size_t sequence_group(size_t n, const struct sequence_vm *v, int64_t *delay)
{
    size_t i = 0;

    *delay = 0;
    for (; i < n && v[i].order == v[0].order; i++)
        *delay = MAX(*delay, v[i].delay);
    return i;
}

/* In the state that is wanted. */
static bool is_there(enum sequence_kind kind, const struct vm *vm)
{
    return is_start(kind) ? vm->power_state == VM_RUNNING || vm->power_state == VM_PAUSED
                          : vm->power_state == VM_HALTED;
}

/*** one VM ***/

struct group {
    enum sequence_kind kind;
    const struct sequence_vm *v;
};

/* Each VM on its own host. */
static struct error *do_one(struct call *call, enum sequence_kind kind, ref_t vm)
{
    switch (kind) {
    case SEQUENCE_START:
    case SEQUENCE_START_PAUSED:
        return forward_run(
            call, MSG_vm_start,
            &(struct vm_start_args){.vm = vm, .start_paused = kind != SEQUENCE_START}, NULL);
    case SEQUENCE_CLEAN_SHUTDOWN:
        return forward_run(call, MSG_vm_clean_shutdown, &(struct vm_clean_shutdown_args){vm}, NULL);
    case SEQUENCE_HARD_SHUTDOWN:
        return forward_run(call, MSG_vm_hard_shutdown, &(struct vm_hard_shutdown_args){vm}, NULL);
    case SEQUENCE_SHUTDOWN:
        return forward_run(call, MSG_vm_shutdown, &(struct vm_shutdown_args){vm}, NULL);
    }
    return OK;
}

static struct error *run_one(struct call *call, void *arg, size_t i)
{
    const struct group *g = arg;

    return do_one(call, g->kind, g->v[i].vm);
}

/*** a group ***/

static struct error *run_group(struct call *call, enum sequence_kind kind, size_t n,
                               const struct sequence_vm *v)
{
    struct error **errors = arena_array(call->arena, struct error *, n + 1), *e;
    struct group g = {kind, v};

    e = parallel_run(
        call, &(struct parallel){.name = "VM of a sequence", .n = n, .run = run_one, .arg = &g},
        errors);
    for (size_t i = 0; i < n; i++)
        if (errors[i])
            log_warning("VM %s of a sequence: %s", call_ref(call, v[i].vm),
                        error_line(call->arena, errors[i]));
    return e;
}

static struct error *pause_between(struct call *call, int64_t seconds)
{
    usec_t until = clock_mono() + MIN(seconds, (int64_t)24 * 3600) * USEC_PER_SEC;

    while (clock_mono() < until) {
        TRY(parallel_check(call));
        clock_sleep(MIN(SLICE, MAX(until - clock_mono(), 0)));
    }
    return OK;
}

/*** all ***/

static struct sequence_vm *choose(struct call *call, enum sequence_kind kind,
                                  const struct refs *vms, size_t *n)
{
    struct sequence_vm *v = arena_array(call->arena, struct sequence_vm, vms->n + 1);

    *n = 0;
    for (size_t i = 0; i < vms->n; i++) {
        const struct vm *vm = db_find(call, CLASS_vm, vms->v[i]);

        if (vm && !is_there(kind, vm))
            v[(*n)++] = (struct sequence_vm){vm->ref, vm->order,
                                             is_start(kind) ? vm->start_delay : vm->shutdown_delay};
    }
    sequence_sort(kind, *n, v);
    return v;
}

static struct refs not_there(struct call *call, enum sequence_kind kind, const struct refs *vms)
{
    ref_t *v = arena_array(call->arena, ref_t, vms->n + 1);
    size_t n = 0;

    call_refresh(call);
    for (size_t i = 0; i < vms->n; i++) {
        const struct vm *vm = db_find(call, CLASS_vm, vms->v[i]);

        if (vm && !is_there(kind, vm))
            v[n++] = vm->ref;
    }
    return (struct refs){n, v};
}

struct error *sequence_run(struct call *call, enum sequence_kind kind, const struct refs *vms,
                           struct error *(*between)(void *ctx, double done), void *ctx,
                           struct refs *failed)
{
    size_t n, at = 0;
    struct sequence_vm *v = choose(call, kind, vms, &n);

    while (at < n) {
        int64_t delay;
        size_t size = sequence_group(n - at, v + at, &delay);

        TRY(run_group(call, kind, size, v + at));
        at += size;
        if (between)
            TRY(between(ctx, (double)at / (double)n));
        if (at < n)
            TRY(pause_between(call, delay));
    }
    *failed = not_there(call, kind, vms);
    return OK;
}
