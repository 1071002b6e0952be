/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/db/tree.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "libxapi/base/memory.h"
#include "xapid/db/row.h"

/*
 * A leaf holds entries; an inner node holds children, and beside each the smallest entry below it.
 * Nodes grow in steps, so that the many small indexes stay small.
 */
#define NODE_MAX 32
#define NODE_MIN 10
#define NODE_STEP 4

struct node {
    uint32_t count; /* holders; atomic */
    uint16_t n, room;
    bool leaf, rows;
    struct tree_entry
        e[]; /* 'room' of them; in an inner node followed by 'room' pointers to children */
};

static struct node **children(const struct node *n)
{
    return (struct node **)(void *)&((struct node *)n)->e[n->room];
}

static size_t node_size(bool leaf, size_t room)
{
    return sizeof(struct node) +
           room * (sizeof(struct tree_entry) + (leaf ? 0 : sizeof(struct node *)));
}

static struct node *node_new(bool leaf, bool rows, size_t n)
{
    size_t room = MIN((n + NODE_STEP) / NODE_STEP * NODE_STEP, (size_t)NODE_MAX);
    struct node *node = xmalloc(node_size(leaf, room));

    node->count = 1;
    node->n = 0;
    node->room = (uint16_t)room;
    node->leaf = leaf;
    node->rows = rows;
    return node;
}

static struct node *node_ref(struct node *node)
{
    if (node)
        __atomic_add_fetch(&node->count, 1, __ATOMIC_RELAXED);
    return node;
}

