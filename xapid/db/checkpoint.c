/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * checkpoint.c -- the SQLite file beneath the log, kept up to date about once a second, by one
 * thread.
 *
 * A flush is one transaction with the rows that changed since the last one.  What cannot be written
 * is never tried again: after a failed fsync nobody knows what is on the disk, so the file is left
 * to the next start, which reads it with every checksum.  For the same reason SQLite does not move
 * its write-ahead log into the file by itself: it would hide the failure.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "libxapi/base/log.h"
#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "xapid/db/checkpoint_file.h"
#include "xapid/db/db.h"

/* How long another process (a person with sqlite3) may hold the file. */
#define BUSY_MSEC 5000
/* Pages in the write-ahead log from which on it is moved into the file. */
#define WAL_PAGES 2000

enum statement { ROW_PUT, ROW_TOUCH, ROW_DROP, N_STATEMENTS };

struct checkpoint {
    sqlite3 *sqlite; /* NULL once the file was given up */
    char *path;
    struct db_root *flushed; /* what the file holds */
    uint64_t sums[TABLE_COUNT];
    uint64_t seeds[CLASS_COUNT];
    sqlite3_stmt *statements[TABLE_COUNT][N_STATEMENTS];
    bool dirty[TABLE_COUNT];
    int wal_pages;
    bool failed, postponed, full;
    struct buf bytes; /* of the row at hand */
};

const struct meta_key meta_keys[META_KEYS] = {
    {"format", offsetof(struct meta, format)},
    {"schema", offsetof(struct meta, schema)},
    {"revision", offsetof(struct meta, revision)},
    {"log_index", offsetof(struct meta, log_index)},
    {"incarnation", offsetof(struct meta, incarnation)},
    {"forgotten", offsetof(struct meta, forgotten)},
    {"tables", offsetof(struct meta, tables)},
};

/*** names and checksums ***/

const char *table_name(int table)
{
    if (table == TABLE_TOMBSTONES)
        return "_tombstones";
    if (table == TABLE_REQUESTS)
        return "_requests";
    return class_has_table(&api_classes[table]) ? api_classes[table].name : NULL;
}

uint64_t meta_checksum(const char *key, uint64_t value)
{
    return XXH3_64bits_withSeed(key, strlen(key), value);
}

uint64_t columns_seed(const char *const *names, size_t n)
{
    uint64_t seed = 0;

    for (size_t i = 0; i < n; i++)
        seed = XXH3_64bits_withSeed(names[i], strlen(names[i]), seed);
    return seed;
}

uint64_t row_checksum(uint64_t seed, const struct buf *buf)
{
    return XXH3_64bits_withSeed(buf->data, buf->len, seed);
}

uint64_t tombstone_checksum(const struct root_change *c)
{
    const char *class = api_classes[c->class_id].name;
    uint64_t words[] = {c->revision, c->ref.hi, c->ref.lo, c->created};

    return XXH3_64bits_withSeed(words, sizeof words, XXH3_64bits(class, strlen(class)));
}

uint64_t request_checksum(const struct tree_entry *e)
{
    return XXH3_64bits(e->k, sizeof e->k);
}

uint64_t table_checksum(const char *name, uint64_t rows, uint64_t sum)
{
    uint64_t words[] = {rows, sum};

    return XXH3_64bits_withSeed(words, sizeof words, XXH3_64bits(name, strlen(name)));
}

/*** SQLite ***/

static void finalize_all(struct checkpoint *cp)
{
    for (int t = 0; t < TABLE_COUNT; t++) {
        for (int i = 0; i < N_STATEMENTS; i++) {
            sqlite3_finalize(cp->statements[t][i]);
            cp->statements[t][i] = NULL;
        }
    }
}

