/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * move_plan.h -- in which order a disk and its snapshots come to be in another repository, so that
 * what they share is stored there once too.  Pure.
 */
#pragma once

#include "libxapi/base/arena.h"

#define MOVE_NOTHING SIZE_MAX

enum move_what {
    MOVE_MAKE, /* 'into' is made, of 'size' bytes */
    MOVE_GROW, /* 'into' grows to 'size' */
    MOVE_COPY, /* 'into' gets the content of 'image'; it has that of 'base' already */
    MOVE_FORK, /* what 'into' holds becomes 'image' too */
};

struct move_step {
    enum move_what what;
    size_t into, image, base; /* places in the list of sizes, or MOVE_NOTHING */
    int64_t size;             /* bytes; of MOVE_COPY: how much there is to read */
};

struct move_plan {
    size_t n;
    struct move_step *v;
    int64_t bytes; /* of all MOVE_COPY */
    bool forks;
};

/*
 * 'sizes' are those of the snapshots, the oldest first, and last of the disk itself.  'forks': the
 * other repository can fork.  The last step is always the copy of the disk: by then all else is
 * there.
 */
void move_plan(struct arena *arena, size_t n, const int64_t *sizes, bool forks,
               struct move_plan *out);
