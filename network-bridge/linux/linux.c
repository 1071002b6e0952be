/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "network-bridge/linux/linux.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "libxapi/base/memory.h"

typedef int (*linux_step_fn)(struct linux_net *net, const struct net_step *step,
                             char why[NETLINK_WHY]);

static const linux_step_fn steps[] = {
    [NET_LINK] = linux_link,           [NET_MARK] = linux_set_mark,
    [NET_UP] = linux_set_up,           [NET_MTU] = linux_set_mtu,
    [NET_MAC] = linux_set_mac,         [NET_MASTER] = linux_set_master,
    [NET_OPTIONS] = linux_set_options, [NET_PEER] = linux_set_peer,
    [NET_ADDRESS] = linux_set_address, [NET_ROUTE] = linux_set_route,
    [NET_IPV6] = linux_set_ipv6,
};

/* Nothing is left to be done where the link is gone. */
static bool takes_away(const struct net_step *step)
{
    switch (step->what) {
    case NET_MARK:
    case NET_UP:
        return step->after.number == 0;
    case NET_MASTER:
        return step->after.text == NULL;
    default:
        return false;
    }
}

static struct error *do_step(struct net_kernel *kernel, struct arena *arena,
                             const struct net_step *step)
{
    struct linux_net *net = container_of(kernel, struct linux_net, kernel);
    char why[NETLINK_WHY] = "";
    int err;

    if (step->what == NET_DNS)
        return dns_write(net->resolv_conf, arena, step->after.dns);
    if (step->what == NET_DHCP)
        return dhcp_set(net->run, arena, step->device, (unsigned)step->after.number);
    err = steps[step->what](net, step, why);
    if (!err || (err == ENODEV && takes_away(step)))
        return OK;
    return error_new(arena, "PIF_CONFIGURATION_ERROR", 2, step->device, why);
}

static struct error *do_read(struct net_kernel *kernel, struct arena *arena, struct net_state *out)
{
    return linux_read(container_of(kernel, struct linux_net, kernel), arena, out);
}

static void do_free(struct net_kernel *kernel)
{
    struct linux_net *net = container_of(kernel, struct linux_net, kernel);

    netlink_release(&net->nl);
    free(net->resolv_conf);
    free(net->run);
    free(net);
}

struct error *net_linux_new(struct arena *arena, const struct net_linux_paths *paths,
                            struct net_kernel **out)
{
    struct linux_net *net = xcalloc(1, sizeof *net);

    net->kernel = (struct net_kernel){.read = do_read, .step = do_step, .free = do_free};
    net->resolv_conf = xstrdup(paths->resolv_conf ? paths->resolv_conf : "/etc/resolv.conf");
    net->run = xstrdup(paths->run ? paths->run : NET_RUN_DIR);
    if (!netlink_open(&net->nl)) {
        struct error *e = error_internal(arena, "no netlink socket: %s", strerrordesc_np(errno));

        do_free(&net->kernel);
        return e;
    }
    *out = &net->kernel;
    return OK;
}