static void close_file(struct checkpoint *cp)
{
    if (!cp->sqlite)
        return;
    finalize_all(cp);
    /* What is only in the write-ahead log after a failure is read from there at the next start. */
    if (cp->failed)
        sqlite3_db_config(cp->sqlite, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_close_v2(cp->sqlite);
    cp->sqlite = NULL;
}

/* Renames the file and its write-ahead log, so that both can still be looked at. */
static struct error *set_aside(struct arena *arena, struct checkpoint *cp, const char *why)
{
    const char *to, *const suffixes[] = {"-wal", "-shm", ""};
    char date[DATE_TEXT_SIZE];

    cp->failed = true; /* nothing more is written to it */
    close_file(cp);
    date_to_text(clock_wall(), date);
    to = arena_printf(arena, "%s.damaged-%s", cp->path, date);
    for (int i = 0; access(to, F_OK) == 0; i++)
        to = arena_printf(arena, "%s.damaged-%s.%d", cp->path, date, i);
    for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
        const char *from = arena_printf(arena, "%s%s", cp->path, suffixes[i]);

        if (rename(from, arena_printf(arena, "%s%s", to, suffixes[i])) < 0 && errno != ENOENT)
            return error_internal(arena,
                                  "the database file %s is damaged (%s) and cannot be renamed: %s",
                                  from, why, strerror(errno));
    }
    log_error(
        "the database file %s is damaged (%s); it was renamed to %s and is made again from the log",
        cp->path, why, to);
    return OK;
}

/* An error that ends all writing. A file whose structure is broken is set aside now, else the next
 * start would meet it too. */
static struct error *failed(struct arena *arena, struct checkpoint *cp)
{
    const char *why = arena_strdup(arena, sqlite3_errmsg(cp->sqlite));
    int code = sqlite3_errcode(cp->sqlite) & 0xff, system = sqlite3_system_errno(cp->sqlite);

    cp->failed = true;
    cp->full = code == SQLITE_FULL;
    if (system && (code == SQLITE_IOERR || code == SQLITE_FULL || code == SQLITE_CANTOPEN))
        why = arena_printf(arena, "%s: %s", why, strerror(system));
    if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB)
        TRY(set_aside(arena, cp, why));
    return error_internal(arena, "cannot write the database file %s: %s", cp->path, why);
}

static struct error *run(struct arena *arena, struct checkpoint *cp, const char *sql)
{
    return sqlite3_exec(cp->sqlite, sql, NULL, NULL, NULL) == SQLITE_OK ? OK : failed(arena, cp);
}

/* Ends a statement with bound values that returns no rows. */
static struct error *done(struct arena *arena, struct checkpoint *cp, sqlite3_stmt *stmt)
{
    struct error *e = sqlite3_step(stmt) == SQLITE_DONE ? OK : failed(arena, cp);

    if (cp->sqlite) {
        sqlite3_reset(stmt);
        sqlite3_clear_bindings(stmt);
    }
    return e;
}

/* The same for one that must have met exactly one row. */
static struct error *done_once(struct arena *arena, struct checkpoint *cp, sqlite3_stmt *stmt,
                               const char *table)
{
    TRY(done(arena, cp, stmt));
    if (sqlite3_changes(cp->sqlite) == 1)
        return OK;
    TRY(set_aside(arena, cp, arena_printf(arena, "table %s lacks a row", table)));
    return error_internal(arena, "cannot write the database file %s: it was damaged and set aside",
                          cp->path);
}

static struct error *prepare(struct arena *arena, struct checkpoint *cp, const char *sql,
                             sqlite3_stmt **stmt)
{
    if (sqlite3_prepare_v3(cp->sqlite, sql, -1, SQLITE_PREPARE_PERSISTENT, stmt, NULL) == SQLITE_OK)
        return OK;
    return failed(arena, cp);
}

static void bind_cell(sqlite3_stmt *stmt, int i, const struct cell *cell)
{
    if (cell->kind == CELL_INT)
        sqlite3_bind_int64(stmt, i, cell->i);
    else if (cell->kind == CELL_REAL)
        sqlite3_bind_double(stmt, i, cell->d);
    else if (cell->kind == CELL_TEXT)
        sqlite3_bind_text64(stmt, i, cell->text, cell->n, SQLITE_STATIC, SQLITE_UTF8);
    else
        sqlite3_bind_null(stmt, i);
}

/*** rows ***/

/* The cells of a row in the order of the columns: _ref, _created, _version, _modified, the fields.
 */
struct cells {
    size_t n;
    struct cell *v;
};

