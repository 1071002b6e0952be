/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "network-bridge/plan/model.h"

#include <string.h>

#include "network-bridge/plan/ip.h"

static bool same(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

static void add_link(struct model *m, const struct net_link *link)
{
    m->links = arena_room(m->arena, m->links, m->n_links, &m->room_links, sizeof *m->links);
    m->links[m->n_links++] = arena_memdup(m->arena, link, sizeof *link);
}

static void add_address(struct model *m, const struct net_address *address)
{
    m->addresses = arena_room(m->arena, m->addresses, m->n_addresses, &m->room_addresses,
                              sizeof *m->addresses);
    m->addresses[m->n_addresses++] = *address;
}

static void add_route(struct model *m, const struct net_route *route)
{
    m->routes = arena_room(m->arena, m->routes, m->n_routes, &m->room_routes, sizeof *m->routes);
    m->routes[m->n_routes++] = *route;
}

static void remove_address(struct model *m, size_t i)
{
    memmove(&m->addresses[i], &m->addresses[i + 1], (--m->n_addresses - i) * sizeof *m->addresses);
}

static void remove_route(struct model *m, size_t i)
{
    memmove(&m->routes[i], &m->routes[i + 1], (--m->n_routes - i) * sizeof *m->routes);
}

void model_init(struct model *model, struct arena *arena, const struct net_state *state)
{
    *model = (struct model){.arena = arena, .vswitch = state->vswitch, .dns = state->dns};
    for (size_t i = 0; i < state->n_links; i++)
        add_link(model, &state->links[i]);
    for (size_t i = 0; i < state->n_addresses; i++)
        add_address(model, &state->addresses[i]);
    for (size_t i = 0; i < state->n_routes; i++)
        add_route(model, &state->routes[i]);
}

void model_state(const struct model *model, struct arena *arena, struct net_state *out)
{
    struct net_link *links = arena_array(arena, struct net_link, model->n_links);

    for (size_t i = 0; i < model->n_links; i++)
        links[i] = *model->links[i];
    *out = (struct net_state){
        .vswitch = model->vswitch,
        .n_links = model->n_links,
        .n_addresses = model->n_addresses,
        .n_routes = model->n_routes,
        .links = links,
        .addresses =
            arena_memdup(arena, model->addresses, model->n_addresses * sizeof *model->addresses),
        .routes = arena_memdup(arena, model->routes, model->n_routes * sizeof *model->routes),
        .dns = model->dns,
    };
}

struct net_link *model_link(const struct model *model, const char *name)
{
    for (size_t i = 0; i < model->n_links; i++)
        if (same(model->links[i]->name, name))
            return model->links[i];
    return NULL;
}

/* ---- what happens beside a step ---- */

static void drop_routes(struct model *m, const char *device, bool v4, bool v6)
{
    for (size_t i = m->n_routes; i-- > 0;)
        if (same(m->routes[i].device, device) && (ip_is_v6(m->routes[i].to) ? v6 : v4))
            remove_route(m, i);
}

static void drop_addresses(struct model *m, const char *device, bool v4, bool v6)
{
    for (size_t i = m->n_addresses; i-- > 0;)
        if (same(m->addresses[i].device, device) && (ip_is_v6(m->addresses[i].address) ? v6 : v4))
            remove_address(m, i);
}

/* VLANs go up and down with the link below them; IPv6 forgets its addresses on the way down. */
static void set_up(struct model *m, struct net_link *link, bool up)
{
    if (link->up == up)
        return;
    link->up = up;
    if (!up) {
        drop_routes(m, link->name, true, true);
        drop_addresses(m, link->name, false, true);
    }
    for (size_t i = 0; i < m->n_links; i++)
        if (m->links[i]->kind == NET_VLAN && same(m->links[i]->below, link->name))
            set_up(m, m->links[i], up);
}

/* Its bond has opened a member and closes it when it goes. */
static void set_master(struct model *m, struct net_link *link, const char *name)
{
    const struct net_link *old = model_link(m, link->master), *new = model_link(m, name);

    if (old && old->kind == NET_BOND)
        set_up(m, link, false);
    link->master = name;
    if (new &&new->kind == NET_BOND)
        set_up(m, link, true);
}

static void remove_link(struct model *m, struct net_link *link)
{
    size_t at = 0;

    for (size_t i = m->n_links; i-- > 0;) {
        if (i >= m->n_links) /* a VLAN above has gone with its own */
            continue;
        if (same(m->links[i]->master, link->name))
            set_master(m, m->links[i], "");
        else if (same(m->links[i]->below, link->name))
            remove_link(m, m->links[i]);
    }
    drop_routes(m, link->name, true, true);
    drop_addresses(m, link->name, true, true);
    while (m->links[at] != link)
        at++;
    memmove(&m->links[at], &m->links[at + 1], (--m->n_links - at) * sizeof *m->links);
}

/* ---- the steps ---- */

static const char *make_link(struct model *m, const struct net_link *link)
{
    const struct net_link *below = model_link(m, link->below);

    if (model_link(m, link->name))
        return "there is a link of that name";
    if (link->kind == NET_OTHER)
        return "a card cannot be made";
    if (link->kind == NET_VLAN && !below)
        return "there is no link below it";
    if (link->kind == NET_VLAN && link->mtu > below->mtu)
        return "its MTU is larger than that of the link below it";
    for (size_t i = 0; i < m->n_links; i++) {
        const struct net_link *other = m->links[i];

        if (link->kind == NET_VLAN && other->kind == NET_VLAN && other->tag == link->tag &&
            same(other->below, link->below))
            return "there is a VLAN with that tag";
        if (link->kind == NET_VXLAN && other->kind == NET_VXLAN &&
            other->tunnel.id == link->tunnel.id)
            return "there is a VXLAN with that number";
    }
    add_link(m, link);
    return NULL;
}

static const char *step_link(struct model *m, struct net_link *link, const struct net_step *step)
{
    if (step->after.link)
        return make_link(m, step->after.link);
    if (link)
        remove_link(m, link);
    return NULL;
}

static const char *step_up(struct model *m, struct net_link *link, bool up)
{
    const struct net_link *below = model_link(m, link->below);

    if (up && link->kind == NET_VLAN && below && !below->up)
        return "the link below it is down";
    set_up(m, link, up);
    return NULL;
}

static const char *step_mtu(struct model *m, struct net_link *link, int mtu)
{
    const struct net_link *below = model_link(m, link->below);

    if (link->kind == NET_VLAN && below && mtu > below->mtu)
        return "its MTU would be larger than that of the link below it";
    link->mtu = mtu;
    for (size_t i = 0; i < m->n_links; i++)
        if (m->links[i]->kind == NET_VLAN && same(m->links[i]->below, link->name))
            m->links[i]->mtu = MIN(m->links[i]->mtu, mtu);
    return NULL;
}

static const char *step_master(struct model *m, struct net_link *link, const char *name)
{
    const struct net_link *master = name ? model_link(m, name) : NULL;

    if (name && (!master || (master->kind != NET_BRIDGE && master->kind != NET_BOND)))
        return "there is no bridge or bond of that name";
    if (master && master->kind == NET_BOND && link->up)
        return "a link that is up cannot be put into a bond";
    set_master(m, link, name ? name : "");
    return NULL;
}

static const char *step_options(struct model *m, struct net_link *link, const struct net_bond *bond)
{
    if (link->kind != NET_BOND)
        return "it is no bond";
    if (link->up)
        return "a bond that is up cannot be changed";
    for (size_t i = 0; i < m->n_links; i++)
        if (same(m->links[i]->master, link->name))
            return "a bond that has members cannot be changed";
    link->bond = *bond;
    return NULL;
}

static const char *step_peer(struct model *m, struct net_link *link, const struct net_step *step)
{
    const char **peers = arena_array(m->arena, const char *, link->tunnel.n_peers + 1);
    size_t n = 0;

    for (size_t i = 0; i < link->tunnel.n_peers; i++)
        if (!step->before.text || !same(step->before.text, link->tunnel.peers[i]))
            peers[n++] = link->tunnel.peers[i];
    if (step->after.text) { /* in order, for it is a set */
        size_t at = n++;

        for (; at > 0 && strcmp(peers[at - 1], step->after.text) > 0; at--)
            peers[at] = peers[at - 1];
        peers[at] = step->after.text;
    }
    link->tunnel.peers = peers;
    link->tunnel.n_peers = n;
    return NULL;
}

/* The routes of IPv4 go with a link's last address. */
static void forget_address(struct model *m, const struct net_address *address)
{
    bool v6 = ip_is_v6(address->address);
    size_t left = 0;

    for (size_t i = m->n_addresses; i-- > 0;) {
        if (!same(m->addresses[i].device, address->device))
            continue;
        if (same(m->addresses[i].address, address->address))
            remove_address(m, i);
        else
            left += !ip_is_v6(m->addresses[i].address);
    }
    if (!v6 && !left)
        drop_routes(m, address->device, true, false);
}

static const char *step_address(struct model *m, const struct net_link *link,
                                const struct net_step *step)
{
    if (!step->after.address) {
        forget_address(m, step->before.address);
        return NULL;
    }
    for (size_t i = 0; i < m->n_addresses; i++)
        if (same(m->addresses[i].device, link->name) &&
            same(m->addresses[i].address, step->after.address->address))
            return "it has that address";
    if (ip_is_v6(step->after.address->address) && link->ipv6 == NET_IPV6_OFF)
        return "IPv6 is off on it";
    add_address(m, step->after.address);
    return NULL;
}

static bool reaches(const struct model *m, const struct net_route *route)
{
    for (size_t i = 0; i < m->n_addresses; i++)
        if (same(m->addresses[i].device, route->device) &&
            ip_covers(m->addresses[i].address, route->via))
            return true;
    return ip_is_link_local(route->via);
}

static const char *step_route(struct model *m, const struct net_link *link,
                              const struct net_step *step)
{
    const struct net_route *route = step->after.route ? step->after.route : step->before.route;

    for (size_t i = m->n_routes; i-- > 0;) {
        if (!same(m->routes[i].to, route->to) || m->routes[i].metric != route->metric)
            continue;
        if (step->after.route)
            return "there is a route to that network";
        if (same(m->routes[i].device, route->device) && same(m->routes[i].via, route->via))
            remove_route(m, i);
    }
    if (!step->after.route)
        return NULL;
    if (!link->up)
        return "the link is down";
    if (*route->via && !reaches(m, route))
        return "the gateway is in no network of the link";
    add_route(m, route);
    return NULL;
}

static const char *step_ipv6(struct model *m, struct net_link *link, enum net_ipv6 mode)
{
    if (mode == NET_IPV6_OFF) {
        drop_addresses(m, link->name, false, true);
        drop_routes(m, link->name, false, true);
    }
    link->ipv6 = mode;
    return NULL;
}

/* Whether a step takes something away, which is no error where it is gone. */
static bool takes_away(const struct net_step *step)
{
    switch (step->what) {
    case NET_PEER:
    case NET_MASTER:
        return !step->after.text;
    case NET_ADDRESS:
        return !step->after.address;
    case NET_ROUTE:
        return !step->after.route;
    case NET_DHCP:
    case NET_MARK:
    case NET_UP:
        return !step->after.number;
    default:
        return false;
    }
}

const char *model_step(struct model *model, const struct net_step *step)
{
    struct net_link *link = model_link(model, step->device);

    if (step->what == NET_DNS) {
        model->dns = *step->after.dns;
        return NULL;
    }
    if (step->what == NET_LINK)
        return step_link(model, link, step);
    if (!link)
        return takes_away(step) ? NULL : "there is no link of that name";
    switch (step->what) {
    case NET_MARK:
        link->ours = step->after.number != 0;
        return NULL;
    case NET_UP:
        return step_up(model, link, step->after.number != 0);
    case NET_MTU:
        return step_mtu(model, link, (int)step->after.number);
    case NET_MAC:
        link->mac = step->after.text ? step->after.text : "";
        return NULL;
    case NET_MASTER:
        return step_master(model, link, step->after.text);
    case NET_OPTIONS:
        return step_options(model, link, step->after.bond);
    case NET_PEER:
        return step_peer(model, link, step);
    case NET_ADDRESS:
        return step_address(model, link, step);
    case NET_ROUTE:
        return step_route(model, link, step);
    case NET_IPV6:
        return step_ipv6(model, link, (enum net_ipv6)step->after.number);
    case NET_DHCP:
        link->dhcp = (unsigned)step->after.number;
        return NULL;
    case NET_LINK:
    case NET_DNS:
        break;
    }
    return NULL;
}
