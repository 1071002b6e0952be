/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/db/row.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "libxapi/base/memory.h"

/*
 * What lies before a row: its count, apart from the struct, so that copying the struct of a row
 * that others hold touches nothing that changes; the hash of its fields; and how long they are in
 * replies.
 */
struct block {
    uint64_t hash[2];
    uint32_t count;                  /* holders; atomic */
    uint32_t written[CODEC_FORMATS]; /* atomic */
    max_align_t row[];
};

static struct block *block_of(const struct row *row)
{
    return (struct block *)((char *)row - offsetof(struct block, row));
}

static size_t round_up(size_t n)
{
    return (n + 7) & ~(size_t)7;
}

void row_hash_make(const struct class_desc *class, const void *source, uint64_t out[2])
{
    const struct field_desc *fields = &api_fields[class->first_field];
    AUTO(buf) bytes = {0};
    XXH128_hash_t h;

    buf_reserve(&bytes, 2 * class->struct_size);
    for (int i = 0; i < class->n_fields; i++)
        if (field_is_stored(&fields[i]))
            value_encode(&bytes, fields[i].type, field_in(source, &fields[i]));
    h = XXH3_128bits(bytes.data, bytes.len);
    out[0] = h.low64;
    out[1] = h.high64;
}

const uint64_t *row_hash(const struct row *row)
{
    return block_of(row)->hash;
}

const struct row *row_new(const struct class_desc *class, const void *source)
{
    const struct field_desc *fields = &api_fields[class->first_field];
    size_t head = round_up(class->struct_size), size = head;
    struct block *block;
    struct row *row;
    char *extra;

    for (int i = 0; i < class->n_fields; i++)
        if (field_is_stored(&fields[i]))
            size += value_extra_size(fields[i].type, field_in(source, &fields[i]));
    block = xmalloc(sizeof *block + size);
    block->count = 1;
    memset(block->written, 0, sizeof block->written);
    row = (struct row *)block->row;
    memcpy(row, source, class->struct_size);
    extra = (char *)row + head;
    for (int i = 0; i < class->n_fields; i++)
        if (field_is_stored(&fields[i]))
            value_pack(fields[i].type, field_in(source, &fields[i]), (char *)row + fields[i].offset,
                       &extra);
    row->row_size = (uint32_t)size;
    row->row_class = class->id;
    row_hash_make(class, row, block->hash);
    return row;
}

uint32_t *row_written(const void *row, enum codec_format format)
{
    return &block_of(row)->written[format];
}

void row_ref(const struct row *row)
{
    __atomic_add_fetch(&block_of(row)->count, 1, __ATOMIC_RELAXED);
}

void row_unref(const struct row *row)
{
    if (row && __atomic_sub_fetch(&block_of(row)->count, 1, __ATOMIC_ACQ_REL) == 0)
        free(block_of(row));
}

uint32_t row_holders(const struct row *row)
{
    return __atomic_load_n(&block_of(row)->count, __ATOMIC_ACQUIRE);
}

void row_defaults(const struct class_desc *class, void *out)
{
    const struct field_desc *fields = &api_fields[class->first_field];

    memset(out, 0, class->struct_size);
    for (int i = 0; i < class->n_fields; i++) {
        if (!field_is_stored(&fields[i]))
            continue;
        if (fields[i].default_value)
            memcpy((char *)out + fields[i].offset, fields[i].default_value, fields[i].type->size);
        else
            value_empty(fields[i].type, (char *)out + fields[i].offset);
    }
}
