/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* link.c -- steps on links: requests of the kind that "ip link" sends. */
#include <net/if.h> /* before those of the kernel, which have the same names */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_bonding.h>
#include <linux/if_link.h>
#include <linux/if_tunnel.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/socket.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "network-bridge/linux/bonding.h"
#include "network-bridge/linux/linux.h"

#define VXLAN_PORT 4789

static int say(char why[NETLINK_WHY], int err, const char *text)
{
    snprintf(why, NETLINK_WHY, "%s", text ? text : strerrordesc_np(err));
    return err;
}

/* A request about the link of that name. */
static struct nl_msg *link_request(int type, int flags, const char *name)
{
    struct ifinfomsg head = {.ifi_family = AF_UNSPEC};
    struct nl_msg *m = nlmsg_alloc_simple(type, flags);

    if (m && nlmsg_append(m, &head, sizeof head, NLMSG_ALIGNTO) == 0 &&
        nla_put_string(m, IFLA_IFNAME, name) == 0)
        return m;
    nlmsg_free(m);
    return NULL;
}

/* A request is of one page, and what is put into it is bounded: there is always room. */
static void put_u32(struct nl_msg *m, int type, uint32_t value)
{
    nla_put_u32(m, type, value);
}

static void put_mac(struct nl_msg *m, const char *text)
{
    uint8_t b[6];

    if (sscanf(text, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx", &b[0], &b[1], &b[2], &b[3], &b[4],
               &b[5]) == 6)
        nla_put(m, IFLA_ADDRESS, sizeof b, b);
}

/* Of either family; 0: neither. */
static int put_address(struct nl_msg *m, int type_v4, int type_v6, const char *text)
{
    uint8_t b[16];

    if (inet_pton(AF_INET, text, b) == 1)
        return nla_put(m, type_v4, 4, b) == 0 ? AF_INET : 0;
    if (inet_pton(AF_INET6, text, b) == 1)
        return nla_put(m, type_v6, 16, b) == 0 ? AF_INET6 : 0;
    return 0;
}

/* ---- what is particular to a kind ---- */

static void put_bond(struct nl_msg *m, const struct net_bond *bond)
{
    nla_put_u8(m, IFLA_BOND_MODE, bonding_mode(bond));
    put_u32(m, IFLA_BOND_MIIMON, (uint32_t)bond->miimon);
    if (bond->miimon) {
        put_u32(m, IFLA_BOND_UPDELAY, (uint32_t)bond->updelay);
        put_u32(m, IFLA_BOND_DOWNDELAY, (uint32_t)bond->downdelay);
    }
    if (bond->mode == NET_LACP) {
        nla_put_u8(m, IFLA_BOND_XMIT_HASH_POLICY, bonding_hash(bond));
        nla_put_u8(m, IFLA_BOND_AD_LACP_RATE, bond->lacp_fast);
    }
}

static void put_vxlan(struct nl_msg *m, const struct net_tunnel *tunnel)
{
    put_u32(m, IFLA_VXLAN_ID, tunnel->id);
    nla_put_u16(m, IFLA_VXLAN_PORT, htons(VXLAN_PORT));
    put_address(m, IFLA_VXLAN_LOCAL, IFLA_VXLAN_LOCAL6, tunnel->local);
    nla_put_u8(m, IFLA_VXLAN_LEARNING, 1);
}

/* The key is a number that both ends have in each direction. */
static void put_gre(struct nl_msg *m, const struct net_tunnel *tunnel)
{
    put_address(m, IFLA_GRE_LOCAL, IFLA_GRE_LOCAL, tunnel->local);
    put_address(m, IFLA_GRE_REMOTE, IFLA_GRE_REMOTE, tunnel->peers[0]);
    nla_put_u16(m, IFLA_GRE_IFLAGS, GRE_KEY);
    nla_put_u16(m, IFLA_GRE_OFLAGS, GRE_KEY);
    put_u32(m, IFLA_GRE_IKEY, htonl(tunnel->id));
    put_u32(m, IFLA_GRE_OKEY, htonl(tunnel->id));
    nla_put_u8(m, IFLA_GRE_TTL, 64);
}

static const char *kind_name(enum net_kind kind)
{
    static const char *const names[] = {
        [NET_OTHER] = "",    [NET_BRIDGE] = "bridge", [NET_BOND] = "bond",
        [NET_VLAN] = "vlan", [NET_VXLAN] = "vxlan",   [NET_GRE] = "gretap",
    };

    return names[kind];
}

