/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * checkpoint_file.h -- what the writer (checkpoint.c) and the reader (checkpoint_load.c) of the
 * SQLite file share.
 *
 * One table for each class with the columns _ref, _created, _version, _modified, one for each
 * stored field, _checksum; and
 *
 *   _tombstones (deleted, class, ref, created)              deletions that are remembered
 *   _requests   (origin, number, outcome, log_index)        write-sets that are remembered
 *   _tables     (name, rows, sum)                           of each table: how many rows, the sum
 * of their checksums _meta       (key, value)                                format, schema,
 * revision, log_index, incarnation, forgotten, tables and checksum (of _tables and of _meta itself)
 *
 * A row's checksum is made of what stands in its columns, not of values, so that it can be judged
 * under any schema.  Whatever is changed, lost or brought back in the file shows in a checksum or
 * in a sum.
 */
#pragma once

#include <sqlite3.h>

#include "xapid/db/column.h"
#include "xapid/db/root.h"

#define CHECKPOINT_FORMAT 1

enum { TABLE_TOMBSTONES = CLASS_COUNT, TABLE_REQUESTS, TABLE_COUNT };

struct meta {
    uint64_t format, schema, revision, log_index, incarnation, forgotten;
    uint64_t tables;
};

/* The keys of _meta with their places in struct meta. */
#define META_KEYS 7
extern const struct meta_key {
    const char *name;
    size_t offset;
} meta_keys[META_KEYS];

/* True for classes that have a table. */
static inline bool class_has_table(const struct class_desc *class)
{
    return (class->flags & (CLASS_STORED | CLASS_STATIC)) == CLASS_STORED;
}

/* "VM", "_tombstones", "_requests"; NULL for classes without a table. */
const char *table_name(int table);

/* What one line of _meta adds to the checksum of all of them, in any order, of any format. */
uint64_t meta_checksum(const char *key, uint64_t value);
/* Of a table's column names from _ref on: where a row's checksum begins. */
uint64_t columns_seed(const char *const *names, size_t n);
/* 'buf' holds the row's cells, in the order of the columns. */
uint64_t row_checksum(uint64_t seed, const struct buf *buf);
uint64_t tombstone_checksum(const struct root_change *change);
uint64_t request_checksum(const struct tree_entry *e);
/* What one line of _tables adds to the checksum of all of them, in any order. */
uint64_t table_checksum(const char *name, uint64_t rows, uint64_t sum);

enum load_outcome {
    LOAD_GOOD,
    LOAD_EMPTY,   /* no tables yet */
    LOAD_OLDER,   /* good, but of another schema: to be written anew */
    LOAD_DAMAGED, /* *why says how */
    LOAD_FAILED,  /* cannot be used, and must not be touched; *why says why */
};

/* Judges SQLite's last error: what the file's contents can cause is LOAD_DAMAGED, all else is
 * LOAD_FAILED. */
enum load_outcome load_judge(sqlite3 *sqlite);
/* Reads everything.  'sums' are those of the tables; *root is made on LOAD_GOOD and LOAD_OLDER
 * only. */
enum load_outcome checkpoint_load(struct arena *arena, sqlite3 *sqlite, struct db_root **root,
                                  uint64_t sums[TABLE_COUNT], const char **why);
