/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * rfb.h -- the server's side of the RFB protocol (RFC 6143; 3.3, 3.7 and 3.8) for one client:
 * security None, Raw encoding, true colour.
 *
 * Knows no socket: bytes in, bytes out, so that it can be tested and fuzzed.  What the client has
 * on its screen is remembered pixel by pixel, so an incremental update holds the rectangle that
 * differs and nothing else, and is not sent while nothing does.
 */
#pragma once

#include "libxapi/base/buf.h"

#define RFB_OUT_SLOW ((size_t)4 * 1024 * 1024)

struct rfb_format {
    uint8_t bits, depth, big_endian, true_colour;
    uint16_t red_max, green_max, blue_max;
    uint8_t red_shift, green_shift, blue_shift;
};

enum rfb_stage { RFB_VERSION, RFB_SECURITY, RFB_INIT, RFB_RUNNING };

/* Zeroed, then rfb_init. */
struct rfb {
    enum rfb_stage stage;
    int version; /* 3, 7 or 8 */
    char name[128];
    struct rfb_format format;
    struct buf in;
    struct buf out;  /* what is to be sent; whoever sends it takes it off the front */
    size_t skip;     /* bytes of a cut text still to be thrown away */
    uint32_t *shown; /* the client's screen, allocated when it asks for the first time */
    bool wants;      /* an update is asked for: the rectangle below */
    bool whole;      /* not only what has changed */
    int x0, y0, x1, y1;
    void *ctx;
    /* Keys and pointer as the client sends them; may be NULL. */
    void (*key)(void *ctx, bool down, uint32_t keysym);
    void (*pointer)(void *ctx, int x, int y, unsigned buttons);
};

/* Greets: the out buffer then holds the first bytes to send.  'name' is copied, cut where too long.
 */
void rfb_init(struct rfb *rfb, const char *name);
void rfb_release(struct rfb *rfb);
/* Takes bytes from the client; false if the connection must be closed. */
MUST_CHECK bool rfb_feed(struct rfb *rfb, const void *data, size_t n);
/* Answers an update that was asked for, if there is something to answer with.  'pixels':
 * PICTURE_PIXELS of 0x00rrggbb. */
void rfb_update(struct rfb *rfb, const uint32_t *pixels);
