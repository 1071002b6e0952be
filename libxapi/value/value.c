/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* value.c -- empty values, copies, comparison and the text of filters, for every type. */
#include "libxapi/value/value.h"

const struct class_desc *record_class(const struct type *type, const void *record)
{
    size_t id;

    if (!record)
        return NULL;
    id = type->class_id >= 0 ? (size_t)type->class_id : ((const struct row *)record)->row_class;
    return id < api_n_classes ? &api_classes[id] : NULL;
}

static const struct field_desc *fields_of(const struct class_desc *class)
{
    return &api_fields[class->first_field];
}

/* Values without pointers: a copy of their bytes is a copy. */
static bool type_is_flat(const struct type *type)
{
    switch (type->kind) {
    case TYPE_VOID:
    case TYPE_INT:
    case TYPE_BOOL:
    case TYPE_FLOAT:
    case TYPE_DATETIME:
    case TYPE_REF:
    case TYPE_ENUM:
        return true;
    default:
        return false;
    }
}

void value_empty(const struct type *type, void *out)
{
    if (type->kind == TYPE_STRING)
        *(const char **)out = "";
    else
        memset(out, 0, type->size);
}

static size_t aligned(size_t n)
{
    return (n + 7) & ~(size_t)7;
}

/* Where the parts of a copy go: an arena, or one run of bytes. */
struct place {
    struct arena *arena;
    char *run;
};

static void *place_alloc(struct place *to, size_t n)
{
    void *p = to->run;

    if (to->arena)
        return arena_alloc(to->arena, n);
    to->run += aligned(n);
    return p;
}

static void copy_value(struct place *to, const struct type *type, const void *value, void *out);

static const char *copy_string(struct place *to, const char *s)
{
    size_t n = strlen(s) + 1;

    /* The empty string is static, so that it costs nothing. */
    return n == 1 ? "" : memcpy(place_alloc(to, n), s, n);
}

static void copy_set(struct place *to, const struct type *elem, const struct set *set,
                     struct set *out)
{
    char *v;

    *out = (struct set){0};
    if (!set->n)
        return;
    v = place_alloc(to, set->n * elem->size);
    *out = (struct set){set->n, v};
    if (type_is_flat(elem)) {
        memcpy(v, set->v, set->n * elem->size);
        return;
    }
    for (size_t i = 0; i < set->n; i++)
        copy_value(to, elem, (const char *)set->v + i * elem->size, v + i * elem->size);
}

static void copy_map(struct place *to, const struct type *type, const struct map *map,
                     struct map *out)
{
    char *v;

    *out = (struct map){0};
    if (!map->n)
        return;
    v = place_alloc(to, map->n * type->entry_size);
    memset(v, 0, map->n * type->entry_size);
    *out = (struct map){map->n, v};
    for (size_t i = 0; i < map->n; i++) {
        const char *from = (const char *)map->v + i * type->entry_size;
        char *entry = v + i * type->entry_size;

        copy_value(to, type->key, from, entry);
        copy_value(to, type->elem, from + type->value_offset, entry + type->value_offset);
    }
}

static const void *copy_record(struct place *to, const struct type *type, const void *record)
{
    const struct class_desc *class = record_class(type, record);
    const struct field_desc *fields;
    char *out;

    if (!class)
        return NULL;
    fields = fields_of(class);
    out = place_alloc(to, class->struct_size);
    memcpy(out, record, class->struct_size);
    for (size_t i = 0; i < class->n_fields; i++) {
        if (field_is_stored(&fields[i]))
            copy_value(to, fields[i].type, field_in(record, &fields[i]), out + fields[i].offset);
    }
    return out;
}

static const void *copy_option(struct place *to, const struct type *elem, const void *value)
{
    void *out;

    if (!value)
        return NULL;
    out = place_alloc(to, elem->size);
    copy_value(to, elem, value, out);
    return out;
}

