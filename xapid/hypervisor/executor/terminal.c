/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* terminal.c -- see terminal.h. */
#include "xapid/hypervisor/executor/terminal.h"

#include <stdlib.h>
#include <string.h>

#include "xapid/hypervisor/server/picture.h"

#define CELL_WIDTH (PICTURE_WIDTH / TERMINAL_COLUMNS)
#define CELL_HEIGHT 16
#define TOP ((PICTURE_HEIGHT - TERMINAL_ROWS * CELL_HEIGHT) / 2)

enum { GROUND, ESCAPE, CSI, STRING, STRING_ESCAPE, CHARSET };

static struct terminal_cell blank(const struct terminal *t)
{
    struct terminal_cell cell = {' ', 7, t->pen.ground, false};

    return cell;
}

static void clear(struct terminal *t, int row, int from, int to)
{
    for (int i = from; i < to; i++)
        t->cells[row][i] = blank(t);
}

static void clear_rows(struct terminal *t, int from, int to)
{
    for (int i = from; i < to; i++)
        clear(t, i, 0, TERMINAL_COLUMNS);
}

void terminal_init(struct terminal *t)
{
    *t = (struct terminal){.bottom = TERMINAL_ROWS - 1, .pen = {' ', 7, 0, false}};
    clear_rows(t, 0, TERMINAL_ROWS);
}

/* Moves the rows from 'top' to the region's end up (n > 0) or down. */
static void scroll(struct terminal *t, int top, int n)
{
    int height = t->bottom - top + 1;
    int lines = MIN(abs(n), height);
    size_t moved = (size_t)(height - lines) * sizeof t->cells[0];

    if (top > t->bottom)
        return;
    if (n > 0) {
        memmove(t->cells[top], t->cells[top + lines], moved);
        clear_rows(t, t->bottom - lines + 1, t->bottom + 1);
    } else {
        memmove(t->cells[top + lines], t->cells[top], moved);
        clear_rows(t, top, top + lines);
    }
}

static void line_feed(struct terminal *t)
{
    if (t->row == t->bottom)
        scroll(t, t->top, 1);
    else if (t->row < TERMINAL_ROWS - 1)
        t->row++;
}

static void line_back(struct terminal *t)
{
    if (t->row == t->top)
        scroll(t, t->top, -1);
    else if (t->row > 0)
        t->row--;
}

static void move_to(struct terminal *t, int row, int column)
{
    t->row = MIN(MAX(row, 0), TERMINAL_ROWS - 1);
    t->column = MIN(MAX(column, 0), TERMINAL_COLUMNS - 1);
    t->wrap_next = false;
}

static void show(struct terminal *t, char c)
{
    struct terminal_cell *cell;

    if (t->wrap_next) {
        t->column = 0;
        t->wrap_next = false;
        line_feed(t);
    }
    cell = &t->cells[t->row][t->column];
    *cell = t->pen;
    cell->c = c;
    if (t->reverse) {
        cell->ink = t->pen.ground;
        cell->ground = t->pen.ink;
    }
    if (t->column == TERMINAL_COLUMNS - 1)
        t->wrap_next = true;
    else
        t->column++;
}

/* What comes near to a character that the font has not. */
static char near(uint32_t rune)
{
    if (rune == 0x2502 || rune == 0x2503 || rune == 0x2551)
        return '|';
    if (rune == 0x2500 || rune == 0x2501 || rune == 0x2550 || rune == 0x2013 || rune == 0x2014)
        return '-';
    if (rune >= 0x2500 && rune < 0x2580)
        return '+';
    if (rune >= 0x2580 && rune < 0x25a0)
        return '#';
    if (rune == 0x2018 || rune == 0x2019)
        return '\'';
    if (rune == 0x201c || rune == 0x201d)
        return '"';
    return rune == 0xa0 ? ' ' : rune == 0x2022 || rune == 0x25cf ? '*' : '?';
}

