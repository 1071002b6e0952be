/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/db/apply.h"

#include <stdlib.h>
#include <string.h>

#include "libxapi/base/memory.h"
#include "xapid/db/level.h"
#include "xapid/db/touch.h"
#include "xapid/db/write.h"

/* Longest chain of snapshot_of or parent that is followed: longer ones are taken for a cycle. */
#define MAX_CHAIN 1024

/* A row as it will be: staged until the whole write-set was found good. */
struct staged {
    struct staged *next;  /* of the same hash */
    struct staged *later; /* in the order of first use */
    const struct class_desc *class;
    ref_t ref;
    const struct row *old; /* NULL where it is created */
    void *new;             /* a struct of the class in the arena; NULL where it is destroyed */
    bool changed, touched;
};

#define BUCKETS 64

struct apply {
    struct db_root *root;
    struct arena *arena;
    uint64_t revision;
    struct staged *buckets[BUCKETS];
    struct staged *first, **last;
};

static struct staged *stage_find(struct apply *a, int class_id, ref_t ref)
{
    struct staged *s = a->buckets[ref.lo % BUCKETS];

    while (s && (s->class->id != class_id || !ref_equal(s->ref, ref)))
        s = s->next;
    return s;
}

static struct staged *stage_add(struct apply *a, const struct class_desc *class, ref_t ref,
                                const struct row *old)
{
    struct staged *s = arena_new(a->arena, struct staged);

    s->class = class;
    s->ref = ref;
    s->old = old;
    if (old)
        s->new = arena_memdup(a->arena, old, class->struct_size);
    s->next = a->buckets[ref.lo % BUCKETS];
    a->buckets[ref.lo % BUCKETS] = s;
    *a->last = s;
    a->last = &s->later;
    return s;
}

/* The staged form of a row that exists, or NULL. */
static struct staged *stage(struct apply *a, const struct class_desc *class, ref_t ref)
{
    struct staged *s = stage_find(a, class->id, ref);
    const struct row *old;

    if (s)
        return s->new ? s : NULL;
    old = root_get(a->root, class->id, ref);
    return old ? stage_add(a, class, ref, old) : NULL;
}

static bool exists(struct apply *a, int class_id, ref_t ref)
{
    const struct staged *s = stage_find(a, class_id, ref);

    return s ? s->new != NULL : root_get(a->root, class_id, ref) != NULL;
}

/* A row as it will be; NULL if it is gone. */
static const void *current(struct apply *a, int class_id, ref_t ref)
{
    const struct staged *s = stage_find(a, class_id, ref);

    return s ? s->new : root_get(a->root, class_id, ref);
}

static struct error *handle_invalid(struct apply *a, const struct class_desc *class, ref_t ref)
{
    return error_new(a->arena, "HANDLE_INVALID", 2, class->name, ref_text(a->arena, ref));
}

/*** operations ***/

static size_t find_element(const struct type *elem, const struct set *set, size_t stride,
                           const void *key)
{
    size_t i = 0;

    while (i < set->n && !value_equal(elem, (const char *)set->v + i * stride, key))
        i++;
    return i;
}

/* The set or map with element i left out, or with one more at the end where i == n; returns the
 * place of the new one. */
static char *resize(struct apply *a, struct set *set, size_t stride, size_t i, bool add)
{
    size_t n = add ? set->n + 1 : set->n - 1;
    char *v = arena_zalloc(a->arena, MAX(n, 1) * stride);

    if (i)
        memcpy(v, set->v, i * stride);
    if (!add && i + 1 < set->n)
        memcpy(v + i * stride, (const char *)set->v + (i + 1) * stride, (set->n - i - 1) * stride);
    set->n = n;
    set->v = v;
    return v + i * stride;
}

static struct error *change_map(struct apply *a, struct staged *s, const struct write_op_item *op)
{
    const struct field_desc *f = op->field;
    const struct type *t = f->type;
    struct set *map = (struct set *)((char *)s->new + f->offset);
    size_t i = find_element(t->key, map, t->entry_size, op->key);
    char *entry;

