/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "network-bridge/linux/parse.h"

#include <net/if.h> /* before those of the kernel, which have the same names */
#include <arpa/inet.h>
#include <linux/if_addr.h>
#include <linux/if_bonding.h>
#include <linux/if_link.h>
#include <linux/if_tunnel.h>
#include <linux/ipv6.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <string.h>

#include "libxapi/base/bytes.h"
#include "network-bridge/linux/bonding.h"

#define PEERS 4096             /* of one tunnel */
#define DEFAULT_METRIC_V6 1024 /* what the kernel makes of none */

/* ---- attributes, which may be absent or shorter than they should be ---- */

static bool has(const struct nlattr *a, int size)
{
    return a && nla_len(a) >= size;
}

static uint32_t u32(const struct nlattr *a)
{
    return has(a, 4) ? nla_get_u32(a) : 0;
}

static uint8_t u8(const struct nlattr *a)
{
    return has(a, 1) ? nla_get_u8(a) : 0;
}

static const char *string(struct arena *arena, const struct nlattr *a)
{
    return a ? arena_strndup(arena, nla_data(a), strnlen(nla_data(a), (size_t)nla_len(a))) : "";
}

static bool is(const struct nlattr *a, const char *text)
{
    size_t n = strlen(text);

    return has(a, (int)n) && memcmp(nla_data(a), text, n) == 0 &&
           (nla_len(a) == (int)n || ((const char *)nla_data(a))[n] == '\0');
}

