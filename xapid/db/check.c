/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* check.c -- the rules apply keeps, judged over a whole version of the database. */
#include <stdarg.h>
#include <string.h>

#include "libxapi/base/log.h"
#include "xapid/db/db.h"

/* Faults told one by one; a broken index has as many as rows. */
#define MAX_TOLD 100
/* As in apply.c. */
#define MAX_CHAIN 1024

struct check {
    const struct db_root *root;
    int faults;
    size_t keys[API_INDEX_SLOTS]; /* entries each index should have */
};

static void fault(struct check *c, const struct class_desc *class, ref_t ref, const char *field,
                  const char *fmt, ...) PRINTF_LIKE(5, 6);

static void fault(struct check *c, const struct class_desc *class, ref_t ref, const char *field,
                  const char *fmt, ...)
{
    char text[REF_TEXT_SIZE];
    struct arena arena = {0};
    va_list ap;

    if (++c->faults > MAX_TOLD)
        return;
    va_start(ap, fmt);
    log_error("database check: %s %s%s%s: %s", class->name, ref_to_text(ref, text),
              field ? ", " : "", field ? field : "", arena_vprintf(&arena, fmt, ap));
    va_end(ap);
    arena_release(&arena);
}

/*** rows ***/

struct at {
    struct check *c;
    const struct class_desc *class;
    const struct field_desc *f;
    ref_t ref;
    ref_t *keys; /* found for this field so far, to count each once */
    size_t n;
    struct arena *arena;
};

static void check_ref(struct at *at, const struct type *t, const void *value)
{
    char text[REF_TEXT_SIZE];
    ref_t to = *(const ref_t *)value;

    if (ref_is_null(to) || t->class_id < 0 || !(api_classes[t->class_id].flags & CLASS_STORED))
        return;
    if (!root_get(at->c->root, t->class_id, to))
        fault(at->c, at->class, at->ref, at->f->name, "refers to the %s %s, which does not exist",
              t->class_name, ref_to_text(to, text));
}

static void check_value(struct at *at, const struct type *t, const void *value)
{
    const struct set *set = value;

    if (t->kind == TYPE_REF && !(at->f->flags & FIELD_UNTRACKED)) {
        check_ref(at, t, value);
    } else if (t->kind == TYPE_ENUM) {
        if (*(const int *)value < 0 || *(const int *)value >= t->enum_desc->n)
            fault(at->c, at->class, at->ref, at->f->name, "is %d, which is no %s",
                  *(const int *)value, t->enum_desc->name);
    } else if (t->kind == TYPE_SET && t->elem->kind != TYPE_STRING && t->elem->kind != TYPE_INT) {
        for (size_t i = 0; i < set->n; i++)
            check_value(at, t->elem, (const char *)set->v + i * t->elem->size);
    } else if (t->kind == TYPE_MAP &&
               (t->key->kind != TYPE_STRING || t->elem->kind != TYPE_STRING)) {
        for (size_t i = 0; i < set->n; i++) {
            check_value(at, t->key, (const char *)set->v + i * t->entry_size);
            check_value(at, t->elem, (const char *)set->v + i * t->entry_size + t->value_offset);
        }
    }
}

static bool in_index(const struct db_root *root, const struct field_desc *f, ref_t key, ref_t row)
{
    return tree_get(&root->indexes[f->index_slot], (uint64_t[]){key.hi, key.lo, row.hi, row.lo}) !=
           NULL;
}

static void check_key(void *ctx, ref_t key)
{
    struct at *at = ctx;

    for (size_t i = 0; i < at->n; i++)
        if (ref_equal(at->keys[i], key))
            return;
    if ((at->n & (at->n - 1)) == 0) {
        ref_t *more = arena_array(at->arena, ref_t, MAX(2 * at->n, 1));

        if (at->n)
            memcpy(more, at->keys, at->n * sizeof *more);
        at->keys = more;
    }
    at->keys[at->n++] = key;
    at->c->keys[at->f->index_slot]++;
    if (!in_index(at->c->root, at->f, key, at->ref))
        fault(at->c, at->class, at->ref, at->f->name, "is not in its index");
}

/* Following a reference to the own class comes to an end. */
static void check_chain(struct at *at, const void *row)
{
    ref_t to = *(const ref_t *)field_in(row, at->f);
    int i = 0;

    while (row && !ref_is_null(to) && i++ <= MAX_CHAIN) {
        if (ref_equal(to, at->ref))
            i = MAX_CHAIN;
        row = root_get(at->c->root, at->f->class_id, to);
        if (row)
            to = *(const ref_t *)field_in(row, at->f);
    }
    if (i > MAX_CHAIN)
        fault(at->c, at->class, at->ref, at->f->name, "forms a cycle");
}

static void check_uuid(struct at *at, const void *row)
{
    const char *uuid = *(const char *const *)field_in(row, at->f);
    struct index_walk walk;
    char text[REF_TEXT_SIZE];
    ref_t other;

    index_walk(at->c->root, at->f, index_key_string(uuid), &walk);
    while (index_next(&walk, &other))
        if (!ref_equal(other, at->ref))
            fault(at->c, at->class, at->ref, at->f->name, "%s is also that of %s", uuid,
                  ref_to_text(other, text));
}

