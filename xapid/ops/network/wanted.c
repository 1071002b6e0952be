/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/network/wanted.h"

#include <arpa/inet.h>
#include <string.h>

#include <openssl/sha.h>

#include "libxapi/value/value.h"
#include "xapid/main/xapid.h"

#define NETWORK_MTU 1500
/* Of bonds, where PIF.other_config says nothing else: those that XenAPI hosts have always used. */
#define BOND_MIIMON 100
#define BOND_UPDELAY 31000
#define BOND_DOWNDELAY 200

struct wanting {
    struct net_model *m;
    unsigned how; /* of enum network_how */
    size_t n_ports, n_bridges;
    struct net_port *ports;
    struct net_bridge *bridges;
    struct net_dns *dns;
};

/*** addresses ***/

int netmask_bits(const char *netmask)
{
    struct in_addr a;
    uint32_t host;

    if (inet_pton(AF_INET, netmask, &a) != 1)
        return -1;
    host = ~ntohl(a.s_addr);
    return host & (host + 1) ? -1 : 32 - __builtin_popcount(host);
}

const char *netmask_text(struct arena *arena, int bits)
{
    struct in_addr a = {htonl(bits <= 0 ? 0 : ~0u << (32 - MIN(bits, 32)))};
    char text[INET_ADDRSTRLEN];

    return arena_strdup(arena, inet_ntop(AF_INET, &a, text, sizeof text));
}

static struct net_ip ipv4_of(struct arena *arena, const struct pif *pif)
{
    static const enum net_ip_mode modes[] = {
        [IP_CONFIGURATION_MODE_NONE] = NET_IP_NONE,
        [IP_CONFIGURATION_MODE_DHCP] = NET_IP_DHCP,
        [IP_CONFIGURATION_MODE_STATIC] = NET_IP_STATIC,
    };
    struct net_ip ip = {modes[pif->ip_configuration_mode], "", ""};
    int bits = netmask_bits(pif->netmask);

    if (ip.mode != NET_IP_STATIC)
        return ip;
    if (!*pif->ip || bits < 0)
        return (struct net_ip){NET_IP_NONE, "", ""};
    ip.address = arena_printf(arena, "%s/%d", pif->ip, bits);
    ip.gateway = pif->gateway;
    return ip;
}

static struct net_ip ipv6_of(const struct pif *pif)
{
    static const enum net_ip_mode modes[] = {
        [IPV6_CONFIGURATION_MODE_NONE] = NET_IP_NONE,
        [IPV6_CONFIGURATION_MODE_DHCP] = NET_IP_DHCP,
        [IPV6_CONFIGURATION_MODE_STATIC] = NET_IP_STATIC,
        [IPV6_CONFIGURATION_MODE_AUTOCONF] = NET_IP_AUTOCONF,
    };
    struct net_ip ip = {modes[pif->ipv6_configuration_mode], "", ""};

    if (ip.mode != NET_IP_STATIC)
        return ip;
    if (!pif->ipv6.n)
        return (struct net_ip){NET_IP_NONE, "", ""};
    ip.address = pif->ipv6.v[0];
    ip.gateway = pif->ipv6_gateway;
    return ip;
}

/* Words between separators, none of them empty. */
static struct strings split(struct arena *arena, const char *text, const char *separators)
{
    const char **v = arena_array(arena, const char *, strlen(text) / 2 + 1);
    size_t n = 0;

    while (*(text += strspn(text, separators))) {
        size_t size = strcspn(text, separators);

        v[n++] = arena_strndup(arena, text, size);
        text += size;
    }
    return (struct strings){n, v};
}

/* "10.1.0.0/16/10.0.0.254,...": what is not of that form is left out. */
static void add_routes(struct arena *arena, const struct network *network, struct net_bridge *b)
{
    const char *text = strmap_get(&network->other_config, "static-routes");
    struct strings words = text ? split(arena, text, ", ") : (struct strings){0};
    struct net_route *routes = arena_array(arena, struct net_route, words.n + 1);

    for (size_t i = 0; i < words.n; i++) {
        struct strings parts = split(arena, words.v[i], "/");
        struct in_addr a;

        if (parts.n != 3 || inet_pton(AF_INET, parts.v[0], &a) != 1 ||
            inet_pton(AF_INET, parts.v[2], &a) != 1)
            continue;
        routes[b->n_routes++] = (struct net_route){
            .device = b->name,
            .to = arena_printf(arena, "%s/%s", parts.v[0], parts.v[1]),
            .via = parts.v[2],
        };
    }
    b->routes = routes;
}

