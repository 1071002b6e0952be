/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * random.c -- from any state to any other: networks are wanted one after the other at random, the
 * host is meddled with between them, and every plan must hold what check.h says.
 */
#include <stdio.h>
#include <string.h>

#include "network-bridge/plan/model.h"
#include "tests/network/check.h"

#define CARDS 4
#define MOST 32

struct dice {
    uint64_t state;
};

static unsigned roll(struct dice *d, unsigned sides)
{
    d->state ^= d->state << 13;
    d->state ^= d->state >> 7;
    d->state ^= d->state << 17;
    return (unsigned)((d->state >> 11) % sides);
}

static const char first[] =
    "link lo card up mtu 65536\n"
    "link eth0 card up mac 00:16:3e:00:00:00 permanent 00:16:3e:00:00:00 mtu 1500 ipv6 autoconf\n"
    "link eth1 card mac 00:16:3e:00:00:01 permanent 00:16:3e:00:00:01 mtu 1500 ipv6 autoconf\n"
    "link enp3s0 card up mac 00:16:3e:00:00:02 permanent 00:16:3e:00:00:02 mtu 1500 ipv6 autoconf\n"
    "link eth3 card up mac 00:16:3e:00:00:03 permanent 00:16:3e:00:00:03 mtu 9000 ipv6 autoconf\n"
    "link wlan0 card up mac 00:16:3e:00:00:09 mtu 1500 ipv6 autoconf\n"
    "link docker0 bridge up mac 02:42:00:00:00:01 mtu 1500 ipv6 static\n"
    "link vif1.0 card up mac fe:ff:ff:ff:ff:ff mtu 1500 ipv6 off\n"
    "address eth0 10.0.0.10/24\n"
    "address eth0 2001:db8::10/64\n"
    "address docker0 172.17.0.1/16\n"
    "address wlan0 10.9.9.9/24 lifetime 300\n"
    "route eth0 0.0.0.0/0 via 10.0.0.1\n"
    "route eth0 10.77.0.0/16 via 10.0.0.7\n"
    "route wlan0 10.88.0.0/16 via 10.9.9.1\n";

static const int mtus[] = {1500, 1500, 1400, 9000};

struct wish {
    struct arena *arena;
    struct dice *dice;
    struct net_port ports[MOST];
    struct net_bridge bridges[MOST];
    struct net_wanted wanted;
    unsigned addresses; /* bits of those that are given */
    bool default_route, management;
};

static const char *text(struct wish *w, const char *format, unsigned n)
{
    return n < 1000 ? arena_printf(w->arena, format, n) : "";
}

static struct net_ip wish_ip(struct wish *w, bool v6)
{
    struct net_ip ip = {.address = "", .gateway = ""};
    unsigned n = roll(w->dice, 8);

    switch (roll(w->dice, 6)) {
    case 0:
        ip.mode = NET_IP_DHCP;
        break;
    case 1:
        ip.mode = v6 ? NET_IP_AUTOCONF : NET_IP_NONE;
        break;
    case 2:
    case 3:
        n += v6 ? 8 : 0;
        if (w->addresses & 1U << n)
            break;
        w->addresses |= 1U << n;
        ip.mode = NET_IP_STATIC;
        ip.address = arena_printf(w->arena, v6 ? "2001:db8:%u::10/64" : "10.0.%u.10/24", n % 8);
        if (roll(w->dice, 2))
            ip.gateway = arena_printf(w->arena, v6 ? "2001:db8:%u::1" : "10.0.%u.1", n % 8);
        break;
    default:
        break;
    }
    return ip;
}

