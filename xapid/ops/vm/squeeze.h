/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * squeeze.h -- how a host's memory is shared among guests whose memory can change, and which guests
 * do not do as they are told.  Pure: numbers in, numbers out; squeezer.h acts on them.
 */
#pragma once

#include "libxapi/base/base.h"

#define SQUEEZE_PAGE ((int64_t)4096)
/* What a guest may be off its target and still count as having reached it. */
#define SQUEEZE_TOLERANCE ((int64_t)1 << 20)
/* A guest that gives nothing back for so long is not counted on any more. */
#define SQUEEZE_PATIENCE (5 * USEC_PER_SEC)

/* A guest that can be given anything between min and max bytes. */
struct squeeze_range {
    int64_t min, max;
    int64_t target; /* found out */
};

/*
 * Shares 'available' bytes: everyone gets its minimum and the same part of its range, so that all
 * have their maximum where there is room for that.  False where not even the minima fit: then
 * everyone is given its minimum.
 */
bool squeeze_share(int64_t available, size_t n, struct squeeze_range *v);

/* A guest on its way to a target. */
struct squeeze_progress {
    bool begun;
    int64_t offset; /* what it has beyond any target: memory that no balloon takes */
    int64_t target, actual;
    usec_t since; /* when it last did as it was told */
    bool uncooperative;
};

/*
 * Looks at a guest at a time 'now' (of any clock): 'target' is what the hypervisor was told,
 * 'actual' what it has.  One that should shrink and has not for SQUEEZE_PATIENCE is uncooperative,
 * until it shrinks.
 */
void squeeze_look(struct squeeze_progress *p, int64_t target, int64_t actual, usec_t now);
/* It has memory that it was told to give back and may still. */
bool squeeze_is_shrinking(const struct squeeze_progress *p);
