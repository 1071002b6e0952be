/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* wire.c -- from the untyped tree that was read to typed values. */
#include "libxapi/codec/codec.h"

#include <stdlib.h>
#include <strings.h>

/* Beyond this, duplicates among a map's keys are looked for by sorting. */
#define FEW_KEYS 24

/* Doubles are whole numbers without gaps up to here. */
#define EXACT_DOUBLE 9007199254740992.0

struct conversion {
    struct arena *arena;
    bool lenient; /* a reply: any field may be missing */
};

static struct error *convert(const struct conversion *c, const struct type *type,
                             const struct wire *wire, const char *what, void *out);

const struct wire *wire_member(const struct wire *wire, const char *name)
{
    if (!wire || wire->kind != WIRE_STRUCT)
        return NULL;
    for (size_t i = 0; i < wire->n; i++) {
        if (strcmp(wire->v[i].name, name) == 0)
            return &wire->v[i];
    }
    return NULL;
}

static const char *kind_name(enum wire_kind kind)
{
    static const char *const names[] = {
        [WIRE_NIL] = "nil",        [WIRE_STRING] = "a string", [WIRE_INT] = "an integer",
        [WIRE_BOOL] = "a boolean", [WIRE_DOUBLE] = "a double", [WIRE_DATE] = "a date",
        [WIRE_ARRAY] = "an array", [WIRE_STRUCT] = "a struct",
    };

    return names[kind];
}

static struct error *wrong_shape(const struct conversion *c, const struct type *type,
                                 const struct wire *wire, const char *what)
{
    return error_internal(c->arena, "%s: expected a value of type %s, received %s", what,
                          type->text ? type->text : "another kind", kind_name(wire->kind));
}

static struct error *invalid_value(const struct conversion *c, const char *what, const char *text)
{
    return error_new(c->arena, "INVALID_VALUE", 2, what, text);
}

/* The text of a scalar, NULL for what is none. */
static const char *wire_text(struct arena *arena, const struct wire *wire)
{
    char *small;

    if (wire->kind == WIRE_BOOL)
        return wire->i ? "true" : "false";
    if (wire->text)
        return wire->text;
    if (wire->kind == WIRE_INT) {
        small = arena_alloc(arena, INT_TEXT_SIZE);
        int_to_text(wire->i, small);
        return small;
    }
    if (wire->kind == WIRE_DOUBLE) {
        small = arena_alloc(arena, DOUBLE_TEXT_SIZE);
        double_to_text(wire->d, 16, small);
        return small;
    }
    return NULL;
}

static struct error *to_string(const struct conversion *c, const struct type *type,
                               const struct wire *wire, const char *what, const char **out)
{
    *out = wire_text(c->arena, wire);
    if (*out)
        return OK;
    *out = "";
    return wrong_shape(c, type, wire, what);
}

static bool wire_int(const struct wire *wire, int64_t *out)
{
    if (wire->kind == WIRE_INT) {
        *out = wire->i;
        return true;
    }
    if (wire->kind == WIRE_STRING)
        return int_from_text(wire->text, out);
    if (wire->kind != WIRE_DOUBLE || !(wire->d >= -EXACT_DOUBLE && wire->d <= EXACT_DOUBLE))
        return false;
    *out = (int64_t)wire->d;
    return wire->d == (double)*out;
}

static bool wire_double(const struct wire *wire, double *out)
{
    if (wire->kind == WIRE_DOUBLE)
        *out = wire->d;
    else if (wire->kind == WIRE_INT)
        *out = (double)wire->i;
    else
        return wire->kind == WIRE_STRING && double_from_text(wire->text, out);
    return true;
}

static bool wire_bool(const struct wire *wire, bool *out)
{
    if (wire->kind == WIRE_BOOL || (wire->kind == WIRE_INT && (wire->i == 0 || wire->i == 1))) {
        *out = wire->i;
        return true;
    }
    if (wire->kind != WIRE_STRING)
        return false;
    *out = strcmp(wire->text, "true") == 0 || strcmp(wire->text, "1") == 0;
    return *out || strcmp(wire->text, "false") == 0 || strcmp(wire->text, "0") == 0;
}

static struct error *to_date(const struct conversion *c, const struct type *type,
                             const struct wire *wire, const char *what, usec_t *out)
{
    if (wire->kind != WIRE_DATE && wire->kind != WIRE_STRING)
        return wrong_shape(c, type, wire, what);
    return date_from_text(wire->text, out) ? OK : invalid_value(c, what, wire->text);
}

