/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * column.h -- values as the checkpoint's columns hold them, readable with sqlite3, and back without
 * any loss.
 *
 *   string, enum, ref  TEXT                          int, bool  INTEGER
 *   datetime           TEXT, ISO 8601 with           float      REAL, NULL for not-a-number
 *                      microseconds                  set, map   TEXT, JSON
 *
 * SQLite has one zero and one not-a-number; a write-set's reader makes others into these (write.c).
 * A date outside the years 0 to 9999 is its number of microseconds.  In JSON the keys of an object
 * are strings whatever their type, and floats that JSON cannot write are strings.
 */
#pragma once

#include "libxapi/value/value.h"

/* The same numbers as SQLite's. */
enum cell_kind { CELL_INT = 1, CELL_REAL = 2, CELL_TEXT = 3, CELL_BLOB = 4, CELL_NULL = 5 };

struct cell {
    enum cell_kind kind;
    int64_t i;
    double d;
    const char *text; /* followed by a NUL */
    size_t n;
};

/* "TEXT", "INTEGER" or "REAL". */
const char *column_type(const struct type *type);
/* The text is in the arena or as long-lived as 'value'. */
void cell_from_value(struct arena *arena, const struct type *type, const void *value,
                     struct cell *out);
/*
 * Fills 'out' (type->size bytes), whose strings are in the arena or are the cell's.  False for what
 * cell_from_value would not have written.  With 'lenient' a cell of another column type is
 * converted where its meaning is plain.
 */
bool cell_to_value(struct arena *arena, const struct type *type, const struct cell *cell,
                   bool lenient, void *out);
/* Adds the cell to the bytes a row's checksum is made of. */
void cell_add(struct buf *buf, const struct cell *cell);
