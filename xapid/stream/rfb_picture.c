/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* rfb_picture.c -- see rfb_picture.h.  Each take_... looks at the bytes asked for before and says
 * what is expected next. */
#include "xapid/stream/rfb_picture.h"

#include <stdlib.h>

#include "libxapi/base/memory.h"

enum server_message { UPDATE = 0, COLOUR_MAP = 1, BELL = 2, CUT_TEXT = 3 };

#define SECURITY_NONE 1
#define ENCODING_RAW 0

static unsigned get16(const uint8_t *b)
{
    return (unsigned)b[0] << 8 | b[1];
}

static uint32_t get32(const uint8_t *b)
{
    return (uint32_t)get16(b) << 16 | get16(b + 2);
}

static void expect(struct rfb_picture *p, size_t want, void (*take)(struct rfb_picture *p))
{
    p->want = want;
    p->take = take;
}

static void take_message(struct rfb_picture *p);
static void take_rectangle(struct rfb_picture *p);

/*** the picture ***/

/* Four bytes a pixel: blue, green, red and nothing, as asked for. */
static void take_row(struct rfb_picture *p)
{
    uint8_t *to = p->pixels + 3 * ((size_t)p->y * (size_t)p->width + (size_t)p->x);

    for (int i = 0; i < p->w; i++) {
        *to++ = p->bytes[4 * i + 2];
        *to++ = p->bytes[4 * i + 1];
        *to++ = p->bytes[4 * i];
    }
    p->y++;
    p->h--;
    if (p->h == 0)
        expect(p, 12, take_rectangle);
    if (p->h == 0 && p->rectangles == 0)
        p->done = true;
}

static void take_rectangle(struct rfb_picture *p)
{
    p->x = (int)get16(p->bytes);
    p->y = (int)get16(p->bytes + 2);
    p->w = (int)get16(p->bytes + 4);
    p->h = (int)get16(p->bytes + 6);
    p->rectangles--;
    if (get32(p->bytes + 8) != ENCODING_RAW)
        p->why = "it sends an encoding nobody asked for";
    else if (p->x + p->w > p->width || p->y + p->h > p->height)
        p->why = "it draws outside its screen";
    else if (p->w && p->h)
        expect(p, 4 * (size_t)p->w, take_row);
    else
        p->done = p->rectangles == 0;
}

static void take_update(struct rfb_picture *p)
{
    p->rectangles = (int)get16(p->bytes + 1);
    if (p->rectangles)
        expect(p, 12, take_rectangle);
    else
        expect(p, 1, take_message);
}

static void take_colour_map(struct rfb_picture *p)
{
    p->skip = 6 * (uint64_t)get16(p->bytes + 3);
    expect(p, 1, take_message);
}

static void take_cut_text(struct rfb_picture *p)
{
    p->skip = get32(p->bytes + 3);
    expect(p, 1, take_message);
}

static void take_message(struct rfb_picture *p)
{
    switch (p->bytes[0]) {
    case UPDATE:
        expect(p, 3, take_update);
        break;
    case COLOUR_MAP:
        expect(p, 5, take_colour_map);
        break;
    case BELL:
        break;
    case CUT_TEXT:
        expect(p, 7, take_cut_text);
        break;
    default:
        p->why = "it sends a message that does not exist";
    }
}

/*** the handshake ***/

/* 32 bits, red in the third byte; Raw and nothing else; all of the screen. */
static void ask(struct rfb_picture *p)
{
    static const uint8_t format[20] = {0, 0, 0, 0, 32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0};
    static const uint8_t encodings[8] = {2, 0, 0, 1, 0, 0, 0, ENCODING_RAW};
    const uint8_t request[10] = {3,
                                 0,
                                 0,
                                 0,
                                 0,
                                 0,
                                 (uint8_t)(p->width >> 8),
                                 (uint8_t)p->width,
                                 (uint8_t)(p->height >> 8),
                                 (uint8_t)p->height};

    buf_add(&p->out, format, sizeof format);
    buf_add(&p->out, encodings, sizeof encodings);
    buf_add(&p->out, request, sizeof request);
}

static void take_init(struct rfb_picture *p)
{
    p->width = (int)get16(p->bytes);
    p->height = (int)get16(p->bytes + 2);
    p->skip = get32(p->bytes + 20); /* its name */
    if (!p->width || !p->height || p->width > RFB_PICTURE_WIDTH_MAX ||
        p->width * p->height > RFB_PICTURE_PIXELS_MAX) {
        p->why = "its screen has an impossible size";
        return;
    }
    p->pixels = xcalloc((size_t)p->width * (size_t)p->height, 3);
    ask(p);
    expect(p, 1, take_message);
}

static void begin(struct rfb_picture *p)
{
    buf_add(&p->out, "\1", 1); /* others may stay connected */
    expect(p, 24, take_init);
}

static void take_result(struct rfb_picture *p)
{
    if (get32(p->bytes) == 0)
        begin(p);
    else
        p->why = "it refuses the connection";
}

static void take_types(struct rfb_picture *p)
{
    if (!memchr(p->bytes, SECURITY_NONE, p->want)) {
        p->why = "it wants a password";
        return;
    }
    buf_add(&p->out, (const char[]){SECURITY_NONE}, 1);
    if (p->has_result)
        expect(p, 4, take_result);
    else
        begin(p);
}

static void take_type_count(struct rfb_picture *p)
{
    if (p->bytes[0])
        expect(p, p->bytes[0], take_types);
    else
        p->why = "it refuses the connection";
}

/* 3.3: the server decides. */
static void take_type(struct rfb_picture *p)
{
    if (get32(p->bytes) == SECURITY_NONE)
        begin(p);
    else
        p->why = "it wants a password";
}

static void take_version(struct rfb_picture *p)
{
    int minor = p->bytes[10] - '0';

    if (memcmp(p->bytes, "RFB 003.", 8) != 0 || p->bytes[11] != '\n') {
        p->why = "it does not speak RFB 3";
        return;
    }
    /* RFC 6143: another minor version is to be treated as 3.3. */
    minor = p->bytes[8] != '0' || p->bytes[9] != '0' || (minor != 7 && minor != 8) ? 3 : minor;
    buf_printf(&p->out, "RFB 003.00%d\n", minor);
    p->has_result = minor == 8;
    if (minor == 3)
        expect(p, 4, take_type);
    else
        expect(p, 1, take_type_count);
}

void rfb_picture_init(struct rfb_picture *p)
{
    memset(p, 0, sizeof *p);
    expect(p, 12, take_version);
}

void rfb_picture_release(struct rfb_picture *p)
{
    buf_release(&p->out);
    free(p->pixels);
    p->pixels = NULL;
}

bool rfb_picture_feed(struct rfb_picture *p, const void *data, size_t n)
{
    const uint8_t *b = data;

    while (n && !p->done && !p->why) {
        size_t unwanted = (size_t)MIN(p->skip, (uint64_t)n);
        size_t piece = MIN(n - unwanted, p->want - p->have);

        memcpy(p->bytes + p->have, b + unwanted, piece);
        p->skip -= unwanted;
        p->have += piece;
        b += unwanted + piece;
        n -= unwanted + piece;
        if (p->have == p->want) {
            p->have = 0;
            p->take(p);
        }
    }
    return !p->done && !p->why;
}
