/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "network-bridge/plan/target.h"

#include <netinet/in.h>
#include <stdarg.h>
#include <string.h>

#include "network-bridge/plan/ip.h"

#define MTU_LEAST 68
#define MTU_LEAST_IPV6 1280
#define MTU_MOST 65535
#define TAG_MOST 4094
#define VNI_MOST 0xffffff
#define BLANKS " \t\n/:"

struct making {
    struct arena *arena;
    const struct net_wanted *wanted;
    const struct net_state *present;
    struct targets *out;
};

struct error *net_error(struct arena *arena, const char *device, const char *fmt, ...)
{
    const char *text;
    va_list ap;

    va_start(ap, fmt);
    text = arena_vprintf(arena, fmt, ap);
    va_end(ap);
    return error_new(arena, "PIF_CONFIGURATION_ERROR", 2, device, text);
}

const struct target *target_find(const struct targets *targets, const char *name)
{
    for (size_t i = 0; i < targets->n; i++)
        if (strcmp(targets->v[i].link.name, name) == 0)
            return &targets->v[i];
    return NULL;
}

/* ---- looking things up in what is wanted ---- */

/* The port that others name as their member or the one below them; VLANs are named by nobody. */
static const struct net_port *find_port(const struct net_wanted *w, const char *device)
{
    for (size_t i = 0; i < w->n_ports; i++)
        if (w->ports[i].kind != NET_VLAN && strcmp(w->ports[i].device, device) == 0)
            return &w->ports[i];
    return NULL;
}

static const struct net_bridge *find_bridge(const struct net_wanted *w, const char *name)
{
    for (size_t i = 0; i < w->n_bridges; i++)
        if (strcmp(w->bridges[i].name, name) == 0)
            return &w->bridges[i];
    return NULL;
}

static bool has_member(const struct net_port *bond, const char *device)
{
    for (size_t i = 0; i < bond->n_members; i++)
        if (strcmp(bond->members[i], device) == 0)
            return true;
    return false;
}

static const struct net_port *bond_of(const struct net_wanted *w, const struct net_port *card)
{
    for (size_t i = 0; i < w->n_ports; i++)
        if (w->ports[i].kind == NET_BOND && has_member(&w->ports[i], card->device))
            return &w->ports[i];
    return NULL;
}

/* As wide as it and everything on it; a member is as wide as its bond. */
static int port_mtu(const struct net_wanted *w, const struct net_port *port)
{
    const struct net_port *bond = port->kind == NET_OTHER ? bond_of(w, port) : NULL;
    int mtu = bond ? port_mtu(w, bond) : port->mtu;

    for (size_t i = 0; i < w->n_ports; i++)
        if (w->ports[i].kind == NET_VLAN && strcmp(w->ports[i].below, port->device) == 0)
            mtu = MAX(mtu, w->ports[i].mtu);
    return mtu;
}

static const char *own_mac(const struct net_link *card)
{
    return *card->permanent ? card->permanent : card->mac;
}

/* ---- what one family's address must be like ---- */

static struct error *check_ip(struct making *m, const struct net_bridge *b, const struct net_ip *ip,
                              int family)
{
    struct ip address, gateway;

    if (ip->mode != NET_IP_STATIC)
        return OK;
    if (!ip_parse(ip->address, &address) || address.family != family || !strchr(ip->address, '/'))
        return net_error(m->arena, b->name, "\"%s\" is not an address with its length",
                         ip->address);
    if (!*ip->gateway)
        return OK;
    if (!ip_parse(ip->gateway, &gateway) || gateway.family != family || strchr(ip->gateway, '/'))
        return net_error(m->arena, b->name, "the gateway \"%s\" is not an address", ip->gateway);
    if (!ip_covers(ip->address, ip->gateway) && !ip_is_link_local(ip->gateway))
        return net_error(m->arena, b->name, "the gateway %s is not in the network of %s",
                         ip->gateway, ip->address);
    return OK;
}

static struct error *check_bridge(struct making *m, const struct net_bridge *b)
{
    bool v6 = b->v6.mode != NET_IP_NONE;