    if (op->op == OP_MAP_REMOVE) {
        if (i < map->n) {
            resize(a, map, t->entry_size, i, false);
            s->changed = true;
        }
        return OK;
    }
    if (i < map->n && op->op == OP_MAP_ADD)
        return error_new(a->arena, "MAP_DUPLICATE_KEY", 4, s->class->name, f->name,
                         ref_text(a->arena, s->ref), value_filter_text(a->arena, t->key, op->key));
    if (i < map->n) {
        if (value_equal(t->elem, (const char *)map->v + i * t->entry_size + t->value_offset,
                        op->value))
            return OK;
        map->v = arena_memdup(a->arena, map->v, map->n * t->entry_size);
        entry = (char *)map->v + i * t->entry_size;
    } else {
        entry = resize(a, map, t->entry_size, i, true);
    }
    memcpy(entry, op->key, t->key->size);
    memcpy(entry + t->value_offset, op->value, t->elem->size);
    s->changed = true;
    return OK;
}

static void change_set(struct apply *a, struct staged *s, const struct write_op_item *op)
{
    const struct type *t = op->field->type;
    struct set *set = (struct set *)((char *)s->new + op->field->offset);
    size_t i = find_element(t->elem, set, t->elem->size, op->key);

    if (op->op == OP_SET_ADD && i == set->n) {
        memcpy(resize(a, set, t->elem->size, i, true), op->key, t->elem->size);
        s->changed = true;
    } else if (op->op == OP_SET_REMOVE && i < set->n) {
        resize(a, set, t->elem->size, i, false);
        s->changed = true;
    }
}

static struct error *create_row(struct apply *a, const struct write_op_item *op)
{
    struct staged *s = stage_find(a, op->class->id, op->ref);

    if (ref_is_null(op->ref))
        return error_internal(a->arena, "an object of class %s without a reference",
                              op->class->name);
    if (s || root_get(a->root, op->class->id, op->ref))
        return error_internal(a->arena, "object %s exists already", ref_text(a->arena, op->ref));
    s = stage_add(a, op->class, op->ref, NULL);
    s->new = (void *)op->source;
    s->changed = true;
    return OK;
}

static struct error *run_op(struct apply *a, const struct write_op_item *op)
{
    struct staged *s;
    void *place;

    if (op->class->flags & CLASS_STATIC)
        return error_internal(a->arena, "objects of class %s cannot be changed", op->class->name);
    if (op->op == OP_CREATE)
        return create_row(a, op);
    s = stage(a, op->class, op->ref);
    if (!s)
        return op->flags & OP_IF_EXISTS ? OK : handle_invalid(a, op->class, op->ref);
    switch (op->op) {
    case OP_SET:
        place = (char *)s->new + op->field->offset;
        if (!value_equal(op->field->type, place, op->value)) {
            memcpy(place, op->value, op->field->type->size);
            s->changed = true;
        }
        return OK;
    case OP_DESTROY:
        s->new = NULL;
        s->changed = true;
        return OK;
    case OP_TOUCH:
        s->touched = true;
        return OK;
    case OP_SET_ADD:
    case OP_SET_REMOVE:
        change_set(a, s, op);
        return OK;
    default:
        return change_map(a, s, op);
    }
}

/*** references ***/

/* Takes every reference to 'target' out of one value of a row. */
static void forget_reference(struct apply *a, struct staged *s, const struct field_desc *f,
                             ref_t target)
{
    const struct type *t = f->type;
    struct set *set = (struct set *)((char *)s->new + f->offset);
    size_t i = 0;

    if (t->kind == TYPE_REF) {
        /* The write-set itself may have put another one there. */
        if (ref_equal(*(ref_t *)set, target)) {
            *(ref_t *)set = REF_NULL;
            s->changed = true;
        }
        return;
    }
    while (i < set->n) {
        size_t stride = t->kind == TYPE_SET ? t->elem->size : t->entry_size;
        const char *e = (const char *)set->v + i * stride;
        bool hit = t->kind == TYPE_SET
                       ? ref_equal(*(const ref_t *)e, target)
                       : (t->key->kind == TYPE_REF && ref_equal(*(const ref_t *)e, target)) ||
                             (t->elem->kind == TYPE_REF &&
                              ref_equal(*(const ref_t *)(e + t->value_offset), target));

        if (hit) {
            resize(a, set, stride, i, false);
            s->changed = true;
        } else {
            i++;
        }
    }
}

