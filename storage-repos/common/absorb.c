/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "storage-repos/common/absorb.h"

#include <stdlib.h>
#include <string.h>

#include "libxapi/base/call.h"
#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "storage-repos/common/qcow2.h"
#include "storage-repos/sr.h"

#define WINDOW ((int64_t)1024 * 1024 * 1024) /* asked about at once */
#define PIECE ((int64_t)1024 * 1024)         /* copied at once */
#define NAP (USEC_PER_SEC / 2) /* at most, before it is asked again whether to go on */

/* A run of bytes that the upper image holds. */
struct run {
    int64_t offset, n;
};

struct work {
    struct call *call;
    const struct absorb *a;
    struct vdi_io *map, *from, *to;
    char *piece;
    struct run *runs; /* of one window */
    size_t n, room;
    int64_t copied; /* bytes */
    usec_t begun;
};

static void work_release(struct work *w)
{
    vdi_io_close(w->map);
    vdi_io_close(w->from);
    vdi_io_close(w->to);
    free(w->piece);
    free(w->runs);
}

static struct error *open_all(struct work *w)
{
    const char *upper = qcow2_unlocked(w->call, w->a->upper, true);
    const char *lower = qcow2_unlocked(w->call, w->a->lower, false);
    struct vdi_path from = {.path = upper, .format = "qcow2"};
    struct vdi_path to = {.path = lower, .format = "qcow2"};

    if (!upper || !lower)
        return sr_failed(w->call, SR_FAIL_VDI, "%s: not UTF-8", w->a->upper);
    TRY(vdi_io_open_map(w->call, &from, &w->map));
    TRY(vdi_io_open(w->call, &from, false, &w->from));
    TRY(vdi_io_open(w->call, &to, true, &w->to));
    if (vdi_io_size(w->to) < vdi_io_size(w->from))
        return sr_failed(w->call, SR_FAIL_VDI, "%s is smaller than what lies on it", w->a->lower);
    return OK;
}

static void add_run(void *ctx, int64_t offset, int64_t n, uint32_t depth)
{
    struct work *w = ctx;

    if (depth != 1)
        return;
    if (w->n && w->runs[w->n - 1].offset + w->runs[w->n - 1].n == offset) {
        w->runs[w->n - 1].n += n;
        return;
    }
    if (w->n == w->room) {
        w->room = w->room ? 2 * w->room : 256;
        w->runs = xrealloc(w->runs, w->room * sizeof *w->runs);
    }
    w->runs[w->n++] = (struct run){offset, n};
}

static struct error *report(const struct work *w, int64_t offset)
{
    int64_t size = vdi_io_size(w->from);

    if (!w->a->progress || w->a->progress(w->a->ctx, size ? (double)offset / (double)size : 1))
        return OK;
    return error_new(w->call->arena, "TASK_CANCELLED", 1, "");
}

/* Waits until so much may have been copied. */
static struct error *keep_pace(const struct work *w, int64_t offset)
{
    usec_t due, now = clock_mono();

    if (w->a->speed <= 0)
        return OK;
    due = w->begun + (usec_t)((double)w->copied / (double)w->a->speed * (double)USEC_PER_SEC);
    while (now < due) {
        clock_sleep(MIN(due - now, NAP));
        TRY(report(w, offset));
        now = clock_mono();
    }
    return OK;
}

static bool is_zero(const char *p, int64_t n)
{
    return !*p && memcmp(p, p + 1, (size_t)n - 1) == 0;
}

static struct error *copy_piece(struct work *w, int64_t offset, int64_t n)
{
    TRY(vdi_io_read(w->call, w->from, offset, w->piece, (size_t)n));
    if (is_zero(w->piece, n))
        TRY(vdi_io_zero(w->call, w->to, offset, n));
    else
        TRY(vdi_io_write(w->call, w->to, offset, w->piece, (size_t)n));
    w->copied += n;
    TRY(report(w, offset + n));
    return keep_pace(w, offset + n);
}

static struct error *copy_window(struct work *w, int64_t offset, int64_t n)
{
    w->n = 0;
    TRY(vdi_io_map(w->call, w->map, offset, n, add_run, w));
    for (size_t i = 0; i < w->n; i++) {
        const struct run *r = &w->runs[i];

        for (int64_t done = 0; done < r->n; done += PIECE)
            TRY(copy_piece(w, r->offset + done, MIN(r->n - done, PIECE)));
    }
    return report(w, offset + n);
}

struct error *absorb_image(struct call *call, const struct absorb *a)
{
    AUTO(work) w = {.call = call, .a = a, .begun = clock_mono()};
    int64_t size;

    TRY(open_all(&w));
    w.piece = xmalloc((size_t)PIECE);
    size = vdi_io_size(w.from);
    for (int64_t offset = 0; offset < size; offset += WINDOW)
        TRY(copy_window(&w, offset, MIN(size - offset, WINDOW)));
    return vdi_io_flush(call, w.to);
}