static void copy_value(struct place *to, const struct type *type, const void *value, void *out)
{
    switch (type->kind) {
    case TYPE_STRING:
        *(const char **)out = copy_string(to, *(const char *const *)value);
        break;
    case TYPE_SET:
        copy_set(to, type->elem, value, out);
        break;
    case TYPE_MAP:
        copy_map(to, type, value, out);
        break;
    case TYPE_RECORD:
        *(const void **)out = copy_record(to, type, *(const void *const *)value);
        break;
    case TYPE_OPTION:
        *(const void **)out = copy_option(to, type->elem, *(const void *const *)value);
        break;
    default:
        if (type->size)
            memcpy(out, value, type->size);
    }
}

void value_copy(struct arena *arena, const struct type *type, const void *value, void *out)
{
    copy_value(&(struct place){.arena = arena}, type, value, out);
}

void value_pack(const struct type *type, const void *value, void *out, char **extra)
{
    struct place to = {.run = *extra};

    copy_value(&to, type, value, out);
    *extra = to.run;
}

static size_t set_extra_size(const struct type *elem, const struct set *set)
{
    size_t n = aligned(set->n * elem->size);

    if (type_is_flat(elem))
        return n;
    for (size_t i = 0; i < set->n; i++)
        n += value_extra_size(elem, (const char *)set->v + i * elem->size);
    return n;
}

static size_t map_extra_size(const struct type *type, const struct map *map)
{
    size_t n = aligned(map->n * type->entry_size);

    for (size_t i = 0; i < map->n; i++) {
        const char *entry = (const char *)map->v + i * type->entry_size;

        n += value_extra_size(type->key, entry);
        n += value_extra_size(type->elem, entry + type->value_offset);
    }
    return n;
}

static size_t record_extra_size(const struct type *type, const void *record)
{
    const struct class_desc *class = record_class(type, record);
    size_t n = class ? aligned(class->struct_size) : 0;

    for (size_t i = 0; class && i < class->n_fields; i++) {
        const struct field_desc *f = &fields_of(class)[i];

        if (field_is_stored(f))
            n += value_extra_size(f->type, field_in(record, f));
    }
    return n;
}

size_t value_extra_size(const struct type *type, const void *value)
{
    const void *pointed;

    switch (type->kind) {
    case TYPE_STRING:
        pointed = *(const char *const *)value;
        return *(const char *)pointed ? aligned(strlen(pointed) + 1) : 0;
    case TYPE_SET:
        return set_extra_size(type->elem, value);
    case TYPE_MAP:
        return map_extra_size(type, value);
    case TYPE_RECORD:
        return record_extra_size(type, *(const void *const *)value);
    case TYPE_OPTION:
        pointed = *(const void *const *)value;
        return pointed ? aligned(type->elem->size) + value_extra_size(type->elem, pointed) : 0;
    default:
        return 0;
    }
}

static bool set_equal(const struct type *elem, const struct set *a, const struct set *b)
{
    if (a->n != b->n)
        return false;
    if (type_is_flat(elem))
        return !a->n || memcmp(a->v, b->v, a->n * elem->size) == 0;
    for (size_t i = 0; i < a->n; i++) {
        size_t at = i * elem->size;

        if (!value_equal(elem, (const char *)a->v + at, (const char *)b->v + at))
            return false;
    }
    return true;
}

static bool map_equal(const struct type *type, const struct map *a, const struct map *b)
{
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++) {
        const char *x = (const char *)a->v + i * type->entry_size;
        const char *y = (const char *)b->v + i * type->entry_size;

        if (!value_equal(type->key, x, y) ||
            !value_equal(type->elem, x + type->value_offset, y + type->value_offset))
            return false;
    }
    return true;
}

static bool record_equal(const struct type *type, const void *a, const void *b)
{
    const struct class_desc *class = record_class(type, a);

    if (class != record_class(type, b))
        return false;
    for (size_t i = 0; class && i < class->n_fields; i++) {
        const struct field_desc *f = &fields_of(class)[i];

        if (field_is_stored(f) && !value_equal(f->type, field_in(a, f), field_in(b, f)))
            return false;
    }
    return true;
}

static bool option_equal(const struct type *elem, const void *a, const void *b)
{
    return a && b ? value_equal(elem, a, b) : a == b;
}

