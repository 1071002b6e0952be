/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What any client may send; every parameter is also converted to a type, a different one for each
 * place. */
#include "libxapi/codec/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct class_desc *class = api_class_by_name("VM");
    AUTO(arena) arena = {0};
    struct rpc_request request;
    const char *why;

    if (!jsonrpc_read_request(&arena, (const char *)data, size, &request, &why))
        return 0;
    for (size_t i = 0; i < request.n_params && i < class->n_fields; i++) {
        const struct type *type = api_fields[class->first_field + i].type;
        void *value = arena_zalloc(&arena, type->size);

        error_ignore(wire_to_value(&arena, type, &request.params[i], "fuzz", value));
    }
    return 0;
}
