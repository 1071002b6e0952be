/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* read.c -- the present state: four dumps, and what only sysfs knows of cards. */
#include <errno.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "network-bridge/linux/linux.h"
#include "network-bridge/linux/parse.h"

#define TRIES 10 /* of a dump that others disturb */

static bool each_message(void *ctx, const struct nlmsghdr *message)
{
    return parse_message(ctx, message);
}

static struct nl_msg *dump_request(int type, const void *head, size_t size)
{
    struct nl_msg *m = nlmsg_alloc_simple(type, 0);

    if (m && nlmsg_append(m, (void *)head, size, NLMSG_ALIGNTO) < 0) {
        nlmsg_free(m);
        return NULL;
    }
    return m;
}

/* The other ends of each VXLAN; asked for by link, for the table of a bridge's guests is large. */
static int dump_peers(struct linux_net *net, struct parse *p, char why[NETLINK_WHY])
{
    for (size_t i = 0; i < p->n_links; i++) {
        struct ndmsg head = {.ndm_family = AF_BRIDGE, .ndm_ifindex = p->links[i].link.index};
        int err = 0;

        if (p->links[i].link.kind == NET_VXLAN)
            err = netlink_dump(&net->nl, dump_request(RTM_GETNEIGH, &head, sizeof head),
                               each_message, p, why);
        if (err)
            return err;
    }
    return 0;
}

static int dump_all(struct linux_net *net, struct parse *p, char why[NETLINK_WHY])
{
    struct ifinfomsg links = {.ifi_family = AF_UNSPEC};
    struct ifaddrmsg addresses = {.ifa_family = AF_UNSPEC};
    struct rtmsg v4 = {.rtm_family = AF_INET}, v6 = {.rtm_family = AF_INET6};
    const struct {
        int type;
        const void *head;
        size_t size;
    } dumps[] = {{RTM_GETLINK, &links, sizeof links},
                 {RTM_GETADDR, &addresses, sizeof addresses},
                 {RTM_GETROUTE, &v4, sizeof v4},
                 {RTM_GETROUTE, &v6, sizeof v6}};

    for (size_t i = 0; i < ARRAY_SIZE(dumps); i++) {
        int err = netlink_dump(&net->nl, dump_request(dumps[i].type, dumps[i].head, dumps[i].size),
                               each_message, p, why);

        if (err)
            return err;
    }
    return dump_peers(net, p, why);
}

/* ---- cards ---- */

/* A short line of a file below /sys/class/net/LINK; "" where there is none. */
static const char *sysfs(struct arena *arena, const char *link, const char *name)
{
    char path[128], line[64] = "";
    FILE *f;

    snprintf(path, sizeof path, "/sys/class/net/%s/%s", link, name);
    f = fopen(path, "re");
    if (!f)
        return "";
    if (!fgets(line, sizeof line, f)) /* a link that is down says EINVAL */
        line[0] = '\0';
    fclose(f);
    line[strcspn(line, "\n")] = '\0';
    return arena_strdup(arena, line);
}

/* The last part of what a symbolic link leads to; "" where there is none. */
static const char *sysfs_link(struct arena *arena, const char *link, const char *name)
{
    char path[128], target[512];
    ssize_t n;

    snprintf(path, sizeof path, "/sys/class/net/%s/%s", link, name);
    n = readlink(path, target, sizeof target - 1);
    if (n < 0)
        return "";
    target[n] = '\0';
    return arena_strdup(arena, strrchr(target, '/') ? strrchr(target, '/') + 1 : target);
}

static const char *pci_id(struct arena *arena, const char *link, const char *name)
{
    const char *text = sysfs(arena, link, name);

    return strncmp(text, "0x", 2) == 0 ? text + 2 : text;
}

/* Guests' interfaces have no kind either, and no PCI device: those are told from cards by it. */
static void look_at_card(struct arena *arena, struct net_link *link)
{
    const char *bus = sysfs_link(arena, link->name, "device");

    if (!*bus)
        return;
    link->driver = sysfs_link(arena, link->name, "device/driver");
    link->physical = true;
    if (strlen(bus) == 12 && bus[4] == ':' && bus[7] == ':' && bus[10] == '.') {
        link->pci_bus_path = bus;
        link->vendor_id = pci_id(arena, link->name, "device/vendor");
        link->device_id = pci_id(arena, link->name, "device/device");
    }
    link->speed = MAX(0, atoi(sysfs(arena, link->name, "speed"))); /* -1: unknown */
    link->full_duplex = strcmp(sysfs(arena, link->name, "duplex"), "full") == 0;
}

struct error *linux_read(struct linux_net *net, struct arena *arena, struct net_state *out)
{
    char why[NETLINK_WHY] = "";
    struct parse p;
    int err = EAGAIN;

    for (int i = 0; i < TRIES && err == EAGAIN; i++) {
        p = (struct parse){.arena = arena};
        err = dump_all(net, &p, why);
    }
    if (err)
        return error_internal(arena, "the state of the network could not be read: %s", why);
    for (size_t i = 0; i < p.n_links; i++) {
        struct net_link *link = &p.links[i].link;

        if (link->kind == NET_OTHER && !*link->driver)
            look_at_card(arena, link);
        if (link->kind == NET_BRIDGE)
            link->dhcp = dhcp_running(net->run, arena, link->name);
    }
    parse_finish(&p, out);
    return dns_read(net->resolv_conf, arena, &out->dns);
}
