/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* checkpoint_load.c -- the SQLite file read into a root, every checksum verified; files of an older
 * schema too. */
#include "xapid/db/checkpoint_file.h"

#include <inttypes.h>
#include <string.h>

#include "libxapi/base/log.h"

/* Rows whose decoded sets and maps share one arena. */
#define ROWS_PER_ARENA 256

struct load {
    struct arena *arena;
    sqlite3 *sqlite;
    struct db_root *root;
    uint64_t *sums;
    struct meta meta;
    bool older;
    uint64_t tables; /* checksum of _tables as read */
    enum load_outcome outcome;
    const char *why;
};

static bool damaged(struct load *l, const char *why)
{
    l->outcome = LOAD_DAMAGED;
    l->why = why;
    return false;
}

enum load_outcome load_judge(sqlite3 *sqlite)
{
    int code = sqlite3_errcode(sqlite) & 0xff;

    return code == SQLITE_CORRUPT || code == SQLITE_NOTADB || code == SQLITE_ERROR ||
                   code == SQLITE_FORMAT || code == SQLITE_TOOBIG || code == SQLITE_MISMATCH
               ? LOAD_DAMAGED
               : LOAD_FAILED;
}

static bool sqlite_failed(struct load *l)
{
    l->why = arena_strdup(l->arena, sqlite3_errmsg(l->sqlite));
    l->outcome = load_judge(l->sqlite);
    return false;
}

static sqlite3_stmt *query(struct load *l, const char *sql)
{
    sqlite3_stmt *stmt = NULL;

    if (sqlite3_prepare_v2(l->sqlite, sql, -1, &stmt, NULL) != SQLITE_OK)
        sqlite_failed(l);
    return stmt;
}

/* The next row; false at the end and on errors, which show in l->outcome. */
static bool next(struct load *l, sqlite3_stmt *stmt)
{
    int rc = sqlite3_step(stmt);

    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        sqlite_failed(l);
    return rc == SQLITE_ROW;
}

static bool finish(struct load *l, sqlite3_stmt *stmt)
{
    sqlite3_finalize(stmt);
    return l->outcome == LOAD_GOOD;
}

static const char *column_text(sqlite3_stmt *stmt, int i)
{
    const char *text = (const char *)sqlite3_column_text(stmt, i);

    return text ? text : "";
}

static void column_cell(sqlite3_stmt *stmt, int i, struct cell *out)
{
    *out = (struct cell){.kind = (enum cell_kind)sqlite3_column_type(stmt, i)};
    if (out->kind == CELL_INT) {
        out->i = sqlite3_column_int64(stmt, i);
    } else if (out->kind == CELL_REAL) {
        out->d = sqlite3_column_double(stmt, i);
    } else if (out->kind == CELL_TEXT) {
        out->text = column_text(stmt, i);
        out->n = (size_t)sqlite3_column_bytes(stmt, i);
    }
}

/*** tables of classes ***/

enum special {
    COLUMN_REF,
    COLUMN_CREATED,
    COLUMN_VERSION,
    COLUMN_MODIFIED,
    COLUMN_CHECKSUM,
    N_SPECIAL
};
static const char *const special_names[N_SPECIAL] = {"_ref", "_created", "_version", "_modified",
                                                     "_checksum"};

struct table {
    struct load *l;
    const struct class_desc *class;
    sqlite3_stmt *stmt;
    int n;
    const struct field_desc *
        *fields; /* of each column; NULL for the special and the unknown ones */
    int special[N_SPECIAL];
    uint64_t seed;
    char *source, *defaults; /* structs of the class */
    struct cell *cells;
    bool *complained; /* for each column: told that it held what is none of its type's values */
    struct buf bytes;
    struct arena scratch;
};

static int find_special(const char *name)
{
    int i = 0;

    while (i < N_SPECIAL && strcmp(name, special_names[i]) != 0)
        i++;
    return i;
}