    if (b->mtu < (v6 ? MTU_LEAST_IPV6 : MTU_LEAST) || b->mtu > MTU_MOST)
        return net_error(m->arena, b->name, "an MTU of %d is not possible%s", b->mtu,
                         v6 ? " with IPv6" : "");
    if (b->v4.mode == NET_IP_AUTOCONF)
        return net_error(m->arena, b->name, "only IPv6 has autoconfiguration");
    TRY(check_ip(m, b, &b->v4, AF_INET));
    TRY(check_ip(m, b, &b->v6, AF_INET6));
    for (size_t i = 0; i < b->n_routes; i++) {
        struct ip to, via;

        if (!ip_parse(b->routes[i].to, &to) || !ip_parse(b->routes[i].via, &via) ||
            to.family != via.family || ip_is_default(b->routes[i].to))
            return net_error(m->arena, b->name, "\"%s by %s\" is not a route", b->routes[i].to,
                             b->routes[i].via);
    }
    return OK;
}

/* No address twice, and one bridge for each thing that a host has once. */
static struct error *check_bridges(struct making *m)
{
    const char *way = NULL, *resolver = NULL, *management = NULL;
    const struct net_wanted *w = m->wanted;

    for (size_t i = 0; i < w->n_bridges; i++) {
        const struct net_bridge *b = &w->bridges[i];

        TRY(check_bridge(m, b));
        if ((way && b->default_route) || (resolver && b->resolver) || (management && b->management))
            return net_error(m->arena, b->name, "%s is the host's %s already",
                             way && b->default_route   ? way
                             : resolver && b->resolver ? resolver
                                                       : management,
                             way && b->default_route   ? "way to the world"
                             : resolver && b->resolver ? "source of name servers"
                                                       : "management interface");
        way = b->default_route ? b->name : way;
        resolver = b->resolver ? b->name : resolver;
        management = b->management ? b->name : management;
        for (size_t j = 0; j < i; j++)
            if ((b->v4.mode == NET_IP_STATIC && w->bridges[j].v4.mode == NET_IP_STATIC &&
                 strcmp(b->v4.address, w->bridges[j].v4.address) == 0) ||
                (b->v6.mode == NET_IP_STATIC && w->bridges[j].v6.mode == NET_IP_STATIC &&
                 strcmp(b->v6.address, w->bridges[j].v6.address) == 0))
                return net_error(m->arena, b->name, "%s has the same address", w->bridges[j].name);
    }
    return OK;
}

/* ---- ports ---- */

/* "all" and "default" stand for other links in /proc/sys/net. */
static struct error *check_name(struct making *m, const char *name)
{
    static const char *const taken[] = {".", "..", "all", "default", "lo"};
    bool good = *name && strlen(name) < NET_NAME_SIZE && !strpbrk(name, BLANKS);

    for (size_t i = 0; i < ARRAY_SIZE(taken); i++)
        good = good && strcmp(name, taken[i]) != 0;
    return good ? OK : net_error(m->arena, name, "\"%s\" is not a name for a device", name);
}

static struct error *check_port(struct making *m, const struct net_port *p, const char *name)
{
    const struct net_wanted *w = m->wanted;

    TRY(check_name(m, name));
    if (p->mtu < MTU_LEAST || p->mtu > MTU_MOST)
        return net_error(m->arena, name, "an MTU of %d is not possible", p->mtu);
    if (!*p->bridge)
        return OK;
    if (!find_bridge(w, p->bridge))
        return net_error(m->arena, name, "its bridge %s is not to be there", p->bridge);
    for (const struct net_port *q = w->ports; q < p; q++)
        if (strcmp(q->bridge, p->bridge) == 0)
            return net_error(m->arena, name, "the bridge %s has another port", p->bridge);
    return OK;
}

static struct target *add_target(struct making *m, const struct net_link *link)
{
    struct target *t = &m->out->v[m->out->n++];

    t->link = *link;
    t->link.up = true;
    return t;
}

static struct error *add_port(struct making *m, const struct net_port *p,
                              const struct net_link *link)
{
    TRY(check_port(m, p, link->name));
    if (target_find(m->out, link->name))
        return net_error(m->arena, link->name, "two ports have this device");
    add_target(m, link)->port = p;
    return OK;
}

static struct error *add_card(struct making *m, const struct net_port *p)
{
    const struct net_link *card = net_card_find(m->present, p->mac, p->device);
    const struct net_port *bond = bond_of(m->wanted, p);
    struct net_link link;

    if (!card)
        return *p->mac ? net_error(m->arena, p->device, "no card has the MAC %s", p->mac)
                       : net_error(m->arena, p->device, "there is no such card");
    if (bond && *p->bridge)
        return net_error(m->arena, p->device, "a member of %s cannot be in a bridge of its own",
                         bond->device);
    link = *card;
    link.master = bond ? bond->device : p->bridge;
    link.mtu = port_mtu(m->wanted, p);
    link.ipv6 = NET_IPV6_OFF;
    link.dhcp = 0;
    return add_port(m, p, &link);
}

