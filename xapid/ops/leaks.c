/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * leaks.c -- locks that nobody holds.
 *
 * A lock, which is an entry of current_operations, comes and goes with the intent that holds it, in
 * one transaction, so there is none without an intent.  If there were one for all that, its object
 * could never be used again: whoever leads looks for such, says so, and takes them away.
 */
#include "xapid/ops/op.h"

#include <string.h>

#include "libxapi/base/log.h"
#include "xapid/db/row.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/intent.h"

#define MOST 100 /* in one look */

/* Those of tasks and of the cluster stack are none. */
static const int fields[] = {
    FIELD_host_current_operations,         FIELD_network_current_operations,
    FIELD_pool_current_operations,         FIELD_sr_current_operations,
    FIELD_vbd_current_operations,          FIELD_vdi_current_operations,
    FIELD_vif_current_operations,          FIELD_vm_current_operations,
    FIELD_vm_appliance_current_operations, FIELD_vtpm_current_operations,
    FIELD_vusb_current_operations,
};

struct lock {
    int field_id;
    ref_t ref;
    const char *key;
};

/* An import holds what it has made by a key in its intent's data (xapid/transfer/import_rows.c). */
static bool holds(struct call *call, const struct intent *row, const struct lock *lock)
{
    struct op op = {0};

    if (strstr(row->data, lock->key) || !intent_read_holds(call->arena, row, &op))
        return true;
    return op.n_holds && strcmp(op.task_key, lock->key) == 0 &&
           op_holds(&op, api_fields[lock->field_id].class_id, lock->ref);
}

static bool is_held(struct call *call, const struct db_snap *snap, const struct lock *lock)
{
    const struct intent *row;
    struct db_walk walk;

    db_walk(snap, CLASS_intent, &walk);
    while ((row = db_walk_next(&walk)))
        if (holds(call, row, lock))
            return true;
    return false;
}

static struct error *take_away(struct txn *txn, void *arg)
{
    const struct lock *lock = arg;

    if (!is_held(txn_call(txn), txn_snap(txn), lock) &&
        txn_find(txn, api_fields[lock->field_id].class_id, lock->ref))
        txn_map_remove(txn, lock->field_id, lock->ref, &lock->key);
    return OK;
}

struct locks {
    struct lock *v;
    size_t n;
};

static void add_leaked(struct call *call, int field_id, ref_t ref, const struct enummap *held,
                       struct locks *out)
{
    for (size_t i = 0; i < held->n && out->n < MOST; i++) {
        const struct lock lock = {field_id, ref, held->v[i].key};

        if (is_held(call, call->snap, &lock))
            continue;
        out->v[out->n] = lock;
        out->v[out->n++].key = arena_strdup(call->arena, lock.key);
    }
}

static struct locks find_leaked(struct call *call)
{
    struct locks out = {arena_array(call->arena, struct lock, MOST), 0};

    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        const struct field_desc *f = &api_fields[fields[i]];
        struct db_walk walk;
        const char *row;

        db_walk(call->snap, f->class_id, &walk);
        while ((row = db_walk_next(&walk)))
            add_leaked(call, f->id, *(const ref_t *)row, (const struct enummap *)(row + f->offset),
                       &out);
    }
    return out;
}

void ops_free_leaked(struct call *call)
{
    struct locks found;

    call_refresh(call);
    found = find_leaked(call);
    for (size_t i = 0; i < found.n; i++) {
        const struct lock *lock = &found.v[i];
        struct error *e = db_update(call, take_away, (void *)lock);

        log_error("%s %s was locked by operation %s, which is over: %s",
                  api_classes[api_fields[lock->field_id].class_id].name, call_ref(call, lock->ref),
                  lock->key, e ? error_line(call->arena, e) : "it is free now");
    }
}
