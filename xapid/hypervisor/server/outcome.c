/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* outcome.c -- see outcome.h. */
#include "xapid/hypervisor/server/outcome.h"

#include <stdlib.h>
#include <string.h>

#include "libxapi/base/memory.h"

#define BUCKETS 4096

struct outcomes {
    size_t n;
    struct outcome *oldest, *newest;
    struct outcome *buckets[BUCKETS];
};

static uint64_t hash_bytes(uint64_t h, const char *data, size_t n)
{
    for (size_t i = 0; i < n; i++)
        h = (h ^ (uint8_t)data[i]) * 0x100000001b3u;
    return h;
}

static uint64_t hash_text(const char *s)
{
    return hash_bytes(0xcbf29ce484222325u, s, strlen(s));
}

static int hash_more(const char *data, size_t size, void *ctx)
{
    uint64_t *h = ctx;

    *h = hash_bytes(*h, data, size);
    return 0;
}

uint64_t outcome_hash(const char *call, const json_t *args)
{
    uint64_t h = hash_text(call);

    if (json_dump_callback(args, hash_more, &h, JSON_COMPACT | JSON_SORT_KEYS) < 0)
        abort(); /* out of memory */
    return h;
}

struct outcomes *outcomes_new(void)
{
    return xcalloc(1, sizeof(struct outcomes));
}

void outcome_forget(struct outcomes *all, struct outcome *o)
{
    struct outcome **at = &all->buckets[hash_text(o->id) % BUCKETS];

    while (*at != o)
        at = &(*at)->chain;
    *at = o->chain;
    if (o->prev)
        o->prev->next = o->next;
    else
        all->oldest = o->next;
    if (o->next)
        o->next->prev = o->prev;
    else
        all->newest = o->prev;
    all->n--;
    json_decref(o->error);
    json_decref(o->result);
    free(o);
}

void outcomes_free(struct outcomes *all)
{
    if (!all)
        return;
    while (all->oldest)
        outcome_forget(all, all->oldest);
    free(all);
}

struct outcome *outcome_find(struct outcomes *all, const char *id)
{
    struct outcome *o = all->buckets[hash_text(id) % BUCKETS];

    while (o && strcmp(o->id, id) != 0)
        o = o->chain;
    return o;
}

/* Running ones stay whatever their number: it is bounded by that of requests. */
static void evict(struct outcomes *all)
{
    struct outcome *o = all->oldest;

    while (o && all->n >= OUTCOMES_MAX) {
        struct outcome *next = o->next;

        if (o->state != OUTCOME_RUNNING)
            outcome_forget(all, o);
        o = next;
    }
}

struct outcome *outcome_begin(struct outcomes *all, const char *id, enum outcome_state state,
                              uint64_t what)
{
    struct outcome **bucket = &all->buckets[hash_text(id) % BUCKETS];
    struct outcome *o;

    evict(all);
    o = xcalloc(1, sizeof *o);
    memcpy(o->id, id, strlen(id) + 1);
    o->state = state;
    o->what = what;
    o->chain = *bucket;
    *bucket = o;
    o->prev = all->newest;
    if (all->newest)
        all->newest->next = o;
    else
        all->oldest = o;
    all->newest = o;
    all->n++;
    return o;
}

void outcome_end(struct outcome *o, json_t *error, json_t *result)
{
    o->state = OUTCOME_DONE;
    o->error = json_incref(error);
    o->result = json_incref(result);
}
