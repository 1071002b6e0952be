/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * dump_load.c -- reads a dump with libxml2's push parser, row by row, and makes a database of it.
 *
 * What is read comes from outside: every value is checked against its type, references are looked
 * up, and the whole is judged by the rules that each change has to keep (db_check).
 */
#include <inttypes.h>
#include <libxml/parser.h>
#include <stdlib.h>
#include <string.h>

#include "libxapi/base/buf.h"
#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "xapid/db/db.h"
#include "xapid/db/dump_text.h"

#define ROWS_LIMIT ((size_t)4 << 20)
#define DEEPEST 3 /* database, table, row */

/* A row that was read; its struct and texts are in the reader's arena. */
struct found {
    const struct class_desc *class;
    struct row *row;
    uint64_t modified;
};

struct dump_reader {
    struct arena arena;
    xmlParserCtxt *xml;
    const char *why; /* what is wrong; NULL: nothing so far */
    int depth;
    bool in_manifest;
    const struct class_desc *class; /* of the table; NULL where its rows are left out */
    uint64_t generation;
    int major;
    size_t n, room;
    struct found *rows;
};

/*** values from their texts ***/

struct expression {
    struct arena *arena;
    const char *p;
};

static bool skip(struct expression *x, char c)
{
    while (*x->p == ' ')
        x->p++;
    if (*x->p != c)
        return false;
    x->p++;
    return true;
}

/* Bytes up to the end of an atom. */
static size_t atom_size(const char *p)
{
    size_t n = 0;

    while (p[n] && p[n] != '\'')
        n += p[n] == '\\' && p[n + 1] ? 2 : 1;
    return n;
}

/* 'text' with \ before \ and '. */
static bool read_atom(struct expression *x, const char **out)
{
    char *to;

    if (!skip(x, '\''))
        return false;
    *out = to = arena_alloc(x->arena, atom_size(x->p) + 1);
    for (; *x->p && *x->p != '\''; x->p++) {
        if (*x->p == '\\' && x->p[1])
            x->p++;
        *to++ = *x->p;
    }
    *to = '\0';
    return skip(x, '\'');
}

static bool read_scalar(struct arena *arena, const struct type *type, const char *text, void *out)
{
    switch (type->kind) {
    case TYPE_STRING:
        *(const char **)out = arena_strdup(arena, text);
        return true;
    case TYPE_ENUM:
        *(int *)out = enum_by_name(type->enum_desc, text);
        return *(int *)out >= 0;
    case TYPE_REF:
        return !*text ? (*(ref_t *)out = REF_NULL, true) : ref_from_text(text, out);
    case TYPE_BOOL:
        *(bool *)out = strcmp(text, "true") == 0;
        return *(bool *)out || strcmp(text, "false") == 0;
    case TYPE_INT:
        return int_from_text(text, out);
    case TYPE_FLOAT:
        return double_from_text(text, out);
    case TYPE_DATETIME:
        return date_from_text(text, out);
    default:
        return false;
    }
}

/* A set's elements or a map's entries on their way. */
struct collected {
    struct buf bytes;
    size_t n;
};

static void collected_release(struct collected *c)
{
    buf_release(&c->bytes);
}

static bool read_collection(struct expression *x, const struct type *type, struct set *out);

/* Within another. */
static bool read_element(struct expression *x, const struct type *type, void *out)
{
    const char *text;

    if (type->kind == TYPE_SET || type->kind == TYPE_MAP)
        return read_collection(x, type, out);
    return read_atom(x, &text) && read_scalar(x->arena, type, text, out);
}

static bool read_entry(struct expression *x, const struct type *type, char *entry)
{
    return skip(x, '(') && read_element(x, type->key, entry) &&
           read_element(x, type->elem, entry + type->value_offset) && skip(x, ')');
}