/* OpenStack writes "User" and "disk": case is no matter where no two names differ by it alone. */
static int enum_by_name_of_any_case(const struct enum_desc *e, const char *name)
{
    int value = enum_by_name(e, name);

    for (int i = 0; value < 0 && i < e->n; i++)
        if (strcasecmp(e->names[i], name) == 0)
            value = i;
    return value;
}

static struct error *to_enum(const struct conversion *c, const struct type *type,
                             const struct wire *wire, const char *what, int *out)
{
    if (wire->kind != WIRE_STRING)
        return wrong_shape(c, type, wire, what);
    *out = enum_by_name_of_any_case(type->enum_desc, wire->text);
    if (*out >= 0)
        return OK;
    *out = 0;
    return invalid_value(c, what, wire->text);
}

static struct error *to_ref(const struct conversion *c, const struct type *type,
                            const struct wire *wire, const char *what, ref_t *out)
{
    *out = REF_NULL;
    if (wire->kind == WIRE_NIL)
        return OK;
    if (wire->kind != WIRE_STRING)
        return wrong_shape(c, type, wire, what);
    if (ref_from_text(wire->text, out))
        return OK;
    return error_new(c->arena, "HANDLE_INVALID", 2, type->class_name ? type->class_name : "",
                     wire->text);
}