static struct cells row_cells(struct arena *arena, const struct class_desc *class,
                              const struct row *row, uint64_t modified)
{
    struct cells cells = {.v = arena_array(arena, struct cell, class->n_fields + 4u)};
    char *ref = arena_alloc(arena, REF_TEXT_SIZE);

    ref_to_text(row->ref, ref);
    cells.v[cells.n++] = (struct cell){.kind = CELL_TEXT, .text = ref, .n = strlen(ref)};
    cells.v[cells.n++] = (struct cell){.kind = CELL_INT, .i = (int64_t)row->row_created};
    cells.v[cells.n++] = (struct cell){.kind = CELL_INT, .i = (int64_t)row->row_version};
    cells.v[cells.n++] = (struct cell){.kind = CELL_INT, .i = (int64_t)modified};
    for (int i = 0; i < class->n_fields; i++) {
        const struct field_desc *f = &api_fields[class->first_field + i];

        if (field_is_stored(f))
            cell_from_value(arena, f->type, field_in(row, f), &cells.v[cells.n++]);
    }
    return cells;
}

static uint64_t cells_checksum(struct checkpoint *cp, int class_id, const struct cells *cells)
{
    cp->bytes.len = 0;
    for (size_t i = 0; i < cells->n; i++)
        cell_add(&cp->bytes, &cells->v[i]);
    return row_checksum(cp->seeds[class_id], &cp->bytes);
}

static const char *put_sql(struct arena *arena, const struct class_desc *class)
{
    AUTO(buf) sql = {0};
    int n = 5;

    for (int i = 0; i < class->n_fields; i++)
        n += field_is_stored(&api_fields[class->first_field + i]);
    buf_printf(&sql, "INSERT OR REPLACE INTO \"%s\" VALUES (?", class->name);
    while (--n)
        buf_puts(&sql, ", ?");
    buf_puts(&sql, ")");
    return arena_strdup(arena, sql.data);
}

static struct error *statement(struct arena *arena, struct checkpoint *cp,
                               const struct class_desc *class, enum statement which,
                               sqlite3_stmt **out)
{
    sqlite3_stmt **stmt = &cp->statements[class->id][which];
    const char *sql =
        which == ROW_PUT ? put_sql(arena, class)
        : which == ROW_TOUCH
            ? arena_printf(arena, "UPDATE \"%s\" SET _modified = ?, _checksum = ? WHERE _ref = ?",
                           class->name)
            : arena_printf(arena, "DELETE FROM \"%s\" WHERE _ref = ?", class->name);

    if (!*stmt)
        TRY(prepare(arena, cp, sql, stmt));
    *out = *stmt;
    return OK;
}

static struct error *put_row(struct arena *arena, struct checkpoint *cp,
                             const struct class_desc *class, const struct cells *cells,
                             uint64_t checksum)
{
    sqlite3_stmt *stmt;

    TRY(statement(arena, cp, class, ROW_PUT, &stmt));
    for (size_t i = 0; i < cells->n; i++)
        bind_cell(stmt, (int)i + 1, &cells->v[i]);
    sqlite3_bind_int64(stmt, (int)cells->n + 1, (int64_t)checksum);
    return done(arena, cp, stmt);
}

/* A row that had an event but no change: two columns instead of all. */
static struct error *touch_row(struct arena *arena, struct checkpoint *cp,
                               const struct class_desc *class, const struct cells *cells,
                               uint64_t checksum)
{
    sqlite3_stmt *stmt;

    TRY(statement(arena, cp, class, ROW_TOUCH, &stmt));
    sqlite3_bind_int64(stmt, 1, cells->v[3].i);
    sqlite3_bind_int64(stmt, 2, (int64_t)checksum);
    bind_cell(stmt, 3, &cells->v[0]);
    return done_once(arena, cp, stmt, class->name);
}

static struct error *drop_row(struct arena *arena, struct checkpoint *cp,
                              const struct class_desc *class, const struct cells *cells)
{
    sqlite3_stmt *stmt;

    TRY(statement(arena, cp, class, ROW_DROP, &stmt));
    bind_cell(stmt, 1, &cells->v[0]);
    return done_once(arena, cp, stmt, class->name);
}

