/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/ha/orphans.h"

#include <string.h>

#include "libxapi/base/log.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/ha/state.h"
#include "xapid/ops/intent.h"
#include "xapid/ops/migrate/migrate.h"
#include "xapid/ops/storage/check.h"

/* intent.step of one that this host has taken, as against those that it has begun. */
#define TAKEN "taken"

/*** which ***/

/* Kinds whose recover function works on records and storage alone, once the host is dead. */
static bool is_of_storage(enum intent_kind kind)
{
    switch (kind) {
    case INTENT_vm_suspend: /* without its VM (state.c): an image that nobody needs */
    case INTENT_vm_copy:
    case INTENT_vm_provision:
    case INTENT_vm_revert:
    case INTENT_vm_destroy:
    case INTENT_vm_import:
    case INTENT_vm_export:
    case INTENT_vdi_make:
    case INTENT_vdi_destroy:
    case INTENT_vdi_data_destroy:
    case INTENT_vdi_resize:
    case INTENT_vdi_revert:
    case INTENT_vdi_on_boot:
    case INTENT_vdi_transfer:
    case INTENT_vdi_move:
    case INTENT_sr_scan:
    case INTENT_sr_turn:
        return true;
    default:
        return false;
    }
}

/* The repository of which something is held; null for what is on none. */
static ref_t sr_of(const struct db_snap *snap, const struct op_hold *hold)
{
    const struct vdi *vdi;

    if (hold->class_id == CLASS_sr)
        return hold->ref;
    vdi = hold->class_id == CLASS_vdi ? root_get(snap_root(snap), CLASS_vdi, hold->ref) : NULL;
    return vdi ? vdi->sr : REF_NULL;
}

static bool is_shared(const struct db_snap *snap, const struct op_hold *hold)
{
    const struct sr *sr = root_get(snap_root(snap), CLASS_sr, sr_of(snap, hold));

    return !sr || sr->shared;
}

/*
 * A disk that was being read from another host is that one's again; only what there is of its copy
 * waits for the dead host, which takes the orphan when it is back.  False: this is no such move.
 */
static bool let_source_go(struct txn *txn, ref_t intent, const struct op *op)
{
    const struct intent *row = txn_find(txn, CLASS_intent, intent);
    const struct vdi_move_intent *move = migrate_intent(txn_call(txn), row, INTENT_vdi_move);
    struct op gone = *op;
    struct op_hold rest;

    if (!move || move->moved || sr_is_plugged(txn_snap(txn), move->from, row->host))
        return false;
    rest = (struct op_hold){CLASS_sr, move->to, SR_OP_VDI_MIRROR};
    gone.n_holds = 0;
    for (size_t i = 0; i < op->n_holds; i++)
        if (!ref_equal(op->holds[i].ref, move->to))
            gone.holds[gone.n_holds++] = op->holds[i];
    txn_unhold(txn, &gone);
    TXN_SET(txn, intent, intent, holds, intent_holds(txn_arena(txn), op->task_key, 1, &rest));
    TXN_SET(txn, intent, intent, host, REF_NULL);
    return true;
}

void txn_orphan(struct txn *txn, ref_t intent, const struct op *op)
{
    if (!is_of_storage(op->kind) || let_source_go(txn, intent, op))
        return;
    for (size_t i = 0; i < op->n_holds; i++)
        if (!is_shared(txn_snap(txn), &op->holds[i]) ||
            (op->kind == INTENT_vm_suspend && op->holds[i].class_id == CLASS_vm))
            return;
    TXN_SET(txn, intent, intent, host, REF_NULL);
}

/*** by whom ***/

static bool sees(const struct db_snap *snap, ref_t host, const struct op *op)
{
    for (size_t i = 0; i < op->n_holds; i++) {
        ref_t sr = sr_of(snap, &op->holds[i]);

        if (!ref_is_null(sr) && !sr_is_plugged(snap, sr, host))
            return false;
    }
    return true;
}

/* Every host comes to the same: the first that lives, so that not all try. */
static bool is_to_take(struct call *call, const struct intent *row)
{
    struct op op = {.call = call};
    const struct host *host;
    struct db_walk walk;

    if (!intent_read_holds(call->arena, row, &op))
        return false;
    db_walk(call->snap, CLASS_host, &walk);
    while ((host = db_walk_next(&walk)))
        if (host_lives(call->snap, host->ref) && ha_takes_vms(call, call->snap, host->ref) &&
            sees(call->snap, host->ref, &op))
            return ref_equal(host->ref, call->xapid->host);
    return false;
}

/* One that it had taken before is among them: what became of it was not known then. */
static bool is_mine(struct call *call, const struct intent *row)
{
    return ref_is_null(row->host)
               ? is_to_take(call, row)
               : ref_equal(row->host, call->xapid->host) && strcmp(row->step, TAKEN) == 0;
}

static const struct intent *next_mine(struct call *call, struct db_walk *walk)
{
    const struct intent *row;

    while ((row = db_walk_next(walk)))
        if (is_mine(call, row))
            return row;
    return NULL;
}

bool orphans_wait(struct call *call)
{
    struct db_walk walk;

    db_walk(call->snap, CLASS_intent, &walk);
    return next_mine(call, &walk) != NULL;
}

/*** doing it ***/

static struct error *take_txn(struct txn *txn, void *arg)
{
    const struct call *call = txn_call(txn);
    const ref_t *ref = arg;
    const struct intent *row;

    TRY(TXN_GET(txn, intent, *ref, &row));
    if (!ref_is_null(row->host) && !ref_equal(row->host, call->xapid->host))
        return error_internal(call->arena, "another host has taken it");
    TXN_SET(txn, intent, *ref, host, call->xapid->host);
    TXN_SET(txn, intent, *ref, epoch, (int64_t)xapid_epoch(call->xapid));
    TXN_SET(txn, intent, *ref, step, TAKEN);
    return OK;
}

static struct error *leave_txn(struct txn *txn, void *arg)
{
    const ref_t *ref = arg;
    const struct intent *row = txn_find(txn, CLASS_intent, *ref);

    if (row && ref_equal(row->host, txn_call(txn)->xapid->host))
        TXN_SET(txn, intent, *ref, host, REF_NULL);
    return OK;
}

static struct error *recover(struct call *call, ref_t ref)
{
    const struct intent *row;
    struct error *e;

    TRY(db_update(call, take_txn, &ref));
    TRY(DB_GET(call, intent, ref, &row));
    e = op_recover(call, row);
    if (e)
        error_ignore(db_update(call, leave_txn, &ref)); /* then it stays this host's */
    return e;
}

size_t orphans_recover(struct call *call)
{
    ref_t *v = arena_array(call->arena, ref_t, snap_root(call->snap)->tables[CLASS_intent].count);
    const struct intent *row;
    struct db_walk walk;
    size_t n = 0, left = 0;

    db_walk(call->snap, CLASS_intent, &walk);
    while ((row = next_mine(call, &walk)))
        v[n++] = row->ref;
    for (size_t i = 0; i < n; i++) {
        struct error *e = recover(call, v[i]);

        if (!e)
            continue;
        left++;
        log_warning("what a dead host had begun (%s) could not be finished or undone: %s",
                    call_ref(call, v[i]), error_line(call->arena, e));
    }
    return left;
}
