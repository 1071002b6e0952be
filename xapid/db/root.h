/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * root.h -- one version of the whole database, and the changes apply, the checkpoint and a
 * snapshot's restore make to it.
 *
 * A root that was published never changes; db_snap is such a root.  The log's thread works on a
 * private copy (root_edit) and publishes it.  Everything reachable is counted.
 *
 * Indexes are trees of 32-byte keys {hash or reference of the value (2 words), reference of the row
 * (2 words)}; each stored field with FIELD_INDEXED has one.  The tree of changes is keyed {revision
 * of the last event, deleted? class and revision of creation, reference}: every live row and every
 * remembered deletion stands in it once, so that "what happened since" is a range.
 */
#pragma once

#include "api_types.h"
#include "xapid/db/row.h"
#include "xapid/db/tree.h"

/* How many deletions are remembered for event tokens. */
#define ROOT_MAX_TOMBSTONES 65536
/* How many request ids of each origin are remembered, so that a repeated write-set is applied once.
 */
#define ROOT_MAX_REQUESTS 1024
#define ROOT_MAX_ORIGINS 256

struct db_root {
    uint32_t count; /* holders; atomic */
    uint64_t revision;
    uint64_t log_index;   /* of the last entry it contains */
    uint64_t incarnation; /* new at restore and emergency recovery: tokens of another one are
                             worthless */
    uint64_t forgotten;   /* deletions up to this revision are no longer remembered */
    uint32_t tombstones;
    uint64_t digest[2]; /* see root_digest_make */
    struct tree tables[CLASS_COUNT];
    struct tree indexes[API_INDEX_SLOTS];
    struct tree changes;
    struct tree requests; /* {origin, number, outcome and revision} */
};

/* An empty database: no rows but the static ones, which are made from the schema. */
struct db_root *root_new(void);
struct db_root *root_ref(struct db_root *root);
void root_unref(struct db_root *root);
/* A private copy, for changes. */
struct db_root *root_copy(const struct db_root *root);

/* Adds a row or replaces the one of the same reference: table, indexes, changes.  Takes over the
   caller's reference to 'row'.  'modified' is the revision of the event.  The other sides of its
   relations are not touched. */
void root_put(struct db_root *root, const struct row *row, uint64_t modified);
/* Removes a row and remembers the deletion at 'revision'. */
void root_remove(struct db_root *root, int class_id, ref_t ref, uint64_t revision);
/* Gives a row an event at 'revision'; nothing if it is gone. */
void root_touch(struct db_root *root, int class_id, ref_t ref, uint64_t revision);
/* Remembers a deletion that happened earlier: for loading. */
void root_add_tombstone(struct db_root *root, int class_id, ref_t ref, uint64_t created,
                        uint64_t deleted);

/* One remembered change. */
struct root_change {
    uint64_t revision;
    int class_id;
    ref_t ref;
    bool deleted;
    uint64_t created;
};
/* Walks the changes after 'revision', oldest first. */
void root_changes(const struct db_root *root, uint64_t revision, struct tree_cursor *cursor);
bool root_next_change(struct tree_cursor *cursor, struct root_change *out);
/* Points before the change that a live row should have. */
void root_seek_change(const struct db_root *root, int class_id, ref_t ref, uint64_t created,
                      uint64_t modified, struct tree_cursor *cursor);

/*
 * What members compare: the sum of a hash of each row (fields, revisions, its last event's) and of
 * each remembered deletion, so that a change costs what it changes.  root->digest is kept up to
 * date; this makes it anew from everything, also the hashes of the rows.  Comparable at the same
 * revision and between members with the same api_schema_hash.
 */
void root_digest_make(const struct db_root *root, uint64_t out[2]);

/* NULL when absent. */
const void *root_get(const struct db_root *root, int class_id, ref_t ref);
/* Revision of the last event of a row that exists. */
uint64_t root_modified(const struct db_root *root, int class_id, ref_t ref);

/* The index key of a value: a reference as it is, a string by its hash. */
ref_t index_key_string(const char *s);
/* Calls fn for every key a stored field's value has in its index. */
void index_keys(const struct field_desc *f, const void *value, void (*fn)(void *ctx, ref_t key),
                void *ctx);
/* Walks the rows that have 'key' in a field's index. */
struct index_walk {
    struct tree_cursor cursor;
    ref_t key;
};
void index_walk(const struct db_root *root, const struct field_desc *f, ref_t key,
                struct index_walk *walk);
bool index_next(struct index_walk *walk, ref_t *row);
/* A digest of the rows that have 'key' in the index, with their versions: what a write-set relies
 * on when it relied on the whole set. */
uint64_t index_digest(const struct db_root *root, const struct field_desc *f, ref_t key);
