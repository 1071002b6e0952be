/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ram.c -- what a domain has in its memory: a few pages of real bytes, however large it says it is.
 *
 * At first they follow from the domain's uuid.  A guest that runs writes to them at a rate that
 * tests set, and it is noted which pages it has written since they were last sent elsewhere.
 */
#include <stdio.h>
#include <stdlib.h>

#include "libxapi/base/memory.h"
#include "xapid/hypervisor/sim/sim.h"

#define PAGES 64
#define STEP 7919 /* a prime: the guest's writes go all over its memory */

static uint64_t hash(uint64_t h, const char *data, size_t n)
{
    for (size_t i = 0; i < n; i++)
        h = (h ^ (uint8_t)data[i]) * 0x100000001b3u;
    return h;
}

void ram_size(struct domain *d, size_t pages)
{
    free(d->ram.bytes);
    free(d->ram.dirty);
    d->ram.n = pages;
    d->ram.bytes = xcalloc(pages, SIM_PAGE);
    d->ram.dirty = xcalloc(pages, sizeof *d->ram.dirty);
}

/* Half of the pages are zero. */
static void fill(struct domain *d)
{
    for (size_t i = 0; i < d->ram.n; i += 2) {
        uint64_t x = hash(0xcbf29ce484222325u + i, d->uuid, strlen(d->uuid));

        for (size_t k = 0; k < SIM_PAGE; k++) {
            x = x * 6364136223846793005u + 1442695040888963407u;
            d->ram.bytes[i * SIM_PAGE + k] = (char)(x >> 56);
        }
    }
}

char *ram_page(struct domain *d, size_t i)
{
    if (!d->ram.bytes) {
        ram_size(d, PAGES);
        fill(d);
    }
    return i < d->ram.n ? d->ram.bytes + i * SIM_PAGE : NULL;
}

void ram_catch_up(struct domain *d)
{
    usec_t now = loop_now(d->sim->loop), gone = now - d->ram.written;
    uint64_t n = (uint64_t)(d->ram.rate * (gone / USEC_PER_MSEC) / 1000);

    if (d->state != HV_RUNNING || !d->ram.rate) {
        d->ram.written = now;
        return;
    }
    if (!n)
        return;
    d->ram.written = now;
    for (uint64_t k = 0; k < n; k++) {
        uint64_t stamp = ++d->ram.writes;
        char *page = ram_page(d, (size_t)(stamp * STEP % MAX(d->ram.n, (size_t)1)));

        memcpy(page, &stamp, sizeof stamp);
        d->ram.dirty[(size_t)(page - d->ram.bytes) / SIM_PAGE] = true;
    }
}

const char *ram_digest(struct arena *arena, struct domain *d)
{
    ram_page(d, 0);
    return arena_printf(
        arena, "%016llx",
        (unsigned long long)hash(0xcbf29ce484222325u, d->ram.bytes, d->ram.n * SIM_PAGE));
}

void ram_release(struct domain *d)
{
    free(d->ram.bytes);
    free(d->ram.dirty);
}
