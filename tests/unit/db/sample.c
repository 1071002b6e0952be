/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/db/sample.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libxapi/base/memory.h"

uint64_t sample_number(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed * 0x2545f4914f6cdd1dull;
}

size_t sample_below(uint64_t *seed, size_t n)
{
    return (size_t)((sample_number(seed) >> 16) % n);
}

static ref_t sample_row(uint64_t *seed, const struct db_root *root, int class_id)
{
    struct tree_cursor cursor;
    const struct tree_entry *e;

    if (class_id < 0 || !root->tables[class_id].count)
        return REF_NULL;
    tree_seek(&root->tables[class_id], (uint64_t[]){sample_number(seed), 0}, &cursor);
    e = tree_next(&cursor);
    if (!e) {
        tree_seek(&root->tables[class_id], NULL, &cursor);
        e = tree_next(&cursor);
    }
    return (ref_t){e->k[0], e->k[1]};
}

static const char *sample_string(struct arena *arena, uint64_t *seed)
{
    static const char *const strings[] = {
        "",
        "a",
        "web",
        "two words",
        "\"quoted\"",
        "back\\slash",
        "tab\tnew\nline\x01",
        "Gr\xc3\xbc\xc3\x9f",
        "'sexpr'",
        "{}",
        "[]",
    };
    size_t i = sample_below(seed, ARRAY_SIZE(strings) + 2);

    if (i < ARRAY_SIZE(strings))
        return strings[i];
    return arena_printf(arena, "%0*zu", i == ARRAY_SIZE(strings) ? 3000 : 5,
                        sample_below(seed, 100000));
}

static void sample_set(struct arena *arena, uint64_t *seed, const struct db_root *root,
                       const struct type *type, struct set *out)
{
    size_t stride = type->kind == TYPE_SET ? type->elem->size : type->entry_size,
           n = sample_below(seed, 4);
    const struct type *key = type->kind == TYPE_SET ? type->elem : type->key;
    char *v = arena_zalloc(arena, (n + 1) * stride);
    size_t used = 0;

    for (size_t i = 0; i < n; i++) {
        char *at = v + used * stride;
        size_t same = 0;

        sample_value(arena, seed, root, key, at);
        if (type->kind == TYPE_MAP)
            sample_value(arena, seed, root, type->elem, at + type->value_offset);
        while (same < used && !value_equal(key, v + same * stride, at))
            same++;
        used += same == used;
    }
    *out = (struct set){used, used ? v : NULL};
}

void sample_value(struct arena *arena, uint64_t *seed, const struct db_root *root,
                  const struct type *type, void *out)
{
    static const double doubles[] = {0,           -0.0, 1.5, -2, 1e300, 5e-324, (double)INFINITY,
                                     (double)NAN, 0.1};
    static const int64_t ints[] = {0, 1, -1, 4096, INT64_MAX, INT64_MIN, 1ll << 53};
    static const usec_t dates[] = {
        0, 1, -1, 1742357784123456, -62167219200000000, 253402300799999999, INT64_MAX, INT64_MIN};

    switch (type->kind) {
    case TYPE_STRING:
        *(const char **)out = sample_string(arena, seed);
        break;
    case TYPE_INT:
        *(int64_t *)out = ints[sample_below(seed, ARRAY_SIZE(ints))];
        break;
    case TYPE_BOOL:
        *(bool *)out = sample_below(seed, 2);
        break;
    case TYPE_FLOAT:
        *(double *)out = doubles[sample_below(seed, ARRAY_SIZE(doubles))];
        break;
    case TYPE_DATETIME:
        *(usec_t *)out = dates[sample_below(seed, ARRAY_SIZE(dates))];
        break;
    case TYPE_ENUM:
        *(int *)out = (int)sample_below(seed, (size_t)type->enum_desc->n);
        break;
    case TYPE_REF:
        *(ref_t *)out = sample_below(seed, 3) ? sample_row(seed, root, type->class_id) : REF_NULL;
        break;
    case TYPE_SET:
    case TYPE_MAP:
        sample_set(arena, seed, root, type, out);
        break;
    default:
        value_empty(type, out);
    }
}

static void set_uuid(struct arena *arena, uint64_t *seed, const struct class_desc *class,
                     void *source)
{
    uint64_t words[2] = {sample_number(seed), sample_number(seed)};
    char *uuid = arena_alloc(arena, UUID_TEXT_SIZE);

    if (class->uuid_field < 0)
        return;
    uuid_to_text((const uint8_t *)words, uuid);
    *(const char **)((char *)source + api_fields[class->uuid_field].offset) = uuid;
}

void *sample_source(struct arena *arena, uint64_t *seed, const struct db_root *root,
                    const struct class_desc *class)
{
    char *source = arena_zalloc(arena, class->struct_size);

    row_defaults(class, source);
    for (int i = 0; i < class->n_fields; i++) {
        const struct field_desc *f = &api_fields[class->first_field + i];

        if (field_is_stored(f) && sample_below(seed, 2))
            sample_value(arena, seed, root, f->type, source + f->offset);
    }
    set_uuid(arena, seed, class, source);
    ((struct row *)source)->ref = (ref_t){sample_number(seed), sample_number(seed)};
    ((struct row *)source)->row_class = class->id;
    return source;
}

