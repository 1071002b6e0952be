/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * guard.h -- looks at a log directory before the library does.
 *
 * The library drops a damaged tail without a word, chooses older snapshots silently, shifts entries
 * when one is lost between two open segments, and frees memory twice on some odd sizes.  So every
 * file it would read is read here first: anything that could lose an acknowledged entry is refused
 * and left untouched; what a kill or a power cut leaves behind in the ordinary way (a tail that was
 * never acknowledged, unused segments) is cut off here, so that the library only ever sees whole
 * files.
 */
#pragma once

#include "pool/log/mark.h"

struct guard_found {
    bool fresh; /* nothing was written yet, and nothing is to come from others: bootstrap */
    uint64_t last_index, last_term;
    uint64_t snapshot_index;
    uint64_t bytes;          /* of entries */
    struct mark_metas metas; /* what the metadata files hold; to be put into the mark */
};

/*
 * Checks and tidies the directory.  'mark' is what must be there, 'applied_index' what the database
 * already contains.  Memory of the error is the arena's; 'found' is valid only without one.
 */
MUST_CHECK struct error *guard_check(struct arena *arena, int dir, const char *dir_name,
                                     const struct mark *mark, uint64_t applied_index,
                                     struct guard_found *found);

/* True if the directory holds files of the library. */
MUST_CHECK struct error *guard_in_use(struct arena *arena, int dir, const char *dir_name,
                                      bool *in_use);