/* As deep as the type is. */
static bool read_collection(struct expression *x, const struct type *type, struct set *out)
{
    size_t stride = type->kind == TYPE_MAP ? type->entry_size : type->elem->size;
    AUTO(collected) c = {0};
    char *entry = arena_zalloc(x->arena, stride);

    if (!skip(x, '('))
        return false;
    while (!skip(x, ')')) {
        if (!(type->kind == TYPE_MAP ? read_entry(x, type, entry)
                                     : read_element(x, type->elem, entry)))
            return false;
        buf_add(&c.bytes, entry, stride);
        c.n++;
    }
    *out = (struct set){c.n, c.n ? arena_memdup(x->arena, c.bytes.data, c.bytes.len) : NULL};
    return true;
}

bool dump_value(struct arena *arena, const struct type *type, const char *text, void *out)
{
    struct expression x = {arena, text};

    if (type->kind != TYPE_SET && type->kind != TYPE_MAP)
        return read_scalar(arena, type, text, out);
    return read_collection(&x, type, out) && !*x.p;
}

/* Undoes what add_protected did. */
static const char *unprotected(struct arena *arena, const char *text)
{
    char *out = arena_strdup(arena, text), *to = out;

    for (; *text; text++) {
        if (*text != '%' || !text[1]) {
            *to++ = *text;
            continue;
        }
        text++;
        *to++ = *text == '.'   ? ' '
                : *text == 't' ? '\t'
                : *text == 'n' ? '\n'
                : *text == 'r' ? '\r'
                               : *text;
    }
    *to = '\0';
    return out;
}

/*** elements ***/

static void wrong(struct dump_reader *r, const char *why)
{
    if (!r->why)
        r->why = why;
    xmlStopParser(r->xml);
}

static const char *attribute(const char *const *atts, const char *name)
{
    for (; atts && atts[0]; atts += 2)
        if (strcmp(atts[0], name) == 0)
            return atts[1] ? atts[1] : "";
    return NULL;
}

static uint64_t number(const char *text)
{
    return text ? strtoull(text, NULL, 10) : 0;
}

static void on_pair(struct dump_reader *r, const char *const *atts)
{
    const char *key = attribute(atts, "key"), *value = attribute(atts, "value");

    if (!key || !value)
        return;
    if (strcmp(key, "generation_count") == 0)
        r->generation = number(value);
    if (strcmp(key, "schema_major_vsn") == 0)
        r->major = (int)number(value);
}

static const struct class_desc *class_named(const char *name)
{
    for (int i = 0; name && i < CLASS_COUNT; i++)
        if (strcmp(api_classes[i].name, name) == 0 && dump_has_rows(&api_classes[i]))
            return &api_classes[i];
    return NULL;
}

static const struct field_desc *field_named(const struct class_desc *class, const char *name)
{
    const struct field_desc *fields = &api_fields[class->first_field];

    for (int i = 0; i < class->n_fields; i++)
        if (field_is_stored(&fields[i]) && strcmp(fields[i].db_name, name) == 0)
            return &fields[i];
    return NULL;
}

static struct found *add_found(struct dump_reader *r)
{
    if (r->n == r->room) {
        r->room = r->room ? 2 * r->room : 1024;
        r->rows = xrealloc(r->rows, r->room * sizeof *r->rows);
    }
    return &r->rows[r->n++];
}

static void on_row(struct dump_reader *r, const char *const *atts)
{
    const char *ref = attribute(atts, "ref");
    uint64_t modified = number(attribute(atts, "__mtime"));
    struct row *row;

    if (r->n == ROWS_LIMIT) {
        wrong(r, "there are too many rows");
        return;
    }
    row = arena_zalloc(&r->arena, r->class->struct_size);
    row_defaults(r->class, row);
    row->row_created = number(attribute(atts, "__ctime"));
    if (!ref || !ref_from_text(ref, &row->ref) || ref_is_null(row->ref)) {
        wrong(r, arena_printf(&r->arena, "a row of %s has no reference", r->class->name));
        return;
    }
    for (; atts[0]; atts += 2) {
        const struct field_desc *field = field_named(r->class, atts[0]);

        if (field && !dump_value(&r->arena, field->type, unprotected(&r->arena, atts[1]),
                                 (char *)row + field->offset)) {
            wrong(r, arena_printf(&r->arena, "%s %s: %s has a value that cannot be", r->class->name,
                                  arena_strdup(&r->arena, ref), field->name));
            return;
        }
    }
    *add_found(r) = (struct found){r->class, row, modified};
}

