/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/db/row.h"

#include <stdlib.h>
#include <string.h>

#include "libxapi/base/memory.h"

static size_t round_up(size_t n)
{
    return (n + 7) & ~(size_t)7;
}

const struct row *row_new(const struct class_desc *class, const void *source)
{
    const struct field_desc *fields = &api_fields[class->first_field];
    size_t head = round_up(class->struct_size), size = head;
    struct row *row;
    char *extra;

    for (int i = 0; i < class->n_fields; i++)
        if (field_is_stored(&fields[i]))
            size += value_extra_size(fields[i].type, field_in(source, &fields[i]));
    row = xmalloc(size);
    memcpy(row, source, class->struct_size);
    extra = (char *)row + head;
    for (int i = 0; i < class->n_fields; i++)
        if (field_is_stored(&fields[i]))
            value_pack(fields[i].type, field_in(source, &fields[i]), (char *)row + fields[i].offset,
                       &extra);
    row->row_size = (uint32_t)size;
    row->row_count = 1;
    row->row_class = class->id;
    return row;
}

void row_ref(const struct row *row)
{
    __atomic_add_fetch(&((struct row *)row)->row_count, 1, __ATOMIC_RELAXED);
}

void row_unref(const struct row *row)
{
    if (row && __atomic_sub_fetch(&((struct row *)row)->row_count, 1, __ATOMIC_ACQ_REL) == 0)
        free((struct row *)row);
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
