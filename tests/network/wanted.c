/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/network/wanted.h"

#include <stdlib.h>
#include <string.h>

#include "network-bridge/sim/text.h"

struct reading {
    struct arena *arena;
    struct net_port *ports;
    struct net_bridge *bridges;
    struct net_wanted *out;
};

/* card eth0 [is MAC] [bridge B] [mtu N]; bond bond0 of eth0,eth1 ...; vlan 5 on eth0 ...;
 * vxlan tunnel0 id 5 local A peers B,C ... */
static bool read_port(struct reading *r, const struct net_words *w, enum net_kind kind)
{
    struct net_port *p = &r->ports[r->out->n_ports++];

    *p = (struct net_port){
        .kind = kind,
        .device = kind == NET_VLAN ? "" : w->v[1],
        .mac = kind == NET_OTHER ? net_word(w, "is") : net_word(w, "mac"),
        .mtu = (int)net_number(w, "mtu", INT32_MAX, 1500),
        .bridge = net_word(w, "bridge"),
        .below = net_word(w, "on"),
        .tag = kind == NET_VLAN ? atoi(w->v[1]) : 0,
        .tunnel.id = (uint32_t)net_number(w, "id", UINT32_MAX, 0),
        .tunnel.local = net_word(w, "local"),
    };
    p->members = net_list(r->arena, net_word(w, "of"), &p->n_members);
    p->tunnel.peers = net_list(r->arena, net_word(w, "peers"), &p->tunnel.n_peers);
    return kind != NET_BOND || net_bond_words(w, &p->bond);
}

static struct net_ip read_ip(const struct net_words *w, const char *family, const char *gateway)
{
    const char *word = net_word(w, family);
    struct net_ip ip = {.address = "", .gateway = net_word(w, gateway)};

    if (strcmp(word, "dhcp") == 0)
        ip.mode = NET_IP_DHCP;
    else if (strcmp(word, "autoconf") == 0)
        ip.mode = NET_IP_AUTOCONF;
    else if (*word) {
        ip.mode = NET_IP_STATIC;
        ip.address = word;
    }
    return ip;
}

/* bridge B [mtu N] [management] [default] [resolver] [v4 X] [gw4 G] [v6 X] [gw6 G] [routes
 * TO>VIA,...] */
static bool read_bridge(struct reading *r, const struct net_words *w)
{
    struct net_bridge *b = &r->bridges[r->out->n_bridges++];
    const char *const *words;
    struct net_route *routes;

    *b = (struct net_bridge){
        .name = w->v[1],
        .mtu = (int)net_number(w, "mtu", INT32_MAX, 1500),
        .v4 = read_ip(w, "v4", "gw4"),
        .v6 = read_ip(w, "v6", "gw6"),
        .management = net_has_word(w, "management"),
        .default_route = net_has_word(w, "default"),
        .resolver = net_has_word(w, "resolver"),
    };
    words = net_list(r->arena, net_word(w, "routes"), &b->n_routes);
    routes = arena_array(r->arena, struct net_route, b->n_routes);
    for (size_t i = 0; i < b->n_routes; i++) {
        const char *by = strchrnul(words[i], '>');

        routes[i] =
            (struct net_route){.device = "",
                               .to = arena_strndup(r->arena, words[i], (size_t)(by - words[i])),
                               .via = *by ? by + 1 : ""};
    }
    b->routes = routes;
    return true;
}

static bool read_dns(struct reading *r, const struct net_words *w)
{
    struct net_dns *dns = arena_new(r->arena, struct net_dns);

    dns->servers = net_list(r->arena, net_word(w, "servers"), &dns->n_servers);
    dns->domains = net_list(r->arena, net_word(w, "domains"), &dns->n_domains);
    r->out->dns = dns;
    return true;
}

static bool read_line(struct reading *r, const struct net_words *w)
{
    static const struct {
        const char *word;
        enum net_kind kind;
    } ports[] = {{"card", NET_OTHER},
                 {"bond", NET_BOND},
                 {"vlan", NET_VLAN},
                 {"vxlan", NET_VXLAN},
                 {"gre", NET_GRE}};

    if (strcmp(w->v[0], "dns") == 0)
        return read_dns(r, w);
    if (w->n < 2)
        return false;
    if (strcmp(w->v[0], "bridge") == 0)
        return read_bridge(r, w);
    for (size_t i = 0; i < ARRAY_SIZE(ports); i++)
        if (strcmp(w->v[0], ports[i].word) == 0)
            return read_port(r, w, ports[i].kind);
    return false;
}

struct error *wanted_parse(struct arena *arena, const char *text, struct net_wanted *out)
{
    size_t room = strlen(text) / 4 + 1;
    struct reading r = {.arena = arena,
                        .ports = arena_array(arena, struct net_port, room),
                        .bridges = arena_array(arena, struct net_bridge, room),
                        .out = out};
    struct error *error = OK;
    struct net_words w;

    *out = (struct net_wanted){.ports = r.ports, .bridges = r.bridges};
    while (net_words_next(arena, &text, &w, &error))
        if (w.n && !read_line(&r, &w))
            return error_internal(arena, "not understood: %s %s", w.v[0], w.n > 1 ? w.v[1] : "");
    return error;
}
