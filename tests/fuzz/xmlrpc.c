/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What any client may send, and what a server may answer us. */
#include "libxapi/codec/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *body = (const char *)data, *why;
    const struct class_desc *class = api_class_by_name("VM");
    AUTO(arena) arena = {0};
    struct rpc_request request;
    const struct wire *value;
    struct error *error;
    const void *record;

    xmlrpc_read_request(&arena, body, size, &request, &why);
    xmlrpc_read_reply(&arena, body, size, &value, &error, &why);
    if (xmlrpc_read_value(&arena, body, size, &value) && class)
        error_ignore(wire_to_value(&arena, class->record_type, value, "fuzz", &record));
    return 0;
}
