/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * binary.c -- the form of values in log entries and snapshots.  It lies on disks and is read by
 * members of other versions, so it may grow but not change:
 *
 *   string    u32 bytes, the bytes           int, datetime  i64          bool   u8, 0 or 1
 *   float     the double's 64 bits           ref            u64, u64     enum   as the string of
 * its name set       u32 n, n values                map            u32 n, n times key, value option
 * u8, and if 1 the value         void           nothing record    u32 hash of the class, 0 for
 * none; ref; u32 n, n times: u32 hash of the field, u32 bytes, the value
 *
 * All little-endian.
 */
#include "libxapi/value/value.h"

/* Records may hold records; what is read must not be able to go on for ever. */
#define DEEPEST 32

static void put_le(struct buf *buf, uint64_t v, size_t n)
{
    char bytes[8];

    for (size_t i = 0; i < n; i++)
        bytes[i] = (char)(v >> (8 * i));
    buf_add(buf, bytes, n);
}

static void put_text(struct buf *buf, const char *s)
{
    size_t n = strlen(s);

    put_le(buf, n, 4);
    buf_add(buf, s, n);
}

static uint64_t double_bits(double d)
{
    uint64_t bits;

    memcpy(&bits, &d, sizeof bits);
    return bits;
}

static void put_set(struct buf *buf, const struct type *elem, const struct set *set)
{
    put_le(buf, set->n, 4);
    for (size_t i = 0; i < set->n; i++)
        value_encode(buf, elem, (const char *)set->v + i * elem->size);
}

static void put_map(struct buf *buf, const struct type *type, const struct map *map)
{
    put_le(buf, map->n, 4);
    for (size_t i = 0; i < map->n; i++) {
        const char *entry = (const char *)map->v + i * type->entry_size;

        value_encode(buf, type->key, entry);
        value_encode(buf, type->elem, entry + type->value_offset);
    }
}

static void put_ref(struct buf *buf, ref_t r)
{
    put_le(buf, r.hi, 8);
    put_le(buf, r.lo, 8);
}

/* Writes a number over what stands there already. */
static void patch_u32(struct buf *buf, size_t at, size_t v)
{
    for (size_t i = 0; i < 4 && !buf->count_only; i++)
        buf->data[at + i] = (char)(v >> (8 * i));
}

static void put_record(struct buf *buf, const struct type *type, const void *record)
{
    const struct class_desc *class = record_class(type, record);
    size_t n = 0, count_at;

    put_le(buf, class ? api_class_hash(class) : 0, 4);
    if (!class)
        return;
    put_ref(buf, ((const struct row *)record)->ref);
    count_at = buf->len;
    put_le(buf, 0, 4);
    for (size_t i = 0; i < class->n_fields; i++) {
        const struct field_desc *f = &api_fields[class->first_field + i];
        size_t start;

        if (!field_is_stored(f))
            continue;
        n++;
        put_le(buf, f->hash, 4);
        put_le(buf, 0, 4);
        start = buf->len;
        value_encode(buf, f->type, field_in(record, f));
        patch_u32(buf, start - 4, buf->len - start);
    }
    patch_u32(buf, count_at, n);
}

void value_encode(struct buf *buf, const struct type *type, const void *value)
{
    const void *pointed;

    switch (type->kind) {
    case TYPE_VOID:
        break;
    case TYPE_STRING:
        put_text(buf, *(const char *const *)value);
        break;
    case TYPE_INT:
    case TYPE_DATETIME:
        put_le(buf, (uint64_t) * (const int64_t *)value, 8);
        break;
    case TYPE_BOOL:
        put_le(buf, *(const bool *)value, 1);
        break;
    case TYPE_FLOAT:
        put_le(buf, double_bits(*(const double *)value), 8);
        break;
    case TYPE_REF:
        put_ref(buf, *(const ref_t *)value);
        break;
    case TYPE_ENUM:
        put_text(buf, enum_name(type->enum_desc, *(const int *)value));
        break;
    case TYPE_SET:
        put_set(buf, type->elem, value);
        break;
    case TYPE_MAP:
        put_map(buf, type, value);
        break;
    case TYPE_RECORD:
        put_record(buf, type, *(const void *const *)value);
        break;
    case TYPE_OPTION:
        pointed = *(const void *const *)value;
        put_le(buf, pointed != NULL, 1);
        if (pointed)
            value_encode(buf, type->elem, pointed);
        break;
    }
}