static const char *wish_bridge(struct wish *w, const char *name, int mtu)
{
    struct net_bridge *b = &w->bridges[w->wanted.n_bridges++];

    *b = (struct net_bridge){
        .name = name, .mtu = mtu, .v4 = wish_ip(w, false), .v6 = wish_ip(w, true)};
    if (!w->default_route && roll(w->dice, 3) == 0)
        w->default_route = b->default_route = true;
    if (!w->management && roll(w->dice, 3) == 0)
        w->management = b->management = true;
    if (b->v4.mode == NET_IP_STATIC && roll(w->dice, 3) == 0) {
        struct net_route *route = arena_new(w->arena, struct net_route);

        *route = (struct net_route){
            .device = "",
            .to = text(w, "10.50.%u.0/24", (unsigned)w->wanted.n_bridges),
            .via = arena_printf(w->arena, "10.0.%c.99", b->v4.address[5]),
        };
        b->routes = route;
        b->n_routes = 1;
    }
    return name;
}

static struct net_port *wish_port(struct wish *w, enum net_kind kind, const char *device)
{
    struct net_port *p = &w->ports[w->wanted.n_ports++];

    *p = (struct net_port){.kind = kind,
                           .device = device,
                           .mac = "",
                           .bridge = "",
                           .below = "",
                           .tunnel.local = "",
                           .mtu = mtus[roll(w->dice, ARRAY_SIZE(mtus))]};
    return p;
}

static void wish_vlans(struct wish *w, const char *below)
{
    while (roll(w->dice, 3) == 0 && w->wanted.n_ports < MOST - 8) {
        struct net_port *p = wish_port(w, NET_VLAN, "");

        p->below = below;
        p->tag = (int)w->wanted.n_ports;
        if (roll(w->dice, 4))
            p->bridge = wish_bridge(w, text(w, "xapi%u", (unsigned)w->wanted.n_ports), p->mtu);
    }
}

static void wish_bond(struct wish *w, const char *device, size_t n, const char *const *members)
{
    struct net_port *p = wish_port(w, NET_BOND, device);

    p->members = arena_memdup(w->arena, members, n * sizeof *members);
    p->n_members = n;
    p->bond = (struct net_bond){.mode = (enum net_bond_mode)roll(w->dice, 3),
                                .hash = (enum net_bond_hash)roll(w->dice, 2),
                                .lacp_fast = roll(w->dice, 2),
                                .miimon = 100,
                                .updelay = 31000,
                                .downdelay = 200};
    if (roll(w->dice, 4))
        p->bridge = wish_bridge(w, text(w, "xapi%u", 100 + (unsigned)w->wanted.n_ports), p->mtu);
    wish_vlans(w, device);
}

static void wish_cards(struct wish *w)
{
    static const char *const names[CARDS] = {"eth0", "eth1", "eth2", "eth3"};
    const char *members[2][CARDS];
    size_t n[2] = {0, 0};

    for (unsigned i = 0; i < CARDS; i++) {
        unsigned role = roll(w->dice, 6);
        struct net_port *p;

        if (role == 0)
            continue;
        p = wish_port(w, NET_OTHER, names[i]);
        p->mac = i == 2 || roll(w->dice, 2) ? text(w, "00:16:3e:00:00:0%u", i) : "";
        if (role <= 2)
            members[role - 1][n[role - 1]++] = names[i];
        else if (role <= 4)
            p->bridge = wish_bridge(w, text(w, "xenbr%u", i), p->mtu);
        if (role > 2)
            wish_vlans(w, names[i]);
    }
    for (unsigned i = 0; i < 2; i++)
        if (n[i])
            wish_bond(w, i ? "bond1" : "bond0", n[i], members[i]);
}

static void wish_tunnel(struct wish *w)
{
    static const char *const peers[] = {"192.0.2.1", "192.0.2.2", "192.0.2.3"};
    struct net_port *p = wish_port(w, NET_VXLAN, "tunnel0");

    p->tunnel = (struct net_tunnel){.id = 5 + roll(w->dice, 2),
                                    .local = "192.0.2.9",
                                    .n_peers = roll(w->dice, 4),
                                    .peers = peers};
    p->bridge = wish_bridge(w, "xapi200", p->mtu);
}

static void wish(struct wish *w)
{
    wish_cards(w);
    if (roll(w->dice, 3) == 0)
        wish_tunnel(w);
    for (unsigned i = 0; roll(w->dice, 2) && i < 3; i++)
        wish_bridge(w, text(w, "xapi%u", 300 + i), 1500);
    w->wanted.ports = w->ports;
    w->wanted.bridges = w->bridges;
}

