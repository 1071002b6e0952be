/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pool/ha/planner.h"

#include <stdlib.h>
#include <string.h>

#define MAX_CHOICES 5000 /* sets of failing hosts that are tried one by one */
#define MAX_TRIES 20000  /* places tried for the VMs of one such set */

static uint64_t bit(size_t i)
{
    return (uint64_t)1 << i;
}

/*** one packing ***/

struct packing {
    const struct ha_problem *problem;
    int64_t free[HA_MAX_HOSTS];
    uint64_t hosts; /* those that are left */
    size_t n;
    size_t *vms; /* those to be placed, in the order in which that is tried */
    int *to;     /* by VM of the problem */
    int tries;
};

static void packing_begin(struct packing *p, struct arena *arena, const struct ha_problem *problem,
                          uint64_t failed, int *to)
{
    *p = (struct packing){.problem = problem, .to = to};
    p->vms = arena_array(arena, size_t, problem->n_vms + 1);
    for (size_t i = 0; i < problem->n_hosts; i++)
        p->hosts |= bit(i) & ~failed;
    memcpy(p->free, problem->free, problem->n_hosts * sizeof *p->free);
    for (size_t i = 0; i < problem->n_vms; i++) {
        int on = problem->vms[i].on;
        bool stays = on >= 0 && !(failed & bit((size_t)on));

        to[i] = stays ? HA_STAYS : HA_NO_PLACE;
        if (!stays)
            p->vms[p->n++] = i;
    }
}

static bool can_take(const struct packing *p, size_t host, const struct ha_vm *vm)
{
    return (p->hosts & vm->can & bit(host)) && p->free[host] >= vm->memory;
}

/* The host that it fills best; -1 if there is none. */
static int best_fit(const struct packing *p, const struct ha_vm *vm)
{
    int best = -1;

    for (size_t i = 0; i < p->problem->n_hosts; i++)
        if (can_take(p, i, vm) && (best < 0 || p->free[i] < p->free[best]))
            best = (int)i;
    return best;
}

/* Biggest first, and those that can go to fewer hosts before others: insertion keeps the order of
 * equals. */
static void sort_by_size(struct packing *p)
{
    const struct ha_vm *vms = p->problem->vms;

    for (size_t i = 1; i < p->n; i++) {
        size_t x = p->vms[i], j = i;

        for (; j &&
               (vms[x].memory > vms[p->vms[j - 1]].memory ||
                (vms[x].memory == vms[p->vms[j - 1]].memory &&
                 __builtin_popcountll(vms[x].can) < __builtin_popcountll(vms[p->vms[j - 1]].can)));
             j--)
            p->vms[j] = p->vms[j - 1];
        p->vms[j] = x;
    }
}

/* Each where it fits best, in order; whether all have a place. */
static bool pack_greedily(struct packing *p)
{
    bool all = true;

    for (size_t i = 0; i < p->n; i++) {
        const struct ha_vm *vm = &p->problem->vms[p->vms[i]];
        int host = best_fit(p, vm);

        p->to[p->vms[i]] = host < 0 ? HA_NO_PLACE : host;
        if (host < 0)
            all = false;
        else
            p->free[host] -= vm->memory;
    }
    return all;
}

/* Every place of the i-th and all after it, until all have one or the tries are used up. */
static bool pack_exhaustively(struct packing *p, size_t i)
{
    const struct ha_vm *vm;

    if (i == p->n)
        return true;
    vm = &p->problem->vms[p->vms[i]];
    for (size_t host = 0; host < p->problem->n_hosts && p->tries < MAX_TRIES; host++) {
        if (!can_take(p, host, vm))
            continue;
        p->tries++;
        p->free[host] -= vm->memory;
        p->to[p->vms[i]] = (int)host;
        if (pack_exhaustively(p, i + 1))
            return true;
        p->free[host] += vm->memory;
    }
    p->to[p->vms[i]] = HA_NO_PLACE;
    return false;
}

/* All or nothing; *exact is false where it gave up. */
static bool pack_all(struct arena *arena, const struct ha_problem *problem, uint64_t failed,
                     int *to, bool *exact)
{
    struct packing p;

    *exact = true;
    packing_begin(&p, arena, problem, failed, to);
    sort_by_size(&p);
    if (pack_greedily(&p))
        return true;
    packing_begin(&p, arena, problem, failed, to);
    sort_by_size(&p);
    if (pack_exhaustively(&p, 0))
        return true;
    *exact = p.tries < MAX_TRIES;
    return false;
}