/* Brings one row of the file from what 'before' (NULL: nothing) has to what 'root' has. */
static struct error *write_row(struct arena *arena, struct checkpoint *cp,
                               const struct db_root *before, const struct db_root *root,
                               int class_id, ref_t ref)
{
    const struct class_desc *class = &api_classes[class_id];
    const struct row *old = before ? root_get(before, class_id, ref) : NULL,
                     *new = root_get(root, class_id, ref);
    struct cells cells = {0};
    uint64_t checksum;

    if (!class_has_table(class))
        return OK;
    cp->dirty[class_id] = true;
    if (old) {
        cells = row_cells(arena, class, old, root_modified(before, class_id, ref));
        cp->sums[class_id] -= cells_checksum(cp, class_id, &cells);
    }
    if (!new)
        return old ? drop_row(arena, cp, class, &cells) : OK;
    cells = row_cells(arena, class, new, root_modified(root, class_id, ref));
    checksum = cells_checksum(cp, class_id, &cells);
    cp->sums[class_id] += checksum;
    return old == new ? touch_row(arena, cp, class, &cells, checksum)
                      : put_row(arena, cp, class, &cells, checksum);
}

/*** tombstones, requests, descriptions ***/

static struct error *table_statement(struct arena *arena, struct checkpoint *cp, int table,
                                     enum statement which, const char *sql, sqlite3_stmt **out)
{
    if (!cp->statements[table][which])
        TRY(prepare(arena, cp, sql, &cp->statements[table][which]));
    *out = cp->statements[table][which];
    return OK;
}

static struct error *put_tombstone(struct arena *arena, struct checkpoint *cp,
                                   const struct root_change *c)
{
    sqlite3_stmt *stmt;

    TRY(table_statement(arena, cp, TABLE_TOMBSTONES, ROW_PUT,
                        "INSERT INTO _tombstones VALUES (?, ?, ?, ?)", &stmt));
    sqlite3_bind_int64(stmt, 1, (int64_t)c->revision);
    sqlite3_bind_text(stmt, 2, api_classes[c->class_id].name, -1, SQLITE_STATIC);
    sqlite3_bind_text(stmt, 3, ref_text(arena, c->ref), -1, SQLITE_STATIC);
    sqlite3_bind_int64(stmt, 4, (int64_t)c->created);
    cp->sums[TABLE_TOMBSTONES] += tombstone_checksum(c);
    cp->dirty[TABLE_TOMBSTONES] = true;
    return done(arena, cp, stmt);
}

/* Deletions that the new root no longer remembers. */
static struct error *forget_tombstones(struct arena *arena, struct checkpoint *cp,
                                       const struct db_root *before, const struct db_root *root)
{
    struct tree_cursor cursor;
    struct root_change c;
    sqlite3_stmt *stmt;

    if (before->forgotten == root->forgotten)
        return OK;
    root_changes(before, before->forgotten, &cursor);
    while (root_next_change(&cursor, &c) && c.revision <= root->forgotten)
        if (c.deleted)
            cp->sums[TABLE_TOMBSTONES] -= tombstone_checksum(&c);
    cp->dirty[TABLE_TOMBSTONES] = true;
    TRY(table_statement(arena, cp, TABLE_TOMBSTONES, ROW_DROP,
                        "DELETE FROM _tombstones WHERE deleted <= ?", &stmt));
    sqlite3_bind_int64(stmt, 1, (int64_t)root->forgotten);
    return done(arena, cp, stmt);
}

static struct error *put_request(struct arena *arena, struct checkpoint *cp,
                                 const struct tree_entry *e)
{
    sqlite3_stmt *stmt;

    TRY(table_statement(arena, cp, TABLE_REQUESTS, ROW_PUT,
                        "INSERT INTO _requests VALUES (?, ?, ?, ?)", &stmt));
    for (int i = 0; i < 4; i++)
        sqlite3_bind_int64(stmt, i + 1, (int64_t)e->k[i]);
    cp->sums[TABLE_REQUESTS] += request_checksum(e);
    return done(arena, cp, stmt);
}

