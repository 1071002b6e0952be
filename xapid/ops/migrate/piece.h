/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * piece.h -- what two hosts say to each other while a VM moves: pieces, each a head and its bytes.
 * Pure.
 *
 *     offset 0   u32 size of what follows the head, little endian    u8 kind    3 bytes zero
 */
#pragma once

#include "libxapi/base/base.h"

#define PIECE_HEAD 8
#define PIECE_MAX ((size_t)1 << 20)

/* The numbers are the wire's: never reuse one. */
enum piece_kind {
    PIECE_BEGIN = 1,    /* struct piece_word: what the sender wants */
    PIECE_READY = 2,    /* the answer: memory may come */
    PIECE_MEMORY = 3,   /* of the hypervisor's stream */
    PIECE_PACKED = 4,   /* the same, as a frame of zstd */
    PIECE_END = 5,      /* struct piece_end: all memory was sent */
    PIECE_RECEIVED = 6, /* struct piece_word: and has come, and the domain is built */
    PIECE_FAILED = 7,   /* text: it is given up */
    PIECE_ALIVE = 8,    /* nothing; so that silence means something */
    PIECE_STATS = 9,    /* of the VM's statistics (xapid/stats/move.h): pieces before the end */
};

/* An intent of the one who speaks, and the revision of the database that has it. */
struct piece_word {
    uint8_t intent[16];
    uint64_t revision;
};
struct piece_end {
    uint64_t bytes, sum; /* of the hypervisor's stream; XXH64 */
};

#define PIECE_WORD_SIZE 24
#define PIECE_END_SIZE 16

void piece_head_write(uint8_t out[PIECE_HEAD], enum piece_kind kind, size_t size);
/* False of what is no head, or of a kind that cannot have that size. */
MUST_CHECK bool piece_head_read(const uint8_t in[PIECE_HEAD], enum piece_kind *kind, size_t *size);

void piece_word_write(uint8_t out[PIECE_WORD_SIZE], const struct piece_word *word);
struct piece_word piece_word_read(const uint8_t in[PIECE_WORD_SIZE]);
void piece_end_write(uint8_t out[PIECE_END_SIZE], const struct piece_end *end);
struct piece_end piece_end_read(const uint8_t in[PIECE_END_SIZE]);