bool ha_plan(struct arena *arena, const struct ha_problem *problem, uint64_t failed, int *to)
{
    struct packing p;
    bool exact;

    if (pack_all(arena, problem, failed, to, &exact))
        return true;
    packing_begin(&p, arena, problem, failed, to);
    pack_greedily(&p);
    return false;
}

/*** all choices of failing hosts ***/

/* n over k, or more than MAX_CHOICES. */
static size_t choices(size_t n, size_t k)
{
    size_t c = 1;

    for (size_t i = 0; i < MIN(k, n - k) && c <= MAX_CHOICES; i++)
        c = c * (n - i) / (i + 1);
    return c;
}

/* The next set with as many bits. */
static uint64_t next_choice(uint64_t set)
{
    uint64_t low = set & -set, ripple = set + low;

    return ripple | (((set ^ ripple) >> 2) / low);
}

static struct ha_verdict try_one(struct arena *arena, const struct ha_problem *problem,
                                 uint64_t failed, int *to)
{
    struct ha_verdict v = {.vm = -1};

    v.exists = pack_all(arena, problem, failed, to, &v.exact);
    if (v.exists)
        return v;
    v.failed = failed;
    ha_plan(arena, problem, failed, to);
    for (size_t i = 0; i < problem->n_vms && v.vm < 0; i++)
        if (to[i] == HA_NO_PLACE)
            v.vm = (int)i;
    return v;
}

static struct ha_verdict try_all(struct arena *arena, const struct ha_problem *problem,
                                 size_t failures)
{
    uint64_t set = bit(failures) - 1; /* fewer than there are hosts */
    size_t left = choices(problem->n_hosts, failures);
    int *to = arena_array(arena, int, problem->n_vms + 1);
    struct ha_verdict v = {.exists = true, .exact = true, .vm = -1};

    for (; left && v.exists; left--) {
        struct arena scratch = {0};

        v = try_one(&scratch, problem, set, to);
        arena_release(&scratch);
        if (left > 1)
            set = next_choice(set);
    }
    return v;
}

/*** where there are too many ***/

static int by_number_down(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;

    return (*x < *y) - (*x > *y);
}

static int64_t sum(const int64_t *v, size_t n)
{
    int64_t s = 0;

    for (size_t i = 0; i < n; i++)
        s += v[i];
    return s;
}

/* As if all VMs were as big as the biggest, hosts that not all can use did not count, and those
 * with the most VMs and those with the most room failed. */
static struct ha_verdict approximate(const struct ha_problem *problem, size_t failures)
{
    int64_t slots[HA_MAX_HOSTS] = {0}, crowds[HA_MAX_HOSTS] = {0}, biggest = 1, lost = 0;
    struct ha_verdict v = {.vm = -1};
    uint64_t common = ~(uint64_t)0;

    for (size_t i = 0; i < problem->n_vms; i++) {
        const struct ha_vm *vm = &problem->vms[i];

        biggest = MAX(biggest, vm->memory);
        common &= vm->can;
        if (vm->on < 0)
            lost++;
        else
            crowds[vm->on]++;
    }
    for (size_t i = 0; i < problem->n_hosts; i++)
        slots[i] = common & bit(i) ? MAX(problem->free[i], 0) / biggest : 0;
    qsort(slots, problem->n_hosts, sizeof *slots, by_number_down);
    qsort(crowds, problem->n_hosts, sizeof *crowds, by_number_down);
    v.exists = lost + sum(crowds, failures) <= sum(slots + failures, problem->n_hosts - failures);
    v.exact = v.exists;
    return v;
}

/*** answers ***/

struct ha_verdict ha_plan_exists(struct arena *arena, const struct ha_problem *problem,
                                 size_t failures)
{
    if (!problem->n_vms)
        return (struct ha_verdict){.exists = true, .exact = true, .vm = -1};
    if (failures >= problem->n_hosts) /* nothing is left to run on */
        return (struct ha_verdict){.exact = true, .failed = ~(uint64_t)0};
    if (choices(problem->n_hosts, failures) > MAX_CHOICES)
        return approximate(problem, failures);
    return try_all(arena, problem, failures);
}

int ha_max_failures(struct arena *arena, const struct ha_problem *problem, size_t limit,
                    struct ha_verdict *worst)
{
    int low = -1, high = (int)limit + 1; /* a plan exists for 'low', none was found for 'high' */

    if (worst)
        *worst = (struct ha_verdict){.exists = true, .exact = true, .vm = -1};
    while (high - low > 1) {
        int middle = low + (high - low) / 2;
        struct ha_verdict v = ha_plan_exists(arena, problem, (size_t)middle);

        if (v.exists)
            low = middle;
        else
            high = middle;
        if (!v.exists && worst)
            *worst = v;
    }
    return low;
}
