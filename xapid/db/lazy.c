/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lazy.c -- values that were measured: the newest of each field waits here, and all of them are
 * written together about once a second.
 */
#include <stdlib.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "xapid/db/state.h"

struct lazy {
    struct lazy *next; /* of the same bucket */
    int field_id;
    ref_t ref;
    struct arena arena;
    void *value;
};

/* All that waits, as one list. */
static struct lazy *lazy_take(struct db *db)
{
    struct lazy *list = NULL;

    MUTEX_GUARD(&db->lazy_lock);
    for (int i = 0; i < LAZY_BUCKETS; i++) {
        while (db->lazy[i]) {
            struct lazy *l = db->lazy[i];

            db->lazy[i] = l->next;
            l->next = list;
            list = l;
        }
    }
    return list;
}

static void lazy_free(struct lazy *list)
{
    while (list) {
        struct lazy *next = list->next;

        arena_release(&list->arena);
        free(list);
        list = next;
    }
}

static void set_lazily(struct db *db, int field_id, ref_t ref, const void *value, bool replace)
{
    struct lazy **bucket = &db->lazy[(ref.lo ^ (unsigned)field_id) % LAZY_BUCKETS], *l;

    MUTEX_GUARD(&db->lazy_lock);
    for (l = *bucket; l && (l->field_id != field_id || !ref_equal(l->ref, ref)); l = l->next)
        ;
    if (l && !replace)
        return;
    if (!l) {
        l = xcalloc(1, sizeof *l);
        l->field_id = field_id;
        l->ref = ref;
        l->next = *bucket;
        *bucket = l;
    }
    arena_release(&l->arena);
    l->value = arena_alloc(&l->arena, api_fields[field_id].type->size);
    value_copy(&l->arena, api_fields[field_id].type, value, l->value);
}

void db_set_lazily(struct db *db, int field_id, ref_t ref, const void *value)
{
    set_lazily(db, field_id, ref, value, true);
}

/* What was measured once may not change for long: it waits for the next time, unless there is
 * something newer by then. */
static void put_back(struct db *db, const struct lazy *first, const struct lazy *last)
{
    for (const struct lazy *l = first;; l = l->next) {
        set_lazily(db, l->field_id, l->ref, l->value, false);
        if (l == last)
            return;
    }
}

void db_drop_lazy(struct db *db, int field_id, ref_t ref)
{
    struct lazy **p, *gone = NULL;

    /* What is being written just now is waited for: it must not land after what the caller does
     * next. */
    mutex_lock(&db->flush_lock);
    mutex_lock(&db->lazy_lock);
    p = &db->lazy[(ref.lo ^ (unsigned)field_id) % LAZY_BUCKETS];
    while (*p && ((*p)->field_id != field_id || !ref_equal((*p)->ref, ref)))
        p = &(*p)->next;
    if (*p) {
        gone = *p;
        *p = gone->next;
        gone->next = NULL;
    }
    mutex_unlock(&db->lazy_lock);
    mutex_unlock(&db->flush_lock);
    lazy_free(gone);
}

void db_flush_lazy(struct db *db)
{
    struct lazy *list, *first;
    struct write_set set = {0};
    struct arena arena = {0};

    /* Without a leader they wait, one value for each field. */
    if (!db_wait_leader(db, 0))
        return;
    MUTEX_GUARD(&db->flush_lock);
    first = list = lazy_take(db);
    for (struct lazy *l = list; l; l = l->next) {
        write_set_field(&set, &api_fields[l->field_id], l->ref, l->value, OP_IF_EXISTS);
        if (set.ops.len > LOG_MAX_WRITE_SET / 2 || !l->next) {
            struct log_result result = db_propose(db, &arena, &set, clock_mono());

            if (result.outcome == LOG_REJECTED)
                log_warning("some of the measured values were refused: %s",
                            error_line(&arena, result.error));
            else if (result.outcome != LOG_APPLIED)
                put_back(db, first, l);
            first = l->next;
            write_release(&set);
        }
    }
    lazy_free(list);
    arena_release(&arena);
}

void db_drop_all_lazy(struct db *db)
{
    lazy_free(lazy_take(db));
}
