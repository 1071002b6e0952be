/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* write.c -- walks a value and has a codec write its parts. */
#include "libxapi/codec/write.h"

size_t write_ref_text(ref_t r, char out[REF_LONGEST])
{
    static const char hex[] = "0123456789abcdef";
    /* Hyphens stand after these bytes. */
    static const bool hyphen[16] = {[3] = true, [5] = true, [7] = true, [9] = true};
    char *p = out + 10;

    memcpy(out, "OpaqueRef:", 10);
    if (ref_is_null(r)) {
        memcpy(p, "NULL", 4);
        return 14;
    }
    for (int i = 0; i < 16; i++) {
        unsigned byte = (i < 8 ? r.hi >> (56 - 8 * i) : r.lo >> (120 - 8 * i)) & 0xff;

        *p++ = hex[byte >> 4];
        *p++ = hex[byte & 15];
        if (hyphen[i])
            *p++ = '-';
    }
    return (size_t)(p - out);
}

static void write_set(const struct codec *codec, struct buf *out, const struct codec_env *env,
                      const struct type *elem, const struct set *set)
{
    codec->array_begin(out);
    for (size_t i = 0; i < set->n; i++) {
        if (i)
            codec->array_next(out);
        write_value(codec, out, env, elem, (const char *)set->v + i * elem->size);
    }
    codec->array_end(out);
}

/* Keys are strings on the wire, whatever their type. */
static const char *key_text(const struct type *type, const void *key, char small[REF_TEXT_SIZE])
{
    switch (type->kind) {
    case TYPE_STRING:
        return *(const char *const *)key;
    case TYPE_ENUM:
        return enum_name(type->enum_desc, *(const int *)key);
    case TYPE_INT:
        int_to_text(*(const int64_t *)key, small);
        return small;
    case TYPE_BOOL:
        return *(const bool *)key ? "true" : "false";
    case TYPE_REF:
        return ref_to_text(*(const ref_t *)key, small);
    case TYPE_DATETIME:
        return date_to_text(*(const usec_t *)key, small);
    default:
        return "";
    }
}

static void write_map(const struct codec *codec, struct buf *out, const struct codec_env *env,
                      const struct type *type, const struct map *map)
{
    char small[REF_TEXT_SIZE];

    codec->struct_begin(out);
    for (size_t i = 0; i < map->n; i++) {
        const char *entry = (const char *)map->v + i * type->entry_size;

        codec->member_begin(out, key_text(type->key, entry, small), i == 0);
        write_value(codec, out, env, type->elem, entry + type->value_offset);
        codec->member_end(out);
    }
    codec->struct_end(out);
}

/* The empty value of any type, for fields that nobody can give. */
union empty {
    const char *string;
    struct set set;
    ref_t ref;
    int64_t i;
};

static const void *field_value(const struct codec_env *env, const void *record,
                               const struct field_desc *f, union empty *empty)
{
    const void *value = NULL;

    if (field_is_stored(f))
        return field_in(record, f);
    if (env && env->field_value)
        value = env->field_value(env, record, f);
    if (value)
        return value;
    *empty = (union empty){.ref = REF_NULL};
    if (f->type->kind == TYPE_STRING)
        empty->string = "";
    return empty;
}

/* False where it is left out: an absent option. */
static bool write_field(const struct codec *codec, struct buf *out, const struct codec_env *env,
                        const struct field_desc *f, const void *record, bool first)
{
    const struct type *type = f->type;
    const void *value;
    union empty empty;

    value = field_value(env, record, f, &empty);
    if (type->kind == TYPE_OPTION) {
        value = *(const void *const *)value;
        type = type->elem;
        if (!value)
            return false;
    }
    codec->field_begin(out, f->name, first);
    write_value(codec, out, env, type, value);
    codec->member_end(out);
    return true;
}

