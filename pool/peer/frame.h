/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * frame.h -- what travels on a link inside TLS.  Pure; reads anything without reading outside it.
 *
 *     offset 0   u32 size of what follows the header    u8 type    u8 kind    u16 zero
 *            8   u64 number, of a request and its answer
 *
 * All little-endian.  The first frame of each side is the greeting:
 *
 *     offset 0   8 bytes magic
 *            8   u16 oldest version understood   u16 newest    u8 kind of link   3 bytes zero
 *            16  u64 raft id of the sender       u64 raft id it wants to reach, 0: not known
 *            32  u16 length of the sender's address, then the address
 */
#pragma once

#include "pool/peer/peer.h"

#define FRAME_HEADER 16
#define FRAME_VERSION 1
#define FRAME_HELLO_MAX (34 + PEER_ADDRESS_MAX)
#define FRAME_DATA_MAX (1u << 18) /* bytes of the log's stream in one frame */

enum frame_type {
    FRAME_HELLO = 1,
    FRAME_PING = 2, /* "I am here"; no answer */
    FRAME_REQUEST = 3,
    FRAME_ANSWER = 4,
    FRAME_REFUSED = 5, /* an answer: nobody serves this kind here */
    FRAME_DATA = 6,
};

enum link_kind {
    LINK_REQUESTS = 1,
    LINK_LOG = 2,
    LINK_STREAM = 3, /* leaves the links after the greetings: enum peer_stream_kind is added */
    LINK_LAST = LINK_STREAM + PEER_STREAM_KINDS - 1
};

struct frame {
    enum frame_type type;
    unsigned kind; /* enum peer_kind, of a request */
    uint64_t number;
    const uint8_t *data;
    size_t size;
};

enum frame_state { FRAME_GOOD, FRAME_PARTIAL, FRAME_BAD };

struct hello {
    unsigned oldest, newest; /* versions */
    enum link_kind link;
    uint64_t id, to;
    char address[PEER_ADDRESS_MAX]; /* "" if not known */
};

/* Reads the frame at the start of 'data'; its bytes are FRAME_HEADER + out->size.  FRAME_PARTIAL:
 * it has not come as a whole yet. */
enum frame_state frame_read(const uint8_t *data, size_t size, struct frame *out);
void frame_header(uint8_t out[FRAME_HEADER], enum frame_type type, unsigned kind, uint64_t number,
                  size_t size);
/* False if it is no greeting, or none of a version this program understands. */
bool hello_read(const uint8_t *data, size_t size, struct hello *out);
/* Returns its size, at most FRAME_HELLO_MAX. */
size_t hello_write(uint8_t out[FRAME_HELLO_MAX], const struct hello *hello);