static void on_start(void *ctx, const xmlChar *xml_name, const xmlChar **xml_atts)
{
    const char *const *atts = (const char *const *)xml_atts;
    const char *name = (const char *)xml_name;
    struct dump_reader *r = ctx;

    r->depth++;
    if (r->depth == 1 && strcmp(name, "database") != 0)
        wrong(r, "it is no dump of a database");
    else if (r->depth > DEEPEST)
        wrong(r, "it has elements where none can be");
    else if (r->depth == 2) {
        r->in_manifest = strcmp(name, "manifest") == 0;
        r->class = strcmp(name, "table") == 0 ? class_named(attribute(atts, "name")) : NULL;
    } else if (r->depth == 3 && r->in_manifest && strcmp(name, "pair") == 0) {
        on_pair(r, atts);
    } else if (r->depth == 3 && r->class && strcmp(name, "row") == 0) {
        on_row(r, atts);
    }
}

static void on_end(void *ctx, const xmlChar *name)
{
    struct dump_reader *r = ctx;

    (void)name;
    r->depth--;
}

/* Definitions of its own could make a small file large. */
static void on_definition(void *ctx, const xmlChar *name, const xmlChar *external,
                          const xmlChar *system)
{
    (void)name, (void)external, (void)system;
    wrong(ctx, "it has a definition of a document type");
}

static void on_message(void *ctx, const char *text, ...)
{
    (void)ctx, (void)text;
}

static const xmlSAXHandler handler = {
    .startElement = on_start,
    .endElement = on_end,
    .internalSubset = on_definition,
    .warning = on_message,
    .error = on_message,
};

struct dump_reader *dump_reader_new(void)
{
    struct dump_reader *r = xcalloc(1, sizeof *r);

    r->xml = xmlCreatePushParserCtxt((xmlSAXHandler *)&handler, r, NULL, 0, NULL);
    if (!r->xml)
        abort(); /* out of memory, as in xmalloc */
    /* Entities are those that XML has by itself: others would need a definition. */
    xmlCtxtUseOptions(r->xml, XML_PARSE_NONET | XML_PARSE_NOENT);
    return r;
}

void dump_reader_free(struct dump_reader *r)
{
    if (!r)
        return;
    xmlFreeParserCtxt(r->xml);
    arena_release(&r->arena);
    free(r->rows);
    free(r);
}

bool dump_reader_feed(struct dump_reader *r, const char *data, size_t n)
{
    while (n && !r->why) {
        size_t piece = MIN(n, (size_t)1 << 20);

        if (xmlParseChunk(r->xml, data, (int)piece, 0) != 0 && !r->why)
            wrong(r, "it is not well-formed XML");
        data += piece;
        n -= piece;
    }
    return !r->why;
}

/*** references to what is not there ***/

static int by_identity(const void *a, const void *b)
{
    const struct found *x = a, *y = b;

    if (x->class->id != y->class->id)
        return x->class->id < y->class->id ? -1 : 1;
    if (x->row->ref.hi != y->row->ref.hi)
        return x->row->ref.hi < y->row->ref.hi ? -1 : 1;
    return (x->row->ref.lo > y->row->ref.lo) - (x->row->ref.lo < y->row->ref.lo);
}

