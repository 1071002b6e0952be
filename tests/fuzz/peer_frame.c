/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What another host may send on a link, once inside TLS; and addresses. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "pool/peer/address.h"
#include "pool/peer/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void hello(const uint8_t *data, size_t size)
{
    uint8_t again[FRAME_HELLO_MAX];
    struct hello h, second;

    if (!hello_read(data, size, &h))
        return;
    assert(strlen(h.address) < PEER_ADDRESS_MAX && h.id != 0);
    assert(hello_read(again, hello_write(again, &h), &second));
    assert(second.id == h.id && strcmp(second.address, h.address) == 0);
}

static void address(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    struct address a;

    if (!text)
        return;
    memcpy(text, data, size);
    text[size] = '\0';
    if (address_parse_partial(text, &a))
        assert(strlen(a.fingerprint) == PEER_FINGERPRINT_SIZE - 1);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct frame frame;

    address(data, size);
    hello(data, size);
    while (frame_read(data, size, &frame) == FRAME_GOOD) {
        assert(frame.size <= size - FRAME_HEADER);
        if (frame.type == FRAME_HELLO)
            hello(frame.data, frame.size);
        data += FRAME_HEADER + frame.size;
        size -= FRAME_HEADER + frame.size;
    }
    return 0;
}
