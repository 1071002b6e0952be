/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "network-bridge/ovs/render.h"

#include <stdlib.h>
#include <string.h>

static bool same(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

/* ---- what links stand for ---- */

struct rendering {
    struct arena *arena;
    const struct ovs_rows *rows;
    const struct net_state *declared;
    struct ovs_ports *out;
};

static struct ovs_port *add(struct rendering *r, const char *name, const char *bridge,
                            const char *link, size_t n_interfaces)
{
    struct ovs_ports *p = r->out;
    struct ovs_port *port;

    p->v = arena_room(r->arena, p->v, p->n, &p->room, sizeof *p->v);
    port = &p->v[p->n++];
    *port = (struct ovs_port){
        .uuid = "",
        .name = name,
        .bridge = bridge,
        .link = link,
        .tag = -1,
        .bond_mode = "",
        .lacp = "",
        .interfaces = arena_array(r->arena, const struct ovs_interface *, n_interfaces + 1),
    };
    return port;
}

static void add_interface(struct rendering *r, struct ovs_port *port, const char *name,
                          const char *type, size_t n, const struct strpair *options)
{
    struct ovs_interface *i = arena_new(r->arena, struct ovs_interface);

    *i = (struct ovs_interface){
        .uuid = "",
        .name = name,
        .type = type,
        .error = "",
        .options = {n, arena_memdup(r->arena, options, n * sizeof *options)}};
    port->interfaces[port->n_interfaces++] = i;
}

static bool is_member(const struct net_link *card, const struct net_link *bond)
{
    return card->kind == NET_OTHER && same(card->master, bond->name);
}

/* By source MAC the switch need not know of it; by ports it has to, which LACP sees to. */
static const char *bond_mode(const struct net_bond *bond)
{
    if (bond->mode == NET_LACP)
        return bond->hash == NET_HASH_SRC_MAC ? "balance-slb" : "balance-tcp";
    return bond->mode == NET_BALANCE_SLB ? "balance-slb" : "active-backup";
}

static void render_bond(struct rendering *r, const struct net_link *bond)
{
    const struct net_state *d = r->declared;
    struct strpair lacp_time = {"lacp-time", bond->bond.lacp_fast ? "fast" : "slow"};
    struct ovs_port *port;
    size_t members = 0;

    for (size_t i = 0; i < d->n_links; i++)
        members += is_member(&d->links[i], bond);
    if (!members || !ovs_bridge_find(r->rows, bond->master))
        return;
    port = add(r, bond->name, bond->master, bond->name, members);
    port->bond_mode = bond_mode(&bond->bond);
    port->lacp = bond->bond.mode == NET_LACP ? "active" : "off";
    port->updelay = bond->bond.updelay;
    port->downdelay = bond->bond.downdelay;
    if (bond->bond.mode == NET_LACP)
        port->other_config =
            (struct strmap){1, arena_memdup(r->arena, &lacp_time, sizeof lacp_time)};
    for (size_t i = 0; i < d->n_links; i++)
        if (is_member(&d->links[i], bond))
            add_interface(r, port, d->links[i].name, "", 0, NULL);
}

/* The bridge of a card or bond; "" where it is in none. */
static const char *bridge_of(const struct rendering *r, const char *device)
{
    const struct net_link *bond = net_link_find(r->declared, device);
    const struct ovs_port *port = ovs_port_with(r->rows, device);

    if (bond && bond->kind == NET_BOND)
        return ovs_bridge_find(r->rows, bond->master) ? bond->master : "";
    return port && !bond ? port->bridge : "";
}

static void add_patch(struct rendering *r, const struct net_link *vlan, const char *bridge, int tag,
                      const char *name, const char *peer)
{
    struct ovs_port *port = add(r, name, bridge, vlan->name, 1);

    port->tag = tag;
    add_interface(r, port, name, "patch", 1, &(struct strpair){"peer", peer});
}

static void render_vlan(struct rendering *r, const struct net_link *vlan)
{
    const char *below = bridge_of(r, vlan->below);
    const char *inner = arena_printf(r->arena, "%s-in", vlan->name);

    if (!*below || !ovs_bridge_find(r->rows, vlan->master))
        return;
    add_patch(r, vlan, below, vlan->tag, vlan->name, inner);
    add_patch(r, vlan, vlan->master, -1, inner, vlan->name);
}

static void render_tunnel(struct rendering *r, const struct net_link *link)
{
    const char *id = arena_printf(r->arena, "%u", link->tunnel.id);

    if (!ovs_bridge_find(r->rows, link->master))
        return;
    for (size_t i = 0; i < link->tunnel.n_peers; i++) {
        const char *peer = link->tunnel.peers[i];
        const char *name = arena_printf(r->arena, "%s-%s", link->name, peer);
        struct ovs_port *port = add(r, name, link->master, link->name, 1);
        const struct strpair options[] = {
            {"key", id}, {"local_ip", link->tunnel.local}, {"remote_ip", peer}};

        port->isolated = true;
        add_interface(r, port, name, link->kind == NET_VXLAN ? "vxlan" : "gre", ARRAY_SIZE(options),
                      options);
    }
}

void ovs_render(struct arena *arena, const struct ovs_rows *rows, const struct net_state *declared,
                struct ovs_ports *out)
{
    struct rendering r = {arena, rows, declared, out};

    *out = (struct ovs_ports){0};
    for (size_t i = 0; i < declared->n_links; i++) {
        const struct net_link *link = &declared->links[i];

        if (link->kind == NET_BOND)
            render_bond(&r, link);
        else if (link->kind == NET_VLAN)
            render_vlan(&r, link);
        else if (link->kind == NET_VXLAN || link->kind == NET_GRE)
            render_tunnel(&r, link);
    }
}

/* ---- operations ---- */

static void append(json_t *array, json_t *item)
{
    if (!item || json_array_append_new(array, item) < 0)
        abort(); /* out of memory, or what json_pack was given is no UTF-8: names are checked */
}

static json_t *map_json(const struct strmap *map)
{
    json_t *pairs = json_array();

    for (size_t i = 0; i < map->n; i++)
        append(pairs, json_pack("[s, s]", map->v[i].key, map->v[i].value));
    return json_pack("[s, o]", "map", pairs);
}

/* The bridge is there. */
static json_t *mutate_ports(const struct ovs_rows *rows, const char *bridge, const char *how,
                            json_t *uuids)
{
    return json_pack("{s:s, s:s, s:[[s, s, [s, s]]], s:[[s, s, [s, o]]]}", "op", "mutate", "table",
                     "Bridge", "where", "_uuid", "==", "uuid", ovs_bridge_find(rows, bridge)->uuid,
                     "mutations", "ports", how, "set", uuids);
}

void ovs_remove_port(const struct ovs_rows *rows, const struct ovs_port *port, json_t *operations)
{
    if (ovs_bridge_find(rows, port->bridge)) /* else it goes with that */
        append(operations, mutate_ports(rows, port->bridge, "delete",
                                        json_pack("[[s, s]]", "uuid", port->uuid)));
}

static json_t *port_row(const struct ovs_port *port, json_t *interfaces)
{
    json_t *row = json_pack("{s:s, s:[s, o], s:b, s:o, s:i, s:i}", "name", port->name, "interfaces",
                            "set", interfaces, "protected", port->isolated, "other_config",
                            map_json(&port->other_config), "bond_updelay", port->updelay,
                            "bond_downdelay", port->downdelay);
    struct strpair mark = {OVS_LINK_KEY, port->link};

    if (port->tag >= 0)
        json_object_set_new(row, "tag", json_integer(port->tag));
    if (*port->bond_mode)
        json_object_set_new(row, "bond_mode", json_string(port->bond_mode));
    if (*port->lacp)
        json_object_set_new(row, "lacp", json_string(port->lacp));
    if (*port->link)
        json_object_set_new(row, "external_ids", map_json(&(struct strmap){1, &mark}));
    return row;
}

void ovs_add_port(struct arena *arena, const struct ovs_rows *rows, const struct ovs_port *port,
                  json_t *operations)
{
    size_t serial = json_array_size(operations); /* names the new rows within the transaction */
    const char *name = arena_printf(arena, "port%zu", serial);
    json_t *interfaces = json_array();

    for (size_t i = 0; i < port->n_interfaces; i++) {
        const struct ovs_interface *in = port->interfaces[i];
        const char *id = arena_printf(arena, "interface%zu_%zu", serial, i);

        append(operations, json_pack("{s:s, s:s, s:s, s:{s:s, s:s, s:o}}", "op", "insert", "table",
                                     "Interface", "uuid-name", id, "row", "name", in->name, "type",
                                     in->type, "options", map_json(&in->options)));
        append(interfaces, json_pack("[s, s]", "named-uuid", id));
    }
    append(operations, json_pack("{s:s, s:s, s:s, s:o}", "op", "insert", "table", "Port",
                                 "uuid-name", name, "row", port_row(port, interfaces)));
    append(operations,
           mutate_ports(rows, port->bridge, "insert", json_pack("[[s, s]]", "named-uuid", name)));
}

static const struct ovs_port *find_equal(size_t n, const struct ovs_port *ports,
                                         const struct ovs_port *wanted)
{
    for (size_t i = 0; i < n; i++)
        if (*ports[i].link && ovs_port_equal(&ports[i], wanted))
            return &ports[i];
    return NULL;
}

bool ovs_is_rendered(const struct ovs_rows *rows, const struct ovs_ports *wanted, const char *link)
{
    for (size_t i = 0; i < wanted->n; i++)
        if (same(wanted->v[i].link, link) && !find_equal(rows->n_ports, rows->ports, &wanted->v[i]))
            return false;
    return true;
}

bool ovs_converge(struct arena *arena, const struct ovs_rows *rows, const struct ovs_ports *wanted,
                  json_t *operations)
{
    size_t before = json_array_size(operations);

    for (size_t i = 0; i < rows->n_ports; i++) {
        const struct ovs_port *port = &rows->ports[i];

        if (*port->link && *port->bridge && !find_equal(wanted->n, wanted->v, port))
            ovs_remove_port(rows, port, operations);
    }
    for (size_t i = 0; i < wanted->n; i++)
        if (!find_equal(rows->n_ports, rows->ports, &wanted->v[i]))
            ovs_add_port(arena, rows, &wanted->v[i], operations);
    return json_array_size(operations) > before;
}
