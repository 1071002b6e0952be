/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * parse.h -- what the kernel's dumps say.  Their bytes are outside input: nothing is believed about
 * their lengths, and there is a limit on everything.
 */
#pragma once

#include <linux/netlink.h>

#include "network-bridge/net.h"

struct parsed_link {
    struct net_link link;
    int master, below; /* indexes; 0: none */
    size_t room_peers;
    const char **peers;
};
struct parsed_address {
    struct net_address address;
    int link;
};
struct parsed_route {
    struct net_route route;
    int link;
};

struct parse {
    struct arena *arena;
    size_t n_links, n_addresses, n_routes;
    size_t room_links, room_addresses, room_routes;
    struct parsed_link *links;
    struct parsed_address *addresses;
    struct parsed_route *routes;
};

/* Takes a message of a dump of links, addresses, routes or (of VXLANs' ends) neighbours; others,
 * and those that make no sense, are passed over.  False where a limit is reached. */
bool parse_message(struct parse *parse, const struct nlmsghdr *message);
/* Gives indexes their names.  What belongs to a link that was not seen is left out. */
void parse_finish(struct parse *parse, struct net_state *out);
