/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * txn.c -- transactions: what a caller reads and changes becomes a write-set, which is tried again
 * from the beginning while others were faster.
 */
#include <string.h>

#include "xapid/db/state.h"
#include "xapid/main/xapid.h"

/* How long db_update goes on while the outcome is unknown or the log accepts nothing. */
#define UPDATE_DEADLINE (60 * USEC_PER_SEC)
/* How long what the log refuses is proposed again while somebody leads: it may not know that yet.
 */
#define REFUSED_WITHIN (5 * USEC_PER_SEC)
/* Between two tries of a change that was not taken. */
#define AGAIN (20 * USEC_PER_MSEC)

struct txn {
    struct call *call;
    struct arena arena;
    struct db_root *root;
    struct write_set set;
};

static void txn_release(struct txn *txn)
{
    write_release(&txn->set);
    root_unref(txn->root);
    arena_release(&txn->arena);
}

struct call *txn_call(struct txn *txn)
{
    return txn->call;
}

struct arena *txn_arena(struct txn *txn)
{
    return &txn->arena;
}

const struct db_snap *txn_snap(struct txn *txn)
{
    return (const struct db_snap *)txn->root;
}

const void *txn_find(struct txn *txn, int class_id, ref_t ref)
{
    const struct row *row = root_get(txn->root, class_id, ref);

    write_read_row(&txn->set, &api_classes[class_id], ref, row ? row->row_version : 0);
    return row;
}

struct error *txn_get(struct txn *txn, int class_id, ref_t ref, const void **row)
{
    *row = txn_find(txn, class_id, ref);
    return *row ? OK
                : err_handle_invalid(txn->call, api_classes[class_id].name,
                                     call_ref(txn->call, ref));
}

struct refs txn_referrers(struct txn *txn, int field_id, ref_t key)
{
    const struct field_desc *f = &api_fields[field_id];

    write_read_index(&txn->set, f, key, index_digest(txn->root, f, key));
    return db_collect(&txn->arena, txn->root, f, key);
}

void txn_create(struct txn *txn, int class_id, const void *source)
{
    write_create(&txn->set, &api_classes[class_id], ((const struct row *)source)->ref, source);
}

void txn_set_value(struct txn *txn, int field_id, ref_t ref, const void *value)
{
    write_set_field(&txn->set, &api_fields[field_id], ref, value, 0);
}

void txn_map_add(struct txn *txn, int field_id, ref_t ref, const void *key, const void *value)
{
    write_member(&txn->set, OP_MAP_ADD, &api_fields[field_id], ref, key, value, 0);
}

void txn_map_put(struct txn *txn, int field_id, ref_t ref, const void *key, const void *value)
{
    write_member(&txn->set, OP_MAP_PUT, &api_fields[field_id], ref, key, value, 0);
}

void txn_map_remove(struct txn *txn, int field_id, ref_t ref, const void *key)
{
    write_member(&txn->set, OP_MAP_REMOVE, &api_fields[field_id], ref, key, NULL, 0);
}

void txn_set_add(struct txn *txn, int field_id, ref_t ref, const void *element)
{
    write_member(&txn->set, OP_SET_ADD, &api_fields[field_id], ref, element, NULL, 0);
}

void txn_set_remove(struct txn *txn, int field_id, ref_t ref, const void *element)
{
    write_member(&txn->set, OP_SET_REMOVE, &api_fields[field_id], ref, element, NULL, 0);
}

void txn_strmap_put(struct txn *txn, int field_id, ref_t ref, const char *key, const char *value)
{
    txn_map_put(txn, field_id, ref, &key, &value);
}

void txn_strmap_remove(struct txn *txn, int field_id, ref_t ref, const char *key)
{
    txn_map_remove(txn, field_id, ref, &key);
}

void txn_destroy(struct txn *txn, int class_id, ref_t ref)
{
    write_destroy(&txn->set, &api_classes[class_id], ref);
}

void txn_touch(struct txn *txn, int class_id, ref_t ref)
{
    write_touch(&txn->set, &api_classes[class_id], ref);
}

size_t txn_size(const struct txn *txn)
{
    return txn->set.reads.len + txn->set.ops.len;
}

/*** updates ***/

/* True where what was not taken may be taken by whoever leads next: nothing but the want of a
 * leader stood in its way. */
static bool may_be_taken_later(struct db *db, usec_t *since)
{
    struct log_status status;

    if (!db_has_others(db))
        return false;
    db_status(db, &status);
    *since = *since ? *since : clock_mono();
    if (status.failure && status.leader && clock_mono() > *since + REFUSED_WITHIN)
        return false;
    MUTEX_GUARD(&db->lock);
    return !db->failure && !db->giving_up;
}

static const char outcome_unknown[] =
    "the outcome of the change is not known yet: it may still take effect";

bool db_outcome_is_unknown(const struct error *e)
{
    return error_is(e, "INTERNAL_ERROR") && e->n_params == 1 &&
           strcmp(e->params[0], outcome_unknown) == 0;
}

static struct error *update(struct call *call, db_txn_fn *fn, void *arg)
{
    struct db *db = call->xapid->db;
    usec_t deadline = clock_mono() + UPDATE_DEADLINE, refused = 0;

    for (;;) {
        AUTO(txn) txn = {.call = call};
        struct log_result result;

        TRY(db_wait_writable(db, call->arena, deadline));
        txn.root = (struct db_root *)db_snapshot(db);
        TRY(fn(&txn, arg));
        if (!txn.set.n_ops) {
            call_refresh(call);
            return OK;
        }
        result = db_propose(db, call->arena, &txn.set, deadline);
        call_refresh(call);
        call->wrote |= result.outcome == LOG_APPLIED || result.outcome == LOG_UNKNOWN;
        if (result.outcome == LOG_APPLIED)
            return OK;
        if (result.outcome == LOG_UNKNOWN)
            return error_internal(call->arena, "%s", outcome_unknown);
        if (result.outcome == LOG_FAILED && may_be_taken_later(db, &refused) &&
            clock_mono() < deadline) {
            clock_sleep(AGAIN);
            continue;
        }
        if (result.outcome != LOG_CONFLICT)
            return result.error;
        if (clock_mono() > deadline)
            return error_internal(call->arena,
                                  "the change met others again and again and was given up");
    }
}

struct error *db_update(struct call *call, db_txn_fn *fn, void *arg)
{
    struct error *e;

    TRY(db_enter(call));
    e = update(call, fn, arg);
    db_leave(call->xapid->db);
    return e;
}

bool db_barrier(struct db *db, usec_t deadline)
{
    AUTO(arena) arena = {0};
    struct write_set nothing = {0};
    struct log_result result;
    usec_t refused = 0;

    if (!db_has_others(db))
        return true;
    do {
        if (db_wait_writable(db, &arena, deadline))
            return false;
        result = db_propose(db, &arena, &nothing, deadline);
        write_release(&nothing);
    } while (result.outcome == LOG_FAILED && may_be_taken_later(db, &refused) &&
             clock_mono() < deadline);
    return result.outcome == LOG_APPLIED;
}
