/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* rfb.c -- see rfb.h. */
#include "xapid/hypervisor/server/rfb.h"

#include <stdlib.h>

#include "libxapi/base/memory.h"
#include "xapid/hypervisor/server/picture.h"

#define IN_MAX ((size_t)64 * 1024)
#define CUT_TEXT_MAX ((size_t)1024 * 1024)
#define ENCODINGS_MAX 1024

enum client_message {
    SET_PIXEL_FORMAT = 0,
    SET_ENCODINGS = 2,
    UPDATE_REQUEST = 3,
    KEY = 4,
    POINTER = 5,
    CUT_TEXT = 6
};

static uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static void put8(struct buf *b, unsigned v)
{
    buf_putc(b, (char)v);
}

static void put16(struct buf *b, unsigned v)
{
    put8(b, v >> 8 & 255);
    put8(b, v & 255);
}

static void put32(struct buf *b, uint32_t v)
{
    put16(b, v >> 16);
    put16(b, v & 0xffff);
}

void rfb_init(struct rfb *rfb, const char *name)
{
    rfb->format = (struct rfb_format){32, 24, 0, 1, 255, 255, 255, 16, 8, 0};
    memcpy(rfb->name, name, strnlen(name, sizeof rfb->name - 1));
    buf_puts(&rfb->out, "RFB 003.008\n");
}

void rfb_release(struct rfb *rfb)
{
    buf_release(&rfb->in);
    buf_release(&rfb->out);
    free(rfb->shown);
    rfb->shown = NULL;
}

static void put_format(struct buf *out, const struct rfb_format *f)
{
    put8(out, f->bits);
    put8(out, f->depth);
    put8(out, f->big_endian);
    put8(out, f->true_colour);
    put16(out, f->red_max);
    put16(out, f->green_max);
    put16(out, f->blue_max);
    put8(out, f->red_shift);
    put8(out, f->green_shift);
    put8(out, f->blue_shift);
    buf_add(out, "\0\0\0", 3);
}

/*
 * Each of these looks at the bytes at hand and returns how many it used: 0 if there are not enough
 * yet, -1 if they are wrong.
 */
static ssize_t take_version(struct rfb *rfb, const char *p, size_t n)
{
    if (n < 12)
        return 0;
    if (memcmp(p, "RFB 003.00", 10) != 0 || p[11] != '\n')
        return -1;
    /* RFC 6143: any other minor number is to be treated as 3.3. */
    rfb->version = p[10] == '8' ? 8 : p[10] == '7' ? 7 : 3;
    if (rfb->version == 3)
        put32(&rfb->out, 1);
    else
        buf_add(&rfb->out, "\1\1", 2);
    rfb->stage = rfb->version == 3 ? RFB_INIT : RFB_SECURITY;
    return 12;
}

static ssize_t take_security(struct rfb *rfb, const char *p)
{
    if (*p != 1)
        return -1;
    if (rfb->version == 8)
        put32(&rfb->out, 0);
    rfb->stage = RFB_INIT;
    return 1;
}

static ssize_t take_init(struct rfb *rfb)
{
    put16(&rfb->out, PICTURE_WIDTH);
    put16(&rfb->out, PICTURE_HEIGHT);
    put_format(&rfb->out, &rfb->format);
    put32(&rfb->out, (uint32_t)strlen(rfb->name));
    buf_puts(&rfb->out, rfb->name);
    rfb->stage = RFB_RUNNING;
    return 1;
}

static bool channel_fits(const struct rfb_format *f, uint16_t max, uint8_t shift)
{
    return shift < f->bits && ((uint64_t)max << shift) >> f->bits == 0;
}

static ssize_t take_format(struct rfb *rfb, const uint8_t *p, size_t n)
{
    struct rfb_format f;

    if (n < 20)
        return 0;
    f = (struct rfb_format){p[4],          p[5],          p[6],  p[7],  get16(p + 8),
                            get16(p + 10), get16(p + 12), p[14], p[15], p[16]};
    if ((f.bits != 8 && f.bits != 16 && f.bits != 32) || !f.true_colour ||
        !channel_fits(&f, f.red_max, f.red_shift) ||
        !channel_fits(&f, f.green_max, f.green_shift) ||
        !channel_fits(&f, f.blue_max, f.blue_shift))
        return -1;
    rfb->format = f;
    /* What the client has was drawn in another format. */
    rfb->whole = true;
    free(rfb->shown);
    rfb->shown = NULL;
    return 20;
}

static ssize_t take_encodings(const uint8_t *p, size_t n)
{
    size_t count;

    if (n < 4)
        return 0;
    count = get16(p + 2);
    if (count > ENCODINGS_MAX)
        return -1;
    /* Raw is always allowed, so the list does not matter. */
    return n < 4 + 4 * count ? 0 : (ssize_t)(4 + 4 * count);
}

static ssize_t take_request(struct rfb *rfb, const uint8_t *p, size_t n)
{
    int x, y, w, h;

    if (n < 10)
        return 0;
    x = MIN(get16(p + 2), PICTURE_WIDTH);
    y = MIN(get16(p + 4), PICTURE_HEIGHT);
    w = MIN(get16(p + 6), PICTURE_WIDTH - x);
    h = MIN(get16(p + 8), PICTURE_HEIGHT - y);
    if (w == 0 || h == 0)
        return 10;
    if (!rfb->wants) {
        rfb->x0 = x;
        rfb->y0 = y;
        rfb->x1 = x + w;
        rfb->y1 = y + h;
    }
    /* Several requests not yet answered are answered as one. */
    rfb->x0 = MIN(rfb->x0, x);
    rfb->y0 = MIN(rfb->y0, y);
    rfb->x1 = MAX(rfb->x1, x + w);
    rfb->y1 = MAX(rfb->y1, y + h);
    rfb->whole |= !p[1] || !rfb->shown;
    rfb->wants = true;
    return 10;
}

