/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/event/collect.h"

#include <stdlib.h>
#include <string.h>

struct collector {
    struct arena *arena;
    size_t room;
    struct event_list *list;
};

static void add(struct collector *c, const struct event_item *item)
{
    struct event_list *l = c->list;

    if (l->n == c->room) {
        struct event_item *grown;

        c->room = c->room ? c->room * 2 : 32;
        grown = arena_alloc(c->arena, c->room * sizeof *grown);
        if (l->n)
            memcpy(grown, l->v, l->n * sizeof *grown);
        l->v = grown;
    }
    l->v[l->n++] = *item;
}

/* The event a change is for one who knows the state of 'revision'; false if it is none. */
static bool event_of(const struct db_root *root, const struct subscriptions *s,
                     const struct root_change *change, uint64_t revision, struct event_item *out)
{
    if (!(api_classes[change->class_id].flags & CLASS_EVENTS) ||
        !subscribed(s, change->class_id, change->ref))
        return false;
    *out = (struct event_item){
        .class_id = change->class_id, .ref = change->ref, .order = change->revision};
    if (change->deleted) {
        out->operation = EVENT_DEL;
        return change->created <= revision; /* made and gone in between: nothing to tell */
    }
    out->row = root_get(root, change->class_id, change->ref);
    out->operation = change->created > revision ? EVENT_ADD : EVENT_MOD;
    if (out->operation == EVENT_ADD)
        out->order = change->created;
    return true;
}

bool events_any(const struct db_root *root, const struct subscriptions *s, uint64_t revision)
{
    struct tree_cursor cursor;
    struct root_change change;
    struct event_item item;

    root_changes(root, revision, &cursor);
    while (root_next_change(&cursor, &change))
        if (event_of(root, s, &change, revision, &item))
            return true;
    return false;
}

/* Adds lead and dels come last, each in the order they happened. */
static int by_operation(const void *a, const void *b)
{
    static const int rank[] = {[EVENT_ADD] = 0, [EVENT_MOD] = 1, [EVENT_DEL] = 2};
    const struct event_item *x = a, *y = b;

    if (x->operation != y->operation)
        return rank[x->operation] - rank[y->operation];
    if (x->order != y->order)
        return x->order < y->order ? -1 : 1;
    return x->class_id - y->class_id;
}

void events_collect(struct arena *arena, const struct db_root *root, const struct subscriptions *s,
                    uint64_t revision, bool from_start, struct event_list *out)
{
    struct collector c = {.arena = arena, .list = out};
    struct tree_cursor cursor;
    struct root_change change;
    struct event_item item;

    *out = (struct event_list){0};
    if (from_start) {
        for (int id = 0; id < CLASS_COUNT; id++) {
            const struct tree_entry *e;

            if (!(api_classes[id].flags & CLASS_EVENTS))
                continue;
            tree_seek(&root->tables[id], NULL, &cursor);
            while ((e = tree_next(&cursor))) {
                const struct row *row = (const struct row *)e->k[2];

                if (subscribed(s, id, row->ref))
                    add(&c, &(struct event_item){id, row->ref, EVENT_ADD, row, row->row_created});
            }
        }
    } else {
        root_changes(root, revision, &cursor);
        while (root_next_change(&cursor, &change))
            if (event_of(root, s, &change, revision, &item))
                add(&c, &item);
    }
    if (out->n > 1)
        qsort(out->v, out->n, sizeof *out->v, by_operation);
}
