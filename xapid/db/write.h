/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * write.h -- write-sets: what a transaction relied on and what it changes, as bytes in the log.
 *
 *   16 bytes  request id: origin, number
 *   u32 level, u32 flags, i64 wall clock of the proposer (usec)
 *   u32 number of reads, u32 number of operations, the reads, the operations
 *
 * Classes and fields are named by the hash of their name, enums by their text, so that entries
 * written before an upgrade are read after it.  The level is the one who reads it must understand
 * (level.h).  Everything is little-endian.
 */
#pragma once

#include "libxapi/value/value.h"
#include "xapid/db/numbers.h"

enum write_read {
    READ_ROW = 1,   /* class, reference, version (0: absent) */
    READ_INDEX = 2, /* field, key, digest */
};

enum write_op {
    OP_CREATE = 1,     /* class, reference, n, n x (field, value) */
    OP_SET = 2,        /* class, reference, field, value */
    OP_MAP_ADD = 3,    /* class, reference, field, key, value: the key must be absent */
    OP_MAP_PUT = 4,    /* the same, but replaces */
    OP_MAP_REMOVE = 5, /* class, reference, field, key */
    OP_SET_ADD = 6,    /* class, reference, field, element */
    OP_SET_REMOVE = 7,
    OP_DESTROY = 8, /* class, reference */
    OP_TOUCH = 9,   /* class, reference: an event without a change */
};

enum write_op_flags {
    OP_IF_EXISTS = 1, /* of lazy writes: a row that is gone is no error */
};

struct write_set {
    uint64_t origin, number;
    usec_t time;
    uint32_t level; /* of its fields, the highest; 0 where there are none */
    uint32_t n_reads, n_ops;
    struct buf reads, ops;
};

void write_release(struct write_set *w);
void write_read_row(struct write_set *w, const struct class_desc *class, ref_t ref,
                    uint64_t version);
void write_read_index(struct write_set *w, const struct field_desc *f, ref_t key, uint64_t digest);
/* 'source' is a struct of the class; all stored fields that differ from their default are written.
 */
void write_create(struct write_set *w, const struct class_desc *class, ref_t ref,
                  const void *source);
void write_set_field(struct write_set *w, const struct field_desc *f, ref_t ref, const void *value,
                     int flags);
/* OP_MAP_ADD, OP_MAP_PUT (value), OP_MAP_REMOVE (value NULL), OP_SET_ADD, OP_SET_REMOVE (key is the
 * element, value NULL). */
void write_member(struct write_set *w, enum write_op op, const struct field_desc *f, ref_t ref,
                  const void *key, const void *value, int flags);
void write_destroy(struct write_set *w, const struct class_desc *class, ref_t ref);
void write_touch(struct write_set *w, const struct class_desc *class, ref_t ref);
/* The bytes; the caller frees them. */
char *write_finish(struct write_set *w, size_t *size);

/* Reading.  Every function returns false at the end or for malformed bytes, which in.why tells
 * apart. */
struct write_reader {
    struct arena *arena;
    struct input in; /* in.why: what is wrong */
    uint64_t origin, number;
    usec_t time;
    uint32_t level, n_reads, n_ops;
};
struct write_read_item {
    enum write_read kind;
    const struct class_desc *class;
    const struct field_desc *field;
    ref_t ref; /* or the index key */
    uint64_t version;
};
struct write_op_item {
    enum write_op op;
    int flags;
    const struct class_desc *class;
    const struct field_desc *field;
    ref_t ref;
    const void *key, *value; /* of the field's types */
    const void *source;      /* OP_CREATE: a struct of the class, defaults filled in */
};
bool write_open(struct write_reader *r, struct arena *arena, const void *data, size_t size);
bool write_next_read(struct write_reader *r, struct write_read_item *out);
bool write_next_op(struct write_reader *r, struct write_op_item *out);