static bool refers_to_class(const struct type *t, int class_id)
{
    return (t->kind == TYPE_REF && t->class_id == class_id) ||
           (t->key && refers_to_class(t->key, class_id)) ||
           (t->elem && refers_to_class(t->elem, class_id));
}

/* Nobody refers to a destroyed row: rows that did lose the reference. */
static void forget_destroyed(struct apply *a, const struct staged *gone)
{
    for (size_t i = 0; i < api_n_fields; i++) {
        const struct field_desc *f = &api_fields[i];
        struct index_walk walk;
        ref_t row;

        if (f->index_slot < 0 || (f->flags & FIELD_UNTRACKED) ||
            !refers_to_class(f->type, gone->class->id))
            continue;
        index_walk(a->root, f, gone->ref, &walk);
        while (index_next(&walk, &row)) {
            struct staged *s = stage(a, &api_classes[f->class_id], row);

            if (s)
                forget_reference(a, s, f, gone->ref);
        }
    }
}

static struct error *check_reference(struct apply *a, const struct type *t, ref_t ref)
{
    if (t->kind != TYPE_REF || ref_is_null(ref) || t->class_id < 0 ||
        !(api_classes[t->class_id].flags & CLASS_STORED))
        return OK;
    return exists(a, t->class_id, ref) ? OK : handle_invalid(a, &api_classes[t->class_id], ref);
}

static struct error *check_references(struct apply *a, const struct field_desc *f,
                                      const void *value)
{
    const struct type *t = f->type;
    const struct set *set = value;

    if (t->kind == TYPE_REF)
        return check_reference(a, t, *(const ref_t *)value);
    if (t->kind == TYPE_SET && t->elem->kind == TYPE_REF)
        for (size_t i = 0; i < set->n; i++)
            TRY(check_reference(a, t->elem, ((const ref_t *)set->v)[i]));
    if (t->kind == TYPE_MAP && (t->key->kind == TYPE_REF || t->elem->kind == TYPE_REF)) {
        for (size_t i = 0; i < set->n; i++) {
            const char *e = (const char *)set->v + i * t->entry_size;

            if (t->key->kind == TYPE_REF)
                TRY(check_reference(a, t->key, *(const ref_t *)e));
            if (t->elem->kind == TYPE_REF)
                TRY(check_reference(a, t->elem, *(const ref_t *)(e + t->value_offset)));
        }
    }
    return OK;
}

/* Following 'f' from a row never comes back to it. */
static struct error *check_no_cycle(struct apply *a, const struct staged *s, int field_id)
{
    const struct field_desc *f = &api_fields[field_id];
    ref_t at = *(const ref_t *)field_in(s->new, f);

    for (int i = 0; !ref_is_null(at); i++) {
        const void *row = current(a, f->class_id, at);

        if (ref_equal(at, s->ref) || i == MAX_CHAIN)
            return error_internal(a->arena, "%s.%s of %s would form a cycle", s->class->name,
                                  f->name, ref_text(a->arena, s->ref));
        if (!row)
            break;
        at = *(const ref_t *)field_in(row, f);
    }
    return OK;
}

static struct error *check_uuid(struct apply *a, const struct staged *s)
{
    const struct field_desc *f = &api_fields[s->class->uuid_field];
    const char *uuid = *(const char *const *)field_in(s->new, f);
    struct index_walk walk;
    ref_t other;

    index_walk(a->root, f, index_key_string(uuid), &walk);
    while (index_next(&walk, &other))
        if (!stage_find(a, s->class->id, other))
            return error_new(a->arena, "UNIQUENESS_CONSTRAINT_VIOLATION", 3, s->class->name, "uuid",
                             uuid);
    for (const struct staged *t = a->first; t; t = t->later)
        if (t != s && t->new &&
            t->class == s->class &&strcmp(*(const char *const *)field_in(t->new, f), uuid) == 0)
            return error_new(a->arena, "UNIQUENESS_CONSTRAINT_VIOLATION", 3, s->class->name, "uuid",
                             uuid);
    return OK;
}

