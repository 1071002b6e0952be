/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * appliance.c -- VM_appliance.start, clean_shutdown, hard_shutdown and shutdown.
 *
 * The intent is the wish alone: which VMs are left to do follows from their states.  So after a
 * crash the operation goes on once the daemon is up again (appliances_go_on), and recovery leaves
 * intent and lock as they are.  Each VM's own operation has an intent of its own.
 */
#include "xapid/ops/vm/appliance.h"

#include <stdlib.h>
#include <string.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/op.h"
#include "xapid/ops/registry.h"
#include "xapid/ops/vm/autostart.h"
#include "xapid/ops/vm/sequence.h"
#include "xapid/worker/workers.h"

static enum vm_appliance_operation operation_of(enum sequence_kind kind)
{
    static const enum vm_appliance_operation operations[] = {
        [SEQUENCE_START] = APPLIANCE_OP_START,
        [SEQUENCE_START_PAUSED] = APPLIANCE_OP_START,
        [SEQUENCE_CLEAN_SHUTDOWN] = APPLIANCE_OP_CLEAN_SHUTDOWN,
        [SEQUENCE_HARD_SHUTDOWN] = APPLIANCE_OP_HARD_SHUTDOWN,
        [SEQUENCE_SHUTDOWN] = APPLIANCE_OP_SHUTDOWN,
    };

    return operations[kind];
}

static struct error *check_appliance(struct txn *txn, void *arg)
{
    const struct vm_appliance_run_intent *intent = arg;
    const struct vm_appliance *appliance;
    struct call *call = txn_call(txn);

    TRY(TXN_GET(txn, vm_appliance, intent->appliance, &appliance));
    if (!appliance->current_operations.n)
        return OK;
    return err_other_operation_in_progress(
        call, "VM_appliance", call_ref(call, appliance->ref),
        enum_vm_appliance_operation.names[appliance->current_operations.v[0].value],
        appliance->current_operations.v[0].key);
}

static struct error *group_done(void *ctx, double done)
{
    return op_step(ctx, "group", done);
}

static struct error *partially(struct call *call, enum sequence_kind kind,
                               const struct refs *failed)
{
    struct error *e = arena_alloc(call->arena, sizeof *e + (failed->n + 1) * sizeof e->params[0]);

    e->code = "OPERATION_PARTIALLY_FAILED";
    e->n_params = 0;
    e->params[e->n_params++] = enum_vm_appliance_operation.names[operation_of(kind)];
    for (size_t i = 0; i < failed->n; i++)
        e->params[e->n_params++] = call_ref(call, failed->v[i]);
    return e;
}

/* The wish has been carried out as far as it can be: the intent goes whether or not all came to
 * where they should. */
static struct error *carry_out(struct op *op, const struct vm_appliance_run_intent *intent)
{
    enum sequence_kind kind = (enum sequence_kind)intent->kind;
    struct refs vms = db_referrers(op->call, FIELD_vm_appliance, intent->appliance), failed = {0};
    struct error *e = sequence_run(op->call, kind, &vms, group_done, op, &failed);

    /* The next start of the daemon goes on with it. */
    if (e && xapid_is_stopping(op->call->xapid))
        op->unknown = true;
    TRY(e);
    TRY(op_commit(op, NULL, NULL));
    return failed.n ? partially(op->call, kind, &failed) : OK;
}

static struct error *run(struct call *call, ref_t appliance, enum sequence_kind kind)
{
    const struct vm_appliance_run_intent intent = {.appliance = appliance, .kind = kind};
    AUTO(op) op = {0};

    TRY(op_begin(call,
                 &(struct op_spec){.kind = INTENT_vm_appliance_run,
                                   .intent = &intent,
                                   .n_holds = 1,
                                   .holds = &(struct op_hold){CLASS_vm_appliance, appliance,
                                                              (int)operation_of(kind)},
                                   .check = check_appliance,
                                   .arg = (void *)&intent},
                 &op));
    return carry_out(&op, &intent);
}

struct error *vm_appliance_start(struct call *call, const struct vm_appliance_start_args *args)
{
    return run(call, args->self, args->paused ? SEQUENCE_START_PAUSED : SEQUENCE_START);
}

struct error *vm_appliance_clean_shutdown(struct call *call,
                                          const struct vm_appliance_clean_shutdown_args *args)
{
    return run(call, args->self, SEQUENCE_CLEAN_SHUTDOWN);
}

struct error *vm_appliance_hard_shutdown(struct call *call,
                                         const struct vm_appliance_hard_shutdown_args *args)
{
    return run(call, args->self, SEQUENCE_HARD_SHUTDOWN);
}

struct error *vm_appliance_shutdown(struct call *call,
                                    const struct vm_appliance_shutdown_args *args)
{
    return run(call, args->self, SEQUENCE_SHUTDOWN);
}

/*** after a crash ***/

/* Machines can be started only when the daemon is up: nothing is done yet, and nothing let go. */
struct error *vm_appliance_run_recover(struct call *call, struct op *op,
                                       const struct vm_appliance_run_intent *intent)
{
    (void)call, (void)intent;
    op->unknown = true;
    return OK;
}

struct going_on {
    struct xapid *xapid;
    ref_t intent;
};

static void go_on(void *arg)
{
    struct going_on *g = arg;
    AUTO(arena) arena = {0};
    const struct intent *row;
    const void *intent;
    struct call call;
    struct error *e = OK;

    call_init_internal(&call, g->xapid, &arena);
    row = db_find(&call, CLASS_intent, g->intent);
    if (row) {
        AUTO(op) op = {0};

        if (op_adopt(&call, row, &op, &intent))
            e = carry_out(&op, intent);
    }
    if (e)
        log_warning("an appliance's operation that was interrupted: %s", error_line(&arena, e));
    call_release(&call);
    free(g);
}

static void go_on_with_all(struct xapid *xapid)
{
    AUTO(arena) arena = {0};
    struct call call;
    struct db_walk walk;
    const struct intent *row;

    call_init_internal(&call, xapid, &arena);
    db_walk(call.snap, CLASS_intent, &walk);
    while ((row = db_walk_next(&walk))) {
        struct going_on *g;

        if (!ref_equal(row->host, xapid->host) ||
            strcmp(row->kind, api_intents[INTENT_vm_appliance_run].name) != 0)
            continue;
        g = xcalloc(1, sizeof *g);
        *g = (struct going_on){xapid, row->ref};
        if (!workers_run(xapid->workers, go_on, g))
            free(g);
    }
    call_release(&call);
}

static void autostart(void *arg)
{
    vms_autostart(arg);
}

void appliances_go_on(struct xapid *xapid)
{
    go_on_with_all(xapid);
    if (!workers_run(xapid->workers, autostart, xapid))
        log_warning("VMs that start with the host are not started: too much else is to be done");
}