static const struct class_desc *sample_class(uint64_t *seed)
{
    static const int common[] = {CLASS_vm,  CLASS_vbd,     CLASS_vdi,  CLASS_sr,
                                 CLASS_vif, CLASS_network, CLASS_host, CLASS_vm_metrics};

    if (sample_below(seed, 4))
        return &api_classes[common[sample_below(seed, ARRAY_SIZE(common))]];
    for (;;) {
        const struct class_desc *class = &api_classes[sample_below(seed, CLASS_COUNT)];

        if ((class->flags & (CLASS_STORED | CLASS_STATIC)) == CLASS_STORED)
            return class;
    }
}

static void sample_member(struct arena *arena, uint64_t *seed, const struct db_root *root,
                          const struct field_desc *f, ref_t ref, struct write_set *w)
{
    const struct type *t = f->type, *k = t->kind == TYPE_MAP ? t->key : t->elem;
    void *key = arena_zalloc(arena, MAX(k->size, 16)),
         *value = arena_zalloc(arena, MAX(t->elem->size, 16));
    enum write_op op = t->kind == TYPE_MAP ? OP_MAP_ADD + (enum write_op)sample_below(seed, 3)
                                           : OP_SET_ADD + (enum write_op)sample_below(seed, 2);

    sample_value(arena, seed, root, k, key);
    sample_value(arena, seed, root, t->elem, value);
    write_member(w, op, f, ref, key, op == OP_MAP_ADD || op == OP_MAP_PUT ? value : NULL, 0);
}

static void sample_op(struct arena *arena, uint64_t *seed, const struct db_root *root,
                      struct write_set *w)
{
    const struct class_desc *class = sample_class(seed);
    ref_t ref = sample_row(seed, root, class->id);
    size_t what = sample_below(seed, 10);
    const struct field_desc *f;

    if (ref_is_null(ref) || what < 2) {
        void *source = sample_source(arena, seed, root, class);

        write_create(w, class, ((struct row *)source)->ref, source);
    } else if (what < 3) {
        write_destroy(w, class, ref);
    } else {
        int tries = 0;

        do
            f = &api_fields[class->first_field + sample_below(seed, class->n_fields)];
        while ((!field_is_stored(f) || f->id == class->uuid_field) && tries++ < 100);
        if (what < 4 || tries > 100) {
            write_touch(w, class, ref);
            return;
        }
        if ((f->type->kind == TYPE_SET || f->type->kind == TYPE_MAP) && sample_below(seed, 4)) {
            sample_member(arena, seed, root, f, ref, w);
        } else {
            void *value = arena_zalloc(arena, f->type->size);

            sample_value(arena, seed, root, f->type, value);
            write_set_field(w, f, ref, value, 0);
        }
    }
}

void sample_write_set(struct arena *arena, uint64_t *seed, const struct db_root *root,
                      struct write_set *w)
{
    size_t n = 1 + sample_below(seed, 4);

    *w =
        (struct write_set){.origin = 1 + sample_below(seed, 3), .number = sample_number(seed) >> 1};
    w->number = root->log_index + 1;
    while (n--)
        sample_op(arena, seed, root, w);
}

struct log_result sample_apply(struct arena *arena, struct db_root *root, struct write_set *w)
{
    struct log_result result;
    size_t size;
    char *data = write_finish(w, &size);

    apply_write_set(root, arena, data, size, &result);
    free(data);
    write_release(w);
    return result;
}

void sample_change(struct db_root *root, uint64_t *seed, int n)
{
    while (n--) {
        AUTO(arena) arena = {0};
        struct write_set w;

        sample_write_set(&arena, seed, root, &w);
        root->log_index++;
        sample_apply(&arena, root, &w);
    }
}

ref_t sample_new(int class_id, void *source)
{
    const struct class_desc *class = &api_classes[class_id];
    static __thread char uuids[64][UUID_TEXT_SIZE];
    static __thread unsigned next;
    char *uuid = uuids[next++ % ARRAY_SIZE(uuids)];

    row_defaults(class, source);
    ((struct row *)source)->ref = ref_new();
    ((struct row *)source)->row_class = class->id;
    if (class->uuid_field >= 0)
        *(const char **)((char *)source + api_fields[class->uuid_field].offset) = uuid_new(uuid);
    return ((struct row *)source)->ref;
}

bool sample_equal(const struct db_root *a, const struct db_root *b)
{
    AUTO(buf) x = {0};
    AUTO(buf) y = {0};

    image_write(&x, a);
    image_write(&y, b);
    return x.len == y.len && memcmp(x.data, y.data, x.len) == 0;
}

int sample_faults(const struct db_root *root)
{
    return db_check((const struct db_snap *)root);
}

char *sample_dir(struct arena *arena)
{
    const char *tmp = getenv("TMPDIR");
    char *dir = arena_printf(arena, "%s/xapid-db-XXXXXX", tmp ? tmp : "/tmp");

    if (!mkdtemp(dir))
        abort();
    return dir;
}

void sample_remove_dir(const char *dir)
{
    DIR *d = opendir(dir);
    struct dirent *e;

    while (d && (e = readdir(d))) {
        char *path = xasprintf("%s/%s", dir, e->d_name);

        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && unlink(path) < 0)
            sample_remove_dir(path);
        free(path);
    }
    if (d)
        closedir(d);
    rmdir(dir);
}

int sample_count_files(const char *dir, const char *part)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    int n = 0;

    while (d && (e = readdir(d)))
        n += strstr(e->d_name, part) != NULL;
    if (d)
        closedir(d);
    return n;
}
