/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/db/root.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "libxapi/base/memory.h"
#include "xapid/db/roles.h"

#define CHANGE_DELETED (1ull << 63)
#define CREATED_MASK ((1ull << 48) - 1)

struct db_root *root_new(void)
{
    struct db_root *root = xcalloc(1, sizeof *root);

    root->count = 1;
    for (int i = 0; i < CLASS_COUNT; i++)
        root->tables[i] = tree_table();
    for (int i = 0; i < API_INDEX_SLOTS; i++)
        root->indexes[i] = tree_index(4);
    root->changes = tree_index(4);
    root->requests = tree_index(2);
    roles_add(root);
    return root;
}

struct db_root *root_ref(struct db_root *root)
{
    __atomic_add_fetch(&root->count, 1, __ATOMIC_RELAXED);
    return root;
}

void root_unref(struct db_root *root)
{
    if (!root || __atomic_sub_fetch(&root->count, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    for (int i = 0; i < CLASS_COUNT; i++)
        tree_release(&root->tables[i]);
    for (int i = 0; i < API_INDEX_SLOTS; i++)
        tree_release(&root->indexes[i]);
    tree_release(&root->changes);
    tree_release(&root->requests);
    free(root);
}

struct db_root *root_copy(const struct db_root *root)
{
    struct db_root *copy = xmalloc(sizeof *copy);

    /* All but the count, which others change meanwhile. */
    memcpy((char *)copy + sizeof copy->count, (const char *)root + sizeof root->count,
           sizeof *copy - sizeof copy->count);
    copy->count = 1;
    for (int i = 0; i < CLASS_COUNT; i++)
        copy->tables[i] = tree_copy(&root->tables[i]);
    for (int i = 0; i < API_INDEX_SLOTS; i++)
        copy->indexes[i] = tree_copy(&root->indexes[i]);
    copy->changes = tree_copy(&root->changes);
    copy->requests = tree_copy(&root->requests);
    return copy;
}

/*** indexes ***/

ref_t index_key_string(const char *s)
{
    XXH128_hash_t h = XXH3_128bits(s, strlen(s));

    return (ref_t){h.high64, h.low64};
}

static void scalar_keys(const struct type *type, const void *value, void (*fn)(void *, ref_t),
                        void *ctx)
{
    if (type->kind == TYPE_REF && !ref_is_null(*(const ref_t *)value))
        fn(ctx, *(const ref_t *)value);
    else if (type->kind == TYPE_STRING)
        fn(ctx, index_key_string(*(const char *const *)value));
}

void index_keys(const struct field_desc *f, const void *value, void (*fn)(void *ctx, ref_t key),
                void *ctx)
{
    const struct type *t = f->type;
    const struct set *set = value;

    if (t->kind == TYPE_SET) {
        for (size_t i = 0; i < set->n; i++)
            scalar_keys(t->elem, (const char *)set->v + i * t->elem->size, fn, ctx);
    } else if (t->kind == TYPE_MAP) {
        for (size_t i = 0; i < set->n; i++) {
            const char *entry = (const char *)set->v + i * t->entry_size;

            if (t->key->kind == TYPE_REF)
                scalar_keys(t->key, entry, fn, ctx);
            if (t->elem->kind == TYPE_REF)
                scalar_keys(t->elem, entry + t->value_offset, fn, ctx);
        }
    } else {
        scalar_keys(t, value, fn, ctx);
    }
}

struct index_edit {
    struct tree *tree;
    ref_t row;
};

static void index_add(void *ctx, ref_t key)
{
    struct index_edit *e = ctx;

    tree_put(e->tree, &(struct tree_entry){{key.hi, key.lo, e->row.hi, e->row.lo}});
}

static void index_drop(void *ctx, ref_t key)
{
    struct index_edit *e = ctx;

    tree_remove(e->tree, (uint64_t[]){key.hi, key.lo, e->row.hi, e->row.lo});
}

/* Brings the indexes from the old row's values (NULL: none) to the new one's. */
static void index_row(struct db_root *root, const struct row *old, const struct row *new)
{
    const struct row *any = new ? new : old;
    const struct class_desc *class = &api_classes[any->row_class];
    const struct field_desc *fields = &api_fields[class->first_field];

    for (int i = 0; i < class->n_fields; i++) {
        const struct field_desc *f = &fields[i];
        struct index_edit edit;

        if (f->index_slot < 0)
            continue;
        if (old && new &&value_equal(f->type, field_in(old, f), field_in(new, f)))
            continue;
        edit = (struct index_edit){&root->indexes[f->index_slot], any->ref};
        if (old)
            index_keys(f, field_in(old, f), index_drop, &edit);
        if (new)
            index_keys(f, field_in(new, f), index_add, &edit);
    }
}

void index_walk(const struct db_root *root, const struct field_desc *f, ref_t key,
                struct index_walk *walk)
{
    assert(f->index_slot >= 0);
    walk->key = key;
    tree_seek(&root->indexes[f->index_slot], (uint64_t[]){key.hi, key.lo, 0, 0}, &walk->cursor);
}

bool index_next(struct index_walk *walk, ref_t *row)
{
    const struct tree_entry *e = tree_next(&walk->cursor);
    if (!e || e->k[0] != walk->key.hi || e->k[1] != walk->key.lo)
        return false;
    *row = (ref_t){e->k[2], e->k[3]};
    return true;
}

uint64_t index_digest(const struct db_root *root, const struct field_desc *f, ref_t key)
{
    struct index_walk walk;
    uint64_t digest = 0;
    ref_t ref;

    index_walk(root, f, key, &walk);
    while (index_next(&walk, &ref)) {
        const struct row *row = root_get(root, f->class_id, ref);
        uint64_t part[4] = {digest, ref.hi, ref.lo, row->row_version};

        digest = XXH3_64bits(part, sizeof part) | 1; /* an empty set differs from all others */
    }
    return digest;
}

/*** the digest ***/

/* The part of one row, or of one deletion (content NULL; modified: when it was). */
static void digest_part(int class_id, ref_t ref, uint64_t created, uint64_t version,
                        uint64_t modified, const uint64_t *content, uint64_t out[2])
{
    static const uint64_t deleted[2] = {0, 0};
    const uint64_t *c = content ? content : deleted;
    uint64_t words[] = {api_class_hash(&api_classes[class_id]),
                        content != NULL,
                        ref.hi,
                        ref.lo,
                        created,
                        version,
                        modified,
                        c[0],
                        c[1]};
    XXH128_hash_t h = XXH3_128bits(words, sizeof words);

    out[0] = h.low64;
    out[1] = h.high64;
}

static void digest_row(struct db_root *root, const struct row *row, uint64_t modified, bool add)
{
    uint64_t part[2];

    digest_part(row->row_class, row->ref, row->row_created, row->row_version, modified,
                row_hash(row), part);
    root->digest[0] += add ? part[0] : -part[0];
    root->digest[1] += add ? part[1] : -part[1];
}

static void digest_deletion(struct db_root *root, const struct tree_entry *change, bool add)
{
    uint64_t part[2];

    digest_part((int)(change->k[1] >> 48 & 0x7fff), (ref_t){change->k[2], change->k[3]},
                change->k[1] & CREATED_MASK, 0, change->k[0], NULL, part);
    root->digest[0] += add ? part[0] : -part[0];
    root->digest[1] += add ? part[1] : -part[1];
}

void root_digest_make(const struct db_root *root, uint64_t out[2])
{
    struct db_root sum = {0};
    const struct tree_entry *e;
    struct tree_cursor cursor;

    for (int i = 0; i < CLASS_COUNT; i++) {
        tree_seek(&root->tables[i], NULL, &cursor);
        while ((e = tree_next(&cursor))) {
            const struct row *row = (const struct row *)e->k[2];
            uint64_t content[2], part[2];

            row_hash_make(&api_classes[i], row, content);
            digest_part(i, row->ref, row->row_created, row->row_version, e->k[3], content, part);
            sum.digest[0] += part[0];
            sum.digest[1] += part[1];
        }
    }
    tree_seek(&root->changes, NULL, &cursor);
    while ((e = tree_next(&cursor)))
        if (e->k[1] & CHANGE_DELETED)
            digest_deletion(&sum, e, true);
    memcpy(out, sum.digest, sizeof sum.digest);
}

/*** rows ***/

static struct tree_entry change_key(uint64_t revision, int class_id, ref_t ref, uint64_t created,
                                    bool deleted)
{
    return (struct tree_entry){
        {revision,
         (uint64_t)class_id << 48 | (created & CREATED_MASK) | (deleted ? CHANGE_DELETED : 0),
         ref.hi, ref.lo}};
}

void root_put(struct db_root *root, const struct row *row, uint64_t modified)
{
    struct tree *table = &root->tables[row->row_class];
    const struct tree_entry *found = tree_get(table, (uint64_t[]){row->ref.hi, row->ref.lo});
    struct tree_entry change;

    if (found) {
        const struct row *old = (const struct row *)found->k[2];

        change = change_key(found->k[3], row->row_class, row->ref, old->row_created, false);
        index_row(root, old, row);
        tree_remove(&root->changes, change.k);
        digest_row(root, old, found->k[3], false);
    } else {
        index_row(root, NULL, row);
    }
    digest_row(root, row, modified, true);
    tree_put(table, &(struct tree_entry){{row->ref.hi, row->ref.lo, (uint64_t)row, modified}});
    change = change_key(modified, row->row_class, row->ref, row->row_created, false);
    tree_put(&root->changes, &change);
}

/*
 * Forgets the oldest deletions, 'least' of them and all others of the last one's revision, so that
 * none at or before root->forgotten is left.  In blocks: the walk past live rows that changed long
 * ago is then paid once for many.
 */
static void forget_tombstones(struct db_root *root, uint32_t least)
{
    struct tree_entry *oldest = xmalloc(root->tombstones * sizeof *oldest);
    const struct tree_entry *e;
    struct tree_cursor cursor;
    uint32_t n = 0;

    tree_seek(&root->changes, NULL, &cursor);
    while ((e = tree_next(&cursor)) && (n < least || e->k[0] == oldest[n - 1].k[0]))
        if (e->k[1] & CHANGE_DELETED)
            oldest[n++] = *e;
    for (uint32_t i = 0; i < n; i++) {
        root->forgotten = MAX(root->forgotten, oldest[i].k[0]);
        tree_remove(&root->changes, oldest[i].k);
        digest_deletion(root, &oldest[i], false);
        root->tombstones--;
    }
    free(oldest);
}

void root_add_tombstone(struct db_root *root, int class_id, ref_t ref, uint64_t created,
                        uint64_t deleted)
{
    struct tree_entry change = change_key(deleted, class_id, ref, created, true);

    if (tree_put(&root->changes, &change)) {
        digest_deletion(root, &change, true);
        root->tombstones++;
    }
    if (root->tombstones > ROOT_MAX_TOMBSTONES)
        forget_tombstones(root, ROOT_MAX_TOMBSTONES / 16);
}

void root_remove(struct db_root *root, int class_id, ref_t ref, uint64_t revision)
{
    struct tree *table = &root->tables[class_id];
    uint64_t key[2] = {ref.hi, ref.lo}, created;
    const struct tree_entry *found = tree_get(table, key);
    const struct row *row;
    struct tree_entry change;

    if (!found)
        return;
    row = (const struct row *)found->k[2];
    created = row->row_created;
    change = change_key(found->k[3], class_id, ref, created, false);
    index_row(root, row, NULL);
    digest_row(root, row, found->k[3], false);
    tree_remove(&root->changes, change.k);
    tree_remove(table, key);
    root_add_tombstone(root, class_id, ref, created, revision);
}

void root_touch(struct db_root *root, int class_id, ref_t ref, uint64_t revision)
{
    struct tree *table = &root->tables[class_id];
    const struct tree_entry *found = tree_get(table, (uint64_t[]){ref.hi, ref.lo});
    struct tree_entry entry, change;
    const struct row *row;

    if (!found || found->k[3] == revision)
        return;
    entry = *found;
    row = (const struct row *)entry.k[2];
    change = change_key(entry.k[3], class_id, ref, row->row_created, false);
    tree_remove(&root->changes, change.k);
    digest_row(root, row, entry.k[3], false);
    digest_row(root, row, revision, true);
    change = change_key(revision, class_id, ref, row->row_created, false);
    tree_put(&root->changes, &change);
    entry.k[3] = revision;
    row_ref(row);
    tree_put(table, &entry);
}

void root_changes(const struct db_root *root, uint64_t revision, struct tree_cursor *cursor)
{
    tree_seek(&root->changes, (uint64_t[]){revision + 1, 0, 0, 0}, cursor);
}

void root_seek_change(const struct db_root *root, int class_id, ref_t ref, uint64_t created,
                      uint64_t modified, struct tree_cursor *cursor)
{
    struct tree_entry change = change_key(modified, class_id, ref, created, false);

    tree_seek(&root->changes, change.k, cursor);
}

bool root_next_change(struct tree_cursor *cursor, struct root_change *out)
{
    const struct tree_entry *e = tree_next(cursor);

    if (!e)
        return false;
    *out = (struct root_change){
        .revision = e->k[0],
        .class_id = (int)(e->k[1] >> 48 & 0x7fff),
        .ref = {e->k[2], e->k[3]},
        .deleted = (e->k[1] & CHANGE_DELETED) != 0,
        .created = e->k[1] & CREATED_MASK,
    };
    return true;
}

const void *root_get(const struct db_root *root, int class_id, ref_t ref)
{
    const struct tree_entry *e = tree_get(&root->tables[class_id], (uint64_t[]){ref.hi, ref.lo});

    return e ? (const void *)e->k[2] : NULL;
}

uint64_t root_modified(const struct db_root *root, int class_id, ref_t ref)
{
    const struct tree_entry *e = tree_get(&root->tables[class_id], (uint64_t[]){ref.hi, ref.lo});

    return e ? e->k[3] : 0;
}
