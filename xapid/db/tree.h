/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tree.h -- persistent B-trees of 32-byte entries: the tables and indexes of the database.
 *
 * A tree is a value: copying it (tree_copy) costs one reference, and changes to one copy are not
 * seen by the other.  Nodes are counted and shared; only nodes that one writer holds alone are
 * changed in place.  Readers need no lock; the last holder, reader or writer, frees.
 */
#pragma once

#include "libxapi/base/base.h"

struct row;
struct node;

/* In a table: k[0], k[1] the reference, k[2] the row (counted by the tree), k[3] the revision of
   its last event. In an index all four words are the key. */
struct tree_entry {
    uint64_t k[4];
};

struct tree {
    struct node *root;
    uint32_t count;
    uint8_t
        key_words; /* how many words are the key: 2 for tables, 4 for indexes, 2 for small maps */
    bool rows;     /* k[2] is a row */
};

static inline struct tree tree_table(void)
{
    return (struct tree){.key_words = 2, .rows = true};
}
static inline struct tree tree_index(int key_words)
{
    return (struct tree){.key_words = (uint8_t)key_words};
}

/* Below, at or above 0 as the keys compare. */
int tree_compare(const uint64_t *a, const uint64_t *b, int words);
struct tree tree_copy(const struct tree *tree);
void tree_release(struct tree *tree);
/* Adds an entry, or replaces the one with the same key.  Takes over the row's reference. True if it
 * was new. */
bool tree_put(struct tree *tree, const struct tree_entry *entry);
/* True if there was one. */
bool tree_remove(struct tree *tree, const uint64_t *key);
/* NULL when absent; valid as long as the tree is. */
const struct tree_entry *tree_get(const struct tree *tree, const uint64_t *key);

#define TREE_MAX_DEPTH 12
struct tree_cursor {
    int depth, key_words;
    struct {
        const struct node *node;
        int i;
    } at[TREE_MAX_DEPTH];
};

/* Points before the first entry whose key is not below 'key' (NULL: the first of all). */
void tree_seek(const struct tree *tree, const uint64_t *key, struct tree_cursor *cursor);
/* The next entry, or NULL at the end. */
const struct tree_entry *tree_next(struct tree_cursor *cursor);