/* A byte beyond ASCII: part of a character. */
static void high_byte(struct terminal *t, uint8_t b)
{
    if ((b & 0xc0) == 0x80 && t->rune_left) {
        t->rune = t->rune << 6 | (b & 0x3fu);
        if (--t->rune_left == 0)
            show(t, near(t->rune));
        return;
    }
    t->rune_left = b >= 0xf8 ? 0 : b >= 0xf0 ? 3 : b >= 0xe0 ? 2 : b >= 0xc0 ? 1 : 0;
    t->rune = b & (0x3fu >> t->rune_left);
    if (!t->rune_left)
        show(t, '?');
}

/*** control sequences ***/

static int param(const struct terminal *t, int i, int def)
{
    return i < t->n_params && t->params[i] ? t->params[i] : def;
}

static void set_pen(struct terminal *t)
{
    for (int i = 0; i < MAX(t->n_params, 1); i++) {
        int p = i < t->n_params ? t->params[i] : 0;

        if (p == 0) {
            t->pen = (struct terminal_cell){' ', 7, 0, false};
            t->reverse = false;
        } else if (p == 1 || p == 22) {
            t->pen.bold = p == 1;
        } else if (p == 7 || p == 27) {
            t->reverse = p == 7;
        } else if (p >= 30 && p <= 37) {
            t->pen.ink = (uint8_t)(p - 30);
        } else if (p >= 40 && p <= 47) {
            t->pen.ground = (uint8_t)(p - 40);
        } else if (p == 39) {
            t->pen.ink = 7;
        } else if (p == 49) {
            t->pen.ground = 0;
        } else if (p >= 90 && p <= 97) {
            t->pen.ink = (uint8_t)(p - 90);
            t->pen.bold = true;
        } else if (p == 38 || p == 48) {
            i += param(t, i + 1, 0) == 5 ? 2 : 4; /* colours beyond the eight */
        }
    }
}

static void erase_display(struct terminal *t, int what)
{
    if (what == 0) {
        clear(t, t->row, t->column, TERMINAL_COLUMNS);
        clear_rows(t, t->row + 1, TERMINAL_ROWS);
    } else if (what == 1) {
        clear_rows(t, 0, t->row);
        clear(t, t->row, 0, t->column + 1);
    } else {
        clear_rows(t, 0, TERMINAL_ROWS);
    }
}

static void erase_line(struct terminal *t, int what)
{
    clear(t, t->row, what == 0 ? t->column : 0, what == 1 ? t->column + 1 : TERMINAL_COLUMNS);
}

/* Characters of the line move right (n > 0) or left. */
static void shift(struct terminal *t, int n)
{
    struct terminal_cell *row = t->cells[t->row];
    int left = TERMINAL_COLUMNS - t->column;
    int by = MIN(abs(n), left);
    size_t moved = (size_t)(left - by) * sizeof *row;

    if (n > 0) {
        memmove(row + t->column + by, row + t->column, moved);
        clear(t, t->row, t->column, t->column + by);
    } else {
        memmove(row + t->column, row + t->column + by, moved);
        clear(t, t->row, TERMINAL_COLUMNS - by, TERMINAL_COLUMNS);
    }
}

static void set_region(struct terminal *t)
{
    int top = param(t, 0, 1) - 1, bottom = param(t, 1, TERMINAL_ROWS) - 1;

    if (top < 0 || bottom >= TERMINAL_ROWS || top >= bottom)
        return;
    t->top = top;
    t->bottom = bottom;
    move_to(t, 0, 0);
}

static void private_sequence(struct terminal *t, char c)
{
    if (param(t, 0, 0) == 25 && (c == 'h' || c == 'l'))
        t->hidden = c == 'l';
}

static void report(const struct terminal *t, char c, struct buf *reply)
{
    if (c == 'c')
        buf_puts(reply, "\033[?6c");
    else if (param(t, 0, 0) == 5)
        buf_puts(reply, "\033[0n");
    else if (param(t, 0, 0) == 6)
        buf_printf(reply, "\033[%d;%dR", t->row + 1, t->column + 1);
}