static void check_revisions(struct check *c, const struct class_desc *class, const struct row *row,
                            const struct tree_entry *e)
{
    struct tree_cursor cursor;
    struct root_change change;

    if (!ref_equal(row->ref, (ref_t){e->k[0], e->k[1]}) || row->row_class != class->id)
        fault(c, class, (ref_t){e->k[0], e->k[1]}, NULL, "the row is another's");
    if (row->row_created > row->row_version || row->row_version > e->k[3] ||
        e->k[3] > c->root->revision)
        fault(c, class, row->ref, NULL, "its revisions are impossible");
    root_seek_change(c->root, class->id, row->ref, row->row_created, e->k[3], &cursor);
    if (!root_next_change(&cursor, &change) || change.revision != e->k[3] ||
        change.class_id != class->id || !ref_equal(change.ref, row->ref) || change.deleted)
        fault(c, class, row->ref, NULL, "it is not in the tree of changes");
}

static void check_row(struct check *c, const struct class_desc *class, const struct tree_entry *e)
{
    const struct row *row = (const struct row *)e->k[2];
    struct arena arena = {0};

    check_revisions(c, class, row, e);
    for (int i = 0; i < class->n_fields; i++) {
        const struct field_desc *f = &api_fields[class->first_field + i];
        struct at at = {
            .c = c, .class = class, .f = f, .ref = (ref_t){e->k[0], e->k[1]}, .arena = &arena};

        if (!field_is_stored(f))
            continue;
        check_value(&at, f->type, field_in(row, f));
        if (f->index_slot >= 0)
            index_keys(f, field_in(row, f), check_key, &at);
        if (f->id == class->uuid_field)
            check_uuid(&at, row);
        if (f->id == FIELD_vm_snapshot_of || f->id == FIELD_vm_parent ||
            f->id == FIELD_vdi_snapshot_of)
            check_chain(&at, row);
    }
    arena_release(&arena);
}

/*** what is beside the rows ***/

/* Every entry that should be there is (check_key); if there are no more, none is wrong. */
static void check_indexes(struct check *c)
{
    for (size_t i = 0; i < api_n_fields; i++) {
        const struct field_desc *f = &api_fields[i];

        if (field_is_stored(f) && f->index_slot >= 0 &&
            c->root->indexes[f->index_slot].count != c->keys[f->index_slot])
            fault(c, &api_classes[f->class_id], REF_NULL, f->name,
                  "its index has %u entries for %zu values", c->root->indexes[f->index_slot].count,
                  c->keys[f->index_slot]);
    }
}

static void check_changes(struct check *c, uint64_t rows)
{
    uint64_t live = 0, deleted = 0;
    struct tree_cursor cursor;
    struct root_change change;

    tree_seek(&c->root->changes, NULL, &cursor);
    while (root_next_change(&cursor, &change)) {
        live += !change.deleted;
        deleted += change.deleted;
        if (change.class_id >= CLASS_COUNT)
            fault(c, &api_classes[0], change.ref, NULL,
                  "a change of class %d, which does not exist", change.class_id);
        else if (change.deleted &&
                 (change.revision > c->root->revision || change.revision <= c->root->forgotten))
            fault(c, &api_classes[change.class_id], change.ref, NULL,
                  "its deletion has an impossible revision");
    }
    if (live != rows || deleted != c->root->tombstones)
        fault(c, &api_classes[0], REF_NULL, NULL,
              "the tree of changes does not agree with all the tables");
}

/* A derived field needs the index of the field on the other side, and both must mean each other. */
static void check_relations(struct check *c)
{
    for (size_t i = 0; i < api_n_fields; i++) {
        const struct field_desc *f = &api_fields[i], *other;

        if (!(f->flags & FIELD_DERIVED) || f->relation < 0)
            continue;
        other = &api_fields[f->relation];
        if (!field_is_stored(other) || (other->index_slot < 0 && !(other->flags & FIELD_UNTRACKED)))
            fault(c, &api_classes[f->class_id], REF_NULL, f->name,
                  "the other side of its relation has no index");
    }
}

int db_check(const struct db_snap *snap)
{
    struct check c = {.root = snap_root(snap)};
    uint64_t rows = 0, digest[2];

    check_relations(&c);
    for (int i = 0; i < CLASS_COUNT; i++) {
        const struct tree_entry *e;
        struct tree_cursor cursor;
        uint32_t n = 0;

        tree_seek(&c.root->tables[i], NULL, &cursor);
        while ((e = tree_next(&cursor))) {
            check_row(&c, &api_classes[i], e);
            n++;
        }
        if (n != c.root->tables[i].count)
            fault(&c, &api_classes[i], REF_NULL, NULL, "the table counts %u rows but has %u",
                  c.root->tables[i].count, n);
        rows += n;
    }
    check_indexes(&c);
    check_changes(&c, rows);
    root_digest_make(c.root, digest);
    if (memcmp(digest, c.root->digest, sizeof digest) != 0)
        fault(&c, &api_classes[0], REF_NULL, NULL,
              "the digest that is kept is not that of the rows");
    if (c.faults > MAX_TOLD)
        log_error("database check: %d more faults", c.faults - MAX_TOLD);
    return c.faults;
}
