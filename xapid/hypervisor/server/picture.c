/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* picture.c -- the font and the drawing. */
#include "xapid/hypervisor/server/picture.h"

#define GLYPH_WIDTH 5
#define GLYPH_HEIGHT 8
#define CELL_WIDTH 8
#define LINE_HEIGHT 16
#define BAND_HEIGHT 56
#define MARGIN 24

/* One glyph for each character from ' ' to '~': eight rows from the top, each a digit to the base
 * 32, five pixels. */
static const char *const glyphs[] = {
    "00000000", "44444040", "AAA00000", "AAVAVAA0", "4FKE5U40", "OP248J30", "CIK8LID0", "44800000",
    "24888420", "84222480", "04LEL400", "044V4400", "00000C48", "000E0000", "00000CC0", "01248G00",
    "EHJLPHE0", "4C4444E0", "EH1248V0", "V2421HE0", "26AIV220", "VGU11HE0", "68GUHHE0", "V1248880",
    "EHHEHHE0", "EHHF12C0", "0CC0CC00", "0CC0C480", "248G8420", "00V0V000", "84212480", "EH124040",
    "EH1DLLE0", "EHHHVHH0", "UHHUHHU0", "EHGGGHE0", "SIHHHIS0", "VGGUGGV0", "VGGUGGG0", "EHGNHHF0",
    "HHHVHHH0", "E44444E0", "72222IC0", "HIKOKIH0", "GGGGGGV0", "HRLLHHH0", "HHPLJHH0", "EHHHHHE0",
    "UHHUGGG0", "EHHHLID0", "UHHUKIH0", "FGGE11U0", "V4444440", "HHHHHHE0", "HHHHHA40", "HHHLLLA0",
    "HHA4AHH0", "HHHA4440", "V1248GV0", "E88888E0", "0G842100", "E22222E0", "4AH00000", "0000000V",
    "84200000", "00E1FHF0", "GGMPHHU0", "00EGGHE0", "11DJHHF0", "00EHVGE0", "698S8880", "00FHHF1E",
    "GGMPHHH0", "40C444E0", "206222IC", "GGIKOKI0", "C44444E0", "00QLLHH0", "00MPHHH0", "00EHHHE0",
    "00UHHUGG", "00DJHF11", "00MPGGG0", "00FGE1U0", "88S88960", "00HHHJD0", "00HHHA40", "00HHLLA0",
    "00HA4AH0", "00HHHF1E", "00V248V0", "24484420", "44444440", "84424480", "008L2000",
};

static unsigned row_bits(char digit)
{
    return digit <= '9' ? (unsigned)(digit - '0') : (unsigned)(digit - 'A' + 10);
}

void picture_fill(uint32_t *pixels, int x, int y, int w, int h, uint32_t colour)
{
    for (int j = MAX(y, 0); j < MIN(y + h, PICTURE_HEIGHT); j++)
        for (int i = MAX(x, 0); i < MIN(x + w, PICTURE_WIDTH); i++)
            pixels[(size_t)j * PICTURE_WIDTH + (size_t)i] = colour;
}

void picture_glyph(uint32_t *pixels, int x, int y, int dot_width, int dot_height, char c,
                   uint32_t colour)
{
    const char *glyph = glyphs[(c < ' ' || c > '~' ? '?' : c) - ' '];

    for (int row = 0; row < GLYPH_HEIGHT; row++)
        for (int column = 0; column < GLYPH_WIDTH; column++)
            if (row_bits(glyph[row]) >> (GLYPH_WIDTH - 1 - column) & 1)
                picture_fill(pixels, x + column * dot_width, y + row * dot_height, dot_width,
                             dot_height, colour);
}

static void draw_text(uint32_t *pixels, int x, int y, int scale, const char *text)
{
    for (; *text && x < PICTURE_WIDTH; text++, x += CELL_WIDTH * scale)
        picture_glyph(pixels, x, y, scale, scale, *text, PICTURE_INK);
}

void picture_draw(const struct picture *picture, uint32_t *pixels)
{
    picture_fill(pixels, 0, 0, PICTURE_WIDTH, PICTURE_HEIGHT, PICTURE_GROUND);
    picture_fill(pixels, 0, 0, PICTURE_WIDTH, BAND_HEIGHT, PICTURE_BAND);
    draw_text(pixels, MARGIN, (BAND_HEIGHT - 2 * GLYPH_HEIGHT) / 2, 2, picture->title);
    for (int i = 0; i < PICTURE_LINES; i++)
        draw_text(pixels, MARGIN, BAND_HEIGHT + MARGIN + i * LINE_HEIGHT, 1, picture->lines[i]);
    picture_fill(pixels, picture->pointer_x - 1, picture->pointer_y - 1, 3, 3, PICTURE_CURSOR);
}