/* The stored ones by one codec, the others by another one; NULL leaves them out. */
static void write_fields(const struct codec *stored, const struct codec *others, struct buf *out,
                         const struct codec_env *env, const struct class_desc *class,
                         const void *record, bool first)
{
    for (size_t i = 0; i < class->n_fields; i++) {
        const struct field_desc *f = &api_fields[class->first_field + i];
        const struct codec *codec = field_is_stored(f) ? stored : others;

        if (codec && !(f->flags & (FIELD_INTERNAL | FIELD_PSEUDO)) &&
            write_field(codec, out, env, f, record, first))
            first = false;
    }
}

/* What is remembered of a row's stored fields in a format. */
#define WRITTEN(bytes, plain) ((uint32_t)(bytes) << 2 | (uint32_t)(plain) << 1 | 1)
#define WRITTEN_BYTES(written) ((written) >> 2)
#define WRITTEN_PLAIN(written) ((written)&2)
#define WRITTEN_MAX (UINT32_MAX >> 2)

static void count_record(const struct codec *codec, struct buf *out, const struct codec_env *env,
                         const struct class_desc *class, const void *record, uint32_t *written)
{
    uint32_t known = __atomic_load_n(written, __ATOMIC_RELAXED);
    struct buf count = {.count_only = true};

    if (known) {
        count.len = WRITTEN_BYTES(known);
    } else {
        write_fields(codec, NULL, &count, env, class, record, true);
        if (count.len <= WRITTEN_MAX)
            __atomic_store_n(written, WRITTEN(count.len, !count.escaped), __ATOMIC_RELAXED);
    }
    write_fields(NULL, codec, &count, env, class, record, count.len == 0);
    out->len += count.len;
}

static void write_record(const struct codec *codec, struct buf *out, const struct codec_env *env,
                         const struct type *type, const void *record)
{
    const struct class_desc *class = record_class(type, record);
    uint32_t *written = class && env && env->written ? env->written(record, codec->format) : NULL;
    bool plain = written && WRITTEN_PLAIN(__atomic_load_n(written, __ATOMIC_RELAXED));

    codec->struct_begin(out);
    if (written && out->count_only)
        count_record(codec, out, env, class, record, written);
    else if (class)
        write_fields(plain ? codec->plain : codec, codec, out, env, class, record, true);
    codec->struct_end(out);
}

static void write_option(const struct codec *codec, struct buf *out, const struct codec_env *env,
                         const struct type *elem, const void *value)
{
    if (value)
        write_value(codec, out, env, elem, value);
    else
        codec->nil(out);
}

void write_value(const struct codec *codec, struct buf *out, const struct codec_env *env,
                 const struct type *type, const void *value)
{
    switch (type->kind) {
    case TYPE_VOID:
        codec->nothing(out);
        break;
    case TYPE_STRING:
        codec->string(out, *(const char *const *)value);
        break;
    case TYPE_INT:
        codec->integer(out, *(const int64_t *)value);
        break;
    case TYPE_BOOL:
        codec->boolean(out, *(const bool *)value);
        break;
    case TYPE_FLOAT:
        codec->real(out, *(const double *)value);
        break;
    case TYPE_DATETIME:
        codec->date(out, *(const usec_t *)value);
        break;
    case TYPE_REF:
        codec->ref(out, *(const ref_t *)value);
        break;
    case TYPE_ENUM:
        codec->string(out, enum_name(type->enum_desc, *(const int *)value));
        break;
    case TYPE_SET:
        write_set(codec, out, env, type->elem, value);
        break;
    case TYPE_MAP:
        write_map(codec, out, env, type, value);
        break;
    case TYPE_RECORD:
        write_record(codec, out, env, type, *(const void *const *)value);
        break;
    case TYPE_OPTION:
        write_option(codec, out, env, type->elem, *(const void *const *)value);
        break;
    }
}

const struct codec *codec_of(enum rpc_protocol protocol)
{
    return protocol == RPC_XML ? &codec_xmlrpc : &codec_json;
}
