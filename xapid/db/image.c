/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * image.c -- a whole root as bytes, for the log's snapshots.  They lie on disks and go to members
 * of other versions.
 *
 *   8 bytes "xapidimg", u32 format, u32 zero, u64 bytes of the body, u64 xxh3 of the body, then the
 * body: u64 revision, log index, incarnation, forgotten u32 classes, for each: u32 hash, u64 bytes
 * of what follows, u32 fields, for each: u32 hash, u32 bytes, its default u32 rows, for each: ref,
 * u64 created, version, modified, u32 bytes of what follows, u32 fields, for each: u32 place among
 * the class's fields, u32 bytes, value u32 deletions, for each: u32 hash of the class, ref, u64
 * created, deleted u32 requests, for each: four u64
 *
 * Fields that have the writer's default are left out; the reader takes it from the image, so that
 * its own may be another. Classes and fields that the reader does not know are left out with a line
 * in the log.  All is little-endian and in the order of the trees: equal roots have equal images.
 */
#include <string.h>
#include <xxhash.h>

#include "libxapi/base/log.h"
#include "xapid/db/db.h"
#include "xapid/db/numbers.h"

#define MAGIC "xapidimg"
#define IMAGE_FORMAT 1
#define HEAD_SIZE 32
#define ROWS_PER_ARENA 256

/*** writing ***/

static void patch(struct buf *b, size_t at, uint64_t v, size_t n)
{
    v = htole64(v);
    memcpy(b->data + at, &v, n);
}

static void put_value(struct buf *b, const struct type *type, const void *value)
{
    size_t at = b->len;

    put_u32(b, 0);
    value_encode(b, type, value);
    patch(b, at, b->len - at - 4, 4);
}

static void put_fields(struct buf *b, const struct class_desc *class, const void *defaults)
{
    size_t at = b->len;
    uint32_t n = 0;

    put_u32(b, 0);
    for (int i = 0; i < class->n_fields; i++) {
        const struct field_desc *f = &api_fields[class->first_field + i];

        if (!field_is_stored(f))
            continue;
        put_u32(b, f->hash);
        put_value(b, f->type, field_in(defaults, f));
        n++;
    }
    patch(b, at, n, 4);
}

static void put_row(struct buf *b, const struct class_desc *class, const void *defaults,
                    const struct row *row, uint64_t modified)
{
    uint32_t place = 0, n = 0;
    size_t at;

    put_ref(b, row->ref);
    put_u64(b, row->row_created);
    put_u64(b, row->row_version);
    put_u64(b, modified);
    at = b->len;
    put_u32(b, 0);
    put_u32(b, 0);
    for (int i = 0; i < class->n_fields; i++) {
        const struct field_desc *f = &api_fields[class->first_field + i];

        if (!field_is_stored(f))
            continue;
        if (!value_equal(f->type, field_in(row, f), field_in(defaults, f))) {
            put_u32(b, place);
            put_value(b, f->type, field_in(row, f));
            n++;
        }
        place++;
    }
    patch(b, at, b->len - at - 4, 4);
    patch(b, at + 4, n, 4);
}

static void put_class(struct buf *b, const struct db_root *root, const struct class_desc *class)
{
    struct arena arena = {0};
    void *defaults = arena_alloc(&arena, class->struct_size);
    size_t at = b->len + 4;
    struct tree_cursor cursor;
    const struct tree_entry *e;

    put_u32(b, api_class_hash(class));
    put_u64(b, 0);
    row_defaults(class, defaults);
    put_fields(b, class, defaults);
    put_u32(b, root->tables[class->id].count);
    tree_seek(&root->tables[class->id], NULL, &cursor);
    while ((e = tree_next(&cursor)))
        put_row(b, class, defaults, (const struct row *)e->k[2], e->k[3]);
    patch(b, at, b->len - at - 8, 8);
    arena_release(&arena);
}

static bool class_is_kept(const struct class_desc *class)
{
    return (class->flags & (CLASS_STORED | CLASS_STATIC)) == CLASS_STORED;
}

static void put_deletions(struct buf *b, const struct db_root *root)
{
    struct tree_cursor cursor;
    struct root_change c;

    put_u32(b, root->tombstones);
    root_changes(root, 0, &cursor);
    while (root_next_change(&cursor, &c)) {
        if (!c.deleted)
            continue;
        put_u32(b, api_class_hash(&api_classes[c.class_id]));
        put_ref(b, c.ref);
        put_u64(b, c.created);
        put_u64(b, c.revision);
    }
}

static void put_requests(struct buf *b, const struct db_root *root)
{
    struct tree_cursor cursor;
    const struct tree_entry *e;

    put_u32(b, root->requests.count);
    tree_seek(&root->requests, NULL, &cursor);
    while ((e = tree_next(&cursor)))
        for (int i = 0; i < 4; i++)
            put_u64(b, e->k[i]);
}