static ssize_t take_key(struct rfb *rfb, const uint8_t *p, size_t n)
{
    if (n < 8)
        return 0;
    if (rfb->key)
        rfb->key(rfb->ctx, p[1] != 0, get32(p + 4));
    return 8;
}

static ssize_t take_pointer(struct rfb *rfb, const uint8_t *p, size_t n)
{
    if (n < 6)
        return 0;
    if (rfb->pointer)
        rfb->pointer(rfb->ctx, MIN(get16(p + 2), PICTURE_WIDTH - 1),
                     MIN(get16(p + 4), PICTURE_HEIGHT - 1), p[1]);
    return 6;
}

static ssize_t take_cut_text(struct rfb *rfb, const uint8_t *p, size_t n)
{
    if (n < 8)
        return 0;
    if (get32(p + 4) > CUT_TEXT_MAX)
        return -1;
    rfb->skip = get32(p + 4);
    return 8;
}

static ssize_t take_message(struct rfb *rfb, const uint8_t *p, size_t n)
{
    switch (p[0]) {
    case SET_PIXEL_FORMAT:
        return take_format(rfb, p, n);
    case SET_ENCODINGS:
        return take_encodings(p, n);
    case UPDATE_REQUEST:
        return take_request(rfb, p, n);
    case KEY:
        return take_key(rfb, p, n);
    case POINTER:
        return take_pointer(rfb, p, n);
    case CUT_TEXT:
        return take_cut_text(rfb, p, n);
    }
    return -1;
}

static ssize_t take(struct rfb *rfb, const char *p, size_t n)
{
    switch (rfb->stage) {
    case RFB_VERSION:
        return take_version(rfb, p, n);
    case RFB_SECURITY:
        return take_security(rfb, p);
    case RFB_INIT:
        return take_init(rfb);
    case RFB_RUNNING:
        break;
    }
    return take_message(rfb, (const uint8_t *)p, n);
}

bool rfb_feed(struct rfb *rfb, const void *data, size_t n)
{
    size_t done = 0;

    if (rfb->in.len + n > IN_MAX)
        return false;
    buf_add(&rfb->in, data, n);
    while (done < rfb->in.len) {
        size_t skipped = MIN(rfb->skip, rfb->in.len - done);
        ssize_t used;

        rfb->skip -= skipped;
        done += skipped;
        if (done == rfb->in.len)
            break;
        used = take(rfb, rfb->in.data + done, rfb->in.len - done);
        if (used < 0)
            return false;
        if (used == 0)
            break;
        done += (size_t)used;
    }
    if (done) {
        memmove(rfb->in.data, rfb->in.data + done, rfb->in.len - done + 1);
        rfb->in.len -= done;
    }
    return true;
}

/* Shrinks the rectangle to the pixels that differ from what the client has; false if none does. */
static bool shrink(const struct rfb *rfb, const uint32_t *pixels, int *x0, int *y0, int *x1,
                   int *y1)
{
    int left = *x1, right = *x0, top = *y1, bottom = *y0;

    for (int y = *y0; y < *y1; y++) {
        for (int x = *x0; x < *x1; x++) {
            size_t at = (size_t)y * PICTURE_WIDTH + (size_t)x;

            if (pixels[at] == rfb->shown[at])
                continue;
            left = MIN(left, x);
            right = MAX(right, x + 1);
            top = MIN(top, y);
            bottom = y + 1;
        }
    }
    *x0 = left;
    *x1 = right;
    *y0 = top;
    *y1 = bottom;
    return left < right;
}

static void put_pixel(struct buf *out, const struct rfb_format *f, uint32_t rgb)
{
    uint32_t v = ((rgb >> 16 & 255) * f->red_max / 255) << f->red_shift |
                 ((rgb >> 8 & 255) * f->green_max / 255) << f->green_shift |
                 ((rgb & 255) * f->blue_max / 255) << f->blue_shift;
    unsigned bytes = f->bits / 8u;

    for (unsigned i = 0; i < bytes; i++)
        put8(out, v >> 8 * (f->big_endian ? bytes - 1 - i : i) & 255);
}

void rfb_update(struct rfb *rfb, const uint32_t *pixels)
{
    int x0 = rfb->x0, y0 = rfb->y0, x1 = rfb->x1, y1 = rfb->y1;

    if (rfb->stage != RFB_RUNNING || !rfb->wants || rfb->out.len > RFB_OUT_SLOW)
        return;
    if (!rfb->whole && !shrink(rfb, pixels, &x0, &y0, &x1, &y1))
        return;
    if (!rfb->shown) {
        /* Colours have 24 bits: nothing is shown yet, so everything differs. */
        rfb->shown = xmalloc(PICTURE_PIXELS * sizeof *rfb->shown);
        memset(rfb->shown, 0xff, PICTURE_PIXELS * sizeof *rfb->shown);
    }
    buf_add(&rfb->out, "\0\0\0\1", 4);
    put16(&rfb->out, (unsigned)x0);
    put16(&rfb->out, (unsigned)y0);
    put16(&rfb->out, (unsigned)(x1 - x0));
    put16(&rfb->out, (unsigned)(y1 - y0));
    put32(&rfb->out, 0);
    for (int y = y0; y < y1; y++) {
        for (int x = x0; x < x1; x++) {
            size_t at = (size_t)y * PICTURE_WIDTH + (size_t)x;

            rfb->shown[at] = pixels[at];
            put_pixel(&rfb->out, &rfb->format, pixels[at]);
        }
    }
    rfb->wants = rfb->whole = false;
}