/* Which field each column is.  Columns that no longer are one are given up, missing ones have their
 * default. */
static bool table_columns(struct table *t)
{
    struct load *l = t->l;
    const char **names = arena_array(l->arena, const char *, (size_t)t->n);
    int n_names = 0, n_fields = 0, n_stored = 0, n_special = 0;

    for (int i = 0; i < t->n; i++) {
        const char *name = arena_strdup(l->arena, sqlite3_column_name(t->stmt, i));
        int special = find_special(name);

        if (special < N_SPECIAL) {
            t->special[special] = i;
            n_special++;
        } else {
            t->fields[i] = api_field_by_name(t->class, name);
            if (t->fields[i] && !field_is_stored(t->fields[i]))
                t->fields[i] = NULL;
            n_fields += t->fields[i] != NULL;
            if (!t->fields[i] && l->older)
                log_warning(
                    "the database's column %s.%s is not known to this version and is dropped",
                    t->class->name, name);
        }
        if (special != COLUMN_CHECKSUM)
            names[n_names++] = name;
    }
    for (int i = 0; i < t->class->n_fields; i++)
        n_stored += field_is_stored(&api_fields[t->class->first_field + i]);
    if (n_special != N_SPECIAL ||
        (!l->older && (n_fields != n_stored || t->n != n_stored + N_SPECIAL)))
        return damaged(
            l, arena_printf(l->arena, "table %s has not the columns it should", t->class->name));
    t->seed = columns_seed(names, (size_t)n_names);
    return true;
}

static bool row_damaged(struct table *t, const char *how)
{
    const struct cell *ref = &t->cells[t->special[COLUMN_REF]];

    return damaged(t->l, arena_printf(t->l->arena, "the %s %.60s %s", t->class->name,
                                      ref->kind == CELL_TEXT ? ref->text : "", how));
}

static bool row_field(struct table *t, int i)
{
    const struct field_desc *f = t->fields[i];

    if (cell_to_value(&t->scratch, f->type, &t->cells[i], t->l->older, t->source + f->offset))
        return true;
    if (!t->l->older)
        return row_damaged(t, arena_printf(t->l->arena, "has no proper %s", f->name));
    memcpy(t->source + f->offset, t->defaults + f->offset, f->type->size);
    if (!t->complained[i])
        log_warning(
            "some objects' %s.%s has a value that is none to this version; they get the default",
            t->class->name, f->name);
    t->complained[i] = true;
    return true;
}

static bool row_put(struct table *t)
{
    struct row *row = (struct row *)t->source;
    uint64_t modified = (uint64_t)t->cells[t->special[COLUMN_MODIFIED]].i;
    const struct cell *ref = &t->cells[t->special[COLUMN_REF]];

    row->row_created = (uint64_t)t->cells[t->special[COLUMN_CREATED]].i;
    row->row_version = (uint64_t)t->cells[t->special[COLUMN_VERSION]].i;
    row->row_class = t->class->id;
    if (ref->kind != CELL_TEXT || !ref_from_text(ref->text, &row->ref) || ref_is_null(row->ref))
        return row_damaged(t, "has no proper reference");
    if (row->row_created > row->row_version || row->row_version > modified ||
        modified > t->l->meta.revision)
        return row_damaged(t, "has impossible revisions");
    root_put(t->l->root, row_new(t->class, t->source), modified);
    return true;
}

static bool table_row(struct table *t)
{
    uint64_t checksum;

    t->bytes.len = 0;
    for (int i = 0; i < t->n; i++) {
        column_cell(t->stmt, i, &t->cells[i]);
        if (i != t->special[COLUMN_CHECKSUM])
            cell_add(&t->bytes, &t->cells[i]);
    }
    checksum = row_checksum(t->seed, &t->bytes);
    if (checksum != (uint64_t)t->cells[t->special[COLUMN_CHECKSUM]].i)
        return row_damaged(t, "does not agree with its checksum");
    t->l->sums[t->class->id] += checksum;
    memcpy(t->source, t->defaults, t->class->struct_size);
    for (int i = 0; i < t->n; i++)
        if (t->fields[i] && !row_field(t, i))
            return false;
    return row_put(t);
}