static struct error *check_row(struct apply *a, const struct staged *s)
{
    const struct field_desc *fields = &api_fields[s->class->first_field];

    for (int i = 0; i < s->class->n_fields; i++) {
        const struct field_desc *f = &fields[i];

        if (f->index_slot < 0 || (f->flags & FIELD_UNTRACKED))
            continue;
        if (s->old && value_equal(f->type, field_in(s->old, f), field_in(s->new, f)))
            continue;
        TRY(check_references(a, f, field_in(s->new, f)));
        if (f->id == s->class->uuid_field)
            TRY(check_uuid(a, s));
        if (f->id == FIELD_vm_snapshot_of || f->id == FIELD_vm_parent ||
            f->id == FIELD_vdi_snapshot_of)
            TRY(check_no_cycle(a, s, f->id));
    }
    return OK;
}

/*** events of the other sides ***/

struct touch_ctx {
    struct apply *a;
    int class_id;
};

static void touch_key(void *ctx, ref_t key)
{
    struct touch_ctx *t = ctx;

    root_touch(t->a->root, t->class_id, key, t->a->revision);
}

/* A relation that changed is an event of its other side, whose derived field shows it. */
static void touch_other_sides(struct apply *a, const struct staged *s)
{
    const struct field_desc *fields = &api_fields[s->class->first_field];

    for (int i = 0; i < s->class->n_fields; i++) {
        const struct field_desc *f = &fields[i];
        struct touch_ctx ctx;

        if (f->inverse < 0 || f->index_slot < 0)
            continue;
        if (s->old && s->new &&value_equal(f->type, field_in(s->old, f), field_in(s->new, f)))
            continue;
        ctx = (struct touch_ctx){a, api_fields[f->inverse].class_id};
        if (s->old)
            index_keys(f, field_in(s->old, f), touch_key, &ctx);
        if (s->new)
            index_keys(f, field_in(s->new, f), touch_key, &ctx);
    }
}

/*** the whole ***/

static bool reads_hold(struct apply *a, struct write_reader *r)
{
    struct write_read_item item;
    bool hold = true;

    while (write_next_read(r, &item)) {
        if (item.kind == READ_ROW) {
            const struct row *row = root_get(a->root, item.class->id, item.ref);

            hold &= (row ? row->row_version : 0) == item.version;
        } else {
            hold &= index_digest(a->root, item.field, item.ref) == item.version;
        }
    }
    return hold;
}

static struct error *run_ops(struct apply *a, struct write_reader *r)
{
    struct write_op_item op;

    while (write_next_op(r, &op))
        TRY(run_op(a, &op));
    for (struct staged *s = a->first; s; s = s->later)
        if (!s->new && s->old)
            forget_destroyed(a, s);
    for (struct staged *s = a->first; s; s = s->later)
        if (s->new && s->changed)
            TRY(check_row(a, s));
    return OK;
}

static void install(struct apply *a)
{
    for (struct staged *s = a->first; s; s = s->later) {
        if (!s->changed) {
            if (s->touched)
                root_touch(a->root, s->class->id, s->ref, a->revision);
        } else if (!s->new) {
            if (s->old) {
                row_ref(s->old); /* touch_other_sides below still reads it */
                root_remove(a->root, s->class->id, s->ref, a->revision);
            }
        } else {
            struct row *row = s->new;

            if (s->old)
                row_ref(s->old);
            row->row_version = a->revision;
            row->row_created = s->old ? s->old->row_created : a->revision;
            root_put(a->root, row_new(s->class, row), a->revision);
        }
    }
    for (struct staged *s = a->first; s; s = s->later) {
        if (!s->changed)
            continue;
        touch_other_sides(a, s);
        touch_dependants(a->root, s->class, s->old, s->new, a->revision);
        if (s->old)
            row_unref(s->old);
    }
}

/*** request ids ***/