/* Values that have a meaning in its mode only, and times as the kernel rounds them. */
static struct net_bond bond_options(struct making *m, const struct net_port *p)
{
    struct net_bond bond = p->bond;

    if (bond.mode == NET_BALANCE_SLB && !m->present->vswitch) {
        bond.mode = NET_ACTIVE_BACKUP;
        m->out->notes[m->out->n_notes++] = arena_printf(
            m->arena,
            "%s is asked for as balance-slb, which Linux's bonding does not have (sharing the load "
            "by the guests' MACs needs a switch that knows of it, or Open vSwitch): one member "
            "carries everything and the others stand by",
            p->device);
    }
    if (bond.mode != NET_LACP) {
        bond.hash = NET_HASH_TCPUDP_PORTS;
        bond.lacp_fast = false;
    }
    if (bond.miimon <= 0)
        bond.miimon = bond.updelay = bond.downdelay = 0;
    else {
        bond.updelay -= bond.updelay % bond.miimon;
        bond.downdelay -= bond.downdelay % bond.miimon;
    }
    return bond;
}

static struct error *check_members(struct making *m, const struct net_port *p)
{
    if (!p->n_members)
        return net_error(m->arena, p->device, "a bond needs a member");
    for (size_t i = 0; i < p->n_members; i++) {
        const struct net_port *member = find_port(m->wanted, p->members[i]);

        if (!member || member->kind != NET_OTHER)
            return net_error(m->arena, p->device, "its member %s is not a card that is to be there",
                             p->members[i]);
        if (bond_of(m->wanted, member) != p)
            return net_error(m->arena, p->device, "its member %s is in %s already", p->members[i],
                             bond_of(m->wanted, member)->device);
    }
    return OK;
}

static struct error *add_bond(struct making *m, const struct net_port *p)
{
    const struct net_port *first;

    TRY(check_members(m, p));
    first = find_port(m->wanted, p->members[0]);
    return add_port(
        m, p,
        &(struct net_link){
            .name = p->device,
            .kind = NET_BOND,
            .mac = *p->mac ? p->mac : own_mac(net_card_find(m->present, first->mac, first->device)),
            .mtu = port_mtu(m->wanted, p),
            .master = p->bridge,
            .bond = bond_options(m, p),
        });
}

/* The target of the port that a VLAN is on. */
static const struct target *target_of(const struct making *m, const struct net_port *port)
{
    for (size_t i = 0; i < m->out->n; i++)
        if (m->out->v[i].port == port)
            return &m->out->v[i];
    return NULL;
}

static struct error *add_vlan(struct making *m, const struct net_port *p)
{
    const struct net_port *below = find_port(m->wanted, p->below);
    const struct net_port *bond;
    const char *name;

    if (!below || (below->kind != NET_OTHER && below->kind != NET_BOND))
        return net_error(m->arena, p->below, "VLAN %d cannot be on %s, which is no card or bond",
                         p->tag, p->below);
    bond = below->kind == NET_OTHER ? bond_of(m->wanted, below) : NULL;
    if (bond)
        return net_error(m->arena, p->below, "VLAN %d cannot be on %s, a member of %s", p->tag,
                         p->below, bond->device);
    if (m->present->vswitch && !*below->bridge)
        return net_error(m->arena, p->below,
                         "VLAN %d cannot be on %s, which is in no bridge: Open vSwitch tags in one",
                         p->tag, p->below);
    if (p->tag < 0 || p->tag > TAG_MOST)
        return net_error(m->arena, p->below, "%d is not the number of a VLAN", p->tag);
    name = target_of(m, below)->link.name;
    return add_port(m, p,
                    &(struct net_link){
                        .name = net_vlan_name(m->arena, name, p->tag),
                        .kind = NET_VLAN,
                        .mac = "",
                        .mtu = p->mtu,
                        .master = p->bridge,
                        .below = name,
                        .tag = p->tag,
                    });
}

static struct error *add_tunnel(struct making *m, const struct net_port *p)
{
    const struct net_tunnel *t = &p->tunnel;
    struct ip local, peer;

