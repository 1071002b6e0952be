/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * absorb.h -- what an image holds itself is written into the one it lies on.
 *
 * Both stay open to whoever has them open.  Who reads through the upper image finds the same at
 * every moment: what changes in the lower one is only what the upper one holds anyway.  So it can
 * end anywhere, also by a crash, and be done again.  No lock of qemu's is taken: the caller sees to
 * it that nobody else writes to the lower image, and looks afterwards whether somebody has written
 * to the upper one meanwhile.
 */
#pragma once

#include "libxapi/base/base.h"

struct call;

struct absorb {
    const char *upper, *lower; /* qcow2 images by path, or block devices that hold one */
    int64_t speed;             /* bytes a second; 0: as fast as it goes */
    bool (*progress)(void *ctx, double done); /* as in sr.h; may be NULL */
    void *ctx;
};

/* Durable when it returns.  The lower image has at least the size of the upper one.
 * TASK_CANCELLED. */
MUST_CHECK struct error *absorb_image(struct call *call, const struct absorb *a);
