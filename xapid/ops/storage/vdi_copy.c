/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/storage/vdi_copy.h"

#include <stdlib.h>
#include <string.h>

#include "libxapi/base/call.h"
#include "libxapi/base/memory.h"
#include "xapid/task/task.h"

#define CHUNK ((int64_t)1024 * 1024)
/* Zeroes and equal data are looked for in pieces of this size. */
#define PIECE ((int64_t)64 * 1024)

bool all_zero(const char *p, size_t n)
{
    return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

/* The three ends of a copy; released in one go. */
struct ends {
    struct vdi_io *from, *to, *base;
    struct vdi_run data_at, old_at;
    char *data, *old;
};

static void ends_release(struct ends *e)
{
    vdi_io_close(e->from);
    vdi_io_close(e->to);
    vdi_io_close(e->base);
    free(e->data);
    free(e->old);
}

static struct error *write_piece(struct call *call, const struct data_copy *copy, struct ends *e,
                                 int64_t at, int64_t within, int64_t n)
{
    const char *p = e->data + within;

    if (e->base && memcmp(p, e->old + within, (size_t)n) == 0)
        return OK;
    if (!all_zero(p, (size_t)n))
        return vdi_io_write(call, e->to, at + within, p, (size_t)n);
    return copy->fresh ? OK : vdi_io_zero(call, e->to, at + within, n);
}

static struct error *copy_chunk(struct call *call, const struct data_copy *copy, struct ends *e,
                                int64_t at, int64_t n)
{
    TRY(vdi_io_read(call, e->from, at, e->data, (size_t)n));
    if (e->base) {
        int64_t have = MIN(n, MAX(vdi_io_size(e->base) - at, (int64_t)0));

        memset(e->old, 0, (size_t)n);
        if (have)
            TRY(vdi_io_read(call, e->base, at, e->old, (size_t)have));
    }
    for (int64_t i = 0; i < n; i += PIECE)
        TRY(write_piece(call, copy, e, at, i, MIN(PIECE, n - i)));
    return OK;
}

/* Over what neither the disk nor its base has anything in, to a multiple of the chunk or the end.
 */
static struct error *pass_hole(struct call *call, const struct data_copy *copy, struct ends *e,
                               int64_t size, int64_t *at)
{
    int64_t next, old = INT64_MAX, hole;

    TRY(vdi_io_next(call, e->from, &e->data_at, *at, &next));
    if (e->base)
        TRY(vdi_io_next(call, e->base, &e->old_at, *at, &old));
    next = MIN(next, old);
    hole = (next < size ? next / CHUNK * CHUNK : size) - *at;
    if (hole > 0 && !e->base && !copy->fresh)
        TRY(vdi_io_zero(call, e->to, *at, hole));
    *at += MAX(hole, (int64_t)0);
    return OK;
}

struct error *data_copy(struct call *call, const struct data_copy *copy)
{
    AUTO(ends) e = {0};
    int64_t size, at = 0;

    TRY(vdi_io_open(call, copy->from, false, &e.from));
    TRY(vdi_io_open(call, copy->to, true, &e.to));
    if (copy->base)
        TRY(vdi_io_open(call, copy->base, false, &e.base));
    e.data = xmalloc((size_t)CHUNK);
    e.old = xmalloc((size_t)CHUNK);
    size = MIN(vdi_io_size(e.from), vdi_io_size(e.to));
    while (at < size) {
        TRY(pass_hole(call, copy, &e, size, &at));
        if (at < size)
            TRY(copy_chunk(call, copy, &e, at, MIN(CHUNK, size - at)));
        at = MIN(at + CHUNK, size);
        task_progress(call, copy->start + (copy->end - copy->start) * (double)at / (double)size);
        TRY(task_check(call));
    }
    return vdi_io_flush(call, e.to);
}