static struct error *to_set(const struct conversion *c, const struct type *type,
                            const struct wire *wire, const char *what, struct set *out)
{
    size_t size = type->elem->size;
    char *v;

    *out = (struct set){0};
    if (wire->kind != WIRE_ARRAY)
        return wrong_shape(c, type, wire, what);
    if (!wire->n)
        return OK;
    v = arena_zalloc(c->arena, wire->n * size);
    for (size_t i = 0; i < wire->n; i++)
        TRY(convert(c, type->elem, &wire->v[i], what, v + i * size));
    *out = (struct set){wire->n, v};
    return OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* A name that two children share, or NULL. */
static const char *duplicate_name(struct arena *arena, const struct wire *wire)
{
    const char **names;

    if (wire->n <= FEW_KEYS) {
        for (size_t i = 1; i < wire->n; i++) {
            for (size_t j = 0; j < i; j++) {
                if (strcmp(wire->v[i].name, wire->v[j].name) == 0)
                    return wire->v[i].name;
            }
        }
        return NULL;
    }
    names = arena_alloc(arena, wire->n * sizeof *names);
    for (size_t i = 0; i < wire->n; i++)
        names[i] = wire->v[i].name;
    qsort(names, wire->n, sizeof *names, by_name);
    for (size_t i = 1; i < wire->n; i++) {
        if (strcmp(names[i], names[i - 1]) == 0)
            return names[i];
    }
    return NULL;
}

static struct error *to_map(const struct conversion *c, const struct type *type,
                            const struct wire *wire, const char *what, struct map *out)
{
    const char *twice;
    char *v;

    *out = (struct map){0};
    if (wire->kind != WIRE_STRUCT)
        return wrong_shape(c, type, wire, what);
    if (!wire->n)
        return OK;
    twice = duplicate_name(c->arena, wire);
    if (twice)
        return error_new(c->arena, "MAP_DUPLICATE_KEY", 4, "", what, "OpaqueRef:NULL", twice);
    v = arena_zalloc(c->arena, wire->n * type->entry_size);
    for (size_t i = 0; i < wire->n; i++) {
        const struct wire key = {.kind = WIRE_STRING, .text = wire->v[i].name};
        char *entry = v + i * type->entry_size;

        TRY(convert(c, type->key, &key, what, entry));
        TRY(convert(c, type->elem, &wire->v[i], what, entry + type->value_offset));
    }
    *out = (struct map){wire->n, v};
    return OK;
}

static bool field_is_read(const struct field_desc *f)
{
    return field_is_stored(f) && !(f->flags & FIELD_INTERNAL);
}

/* A field that was not sent. */
static struct error *field_missing(const struct conversion *c, const struct field_desc *f,
                                   void *out)
{
    bool needed = (f->flags & (FIELD_RW | FIELD_CONFIG)) && field_is_read(f) &&
                  !(f->flags & FIELD_HAS_DEFAULT) && f->type->kind != TYPE_OPTION;

    if (f->default_value)
        memcpy(out, f->default_value, f->type->size);
    else if (needed && !c->lenient)
        return error_internal(c->arena, "Field %s not found", f->name);
    else
        value_empty(f->type, out);
    return OK;
}

/* Typed libraries send whole records to constructors.  What only xapid sets is empty in them, which
 * is no value of every type: then it counts as not sent. */
static struct error *to_field(const struct conversion *c, const struct field_desc *f,
                              const struct wire *given, void *out)
{
    struct error *e;

    if (!given || !field_is_read(f))
        return field_missing(c, f, out);
    e = convert(c, f->type, given, f->name, out);
    if (e && !c->lenient && (f->flags & FIELD_RO))
        return field_missing(c, f, out);
    return e;
}

static struct error *to_record(const struct conversion *c, const struct class_desc *class,
                               const struct wire *wire, char *record)
{
    const struct wire **given = arena_array(c->arena, const struct wire *, class->n_fields);

    memset(record, 0, class->struct_size);
    if (class->struct_size >= sizeof(struct row))
        ((struct row *)record)->row_class = class->id;
    for (size_t i = 0; i < wire->n; i++) {
        const struct field_desc *f = api_field_by_name(class, wire->v[i].name);

        if (f)
            given[f->id - class->first_field] = &wire->v[i];
    }
    for (size_t i = 0; i < class->n_fields; i++) {
        const struct field_desc *f = &api_fields[class->first_field + i];

        if (field_is_stored(f))
            TRY(to_field(c, f, given[i], record + f->offset));
    }
    return OK;
}

static struct error *to_new_record(const struct conversion *c, const struct type *type,
                                   const struct wire *wire, const char *what, const void **out)
{
    const struct class_desc *class;
    char *record;

    *out = NULL;
    if (wire->kind != WIRE_STRUCT)
        return wrong_shape(c, type, wire, what);
    /* Of a record of any class nothing says which one it is: the caller must know and read it with
     * wire_to_record. */
    if (type->class_id < 0)
        return OK;
    class = &api_classes[type->class_id];
    record = arena_alloc(c->arena, MAX(class->struct_size, sizeof(struct row)));
    *out = record;
    return to_record(c, class, wire, record);
}

static struct error *to_option(const struct conversion *c, const struct type *type,
                               const struct wire *wire, const char *what, const void **out)
{
    void *v;

    *out = NULL;
    if (wire->kind == WIRE_NIL)
        return OK;
    v = arena_zalloc(c->arena, type->elem->size);
    *out = v;
    return convert(c, type->elem, wire, what, v);
}

static struct error *convert(const struct conversion *c, const struct type *type,
                             const struct wire *wire, const char *what, void *out)
{
    bool good = true;

    switch (type->kind) {
    case TYPE_VOID:
        break;
    case TYPE_STRING:
        return to_string(c, type, wire, what, out);
    case TYPE_INT:
        good = wire_int(wire, out);
        break;
    case TYPE_BOOL:
        good = wire_bool(wire, out);
        break;
    case TYPE_FLOAT:
        good = wire_double(wire, out);
        break;
    case TYPE_DATETIME:
        return to_date(c, type, wire, what, out);
    case TYPE_REF:
        return to_ref(c, type, wire, what, out);
    case TYPE_ENUM:
        return to_enum(c, type, wire, what, out);
    case TYPE_SET:
        return to_set(c, type, wire, what, out);
    case TYPE_MAP:
        return to_map(c, type, wire, what, out);
    case TYPE_RECORD:
        return to_new_record(c, type, wire, what, out);
    case TYPE_OPTION:
        return to_option(c, type, wire, what, out);
    }
    return good ? OK : wrong_shape(c, type, wire, what);
}

struct error *wire_to_value(struct arena *arena, const struct type *type, const struct wire *wire,
                            const char *what, void *out)
{
    return convert(&(struct conversion){.arena = arena}, type, wire, what, out);
}

struct error *wire_to_result(struct arena *arena, const struct type *type, const struct wire *wire,
                             void *out)
{
    return convert(&(struct conversion){arena, true}, type, wire, "result", out);
}

struct error *wire_to_record(struct arena *arena, const struct class_desc *class,
                             const struct wire *wire, void *record)
{
    struct conversion c = {.arena = arena};

    if (wire->kind != WIRE_STRUCT)
        return wrong_shape(&c, class->record_type, wire, class->name);
    return to_record(&c, class, wire, record);
}
