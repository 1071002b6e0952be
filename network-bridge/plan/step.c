/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* step.c -- steps as values: their way back, and how they read. */
#include <inttypes.h>
#include <string.h>
#include <xxhash.h>

#include "network-bridge/net.h"

struct net_step net_step_undo(const struct net_step *step)
{
    return (struct net_step){
        .what = step->what, .device = step->device, .before = step->after, .after = step->before};
}

const struct net_link *net_link_find(const struct net_state *state, const char *name)
{
    for (size_t i = 0; i < state->n_links; i++)
        if (strcmp(state->links[i].name, name) == 0)
            return &state->links[i];
    return NULL;
}

/* A bridge or VLAN has its card's MAC too, and a card without a permanent one may be given another.
 */
static bool is_card(const struct net_link *link, const char *mac)
{
    return link->kind == NET_OTHER &&
           strcmp(*link->permanent ? link->permanent : link->mac, mac) == 0;
}

const struct net_link *net_card_find(const struct net_state *state, const char *mac,
                                     const char *device)
{
    const struct net_link *named = net_link_find(state, device);

    if (!*mac)
        return named && named->kind == NET_OTHER ? named : NULL;
    if (named && is_card(named, mac))
        return named;
    for (size_t i = 0; i < state->n_links; i++)
        if (is_card(&state->links[i], mac))
            return &state->links[i];
    return NULL;
}

const char *net_vlan_name(struct arena *arena, const char *below, int tag)
{
    const char *name = arena_printf(arena, "%s.%d", below, tag);

    if (strlen(name) < NET_NAME_SIZE)
        return name;
    return arena_printf(arena, "vl%08" PRIx32 ".%d", XXH32(below, strlen(below), 0), tag);
}

/* ---- texts ---- */

static const char *kind_text(enum net_kind kind)
{
    static const char *const texts[] = {
        [NET_OTHER] = "card", [NET_BRIDGE] = "bridge", [NET_BOND] = "bond",
        [NET_VLAN] = "VLAN",  [NET_VXLAN] = "VXLAN",   [NET_GRE] = "GRE tunnel",
    };

    return texts[kind];
}

static const char *bond_text(struct arena *arena, const struct net_bond *bond)
{
    static const char *const modes[] = {"active-backup", "balance-slb", "lacp", "another mode"};
    static const char *const hashes[] = {"ports", "source MACs", "something else"};
    const char *lacp = "";

    if (bond->mode == NET_LACP)
        lacp = arena_printf(arena, ", %s, by %s", bond->lacp_fast ? "fast" : "slow",
                            hashes[bond->hash]);
    return arena_printf(arena, "%s%s, link checked every %d ms, up after %d, down after %d",
                        modes[bond->mode], lacp, bond->miimon, bond->updelay, bond->downdelay);
}

static const char *join(struct arena *arena, size_t n, const char *const *words)
{
    const char *text = n ? words[0] : "none";

    for (size_t i = 1; i < n; i++)
        text = arena_printf(arena, "%s, %s", text, words[i]);
    return text;
}

static const char *make_text(struct arena *arena, const struct net_link *link)
{
    const char *kind = kind_text(link->kind), *more = "";

    if (link->kind == NET_VLAN)
        more = arena_printf(arena, "tag %d on %s, ", link->tag, link->below);
    else if (link->kind == NET_BOND)
        more = arena_printf(arena, "%s, ", bond_text(arena, &link->bond));
    else if (link->kind == NET_VXLAN || link->kind == NET_GRE)
        more =
            arena_printf(arena, "number %u, from %s to %s, ", link->tunnel.id, link->tunnel.local,
                         join(arena, link->tunnel.n_peers, link->tunnel.peers));
    if (*link->mac)
        more = arena_printf(arena, "%sMAC %s, ", more, link->mac);
    return arena_printf(arena, "make %s %s (%sMTU %d)", kind, link->name, more, link->mtu);
}