static void node_unref(struct node *node)
{
    if (!node || __atomic_sub_fetch(&node->count, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    for (int i = 0; i < node->n; i++) {
        if (!node->leaf)
            node_unref(children(node)[i]);
        else if (node->rows)
            row_unref((const struct row *)node->e[i].k[2]);
    }
    free(node);
}

/* Appends entries from..from+n of one node to another; the rows and children get a holder more. */
static void node_append(struct node *to, const struct node *from, int first, int n)
{
    memcpy(&to->e[to->n], &from->e[first], (size_t)n * sizeof to->e[0]);
    for (int i = 0; i < n; i++) {
        if (!from->leaf)
            children(to)[to->n + i] = node_ref(children(from)[first + i]);
        else if (from->rows)
            row_ref((const struct row *)from->e[first + i].k[2]);
    }
    to->n = (uint16_t)(to->n + n);
}

/* Makes the node the caller's own, with room for one entry more.  Takes the caller's reference and
 * returns another. */
static struct node *node_edit(struct node *node)
{
    struct node *copy;

    if (__atomic_load_n(&node->count, __ATOMIC_ACQUIRE) == 1 && node->n < node->room)
        return node;
    if (__atomic_load_n(&node->count, __ATOMIC_ACQUIRE) == 1 && node->room == NODE_MAX)
        return node;
    copy = node_new(node->leaf, node->rows, node->n + 1u);
    node_append(copy, node, 0, node->n);
    node_unref(node);
    return copy;
}

int tree_compare(const uint64_t *a, const uint64_t *b, int words)
{
    for (int i = 0; i < words; i++)
        if (a[i] != b[i])
            return a[i] < b[i] ? -1 : 1;
    return 0;
}

/* The first place whose key is not below 'key'. */
static int lower_bound(const struct node *node, const uint64_t *key, int words)
{
    int low = 0, high = node->n;

    while (low < high) {
        int middle = (low + high) / 2;

        if (tree_compare(node->e[middle].k, key, words) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The child whose range holds 'key'. */
static int child_of(const struct node *node, const uint64_t *key, int words)
{
    int i = lower_bound(node, key, words);

    if (i < node->n && tree_compare(node->e[i].k, key, words) == 0)
        return i;
    return MAX(i - 1, 0);
}

static void insert_at(struct node *node, int i, const struct tree_entry *e, struct node *child)
{
    memmove(&node->e[i + 1], &node->e[i], (size_t)(node->n - i) * sizeof *e);
    node->e[i] = *e;
    if (!node->leaf) {
        memmove(&children(node)[i + 1], &children(node)[i], (size_t)(node->n - i) * sizeof child);
        children(node)[i] = child;
    }
    node->n++;
}

static void remove_at(struct node *node, int i)
{
    node->n--;
    memmove(&node->e[i], &node->e[i + 1], (size_t)(node->n - i) * sizeof node->e[0]);
    if (!node->leaf)
        memmove(&children(node)[i], &children(node)[i + 1],
                (size_t)(node->n - i) * sizeof(struct node *));
}

/* Moves the upper half of a full node to a new one. */
static struct node *split(struct node *node)
{
    int half = node->n / 2;
    struct node *right = node_new(node->leaf, node->rows, NODE_MAX);

    memcpy(right->e, &node->e[half], (size_t)(node->n - half) * sizeof node->e[0]);
    if (!node->leaf)
        memcpy(children(right), &children(node)[half],
               (size_t)(node->n - half) * sizeof(struct node *));
    right->n = (uint16_t)(node->n - half);
    node->n = (uint16_t)half;
    return right;
}

/* Inserts at place i of a node the caller owns; *right is the new sibling where the node had to be
 * split. */
static void insert_or_split(struct node *node, int i, const struct tree_entry *e,
                            struct node *child, struct node **right)
{
    if (node->n < NODE_MAX) {
        insert_at(node, i, e, child);
        return;
    }
    *right = split(node);
    if (i <= node->n)
        insert_at(node, i, e, child);
    else
        insert_at(*right, i - node->n, e, child);
}

static struct node *node_put(struct node *node, const struct tree_entry *e, int words,
                             struct node **right, bool *added)
{
    struct node *child_right = NULL, *child;
    int i;

    node = node_edit(node);
    if (node->leaf) {
        i = lower_bound(node, e->k, words);
        if (i < node->n && tree_compare(node->e[i].k, e->k, words) == 0) {
            if (node->rows)
                row_unref((const struct row *)node->e[i].k[2]);
            node->e[i] = *e;
            return node;
        }
        *added = true;
        insert_or_split(node, i, e, NULL, right);
        return node;
    }
    i = child_of(node, e->k, words);
    child = node_put(children(node)[i], e, words, &child_right, added);
    children(node)[i] = child;
    node->e[i] = child->e[0];
    if (child_right)
        insert_or_split(node, i + 1, &child_right->e[0], child_right, right);
    return node;
}

bool tree_put(struct tree *tree, const struct tree_entry *entry)
{
    struct node *right = NULL, *top;
    bool added = false;

    if (!tree->root)
        tree->root = node_new(true, tree->rows, 1);
    tree->root = node_put(tree->root, entry, tree->key_words, &right, &added);
    if (right) {
        top = node_new(false, tree->rows, 2);
        insert_at(top, 0, &tree->root->e[0], tree->root);
        insert_at(top, 1, &right->e[0], right);
        tree->root = top;
    }
    tree->count += added;
    return added;
}

/* Joins child i with the next one where both fit into one node. */
static void merge_children(struct node *node, int i)
{
    struct node *left = children(node)[i], *right = children(node)[i + 1], *both;

    if (left->n + right->n > NODE_MAX)
        return;
    both = node_new(left->leaf, left->rows, (size_t)(left->n + right->n));
    node_append(both, left, 0, left->n);
    node_append(both, right, 0, right->n);
    node_unref(left);
    node_unref(right);
    remove_at(node, i + 1);
    children(node)[i] = both;
    node->e[i] = both->e[0];
}

static struct node *node_remove(struct node *node, const uint64_t *key, int words)
{
    int i;

    node = node_edit(node);
    if (node->leaf) {
        i = lower_bound(node, key, words);
        if (node->rows)
            row_unref((const struct row *)node->e[i].k[2]);
        remove_at(node, i);
        return node;
    }
    i = child_of(node, key, words);
    children(node)[i] = node_remove(children(node)[i], key, words);
    if (children(node)[i]->n == 0) {
        node_unref(children(node)[i]);
        remove_at(node, i);
        return node;
    }
    node->e[i] = children(node)[i]->e[0];
    if (children(node)[i]->n < NODE_MIN && node->n > 1)
        merge_children(node, i + 1 < node->n ? i : i - 1);
    return node;
}

bool tree_remove(struct tree *tree, const uint64_t *key)
{
    if (!tree_get(tree, key))
        return false;
    tree->root = node_remove(tree->root, key, tree->key_words);
    tree->count--;
    while (tree->root && (tree->root->n == 0 || (!tree->root->leaf && tree->root->n == 1))) {
        struct node *old = tree->root;

        tree->root = old->n ? node_ref(children(old)[0]) : NULL;
        node_unref(old);
    }
    return true;
}

const struct tree_entry *tree_get(const struct tree *tree, const uint64_t *key)
{
    const struct node *node = tree->root;
    int i;

    if (!node)
        return NULL;
    while (!node->leaf)
        node = children(node)[child_of(node, key, tree->key_words)];
    i = lower_bound(node, key, tree->key_words);
    if (i == node->n || tree_compare(node->e[i].k, key, tree->key_words) != 0)
        return NULL;
    return &node->e[i];
}

struct tree tree_copy(const struct tree *tree)
{
    struct tree copy = *tree;

    node_ref(copy.root);
    return copy;
}

void tree_release(struct tree *tree)
{
    node_unref(tree->root);
    tree->root = NULL;
    tree->count = 0;
}

void tree_seek(const struct tree *tree, const uint64_t *key, struct tree_cursor *cursor)
{
    const struct node *node = tree->root;

    cursor->depth = 0;
    cursor->key_words = tree->key_words;
    while (node) {
        int i = 0;

        assert(cursor->depth < TREE_MAX_DEPTH);
        if (key)
            i = node->leaf ? lower_bound(node, key, tree->key_words)
                           : child_of(node, key, tree->key_words);
        cursor->at[cursor->depth].node = node;
        cursor->at[cursor->depth++].i =
            node->leaf ? i : i + 1; /* of an inner node: the child to go to next */
        node = node->leaf ? NULL : children(node)[i];
    }
}

const struct tree_entry *tree_next(struct tree_cursor *cursor)
{
    while (cursor->depth) {
        const struct node *node = cursor->at[cursor->depth - 1].node;
        int i = cursor->at[cursor->depth - 1].i;

        if (i == node->n) {
            cursor->depth--;
            continue;
        }
        cursor->at[cursor->depth - 1].i++;
        if (node->leaf)
            return &node->e[i];
        cursor->at[cursor->depth].node = children(node)[i];
        cursor->at[cursor->depth++].i = 0;
    }
    return NULL;
}