static void put_kind(struct nl_msg *m, const struct net_link *link)
{
    struct nlattr *info = nla_nest_start(m, IFLA_LINKINFO), *data;

    nla_put_string(m, IFLA_INFO_KIND, kind_name(link->kind));
    data = nla_nest_start(m, IFLA_INFO_DATA);
    if (link->kind == NET_BOND)
        put_bond(m, &link->bond);
    else if (link->kind == NET_VLAN)
        nla_put_u16(m, IFLA_VLAN_ID, (uint16_t)link->tag);
    else if (link->kind == NET_VXLAN)
        put_vxlan(m, &link->tunnel);
    else if (link->kind == NET_GRE)
        put_gre(m, &link->tunnel);
    nla_nest_end(m, data);
    nla_nest_end(m, info);
}

/* ---- making and removing ---- */

static int set_mtu(struct linux_net *net, const char *device, int mtu, char why[NETLINK_WHY])
{
    struct nl_msg *m = link_request(RTM_NEWLINK, 0, device);

    if (m)
        put_u32(m, IFLA_MTU, (uint32_t)mtu);
    return netlink_do(&net->nl, m, why);
}

static int change_peer(struct linux_net *net, const char *device, const char *peer, bool add,
                       char why[NETLINK_WHY])
{
    static const uint8_t nobody[6];
    struct ndmsg head = {.ndm_family = AF_BRIDGE,
                         .ndm_ifindex = (int)if_nametoindex(device),
                         .ndm_state = NUD_NOARP | NUD_PERMANENT,
                         .ndm_flags = NTF_SELF};
    struct nl_msg *m = nlmsg_alloc_simple(add ? RTM_NEWNEIGH : RTM_DELNEIGH,
                                          add ? NLM_F_CREATE | NLM_F_APPEND : 0);
    int err;

    if (m && nlmsg_append(m, &head, sizeof head, NLMSG_ALIGNTO) == 0) {
        nla_put(m, NDA_LLADDR, sizeof nobody, nobody);
        put_address(m, NDA_DST, NDA_DST, peer);
    }
    err = netlink_do(&net->nl, m, why);
    return !add && (err == ENOENT || err == ENODEV || err == EINVAL) ? 0 : err;
}

static int set_ipv6(const char *device, enum net_ipv6 mode, char why[NETLINK_WHY])
{
    bool ra = mode == NET_IPV6_MANAGED || mode == NET_IPV6_AUTOCONF;
    int err = 0;

    /* What is heard is settled before it can be heard. */
    if (mode != NET_IPV6_OFF) {
        err = sysctl_write("ipv6", device, "accept_ra", ra);
        if (!err)
            err = sysctl_write("ipv6", device, "autoconf", mode == NET_IPV6_AUTOCONF);
    }
    if (!err)
        err = sysctl_write("ipv6", device, "disable_ipv6", mode == NET_IPV6_OFF);
    if (err == ENOENT && mode == NET_IPV6_OFF) /* a kernel without it */
        return 0;
    return err ? say(why, err, err == ENOENT ? "this kernel has no IPv6" : NULL) : 0;
}

static int delete_link(struct linux_net *net, const char *device, char why[NETLINK_WHY])
{
    int err = netlink_do(&net->nl, link_request(RTM_DELLINK, 0, device), why);

    return err == ENODEV ? 0 : err;
}

/* What cannot be said with the request that makes it. */
static int complete_link(struct linux_net *net, const struct net_link *link, char why[NETLINK_WHY])
{
    int err = 0;

    /* An MTU that is set is kept; else a bridge takes the smallest of its ports'. */
    if (link->kind == NET_BRIDGE)
        err = set_mtu(net, link->name, link->mtu, why);
    if (!err)
        err = set_ipv6(link->name, link->ipv6, why);
    for (size_t i = 0; i < link->tunnel.n_peers && link->kind == NET_VXLAN && !err; i++)
        err = change_peer(net, link->name, link->tunnel.peers[i], true, why);
    return err;
}

/* A bond without members. */
static bool is_empty_bond(const char *name)
{
    char path[64], members[2];
    ssize_t n;
    int fd;

    snprintf(path, sizeof path, "/sys/class/net/%s/bonding/slaves", name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    n = read(fd, members, sizeof members);
    close(fd);
    return n == 0 || (n == 1 && members[0] == '\n');
}

static int request_link(struct linux_net *net, const struct net_link *link, char why[NETLINK_WHY])
{
    struct nl_msg *m = link_request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, link->name);
    unsigned below = *link->below ? if_nametoindex(link->below) : 0;

    if (*link->below && !below) {
        nlmsg_free(m);
        return say(why, ENODEV, "the link below it is gone");
    }
    if (m) {
        put_u32(m, IFLA_GROUP, link->ours ? NET_GROUP : 0);
        if (below)
            put_u32(m, IFLA_LINK, below);
        if (link->kind != NET_BRIDGE)
            put_u32(m, IFLA_MTU, (uint32_t)link->mtu);
        if (*link->mac && (link->kind == NET_BRIDGE || link->kind == NET_BOND))
            put_mac(m, link->mac);
        put_kind(m, link);
    }
    return netlink_do(&net->nl, m, why);
}