/* Rows are sorted. */
static bool exists(const struct dump_reader *r, const struct db_root *root, int class_id, ref_t ref)
{
    struct row key_row = {.ref = ref};
    struct found key = {.row = &key_row};

    if (class_id < 0 || !(api_classes[class_id].flags & CLASS_STORED))
        return true;
    key.class = &api_classes[class_id];
    return bsearch(&key, r->rows, r->n, sizeof key, by_identity) || root_get(root, class_id, ref);
}

static bool dangles(const struct dump_reader *r, const struct db_root *root,
                    const struct type *type, const void *value)
{
    const ref_t *ref = value;

    return type && type->kind == TYPE_REF && !ref_is_null(*ref) &&
           !exists(r, root, type->class_id, *ref);
}

static void forget_elements(const struct dump_reader *r, const struct db_root *root,
                            const struct type *type, struct set *set)
{
    size_t stride = type->kind == TYPE_MAP ? type->entry_size : type->elem->size, n = 0;
    char *v = (char *)set->v;

    for (size_t i = 0; i < set->n; i++) {
        const char *e = v + i * stride;
        bool gone = type->kind == TYPE_MAP
                        ? dangles(r, root, type->key, e) ||
                              dangles(r, root, type->elem, e + type->value_offset)
                        : dangles(r, root, type->elem, e);

        if (!gone)
            memmove(v + n++ * stride, e, stride);
    }
    set->n = n;
}

/* Nothing is under way: who was at it is not there any more. */
static void settle_row(const struct dump_reader *r, const struct db_root *root, struct found *f)
{
    const struct field_desc *fields = &api_fields[f->class->first_field];

    for (int i = 0; i < f->class->n_fields; i++) {
        void *value = (char *)f->row + fields[i].offset;
        const struct type *type = fields[i].type;

        if (!field_is_stored(&fields[i]))
            continue;
        if (strcmp(fields[i].name, "current_operations") == 0)
            value_empty(type, value);
        if (fields[i].flags & FIELD_UNTRACKED)
            continue;
        if (dangles(r, root, type, value))
            *(ref_t *)value = REF_NULL;
        else if (type->kind == TYPE_SET || type->kind == TYPE_MAP)
            forget_elements(r, root, type, value);
    }
}

/*** the database ***/

static struct error *damaged(struct arena *arena, const char *why)
{
    return error_internal(arena, "the dump cannot be restored: %s", why);
}

static struct error *build(struct arena *arena, struct dump_reader *r, struct db_root *root)
{
    if (r->n)
        qsort(r->rows, r->n, sizeof *r->rows, by_identity);
    for (size_t i = 1; i < r->n; i++)
        if (by_identity(&r->rows[i - 1], &r->rows[i]) == 0)
            return damaged(arena, "it has two rows of the same reference");
    root->revision = MAX(r->generation, (uint64_t)1);
    root->forgotten = root->revision;
    root->incarnation = random_u64();
    for (size_t i = 0; i < r->n; i++) {
        struct found *f = &r->rows[i];

        settle_row(r, root, f);
        f->row->row_created = MIN(MAX(f->row->row_created, (uint64_t)1), root->revision);
        f->row->row_version = MIN(MAX(f->modified, f->row->row_created), root->revision);
        root_put(root, row_new(f->class, f->row), f->row->row_version);
    }
    if (db_check((const struct db_snap *)root) > 0)
        return damaged(arena, "it breaks the database's rules (the log says which)");
    return OK;
}

struct error *dump_reader_end(struct arena *arena, struct dump_reader *r, struct db_root **out)
{
    struct db_root *root;
    struct error *e;

    if (!r->why && (xmlParseChunk(r->xml, "", 0, 1) != 0 || !r->xml->wellFormed))
        r->why = "it is not well-formed XML, or not whole";
    if (r->why)
        return damaged(arena, r->why);
    if (r->major != DUMP_SCHEMA_MAJOR)
        return error_new(arena, "RESTORE_INCOMPATIBLE_VERSION", 0);
    root = root_new();
    e = build(arena, r, root);
    if (e)
        root_unref(root);
    else
        *out = root;
    return e;
}