/* The PIF with "key=true" in other_config; without one the management interface. */
static const struct pif *chosen_pif(struct net_model *m, const char *key)
{
    const struct pif *pif;
    size_t i = 0;

    while ((pif = model_next(m, CLASS_pif, &i))) {
        const char *value = strmap_get(&pif->other_config, key);

        if (ref_equal(pif->host, m->host) && pif->currently_attached && value &&
            strcmp(value, "true") == 0)
            return pif;
    }
    return model_management(m);
}

static void add_dns(struct wanting *w, const struct pif *pif)
{
    struct arena *arena = w->m->arena;
    const char *domain = strmap_get(&pif->other_config, "domain");
    struct strings servers = split(arena, pif->dns, ", ");
    struct strings domains = split(arena, domain ? domain : "", ", ");
    bool is_static = pif->ip_configuration_mode == IP_CONFIGURATION_MODE_STATIC ||
                     pif->ipv6_configuration_mode == IPV6_CONFIGURATION_MODE_STATIC;

    if (!is_static || !servers.n)
        return;
    w->dns = arena_new(arena, struct net_dns);
    *w->dns = (struct net_dns){servers.n, domains.n, servers.v, domains.v};
}

/*** bridges ***/

static int mtu_of(const struct network *network)
{
    return (int)(network->mtu > 0 ? network->mtu : NETWORK_MTU);
}

static void add_bridge(struct wanting *w, const struct pif *pif, const struct network *network)
{
    struct net_bridge *b = &w->bridges[w->n_bridges++];

    *b = (struct net_bridge){
        .name = network->bridge,
        .mtu = mtu_of(network),
        .v4 = ipv4_of(w->m->arena, pif),
        .v6 = ipv6_of(pif),
        .management = pif->management,
        .default_route = pif == chosen_pif(w->m, "defaultroute"),
        .resolver = pif == chosen_pif(w->m, "peerdns"),
    };
    add_routes(w->m->arena, network, b);
    if (b->resolver)
        add_dns(w, pif);
}

static struct net_bridge *add_bare_bridge(struct wanting *w, const struct network *network)
{
    struct net_bridge *b = &w->bridges[w->n_bridges++];

    *b = (struct net_bridge){
        .name = network->bridge,
        .mtu = mtu_of(network),
        .v4 = {NET_IP_NONE, "", ""},
        .v6 = {NET_IP_NONE, "", ""},
    };
    return b;
}

/* A network that is the host's own affair; the one for talking to the host has an address there. */
static void add_internal(struct wanting *w, const struct network *network)
{
    struct net_bridge *b = add_bare_bridge(w, network);
    const char *address = strmap_get(&network->other_config, "ip_begin");
    const char *netmask = strmap_get(&network->other_config, "netmask");
    const char *is_ours = strmap_get(&network->other_config, "is_host_internal_management_network");

    if (is_ours && strcmp(is_ours, "true") == 0 && address && netmask && netmask_bits(netmask) > 0)
        b->v4 = (struct net_ip){
            NET_IP_STATIC, arena_printf(w->m->arena, "%s/%d", address, netmask_bits(netmask)), ""};
}

/*** ports ***/

static const char *card_mac(const struct wanting *w, const struct pif *pif)
{
    return w->how & NETWORK_BY_NAME ? "" : pif->mac;
}

static struct net_port *add_port(struct wanting *w, enum net_kind kind, const char *device,
                                 const struct network *network)
{
    struct net_port *port = &w->ports[w->n_ports++];

    *port = (struct net_port){
        .kind = kind,
        .device = device,
        .mac = "",
        .bridge = network ? network->bridge : "",
        .mtu = network ? mtu_of(network) : NETWORK_MTU,
        .below = "",
        .tunnel = {.local = ""},
    };
    return port;
}

static bool has_port(const struct wanting *w, const char *device)
{
    for (size_t i = 0; i < w->n_ports; i++)
        if (strcmp(w->ports[i].device, device) == 0)
            return true;
    return false;
}

