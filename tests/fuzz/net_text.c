/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The file of the simulated network, and every plan for what was read from it holds together; and
 * what nft lists. */
#include <assert.h>
#include <string.h>

#include "network-bridge/sim/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct net_bridge bridge = {
        .name = "xenbr0",
        .mtu = 1500,
        .v4 = {NET_IP_STATIC, "192.0.2.10/24", "192.0.2.1"},
        .v6 = {NET_IP_NONE, "", ""},
        .management = true,
        .default_route = true,
    };
    static const struct net_port card = {.device = "eth0",
                                         .mac = "",
                                         .mtu = 1500,
                                         .bridge = "xenbr0",
                                         .below = "",
                                         .tunnel.local = ""};
    static const struct net_wanted wanted = {1, 1, &card, &bridge, NULL};
    AUTO(arena) arena = {0};
    AUTO(buf) text = {0};
    struct net_state state, again;
    struct net_plan plan;
    const char *said = arena_strndup(&arena, (const char *)data, size);
    struct strings names = net_guard_names(&arena, said);
    struct error *e = net_state_parse(&arena, said, &state);

    for (size_t i = 0; i < names.n; i++)
        assert(strlen(names.v[i]) < NET_NAME_SIZE);
    if (e)
        return 0;
    net_state_print(&text, &state);
    error_ignore(
        net_state_parse(&arena, text.data ? text.data : "", &again)); /* "mac mtu" may be none */
    error_ignore(net_plan(&arena, &wanted, &state, &plan));           /* it may well be refused */
    return 0;
}
