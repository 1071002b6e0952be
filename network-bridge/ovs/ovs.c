/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ovs.c -- steps on Open vSwitch: each is one transaction, after which ovs-vswitchd is waited for.
 *
 * Steps on bridges and on links that are declared (rows.h) are changes of the database; those on
 * cards, addresses and routes are Linux's (network-bridge/linux).
 */
#include "network-bridge/ovs/ovs.h"

#include <stdlib.h>
#include <string.h>

#include "libxapi/base/memory.h"
#include "libxapi/base/seam.h"
#include "network-bridge/plan/model.h"

#define SWITCH_TIME (15 * USEC_PER_SEC) /* for what ovs-vswitchd makes of a change */

static bool same(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

static void append(json_t *array, json_t *item)
{
    if (!item || json_array_append_new(array, item) < 0)
        abort(); /* out of memory */
}

/* ---- the database ---- */

const char *ovs_load(struct ovs_net *net, struct ovsdb *db, struct arena *arena,
                     struct ovs_rows *out)
{
    OVSDB_JSON *results = NULL;
    const char *why = db->open ? NULL : ovsdb_open(db, arena, net->socket);

    if (!why)
        why = ovsdb_transact(db, arena, ovs_rows_query(), 0, &results);
    if (why)
        return why;
    ovs_rows_read(arena, results, out);
    return *out->uuid ? NULL : "its database is empty: ovs-vsctl init was never run";
}

static json_t *where_uuid(const char *uuid)
{
    return json_pack("[[s, s, [s, s]]]", "_uuid", "==", "uuid", uuid);
}

static json_t *mutate(const char *table, const char *uuid, json_t *mutations)
{
    return json_pack("{s:s, s:s, s:o, s:o}", "op", "mutate", "table", table, "where",
                     where_uuid(uuid), "mutations", mutations);
}

static json_t *select_root(const struct ovs_rows *rows, const char *column)
{
    return json_pack("{s:s, s:s, s:o, s:[s]}", "op", "select", "table", "Open_vSwitch", "where",
                     where_uuid(rows->uuid), "columns", column);
}

/* The number that the last operation, a select, has found. */
static json_int_t selected(json_t *results, const char *column)
{
    json_t *last = json_array_get(results, json_array_size(results) - 1);

    return json_integer_value(
        json_object_get(json_array_get(json_object_get(last, "rows"), 0), column));
}

/* Until cur_cfg has come to 'goal': each time that it is another than the last one, it is looked
 * at. */
static const char *wait_for_switch(struct ovs_net *net, struct ovsdb *db, struct arena *arena,
                                   const struct ovs_rows *rows, json_int_t goal)
{
    usec_t deadline = clock_mono() + SWITCH_TIME, left = 0;
    json_t *operations = json_pack("[o]", select_root(rows, "cur_cfg"));

    while (true) {
        OVSDB_JSON *results = NULL;
        const char *why = ovsdb_transact(db, arena, operations, left, &results);
        json_int_t now = why ? 0 : selected(results, "cur_cfg");

        if (!why && now >= goal)
            return NULL;
        left = deadline - clock_mono();
        if (left <= 0) {
            net->late = true;
            return "ovs-vswitchd does not do it in time, or does not run";
        }
        if (why)
            return why;
        operations = json_pack("[{s:s, s:I, s:s, s:o, s:[s], s:s, s:[{s:I}]}, o]", "op", "wait",
                               "timeout", (json_int_t)(left / 1000 + 1), "table", "Open_vSwitch",
                               "where", where_uuid(rows->uuid), "columns", "cur_cfg", "until",
                               "!=", "rows", "cur_cfg", now, select_root(rows, "cur_cfg"));
    }
}

/* What ovs-vswitchd says against an interface that the operations have added; NULL if nothing.  Of
 * a patch port it says that there is no peer, also after that has come. */
static const char *failed_interface(struct ovsdb *db, struct arena *arena, json_t *operations)
{
    json_t *query = json_pack("[{s:s, s:s, s:[[s, s, [s, []]], [s, s, s]], s:[s, s]}]", "op",
                              "select", "table", "Interface", "where", "error", "!=", "set", "type",
                              "!=", "patch", "columns", "name", "error");
    OVSDB_JSON *results = NULL;
    const char *why = ovsdb_transact(db, arena, query, 0, &results);
    json_t *rows = json_object_get(json_array_get(results, 0), "rows"), *row, *operation;
    size_t i, j;

    json_array_foreach(rows, i, row)
    {
        json_t *name = json_object_get(row, "name");

        json_array_foreach(
            operations, j,
            operation) if (json_equal(json_object_get(json_object_get(operation, "row"), "name"),
                                      name)) return arena_printf(arena,
                                                                 "ovs-vswitchd cannot use %s: %s",
                                                                 json_string_value(name),
                                                                 json_string_value(json_object_get(
                                                                     row, "error")));
    }
    return why;
}

const char *ovs_commit(struct ovs_net *net, struct ovsdb *db, struct arena *arena,
                       const struct ovs_rows *rows, json_t *operations, bool *done)
{
    OVSDB_JSON *kept = operations;
    OVSDB_JSON *results = NULL;
    const char *why;

    *done = false;
    append(operations,
           mutate("Open_vSwitch", rows->uuid, json_pack("[[s, s, i]]", "next_cfg", "+=", 1)));
    append(operations, select_root(rows, "next_cfg"));
    json_incref(kept);
    why = ovsdb_transact(db, arena, operations, 0, &results);
    if (why)
        return why;
    *done = true;
    if (net->late)
        return NULL;
    why = wait_for_switch(net, db, arena, rows, selected(results, "next_cfg"));
    return why ? why : failed_interface(db, arena, kept);
}

/* ---- a step in the making ---- */

struct change {
    struct ovs_net *net;
    struct arena *arena;
    const struct net_step *step;
    struct ovsdb db;
    struct ovs_rows rows;
    json_t *operations;
    bool done; /* the database has it */
};

static void change_release(struct change *c)
{
    json_decref(c->operations);
    ovsdb_release(&c->db);
}

/* Puts a link into the declared ones, in the place of the one of that name; NULL: it goes. */
static void declare(struct change *c, const char *name, const struct net_link *link)
{
    struct net_state *d = &c->rows.declared;
    struct net_link *links = arena_array(c->arena, struct net_link, d->n_links + 1);
    const char *key = arena_printf(c->arena, OVS_LINK_KEY "-%s", name);
    json_t *mutations = json_pack("[[s, s, [s, [s]]]]", "external_ids", "delete", "set", key);
    size_t n = 0;

    for (size_t i = 0; i < d->n_links; i++)
        if (!same(d->links[i].name, name))
            links[n++] = d->links[i];
    if (link) {
        links[n++] = *link;
        append(mutations, json_pack("[s, s, [s, [[s, s]]]]", "external_ids", "insert", "map", key,
                                    ovs_link_text(c->arena, link)));
    }
    *d = (struct net_state){.n_links = n, .links = links};
    append(c->operations, mutate("Open_vSwitch", c->rows.uuid, mutations));
}

/* The change of the database, with the ports that follow from it. */
static const char *commit(struct change *c)
{
    json_t *operations = c->operations;
    struct ovs_ports wanted;

    ovs_render(c->arena, &c->rows, &c->rows.declared, &wanted);
    ovs_converge(c->arena, &c->rows, &wanted, operations);
    c->operations = NULL;
    return ovs_commit(c->net, &c->db, c->arena, &c->rows, operations, &c->done);
}

/* A step that is Linux's affair. */
static const char *linux_step(struct change *c, const struct net_step *step)
{
    struct error *e = c->net->host->step(c->net->host, c->arena, step);

    return e ? e->params[e->n_params - 1] : NULL;
}

static const char *linux_number(struct change *c, enum net_what what, int64_t number)
{
    return linux_step(
        c, &(struct net_step){.what = what, .device = c->step->device, .after.number = number});
}

/* ---- bridges ---- */

static const char *make_bridge(struct change *c, const struct net_link *link)
{
    json_t *other = *link->mac ? json_pack("[[s, s]]", "hwaddr", link->mac) : json_array();
    const char *why;

    append(c->operations, json_pack("{s:s, s:s, s:s, s:{s:s, s:s, s:i}}", "op", "insert", "table",
                                    "Interface", "uuid-name", "interface", "row", "name",
                                    link->name, "type", "internal", "mtu_request", link->mtu));
    append(c->operations, json_pack("{s:s, s:s, s:s, s:{s:s, s:[s, s]}}", "op", "insert", "table",
                                    "Port", "uuid-name", "port", "row", "name", link->name,
                                    "interfaces", "named-uuid", "interface"));
    append(c->operations,
           json_pack("{s:s, s:s, s:s, s:{s:s, s:[s, s], s:s, s:s, s:[s, o], s:[s, [[s, s]]]}}",
                     "op", "insert", "table", "Bridge", "uuid-name", "bridge", "row", "name",
                     link->name, "ports", "named-uuid", "port", "fail_mode", "standalone",
                     "datapath_type", c->rows.datapath, "other_config", "map", other,
                     "external_ids", "map", OVS_OURS_KEY, link->ours ? "true" : "false"));
    append(c->operations, mutate("Open_vSwitch", c->rows.uuid,
                                 json_pack("[[s, s, [s, [[s, s]]]]]", "bridges", "insert", "set",
                                           "named-uuid", "bridge")));
    why = commit(c);
    return why ? why : linux_number(c, NET_IPV6, link->ipv6);
}

static const char *remove_bridge(struct change *c, struct ovs_bridge *bridge)
{
    append(c->operations, mutate("Open_vSwitch", c->rows.uuid,
                                 json_pack("[[s, s, [s, [[s, s]]]]]", "bridges", "delete", "set",
                                           "uuid", bridge->uuid)));
    *bridge = c->rows.bridges[--c->rows.n_bridges];
    return commit(c);
}

/* Puts a pair into a map of the bridge's, in the place of the one with that key; NULL: it goes. */
static const char *set_in_bridge(struct change *c, const struct ovs_bridge *bridge,
                                 const char *column, const char *key, const char *value)
{
    json_t *mutations = json_pack("[[s, s, [s, [s]]]]", column, "delete", "set", key);

    if (value)
        append(mutations, json_pack("[s, s, [s, [[s, s]]]]", column, "insert", "map", key, value));
    append(c->operations, mutate("Bridge", bridge->uuid, mutations));
    return commit(c);
}

static const char *set_bridge_mtu(struct change *c)
{
    append(c->operations, json_pack("{s:s, s:s, s:[[s, s, s]], s:{s:I}}", "op", "update", "table",
                                    "Interface", "where", "name", "==", c->step->device, "row",
                                    "mtu_request", (json_int_t)c->step->after.number));
    return commit(c);
}

static const char *step_bridge(struct change *c, struct ovs_bridge *bridge)
{
    const struct net_step *step = c->step;

    switch (step->what) {
    case NET_LINK:
        return step->after.link ? "there is a bridge of that name" : remove_bridge(c, bridge);
    case NET_MARK:
        return set_in_bridge(c, bridge, "external_ids", OVS_OURS_KEY,
                             step->after.number ? "true" : NULL);
    case NET_MTU:
        return set_bridge_mtu(c);
    case NET_MAC:
        return set_in_bridge(c, bridge, "other_config", "hwaddr", step->after.text);
    default:
        return linux_step(c, step);
    }
}

/* ---- links that are declared ---- */

static const char *step_declared(struct change *c, const struct net_link *old)
{
    const struct net_step *step = c->step;
    struct net_link link = *old;
    struct model alone;

    if (step->what == NET_LINK && step->after.link)
        return "there is a link of that name";
    if (step->what == NET_LINK) {
        declare(c, link.name, NULL);
        return commit(c);
    }
    if (step->what == NET_MASTER) {
        link.master = step->after.text ? step->after.text : "";
    } else {
        const char *refused;

        model_init(&alone, c->arena, &(struct net_state){.n_links = 1, .links = old});
        refused = model_step(&alone, step);
        if (refused)
            return refused;
        link = *alone.links[0];
    }
    declare(c, link.name, &link);
    return commit(c);
}

/* ---- cards ---- */

static void take_out(struct change *c, const char *card)
{
    struct ovs_port *port = (struct ovs_port *)ovs_port_with(&c->rows, card);

    if (!port || *port->link || !*port->bridge)
        return;
    ovs_remove_port(&c->rows, port, c->operations);
    port->bridge = "";
    port->n_interfaces = 0;
}

static void put_in(struct change *c, const char *card, const char *bridge)
{
    struct ovs_rows *rows = &c->rows;
    struct ovs_port *ports = arena_array(c->arena, struct ovs_port, rows->n_ports + 1);
    struct ovs_interface *in = arena_new(c->arena, struct ovs_interface);

    *in = (struct ovs_interface){.uuid = "", .name = card, .type = "", .error = ""};
    if (rows->n_ports)
        memcpy(ports, rows->ports, rows->n_ports * sizeof *ports);
    ports[rows->n_ports] = (struct ovs_port){
        .uuid = "",
        .name = card,
        .bridge = bridge,
        .link = "",
        .tag = -1,
        .bond_mode = "",
        .lacp = "",
        .n_interfaces = 1,
        .interfaces = arena_memdup(c->arena, &in, sizeof in),
    };
    ovs_add_port(c->arena, rows, &ports[rows->n_ports], c->operations);
    rows->ports = ports;
    rows->n_ports++;
}

static bool is_bond(const struct change *c, const char *name)
{
    const struct net_link *link = net_link_find(&c->rows.declared, name);

    return link && link->kind == NET_BOND;
}

/* A port of somebody's bond is not a card's own. */
static const char *check_port(struct change *c)
{
    const struct ovs_port *port = ovs_port_with(&c->rows, c->step->device);

    return port && !*port->link && port->n_interfaces > 1
               ? arena_printf(c->arena, "it is in the bond %s, which was not made here", port->name)
               : NULL;
}

/* Within Open vSwitch: out of where it is, and into a bond or bridge, or nowhere. */
static const char *move_card(struct change *c, const char *to)
{
    const char *card = c->step->device, *why = check_port(c);
    const struct net_link *member = net_link_find(&c->rows.declared, card);
    struct net_link link;

    if (why)
        return why;
    take_out(c, card);
    if (is_bond(c, to) &&
        ovs_link_parse(c->arena, arena_printf(c->arena, "link %s card master %s", card, to), &link))
        declare(c, card, &link);
    else if (member)
        declare(c, card, NULL);
    if (ovs_bridge_find(&c->rows, to))
        put_in(c, card, to);
    return commit(c);
}

/* A bond opens its members, and closes them when they go, as Linux's does; of what Linux's own
 * driver has made a card is taken, and given back, by Linux. */
static const char *step_master(struct change *c)
{
    const char *from = c->step->before.text, *to = c->step->after.text, *why = NULL;
    bool from_bond = from && is_bond(c, from), to_bond = to && is_bond(c, to);
    bool from_linux = from && !from_bond && !ovs_bridge_find(&c->rows, from);
    bool to_linux = to && !to_bond && !ovs_bridge_find(&c->rows, to);

    if (from_linux && to_linux)
        return linux_step(c, c->step);
    if (from_linux)
        why = linux_step(c, &(struct net_step){.what = NET_MASTER, .device = c->step->device});
    if (!why)
        why = move_card(c, to_linux || !to ? "" : to);
    if (!why && to_linux)
        why = linux_step(c, c->step);
    if (!why && from_bond != to_bond)
        why = linux_number(c, NET_UP, to_bond);
    return why;
}

/* ---- any step ---- */

static bool is_made_here(const struct net_link *link)
{
    return link && !link->elsewhere && link->kind != NET_OTHER;
}

static const char *make(struct change *c, const struct net_link *link)
{
    if (link->kind == NET_BRIDGE)
        return make_bridge(c, link);
    declare(c, link->name, link);
    return commit(c);
}

static const char *step(struct change *c)
{
    const struct net_step *s = c->step;
    const struct net_link *declared = net_link_find(&c->rows.declared, s->device);
    struct ovs_bridge *bridge = (struct ovs_bridge *)ovs_bridge_find(&c->rows, s->device);

    if (bridge)
        return step_bridge(c, bridge);
    if (declared && declared->kind != NET_OTHER)
        return step_declared(c, declared);
    if (s->what == NET_MASTER)
        return step_master(c);
    if (s->what == NET_LINK && is_made_here(s->after.link))
        return make(c, s->after.link);
    if (s->what == NET_LINK && is_made_here(s->before.link))
        return NULL; /* it is gone */
    return linux_step(c, s);
}

static const char *try_step(struct ovs_net *net, struct arena *arena, const struct net_step *s,
                            bool *done)
{
    AUTO(change) c = {.net = net, .arena = arena, .step = s, .operations = json_array()};
    const char *why = ovs_load(net, &c.db, arena, &c.rows);

    if (!why)
        why = step(&c);
    *done = c.done;
    return why;
}

/* What the database has nothing to say about. */
static bool is_linux_only(const struct net_step *step)
{
    switch (step->what) {
    case NET_ADDRESS:
    case NET_ROUTE:
    case NET_IPV6:
    case NET_DHCP:
    case NET_DNS:
        return true;
    default:
        return false;
    }
}

static struct error *do_step(struct net_kernel *kernel, struct arena *arena,
                             const struct net_step *step)
{
    struct ovs_net *net = container_of(kernel, struct ovs_net, kernel);
    struct net_step back = net_step_undo(step);
    const char *why, *left;
    bool done;

    if (is_linux_only(step))
        return net->host->step(net->host, arena, step);
    why = try_step(net, arena, step, &done);
    if (!why)
        return OK;
    left = done ? try_step(net, arena, &back, &done) : NULL;
    return error_new(arena, "PIF_CONFIGURATION_ERROR", 2, step->device,
                     left ? arena_printf(arena, "%s, and it could not be taken back: %s", why, left)
                          : why);
}

static struct error *do_read(struct net_kernel *kernel, struct arena *arena, struct net_state *out)
{
    return ovs_read(container_of(kernel, struct ovs_net, kernel), arena, out);
}

static void do_free(struct net_kernel *kernel)
{
    struct ovs_net *net = container_of(kernel, struct ovs_net, kernel);

    net_kernel_free(net->host);
    free(net->socket);
    free(net->run);
    free(net);
}

struct error *net_ovs_new(struct arena *arena, const struct net_linux_paths *paths,
                          struct net_kernel **out)
{
    struct net_kernel *host;
    struct ovs_net *net;

    TRY(net_linux_new(arena, paths, &host));
    net = xcalloc(1, sizeof *net);
    *net = (struct ovs_net){
        .kernel = {.read = do_read, .step = do_step, .free = do_free},
        .host = host,
        .socket = xstrdup(paths->ovsdb ? paths->ovsdb : OVS_SOCKET),
        .run = xstrdup(paths->run ? paths->run : NET_RUN_DIR),
    };
    *out = &net->kernel;
    return OK;
}
