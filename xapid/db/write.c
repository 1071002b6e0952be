/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/db/write.h"

#include <math.h>
#include <string.h>

#include "xapid/db/row.h"

#define HEAD_SIZE 40

void write_release(struct write_set *w)
{
    buf_release(&w->reads);
    buf_release(&w->ops);
    *w = (struct write_set){0};
}

static void put_field(struct write_set *w, struct buf *out, const struct field_desc *f)
{
    w->level = MAX(w->level, (uint32_t)f->since);
    put_u32(out, f->hash);
}

void write_read_row(struct write_set *w, const struct class_desc *class, ref_t ref,
                    uint64_t version)
{
    w->n_reads++;
    buf_putc(&w->reads, READ_ROW);
    put_u32(&w->reads, api_class_hash(class));
    put_ref(&w->reads, ref);
    put_u64(&w->reads, version);
}

void write_read_index(struct write_set *w, const struct field_desc *f, ref_t key, uint64_t digest)
{
    w->n_reads++;
    buf_putc(&w->reads, READ_INDEX);
    put_field(w, &w->reads, f);
    put_ref(&w->reads, key);
    put_u64(&w->reads, digest);
}

static void op_head(struct write_set *w, enum write_op op, int flags,
                    const struct class_desc *class, ref_t ref)
{
    w->n_ops++;
    buf_putc(&w->ops, (char)op);
    buf_putc(&w->ops, (char)flags);
    put_u32(&w->ops, api_class_hash(class));
    put_ref(&w->ops, ref);
}

static bool is_default(const struct field_desc *f, const void *value)
{
    return f->default_value && value_equal(f->type, value, f->default_value);
}

void write_create(struct write_set *w, const struct class_desc *class, ref_t ref,
                  const void *source)
{
    const struct field_desc *fields = &api_fields[class->first_field];
    uint32_t n = 0;

    op_head(w, OP_CREATE, 0, class, ref);
    for (int i = 0; i < class->n_fields; i++)
        n += field_is_stored(&fields[i]) && !is_default(&fields[i], field_in(source, &fields[i]));
    put_u32(&w->ops, n);
    for (int i = 0; i < class->n_fields; i++) {
        if (!field_is_stored(&fields[i]) || is_default(&fields[i], field_in(source, &fields[i])))
            continue;
        put_field(w, &w->ops, &fields[i]);
        value_encode(&w->ops, fields[i].type, field_in(source, &fields[i]));
    }
}

void write_set_field(struct write_set *w, const struct field_desc *f, ref_t ref, const void *value,
                     int flags)
{
    op_head(w, OP_SET, flags, &api_classes[f->class_id], ref);
    put_field(w, &w->ops, f);
    value_encode(&w->ops, f->type, value);
}

void write_member(struct write_set *w, enum write_op op, const struct field_desc *f, ref_t ref,
                  const void *key, const void *value, int flags)
{
    bool is_map = f->type->kind == TYPE_MAP;

    op_head(w, op, flags, &api_classes[f->class_id], ref);
    put_field(w, &w->ops, f);
    value_encode(&w->ops, is_map ? f->type->key : f->type->elem, key);
    if (value)
        value_encode(&w->ops, f->type->elem, value);
}

void write_destroy(struct write_set *w, const struct class_desc *class, ref_t ref)
{
    op_head(w, OP_DESTROY, 0, class, ref);
}

void write_touch(struct write_set *w, const struct class_desc *class, ref_t ref)
{
    op_head(w, OP_TOUCH, OP_IF_EXISTS, class, ref);
}

char *write_finish(struct write_set *w, size_t *size)
{
    struct buf b = {0};

    put_u64(&b, w->origin);
    put_u64(&b, w->number);
    put_u32(&b, MAX(w->level, 1u));
    put_u32(&b, 0);
    put_u64(&b, (uint64_t)w->time);
    put_u32(&b, w->n_reads);
    put_u32(&b, w->n_ops);
    buf_add(&b, w->reads.data, w->reads.len);
    buf_add(&b, w->ops.data, w->ops.len);
    *size = b.len;
    return buf_steal(&b);
}

/*** reading ***/

static bool take_class(struct write_reader *r, const struct class_desc **class)
{
    uint32_t hash;

    if (!take_u32(&r->in, &hash))
        return false;
    *class = api_class_by_hash(hash);
    if (!*class || !((*class)->flags & CLASS_STORED))
        return input_fail(&r->in, "a class that this version does not know");
    return true;
}

static bool take_field(struct write_reader *r, const struct field_desc **field)
{
    uint32_t hash;

    if (!take_u32(&r->in, &hash))
        return false;
    *field = api_field_by_hash(hash);
    if (!*field || !field_is_stored(*field))
        return input_fail(&r->in, "a field that this version does not know");
    return true;
}