    if (!ip_parse(t->local, &local) || strchr(t->local, '/'))
        return net_error(m->arena, p->device, "a tunnel needs an address of this host");
    if (p->kind == NET_VXLAN && t->id > VNI_MOST)
        return net_error(m->arena, p->device, "%u is not the number of a VXLAN", t->id);
    if (p->kind == NET_GRE && t->n_peers != 1 && !m->present->vswitch)
        return net_error(m->arena, p->device, "a GRE tunnel has one other end, not %zu",
                         t->n_peers);
    for (size_t i = 0; i < t->n_peers; i++)
        if (!ip_parse(t->peers[i], &peer) || strchr(t->peers[i], '/') ||
            peer.family != local.family)
            return net_error(m->arena, p->device, "\"%s\" is not the address of another end",
                             t->peers[i]);
    return add_port(m, p,
                    &(struct net_link){
                        .name = p->device,
                        .kind = p->kind,
                        .mac = "",
                        .mtu = p->mtu,
                        .master = p->bridge,
                        .tunnel = *t,
                    });
}

/* ---- bridges ---- */

static enum net_ipv6 ipv6_mode(const struct net_bridge *b)
{
    static const enum net_ipv6 modes[] = {
        [NET_IP_NONE] = NET_IPV6_OFF,
        [NET_IP_STATIC] = NET_IPV6_STATIC,
        [NET_IP_DHCP] = NET_IPV6_MANAGED,
        [NET_IP_AUTOCONF] = NET_IPV6_AUTOCONF,
    };

    return modes[b->v6.mode];
}

static unsigned dhcp_clients(const struct net_bridge *b)
{
    unsigned clients = (b->v4.mode == NET_IP_DHCP ? NET_DHCP_V4 : 0) |
                       (b->v6.mode == NET_IP_DHCP ? NET_DHCP_V6 : 0);

    return clients ? clients | (b->default_route ? NET_DHCP_ROUTE : 0) |
                         (b->resolver ? NET_DHCP_DNS : 0)
                   : 0;
}

/* That of its port; a tunnel's is nothing to go by. */
static const char *bridge_mac(struct making *m, const char *name)
{
    for (size_t i = 0; i < m->out->n; i++) {
        const struct target *t = &m->out->v[i];

        if (!t->port || strcmp(t->port->bridge, name) != 0)
            continue;
        if (t->link.kind == NET_VLAN)
            t = target_find(m->out, t->link.below);
        return t->link.kind == NET_OTHER ? own_mac(&t->link) : t->link.mac;
    }
    return "";
}

static struct error *add_bridge(struct making *m, const struct net_bridge *b)
{
    TRY(check_name(m, b->name));
    if (target_find(m->out, b->name))
        return net_error(m->arena, b->name, "two devices have this name");
    add_target(m,
               &(struct net_link){
                   .name = b->name,
                   .kind = NET_BRIDGE,
                   .mac = bridge_mac(m, b->name),
                   .mtu = b->mtu,
                   .ipv6 = ipv6_mode(b),
                   .dhcp = dhcp_clients(b),
               })
        ->bridge = b;
    return OK;
}

/* What a link that is made here has in common. */
static void complete(struct net_link *link)
{
    const char **texts[] = {&link->mac,         &link->permanent,   &link->master,
                            &link->below,       &link->vendor_id,   &link->device_id,
                            &link->vendor_name, &link->device_name, &link->pci_bus_path,
                            &link->driver,      &link->tunnel.local};

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        if (!*texts[i])
            *texts[i] = "";
    if (link->kind != NET_OTHER)
        link->ours = true;
}

struct error *targets_make(struct arena *arena, const struct net_wanted *wanted,
                           const struct net_state *present, struct targets *out)
{
    static const struct {
        enum net_kind kind;
        struct error *(*add)(struct making *m, const struct net_port *p);
    } order[] = {{NET_OTHER, add_card},
                 {NET_BOND, add_bond},
                 {NET_VLAN, add_vlan},
                 {NET_VXLAN, add_tunnel},
                 {NET_GRE, add_tunnel}};
    struct making m = {.arena = arena, .wanted = wanted, .present = present, .out = out};

    *out = (struct targets){
        .v = arena_array(arena, struct target, wanted->n_ports + wanted->n_bridges),
        .notes = arena_array(arena, const char *, wanted->n_ports),
    };
    TRY(check_bridges(&m));
    for (size_t k = 0; k < ARRAY_SIZE(order); k++)
        for (size_t i = 0; i < wanted->n_ports; i++)
            if (wanted->ports[i].kind == order[k].kind)
                TRY(order[k].add(&m, &wanted->ports[i]));
    for (size_t i = 0; i < wanted->n_bridges; i++)
        TRY(add_bridge(&m, &wanted->bridges[i]));
    for (size_t i = 0; i < out->n; i++)
        complete(&out->v[i].link);
    return OK;
}