void image_write(struct buf *b, const struct db_root *root)
{
    size_t start = b->len, body;
    uint32_t n = 0;

    buf_puts(b, MAGIC);
    put_u32(b, IMAGE_FORMAT);
    put_u32(b, 0);
    put_u64(b, 0);
    put_u64(b, 0);
    body = b->len;
    put_u64(b, root->revision);
    put_u64(b, root->log_index);
    put_u64(b, root->incarnation);
    put_u64(b, root->forgotten);
    for (int i = 0; i < CLASS_COUNT; i++)
        n += class_is_kept(&api_classes[i]) && root->tables[i].count;
    put_u32(b, n);
    for (int i = 0; i < CLASS_COUNT; i++)
        if (class_is_kept(&api_classes[i]) && root->tables[i].count)
            put_class(b, root, &api_classes[i]);
    put_deletions(b, root);
    put_requests(b, root);
    patch(b, start + 16, b->len - body, 8);
    patch(b, start + 24, XXH3_64bits(b->data + body, b->len - body), 8);
}

/*** reading ***/

struct reader {
    struct arena *arena;
    struct arena scratch; /* of some rows */
    struct input in;
    struct db_root *root;
};

/* A count of things of at least 'each' bytes. */
static bool take_count(struct reader *r, size_t each, uint32_t *n)
{
    if (!take_u32(&r->in, n))
        return false;
    return *n <= (size_t)(r->in.end - r->in.p) / each ||
           input_fail(&r->in, "a number in it is too large");
}

/* The next n bytes as a reader's whole input: *outer is where it goes on afterwards. */
static bool enter(struct reader *r, uint64_t n, const char **outer)
{
    if (n > (size_t)(r->in.end - r->in.p))
        return input_fail(&r->in, "it is cut short");
    *outer = r->in.end;
    r->in.end = r->in.p + n;
    return true;
}

static bool leave(struct reader *r, const char *outer)
{
    if (r->in.p != r->in.end)
        return input_fail(&r->in, "there are bytes between its parts");
    r->in.end = outer;
    return true;
}

/* What the reader knows of one class of the image. */
struct fields {
    const struct class_desc *class;
    uint32_t n;
    const struct field_desc **v; /* NULL: not known to this version */
    char *defaults, *row;
};

static bool take_value(struct reader *r, struct arena *arena, const struct field_desc *f, void *out)
{
    const char *outer;
    uint32_t size;

    if (!take_u32(&r->in, &size) || !enter(r, size, &outer))
        return false;
    if (!f)
        r->in.p = r->in.end;
    else if (!value_decode(arena, f->type, &r->in.p, r->in.end, out))
        return input_fail(&r->in, "it holds a value of the wrong form");
    return leave(r, outer);
}

static bool take_fields(struct reader *r, struct fields *fields)
{
    const struct class_desc *class = fields->class;

    if (!take_count(r, 8, &fields->n))
        return false;
    fields->v = arena_array(r->arena, const struct field_desc *, fields->n);
    fields->defaults = arena_alloc(r->arena, class->struct_size);
    fields->row = arena_alloc(r->arena, class->struct_size);
    row_defaults(class, fields->defaults);
    for (uint32_t i = 0; i < fields->n; i++) {
        const struct field_desc *f;
        uint32_t hash;

        if (!take_u32(&r->in, &hash))
            return false;
        f = api_field_by_hash(hash);
        if (!f || f->class_id != class->id || !field_is_stored(f)) {
            log_warning("a snapshot has a field of class %s that is not known to this version: it "
                        "is left out",
                        class->name);
            f = NULL;
        }
        fields->v[i] = f;
        if (!take_value(r, r->arena, f, f ? fields->defaults + f->offset : NULL))
            return false;
    }
    return true;
}

static bool take_row_fields(struct reader *r, const struct fields *fields)
{
    uint32_t n, place;

    if (!take_count(r, 8, &n))
        return false;
    while (n--) {
        const struct field_desc *f;

        if (!take_u32(&r->in, &place))
            return false;
        if (place >= fields->n)
            return input_fail(&r->in, "a row has a field that its class has not");
        f = fields->v[place];
        if (!take_value(r, &r->scratch, f, f ? fields->row + f->offset : NULL))
            return false;
    }
    return true;
}

static bool take_row(struct reader *r, const struct fields *fields)
{
    struct row *row = (struct row *)fields->row;
    const char *outer;
    uint64_t modified;
    uint32_t size;

    memcpy(row, fields->defaults, fields->class->struct_size);
    if (!take_ref(&r->in, &row->ref) || !take_u64(&r->in, &row->row_created) ||
        !take_u64(&r->in, &row->row_version) || !take_u64(&r->in, &modified) ||
        !take_u32(&r->in, &size) || !enter(r, size, &outer) || !take_row_fields(r, fields) ||
        !leave(r, outer))
        return false;
    if (ref_is_null(row->ref) || root_get(r->root, fields->class->id, row->ref))
        return input_fail(&r->in, "a row has no reference of its own");
    if (row->row_created > row->row_version || row->row_version > modified ||
        modified > r->root->revision)
        return input_fail(&r->in, "a row has impossible revisions");
    root_put(r->root, row_new(fields->class, row), modified);
    return true;
}

