/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A snapshot from a damaged disk or a hostile member, behind a right checksum; what is read keeps
 * the rules of an image. */
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "xapid/db/db.h"

#define HEAD 32

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Half of the inputs are only a body and get a head that fits. */
static void make_head(char *bytes, size_t body)
{
    uint32_t format[2] = {1, 0};
    uint64_t numbers[2] = {body, XXH3_64bits(bytes + HEAD, body)};

    memcpy(bytes, "xapidimg", 8);
    memcpy(bytes + 8, format, 8);
    memcpy(bytes + 16, numbers, 16);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(arena) arena = {0};
    AUTO(buf) first = {0};
    AUTO(buf) second = {0};
    struct db_root *root, *again;
    const char *why = NULL;
    char *bytes;

    if (!size)
        return 0;
    bytes = malloc(HEAD + size);
    memcpy(bytes + HEAD, data + 1, size - 1);
    make_head(bytes, size - 1);
    if (data[0] & 1 ? image_read(&arena, data + 1, size - 1, &root, &why)
                    : image_read(&arena, bytes, HEAD + size - 1, &root, &why)) {
        image_write(&first, root);
        if (!image_read(&arena, first.data, first.len, &again, &why))
            abort();
        image_write(&second, again);
        if (first.len != second.len || memcmp(first.data, second.data, first.len) != 0)
            abort();
        db_check((const struct db_snap *)root);
        root_unref(root);
        root_unref(again);
    } else if (!why) {
        abort();
    }
    free(bytes);
    return 0;
}
