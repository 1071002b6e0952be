/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* websocket.c -- frames: the same events however the bytes are cut, and never a byte beyond them.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "libxapi/base/buf.h"
#include "xapid/stream/websocket.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void decode_base64(const struct ws_event *e)
{
    struct ws_base64 b = {0};
    uint8_t *out = malloc(e->size + 1);

    check(ws_base64_decode(&b, e->data, e->size, out) <= (ssize_t)e->size);
    ws_base64_end(&b);
    free(out);
}

/* Everything that was said, in order; pieces of a message are joined. */
static void listen_to(const uint8_t *data, size_t size, size_t step, struct buf *out)
{
    struct ws_decoder d = {0};

    for (size_t at = 0; at < size; at += step) {
        size_t n = MIN(step, size - at), used = 0;
        uint8_t *block = malloc(n);

        memcpy(block, data + at, n);
        for (;;) {
            struct ws_event e;

            used += ws_decode(&d, block + used, n - used, &e);
            check(used <= n);
            if (e.kind == WS_EVENT_NONE)
                break;
            if (e.kind == WS_EVENT_BROKEN) {
                buf_printf(out, "!%d", (int)e.code);
                free(block);
                return;
            }
            if (e.kind == WS_EVENT_CONTROL)
                check(e.size <= WS_CONTROL_MAX);
            else
                decode_base64(&e);
            if (e.kind == WS_EVENT_CONTROL || e.message_end || e.size)
                buf_add(out, e.data, e.size);
            if (e.kind == WS_EVENT_CONTROL || e.message_end)
                buf_printf(out, "|%d", (int)e.opcode);
        }
        free(block);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf whole = {0}, cut = {0};

    listen_to(data, size, size + 1, &whole);
    listen_to(data, size, size ? data[0] % 7 + 1 : 1, &cut);
    check(whole.len == cut.len && (!whole.len || memcmp(whole.data, cut.data, whole.len) == 0));
    buf_release(&whole);
    buf_release(&cut);
    return 0;
}
