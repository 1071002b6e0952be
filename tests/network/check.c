/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/network/check.h"

#include <stdlib.h>
#include <string.h>

#include "network-bridge/plan/model.h"

static int compare_lines(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool is_member(const struct net_state *state, const struct net_link *link)
{
    const struct net_link *master = net_link_find(state, link->master);

    return master && master->kind == NET_BOND;
}

struct lines {
    size_t n;
    const char **v;
};

/* Lines, sorted, for order is no matter.  A VLAN and a bond's member that were down come up with
 * what they are on and in, and stay up. */
static struct lines canonical(struct arena *arena, const struct net_state *state)
{
    struct net_link *links = arena_array(arena, struct net_link, state->n_links);
    struct net_state copy = *state;
    struct lines lines = {0};
    AUTO(buf) text = {0};
    char *rest = NULL, *words;

    for (size_t i = 0; i < copy.n_links; i++) {
        links[i] = state->links[i];
        links[i].up |= links[i].kind == NET_VLAN || is_member(state, &links[i]);
    }
    copy.links = links;
    net_state_print(&text, &copy);
    words = arena_strdup(arena, text.data ? text.data : "");
    lines.v = arena_array(arena, const char *, strlen(words) + 1);
    for (char *l = strtok_r(words, "\n", &rest); l; l = strtok_r(NULL, "\n", &rest))
        lines.v[lines.n++] = l;
    if (lines.n)
        qsort(lines.v, lines.n, sizeof *lines.v, compare_lines);
    return lines;
}

/* The first line that only one of them has; NULL where they are the same. */
static const char *difference(struct arena *arena, const struct net_state *a,
                              const struct net_state *b)
{
    struct lines x = canonical(arena, a), y = canonical(arena, b);

    for (size_t i = 0; i < MAX(x.n, y.n); i++) {
        const char *in_x = i < x.n ? x.v[i] : "nothing", *in_y = i < y.n ? y.v[i] : "nothing";

        if (strcmp(in_x, in_y) != 0)
            return arena_printf(arena, "%s -- instead of -- %s", in_x, in_y);
    }
    return NULL;
}

static const char *run(struct arena *arena, struct model *m, const struct net_plan *plan, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const char *refused = model_step(m, &plan->steps[i]);

        if (refused)
            return arena_printf(arena, "%s: %s", net_step_text(arena, &plan->steps[i]), refused);
    }
    return NULL;
}

static const char *check_again(struct arena *arena, const struct net_wanted *wanted,
                               const struct net_state *state)
{
    struct net_plan again;
    struct error *e = net_plan(arena, wanted, state, &again);

    if (e)
        return arena_printf(arena, "a second plan fails: %s", error_line(arena, e));
    if (again.n_steps)
        return arena_printf(arena, "a second plan has %zu steps, the first: %s", again.n_steps,
                            net_step_text(arena, &again.steps[0]));
    return NULL;
}

static const char *check_undo(struct arena *arena, struct model *m, const struct net_plan *plan,
                              const struct net_state *present)
{
    struct net_state back;
    const char *wrong;

    for (size_t i = plan->n_steps; i-- > 0;) {
        struct net_step step = net_step_undo(&plan->steps[i]);
        const char *refused = model_step(m, &step);

        if (refused)
            return arena_printf(arena, "undo: %s: %s", net_step_text(arena, &step), refused);
    }
    model_state(m, arena, &back);
    wrong = difference(arena, &back, present);
    return wrong ? arena_printf(arena, "undo leads elsewhere: %s", wrong) : NULL;
}

/* A daemon that dies after 'n' steps. */
static const char *check_death(struct arena *arena, const struct net_wanted *wanted,
                               const struct net_state *present, const struct net_plan *plan,
                               size_t n)
{
    struct net_state between, end;
    struct net_plan rest;
    struct model m;
    struct error *e;
    const char *wrong;

    model_init(&m, arena, present);
    wrong = run(arena, &m, plan, n);
    if (wrong)
        return wrong;
    model_state(&m, arena, &between);
    e = net_plan(arena, wanted, &between, &rest);
    if (e)
        return arena_printf(arena, "after a death at step %zu: %s", n, error_line(arena, e));
    model_init(&m, arena, &between);
    wrong = run(arena, &m, &rest, rest.n_steps);
    if (wrong)
        return arena_printf(arena, "after a death at step %zu: %s", n, wrong);
    model_state(&m, arena, &end);
    wrong = check_again(arena, wanted, &end);
    return wrong ? arena_printf(arena, "after a death at step %zu: %s", n, wrong) : NULL;
}

const char *check_plan(struct arena *arena, const struct net_wanted *wanted,
                       const struct net_state *present, const struct net_plan *plan,
                       struct net_state *reached)
{
    struct model m;
    const char *wrong;

    model_init(&m, arena, present);
    wrong = run(arena, &m, plan, plan->n_steps);
    model_state(&m, arena, reached);
    if (!wrong)
        wrong = check_again(arena, wanted, reached);
    if (!wrong)
        wrong = check_undo(arena, &m, plan, present);
    for (size_t n = 1; n < plan->n_steps && !wrong; n++)
        wrong = check_death(arena, wanted, present, plan, n);
    return wrong;
}