/* One zero and one not-a-number, because the checkpoint can hold no more: what is read back must be
 * what the others have. */
static void canonical(const struct type *type, void *value)
{
    double *d = value;

    if (type->kind == TYPE_FLOAT)
        *d = isnan(*d) ? (double)NAN : *d + 0.0;
}

static bool take_value(struct write_reader *r, const struct type *type, const void **out)
{
    void *value = arena_alloc(r->arena, type->size);

    if (!value_decode(r->arena, type, &r->in.p, r->in.end, value))
        return input_fail(&r->in, "a value of the wrong form");
    canonical(type, value);
    *out = value;
    return true;
}

bool write_open(struct write_reader *r, struct arena *arena, const void *data, size_t size)
{
    uint32_t flags;
    uint64_t time;

    *r = (struct write_reader){.arena = arena, .in = {data, (const char *)data + size, NULL}};
    if (!take_u64(&r->in, &r->origin) || !take_u64(&r->in, &r->number) ||
        !take_u32(&r->in, &r->level) || !take_u32(&r->in, &flags) || !take_u64(&r->in, &time) ||
        !take_u32(&r->in, &r->n_reads) || !take_u32(&r->in, &r->n_ops))
        return false;
    r->time = (usec_t)time;
    if (!r->level || flags)
        return input_fail(&r->in, "a head that this version does not know");
    return true;
}

bool write_next_read(struct write_reader *r, struct write_read_item *out)
{
    char kind;

    if (r->in.why || !r->n_reads)
        return false;
    r->n_reads--;
    *out = (struct write_read_item){0};
    if (!take(&r->in, &kind, 1))
        return false;
    out->kind = (enum write_read)kind;
    if (kind == READ_ROW) {
        if (!take_class(r, &out->class))
            return false;
    } else if (kind == READ_INDEX) {
        if (!take_field(r, &out->field))
            return false;
        if (out->field->index_slot < 0)
            return input_fail(&r->in, "a field without an index");
    } else {
        return input_fail(&r->in, "an unknown kind of read");
    }
    return take_ref(&r->in, &out->ref) && take_u64(&r->in, &out->version);
}

static bool take_create(struct write_reader *r, struct write_op_item *out)
{
    void *source = arena_alloc(r->arena, out->class->struct_size);
    uint32_t n;

    row_defaults(out->class, source);
    ((struct row *)source)->ref = out->ref;
    ((struct row *)source)->row_class = out->class->id;
    if (!take_u32(&r->in, &n))
        return false;
    while (n--) {
        const struct field_desc *f;

        if (!take_field(r, &f))
            return false;
        if (f->class_id != out->class->id)
            return input_fail(&r->in, "a field of another class");
        if (!value_decode(r->arena, f->type, &r->in.p, r->in.end, (char *)source + f->offset))
            return input_fail(&r->in, "a value of the wrong form");
        canonical(f->type, (char *)source + f->offset);
    }
    out->source = source;
    return true;
}

static bool take_change(struct write_reader *r, struct write_op_item *out)
{
    const struct type *t;
    bool is_map;

    if (!take_field(r, &out->field))
        return false;
    if (out->field->class_id != out->class->id)
        return input_fail(&r->in, "a field of another class");
    t = out->field->type;
    is_map = out->op == OP_MAP_ADD || out->op == OP_MAP_PUT || out->op == OP_MAP_REMOVE;
    if (out->op == OP_SET)
        return take_value(r, t, &out->value);
    if (t->kind != (is_map ? TYPE_MAP : TYPE_SET))
        return input_fail(&r->in, "an operation on a field of another type");
    if (!take_value(r, is_map ? t->key : t->elem, &out->key))
        return false;
    return out->op == OP_MAP_ADD || out->op == OP_MAP_PUT ? take_value(r, t->elem, &out->value)
                                                          : true;
}

bool write_next_op(struct write_reader *r, struct write_op_item *out)
{
    uint8_t head[2];

    if (r->in.why)
        return false;
    if (!r->n_ops)
        return r->in.p == r->in.end ? false : input_fail(&r->in, "bytes behind the end");
    r->n_ops--;
    *out = (struct write_op_item){0};
    if (!take(&r->in, head, 2) || !take_class(r, &out->class) || !take_ref(&r->in, &out->ref))
        return false;
    out->op = (enum write_op)head[0];
    out->flags = head[1];
    switch (out->op) {
    case OP_CREATE:
        return take_create(r, out);
    case OP_DESTROY:
    case OP_TOUCH:
        return true;
    case OP_SET:
    case OP_MAP_ADD:
    case OP_MAP_PUT:
    case OP_MAP_REMOVE:
    case OP_SET_ADD:
    case OP_SET_REMOVE:
        return take_change(r, out);
    }
    return input_fail(&r->in, "an unknown operation");
}
