/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * plan.c -- the steps from the present to what is wanted.
 *
 * A copy of the present (model.h) is changed step by step until it is as wanted; the steps are the
 * plan.  So each decision is made with what the kernel will have done by then in view, and a plan
 * for a state that is reached already is empty.
 *
 *     clear     what is ours and cannot become what is wanted goes
 *     make      new links are made, empty; nobody is disturbed
 *     converge  addresses and ports go where they belong
 *     sweep     what is wanted no more goes
 *
 * The management interface converges last and in one go.  No link is made or removed meanwhile, for
 * that is what takes the kernel long.
 */
#include <string.h>

#include "network-bridge/plan/conflict.h"
#include "network-bridge/plan/ip.h"
#include "network-bridge/plan/model.h"
#include "network-bridge/plan/target.h"

struct planner {
    struct arena *arena;
    const struct net_wanted *wanted;
    const struct net_state *present;
    struct targets targets;
    struct model now;
    struct net_step *steps;
    size_t n_steps, room;
    const char **management; /* links that the management interface needs or needed */
    size_t n_management;
    struct net_route *moved; /* routes that follow an address of theirs to a bridge */
    size_t n_moved;
    struct error *error; /* the first one; nothing is planned after it */
};

static bool same(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

/* ---- one step more ---- */

static void add_step(struct planner *p, const struct net_step *step)
{
    if (p->n_steps == p->room) {
        struct net_step *more;

        p->room = MAX((size_t)64, 2 * p->room);
        more = arena_array(p->arena, struct net_step, p->room);
        if (p->n_steps)
            memcpy(more, p->steps, p->n_steps * sizeof *more);
        p->steps = more;
    }
    p->steps[p->n_steps++] = *step;
}

static void plan_step(struct planner *p, enum net_what what, const char *device,
                      struct net_value before, struct net_value after)
{
    struct net_step step = {.what = what, .device = device, .before = before, .after = after};
    const char *refused;

    if (p->error)
        return;
    if (p->n_steps == NET_MAX_STEPS) {
        p->error = net_error(p->arena, device, "this takes more than %d steps", NET_MAX_STEPS);
        return;
    }
    refused = model_step(&p->now, &step);
    if (refused)
        p->error = error_internal(p->arena, "the plan is wrong: %s: %s",
                                  net_step_text(p->arena, &step), refused);
    add_step(p, &step);
}

static void plan_number(struct planner *p, enum net_what what, const char *device, int64_t before,
                        int64_t after)
{
    if (before != after)
        plan_step(p, what, device, (struct net_value){.number = before},
                  (struct net_value){.number = after});
}

/* "" is none. */
static void plan_text(struct planner *p, enum net_what what, const char *device, const char *before,
                      const char *after)
{
    if (!same(before, after))
        plan_step(p, what, device, (struct net_value){.text = *before ? before : NULL},
                  (struct net_value){.text = *after ? after : NULL});
}

static void plan_up(struct planner *p, const struct net_link *link, bool up)
{
    plan_number(p, NET_UP, link->name, link->up, up);
}

static void plan_master(struct planner *p, const struct net_link *link, const char *master)
{
    plan_text(p, NET_MASTER, link->name, link->master, master);
}

static void plan_no_address(struct planner *p, const struct net_address *address)
{
    plan_step(p, NET_ADDRESS, address->device,
              (struct net_value){.address = arena_memdup(p->arena, address, sizeof *address)},
              (struct net_value){0});
}

static void plan_no_route(struct planner *p, const struct net_route *route)
{
    plan_step(p, NET_ROUTE, route->device,
              (struct net_value){.route = arena_memdup(p->arena, route, sizeof *route)},
              (struct net_value){0});
}

/* ---- whose a link is ---- */

static const struct target *target_of(const struct planner *p, const struct net_link *link)
{
    return target_find(&p->targets, link->name);
}

static struct net_link *link_of(const struct planner *p, const struct target *t)
{
    return model_link(&p->now, t->link.name);
}

static bool is_managed(const struct planner *p, const struct net_link *link)
{
    return link->ours || target_of(p, link);
}

static bool is_management(const struct planner *p, const char *name)
{
    for (size_t i = 0; i < p->n_management; i++)
        if (same(p->management[i], name))
            return true;
    return false;
}

/* Something that no record names uses it: it may not go. */
static bool is_used(const struct planner *p, const struct net_link *link)
{
    return link_foreign_user(p->present, &p->targets, link->name) != NULL;
}

/* ---- what the management interface needs ---- */

static void need(struct planner *p, const char *name)
{
    if (*name && !is_management(p, name))
        p->management[p->n_management++] = name;
}

static void need_neighbours(struct planner *p, const struct net_link *link, const char *name)
{
    if (same(link->name, name)) {
        need(p, link->master);
        need(p, link->below);
    } else if (same(link->master, name) && is_managed(p, link)) {
        need(p, link->name);
    }
}

static bool has_static(const struct net_bridge *b, const char *address)
{
    const struct net_ip *ip = ip_is_v6(address) ? &b->v6 : &b->v4;

    return ip->mode == NET_IP_STATIC && same(ip->address, address);
}

static void find_management(struct planner *p)
{
    /* Each is there once: it is a link's own name, its master's, or that of the one below it. */
    p->management = arena_array(p->arena, const char *,
                                3 * (p->now.n_links + p->targets.n) + p->now.n_addresses);
    for (size_t i = 0; i < p->targets.n; i++) {
        const struct net_bridge *b = p->targets.v[i].bridge;

        if (!b || !b->management)
            continue;
        need(p, b->name);
        for (size_t j = 0; j < p->now.n_addresses; j++)
            if (has_static(b, p->now.addresses[j].address))
                need(p, p->now.addresses[j].device);
    }
    for (size_t n = 0; n < p->n_management; n++) {
        for (size_t i = 0; i < p->targets.n; i++)
            need_neighbours(p, &p->targets.v[i].link, p->management[n]);
        for (size_t i = 0; i < p->now.n_links; i++)
            need_neighbours(p, p->now.links[i], p->management[n]);
    }
}

/* ---- addresses and routes that do not belong where they are ---- */

static bool keeps_address(const struct planner *p, const struct target *t,
                          const struct net_address *address)
{
    const struct net_ip *ip;

    if (!t || !t->bridge)
        return false;
    ip = ip_is_v6(address->address) ? &t->bridge->v6 : &t->bridge->v4;
    if (ip->mode == NET_IP_STATIC)
        return address->lasting && same(ip->address, address->address);
    if (ip->mode == NET_IP_DHCP && link_of(p, t)->dhcp)
        return true; /* its client's, also where the lease has no end */
    return ip->mode != NET_IP_NONE && !address->lasting;
}

/* The address by which the link reaches the route's gateway; NULL where there is none. */
static const struct net_address *address_under(const struct planner *p,
                                               const struct net_route *route)
{
    for (size_t i = 0; i < p->now.n_addresses; i++) {
        const struct net_address *a = &p->now.addresses[i];

        if (same(a->device, route->device) && ip_is_v6(a->address) == ip_is_v6(route->to) &&
            (!*route->via || ip_is_link_local(route->via) || ip_covers(a->address, route->via)))
            return a;
    }
    return NULL;
}

static bool keeps_default_route(const struct net_bridge *b, const struct net_route *route)
{
    const struct net_ip *ip = ip_is_v6(route->to) ? &b->v6 : &b->v4;

    if (!b->default_route)
        return false;
    if (ip->mode == NET_IP_DHCP)
        return true; /* its client's */
    return ip->mode == NET_IP_STATIC && same(ip->gateway, route->via) && route->metric == 0;
}

static bool is_wanted_route(const struct net_bridge *b, const struct net_route *route)
{
    for (size_t i = 0; i < b->n_routes; i++)
        if (same(b->routes[i].to, route->to) && same(b->routes[i].via, route->via) &&
            route->metric == 0)
            return true;
    return false;
}

/* What somebody has added by hand stays as long as the address that it needs. */
static bool keeps_route(const struct planner *p, const struct target *t,
                        const struct net_route *route)
{
    const struct net_address *under = address_under(p, route);

    if (!t || !t->bridge || !under || !keeps_address(p, t, under))
        return false;
    if (ip_is_default(route->to))
        return keeps_default_route(t->bridge, route);
    return !route->ours || is_wanted_route(t->bridge, route);
}

/* A route that loses its address finds it again on another bridge, or on one that is made in the
 * place of a link that goes; one of ours is wanted where it is. */
static void follow_address(struct planner *p, const struct net_route *route, bool removed)
{
    const struct net_address *under = address_under(p, route);

    if (!under || ip_is_default(route->to) || route->ours || p->n_moved == p->present->n_routes)
        return;
    for (size_t i = 0; i < p->targets.n; i++) {
        const struct net_bridge *b = p->targets.v[i].bridge;

        if (!b || (same(b->name, route->device) && !removed) || !has_static(b, under->address))
            continue;
        p->moved[p->n_moved] = *route;
        p->moved[p->n_moved++].device = b->name;
        return;
    }
}

static void withdraw_routes(struct planner *p, const char *device, const struct target *t)
{
    /* From the last to the first, for those behind one that goes move up. */
    for (size_t i = p->now.n_routes; i-- > 0 && !p->error;) {
        if (!same(p->now.routes[i].device, device) || keeps_route(p, t, &p->now.routes[i]))
            continue;
        follow_address(p, &p->now.routes[i], !t);
        plan_no_route(p, &p->now.routes[i]);
    }
}

static void withdraw_addresses(struct planner *p, const char *device, const struct target *t)
{
    for (size_t i = p->now.n_addresses; i-- > 0 && !p->error;)
        if (same(p->now.addresses[i].device, device) && !keeps_address(p, t, &p->now.addresses[i]))
            plan_no_address(p, &p->now.addresses[i]);
}

/* What does not belong on the link: with no target everything, for it goes. */
static void withdraw(struct planner *p, const struct net_link *link, const struct target *t)
{
    unsigned dhcp = t ? t->link.dhcp : 0;

    if (link->dhcp != dhcp)
        plan_number(p, NET_DHCP, link->name, link->dhcp, 0);
    withdraw_routes(p, link->name, t);
    withdraw_addresses(p, link->name, t);
}

/* ---- links that go ---- */

/* A card is not removed, but given back. */
static void give_back(struct planner *p, const struct net_link *link)
{
    plan_master(p, link, "");
    if (!is_used(p, link))
        plan_up(p, link, false);
    plan_number(p, NET_MARK, link->name, 1, 0);
}

static void remove_link(struct planner *p, const struct net_link *link)
{
    struct net_link *before;

    for (size_t i = p->now.n_links; i-- > 0;) {
        const struct net_link *other = i < p->now.n_links ? p->now.links[i] : NULL;

        if (other && same(other->below, link->name))
            remove_link(p, other);
        else if (other && same(other->master, link->name))
            plan_master(p, other, "");
        if (p->error)
            return;
    }
    withdraw(p, link, NULL);
    plan_master(p, link, "");
    plan_up(p, link, false);
    before = arena_memdup(p->arena, link, sizeof *link);
    plan_step(p, NET_LINK, link->name, (struct net_value){.link = before}, (struct net_value){0});
}

/* Ours, and what is wanted cannot be made while it is there. */
static bool is_in_the_way(const struct planner *p, const struct net_link *link)
{
    const struct target *t = target_of(p, link);

    if (!link->ours || link->kind == NET_OTHER)
        return false;
    if (t)
        return !link_fits(p->present, link, &t->link);
    for (size_t i = 0; i < p->targets.n; i++) {
        const struct net_link *wanted = &p->targets.v[i].link;

        if (link->kind == NET_VLAN && wanted->kind == NET_VLAN && wanted->tag == link->tag &&
            same(wanted->below, link->below))
            return true;
        if (link->kind == NET_VXLAN && wanted->kind == NET_VXLAN &&
            wanted->tunnel.id == link->tunnel.id)
            return true;
    }
    return false;
}

static void clear(struct planner *p)
{
    for (size_t i = 0; i < p->now.n_links && !p->error;) {
        const struct net_link *link = p->now.links[i];

        if (!is_in_the_way(p, link)) {
            i++;
            continue;
        }
        if (is_used(p, link)) {
            p->error = net_error(p->arena, link->name,
                                 "it is in the way, but something that was not made here uses it");
            return;
        }
        remove_link(p, link);
        i = 0; /* others may have gone with it */
    }
}

/* What stands on others goes first: bridges, then VLANs and tunnels, then bonds, then cards. */
static void sweep(struct planner *p)
{
    static const enum net_kind order[] = {NET_BRIDGE, NET_VLAN, NET_VXLAN,
                                          NET_GRE,    NET_BOND, NET_OTHER};

    for (size_t k = 0; k < ARRAY_SIZE(order); k++) {
        for (size_t i = p->now.n_links; i-- > 0 && !p->error;) {
            const struct net_link *link = p->now.links[i];

            if (link->kind != order[k] || !link->ours || target_of(p, link))
                continue;
            if (link->kind == NET_OTHER)
                give_back(p, link);
            else if (!is_used(p, link))
                remove_link(p, link);
            i = MIN(i, p->now.n_links);
        }
    }
}

/* ---- links that are made ---- */

static void make_link(struct planner *p, const struct target *t)
{
    struct net_link *link = arena_memdup(p->arena, &t->link, sizeof *link);

    link->up = false;
    link->master = "";
    link->dhcp = 0;
    plan_step(p, NET_LINK, link->name, (struct net_value){0}, (struct net_value){.link = link});
}

static bool is_for_a_bond(const struct planner *p, const struct target *t)
{
    const struct target *master = target_find(&p->targets, t->link.master);

    return master && master->link.kind == NET_BOND;
}

/* Marks, makes and widens.  Bonds and cards come up here, for a VLAN can be up only where they are;
 * bridges, because nobody is in them yet. */
static void make(struct planner *p)
{
    for (size_t i = 0; i < p->targets.n && !p->error; i++) {
        const struct target *t = &p->targets.v[i];
        const struct net_link *link = link_of(p, t);

        if (!link) {
            make_link(p, t);
            link = link_of(p, t);
        }
        if (!link)
            return;
        plan_number(p, NET_MARK, link->name, link->ours, true);
        plan_number(p, NET_MTU, link->name, link->mtu, MAX(link->mtu, t->link.mtu));
        if (link->kind != NET_VLAN && !is_for_a_bond(p, t))
            plan_up(p, link, true);
    }
}

/* ---- links that change ---- */

static bool options_equal(const struct net_bond *a, const struct net_bond *b)
{
    return a->mode == b->mode && a->hash == b->hash && a->lacp_fast == b->lacp_fast &&
           a->miimon == b->miimon && a->updelay == b->updelay && a->downdelay == b->downdelay;
}

/* The kernel changes a bond's mode only while it is down and empty. */
static void set_options(struct planner *p, const struct net_link *link, const struct target *t)
{
    struct net_bond *before;

    if (options_equal(&link->bond, &t->link.bond))
        return;
    for (size_t i = 0; i < p->now.n_links; i++)
        if (same(p->now.links[i]->master, link->name))
            plan_master(p, p->now.links[i], "");
    plan_up(p, link, false);
    before = arena_memdup(p->arena, &link->bond, sizeof *before);
    plan_step(p, NET_OPTIONS, link->name, (struct net_value){.bond = before},
              (struct net_value){.bond = &t->link.bond});
}

static bool has_peer(const struct net_tunnel *tunnel, const char *peer)
{
    for (size_t i = 0; i < tunnel->n_peers; i++)
        if (same(tunnel->peers[i], peer))
            return true;
    return false;
}

static void set_peers(struct planner *p, const struct net_link *link, const struct target *t)
{
    const struct net_tunnel old = link->tunnel;

    for (size_t i = 0; i < old.n_peers; i++)
        if (!has_peer(&t->link.tunnel, old.peers[i]))
            plan_text(p, NET_PEER, link->name, old.peers[i], "");
    for (size_t i = 0; i < t->link.tunnel.n_peers; i++)
        if (!has_peer(&old, t->link.tunnel.peers[i]))
            plan_text(p, NET_PEER, link->name, "", t->link.tunnel.peers[i]);
}

static void settle(struct planner *p, const struct target *t)
{
    const struct net_link *link = link_of(p, t);

    if (link->kind == NET_BOND)
        set_options(p, link, t);
    if (link->kind == NET_VXLAN || link->kind == NET_GRE)
        set_peers(p, link, t);
    if (*t->link.mac && (link->kind == NET_BRIDGE || link->kind == NET_BOND))
        plan_text(p, NET_MAC, link->name, link->mac, t->link.mac);
    if (t->bridge)
        plan_number(p, NET_IPV6, link->name, link->ipv6, t->link.ipv6);
}

static void enter(struct planner *p, const struct target *t)
{
    const struct net_link *link = link_of(p, t);

    if (same(link->master, t->link.master) || t->bridge)
        return;
    if (is_for_a_bond(p, t)) {
        plan_master(p, link, "");
        plan_up(p, link, false);
    }
    plan_master(p, link, t->link.master);
}

static void rise(struct planner *p, const struct target *t)
{
    const struct net_link *link = link_of(p, t);

    plan_up(p, link, true);
}

static void give_address(struct planner *p, const char *device, const struct net_ip *ip)
{
    struct net_address *address;

    if (ip->mode != NET_IP_STATIC)
        return;
    for (size_t i = 0; i < p->now.n_addresses; i++)
        if (same(p->now.addresses[i].device, device) &&
            same(p->now.addresses[i].address, ip->address))
            return;
    address = arena_new(p->arena, struct net_address);
    *address = (struct net_address){.device = device, .address = ip->address, .lasting = true};
    plan_step(p, NET_ADDRESS, device, (struct net_value){0},
              (struct net_value){.address = address});
}

static void give_addresses(struct planner *p, const struct target *t)
{
    if (!t->bridge)
        return;
    give_address(p, t->bridge->name, &t->bridge->v4);
    give_address(p, t->bridge->name, &t->bridge->v6);
}

/* There is one route to a network with one metric: another that we may touch makes room. */
static void give_route(struct planner *p, const struct net_route *route)
{
    for (size_t i = p->now.n_routes; i-- > 0;) {
        const struct net_route *other = &p->now.routes[i];
        const struct net_link *link = model_link(&p->now, other->device);

        if (!same(other->to, route->to) || other->metric != route->metric)
            continue;
        if (same(other->device, route->device) && same(other->via, route->via))
            return;
        if (!link || !is_managed(p, link)) {
            p->error = net_error(p->arena, route->device,
                                 "the route to %s is on %s, which no record names", route->to,
                                 other->device);
            return;
        }
        plan_no_route(p, other);
    }
    plan_step(p, NET_ROUTE, route->device, (struct net_value){0},
              (struct net_value){.route = arena_memdup(p->arena, route, sizeof *route)});
}

static void give_default_route(struct planner *p, const struct net_bridge *b,
                               const struct net_ip *ip, const char *to)
{
    if (b->default_route && ip->mode == NET_IP_STATIC && *ip->gateway)
        give_route(
            p, &(struct net_route){.device = b->name, .to = to, .via = ip->gateway, .ours = true});
}

static bool is_reached(const struct planner *p, const struct net_route *route)
{
    return address_under(p, route) != NULL;
}

static void give_routes(struct planner *p, const struct target *t)
{
    const struct net_bridge *b = t->bridge;

    if (!b)
        return;
    give_default_route(p, b, &b->v4, "0.0.0.0/0");
    give_default_route(p, b, &b->v6, "::/0");
    for (size_t i = 0; i < b->n_routes; i++) {
        struct net_route route = b->routes[i];

        route.device = b->name;
        route.ours = true;
        if (is_reached(p, &route)) /* where there is no lease yet it comes with the next plan */
            give_route(p, &route);
    }
    for (size_t i = 0; i < p->n_moved; i++)
        if (same(p->moved[i].device, b->name) && is_reached(p, &p->moved[i]))
            give_route(p, &p->moved[i]);
}

static void start_dhcp(struct planner *p, const struct target *t)
{
    if (t->bridge)
        plan_number(p, NET_DHCP, t->bridge->name, link_of(p, t)->dhcp, t->link.dhcp);
}

/* A port has no addresses, not even those that the kernel would give it. */
static void hush(struct planner *p, const struct target *t)
{
    const struct net_link *link = link_of(p, t);

    if (!t->bridge)
        plan_number(p, NET_IPV6, link->name, link->ipv6, NET_IPV6_OFF);
}

static void for_targets(struct planner *p, bool management,
                        void (*fn)(struct planner *p, const struct target *t))
{
    for (size_t i = 0; i < p->targets.n && !p->error; i++)
        if (is_management(p, p->targets.v[i].link.name) == management)
            fn(p, &p->targets.v[i]);
}

static void converge(struct planner *p, bool management)
{
    static void (*const parts[])(struct planner * p, const struct target *t) = {
        settle, enter, rise, give_addresses, give_routes, start_dhcp, hush};

    for (size_t i = 0; i < p->now.n_links && !p->error; i++)
        if (is_managed(p, p->now.links[i]) && is_management(p, p->now.links[i]->name) == management)
            withdraw(p, p->now.links[i], target_of(p, p->now.links[i]));
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        for_targets(p, management, parts[i]);
}

/* Highest first: a VLAN is never wider than what it is on. */
static void narrow(struct planner *p)
{
    for (size_t i = p->targets.n; i-- > 0 && !p->error;)
        plan_number(p, NET_MTU, p->targets.v[i].link.name, link_of(p, &p->targets.v[i])->mtu,
                    p->targets.v[i].link.mtu);
}

/* ---- name servers ---- */

static bool words_equal(size_t n, const char *const *a, size_t m, const char *const *b)
{
    for (size_t i = 0; i < MIN(n, m); i++)
        if (!same(a[i], b[i]))
            return false;
    return n == m;
}

static void set_dns(struct planner *p)
{
    const struct net_dns *to = p->wanted->dns, *from = &p->present->dns;

    if (to && (!words_equal(to->n_servers, to->servers, from->n_servers, from->servers) ||
               !words_equal(to->n_domains, to->domains, from->n_domains, from->domains)))
        plan_step(p, NET_DNS, "", (struct net_value){.dns = from}, (struct net_value){.dns = to});
}

struct error *net_plan(struct arena *arena, const struct net_wanted *wanted,
                       const struct net_state *present, struct net_plan *plan)
{
    struct planner p = {.arena = arena, .wanted = wanted, .present = present};

    TRY(targets_make(arena, wanted, present, &p.targets));
    TRY(conflicts_check(arena, &p.targets, present));
    model_init(&p.now, arena, present);
    p.moved = arena_array(arena, struct net_route, present->n_routes);
    find_management(&p);
    clear(&p);
    make(&p);
    converge(&p, false);
    converge(&p, true);
    sweep(&p);
    for_targets(&p, false, give_routes); /* those that the management interface has let go */
    narrow(&p);
    set_dns(&p);
    *plan = (struct net_plan){.n_steps = p.n_steps,
                              .steps = p.steps,
                              .n_notes = p.targets.n_notes,
                              .notes = p.targets.notes};
    return p.error;
}