static struct error *drop_request(struct arena *arena, struct checkpoint *cp,
                                  const struct tree_entry *e)
{
    sqlite3_stmt *stmt;

    TRY(table_statement(arena, cp, TABLE_REQUESTS, ROW_DROP,
                        "DELETE FROM _requests WHERE origin = ? AND number = ?", &stmt));
    sqlite3_bind_int64(stmt, 1, (int64_t)e->k[0]);
    sqlite3_bind_int64(stmt, 2, (int64_t)e->k[1]);
    cp->sums[TABLE_REQUESTS] -= request_checksum(e);
    return done_once(arena, cp, stmt, "_requests");
}

/* Both trees are walked side by side; 'before' may be NULL. */
static struct error *write_requests(struct arena *arena, struct checkpoint *cp,
                                    const struct db_root *before, const struct db_root *root)
{
    const struct tree_entry *old, *new;
    struct tree_cursor olds, news;

    if (before && before->requests.root == root->requests.root)
        return OK;
    cp->dirty[TABLE_REQUESTS] = true;
    tree_seek(before ? &before->requests : &(struct tree){0}, NULL, &olds);
    tree_seek(&root->requests, NULL, &news);
    old = tree_next(&olds);
    new = tree_next(&news);
    while (old || new) {
        int order = !old ? 1 : !new ? -1 : tree_compare(old->k, new->k, 2);

        if (order == 0 && memcmp(old, new, sizeof *old) == 0) {
            old = tree_next(&olds);
            new = tree_next(&news);
        } else if (order <= 0) {
            TRY(drop_request(arena, cp, old));
            old = tree_next(&olds);
        } else {
            TRY(put_request(arena, cp, new));
            new = tree_next(&news);
        }
    }
    return OK;
}

static uint64_t table_rows(const struct db_root *root, int table)
{
    return table == TABLE_TOMBSTONES ? root->tombstones
           : table == TABLE_REQUESTS ? root->requests.count
                                     : root->tables[table].count;
}

static struct error *write_tables(struct arena *arena, struct checkpoint *cp,
                                  const struct db_root *root, uint64_t *checksum)
{
    const char *sql = "INSERT OR REPLACE INTO _tables VALUES (?, ?, ?)";
    struct error *e = OK;
    sqlite3_stmt *stmt;

    *checksum = 0;
    TRY(prepare(arena, cp, sql, &stmt));
    for (int t = 0; t < TABLE_COUNT && !e; t++) {
        const char *name = table_name(t);

        if (!name)
            continue;
        *checksum += table_checksum(name, table_rows(root, t), cp->sums[t]);
        if (!cp->dirty[t])
            continue;
        sqlite3_bind_text(stmt, 1, name, -1, SQLITE_STATIC);
        sqlite3_bind_int64(stmt, 2, (int64_t)table_rows(root, t));
        sqlite3_bind_int64(stmt, 3, (int64_t)cp->sums[t]);
        e = done(arena, cp, stmt);
        cp->dirty[t] = false;
    }
    sqlite3_finalize(stmt);
    return e;
}

static struct error *write_meta(struct arena *arena, struct checkpoint *cp,
                                const struct db_root *root)
{
    struct meta meta = {.format = CHECKPOINT_FORMAT,
                        .schema = api_schema_hash,
                        .revision = root->revision,
                        .log_index = root->log_index,
                        .incarnation = root->incarnation,
                        .forgotten = root->forgotten};
    const char *sql = "INSERT OR REPLACE INTO _meta VALUES (?, ?)";
    uint64_t checksum = 0, value;
    struct error *e = OK;
    sqlite3_stmt *stmt;

    TRY(write_tables(arena, cp, root, &meta.tables));
    TRY(prepare(arena, cp, sql, &stmt));
    for (int i = 0; i <= META_KEYS && !e; i++) {
        const char *key = i < META_KEYS ? meta_keys[i].name : "checksum";

        memcpy(&value, i < META_KEYS ? (char *)&meta + meta_keys[i].offset : (char *)&checksum,
               sizeof value);
        checksum += meta_checksum(key, value);
        sqlite3_bind_text(stmt, 1, key, -1, SQLITE_STATIC);
        sqlite3_bind_int64(stmt, 2, (int64_t)value);
        e = done(arena, cp, stmt);
    }
    sqlite3_finalize(stmt);
    return e;
}