static const char *mac(struct arena *arena, const struct nlattr *a)
{
    const uint8_t *b;

    if (!a || nla_len(a) != 6)
        return "";
    b = nla_data(a);
    return arena_printf(arena, "%02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3], b[4], b[5]);
}

/* NULL where it is no address of that family. */
static const char *address(struct arena *arena, int family, const struct nlattr *a)
{
    char text[INET6_ADDRSTRLEN];

    if (!a || nla_len(a) != (family == AF_INET6 ? 16 : 4) ||
        !inet_ntop(family, nla_data(a), text, sizeof text))
        return NULL;
    return arena_strdup(arena, text);
}

static void nested(struct nlattr **tb, int max, const struct nlattr *a)
{
    memset(tb, 0, (size_t)(max + 1) * sizeof *tb);
    if (a && nla_parse(tb, max, nla_data(a), nla_len(a), NULL) < 0)
        memset(tb, 0, (size_t)(max + 1) * sizeof *tb);
}

/* ---- links ---- */

static void bond_data(struct net_link *link, const struct nlattr *data)
{
    struct nlattr *tb[IFLA_BOND_MAX + 1];

    nested(tb, IFLA_BOND_MAX, data);
    bonding_read(u8(tb[IFLA_BOND_MODE]), u8(tb[IFLA_BOND_XMIT_HASH_POLICY]),
                 u8(tb[IFLA_BOND_AD_LACP_RATE]), &link->bond);
    link->bond.miimon = (int)u32(tb[IFLA_BOND_MIIMON]);
    link->bond.updelay = (int)u32(tb[IFLA_BOND_UPDELAY]);
    link->bond.downdelay = (int)u32(tb[IFLA_BOND_DOWNDELAY]);
}

static void vxlan_data(struct arena *arena, struct net_link *link, const struct nlattr *data)
{
    struct nlattr *tb[IFLA_VXLAN_MAX + 1];
    const char *v4, *v6;

    nested(tb, IFLA_VXLAN_MAX, data);
    v4 = address(arena, AF_INET, tb[IFLA_VXLAN_LOCAL]);
    v6 = address(arena, AF_INET6, tb[IFLA_VXLAN_LOCAL6]);
    link->tunnel.id = u32(tb[IFLA_VXLAN_ID]);
    link->tunnel.local = v4 ? v4 : v6 ? v6 : "";
}

static void gre_data(struct arena *arena, struct net_link *link, const struct nlattr *data)
{
    struct nlattr *tb[IFLA_GRE_MAX + 1];
    const char *local, *remote, **peers = arena_array(arena, const char *, 1);

    nested(tb, IFLA_GRE_MAX, data);
    local = address(arena, AF_INET, tb[IFLA_GRE_LOCAL]);
    remote = address(arena, AF_INET, tb[IFLA_GRE_REMOTE]);
    link->tunnel.id = ntohl(u32(tb[IFLA_GRE_IKEY]));
    link->tunnel.local = local ? local : "";
    peers[0] = remote ? remote : "";
    link->tunnel.peers = peers;
    link->tunnel.n_peers = 1;
}

static void vlan_data(struct net_link *link, const struct nlattr *data)
{
    struct nlattr *tb[IFLA_VLAN_MAX + 1];

    nested(tb, IFLA_VLAN_MAX, data);
    link->tag = has(tb[IFLA_VLAN_ID], 2) ? nla_get_u16(tb[IFLA_VLAN_ID]) : 0;
}

/* A member of a bond shows the bond's MAC; its own is with what the bond says of it. */
static void member_data(struct arena *arena, struct net_link *link, const struct nlattr *kind,
                        const struct nlattr *data)
{
    struct nlattr *tb[IFLA_BOND_SLAVE_MAX + 1];

    if (!is(kind, "bond") || *link->permanent)
        return;
    nested(tb, IFLA_BOND_SLAVE_MAX, data);
    link->permanent = mac(arena, tb[IFLA_BOND_SLAVE_PERM_HWADDR]);
}

static void kind_data(struct parse *p, struct parsed_link *pl, struct nlattr **tb)
{
    struct nlattr *info[IFLA_INFO_MAX + 1];
    struct net_link *link = &pl->link;

    nested(info, IFLA_INFO_MAX, tb[IFLA_LINKINFO]);
    member_data(p->arena, link, info[IFLA_INFO_SLAVE_KIND], info[IFLA_INFO_SLAVE_DATA]);
    link->driver = string(p->arena, info[IFLA_INFO_KIND]);
    if (is(info[IFLA_INFO_KIND], "bridge")) {
        link->kind = NET_BRIDGE;
    } else if (is(info[IFLA_INFO_KIND], "bond")) {
        link->kind = NET_BOND;
        bond_data(link, info[IFLA_INFO_DATA]);
    } else if (is(info[IFLA_INFO_KIND], "vlan")) {
        link->kind = NET_VLAN;
        vlan_data(link, info[IFLA_INFO_DATA]);
        /* Below may be a link of another namespace, which has a number of its own. */
        pl->below = tb[IFLA_LINK_NETNSID] ? 0 : (int)u32(tb[IFLA_LINK]);
    } else if (is(info[IFLA_INFO_KIND], "vxlan")) {
        link->kind = NET_VXLAN;
        vxlan_data(p->arena, link, info[IFLA_INFO_DATA]);
    } else if (is(info[IFLA_INFO_KIND], "gretap")) {
        link->kind = NET_GRE;
        gre_data(p->arena, link, info[IFLA_INFO_DATA]);
    }
}

/* The sysctls of net.ipv6.conf.LINK, as an array of numbers. */
static enum net_ipv6 ipv6_mode(const struct nlattr *af_spec)
{
    struct nlattr *families[AF_INET6 + 1], *tb[IFLA_INET6_MAX + 1];
    const struct nlattr *conf;

    nested(families, AF_INET6, af_spec);
    nested(tb, IFLA_INET6_MAX, families[AF_INET6]);
    conf = tb[IFLA_INET6_CONF];
    if (!has(conf, (DEVCONF_DISABLE_IPV6 + 1) * 4))
        return NET_IPV6_OFF; /* a kernel without IPv6 */
    if (le_get32((const char *)nla_data(conf) + DEVCONF_DISABLE_IPV6 * 4))
        return NET_IPV6_OFF;
    if (!le_get32((const char *)nla_data(conf) + DEVCONF_ACCEPT_RA * 4))
        return NET_IPV6_STATIC;
    return le_get32((const char *)nla_data(conf) + DEVCONF_AUTOCONF * 4) ? NET_IPV6_AUTOCONF
                                                                         : NET_IPV6_MANAGED;
}

static bool parse_link(struct parse *p, const struct nlmsghdr *m)
{
    const struct ifinfomsg *head = nlmsg_data(m);
    struct nlattr *tb[IFLA_MAX + 1] = {0};
    struct parsed_link *pl;

    if (nlmsg_parse((struct nlmsghdr *)m, sizeof *head, tb, IFLA_MAX, NULL) < 0 ||
        head->ifi_index <= 0 || !tb[IFLA_IFNAME])
        return true;
    if (p->n_links == NET_MAX_LINKS)
        return false;
    p->links = arena_room(p->arena, p->links, p->n_links, &p->room_links, sizeof *p->links);
    pl = &p->links[p->n_links++];
    *pl = (struct parsed_link){.master = (int)u32(tb[IFLA_MASTER]),
                               .link = {.name = string(p->arena, tb[IFLA_IFNAME]),
                                        .index = head->ifi_index,
                                        .ours = u32(tb[IFLA_GROUP]) == NET_GROUP,
                                        .up = head->ifi_flags & IFF_UP,
                                        .carrier = u8(tb[IFLA_CARRIER]),
                                        .mac = mac(p->arena, tb[IFLA_ADDRESS]),
                                        .permanent = mac(p->arena, tb[IFLA_PERM_ADDRESS]),
                                        .mtu = (int)u32(tb[IFLA_MTU]),
                                        .ipv6 = ipv6_mode(tb[IFLA_AF_SPEC]),
                                        .below = "",
                                        .master = "",
                                        .tunnel.local = "",
                                        .pci_bus_path = "",
                                        .vendor_id = "",
                                        .device_id = ""}};
    kind_data(p, pl, tb);
    return true;
}

/* ---- addresses ---- */

static bool parse_address(struct parse *p, const struct nlmsghdr *m)
{
    const struct ifaddrmsg *head = nlmsg_data(m);
    struct nlattr *tb[IFA_MAX + 1] = {0};
    const struct ifa_cacheinfo *times;
    const char *text;
    uint32_t flags;

    if (nlmsg_parse((struct nlmsghdr *)m, sizeof *head, tb, IFA_MAX, NULL) < 0 ||
        head->ifa_scope >= RT_SCOPE_LINK)
        return true;
    text = address(p->arena, head->ifa_family, tb[IFA_LOCAL] ? tb[IFA_LOCAL] : tb[IFA_ADDRESS]);
    if (!text)
        return true;
    if (p->n_addresses == NET_MAX_ADDRESSES)
        return false;
    flags = tb[IFA_FLAGS] ? u32(tb[IFA_FLAGS]) : head->ifa_flags;
    times = has(tb[IFA_CACHEINFO], sizeof *times) ? nla_data(tb[IFA_CACHEINFO]) : NULL;
    p->addresses = arena_room(p->arena, p->addresses, p->n_addresses, &p->room_addresses,
                              sizeof *p->addresses);
    p->addresses[p->n_addresses++] = (struct parsed_address){
        .link = (int)head->ifa_index,
        .address = {.address = arena_printf(p->arena, "%s/%d", text, head->ifa_prefixlen),
                    .lasting = flags & IFA_F_PERMANENT,
                    .lifetime = flags & IFA_F_PERMANENT || !times ? 0 : times->ifa_valid}};
    return true;
}

/* ---- routes ---- */

static bool is_somebodys(const struct rtmsg *head, struct nlattr **tb)
{
    uint32_t table = tb[RTA_TABLE] ? u32(tb[RTA_TABLE]) : head->rtm_table;

    return table == RT_TABLE_MAIN && head->rtm_type == RTN_UNICAST &&
           !(head->rtm_flags & RTM_F_CLONED) && head->rtm_protocol != RTPROT_KERNEL &&
           head->rtm_protocol != RTPROT_REDIRECT && head->rtm_protocol != RTPROT_RA &&
           tb[RTA_OIF] && !tb[RTA_VIA];
}

static bool parse_route(struct parse *p, const struct nlmsghdr *m)
{
    const struct rtmsg *head = nlmsg_data(m);
    struct nlattr *tb[RTA_MAX + 1] = {0};
    const char *to, *via;
    uint32_t metric;
    bool v6;

    if (nlmsg_parse((struct nlmsghdr *)m, sizeof *head, tb, RTA_MAX, NULL) < 0 ||
        !is_somebodys(head, tb))
        return true;
    v6 = head->rtm_family == AF_INET6;
    to = address(p->arena, head->rtm_family, tb[RTA_DST]);
    via = address(p->arena, head->rtm_family, tb[RTA_GATEWAY]);
    metric = u32(tb[RTA_PRIORITY]);
    if (!to && head->rtm_dst_len)
        return true;
    if (p->n_routes == NET_MAX_ROUTES)
        return false;
    p->routes = arena_room(p->arena, p->routes, p->n_routes, &p->room_routes, sizeof *p->routes);
    p->routes[p->n_routes++] =
        (struct parsed_route){.link = (int)u32(tb[RTA_OIF]),
                              .route = {.to = arena_printf(p->arena, "%s/%d",
                                                           to   ? to
                                                           : v6 ? "::"
                                                                : "0.0.0.0",
                                                           head->rtm_dst_len),
                                        .via = via ? via : "",
                                        .ours = head->rtm_protocol == NET_ROUTE_PROTOCOL,
                                        .metric = v6 && metric == DEFAULT_METRIC_V6 ? 0 : metric}};
    return true;
}

/* ---- where a VXLAN sends what it knows no better for: entries for the MAC of nobody ---- */

static bool is_for_nobody(const struct nlattr *a)
{
    static const uint8_t nobody[6];

    return a && nla_len(a) == 6 && memcmp(nla_data(a), nobody, 6) == 0;
}

static bool add_peer(struct parse *p, struct parsed_link *pl, const char *peer)
{
    size_t at = pl->link.tunnel.n_peers;

    if (at == PEERS)
        return false;
    pl->peers = arena_room(p->arena, pl->peers, at, &pl->room_peers, sizeof *pl->peers);
    for (; at > 0 && strcmp(pl->peers[at - 1], peer) > 0; at--)
        pl->peers[at] = pl->peers[at - 1];
    pl->peers[at] = peer;
    pl->link.tunnel.peers = pl->peers;
    pl->link.tunnel.n_peers++;
    return true;
}

static bool parse_neighbour(struct parse *p, const struct nlmsghdr *m)
{
    const struct ndmsg *head = nlmsg_data(m);
    struct nlattr *tb[NDA_MAX + 1] = {0};
    const char *peer;

    if (nlmsg_parse((struct nlmsghdr *)m, sizeof *head, tb, NDA_MAX, NULL) < 0 ||
        !(head->ndm_flags & NTF_SELF) || !is_for_nobody(tb[NDA_LLADDR]) || !tb[NDA_DST])
        return true;
    peer = address(p->arena, nla_len(tb[NDA_DST]) == 16 ? AF_INET6 : AF_INET, tb[NDA_DST]);
    for (size_t i = 0; i < p->n_links && peer; i++)
        if (p->links[i].link.index == head->ndm_ifindex && p->links[i].link.kind == NET_VXLAN)
            return add_peer(p, &p->links[i], peer);
    return true;
}

bool parse_message(struct parse *parse, const struct nlmsghdr *message)
{
    switch (message->nlmsg_type) {
    case RTM_NEWLINK:
        return parse_link(parse, message);
    case RTM_NEWADDR:
        return parse_address(parse, message);
    case RTM_NEWROUTE:
        return parse_route(parse, message);
    case RTM_NEWNEIGH:
        return parse_neighbour(parse, message);
    default:
        return true;
    }
}

/* ---- names ---- */

/* NULL where it was not seen. */
static const char *name_of(const struct parse *p, int index)
{
    for (size_t i = 0; i < p->n_links; i++)
        if (p->links[i].link.index == index)
            return p->links[i].link.name;
    return NULL;
}

static const char *name_or_none(const struct parse *p, int index)
{
    const char *name = index ? name_of(p, index) : NULL;

    return name ? name : "";
}

void parse_finish(struct parse *parse, struct net_state *out)
{
    struct net_link *links = arena_array(parse->arena, struct net_link, parse->n_links);
    struct net_address *addresses =
        arena_array(parse->arena, struct net_address, parse->n_addresses);
    struct net_route *routes = arena_array(parse->arena, struct net_route, parse->n_routes);

    *out = (struct net_state){
        .n_links = parse->n_links, .links = links, .addresses = addresses, .routes = routes};
    for (size_t i = 0; i < parse->n_links; i++) {
        links[i] = parse->links[i].link;
        links[i].master = name_or_none(parse, parse->links[i].master);
        links[i].below = name_or_none(parse, parse->links[i].below);
    }
    for (size_t i = 0; i < parse->n_addresses; i++) {
        struct net_address *a = &addresses[out->n_addresses];

        *a = parse->addresses[i].address;
        a->device = name_of(parse, parse->addresses[i].link);
        out->n_addresses += a->device != NULL;
    }
    for (size_t i = 0; i < parse->n_routes; i++) {
        struct net_route *r = &routes[out->n_routes];

        *r = parse->routes[i].route;
        r->device = name_of(parse, parse->routes[i].link);
        out->n_routes += r->device != NULL;
    }
}
