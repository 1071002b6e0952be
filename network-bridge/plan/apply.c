/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* apply.c -- a plan carried out, or taken back: one step after the other, on any kernel. */
#include <string.h>

#include "network-bridge/net.h"

void net_kernel_free(struct net_kernel *kernel)
{
    if (kernel)
        kernel->free(kernel);
}

struct error *net_read(struct net_kernel *kernel, struct arena *arena, struct net_state *out)
{
    return kernel->read(kernel, arena, out);
}

/* Why, in one sentence: the text of an error that a kernel gives. */
static const char *reason(const struct error *e)
{
    return e->params[e->n_params - 1];
}

/* Takes back the first 'n' steps; goes on after a failure, and returns the first one. */
static struct error *take_back(struct net_kernel *kernel, struct arena *arena,
                               const struct net_plan *plan, size_t n)
{
    struct error *first = OK;

    while (n-- > 0) {
        struct net_step step = net_step_undo(&plan->steps[n]);
        struct error *e = kernel->step(kernel, arena, &step);

        if (e && !first)
            first = error_new(
                arena, "PIF_CONFIGURATION_ERROR", 2, step.device,
                arena_printf(arena, "could not %s: %s", net_step_text(arena, &step), reason(e)));
    }
    return first;
}

struct error *net_apply(struct net_kernel *kernel, struct arena *arena, const struct net_plan *plan)
{
    for (size_t i = 0; i < plan->n_steps; i++) {
        const struct net_step *step = &plan->steps[i];
        struct error *e = kernel->step(kernel, arena, step), *left;

        if (!e)
            continue;
        left = take_back(kernel, arena, plan, i);
        return error_new(
            arena, "PIF_CONFIGURATION_ERROR", 2, step->device,
            arena_printf(arena, "could not %s (step %zu of %zu): %s; %s",
                         net_step_text(arena, step), i + 1, plan->n_steps, reason(e),
                         left ? arena_printf(arena, "and taking back what was done failed too: %s",
                                             reason(left))
                              : "what was done before it was taken back"));
    }
    return OK;
}

struct error *net_undo(struct net_kernel *kernel, struct arena *arena, const struct net_plan *plan)
{
    return take_back(kernel, arena, plan, plan->n_steps);
}
