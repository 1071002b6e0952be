/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the kernel's dumps of links, addresses, routes and neighbours may say. */
#include <assert.h>
#include <netlink/msg.h>
#include <string.h>

#include "network-bridge/linux/parse.h"
#include "network-bridge/sim/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(arena) arena = {0};
    AUTO(buf) text = {0};
    struct parse p = {.arena = &arena};
    struct nlmsghdr *m = arena_memdup(&arena, data, size);
    struct net_state state;
    int left = (int)size;

    for (; nlmsg_ok(m, left); m = nlmsg_next(m, &left))
        if (!parse_message(&p, m))
            break;
    parse_finish(&p, &state);
    for (size_t i = 0; i < state.n_addresses; i++)
        assert(net_link_find(&state, state.addresses[i].device));
    for (size_t i = 0; i < state.n_routes; i++)
        assert(net_link_find(&state, state.routes[i].device));
    net_state_print(&text, &state);
    return 0;
}
