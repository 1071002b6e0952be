/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/migrate/piece.h"

#include <endian.h>
#include <string.h>

static void put64(uint8_t *out, uint64_t n)
{
    uint64_t le = htole64(n);

    memcpy(out, &le, sizeof le);
}

static uint64_t get64(const uint8_t *in)
{
    uint64_t le;

    memcpy(&le, in, sizeof le);
    return le64toh(le);
}

void piece_head_write(uint8_t out[PIECE_HEAD], enum piece_kind kind, size_t size)
{
    put64(out, (uint64_t)kind << 32 | (uint32_t)size);
}

bool piece_head_read(const uint8_t in[PIECE_HEAD], enum piece_kind *kind, size_t *size)
{
    uint64_t n = get64(in);

    *kind = (enum piece_kind)(n >> 32);
    *size = (uint32_t)n;
    switch (n >> 32) {
    case PIECE_BEGIN:
    case PIECE_RECEIVED:
        return *size == PIECE_WORD_SIZE;
    case PIECE_END:
        return *size == PIECE_END_SIZE;
    case PIECE_READY:
    case PIECE_ALIVE:
        return *size == 0;
    case PIECE_MEMORY:
    case PIECE_PACKED:
    case PIECE_FAILED:
    case PIECE_STATS:
        return *size > 0 && *size <= PIECE_MAX;
    default:
        return false;
    }
}

void piece_word_write(uint8_t out[PIECE_WORD_SIZE], const struct piece_word *word)
{
    memcpy(out, word->intent, sizeof word->intent);
    put64(out + sizeof word->intent, word->revision);
}

struct piece_word piece_word_read(const uint8_t in[PIECE_WORD_SIZE])
{
    struct piece_word word = {.revision = get64(in + sizeof word.intent)};

    memcpy(word.intent, in, sizeof word.intent);
    return word;
}

void piece_end_write(uint8_t out[PIECE_END_SIZE], const struct piece_end *end)
{
    put64(out, end->bytes);
    put64(out + 8, end->sum);
}

struct piece_end piece_end_read(const uint8_t in[PIECE_END_SIZE])
{
    return (struct piece_end){get64(in), get64(in + 8)};
}
