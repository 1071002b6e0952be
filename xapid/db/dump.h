/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * dump.h -- the whole database as XML, in the form in which XenServer's hosts write theirs; and
 * back.
 *
 *   <database>
 *     <manifest><pair key="schema_major_vsn" value="5"/>...</manifest>
 *     <table name="VM"><row ref="OpaqueRef:..." __ctime="4" __mtime="9"
 * name__label="a"/>...</table>
 *   </database>
 *
 * Values have the text that filters compare with (value_filter_text); in it '%' begins what an
 * attribute would not keep: "%." a blank after a blank, "%t" "%n" "%r", "%%".  What does not
 * outlive its owner (tasks, sessions, intents) is not written.
 */
#pragma once

#include "xapid/db/root.h"

/*** writing ***/

struct dump_writer {
    const struct db_root *root;
    int class_id; /* of the table that is being written; -1: nothing was written yet */
    struct tree_cursor cursor;
    bool done;
};

void dump_begin(const struct db_root *root, struct dump_writer *out);
/* Appends about 'want' bytes, or all that is left; false once nothing follows. */
bool dump_next(struct dump_writer *w, struct buf *out, size_t want);

/*** reading ***/

struct dump_reader;
struct dump_reader *dump_reader_new(void);
void dump_reader_free(struct dump_reader *reader);
/* The next bytes; false where all that follows is of no use, because something is wrong. */
bool dump_reader_feed(struct dump_reader *reader, const char *data, size_t n);
/*
 * After the last byte: the database it describes, with a new incarnation, no log behind it, and
 * nothing under way.  Tables and fields that are not known are left out, references to what is not
 * there are forgotten.  Errors: RESTORE_INCOMPATIBLE_VERSION, INTERNAL_ERROR that says what is
 * wrong.
 */
MUST_CHECK struct error *dump_reader_end(struct arena *arena, struct dump_reader *reader,
                                         struct db_root **root);

/* A value from its text; strings are in the arena.  False where it is none of that type. */
bool dump_value(struct arena *arena, const struct type *type, const char *text, void *out);
