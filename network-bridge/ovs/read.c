/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* read.c -- the present state: Linux's, with what Open vSwitch's database says laid over it. */
#include <string.h>

#include "network-bridge/linux/linux.h"
#include "network-bridge/ovs/ovs.h"

#define DATAPATH "ovs-system" /* the kernel's name for the master of every port */

struct reading {
    struct ovs_net *net;
    struct arena *arena;
    struct ovs_rows rows;
    struct ovs_ports wanted;
    size_t n;
    struct net_link *links;
};

static bool same(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

static struct net_link *find(struct reading *r, const char *name)
{
    for (size_t i = 0; i < r->n; i++)
        if (same(r->links[i].name, name))
            return &r->links[i];
    return NULL;
}

/* What Linux's own driver makes is not what is wanted here, and the other way about. */
static void look_at_link(struct reading *r, struct net_link *link)
{
    const struct ovs_bridge *bridge = ovs_bridge_find(&r->rows, link->name);
    const struct ovs_port *port = ovs_port_with(&r->rows, link->name);
    const struct net_link *declared = net_link_find(&r->rows.declared, link->name);

    link->elsewhere = link->kind != NET_OTHER;
    if (same(link->master, DATAPATH))
        link->master = "";
    if (bridge) {
        link->kind = NET_BRIDGE;
        link->elsewhere = false;
        link->ours = bridge->ours;
        link->dhcp = dhcp_running(r->net->run, r->arena, link->name);
    } else if (declared && declared->kind == NET_OTHER) {
        const struct net_link *bond = net_link_find(&r->rows.declared, declared->master);

        link->master = bond && bond->kind == NET_BOND ? bond->name : "";
    } else if (port && *port->bridge) {
        link->master = port->bridge;
    }
}

/* A link that is no device: where its ports are not what they are to be, it counts as in no bridge,
 * and so is put into it again. */
static void add_declared(struct reading *r, const struct net_link *declared)
{
    struct net_link link = *declared;

    if (!ovs_bridge_find(&r->rows, link.master) ||
        !ovs_is_rendered(&r->rows, &r->wanted, link.name))
        link.master = "";
    link.carrier = link.up;
    r->links[r->n++] = link;
}

/* Up and with a carrier where what it stands on is. */
static void follow_below(struct reading *r, struct net_link *link)
{
    const struct net_link *below = link->kind == NET_VLAN ? find(r, link->below) : NULL;

    if (link->kind != NET_VLAN || link->elsewhere)
        return;
    link->up = link->up && below && below->up;
    link->carrier = link->up && below->carrier;
}

static void follow_members(struct reading *r, struct net_link *bond)
{
    bond->carrier = false;
    for (size_t i = 0; i < r->n; i++)
        if (same(r->links[i].master, bond->name))
            bond->carrier = bond->carrier || r->links[i].carrier;
}

static void lay_over(struct reading *r, struct net_state *state)
{
    const struct net_state *declared = &r->rows.declared;

    r->links = arena_array(r->arena, struct net_link,
                           state->n_links + declared->n_links + r->rows.n_bridges + 1);
    memcpy(r->links, state->links, state->n_links * sizeof *r->links);
    r->n = state->n_links;
    for (size_t i = 0; i < r->n; i++)
        look_at_link(r, &r->links[i]);
    for (size_t i = 0; i < r->rows.n_bridges; i++)
        if (!find(r, r->rows.bridges[i].name)) /* one that ovs-vswitchd cannot make */
            r->links[r->n++] = (struct net_link){.name = r->rows.bridges[i].name,
                                                 .kind = NET_BRIDGE,
                                                 .ours = r->rows.bridges[i].ours};
    for (size_t i = 0; i < declared->n_links; i++)
        if (declared->links[i].kind != NET_OTHER && !find(r, declared->links[i].name))
            add_declared(r, &declared->links[i]);
    for (size_t i = 0; i < r->n; i++)
        if (r->links[i].kind == NET_BOND && !r->links[i].elsewhere)
            follow_members(r, &r->links[i]);
    for (size_t i = 0; i < r->n; i++)
        follow_below(r, &r->links[i]);
    state->links = r->links;
    state->n_links = r->n;
    state->vswitch = true;
}

/* A bridge in the database without a device: ovs-vswitchd may be about to make it. */
static bool is_behind(const struct ovs_net *net, const struct ovs_rows *rows,
                      const struct net_state *state)
{
    for (size_t i = 0; i < rows->n_bridges; i++)
        if (!net_link_find(state, rows->bridges[i].name))
            return true;
    return net->late;
}

static const char *load(struct reading *r, struct ovsdb *db, struct net_state *state,
                        struct error **error)
{
    json_t *nothing = json_array();
    const char *why = ovs_load(r->net, db, r->arena, &r->rows);
    bool done;

    *error = why ? OK : net_read(r->net->host, r->arena, state);
    if (why || *error || !is_behind(r->net, &r->rows, state)) {
        json_decref(nothing);
        return why;
    }
    r->net->late = false;
    why = ovs_commit(r->net, db, r->arena, &r->rows, nothing, &done);
    if (!why)
        why = ovs_load(r->net, db, r->arena, &r->rows);
    if (!why)
        *error = net_read(r->net->host, r->arena, state);
    return why;
}

struct error *ovs_read(struct ovs_net *net, struct arena *arena, struct net_state *out)
{
    struct reading r = {.net = net, .arena = arena};
    AUTO(ovsdb) db = {0};
    struct error *e;
    const char *why = load(&r, &db, out, &e);

    TRY(e);
    if (why)
        return error_internal(arena, "the state of Open vSwitch could not be read: %s", why);
    ovs_render(arena, &r.rows, &r.rows.declared, &r.wanted);
    lay_over(&r, out);
    return OK;
}
