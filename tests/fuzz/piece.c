/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the other host may send while a VM moves. */
#include <assert.h>
#include <string.h>

#include "xapid/ops/migrate/piece.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void word(const uint8_t *data)
{
    struct piece_word w = piece_word_read(data);
    uint8_t again[PIECE_WORD_SIZE];

    piece_word_write(again, &w);
    assert(memcmp(again, data, sizeof again) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum piece_kind kind;
    size_t n;

    while (size >= PIECE_HEAD && piece_head_read(data, &kind, &n)) {
        assert(n <= PIECE_MAX);
        if (n > size - PIECE_HEAD)
            break;
        if (kind == PIECE_BEGIN || kind == PIECE_RECEIVED)
            word(data + PIECE_HEAD);
        if (kind == PIECE_END)
            (void)piece_end_read(data + PIECE_HEAD);
        data += PIECE_HEAD + n;
        size -= PIECE_HEAD + n;
    }
    return 0;
}