static bool take_class(struct reader *r)
{
    struct fields fields = {0};
    const char *outer;
    uint32_t hash, n;
    uint64_t size;

    if (!take_u32(&r->in, &hash) || !take_u64(&r->in, &size) || !enter(r, size, &outer))
        return false;
    fields.class = api_class_by_hash(hash);
    if (!fields.class) {
        log_warning("a snapshot has a class that is not known to this version: it is left out");
        r->in.p = r->in.end;
        return leave(r, outer);
    }
    if (!class_is_kept(fields.class) || r->root->tables[fields.class->id].count)
        return input_fail(&r->in, "it has a class that it should not");
    if (!take_fields(r, &fields) || !take_count(r, 48, &n))
        return false;
    for (uint32_t i = 0; i < n; i++) {
        if (!take_row(r, &fields))
            return false;
        if (i % ROWS_PER_ARENA == 0)
            arena_release(&r->scratch);
    }
    return leave(r, outer);
}

static bool take_deletions(struct reader *r)
{
    uint32_t n, hash;

    if (!take_count(r, 36, &n))
        return false;
    if (n > ROOT_MAX_TOMBSTONES)
        return input_fail(&r->in, "it remembers too many deletions");
    while (n--) {
        const struct class_desc *class;
        uint64_t created, deleted;
        ref_t ref;

        if (!take_u32(&r->in, &hash) || !take_ref(&r->in, &ref) || !take_u64(&r->in, &created) ||
            !take_u64(&r->in, &deleted))
            return false;
        class = api_class_by_hash(hash);
        if (created > deleted || deleted > r->root->revision || deleted <= r->root->forgotten)
            return input_fail(&r->in, "a deletion has impossible revisions");
        if (class && class_is_kept(class))
            root_add_tombstone(r->root, class->id, ref, created, deleted);
    }
    return true;
}

static bool take_requests(struct reader *r)
{
    struct tree_entry e;
    uint32_t n;

    if (!take_count(r, 32, &n))
        return false;
    if (n > ROOT_MAX_REQUESTS * ROOT_MAX_ORIGINS)
        return input_fail(&r->in, "it remembers too many requests");
    while (n--) {
        for (int i = 0; i < 4; i++)
            if (!take_u64(&r->in, &e.k[i]))
                return false;
        if (!tree_put(&r->root->requests, &e))
            return input_fail(&r->in, "a request is in it twice");
    }
    return true;
}

static bool take_head(struct reader *r)
{
    char magic[8];
    uint32_t format, zero;
    uint64_t size, checksum;

    if (!take(&r->in, magic, sizeof magic) || memcmp(magic, MAGIC, sizeof magic) != 0)
        return input_fail(&r->in, "it is not an image of a database");
    if (!take_u32(&r->in, &format) || !take_u32(&r->in, &zero) || !take_u64(&r->in, &size) ||
        !take_u64(&r->in, &checksum))
        return false;
    if (format != IMAGE_FORMAT || zero)
        return input_fail(&r->in, "it has a format that this version does not know");
    if (size != (size_t)(r->in.end - r->in.p))
        return input_fail(&r->in, "its size is wrong");
    if (XXH3_64bits(r->in.p, size) != checksum)
        return input_fail(&r->in, "its checksum is wrong");
    return true;
}

static bool take_body(struct reader *r)
{
    uint32_t n;

    if (!take_u64(&r->in, &r->root->revision) || !take_u64(&r->in, &r->root->log_index) ||
        !take_u64(&r->in, &r->root->incarnation) || !take_u64(&r->in, &r->root->forgotten) ||
        !take_count(r, 12, &n))
        return false;
    if (r->root->forgotten > r->root->revision || r->root->revision >= UINT64_MAX >> 16)
        return input_fail(&r->in, "it has impossible revisions");
    while (n--)
        if (!take_class(r))
            return false;
    if (!take_deletions(r) || !take_requests(r))
        return false;
    return r->in.p == r->in.end || input_fail(&r->in, "there are bytes behind its end");
}

bool image_read(struct arena *arena, const void *data, size_t size, struct db_root **root,
                const char **why)
{
    struct reader r = {.arena = arena, .in = {data, (const char *)data + size, NULL}};
    bool good;

    if (!take_head(&r)) {
        *why = r.in.why;
        return false;
    }
    r.root = root_new();
    good = take_body(&r);
    arena_release(&r.scratch);
    if (!good) {
        root_unref(r.root);
        *why = r.in.why;
        return false;
    }
    *root = r.root;
    return true;
}
