/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/vm/claims.h"

#include <stdlib.h>

#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"

#define CLAIMS_MAX 1024 /* the oldest goes */
#define CLAIM_LASTS (10 * USEC_PER_SEC)

struct claim {
    ref_t vm, host;
    int64_t memory;
    usec_t until; /* monotonic */
};

struct claims {
    struct mutex lock;
    size_t next; /* a ring: the place of the oldest */
    struct claim v[CLAIMS_MAX];
};

struct claims *claims_new(void)
{
    struct claims *c = xcalloc(1, sizeof *c);

    mutex_init(&c->lock);
    return c;
}

void claims_free(struct claims *c)
{
    if (!c)
        return;
    mutex_release(&c->lock);
    free(c);
}

/* With the lock held. */
static struct claim *find(struct claims *c, ref_t vm)
{
    for (size_t i = 0; i < CLAIMS_MAX; i++)
        if (ref_equal(c->v[i].vm, vm))
            return &c->v[i];
    return NULL;
}

void claims_add(struct claims *c, ref_t vm, ref_t host, int64_t memory)
{
    struct claim *claim;

    if (!c)
        return;
    MUTEX_GUARD(&c->lock);
    claim = find(c, vm);
    if (!claim) {
        claim = &c->v[c->next];
        c->next = (c->next + 1) % CLAIMS_MAX;
    }
    *claim = (struct claim){vm, host, memory, clock_mono() + CLAIM_LASTS};
}

/* Once the VM is somewhere in the records, those count. */
static bool holds(const struct claim *claim, const struct db_snap *snap, usec_t now)
{
    const struct vm *vm =
        claim->until > now ? root_get(snap_root(snap), CLASS_vm, claim->vm) : NULL;

    return vm && ref_is_null(vm->resident_on) && ref_is_null(vm->scheduled_to_be_resident_on);
}

int64_t claims_memory(struct claims *c, const struct db_snap *snap, ref_t host, ref_t except)
{
    usec_t now = clock_mono();
    int64_t sum = 0;

    if (!c)
        return 0;
    MUTEX_GUARD(&c->lock);
    for (size_t i = 0; i < CLAIMS_MAX; i++)
        if (ref_equal(c->v[i].host, host) && !ref_equal(c->v[i].vm, except) &&
            holds(&c->v[i], snap, now))
            sum += c->v[i].memory;
    return sum;
}

bool claims_has(struct claims *c, const struct db_snap *snap, ref_t vm, ref_t host)
{
    const struct claim *claim;

    if (!c)
        return false;
    MUTEX_GUARD(&c->lock);
    claim = find(c, vm);
    return claim && ref_equal(claim->host, host) && holds(claim, snap, clock_mono());
}