static bool table_rows(struct table *t)
{
    size_t rows = 0;

    while (next(t->l, t->stmt)) {
        if (!table_row(t))
            return false;
        if (++rows % ROWS_PER_ARENA == 0)
            arena_release(&t->scratch);
    }
    return t->l->outcome == LOAD_GOOD;
}

static bool load_class(struct load *l, const struct class_desc *class)
{
    struct table t = {.l = l, .class = class};
    size_t n;

    t.stmt = query(l, arena_printf(l->arena, "SELECT * FROM \"%s\"", class->name));
    if (!t.stmt)
        return false;
    t.n = sqlite3_column_count(t.stmt);
    n = (size_t)t.n;
    t.fields = arena_array(l->arena, const struct field_desc *, n);
    t.cells = arena_array(l->arena, struct cell, n);
    t.complained = arena_array(l->arena, bool, n);
    t.source = arena_zalloc(l->arena, class->struct_size);
    t.defaults = arena_zalloc(l->arena, class->struct_size);
    row_defaults(class, t.defaults);
    if (table_columns(&t))
        table_rows(&t);
    buf_release(&t.bytes);
    arena_release(&t.scratch);
    return finish(l, t.stmt);
}

/*** the other tables ***/

static bool load_tombstones(struct load *l)
{
    sqlite3_stmt *stmt = query(l, "SELECT deleted, class, ref, created FROM _tombstones");

    while (stmt && next(l, stmt)) {
        const struct class_desc *class = api_class_by_name(column_text(stmt, 1));
        struct root_change c = {.revision = (uint64_t)sqlite3_column_int64(stmt, 0),
                                .created = (uint64_t)sqlite3_column_int64(stmt, 3)};

        if (!class && l->older)
            continue;
        if (!class || !ref_from_text(column_text(stmt, 2), &c.ref) ||
            c.revision > l->meta.revision || l->root->tombstones == ROOT_MAX_TOMBSTONES) {
            damaged(l, "a remembered deletion is not one");
            break;
        }
        c.class_id = class->id;
        l->sums[TABLE_TOMBSTONES] += tombstone_checksum(&c);
        root_add_tombstone(l->root, c.class_id, c.ref, c.created, c.revision);
    }
    return finish(l, stmt);
}

static bool load_requests(struct load *l)
{
    sqlite3_stmt *stmt = query(l, "SELECT origin, number, outcome, log_index FROM _requests");

    while (stmt && next(l, stmt)) {
        struct tree_entry e;

        for (int i = 0; i < 4; i++)
            e.k[i] = (uint64_t)sqlite3_column_int64(stmt, i);
        l->sums[TABLE_REQUESTS] += request_checksum(&e);
        tree_put(&l->root->requests, &e);
    }
    return finish(l, stmt);
}

static int table_by_name(const char *name)
{
    for (int i = 0; i < TABLE_COUNT; i++)
        if (table_name(i) && strcmp(table_name(i), name) == 0)
            return i;
    return -1;
}

static bool load_table(struct load *l, int table, uint64_t rows, uint64_t sum)
{
    bool whole =
        table < CLASS_COUNT || !l->older; /* deletions of a class that is gone were left out */
    uint64_t read;

    if (table == TABLE_TOMBSTONES ? !load_tombstones(l)
        : table == TABLE_REQUESTS ? !load_requests(l)
                                  : !load_class(l, &api_classes[table]))
        return false;
    read = table == TABLE_TOMBSTONES ? l->root->tombstones
           : table == TABLE_REQUESTS ? l->root->requests.count
                                     : l->root->tables[table].count;
    if (whole && (read != rows || l->sums[table] != sum))
        return damaged(
            l, arena_printf(l->arena, "table %s has not the rows it should", table_name(table)));
    return true;
}

