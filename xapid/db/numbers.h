/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * numbers.h -- numbers and references one after another, little-endian: what write-sets and images
 * are made of, written into a buf and taken from bytes that may be damaged.
 */
#pragma once

#include "api_types.h"
#include "libxapi/base/buf.h"
#include "libxapi/base/bytes.h"

static inline void put_u32(struct buf *b, uint32_t v)
{
    v = htole32(v);
    buf_add(b, &v, sizeof v);
}

static inline void put_u64(struct buf *b, uint64_t v)
{
    v = htole64(v);
    buf_add(b, &v, sizeof v);
}

static inline void put_ref(struct buf *b, ref_t ref)
{
    put_u64(b, ref.hi);
    put_u64(b, ref.lo);
}

struct input {
    const char *p, *end; /* what is left */
    const char *why;     /* what is wrong with it, or NULL */
};

/* Returns false, for the caller to return. */
static inline bool input_fail(struct input *in, const char *why)
{
    in->why = why;
    return false;
}

/* The take functions return false, with why, where the bytes end before. */
static inline bool take(struct input *in, void *out, size_t n)
{
    if ((size_t)(in->end - in->p) < n)
        return input_fail(in, "it is cut short");
    memcpy(out, in->p, n);
    in->p += n;
    return true;
}

static inline bool take_u32(struct input *in, uint32_t *v)
{
    if (!take(in, v, sizeof *v))
        return false;
    *v = le32toh(*v);
    return true;
}

static inline bool take_u64(struct input *in, uint64_t *v)
{
    if (!take(in, v, sizeof *v))
        return false;
    *v = le64toh(*v);
    return true;
}

static inline bool take_ref(struct input *in, ref_t *ref)
{
    return take_u64(in, &ref->hi) && take_u64(in, &ref->lo);
}
