/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/auth/callers.h"

#include <stdlib.h>
#include <string.h>

#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "libxapi/value/value.h"
#include "xapid/main/xapid.h"

/* Between two changes of a caller's last_access. */
#define TELL_EVERY (10 * USEC_PER_SEC)

struct usage {
    ref_t caller;
    struct caller_usage used;
};

struct bucket {
    ref_t limit;
    double level; /* below 0: taken in advance by those who wait */
    usec_t since; /* when it had that level */
};

struct callers {
    struct mutex lock;
    size_t n_usages, n_buckets, usage_room, bucket_room;
    struct usage *usages;
    struct bucket *buckets;
};

struct callers *callers_new(void)
{
    struct callers *c = xcalloc(1, sizeof *c);

    mutex_init(&c->lock);
    return c;
}

void callers_free(struct callers *c)
{
    if (!c)
        return;
    free(c->usages);
    free(c->buckets);
    mutex_release(&c->lock);
    free(c);
}

/*** rows ***/

/* 0: it is not this caller's request; else the better, the higher. */
static int match(const struct caller *row, const char *user_agent, const char *address)
{
    if ((*row->user_agent && strcmp(row->user_agent, user_agent) != 0) ||
        (*row->client_ip && strcmp(row->client_ip, address) != 0))
        return 0;
    return (*row->user_agent ? 2 : 0) + (*row->client_ip ? 1 : 0);
}

static const struct caller *find_row(const struct db_snap *snap, const char *user_agent,
                                     const char *address)
{
    const struct caller *best = NULL, *row;
    struct db_walk walk;
    int found = 0;

    db_walk(snap, CLASS_caller, &walk);
    while ((row = db_walk_next(&walk))) {
        int how = match(row, user_agent, address);

        if (how > found) {
            found = how;
            best = row;
        }
    }
    return best;
}

/*** tables: as long as those of the rows, whose number is limited ***/

/* Those whose rows are gone make room. */
static void sweep(struct callers *c, const struct db_snap *snap)
{
    size_t n = 0;

    for (size_t i = 0; i < c->n_usages; i++)
        if (root_get(snap_root(snap), CLASS_caller, c->usages[i].caller))
            c->usages[n++] = c->usages[i];
    c->n_usages = n;
    n = 0;
    for (size_t i = 0; i < c->n_buckets; i++)
        if (root_get(snap_root(snap), CLASS_rate_limit, c->buckets[i].limit))
            c->buckets[n++] = c->buckets[i];
    c->n_buckets = n;
}

static struct usage *find_usage(struct callers *c, ref_t caller)
{
    for (size_t i = 0; i < c->n_usages; i++)
        if (ref_equal(c->usages[i].caller, caller))
            return &c->usages[i];
    return NULL;
}

static struct usage *usage_of(struct callers *c, const struct db_snap *snap, ref_t caller)
{
    struct usage *found = find_usage(c, caller);

    if (found)
        return found;
    if (c->n_usages == c->usage_room) {
        sweep(c, snap);
        c->usage_room = c->n_usages + 16;
        c->usages = xrealloc(c->usages, c->usage_room * sizeof *c->usages);
    }
    c->usages[c->n_usages] = (struct usage){.caller = caller};
    return &c->usages[c->n_usages++];
}

/* A new one is full. */
static struct bucket *bucket_of(struct callers *c, const struct db_snap *snap,
                                const struct rate_limit *limit, usec_t now)
{
    for (size_t i = 0; i < c->n_buckets; i++)
        if (ref_equal(c->buckets[i].limit, limit->ref))
            return &c->buckets[i];
    if (c->n_buckets == c->bucket_room) {
        sweep(c, snap);
        c->bucket_room = c->n_buckets + 16;
        c->buckets = xrealloc(c->buckets, c->bucket_room * sizeof *c->buckets);
    }
    c->buckets[c->n_buckets] =
        (struct bucket){.limit = limit->ref, .level = limit->burst_size, .since = now};
    return &c->buckets[c->n_buckets++];
}

/*** counting ***/

static usec_t take(struct bucket *b, const struct rate_limit *limit, double tokens, usec_t now)
{
    const double longest = (double)CALLERS_MAX_WAIT / USEC_PER_SEC;
    double passed = (double)MAX(now - b->since, (usec_t)0) / USEC_PER_SEC;

    b->level = MIN(limit->burst_size, b->level + passed * limit->fill_rate) - tokens;
    b->since = now;
    if (b->level >= 0)
        return 0;
    b->level = MAX(b->level, -longest * limit->fill_rate);
    return (usec_t)(-b->level / limit->fill_rate * USEC_PER_SEC);
}

usec_t callers_charge(struct callers *c, const struct db_snap *snap, const char *user_agent,
                      const char *address, usec_t now, ref_t *caller)
{
    const struct caller *row = find_row(snap, user_agent, address);
    const struct rate_limit *limit;
    struct usage *usage;

    *caller = row ? row->ref : REF_NULL;
    if (!row)
        return 0;
    limit = root_get(snap_root(snap), CLASS_rate_limit, row->rate_limit);
    MUTEX_GUARD(&c->lock);
    usage = usage_of(c, snap, row->ref);
    usage->used.calls++;
    usage->used.tokens += 1.0;
    return limit ? take(bucket_of(c, snap, limit, now), limit, 1.0, now) : 0;
}

struct caller_usage callers_usage(struct callers *c, ref_t caller)
{
    const struct usage *found;

    MUTEX_GUARD(&c->lock);
    found = find_usage(c, caller);
    return found ? found->used : (struct caller_usage){0};
}

usec_t callers_count_call(struct xapid *xapid, const char *user_agent, const char *address)
{
    struct db_snap *snap = db_snapshot(xapid->db);
    usec_t wait = 0, wall = clock_wall();
    ref_t ref;

    if (snap_root(snap)->tables[CLASS_caller].count) {
        const struct caller *row;

        wait = callers_charge(xapid->callers, snap, user_agent, address, clock_mono(), &ref);
        row = root_get(snap_root(snap), CLASS_caller, ref);
        if (row && wall - row->last_access >= TELL_EVERY)
            db_set_lazily(xapid->db, FIELD_caller_last_access, ref, &wall);
    }
    db_snap_unref(snap);
    return wait;
}