static void sequence(struct terminal *t, char c, struct buf *reply)
{
    int n = MIN(param(t, 0, 1), 1000);

    switch (c) {
    case 'A':
        move_to(t, t->row - n, t->column);
        break;
    case 'B':
    case 'e':
        move_to(t, t->row + n, t->column);
        break;
    case 'C':
    case 'a':
        move_to(t, t->row, t->column + n);
        break;
    case 'D':
        move_to(t, t->row, t->column - n);
        break;
    case 'G':
    case '`':
        move_to(t, t->row, n - 1);
        break;
    case 'd':
        move_to(t, n - 1, t->column);
        break;
    case 'H':
    case 'f':
        move_to(t, n - 1, param(t, 1, 1) - 1);
        break;
    case 'J':
        erase_display(t, param(t, 0, 0));
        break;
    case 'K':
        erase_line(t, param(t, 0, 0));
        break;
    case 'X':
        clear(t, t->row, t->column, MIN(t->column + n, TERMINAL_COLUMNS));
        break;
    case '@':
        shift(t, n);
        break;
    case 'P':
        shift(t, -n);
        break;
    case 'L':
        scroll(t, t->row, -n);
        break;
    case 'M':
        scroll(t, t->row, n);
        break;
    case 'S':
        scroll(t, t->top, n);
        break;
    case 'T':
        scroll(t, t->top, -n);
        break;
    case 'm':
        set_pen(t);
        break;
    case 'r':
        set_region(t);
        break;
    case 's':
        t->saved_row = t->row;
        t->saved_column = t->column;
        break;
    case 'u':
        move_to(t, t->saved_row, t->saved_column);
        break;
    case 'c':
    case 'n':
        report(t, c, reply);
        break;
    default:
        break;
    }
}

static void in_csi(struct terminal *t, char c, struct buf *reply)
{
    if (c >= '0' && c <= '9') {
        int *p;

        t->n_params = MAX(t->n_params, 1);
        p = &t->params[t->n_params - 1];
        *p = MIN(*p * 10 + (c - '0'), 9999);
    } else if (c == ';') {
        t->n_params = MIN(MAX(t->n_params, 1) + 1, TERMINAL_PARAMS_MAX);
    } else if (c == '?' || c == '>' || c == '=') {
        t->private_mode = true;
    } else if (c >= '@' && c <= '~') {
        if (t->private_mode)
            private_sequence(t, c);
        else
            sequence(t, c, reply);
        t->state = GROUND;
    }
}

static void in_escape(struct terminal *t, char c)
{
    t->state = GROUND;
    switch (c) {
    case '[':
        t->state = CSI;
        t->n_params = 0;
        t->private_mode = false;
        memset(t->params, 0, sizeof t->params);
        break;
    case ']':
    case 'P':
    case '_':
    case '^':
        t->state = STRING;
        break;
    case '(':
    case ')':
    case '#':
    case '%':
        t->state = CHARSET;
        break;
    case '7':
        t->saved_row = t->row;
        t->saved_column = t->column;
        break;
    case '8':
        move_to(t, t->saved_row, t->saved_column);
        break;
    case 'D':
        line_feed(t);
        break;
    case 'E':
        t->column = 0;
        line_feed(t);
        break;
    case 'M':
        line_back(t);
        break;
    case 'c':
        terminal_init(t);
        break;
    default:
        break;
    }
}

static void control_char(struct terminal *t, char c)
{
    switch (c) {
    case '\r':
        t->column = 0;
        t->wrap_next = false;
        break;
    case '\n':
    case '\v':
    case '\f':
        line_feed(t);
        break;
    case '\b':
        move_to(t, t->row, t->column - 1);
        break;
    case '\t':
        move_to(t, t->row, (t->column / 8 + 1) * 8);
        break;
    case '\033':
        t->state = ESCAPE;
        break;
    default:
        break;
    }
}

static void feed(struct terminal *t, char c, struct buf *reply)
{
    bool printable = (uint8_t)c >= ' ' && c != 0x7f;

    if (t->state == STRING || t->state == STRING_ESCAPE) {
        /* A title or the like: to its end, BEL or ESC \. */
        t->state = c == '\a' || t->state == STRING_ESCAPE ? GROUND
                   : c == '\033'                          ? STRING_ESCAPE
                                                          : STRING;
    } else if (!printable) {
        control_char(t, c);
    } else if (t->state == CSI) {
        in_csi(t, c, reply);
    } else if (t->state == ESCAPE) {
        in_escape(t, c);
    } else if (t->state == CHARSET) {
        t->state = GROUND;
    } else if ((uint8_t)c >= 0x80) {
        high_byte(t, (uint8_t)c);
    } else {
        t->rune_left = 0;
        show(t, c);
    }
}