static const char *master_text(struct arena *arena, const struct net_step *s)
{
    if (!s->before.text)
        return arena_printf(arena, "put %s into %s", s->device, s->after.text);
    if (!s->after.text)
        return arena_printf(arena, "take %s out of %s", s->device, s->before.text);
    return arena_printf(arena, "move %s from %s to %s", s->device, s->before.text, s->after.text);
}

static const char *address_text(struct arena *arena, const struct net_step *s)
{
    const struct net_address *a = s->after.address ? s->after.address : s->before.address;

    return arena_printf(
        arena, s->after.address ? "give %s the address %s%s" : "take from %s the address %s%s",
        s->device, a->address, a->lasting ? "" : " (for a time)");
}

static const char *route_text(struct arena *arena, const struct net_step *s)
{
    const struct net_route *r = s->after.route ? s->after.route : s->before.route;
    const char *via = *r->via ? arena_printf(arena, " by %s", r->via) : "";

    if (r->metric)
        via = arena_printf(arena, "%s with metric %u", via, r->metric);
    return arena_printf(arena, "%s the route to %s%s on %s", s->after.route ? "add" : "remove",
                        r->to, via, s->device);
}

static const char *dhcp_text(struct arena *arena, const struct net_step *s)
{
    unsigned clients = (unsigned)(s->after.number ? s->after.number : s->before.number);
    const char *families = (clients & NET_DHCP_V4) && (clients & NET_DHCP_V6) ? "IPv4 and IPv6"
                           : clients & NET_DHCP_V6                            ? "IPv6"
                                                                              : "IPv4";

    return arena_printf(arena, "%s DHCP for %s on %s%s%s", s->after.number ? "start" : "end",
                        families, s->device, clients & NET_DHCP_ROUTE ? ", with the gateway" : "",
                        clients & NET_DHCP_DNS ? ", with the name servers" : "");
}

static const char *ipv6_text(struct arena *arena, const struct net_step *s)
{
    static const char *const texts[] = {
        [NET_IPV6_OFF] = "off",
        [NET_IPV6_STATIC] = "without router advertisements",
        [NET_IPV6_MANAGED] = "with routes from advertisements",
        [NET_IPV6_AUTOCONF] = "with addresses from advertisements",
    };

    return arena_printf(arena, "set IPv6 on %s: %s", s->device, texts[s->after.number]);
}

const char *net_step_text(struct arena *arena, const struct net_step *s)
{
    long long number = (long long)s->after.number;

    switch (s->what) {
    case NET_LINK:
        if (s->after.link)
            return make_text(arena, s->after.link);
        return arena_printf(arena, "remove %s %s", kind_text(s->before.link->kind), s->device);
    case NET_MARK:
        return arena_printf(arena, "%s %s", number ? "take over" : "give back", s->device);
    case NET_UP:
        return arena_printf(arena, "set %s %s", s->device, number ? "up" : "down");
    case NET_MTU:
        return arena_printf(arena, "set the MTU of %s to %lld", s->device, number);
    case NET_MAC:
        return arena_printf(arena, "set the MAC of %s to %s", s->device, s->after.text);
    case NET_MASTER:
        return master_text(arena, s);
    case NET_OPTIONS:
        return arena_printf(arena, "set the bond %s to %s", s->device,
                            bond_text(arena, s->after.bond));
    case NET_PEER:
        return s->after.text
                   ? arena_printf(arena, "add the end %s to %s", s->after.text, s->device)
                   : arena_printf(arena, "remove the end %s from %s", s->before.text, s->device);
    case NET_ADDRESS:
        return address_text(arena, s);
    case NET_ROUTE:
        return route_text(arena, s);
    case NET_IPV6:
        return ipv6_text(arena, s);
    case NET_DHCP:
        return dhcp_text(arena, s);
    case NET_DNS:
        return arena_printf(arena, "set the name servers to %s, searching in %s",
                            join(arena, s->after.dns->n_servers, s->after.dns->servers),
                            join(arena, s->after.dns->n_domains, s->after.dns->domains));
    }
    return "";
}
