/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A log entry's value from a damaged disk or a hostile member; what is read must be written again
 * as the same value. */
#include <stdlib.h>

#include "libxapi/value/value.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_type(const struct type *type, const char *data, size_t size)
{
    AUTO(arena) arena = {0};
    AUTO(buf) buf = {0};
    const char *p = data;
    void *value = arena_zalloc(&arena, type->size), *again = arena_zalloc(&arena, type->size);

    if (!value_decode(&arena, type, &p, data + size, value))
        return;
    value_encode(&buf, type, value);
    p = buf.data;
    if (!value_decode(&arena, type, &p, buf.data + buf.len, again) ||
        !value_equal(type, value, again))
        abort();
    value_filter_text(&arena, type, value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct class_desc *class = api_class_by_name("VM");
    size_t which;

    if (!size || !class)
        return 0;
    which = data[0] % (class->n_fields + 1u);
    try_type(which == class->n_fields ? class->record_type
                                      : api_fields[class->first_field + which].type,
             (const char *)data + 1, size - 1);
    return 0;
}