static int option(const struct pif *pif, const char *key, int otherwise)
{
    const char *text = strmap_get(&pif->other_config, key);
    int64_t value;

    return text && int_from_text(text, &value) && value >= 0 && value < 1000000 ? (int)value
                                                                                : otherwise;
}

static bool has_property(const struct bond *bond, const char *key, const char *value)
{
    const char *text = strmap_get(&bond->properties, key);

    return text && strcmp(text, value) == 0;
}

static struct net_bond bond_options(const struct pif *pif, const struct bond *bond)
{
    static const enum net_bond_mode modes[] = {
        [BOND_MODE_BALANCE_SLB] = NET_BALANCE_SLB,
        [BOND_MODE_ACTIVE_BACKUP] = NET_ACTIVE_BACKUP,
        [BOND_MODE_LACP] = NET_LACP,
    };

    return (struct net_bond){
        .mode = modes[bond->mode],
        .hash = has_property(bond, "hashing_algorithm", "src_mac") ? NET_HASH_SRC_MAC
                                                                   : NET_HASH_TCPUDP_PORTS,
        .lacp_fast = has_property(bond, "lacp-time", "fast"),
        .miimon = option(pif, "bond-miimon", BOND_MIIMON),
        .updelay = option(pif, "bond-updelay", BOND_UPDELAY),
        .downdelay = option(pif, "bond-downdelay", BOND_DOWNDELAY),
    };
}

static void add_bond(struct wanting *w, const struct pif *pif, const struct bond *bond,
                     const struct network *network)
{
    struct refs members = model_members(w->m, bond->ref);
    const char **names = arena_array(w->m->arena, const char *, members.n + 1);
    struct net_port *port;

    for (size_t i = 0; i < members.n; i++) {
        const struct pif *member = model_find(w->m, CLASS_pif, members.v[i]);

        names[i] = member->device;
        port = add_port(w, NET_OTHER, member->device, NULL);
        port->mac = card_mac(w, member);
        if (network)
            port->mtu = mtu_of(network);
    }
    port = add_port(w, NET_BOND, pif->device, network);
    port->mac = pif->mac;
    port->n_members = members.n;
    port->members = names;
    port->bond = bond_options(pif, bond);
}

/* A card or a bond; without a network only what rides on it needs it. */
static void add_base(struct wanting *w, const struct pif *pif, const struct network *network)
{
    const struct bond *bond = model_bond_of(w->m, pif->ref);

    if (bond)
        add_bond(w, pif, bond, network);
    else
        add_port(w, NET_OTHER, pif->device, network)->mac = card_mac(w, pif);
}

/* What a VLAN is on, where it is not attached itself. */
static void add_below(struct wanting *w, const struct pif *pif)
{
    const struct network *network = NULL;

    if (w->how & NETWORK_IN_BRIDGES)
        network = model_find(w->m, CLASS_network, pif->network);
    add_base(w, pif, network);
    if (network)
        add_bare_bridge(w, network);
}

static void add_vlan(struct wanting *w, const struct pif *pif, const struct network *network)
{
    const struct vlan *vlan = model_find(w->m, CLASS_vlan, pif->vlan_master_of);
    const struct pif *below = vlan ? model_find(w->m, CLASS_pif, vlan->tagged_pif) : NULL;
    struct net_port *port;

    if (!below)
        return;
    if (!has_port(w, below->device))
        add_below(w, below);
    port = add_port(w, NET_VLAN, "", network);
    port->below = below->device;
    port->tag = (int)vlan->tag;
}

uint32_t tunnel_id(const struct network *network)
{
    uint8_t d[SHA256_DIGEST_LENGTH];
    uint32_t id;

    SHA256((const uint8_t *)network->uuid, strlen(network->uuid), d);
    id = (uint32_t)d[0] << 16 | (uint32_t)d[1] << 8 | d[2];
    return id ? id : 1;
}

/* The addresses at which the other hosts have the same network. */
static struct strings tunnel_peers(struct net_model *m, const struct tunnel *self, ref_t network)
{
    struct refs pifs = model_referrers(m, FIELD_pif_network, network);
    const char **v = arena_array(m->arena, const char *, pifs.n + 1);
    size_t n = 0;