/*** writing all ***/

static const char *table_sql(struct arena *arena, const struct class_desc *class)
{
    AUTO(buf) sql = {0};

    buf_printf(&sql,
               "CREATE TABLE \"%s\" (_ref TEXT PRIMARY KEY, _created INTEGER NOT NULL, _version "
               "INTEGER NOT NULL, "
               "_modified INTEGER NOT NULL",
               class->name);
    for (int i = 0; i < class->n_fields; i++) {
        const struct field_desc *f = &api_fields[class->first_field + i];

        if (field_is_stored(f))
            buf_printf(&sql, ", \"%s\" %s%s", f->name, column_type(f->type),
                       f->type->kind == TYPE_FLOAT ? "" : " NOT NULL");
    }
    buf_puts(&sql, ", _checksum INTEGER NOT NULL) STRICT, WITHOUT ROWID");
    return arena_strdup(arena, sql.data);
}

static struct error *drop_tables(struct arena *arena, struct checkpoint *cp)
{
    struct error *e = OK;
    AUTO(buf) sql = {0};
    sqlite3_stmt *stmt;
    int rc;

    finalize_all(cp);
    TRY(prepare(arena, cp, "SELECT name FROM sqlite_master WHERE type = 'table'", &stmt));
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW)
        buf_printf(&sql, "DROP TABLE \"%s\";", (const char *)sqlite3_column_text(stmt, 0));
    if (rc != SQLITE_DONE)
        e = failed(arena, cp);
    sqlite3_finalize(stmt);
    return e || !sql.len ? e : run(arena, cp, sql.data);
}

static struct error *create_tables(struct arena *arena, struct checkpoint *cp)
{
    TRY(run(
        arena, cp,
        "CREATE TABLE _meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
        "CREATE TABLE _tables (name TEXT PRIMARY KEY, rows INTEGER NOT NULL, sum INTEGER NOT NULL) "
        "STRICT, WITHOUT ROWID;"
        "CREATE TABLE _tombstones (deleted INTEGER, class TEXT, ref TEXT, created INTEGER NOT "
        "NULL, "
        "PRIMARY KEY (deleted, class, ref)) STRICT, WITHOUT ROWID;"
        "CREATE TABLE _requests (origin INTEGER, number INTEGER, outcome INTEGER NOT NULL, "
        "log_index INTEGER NOT NULL, "
        "PRIMARY KEY (origin, number)) STRICT, WITHOUT ROWID;"));
    for (int c = 0; c < CLASS_COUNT; c++)
        if (class_has_table(&api_classes[c]))
            TRY(run(arena, cp, table_sql(arena, &api_classes[c])));
    return OK;
}

/* The rows' arenas are small: of a large root they would add up. */
static struct error *write_row_alone(struct arena *arena, struct checkpoint *cp,
                                     const struct db_root *before, const struct db_root *root,
                                     int class_id, ref_t ref)
{
    AUTO(arena) own = {0};

    return error_copy(arena, write_row(&own, cp, before, root, class_id, ref));
}

static struct error *write_class(struct arena *arena, struct checkpoint *cp,
                                 const struct db_root *root, int class_id)
{
    struct tree_cursor cursor;
    const struct tree_entry *e;

    tree_seek(&root->tables[class_id], NULL, &cursor);
    while ((e = tree_next(&cursor)))
        TRY(write_row_alone(arena, cp, NULL, root, class_id, (ref_t){e->k[0], e->k[1]}));
    return OK;
}

/* Everything anew, whatever the file holds. */
static struct error *write_all(struct arena *arena, struct checkpoint *cp,
                               const struct db_root *root)
{
    struct tree_cursor cursor;
    struct root_change c;

    TRY(drop_tables(arena, cp));
    TRY(create_tables(arena, cp));
    memset(cp->sums, 0, sizeof cp->sums);
    memset(cp->dirty, true, sizeof cp->dirty);
    for (int i = 0; i < CLASS_COUNT; i++)
        if (class_has_table(&api_classes[i]))
            TRY(write_class(arena, cp, root, i));
    root_changes(root, 0, &cursor);
    while (root_next_change(&cursor, &c))
        if (c.deleted)
            TRY(put_tombstone(arena, cp, &c));
    TRY(write_requests(arena, cp, NULL, root));
    return write_meta(arena, cp, root);
}

