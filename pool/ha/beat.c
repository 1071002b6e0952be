/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pool/ha/beat.h"

#include <endian.h>

#define AGE_SHIFT 32

struct beat beat_make(const struct lease_ties *ties, uint64_t term, usec_t led, uint64_t flags,
                      usec_t now)
{
    usec_t age = (now - MAX(lease_ties_parted(ties, term), led)) / USEC_PER_MSEC;
    uint64_t msec = (uint64_t)MIN(MAX(age, 0), (usec_t)UINT32_MAX);

    return (struct beat){.term = htole64(term),
                         .echo = htole64((uint64_t)lease_ties_echo(ties, term)),
                         .flags = htole64(flags | msec << AGE_SHIFT)};
}

struct lease_beat beat_read(const struct beat *beat)
{
    uint64_t flags = le64toh(beat->flags);

    return (struct lease_beat){.echo = (usec_t)le64toh(beat->echo),
                               .age = (usec_t)(flags >> AGE_SHIFT) * USEC_PER_MSEC,
                               .disarmed = flags & BEAT_DISARMED,
                               .starting = flags & BEAT_STARTING};
}