    for (size_t i = 0; i < pifs.n; i++) {
        struct refs tunnels = model_referrers(m, FIELD_tunnel_access_pif, pifs.v[i]);
        const struct tunnel *other = tunnels.n ? model_find(m, CLASS_tunnel, tunnels.v[0]) : NULL;
        const struct pif *end = other ? model_find(m, CLASS_pif, other->transport_pif) : NULL;

        if (end && !ref_equal(end->host, m->host) && *end->ip && other->protocol == self->protocol)
            v[n++] = end->ip;
    }
    return (struct strings){n, v};
}

/* There once its transport has an address. */
static void add_tunnel(struct wanting *w, const struct pif *pif, const struct tunnel *tunnel,
                       const struct network *network)
{
    const struct pif *transport = model_find(w->m, CLASS_pif, tunnel->transport_pif);
    struct strings peers = tunnel_peers(w->m, tunnel, network->ref);
    struct net_port *port;

    if (!transport || !transport->currently_attached || !*transport->ip)
        return;
    port = add_port(w, tunnel->protocol == TUNNEL_PROTOCOL_GRE ? NET_GRE : NET_VXLAN, pif->device,
                    network);
    port->mac = pif->mac;
    port->tunnel = (struct net_tunnel){tunnel_id(network), transport->ip, peers.n, peers.v};
}

/*** all of it ***/

static void add_pif(struct wanting *w, const struct pif *pif)
{
    const struct tunnel *tunnel = model_tunnel_of(w->m, pif->ref);
    const struct network *network = model_find(w->m, CLASS_network, pif->network);

    if (!network || !network->managed || !pif->managed || !pif->currently_attached ||
        !ref_is_null(pif->bond_slave_of))
        return;
    if (tunnel)
        add_tunnel(w, pif, tunnel, network);
    else if (pif->vlan >= 0)
        add_vlan(w, pif, network);
    else
        add_base(w, pif, network);
    add_bridge(w, pif, network);
}

/* Attached to a machine that is here. */
static bool vif_is_here(struct net_model *m, const struct vif *vif)
{
    const struct vm *vm = vif->currently_attached ? model_find(m, CLASS_vm, vif->vm) : NULL;

    return vm && ref_equal(vm->resident_on, m->host);
}

static bool network_is_used(struct net_model *m, ref_t network)
{
    struct refs vifs = model_referrers(m, FIELD_vif_network, network);

    for (size_t i = 0; i < vifs.n; i++) {
        const struct vif *vif = model_find(m, CLASS_vif, vifs.v[i]);

        if (vif && vif_is_here(m, vif))
            return true;
    }
    return false;
}

static const struct db_snap *snap_of(const struct net_model *m)
{
    return m->txn ? txn_snap(m->txn) : m->call->snap;
}

static void add_internals(struct wanting *w, const struct refs *promised)
{
    const struct network *network;
    struct db_walk walk;

    db_walk(snap_of(w->m), CLASS_network, &walk);
    while ((network = db_walk_next(&walk)))
        if (network->managed && !model_pif_on(w->m, network->ref) &&
            (refs_contain(promised, network->ref) || network_is_used(w->m, network->ref)))
            add_internal(w, network);
}

void network_wanted(struct net_model *m, unsigned how, const struct refs *promised,
                    struct net_wanted *out)
{
    /* For each PIF a bridge and, where it rides on one that is down, two ports. */
    size_t room = m->n * 2 + snap_root(snap_of(m))->tables[CLASS_network].count + 1;
    struct wanting w = {
        .m = m,
        .how = how,
        .ports = arena_array(m->arena, struct net_port, room),
        .bridges = arena_array(m->arena, struct net_bridge, room),
    };
    const struct pif *pif;
    size_t i = 0;

    /* Cards and bonds before what rides on them. */
    while ((pif = model_next(m, CLASS_pif, &i)))
        if (ref_equal(pif->host, m->host) && pif->vlan < 0)
            add_pif(&w, pif);
    i = 0;
    while ((pif = model_next(m, CLASS_pif, &i)))
        if (ref_equal(pif->host, m->host) && pif->vlan >= 0)
            add_pif(&w, pif);
    add_internals(&w, promised);
    *out = (struct net_wanted){w.n_ports, w.n_bridges, w.ports, w.bridges, w.dns};
}