/*** writing what changed ***/

/* True where 'root' is a later version of what the file holds, and says all that happened since. */
static bool follows(const struct db_root *root, const struct db_root *flushed)
{
    return root->incarnation == flushed->incarnation && root->revision >= flushed->revision &&
           (root->forgotten <= flushed->revision);
}

/* A row may have gone and come back under its reference (that of a host which leaves and joins
 * again), so that several changes are of it.  It is written with one of them: where it is there, as
 * it is now; where it is not, with the end of the one that the file holds. */
static bool is_rows_own(const struct db_root *before, const struct db_root *root,
                        const struct root_change *c)
{
    const struct row *old = root_get(before, c->class_id, c->ref);

    return !c->deleted ||
           (old && old->row_created == c->created && !root_get(root, c->class_id, c->ref));
}

static struct error *write_changes(struct arena *arena, struct checkpoint *cp,
                                   const struct db_root *root)
{
    struct tree_cursor cursor;
    struct root_change c;

    TRY(forget_tombstones(arena, cp, cp->flushed, root));
    root_changes(root, cp->flushed->revision, &cursor);
    while (root_next_change(&cursor, &c)) {
        if (is_rows_own(cp->flushed, root, &c))
            TRY(write_row_alone(arena, cp, cp->flushed, root, c.class_id, c.ref));
        if (c.deleted)
            TRY(put_tombstone(arena, cp, &c));
    }
    TRY(write_requests(arena, cp, cp->flushed, root));
    return write_meta(arena, cp, root);
}

static int wal_hook(void *ctx, sqlite3 *sqlite, const char *name, int pages)
{
    (void)sqlite;
    (void)name;
    ((struct checkpoint *)ctx)->wal_pages = pages;
    return SQLITE_OK;
}

static struct error *move_wal(struct arena *arena, struct checkpoint *cp)
{
    int rc;

    if (cp->wal_pages < WAL_PAGES)
        return OK;
    rc = sqlite3_wal_checkpoint_v2(cp->sqlite, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    return rc == SQLITE_OK || rc == SQLITE_BUSY ? OK : failed(arena, cp);
}

/* One transaction.  *busy: another process holds the file; nothing was done. */
static struct error *transaction(struct arena *arena, struct checkpoint *cp,
                                 const struct db_root *root, bool all, bool *busy)
{
    *busy = sqlite3_exec(cp->sqlite, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_BUSY;
    if (*busy)
        return OK;
    if (sqlite3_get_autocommit(cp->sqlite))
        return failed(arena, cp);
    TRY(all ? write_all(arena, cp, root) : write_changes(arena, cp, root));
    TRY(run(arena, cp, "COMMIT"));
    root_unref(cp->flushed);
    cp->flushed = root_ref((struct db_root *)root);
    return move_wal(arena, cp);
}

struct error *checkpoint_flush(struct arena *arena, struct checkpoint *cp,
                               const struct db_root *root)
{
    bool busy;

    if (cp->failed)
        return error_internal(arena, "the database file %s is no longer written after a failure",
                              cp->path);
    if (root == cp->flushed)
        return OK;
    TRY(transaction(arena, cp, root, !follows(root, cp->flushed), &busy));
    if (busy && !cp->postponed)
        log_warning("another process holds the database file %s: it is written later", cp->path);
    cp->postponed = busy;
    return OK;
}

bool checkpoint_met_full_disk(const struct checkpoint *cp)
{
    return cp->full;
}

/*** opening and closing ***/

static struct error *cannot_open(struct arena *arena, const struct checkpoint *cp, const char *why)
{
    return error_internal(arena, "cannot open the database file %s: %s", cp->path, why);
}

static struct error *open_file(struct arena *arena, struct checkpoint *cp)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    int fd = open(cp->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600), rc;

    if (fd < 0)
        return cannot_open(arena, cp, strerror(errno));
    close(fd);
    cp->failed = false;
    cp->wal_pages = 0;
    rc = sqlite3_open_v2(cp->path, &cp->sqlite, flags, NULL);
    if (rc != SQLITE_OK)
        return cannot_open(arena, cp, sqlite3_errstr(rc));
    sqlite3_busy_timeout(cp->sqlite, BUSY_MSEC);
    sqlite3_wal_hook(cp->sqlite, wal_hook, cp);
    return OK;
}

/* Reads the file.  SQLITE_READONLY is damage too: the process may write it, its header says that no
 * version of SQLite may. */
static enum load_outcome load_file(struct arena *arena, struct checkpoint *cp,
                                   struct db_root **root, const char **why)
{
    enum load_outcome outcome;

