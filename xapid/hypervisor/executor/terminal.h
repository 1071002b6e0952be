/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * terminal.h -- a text terminal of 80 x 25: bytes in, characters in cells out, and the keys of a
 * screen's client as a terminal sends them.
 *
 * Knows no descriptor, so that it can be tested anywhere.  It understands what Linux consoles and
 * boot loaders send (a VT100 with colours); what it does not know it passes over.
 */
#pragma once

#include "libxapi/base/buf.h"

#define TERMINAL_COLUMNS 80
#define TERMINAL_ROWS 25
#define TERMINAL_PARAMS_MAX 16

struct terminal_cell {
    char c; /* printable ASCII; others are shown as '?' or what comes near */
    uint8_t ink, ground;
    bool bold;
};

struct terminal {
    struct terminal_cell cells[TERMINAL_ROWS][TERMINAL_COLUMNS];
    int row, column;
    bool wrap_next;  /* the last column was written: the next character begins a line */
    bool hidden;     /* the cursor */
    int top, bottom; /* the region that scrolls, both within it */
    int saved_row, saved_column;
    struct terminal_cell pen; /* 'c' is a blank */
    bool reverse;
    int state;
    bool private_mode;
    int params[TERMINAL_PARAMS_MAX];
    int n_params;
    uint32_t rune; /* UTF-8 being decoded */
    int rune_left;
    /* Of the client's keyboard. */
    bool control, alt;
};

void terminal_init(struct terminal *t);
/* 'reply' gets what a terminal answers to questions. */
void terminal_feed(struct terminal *t, const char *data, size_t n, struct buf *reply);
/* Draws it all: PICTURE_PIXELS pixels. */
void terminal_draw(const struct terminal *t, uint32_t *pixels);
/* A key of an X11 keysym; adds the bytes it sends. */
void terminal_key(struct terminal *t, bool down, uint32_t keysym, struct buf *out);