/* Somebody does something with ip, or the daemon has died: one step at random, if the model takes
 * it. */
static void meddle(struct arena *arena, struct dice *dice, struct model *m)
{
    struct net_link *link = m->links[roll(dice, (unsigned)m->n_links)];
    struct net_step step = {.device = link->name};
    struct net_address *address = arena_new(arena, struct net_address);

    if (!link->ours && strncmp(link->name, "e", 1) != 0)
        return;
    *address = (struct net_address){.device = link->name,
                                    .address = arena_printf(arena, "10.0.%u.10/24", roll(dice, 8)),
                                    .lasting = roll(dice, 2)};
    switch (roll(dice, 6)) {
    case 0:
        step.what = NET_UP;
        step.after.number = roll(dice, 2);
        break;
    case 1:
        step.what = NET_MTU;
        step.after.number = mtus[roll(dice, ARRAY_SIZE(mtus))];
        break;
    case 2:
        step.what = NET_MASTER;
        break;
    case 3:
        step.what = NET_ADDRESS;
        step.after.address = address;
        break;
    case 4:
        step.what = NET_IPV6;
        step.after.number = roll(dice, 4);
        break;
    default:
        step.what = link->kind == NET_OTHER ? NET_UP : NET_LINK;
        break;
    }
    if (model_step(m, &step))
        return;
}

/* A guest's interface comes into one of our bridges, or goes. */
static void plug_guest(struct dice *dice, struct model *m)
{
    struct net_link *vif = model_link(m, "vif1.0");
    const struct net_link *link = m->links[roll(dice, (unsigned)m->n_links)];

    vif->master = roll(dice, 3) == 0 && link->kind == NET_BRIDGE ? link->name : "";
}

static const char *round_once(struct arena *arena, struct dice *dice, struct net_state *state,
                              size_t *steps)
{
    struct wish w = {.arena = arena, .dice = dice};
    struct net_state reached;
    struct net_plan plan;
    struct model m;
    struct error *e;
    const char *wrong;

    model_init(&m, arena, state);
    for (unsigned n = roll(dice, 6); n > 0; n--)
        meddle(arena, dice, &m);
    plug_guest(dice, &m);
    model_state(&m, arena, state);
    wish(&w);
    e = net_plan(arena, &w.wanted, state, &plan);
    if (e)
        return error_line(arena, e);
    *steps += plan.n_steps;
    wrong = check_plan(arena, &w.wanted, state, &plan, &reached);
    if (wrong)
        return wrong;
    /* Mostly it arrives; sometimes the daemon dies on the way. */
    model_init(&m, arena, state);
    for (size_t i = 0, n = roll(dice, 3) ? plan.n_steps : roll(dice, (unsigned)plan.n_steps + 1);
         i < n; i++)
        wrong = model_step(&m, &plan.steps[i]);
    model_state(&m, arena, state);
    return wrong;
}

int random_main(uint64_t seed, int rounds)
{
    struct dice dice = {seed * 0x9e3779b97f4a7c15 + 1};
    AUTO(buf) text_of_state = {0};
    size_t steps = 0;

    buf_puts(&text_of_state, first);
    for (int i = 0; i < rounds; i++) {
        AUTO(arena) arena = {0};
        struct net_state state;
        struct error *e = net_state_parse(&arena, text_of_state.data, &state);
        const char *before = arena_strdup(&arena, text_of_state.data);
        const char *wrong = e ? error_line(&arena, e) : round_once(&arena, &dice, &state, &steps);

        if (wrong) {
            printf("not ok - seed %llu, round %d: %s\n%s", (unsigned long long)seed, i, wrong,
                   before);
            return 1;
        }
        text_of_state.len = 0;
        net_state_print(&text_of_state, &state);
    }
    printf("ok - seed %llu: %d networks, %zu steps\n", (unsigned long long)seed, rounds, steps);
    return 0;
}
