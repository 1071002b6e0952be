/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * featureset.h -- what a processor can do, as the XenAPI writes it: words of 8 hex digits joined by
 * '-' or ':'.
 *
 * Words that are missing, and whatever is no such text, count as none.
 */
#pragma once

#include "libxapi/base/arena.h"

/* The next word; 0 at the end. */
uint32_t featureset_next(const char **p);
/* True where every bit of 'needed' is in 'offered'. */
bool featureset_covers(const char *offered, const char *needed);
/* The bits that both have, as long as the shorter one. */
const char *featureset_common(struct arena *arena, const char *a, const char *b);
