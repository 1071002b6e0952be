/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/storage/move_plan.h"

static void add(struct move_plan *plan, struct move_step step)
{
    plan->v[plan->n++] = step;
    if (step.what == MOVE_COPY)
        plan->bytes += step.size;
}

/* A disk that went back to a snapshot of another size may be smaller than later ones: an image does
 * not shrink, so these are stored each by itself. */
static bool only_grow(size_t n, const int64_t *sizes)
{
    for (size_t i = 1; i < n; i++)
        if (sizes[i] < sizes[i - 1])
            return false;
    return true;
}

/* The disk becomes one after the other what its snapshots are, and is forked each time. */
static void plan_chain(struct move_plan *plan, size_t n, const int64_t *sizes)
{
    size_t disk = n - 1;

    add(plan,
        (struct move_step){MOVE_MAKE, .into = disk, MOVE_NOTHING, MOVE_NOTHING, .size = sizes[0]});
    for (size_t i = 0; i < n; i++) {
        if (i && sizes[i] > sizes[i - 1])
            add(plan, (struct move_step){MOVE_GROW, .into = disk, MOVE_NOTHING, MOVE_NOTHING,
                                         .size = sizes[i]});
        add(plan, (struct move_step){MOVE_COPY, .into = disk, i, i ? i - 1 : MOVE_NOTHING,
                                     .size = sizes[i]});
        if (i < disk)
            add(plan,
                (struct move_step){MOVE_FORK, .into = disk, i, MOVE_NOTHING, .size = sizes[i]});
    }
}

static void plan_copies(struct move_plan *plan, size_t n, const int64_t *sizes)
{
    for (size_t i = 0; i < n; i++) {
        add(plan,
            (struct move_step){MOVE_MAKE, .into = i, MOVE_NOTHING, MOVE_NOTHING, .size = sizes[i]});
        add(plan, (struct move_step){MOVE_COPY, .into = i, i, MOVE_NOTHING, .size = sizes[i]});
    }
}

void move_plan(struct arena *arena, size_t n, const int64_t *sizes, bool forks,
               struct move_plan *out)
{
    *out = (struct move_plan){.v = arena_array(arena, struct move_step, 3 * n + 1),
                              .forks = forks && only_grow(n, sizes)};
    if (out->forks)
        plan_chain(out, n, sizes);
    else
        plan_copies(out, n, sizes);
}
