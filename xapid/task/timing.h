/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* timing.h -- how long calls take, by message, since the daemon started.  Any thread; no locks. */
#pragma once

#include "libxapi/base/base.h"

struct timings;

struct timing {
    uint64_t count;
    usec_t sum, longest;
};

/* For messages numbered from 0 to n - 1. */
struct timings *timings_new(size_t n);
void timings_free(struct timings *timings);
void timing_note(struct timings *timings, size_t message, usec_t took);
/* False where the message was not called.  The three numbers may be a call apart. */
bool timing_of(const struct timings *timings, size_t message, struct timing *out);
