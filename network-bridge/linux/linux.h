/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* linux.h -- Linux's part among itself: the kernel (netlink, sysctls), name servers, DHCP. */
#pragma once

#include "network-bridge/linux/netlink.h"
#include "network-bridge/net.h"

struct linux_net {
    struct net_kernel kernel;
    struct netlink nl;
    char *resolv_conf, *run;
};

/* read.c */
MUST_CHECK struct error *linux_read(struct linux_net *net, struct arena *arena,
                                    struct net_state *out);

/* link.c: steps on links.  Each returns 0 or an errno, with a sentence in 'why'. */
int linux_link(struct linux_net *net, const struct net_step *step, char why[NETLINK_WHY]);
int linux_set_mark(struct linux_net *net, const struct net_step *step, char why[NETLINK_WHY]);
int linux_set_up(struct linux_net *net, const struct net_step *step, char why[NETLINK_WHY]);
int linux_set_mtu(struct linux_net *net, const struct net_step *step, char why[NETLINK_WHY]);
int linux_set_mac(struct linux_net *net, const struct net_step *step, char why[NETLINK_WHY]);
int linux_set_master(struct linux_net *net, const struct net_step *step, char why[NETLINK_WHY]);
int linux_set_options(struct linux_net *net, const struct net_step *step, char why[NETLINK_WHY]);
int linux_set_peer(struct linux_net *net, const struct net_step *step, char why[NETLINK_WHY]);
int linux_set_ipv6(struct linux_net *net, const struct net_step *step, char why[NETLINK_WHY]);

/* address.c: addresses and routes. */
int linux_set_address(struct linux_net *net, const struct net_step *step, char why[NETLINK_WHY]);
int linux_set_route(struct linux_net *net, const struct net_step *step, char why[NETLINK_WHY]);

/* sysctl.c: a file below /proc/sys/net; 0 or an errno. */
int sysctl_write(const char *family, const char *device, const char *name, int value);

/* dns.c: the name servers in resolv.conf.  Lines that are about something else are kept. */
MUST_CHECK struct error *dns_read(const char *path, struct arena *arena, struct net_dns *out);
MUST_CHECK struct error *dns_write(const char *path, struct arena *arena,
                                   const struct net_dns *dns);

/*
 * dhcp.c: clients, each a dhcpcd of its own that outlives the daemon.  What it was started with is
 * in a file below 'run'; a client that has died counts as none, so that the next plan starts
 * another.
 */
unsigned dhcp_running(const char *run, struct arena *arena, const char *device);
MUST_CHECK struct error *dhcp_set(const char *run, struct arena *arena, const char *device,
                                  unsigned clients);
