/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/db/dump.h"

#include <inttypes.h>
#include <string.h>

#include "libxapi/base/buf.h"
#include "xapid/db/dump_text.h"

bool dump_has_table(const struct class_desc *class)
{
    return (class->flags & (CLASS_STORED | CLASS_STATIC)) == CLASS_STORED;
}

bool dump_has_rows(const struct class_desc *class)
{
    return dump_has_table(class) && (class->flags & CLASS_PERSISTENT) && class->id != CLASS_task &&
           class->id != CLASS_intent && class->id != CLASS_coordinator;
}

/* One blank stands for itself; XML's readers may join several. */
static void add_protected(struct buf *out, const char *text)
{
    AUTO(buf) plain = {0};

    for (const char *p = text; *p; p++) {
        if (*p == ' ' && p > text && p[-1] == ' ')
            buf_puts(&plain, "%.");
        else if (*p == '\t')
            buf_puts(&plain, "%t");
        else if (*p == '\n')
            buf_puts(&plain, "%n");
        else if (*p == '\r')
            buf_puts(&plain, "%r");
        else if (*p == '%')
            buf_puts(&plain, "%%");
        else
            buf_putc(&plain, *p);
    }
    if (plain.len)
        buf_xml(out, plain.data);
}

static void add_row(struct buf *out, const struct class_desc *class, const struct row *row,
                    uint64_t modified)
{
    const struct field_desc *fields = &api_fields[class->first_field];
    AUTO(arena) arena = {0};
    char ref[REF_TEXT_SIZE];

    ref_to_text(row->ref, ref);
    buf_printf(out, "<row ref=\"%s\" __ctime=\"%" PRIu64 "\" __mtime=\"%" PRIu64 "\" _ref=\"%s\"",
               ref, row->row_created, modified, ref);
    for (int i = 0; i < class->n_fields; i++) {
        if (!field_is_stored(&fields[i]))
            continue;
        buf_printf(out, " %s=\"", fields[i].db_name);
        add_protected(out, value_filter_text(&arena, fields[i].type, field_in(row, &fields[i])));
        buf_putc(out, '"');
    }
    buf_puts(out, "/>");
}

void dump_begin(const struct db_root *root, struct dump_writer *out)
{
    *out = (struct dump_writer){.root = root, .class_id = -1};
}

static void add_head(struct buf *out, const struct db_root *root)
{
    buf_printf(out,
               "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<database><manifest>"
               "<pair key=\"schema_major_vsn\" value=\"%d\"/>"
               "<pair key=\"schema_minor_vsn\" value=\"%d\"/>"
               "<pair key=\"generation_count\" value=\"%" PRIu64 "\"/></manifest>",
               DUMP_SCHEMA_MAJOR, DUMP_SCHEMA_MINOR, root->revision);
}

/* Ends the table before, begins the next; false after the last. */
static bool next_table(struct dump_writer *w, struct buf *out)
{
    if (w->class_id < 0)
        add_head(out, w->root);
    else
        buf_puts(out, "</table>");
    do
        w->class_id++;
    while (w->class_id < CLASS_COUNT && !dump_has_table(&api_classes[w->class_id]));
    if (w->class_id == CLASS_COUNT) {
        buf_puts(out, "</database>\n");
        return false;
    }
    buf_printf(out, "<table name=\"%s\">", api_classes[w->class_id].name);
    tree_seek(&w->root->tables[w->class_id], NULL, &w->cursor);
    return true;
}

bool dump_next(struct dump_writer *w, struct buf *out, size_t want)
{
    const struct class_desc *class;
    const struct tree_entry *e;
    size_t begin = out->len;

    if (w->class_id < 0)
        w->done = !next_table(w, out);
    while (!w->done && out->len - begin < want) {
        class = &api_classes[w->class_id];
        e = dump_has_rows(class) ? tree_next(&w->cursor) : NULL;
        if (e)
            add_row(out, class, (const struct row *)e->k[2], e->k[3]);
        else
            w->done = !next_table(w, out);
    }
    return !w->done;
}
