/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* address.c -- steps on addresses and routes: requests of the kind that "ip address" and "ip route"
 * send. */
#include <net/if.h> /* before those of the kernel, which have the same names */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <stdio.h>
#include <string.h>

#include "network-bridge/linux/linux.h"
#include "network-bridge/plan/ip.h"

static int say(char why[NETLINK_WHY], int err)
{
    snprintf(why, NETLINK_WHY, "%s", strerrordesc_np(err));
    return err;
}

static size_t size_of(const struct ip *ip)
{
    return ip->family == AF_INET6 ? 16 : 4;
}

/* The last address of its network; one that has two addresses or one has none. */
static void put_broadcast(struct nl_msg *m, const struct ip *ip)
{
    uint32_t host = ip->length >= 31 ? 0 : 0xffffffffU >> ip->length, bytes;

    memcpy(&bytes, ip->bytes, sizeof bytes);
    bytes |= htonl(host);
    if (host && ip->family == AF_INET)
        nla_put(m, IFA_BROADCAST, sizeof bytes, &bytes);
}

/* The kernel does not ask the network whether a v6 address is taken: it is the administrator's
 * word, and an address that moves from a card to its bridge must not be away for that long. */
static void put_address(struct nl_msg *m, const struct net_address *address, const struct ip *ip)
{
    struct ifa_cacheinfo times = {.ifa_prefered = address->lifetime,
                                  .ifa_valid = address->lifetime};

    nla_put(m, IFA_LOCAL, (int)size_of(ip), ip->bytes);
    nla_put(m, IFA_ADDRESS, (int)size_of(ip), ip->bytes);
    put_broadcast(m, ip);
    if (ip->family == AF_INET6)
        nla_put_u32(m, IFA_FLAGS, IFA_F_NODAD);
    if (!address->lasting && address->lifetime)
        nla_put(m, IFA_CACHEINFO, sizeof times, &times);
}

int linux_set_address(struct linux_net *net, const struct net_step *step, char why[NETLINK_WHY])
{
    const struct net_address *address =
        step->after.address ? step->after.address : step->before.address;
    bool add = step->after.address != NULL;
    struct ifaddrmsg head = {.ifa_index = if_nametoindex(step->device)};
    struct nl_msg *m;
    struct ip ip;
    int err;

    if (!ip_parse(address->address, &ip))
        return say(why, EINVAL);
    if (!head.ifa_index)
        return add ? say(why, ENODEV) : 0;
    /* Else the other addresses of its network would go with it. */
    if (!add && ip.family == AF_INET)
        sysctl_write("ipv4", step->device, "promote_secondaries", 1);
    head.ifa_family = (uint8_t)ip.family;
    head.ifa_prefixlen = (uint8_t)ip.length;
    m = nlmsg_alloc_simple(add ? RTM_NEWADDR : RTM_DELADDR, add ? NLM_F_CREATE | NLM_F_EXCL : 0);
    if (m && nlmsg_append(m, &head, sizeof head, NLMSG_ALIGNTO) == 0)
        put_address(m, address, &ip);
    err = netlink_do(&net->nl, m, why);
    return !add && (err == EADDRNOTAVAIL || err == ENODEV) ? 0 : err;
}

int linux_set_route(struct linux_net *net, const struct net_step *step, char why[NETLINK_WHY])
{
    const struct net_route *route = step->after.route ? step->after.route : step->before.route;
    bool add = step->after.route != NULL;
    uint32_t link = if_nametoindex(step->device);
    struct rtmsg head = {.rtm_table = RT_TABLE_MAIN,
                         .rtm_protocol = !add          ? RTPROT_UNSPEC
                                         : route->ours ? NET_ROUTE_PROTOCOL
                                                       : RTPROT_STATIC,
                         .rtm_type = RTN_UNICAST,
                         .rtm_scope = add ? *route->via ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK
                                          : RT_SCOPE_NOWHERE};
    struct ip to, via = {0};
    struct nl_msg *m;
    int err;

    if (!ip_parse(route->to, &to) || (*route->via && !ip_parse(route->via, &via)))
        return say(why, EINVAL);
    if (!link)
        return add ? say(why, ENODEV) : 0;
    head.rtm_family = (uint8_t)to.family;
    head.rtm_dst_len = (uint8_t)to.length;
    m = nlmsg_alloc_simple(add ? RTM_NEWROUTE : RTM_DELROUTE, add ? NLM_F_CREATE | NLM_F_EXCL : 0);
    if (m && nlmsg_append(m, &head, sizeof head, NLMSG_ALIGNTO) == 0) {
        if (to.length)
            nla_put(m, RTA_DST, (int)size_of(&to), to.bytes);
        if (*route->via)
            nla_put(m, RTA_GATEWAY, (int)size_of(&via), via.bytes);
        nla_put_u32(m, RTA_OIF, link);
        if (route->metric)
            nla_put_u32(m, RTA_PRIORITY, route->metric);
    }
    err = netlink_do(&net->nl, m, why);
    return !add && (err == ESRCH || err == ENODEV) ? 0 : err;
}