struct reader {
    struct arena *arena;
    const char *p, *end;
    unsigned depth;
};

static bool get_value(struct reader *r, const struct type *type, void *out);

static size_t left(const struct reader *r)
{
    return (size_t)(r->end - r->p);
}

static bool get_le(struct reader *r, size_t n, uint64_t *out)
{
    *out = 0;
    if (left(r) < n)
        return false;
    for (size_t i = 0; i < n; i++)
        *out |= (uint64_t)(unsigned char)r->p[i] << (8 * i);
    r->p += n;
    return true;
}

/* The bytes of a string, still in the input. */
static bool get_text(struct reader *r, const char **text, size_t *n)
{
    uint64_t size;

    if (!get_le(r, 4, &size) || size > left(r) || memchr(r->p, '\0', size))
        return false;
    *text = r->p;
    *n = size;
    r->p += size;
    return true;
}

static bool get_string(struct reader *r, const char **out)
{
    const char *text;
    size_t n;

    if (!get_text(r, &text, &n))
        return false;
    *out = n ? arena_strndup(r->arena, text, n) : "";
    return true;
}

static bool get_bool(struct reader *r, bool *out)
{
    uint64_t v;

    if (!get_le(r, 1, &v) || v > 1)
        return false;
    *out = v;
    return true;
}

static bool get_enum(struct reader *r, const struct enum_desc *e, int *out)
{
    const char *text;
    size_t n;

    if (!get_text(r, &text, &n))
        return false;
    for (*out = 0; *out < e->n; (*out)++) {
        if (strlen(e->names[*out]) == n && memcmp(e->names[*out], text, n) == 0)
            return true;
    }
    return false;
}

/* The fewest bytes a value takes, so that a count can be judged before memory is taken for it. */
static size_t least_bytes(const struct type *type)
{
    switch (type->kind) {
    case TYPE_VOID:
        return 0;
    case TYPE_BOOL:
    case TYPE_OPTION:
        return 1;
    case TYPE_INT:
    case TYPE_DATETIME:
    case TYPE_FLOAT:
        return 8;
    case TYPE_REF:
        return 16;
    default:
        return 4;
    }
}

static bool get_count(struct reader *r, size_t each, size_t *out)
{
    uint64_t n;

    if (!get_le(r, 4, &n) || (n && (!each || n > left(r) / each)))
        return false;
    *out = n;
    return true;
}

static bool get_set(struct reader *r, const struct type *elem, struct set *out)
{
    char *v;
    size_t n;

    *out = (struct set){0};
    if (!get_count(r, least_bytes(elem), &n))
        return false;
    if (!n)
        return true;
    v = arena_zalloc(r->arena, n * elem->size);
    for (size_t i = 0; i < n; i++) {
        if (!get_value(r, elem, v + i * elem->size))
            return false;
    }
    *out = (struct set){n, v};
    return true;
}

static bool get_map(struct reader *r, const struct type *type, struct map *out)
{
    char *v;
    size_t n;

    *out = (struct map){0};
    if (!get_count(r, least_bytes(type->key) + least_bytes(type->elem), &n))
        return false;
    if (!n)
        return true;
    v = arena_zalloc(r->arena, n * type->entry_size);
    for (size_t i = 0; i < n; i++) {
        char *entry = v + i * type->entry_size;

        if (!get_value(r, type->key, entry) ||
            !get_value(r, type->elem, entry + type->value_offset))
            return false;
    }
    *out = (struct map){n, v};
    return true;
}