bool value_equal(const struct type *type, const void *a, const void *b)
{
    switch (type->kind) {
    case TYPE_STRING:
        return strcmp(*(const char *const *)a, *(const char *const *)b) == 0;
    case TYPE_SET:
        return set_equal(type->elem, a, b);
    case TYPE_MAP:
        return map_equal(type, a, b);
    case TYPE_RECORD:
        return record_equal(type, *(const void *const *)a, *(const void *const *)b);
    case TYPE_OPTION:
        return option_equal(type->elem, *(const void *const *)a, *(const void *const *)b);
    default:
        return !type->size || memcmp(a, b, type->size) == 0;
    }
}

/* The text of a value without elements; 'small' is used where it has to be made. */
#define SCALAR_TEXT_SIZE 64
_Static_assert(SCALAR_TEXT_SIZE >= REF_TEXT_SIZE && SCALAR_TEXT_SIZE >= DOUBLE_TEXT_SIZE,
               "scalars fit");

static const char *scalar_text(const struct type *type, const void *value,
                               char small[SCALAR_TEXT_SIZE])
{
    switch (type->kind) {
    case TYPE_STRING:
        return *(const char *const *)value;
    case TYPE_BOOL:
        return *(const bool *)value ? "true" : "false";
    case TYPE_ENUM:
        return enum_name(type->enum_desc, *(const int *)value);
    case TYPE_INT:
        int_to_text(*(const int64_t *)value, small);
        return small;
    case TYPE_FLOAT:
        double_to_text(*(const double *)value, 18, small);
        return small;
    case TYPE_DATETIME:
        return date_to_text(*(const usec_t *)value, small);
    case TYPE_REF:
        return ref_to_text(*(const ref_t *)value, small);
    default:
        return "";
    }
}

static void add_atom(struct buf *buf, const char *s)
{
    buf_putc(buf, '\'');
    for (;;) {
        size_t n = strcspn(s, "\\'");

        buf_add(buf, s, n);
        if (!s[n])
            break;
        buf_putc(buf, '\\');
        buf_putc(buf, s[n]);
        s += n + 1;
    }
    buf_putc(buf, '\'');
}

static void add_expression(struct buf *buf, const struct type *type, const void *value);

static void add_set(struct buf *buf, const struct type *elem, const struct set *set)
{
    buf_putc(buf, '(');
    for (size_t i = 0; i < set->n; i++) {
        if (i)
            buf_putc(buf, ' ');
        add_expression(buf, elem, (const char *)set->v + i * elem->size);
    }
    buf_putc(buf, ')');
}

static void add_map(struct buf *buf, const struct type *type, const struct map *map)
{
    buf_putc(buf, '(');
    for (size_t i = 0; i < map->n; i++) {
        const char *entry = (const char *)map->v + i * type->entry_size;

        buf_puts(buf, i ? " (" : "(");
        add_expression(buf, type->key, entry);
        buf_putc(buf, ' ');
        add_expression(buf, type->elem, entry + type->value_offset);
        buf_putc(buf, ')');
    }
    buf_putc(buf, ')');
}

static void add_expression(struct buf *buf, const struct type *type, const void *value)
{
    char small[SCALAR_TEXT_SIZE];

    if (type->kind == TYPE_SET)
        add_set(buf, type->elem, value);
    else if (type->kind == TYPE_MAP)
        add_map(buf, type, value);
    else
        add_atom(buf, scalar_text(type, value, small));
}

const char *value_filter_text(struct arena *arena, const struct type *type, const void *value)
{
    AUTO(buf) buf = {0};
    char small[SCALAR_TEXT_SIZE];
    const char *text;

    if (type->kind == TYPE_OPTION) {
        value = *(const void *const *)value;
        return value ? value_filter_text(arena, type->elem, value) : "";
    }
    if (type->kind == TYPE_SET || type->kind == TYPE_MAP) {
        if (!((const struct set *)value)->n)
            return "()";
        add_expression(&buf, type, value);
        return arena_strndup(arena, buf.data, buf.len);
    }
    text = scalar_text(type, value, small);
    return text == small ? arena_strdup(arena, small) : text;
}