static int make_link(struct linux_net *net, const struct net_link *link, char why[NETLINK_WHY])
{
    int err = request_link(net, link, why);
    char ignored[NETLINK_WHY];

    /* The first bond has the kernel load its module, which makes an empty "bond0" of its own. */
    if (err == EEXIST && link->kind == NET_BOND && is_empty_bond(link->name)) {
        delete_link(net, link->name, ignored);
        err = request_link(net, link, why);
    }
    if (err == EOPNOTSUPP) {
        snprintf(why, NETLINK_WHY,
                 "this kernel cannot make it: the module for links of the kind \"%s\" is missing",
                 kind_name(link->kind));
        return err;
    }
    if (err)
        return err;
    err = complete_link(net, link, why);
    if (err)
        delete_link(net, link->name, ignored);
    return err;
}

int linux_link(struct linux_net *net, const struct net_step *step, char why[NETLINK_WHY])
{
    return step->after.link ? make_link(net, step->after.link, why)
                            : delete_link(net, step->device, why);
}

/* ---- changing ---- */

int linux_set_mark(struct linux_net *net, const struct net_step *step, char why[NETLINK_WHY])
{
    struct nl_msg *m = link_request(RTM_NEWLINK, 0, step->device);

    if (m)
        put_u32(m, IFLA_GROUP, step->after.number ? NET_GROUP : 0);
    return netlink_do(&net->nl, m, why);
}

int linux_set_up(struct linux_net *net, const struct net_step *step, char why[NETLINK_WHY])
{
    struct nl_msg *m = link_request(RTM_NEWLINK, 0, step->device);

    if (m) {
        struct ifinfomsg *head = nlmsg_data(nlmsg_hdr(m));

        head->ifi_change = IFF_UP;
        head->ifi_flags = step->after.number ? IFF_UP : 0;
    }
    return netlink_do(&net->nl, m, why);
}

int linux_set_mtu(struct linux_net *net, const struct net_step *step, char why[NETLINK_WHY])
{
    return set_mtu(net, step->device, (int)step->after.number, why);
}

int linux_set_mac(struct linux_net *net, const struct net_step *step, char why[NETLINK_WHY])
{
    struct nl_msg *m = link_request(RTM_NEWLINK, 0, step->device);

    if (m)
        put_mac(m, step->after.text ? step->after.text : "");
    return netlink_do(&net->nl, m, why);
}

/* 0 where it cannot be told. */
static int mtu_of(struct linux_net *net, const char *device)
{
    struct ifreq request = {0};

    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", device);
    return ioctl(nl_socket_get_fd(net->nl.socket), SIOCGIFMTU, &request) == 0 ? request.ifr_mtu : 0;
}

/* A bond gives its members an MTU, and back the one they had when they came. */
int linux_set_master(struct linux_net *net, const struct net_step *step, char why[NETLINK_WHY])
{
    int mtu = mtu_of(net, step->device), err;
    unsigned master = step->after.text ? if_nametoindex(step->after.text) : 0;
    struct nl_msg *m;

    if (step->after.text && !master)
        return say(why, ENODEV, "there is no bridge or bond of that name");
    m = link_request(RTM_NEWLINK, 0, step->device);
    if (m)
        put_u32(m, IFLA_MASTER, master);
    err = netlink_do(&net->nl, m, why);
    if (!err && mtu && mtu_of(net, step->device) != mtu)
        err = set_mtu(net, step->device, mtu, why);
    return err;
}

int linux_set_options(struct linux_net *net, const struct net_step *step, char why[NETLINK_WHY])
{
    struct net_link link = {.kind = NET_BOND, .bond = *step->after.bond};
    struct nl_msg *m = link_request(RTM_NEWLINK, 0, step->device);

    if (m)
        put_kind(m, &link);
    return netlink_do(&net->nl, m, why);
}

int linux_set_peer(struct linux_net *net, const struct net_step *step, char why[NETLINK_WHY])
{
    bool add = step->after.text != NULL;

    return change_peer(net, step->device, add ? step->after.text : step->before.text, add, why);
}

int linux_set_ipv6(struct linux_net *net, const struct net_step *step, char why[NETLINK_WHY])
{
    (void)net;
    return set_ipv6(step->device, (enum net_ipv6)step->after.number, why);
}