static void record_defaults(const struct class_desc *class, char *record)
{
    for (size_t i = 0; i < class->n_fields; i++) {
        const struct field_desc *f = &api_fields[class->first_field + i];

        if (!field_is_stored(f))
            continue;
        if (f->default_value)
            memcpy(record + f->offset, f->default_value, f->type->size);
        else
            value_empty(f->type, record + f->offset);
    }
}

static bool get_field(struct reader *r, const struct class_desc *class, char *record)
{
    const struct field_desc *f;
    struct reader inside = *r;
    uint64_t hash, size;

    if (!get_le(r, 4, &hash) || !get_le(r, 4, &size) || size > left(r))
        return false;
    inside.p = r->p;
    inside.end = r->p + size;
    r->p += size;
    f = api_field_by_hash((uint32_t)hash);
    if (!f || f->class_id != class->id || !field_is_stored(f))
        return true; /* of another version */
    return get_value(&inside, f->type, record + f->offset) && inside.p == inside.end;
}

static bool get_record(struct reader *r, const struct type *type, const void **out)
{
    const struct class_desc *class;
    uint64_t hash, hi, lo;
    char *record;
    size_t n;

    *out = NULL;
    if (!get_le(r, 4, &hash))
        return false;
    if (!hash)
        return true;
    class = api_class_by_hash((uint32_t)hash);
    if (!class || (type->class_id >= 0 && class->id != type->class_id) || !class->struct_size)
        return false;
    if (!get_le(r, 8, &hi) || !get_le(r, 8, &lo) || !get_count(r, 8, &n))
        return false;
    record = arena_zalloc(r->arena, class->struct_size);
    ((struct row *)record)->ref = (ref_t){hi, lo};
    ((struct row *)record)->row_class = class->id;
    record_defaults(class, record);
    for (size_t i = 0; i < n; i++) {
        if (!get_field(r, class, record))
            return false;
    }
    *out = record;
    return true;
}

static bool get_option(struct reader *r, const struct type *elem, const void **out)
{
    bool present;
    void *v;

    *out = NULL;
    if (!get_bool(r, &present))
        return false;
    if (!present)
        return true;
    v = arena_zalloc(r->arena, elem->size);
    *out = v;
    return get_value(r, elem, v);
}

static bool get_ref(struct reader *r, ref_t *out)
{
    return get_le(r, 8, &out->hi) && get_le(r, 8, &out->lo);
}

static bool get_i64(struct reader *r, void *out)
{
    uint64_t v;

    if (!get_le(r, 8, &v))
        return false;
    memcpy(out, &v, sizeof v);
    return true;
}

static bool get_composed(struct reader *r, const struct type *type, void *out)
{
    bool good = false;

    if (r->depth == DEEPEST)
        return false;
    r->depth++;
    if (type->kind == TYPE_SET)
        good = get_set(r, type->elem, out);
    else if (type->kind == TYPE_MAP)
        good = get_map(r, type, out);
    else if (type->kind == TYPE_RECORD)
        good = get_record(r, type, out);
    else if (type->kind == TYPE_OPTION)
        good = get_option(r, type->elem, out);
    r->depth--;
    return good;
}

static bool get_value(struct reader *r, const struct type *type, void *out)
{
    switch (type->kind) {
    case TYPE_VOID:
        return true;
    case TYPE_STRING:
        return get_string(r, out);
    case TYPE_INT:
    case TYPE_DATETIME:
    case TYPE_FLOAT:
        return get_i64(r, out);
    case TYPE_BOOL:
        return get_bool(r, out);
    case TYPE_REF:
        return get_ref(r, out);
    case TYPE_ENUM:
        return get_enum(r, type->enum_desc, out);
    default:
        return get_composed(r, type, out);
    }
}

bool value_decode(struct arena *arena, const struct type *type, const char **p, const char *end,
                  void *out)
{
    struct reader r = {.arena = arena, .p = *p, .end = end};
    bool good = get_value(&r, type, out);

    *p = r.p;
    return good;
}
