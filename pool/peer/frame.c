/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* frame.c -- writes and reads frames. */
#include "pool/peer/frame.h"

#include <string.h>

#include "libxapi/base/bytes.h"

static const uint8_t hello_magic[8] = {'X', 'A', 'P', 'E', 'E', 'R', '\r', '\n'};

/* The largest size of each type; false of an unknown type. */
static bool size_limit(unsigned type, size_t *limit)
{
    switch (type) {
    case FRAME_HELLO:
        *limit = FRAME_HELLO_MAX;
        return true;
    case FRAME_PING:
    case FRAME_REFUSED:
        *limit = 0;
        return true;
    case FRAME_REQUEST:
    case FRAME_ANSWER:
        *limit = PEER_MESSAGE_MAX;
        return true;
    case FRAME_DATA:
        *limit = FRAME_DATA_MAX;
        return true;
    default:
        return false;
    }
}

enum frame_state frame_read(const uint8_t *data, size_t size, struct frame *out)
{
    size_t limit;

    if (size < FRAME_HEADER)
        return FRAME_PARTIAL;
    out->size = le_get32(data);
    if (!size_limit(data[4], &limit) || out->size > limit || le_get16(data + 6) != 0)
        return FRAME_BAD;
    out->type = (enum frame_type)data[4];
    out->kind = data[5];
    out->number = le_get64(data + 8);
    out->data = data + FRAME_HEADER;
    return size - FRAME_HEADER < out->size ? FRAME_PARTIAL : FRAME_GOOD;
}

void frame_header(uint8_t out[FRAME_HEADER], enum frame_type type, unsigned kind, uint64_t number,
                  size_t size)
{
    le_put32(out, (uint32_t)size);
    out[4] = (uint8_t)type;
    out[5] = (uint8_t)kind;
    le_put16(out + 6, 0);
    le_put64(out + 8, number);
}

bool hello_read(const uint8_t *data, size_t size, struct hello *out)
{
    size_t n;

    memset(out, 0, sizeof *out);
    if (size < 34 || memcmp(data, hello_magic, sizeof hello_magic) != 0)
        return false;
    out->oldest = le_get16(data + 8);
    out->newest = le_get16(data + 10);
    if (out->oldest > FRAME_VERSION || out->newest < FRAME_VERSION)
        return false;
    if (data[12] < LINK_REQUESTS || data[12] > LINK_LAST)
        return false;
    out->link = (enum link_kind)data[12];
    out->id = le_get64(data + 16);
    out->to = le_get64(data + 24);
    n = le_get16(data + 32);
    if (n >= PEER_ADDRESS_MAX || n > size - 34 || out->id == 0)
        return false;
    memcpy(out->address, data + 34, n);
    return memchr(out->address, '\0', n) == NULL && (n == 0 || peer_address_ok(out->address));
}

size_t hello_write(uint8_t out[FRAME_HELLO_MAX], const struct hello *hello)
{
    size_t n = strlen(hello->address);

    memset(out, 0, 34);
    memcpy(out, hello_magic, sizeof hello_magic);
    le_put16(out + 8, hello->oldest);
    le_put16(out + 10, hello->newest);
    out[12] = (uint8_t)hello->link;
    le_put64(out + 16, hello->id);
    le_put64(out + 24, hello->to);
    le_put16(out + 32, (unsigned)n);
    memcpy(out + 34, hello->address, n);
    return 34 + n;
}