    if (sqlite3_exec(cp->sqlite, "PRAGMA cell_size_check = ON; PRAGMA synchronous = FULL; BEGIN",
                     NULL, NULL, NULL) != SQLITE_OK) {
        *why = arena_strdup(arena, sqlite3_errmsg(cp->sqlite));
        return load_judge(cp->sqlite);
    }
    outcome = checkpoint_load(arena, cp->sqlite, root, cp->sums, why);
    sqlite3_exec(cp->sqlite, "COMMIT", NULL, NULL, NULL);
    if (outcome != LOAD_FAILED && outcome != LOAD_DAMAGED &&
        sqlite3_db_readonly(cp->sqlite, "main") == 1) {
        if (outcome != LOAD_EMPTY)
            root_unref(*root);
        *why = "its header does not allow writing";
        return LOAD_DAMAGED;
    }
    return outcome;
}

static void make_seeds(struct checkpoint *cp)
{
    for (int c = 0; c < CLASS_COUNT; c++) {
        const struct class_desc *class = &api_classes[c];
        struct arena arena = {0};
        const char **names = arena_array(&arena, const char *, class->n_fields + 4u);
        size_t n = 4;

        memcpy(names, (const char *[]){"_ref", "_created", "_version", "_modified"},
               4 * sizeof *names);
        for (int i = 0; i < class->n_fields; i++)
            if (field_is_stored(&api_fields[class->first_field + i]))
                names[n++] = api_fields[class->first_field + i].name;
        cp->seeds[c] = columns_seed(names, n);
        arena_release(&arena);
    }
}

static struct error *open_parts(struct arena *arena, struct checkpoint *cp, struct db_root **root)
{
    enum load_outcome outcome;
    const char *why = NULL;
    bool busy;

    TRY(open_file(arena, cp));
    outcome = load_file(arena, cp, root, &why);
    if (outcome == LOAD_FAILED)
        return cannot_open(arena, cp, why);
    if (outcome == LOAD_DAMAGED) {
        TRY(set_aside(arena, cp, why));
        TRY(open_file(arena, cp));
        outcome = LOAD_EMPTY;
    }
    if (outcome == LOAD_EMPTY)
        *root = root_new();
    if (sqlite3_exec(cp->sqlite, "PRAGMA synchronous = FULL; PRAGMA journal_mode = WAL", NULL, NULL,
                     NULL) != SQLITE_OK)
        return failed(arena, cp);
    if (outcome == LOAD_GOOD) {
        cp->flushed = root_ref(*root);
        return OK;
    }
    if (outcome == LOAD_OLDER)
        log_info("the database file %s is being brought to this version's schema", cp->path);
    TRY(transaction(arena, cp, *root, true, &busy));
    return busy ? cannot_open(arena, cp, "another process holds it") : OK;
}

struct error *checkpoint_open(struct arena *arena, const char *path, struct checkpoint **out,
                              struct db_root **root)
{
    struct checkpoint *cp = xcalloc(1, sizeof *cp);
    struct error *e;

    *root = NULL;
    cp->path = xstrdup(path);
    make_seeds(cp);
    e = open_parts(arena, cp, root);
    if (!e) {
        *out = cp;
        return OK;
    }
    root_unref(*root);
    *root = NULL;
    checkpoint_close(cp);
    return e;
}

void checkpoint_close(struct checkpoint *cp)
{
    if (!cp)
        return;
    close_file(cp);
    root_unref(cp->flushed);
    buf_release(&cp->bytes);
    free(cp->path);
    free(cp);
}
