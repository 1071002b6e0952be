/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* objects.c -- records already seen. */
#include "xe-cli/objects.h"

#include <string.h>

#define FETCH_ALL_AFTER 4 /* single records of a class before all of them are asked for */

struct class_cache {
    struct class_cache *next;
    const char *class;
    bool complete;
    unsigned fetched;
    struct xe_object_list all;
    size_t size, used; /* of 'table', a power of two */
    struct xe_object *table;
};

struct xe_objects {
    struct class_cache *classes;
};

bool ref_text_is_null(const char *ref)
{
    return !*ref || !strcmp(ref, "OpaqueRef:NULL");
}

static struct class_cache *class_cache(struct xe *xe, const char *class)
{
    struct class_cache *c;

    if (!xe->objects)
        xe->objects = arena_new(&xe->arena, struct xe_objects);
    for (c = xe->objects->classes; c; c = c->next)
        if (!strcmp(c->class, class))
            return c;
    c = arena_new(&xe->arena, struct class_cache);
    c->class = class;
    c->next = xe->objects->classes;
    xe->objects->classes = c;
    return c;
}

static struct xe_object *slot(const struct class_cache *c, const char *ref)
{
    size_t i = api_name_hash(ref) & (c->size - 1);

    while (c->table[i].ref && strcmp(c->table[i].ref, ref) != 0)
        i = (i + 1) & (c->size - 1);
    return &c->table[i];
}

static void cache_add(struct xe *xe, struct class_cache *c, const char *ref,
                      const struct wire *record)
{
    struct xe_object *to;

    if (c->used * 2 >= c->size) {
        struct class_cache old = *c;

        c->size = old.size ? old.size * 2 : 64;
        c->table = arena_array(&xe->arena, struct xe_object, c->size);
        for (size_t i = 0; i < old.size; i++)
            if (old.table[i].ref)
                *slot(c, old.table[i].ref) = old.table[i];
    }
    to = slot(c, ref);
    c->used += !to->ref;
    *to = (struct xe_object){ref, record};
}

static struct error *fetch_all(struct xe *xe, struct class_cache *c)
{
    const struct wire *records = NULL;
    struct xe_object *all;

    TRY(xe_call(xe, &records, arena_printf(&xe->arena, "%s.get_all_records", c->class), ""));
    if (records->kind != WIRE_STRUCT)
        return error_internal(&xe->arena, "%s.get_all_records did not answer a map", c->class);
    all = arena_array(&xe->arena, struct xe_object, records->n + 1);
    for (size_t i = 0; i < records->n; i++) {
        all[i] = (struct xe_object){records->v[i].name, &records->v[i]};
        cache_add(xe, c, all[i].ref, all[i].record);
    }
    c->all = (struct xe_object_list){records->n, all};
    c->complete = true;
    return OK;
}

struct error *objects_all(struct xe *xe, const char *class, struct xe_object_list *out)
{
    struct class_cache *c = class_cache(xe, class);

    if (!c->complete)
        TRY(fetch_all(xe, c));
    *out = c->all;
    return OK;
}

/* An object that is gone is no error to those who only want to show it. */
static struct error *fetch_one(struct xe *xe, struct class_cache *c, const char *ref,
                               const struct wire **record)
{
    struct error *e =
        xe_call(xe, record, arena_printf(&xe->arena, "%s.get_record", c->class), "r", ref);

    c->fetched++;
    if (e && (error_is(e, "HANDLE_INVALID") || error_is(e, "OBJECT_NO_LONGER_EXISTS"))) {
        *record = NULL;
        e = OK;
    }
    if (!e)
        cache_add(xe, c, arena_strdup(&xe->arena, ref), *record);
    return e;
}

struct error *object_get(struct xe *xe, const char *class, const char *ref,
                         const struct wire **record)
{
    struct class_cache *c = class_cache(xe, class);
    const struct class_desc *desc = api_class_by_name(class);
    const struct xe_object *found;

    *record = NULL;
    if (ref_text_is_null(ref))
        return OK;
    found = c->size ? slot(c, ref) : NULL;
    if (found && found->ref) {
        *record = found->record;
        return OK;
    }
    if (c->complete)
        return OK;
    if (c->fetched < FETCH_ALL_AFTER || !desc || !(desc->flags & CLASS_ALL))
        return fetch_one(xe, c, ref, record);
    TRY(fetch_all(xe, c));
    found = c->size ? slot(c, ref) : NULL;
    if (found && found->ref)
        *record = found->record;
    return OK;
}

struct error *object_by_uuid(struct xe *xe, const char *class, const char *uuid,
                             struct xe_object *out)
{
    TRY(xe_call_text(xe, &out->ref, arena_printf(&xe->arena, "%s.get_by_uuid", class), "s", uuid));
    TRY(object_get(xe, class, out->ref, &out->record));
    if (!out->record)
        return error_new(&xe->arena, "HANDLE_INVALID", 2, class, out->ref);
    return OK;
}

struct error *object_uuid(struct xe *xe, const char *class, const char *ref, const char **uuid)
{
    return xe_call_text(xe, uuid, arena_printf(&xe->arena, "%s.get_uuid", class), "r", ref);
}

void objects_forget(struct xe *xe)
{
    xe->objects = NULL;
}

struct error *object_pool(struct xe *xe, struct xe_object *out)
{
    struct xe_object_list pools;

    TRY(objects_all(xe, "pool", &pools));
    if (pools.n == 0)
        return error_internal(&xe->arena, "Remote host does not belong to a pool.");
    *out = pools.v[0];
    return OK;
}

struct error *object_master(struct xe *xe, const char **host)
{
    struct xe_object pool;

    TRY(object_pool(xe, &pool));
    *host = xe_member_text(pool.record, "master");
    return OK;
}

struct error *object_this_host(struct xe *xe, const char **host)
{
    if (!xe->server)
        TRY(xe->connect(xe));
    return xe_call_text(xe, host, "session.get_this_host", "r", xe->server->session(xe->server));
}
