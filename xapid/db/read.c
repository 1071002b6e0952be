/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* read.c -- snapshots of the database, and finding rows in them. */
#include <stdlib.h>
#include <string.h>

#include "xapid/db/state.h"
#include "xapid/main/xapid.h"

struct db_snap *db_snapshot(struct db *db)
{
    MUTEX_GUARD(&db->lock);
    return (struct db_snap *)root_ref(db->root);
}

struct db_snap *db_snap_ref(struct db_snap *snap)
{
    return (struct db_snap *)root_ref((struct db_root *)snap);
}

void db_snap_unref(struct db_snap *snap)
{
    root_unref((struct db_root *)snap);
}

static void hold(struct call *call, struct db_snap *snap)
{
    if (call->n_held == call->held_room) {
        struct db_snap **more;

        call->held_room = call->held_room ? call->held_room * 2 : 8;
        more = arena_array(call->arena, struct db_snap *, call->held_room);
        if (call->n_held)
            memcpy(more, call->held, call->n_held * sizeof *more);
        call->held = more;
    }
    call->held[call->n_held++] = snap;
}

void call_refresh(struct call *call)
{
    struct db_snap *old = call->snap;

    call->snap = call->copy ? db_snap_ref(call->copy) : db_snapshot(call->xapid->db);
    if (old == call->snap)
        db_snap_unref(old);
    else if (old)
        hold(call, old);
}

void call_drop_held(struct call *call, size_t from)
{
    while (call->n_held > from)
        db_snap_unref(call->held[--call->n_held]);
}

void call_let_go(struct call *call)
{
    call_drop_held(call, 0);
    db_snap_unref(call->snap);
    call->snap = NULL;
}

const char *call_ref(const struct call *call, ref_t ref)
{
    return ref_text(call->arena, ref);
}

const void *db_find(const struct call *call, int class_id, ref_t ref)
{
    return root_get(snap_root(call->snap), class_id, ref);
}

struct error *db_get(struct call *call, int class_id, ref_t ref, const void **row)
{
    *row = db_find(call, class_id, ref);
    return *row ? OK : err_handle_invalid(call, api_classes[class_id].name, call_ref(call, ref));
}

struct error *db_by_uuid(struct call *call, int class_id, const char *uuid, ref_t *ref)
{
    const struct field_desc *f = &api_fields[api_classes[class_id].uuid_field];
    struct index_walk walk;

    index_walk(snap_root(call->snap), f, index_key_string(uuid), &walk);
    while (index_next(&walk, ref))
        if (strcmp(*(const char *const *)field_in(db_find(call, class_id, *ref), f), uuid) == 0)
            return OK;
    return err_uuid_invalid(call, api_classes[class_id].name, uuid);
}

void db_walk(const struct db_snap *snap, int class_id, struct db_walk *walk)
{
    tree_seek(&snap_root(snap)->tables[class_id], NULL, &walk->cursor);
}

const void *db_walk_next(struct db_walk *walk)
{
    const struct tree_entry *e = tree_next(&walk->cursor);

    return e ? (const void *)e->k[2] : NULL;
}

struct refs db_collect(struct arena *arena, const struct db_root *root, const struct field_desc *f,
                       ref_t key)
{
    struct index_walk walk;
    size_t n = 0, room = 8;
    ref_t *v = arena_array(arena, ref_t, room), ref;

    index_walk(root, f, key, &walk);
    while (index_next(&walk, &ref)) {
        if (n == room) {
            ref_t *more = arena_array(arena, ref_t, room * 2);

            memcpy(more, v, n * sizeof *v);
            v = more;
            room *= 2;
        }
        v[n++] = ref;
    }
    return (struct refs){n, v};
}

struct refs db_referrers(const struct call *call, int field_id, ref_t key)
{
    return db_collect(call->arena, snap_root(call->snap), &api_fields[field_id], key);
}

/* Oldest first; rows of one write-set by reference. */
static int by_age(const void *a, const void *b, void *arg)
{
    const struct tree *table = arg;
    const ref_t *x = a, *y = b;
    const struct row *r = (const struct row *)tree_get(table, (uint64_t[]){x->hi, x->lo})->k[2];
    const struct row *s = (const struct row *)tree_get(table, (uint64_t[]){y->hi, y->lo})->k[2];

    if (r->row_created != s->row_created)
        return r->row_created < s->row_created ? -1 : 1;
    return x->hi != y->hi ? (x->hi < y->hi ? -1 : 1) : x->lo < y->lo ? -1 : x->lo > y->lo;
}

struct refs db_derived(struct arena *arena, const struct db_snap *snap, const struct field_desc *f,
                       ref_t self)
{
    const struct field_desc *stored = &api_fields[f->relation];
    struct refs refs = {0};

    if (stored->index_slot < 0)
        return refs;
    refs = db_collect(arena, snap_root(snap), stored, self);
    if (refs.n > 1)
        qsort_r((void *)refs.v, refs.n, sizeof *refs.v, by_age,
                (void *)&snap_root(snap)->tables[stored->class_id]);
    return refs;
}
