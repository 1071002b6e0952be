/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* picture.h -- what a domain's screen shows: lines of text in a small font, on a coloured ground.
 */
#pragma once

#include "libxapi/base/base.h"

#define PICTURE_WIDTH 640
#define PICTURE_HEIGHT 480
#define PICTURE_PIXELS ((size_t)PICTURE_WIDTH * PICTURE_HEIGHT)
#define PICTURE_LINES 24
#define PICTURE_COLUMNS 72

/* 0x00rrggbb. */
#define PICTURE_GROUND 0x16324fu
#define PICTURE_BAND 0x2f6690u
#define PICTURE_INK 0xf4f4f4u
#define PICTURE_CURSOR 0xffb703u

struct picture {
    char title[PICTURE_COLUMNS + 1];
    char lines[PICTURE_LINES][PICTURE_COLUMNS + 1];
    int pointer_x, pointer_y;
};

/* Draws all of it: PICTURE_PIXELS pixels, 0x00rrggbb. */
void picture_draw(const struct picture *picture, uint32_t *pixels);
/* Parts of one: a rectangle, and a character of 5 x 8 dots, each dot so many pixels. */
void picture_fill(uint32_t *pixels, int x, int y, int w, int h, uint32_t colour);
void picture_glyph(uint32_t *pixels, int x, int y, int dot_width, int dot_height, char c,
                   uint32_t colour);