static bool load_tables(struct load *l)
{
    sqlite3_stmt *stmt = query(l, "SELECT name, rows, sum FROM _tables");
    int n = 0, expected = 0;

    while (stmt && next(l, stmt)) {
        const char *name = column_text(stmt, 0);
        uint64_t rows = (uint64_t)sqlite3_column_int64(stmt, 1),
                 sum = (uint64_t)sqlite3_column_int64(stmt, 2);
        int table = table_by_name(name);

        l->tables += table_checksum(name, rows, sum);
        if (table < 0) {
            if (!l->older)
                damaged(l, "there is a table that should not be");
            else if (rows)
                log_warning("the database's table %s is not known to this version: its %" PRIu64
                            " rows are dropped",
                            name, rows);
        } else {
            n++;
            load_table(l, table, rows, sum);
        }
        if (l->outcome != LOAD_GOOD)
            break;
    }
    for (int i = 0; i < TABLE_COUNT; i++)
        expected += table_name(i) != NULL;
    if (!finish(l, stmt))
        return false;
    if (l->tables != l->meta.tables || (!l->older && n != expected))
        return damaged(l, "its tables are not those it should have");
    return true;
}

/*** meta ***/

static bool load_meta(struct load *l)
{
    sqlite3_stmt *stmt = query(l, "SELECT key, value FROM _meta");
    uint64_t checksum = 0, sum = 0;
    unsigned found = 0;

    while (stmt && next(l, stmt)) {
        const char *key = column_text(stmt, 0);
        uint64_t value = (uint64_t)sqlite3_column_int64(stmt, 1);

        if (strcmp(key, "checksum") == 0)
            checksum = value;
        else
            sum += meta_checksum(key, value);
        for (unsigned i = 0; i < META_KEYS; i++) {
            if (strcmp(key, meta_keys[i].name) == 0) {
                memcpy((char *)&l->meta + meta_keys[i].offset, &value, sizeof value);
                found |= 1u << i;
            }
        }
    }
    if (!finish(l, stmt))
        return false;
    if (sum != checksum)
        return damaged(l, "its description of itself does not agree with its checksum");
    if (l->meta.format > CHECKPOINT_FORMAT) {
        l->outcome = LOAD_FAILED;
        l->why = arena_printf(l->arena,
                              "it was written by a later version of xapid (format %" PRIu64
                              "; this version knows up to %d)",
                              l->meta.format, CHECKPOINT_FORMAT);
        return false;
    }
    if (found != (1u << META_KEYS) - 1)
        return damaged(l, "its description of itself is not complete");
    l->older = l->meta.schema != api_schema_hash;
    return true;
}

static bool has_tables(struct load *l)
{
    sqlite3_stmt *stmt = query(l, "SELECT count(*) FROM sqlite_master");
    bool any = stmt && next(l, stmt) && sqlite3_column_int64(stmt, 0) > 0;

    if (finish(l, stmt) && !any)
        l->outcome = LOAD_EMPTY;
    return any;
}

enum load_outcome checkpoint_load(struct arena *arena, sqlite3 *sqlite, struct db_root **root,
                                  uint64_t sums[TABLE_COUNT], const char **why)
{
    struct load l = {.arena = arena, .sqlite = sqlite, .sums = sums};
    bool good;

    memset(sums, 0, TABLE_COUNT * sizeof *sums);
    if (!has_tables(&l) || !load_meta(&l)) {
        *why = l.why;
        return l.outcome;
    }
    l.root = root_new();
    l.root->revision = l.meta.revision;
    l.root->log_index = l.meta.log_index;
    l.root->incarnation = l.meta.incarnation;
    l.root->forgotten = l.meta.forgotten;
    good = load_tables(&l);
    *why = l.why;
    if (!good) {
        root_unref(l.root);
        return l.outcome;
    }
    *root = l.root;
    return l.older ? LOAD_OLDER : LOAD_GOOD;
}
