/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * rfb_picture.h -- one picture of a screen, as a client of the RFB protocol (RFC 6143; 3.3, 3.7 and
 * 3.8) gets it: security None, Raw encoding.
 *
 * Knows no socket: bytes in, bytes out, so that it can be tested and fuzzed.
 */
#pragma once

#include "libxapi/base/buf.h"

#define RFB_PICTURE_WIDTH_MAX 8192
#define RFB_PICTURE_PIXELS_MAX (16 * 1024 * 1024)

/* rfb_picture_init first. */
struct rfb_picture {
    int width, height;
    uint8_t *pixels; /* red, green, blue of each, row by row */
    bool done;       /* the picture is whole */
    const char *why; /* or why there will be none: what the server does wrong */
    struct buf out;  /* to be sent; whoever sends it takes it off the front */

    /* What is expected: so many bytes, and what takes them. */
    size_t want, have;
    void (*take)(struct rfb_picture *p);
    uint64_t skip;   /* bytes before that are of no interest */
    bool has_result; /* the server says how the choice of security went (3.8) */
    int rectangles;  /* of the update that are still to come */
    int x, y, w, h;  /* of the one that comes: what is left of it */
    uint8_t bytes[4 * RFB_PICTURE_WIDTH_MAX];
};

void rfb_picture_init(struct rfb_picture *p);
void rfb_picture_release(struct rfb_picture *p);
/* Takes what the server sends, in pieces of any size; false once nothing more is of use. */
bool rfb_picture_feed(struct rfb_picture *p, const void *data, size_t n);