/* Outcomes are remembered as revision << 2 | outcome, with the log's index. */
static bool seen_before(struct apply *a, const struct write_reader *r, struct log_result *result)
{
    const struct tree_entry *e = tree_get(&a->root->requests, (uint64_t[]){r->origin, r->number});
    struct tree_cursor cursor;

    if (!r->origin)
        return false;
    if (!e) {
        /* So old that it would be forgotten if it had been seen: nobody can say, so it is not
         * applied. */
        if (r->number > UINT64_MAX - ROOT_MAX_REQUESTS)
            return false;
        tree_seek(&a->root->requests, (uint64_t[]){r->origin, r->number + ROOT_MAX_REQUESTS},
                  &cursor);
        e = tree_next(&cursor);
        result->outcome = LOG_UNKNOWN;
        return e && e->k[0] == r->origin;
    }
    result->outcome = (enum log_outcome)(e->k[2] & 3);
    result->revision = e->k[2] >> 2;
    if (result->outcome == LOG_REJECTED)
        result->error = error_internal(a->arena, "the change was refused; why is no longer known");
    return true;
}

/* Origins are boots of daemons: those long gone would pile up.  What came in the older half of the
   remembered stretch of the log goes, on every member alike. */
static void forget_requests(struct db_root *root)
{
    uint64_t oldest = UINT64_MAX, newest = 0,
             *keys = xmalloc(root->requests.count * 2 * sizeof *keys);
    const struct tree_entry *e;
    struct tree_cursor cursor;
    size_t n = 0;

    tree_seek(&root->requests, NULL, &cursor);
    while ((e = tree_next(&cursor))) {
        oldest = MIN(oldest, e->k[3]);
        newest = MAX(newest, e->k[3]);
    }
    tree_seek(&root->requests, NULL, &cursor);
    while ((e = tree_next(&cursor)))
        if (e->k[3] <= oldest + (newest - oldest) / 2)
            memcpy(&keys[2 * n++], e->k, 2 * sizeof *keys);
    for (size_t i = 0; i < n; i++)
        tree_remove(&root->requests, &keys[2 * i]);
    free(keys);
}

static void remember(struct apply *a, const struct write_reader *r, const struct log_result *result)
{
    struct tree_cursor cursor;
    const struct tree_entry *e;
    uint64_t oldest[2];

    if (!r->origin)
        return;
    tree_put(&a->root->requests,
             &(struct tree_entry){{r->origin, r->number, result->revision << 2 | result->outcome,
                                   a->root->log_index}});
    for (;;) {
        tree_seek(&a->root->requests, (uint64_t[]){r->origin, 0}, &cursor);
        e = tree_next(&cursor);
        if (!e || e->k[0] != r->origin || r->number < ROOT_MAX_REQUESTS ||
            e->k[1] > r->number - ROOT_MAX_REQUESTS)
            break;
        memcpy(oldest, e->k, sizeof oldest);
        tree_remove(&a->root->requests, oldest);
    }
    if (a->root->requests.count > ROOT_MAX_REQUESTS * ROOT_MAX_ORIGINS)
        forget_requests(a->root);
}

void apply_write_set(struct db_root *root, struct arena *arena, const void *data, size_t size,
                     struct log_result *result)
{
    struct apply a = {
        .root = root, .arena = arena, .revision = root->revision + 1, .last = &a.first};
    struct write_reader r;

    *result = (struct log_result){.outcome = LOG_FAILED};
    if (!write_open(&r, arena, data, size)) {
        result->error = error_internal(arena, "a log entry cannot be read: %s", r.in.why);
        return;
    }
    if (seen_before(&a, &r, result))
        return;
    if (r.level > root_level(root)) {
        /* The rest of it is not looked at: an older member could not read it. */
        result->outcome = LOG_REJECTED;
        result->error = error_new(arena, "NOT_SUPPORTED_DURING_UPGRADE", 0);
    } else if (!reads_hold(&a, &r)) {
        result->outcome = LOG_CONFLICT;
    } else {
        result->error = run_ops(&a, &r);
        result->outcome = result->error ? LOG_REJECTED : LOG_APPLIED;
    }
    if (r.in.why) {
        result->outcome = LOG_FAILED;
        result->error = error_internal(arena, "a log entry cannot be read: %s", r.in.why);
        return;
    }
    if (result->outcome == LOG_APPLIED) {
        root->revision = a.revision;
        result->revision = a.revision;
        install(&a);
    }
    remember(&a, &r, result);
}
