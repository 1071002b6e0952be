/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/network/reached.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"

struct reached {
    struct mutex lock;
    struct cond noted;
    atomic_bool awaited;
    bool is_new;
    char address[REACHED_ADDRESS_SIZE], peer[REACHED_ADDRESS_SIZE];
};

struct reached *reached_new(void)
{
    struct reached *r = xcalloc(1, sizeof *r);

    mutex_init(&r->lock);
    cond_init(&r->noted);
    return r;
}

void reached_free(struct reached *r)
{
    if (!r)
        return;
    mutex_release(&r->lock);
    cond_release(&r->noted);
    free(r);
}

bool reached_is_awaited(const struct reached *r)
{
    return atomic_load_explicit(&r->awaited, memory_order_relaxed);
}

void reached_note(struct reached *r, const char *address, const char *peer)
{
    MUTEX_GUARD(&r->lock);
    if (!r->awaited)
        return;
    snprintf(r->address, sizeof r->address, "%s", address);
    snprintf(r->peer, sizeof r->peer, "%s", peer);
    r->is_new = true;
    cond_signal(&r->noted);
}

void reached_await(struct reached *r)
{
    MUTEX_GUARD(&r->lock);
    r->awaited = true;
    r->is_new = false;
}

void reached_end(struct reached *r)
{
    MUTEX_GUARD(&r->lock);
    r->awaited = false;
}

bool reached_next(struct reached *r, usec_t deadline, char address[REACHED_ADDRESS_SIZE],
                  char peer[REACHED_ADDRESS_SIZE])
{
    MUTEX_GUARD(&r->lock);
    while (!r->is_new && cond_wait_until(&r->noted, &r->lock, deadline))
        ;
    if (!r->is_new)
        return false;
    r->is_new = false;
    memcpy(address, r->address, sizeof r->address);
    memcpy(peer, r->peer, sizeof r->peer);
    return true;
}