void terminal_feed(struct terminal *t, const char *data, size_t n, struct buf *reply)
{
    for (size_t i = 0; i < n; i++)
        feed(t, data[i], reply);
}

/*** the picture ***/

static const uint32_t colours[2][8] = {
    {0x000000, 0xcc3333, 0x33aa33, 0xc4a000, 0x5588dd, 0xb060b0, 0x2fa8a8, 0xcccccc},
    {0x666666, 0xff6666, 0x77dd77, 0xffe066, 0x88b4ff, 0xe08ae0, 0x66dddd, 0xffffff},
};

void terminal_draw(const struct terminal *t, uint32_t *pixels)
{
    picture_fill(pixels, 0, 0, PICTURE_WIDTH, PICTURE_HEIGHT, colours[0][0]);
    for (int row = 0; row < TERMINAL_ROWS; row++) {
        for (int column = 0; column < TERMINAL_COLUMNS; column++) {
            const struct terminal_cell *cell = &t->cells[row][column];
            bool cursor = !t->hidden && row == t->row && column == t->column;
            uint32_t ink = colours[cell->bold][cell->ink], ground = colours[0][cell->ground];
            int x = column * CELL_WIDTH, y = TOP + row * CELL_HEIGHT;

            if (cursor || cell->ground)
                picture_fill(pixels, x, y, CELL_WIDTH, CELL_HEIGHT, cursor ? ink : ground);
            if (cell->c != ' ')
                picture_glyph(pixels, x + 1, y, 1, 2, cell->c, cursor ? ground : ink);
        }
    }
}

/*** keys ***/

static const struct {
    uint32_t keysym;
    const char *bytes;
} special[] = {
    {0xff08, "\x7f"},     {0xff09, "\t"},       {0xff0d, "\r"},       {0xff1b, "\033"},
    {0xff50, "\033[H"},   {0xff51, "\033[D"},   {0xff52, "\033[A"},   {0xff53, "\033[C"},
    {0xff54, "\033[B"},   {0xff55, "\033[5~"},  {0xff56, "\033[6~"},  {0xff57, "\033[F"},
    {0xff63, "\033[2~"},  {0xff8d, "\r"},       {0xffff, "\033[3~"},  {0xffbe, "\033OP"},
    {0xffbf, "\033OQ"},   {0xffc0, "\033OR"},   {0xffc1, "\033OS"},   {0xffc2, "\033[15~"},
    {0xffc3, "\033[17~"}, {0xffc4, "\033[18~"}, {0xffc5, "\033[19~"}, {0xffc6, "\033[20~"},
    {0xffc7, "\033[21~"}, {0xffc8, "\033[23~"}, {0xffc9, "\033[24~"},
};

void terminal_key(struct terminal *t, bool down, uint32_t keysym, struct buf *out)
{
    if (keysym == 0xffe3 || keysym == 0xffe4)
        t->control = down;
    if (keysym == 0xffe9 || keysym == 0xffea)
        t->alt = down;
    if (!down)
        return;
    for (size_t i = 0; i < ARRAY_SIZE(special); i++)
        if (special[i].keysym == keysym)
            buf_puts(out, special[i].bytes);
    if (keysym >= 0xffb0 && keysym <= 0xffb9) /* the digits of a keypad */
        keysym = '0' + (keysym - 0xffb0);
    if (keysym > 0xff || (keysym < 0xa0 && keysym > '~') || keysym < ' ')
        return;
    if (t->alt)
        buf_putc(out, '\033');
    if (keysym > '~') {
        buf_putc(out, (char)(0xc0 | keysym >> 6));
        buf_putc(out, (char)(0x80 | (keysym & 0x3f)));
    } else if (t->control && keysym >= '@') {
        buf_putc(out, (char)(keysym & 0x1f));
    } else {
        buf_putc(out, (char)keysym);
    }
}
