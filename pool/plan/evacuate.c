/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pool/plan/evacuate.h"

#include <stdlib.h>
#include <string.h>

struct spread {
    const struct evacuation *e;
    int64_t *free, *company; /* as they become */
};

static uint64_t bit(size_t i)
{
    return (uint64_t)1 << i;
}

static bool must_go(const struct evacuation *e, const struct ha_vm *vm)
{
    return vm->on >= 0 && (e->emptied & bit((size_t)vm->on));
}

static int64_t *company_of(const struct spread *s, size_t vm, size_t host)
{
    return &s->company[s->e->groups[vm] * s->e->problem.n_hosts + host];
}

/* The emptiest of those with the least company that can take the VM; -1. */
static int roomiest(const struct spread *s, size_t vm)
{
    const struct ha_problem *p = &s->e->problem;
    uint64_t can = p->vms[vm].can & ~s->e->emptied;
    int best = -1;

    for (size_t h = 0; h < p->n_hosts; h++) {
        int64_t company = *company_of(s, vm, h);

        if (!(can & bit(h)) || s->free[h] < p->vms[vm].memory)
            continue;
        if (best < 0 || company < *company_of(s, vm, (size_t)best) ||
            (company == *company_of(s, vm, (size_t)best) && s->free[h] > s->free[best]))
            best = (int)h;
    }
    return best;
}

/* Those that have the least choice first, then the largest. */
static bool comes_before(const struct ha_vm *a, const struct ha_vm *b)
{
    int x = __builtin_popcountll(a->can), y = __builtin_popcountll(b->can);

    return x != y ? x < y : a->memory > b->memory;
}

static size_t *in_order(struct arena *arena, const struct evacuation *e, size_t *n)
{
    size_t *v = arena_array(arena, size_t, e->problem.n_vms + 1);

    *n = 0;
    for (size_t i = 0; i < e->problem.n_vms; i++) {
        const struct ha_vm *vm = &e->problem.vms[i];
        size_t j = *n;

        if (!must_go(e, vm))
            continue;
        for (; j && comes_before(vm, &e->problem.vms[v[j - 1]]); j--)
            v[j] = v[j - 1];
        v[j] = i;
        (*n)++;
    }
    return v;
}

static bool spread_all(struct arena *arena, const struct evacuation *e, int *to)
{
    const struct ha_problem *p = &e->problem;
    struct spread s = {
        e, arena_memdup(arena, p->free, p->n_hosts * sizeof *p->free),
        arena_memdup(arena, e->company, e->n_groups * p->n_hosts * sizeof *e->company)};
    size_t n, *order = in_order(arena, e, &n);

    for (size_t i = 0; i < p->n_vms; i++)
        to[i] = must_go(e, &p->vms[i]) ? HA_NO_PLACE : HA_STAYS;
    for (size_t i = 0; i < n; i++) {
        int host = roomiest(&s, order[i]);

        if (host < 0)
            return false;
        to[order[i]] = host;
        s.free[host] -= p->vms[order[i]].memory;
        if (e->groups[order[i]])
            ++*company_of(&s, order[i], (size_t)host);
    }
    return true;
}

bool evacuation_plan(struct arena *arena, const struct evacuation *e, int *to)
{
    return spread_all(arena, e, to) || ha_plan(arena, &e->problem, e->emptied, to);
}
