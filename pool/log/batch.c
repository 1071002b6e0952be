/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* batch.c -- encodes and decodes the entries of the log.  Pure; decodes anything without reading
 * outside it. */
#include "pool/log/batch.h"

#include <string.h>

#include "libxapi/base/bytes.h"
#include "xapid/db/log.h"

static uint8_t *put32(uint8_t *p, uint32_t v)
{
    le_put32(p, v);
    return p + sizeof v;
}

static uint8_t *put64(uint8_t *p, uint64_t v)
{
    le_put64(p, v);
    return p + sizeof v;
}

uint8_t *batch_put_header(uint8_t *out, uint64_t index, uint32_t count)
{
    out = put32(out, BATCH_MAGIC);
    out = put32(out, BATCH_VERSION);
    out = put64(out, index);
    out = put32(out, count);
    return put32(out, 0);
}

uint8_t *batch_put_item(uint8_t *out, const void *data, size_t size)
{
    size_t whole = batch_item_size(size) - BATCH_ITEM_HEADER;

    out = put32(out, (uint32_t)size);
    out = put32(out, 0);
    memcpy(out, data, size);
    memset(out + size, 0, whole - size);
    return out + whole;
}

enum batch_check batch_check(const void *entry, size_t size, uint64_t *index)
{
    const uint8_t *p = entry;
    size_t at = BATCH_HEADER;
    uint32_t count;

    *index = 0;
    if (size < BATCH_HEADER || le_get32(p) != BATCH_MAGIC)
        return BATCH_DAMAGED;
    if (le_get32(p + 4) != BATCH_VERSION)
        return BATCH_NEWER;
    *index = le_get64(p + 8);
    count = le_get32(p + 16);
    if (count == 0 || le_get32(p + 20) != 0)
        return BATCH_DAMAGED;
    while (count--) {
        uint32_t n;

        if (size - at < BATCH_ITEM_HEADER)
            return BATCH_DAMAGED;
        n = le_get32(p + at);
        if (n < LOG_ID_SIZE || n > LOG_MAX_WRITE_SET || batch_item_size(n) > size - at)
            return BATCH_DAMAGED;
        at += batch_item_size(n);
    }
    return at == size ? BATCH_GOOD : BATCH_DAMAGED;
}

void batch_read(struct batch_reader *reader, const void *entry, size_t size)
{
    const uint8_t *p = entry;

    reader->pos = p + BATCH_HEADER;
    reader->end = p + size;
    reader->left = le_get32(p + 16);
}

bool batch_next(struct batch_reader *reader, const void **data, size_t *size)
{
    if (reader->left == 0)
        return false;
    reader->left--;
    *size = le_get32(reader->pos);
    *data = reader->pos + BATCH_ITEM_HEADER;
    reader->pos += batch_item_size(*size);
    return true;
}
