/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "network-bridge/plan/conflict.h"

#include <string.h>

#define NESTING 8 /* of links on links; the kernel has the same limit */

static bool same(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

static bool ends_equal(const struct net_tunnel *a, const struct net_tunnel *b)
{
    return a->n_peers == 1 && b->n_peers == 1 && same(a->peers[0], b->peers[0]);
}

bool link_fits(const struct net_state *present, const struct net_link *link,
               const struct net_link *target)
{
    if (link->kind != target->kind || link->elsewhere)
        return false;
    switch (target->kind) {
    case NET_VLAN:
        return same(link->below, target->below) && link->tag == target->tag;
    case NET_GRE:
        return link->tunnel.id == target->tunnel.id &&
               same(link->tunnel.local, target->tunnel.local) &&
               (present->vswitch || ends_equal(&link->tunnel, &target->tunnel));
    case NET_VXLAN:
        return link->tunnel.id == target->tunnel.id &&
               same(link->tunnel.local, target->tunnel.local);
    default:
        return true;
    }
}

static bool is_managed(const struct targets *targets, const struct net_link *link)
{
    return link->ours || target_find(targets, link->name);
}

const struct net_link *link_foreign_user(const struct net_state *state,
                                         const struct targets *targets, const char *name)
{
    for (size_t i = 0; i < state->n_links; i++) {
        const struct net_link *link = &state->links[i];

        if ((same(link->master, name) || same(link->below, name)) && !is_managed(targets, link))
            return link;
    }
    return NULL;
}

/* A link that would be taken away and made anew. */
static struct error *check_misfit(struct arena *arena, const struct targets *targets,
                                  const struct net_state *present, const struct net_link *link)
{
    const struct net_link *user = link_foreign_user(present, targets, link->name);

    if (!link->ours || link->kind == NET_OTHER)
        return net_error(arena, link->name,
                         "there is another device of that name, which was not made here");
    if (user)
        return net_error(arena, link->name, "it has to be made anew, but %s uses it", user->name);
    return OK;
}

static struct error *check_present(struct arena *arena, const struct targets *targets,
                                   const struct net_state *present, const struct target *t,
                                   const struct net_link *link)
{
    const struct net_link *master = net_link_find(present, link->master);
    const struct target *to = target_find(targets, t->link.master);

    if (!link_fits(present, link, &t->link))
        return check_misfit(arena, targets, present, link);
    if (master && !same(link->master, t->link.master) && !is_managed(targets, master))
        return net_error(arena, link->name, "it is in %s, which was not made here", link->master);
    if (to && to->link.kind == NET_BOND && t->link.kind == NET_OTHER)
        for (size_t i = 0; i < present->n_links; i++)
            if (same(present->links[i].below, link->name) &&
                !is_managed(targets, &present->links[i]))
                return net_error(arena, link->name, "%s is on it, which was not made here",
                                 present->links[i].name);
    return OK;
}

/* Another name has what can be there once only. */
static struct error *check_absent(struct arena *arena, const struct targets *targets,
                                  const struct net_state *present, const struct target *t)
{
    for (size_t i = 0; i < present->n_links; i++) {
        const struct net_link *link = &present->links[i];
        bool vlan =
            link->kind == NET_VLAN && link->tag == t->link.tag && same(link->below, t->link.below);
        bool vxlan = link->kind == NET_VXLAN && link->tunnel.id == t->link.tunnel.id;

        if (link->kind == t->link.kind && (vlan || vxlan) && !is_managed(targets, link))
            return net_error(arena, t->link.name,
                             "its number is taken by %s, which was not made here", link->name);
    }
    return OK;
}

/* A state that no kernel has would never come to an end. */
static struct error *check_nesting(struct arena *arena, const struct net_state *present,
                                   const struct net_link *link)
{
    const struct net_link *below = link;

    for (int depth = 0; depth < NESTING; depth++) {
        below = net_link_find(present, below->below);
        if (!below)
            return OK;
    }
    return net_error(arena, link->name, "it stands on more than %d others", NESTING);
}

struct error *conflicts_check(struct arena *arena, const struct targets *targets,
                              const struct net_state *present)
{
    for (size_t i = 0; i < present->n_links; i++)
        if (*present->links[i].below)
            TRY(check_nesting(arena, present, &present->links[i]));
    for (size_t i = 0; i < targets->n; i++) {
        const struct target *t = &targets->v[i];
        const struct net_link *link = net_link_find(present, t->link.name);

        TRY(link ? check_present(arena, targets, present, t, link)
                 : check_absent(arena, targets, present, t));
    }
    return OK;
}
