/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "network-bridge/ovs/rows.h"

#include <stdlib.h>
#include <string.h>

#include "libxapi/value/value.h"
#include "network-bridge/sim/text.h"

static bool same(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

/* ---- values: an atom stands for a set of one, ["set", [...]] for any other ---- */

static bool is_tagged(json_t *value, const char *tag)
{
    const char *word = json_string_value(json_array_get(value, 0));

    return json_array_size(value) == 2 && word && same(word, tag);
}

static size_t set_size(json_t *value)
{
    return is_tagged(value, "set") ? json_array_size(json_array_get(value, 1)) : value ? 1 : 0;
}

static json_t *set_item(json_t *value, size_t i)
{
    return is_tagged(value, "set") ? json_array_get(json_array_get(value, 1), i) : value;
}

static const char *text(struct arena *arena, json_t *value)
{
    const char *s = json_string_value(set_item(value, 0));

    return s ? arena_strdup(arena, s) : "";
}

static const char *uuid(struct arena *arena, json_t *value)
{
    return is_tagged(value, "uuid") ? text(arena, json_array_get(value, 1)) : "";
}

static int64_t number(json_t *value, int64_t otherwise)
{
    json_t *item = set_item(value, 0);

    return json_is_integer(item) ? json_integer_value(item) : otherwise;
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct strpair *)a)->key, ((const struct strpair *)b)->key);
}

static struct strmap map(struct arena *arena, json_t *value)
{
    json_t *pairs = is_tagged(value, "map") ? json_array_get(value, 1) : NULL, *pair;
    struct strpair *v = arena_array(arena, struct strpair, json_array_size(pairs) + 1);
    size_t n = 0, i;

    json_array_foreach(pairs, i, pair) v[n++] = (struct strpair){
        text(arena, json_array_get(pair, 0)), text(arena, json_array_get(pair, 1))};
    qsort(v, n, sizeof *v, by_key);
    return (struct strmap){n, v};
}

static const char *word(const struct strmap *from, const char *key)
{
    const char *value = strmap_get(from, key);

    return value ? value : "";
}

/* ---- declared links ---- */

const char *ovs_link_text(struct arena *arena, const struct net_link *link)
{
    AUTO(buf) out = {0};

    net_state_print(&out, &(struct net_state){.n_links = 1, .links = link});
    return arena_strndup(arena, out.data, strcspn(out.data, "\n"));
}

bool ovs_link_parse(struct arena *arena, const char *line, struct net_link *out)
{
    struct net_state state;

    if (net_state_parse(arena, arena_printf(arena, "vswitch\n%s", line), &state) ||
        state.n_links != 1 || state.links[0].kind == NET_BRIDGE)
        return false;
    *out = state.links[0];
    return true;
}

static void read_declared(struct arena *arena, const struct strmap *ids, struct net_state *out)
{
    struct net_link *links = arena_array(arena, struct net_link, ids->n + 1);

    *out = (struct net_state){.links = links};
    for (size_t i = 0; i < ids->n; i++)
        if (strncmp(ids->v[i].key, OVS_LINK_KEY "-", sizeof OVS_LINK_KEY) == 0)
            out->n_links += ovs_link_parse(arena, ids->v[i].value, &links[out->n_links]);
}

/* ---- tables ---- */

static json_t *query(const char *table, json_t *columns)
{
    return json_pack("{s:s, s:s, s:[], s:o}", "op", "select", "table", table, "where", "columns",
                     columns);
}

json_t *ovs_rows_query(void)
{
    return json_pack(
        "[o, o, o, o]",
        query("Open_vSwitch",
              json_pack("[s, s, s, s]", "_uuid", "next_cfg", "cur_cfg", "external_ids")),
        query("Bridge", json_pack("[s, s, s, s]", "_uuid", "name", "ports", "external_ids")),
        query("Port", json_pack("[s, s, s, s, s, s, s, s, s, s, s]", "_uuid", "name", "interfaces",
                                "tag", "protected", "bond_mode", "lacp", "bond_updelay",
                                "bond_downdelay", "other_config", "external_ids")),
        query("Interface",
              json_pack("[s, s, s, s, s]", "_uuid", "name", "type", "options", "error")));
}

/* The rows of the i-th table; the size of a reply is a limit on their number. */
static json_t *rows_of(json_t *results, size_t i)
{
    return json_object_get(json_array_get(results, i), "rows");
}

static int by_uuid(const void *a, const void *b)
{
    return strcmp(((const struct ovs_interface *)a)->uuid, ((const struct ovs_interface *)b)->uuid);
}

static void read_interfaces(struct arena *arena, json_t *rows, struct ovs_rows *out)
{
    json_t *row;
    size_t i;

    out->interfaces = arena_array(arena, struct ovs_interface, json_array_size(rows) + 1);
    json_array_foreach(rows, i, row) out->interfaces[out->n_interfaces++] = (struct ovs_interface){
        .uuid = uuid(arena, json_object_get(row, "_uuid")),
        .name = text(arena, json_object_get(row, "name")),
        .type = text(arena, json_object_get(row, "type")),
        .options = map(arena, json_object_get(row, "options")),
        .error = text(arena, json_object_get(row, "error")),
    };
    qsort(out->interfaces, out->n_interfaces, sizeof *out->interfaces, by_uuid);
}

static void read_port(struct arena *arena, json_t *row, const struct ovs_rows *rows,
                      struct ovs_port *out)
{
    json_t *interfaces = json_object_get(row, "interfaces");
    struct strmap ids = map(arena, json_object_get(row, "external_ids"));

    *out = (struct ovs_port){
        .uuid = uuid(arena, json_object_get(row, "_uuid")),
        .name = text(arena, json_object_get(row, "name")),
        .bridge = "",
        .link = word(&ids, OVS_LINK_KEY),
        .tag = (int)number(json_object_get(row, "tag"), -1),
        .isolated = json_is_true(json_object_get(row, "protected")),
        .bond_mode = text(arena, json_object_get(row, "bond_mode")),
        .lacp = text(arena, json_object_get(row, "lacp")),
        .updelay = (int)number(json_object_get(row, "bond_updelay"), 0),
        .downdelay = (int)number(json_object_get(row, "bond_downdelay"), 0),
        .other_config = map(arena, json_object_get(row, "other_config")),
        .interfaces = arena_array(arena, const struct ovs_interface *, set_size(interfaces) + 1),
    };
    for (size_t i = 0; i < set_size(interfaces); i++) {
        struct ovs_interface key = {.uuid = uuid(arena, set_item(interfaces, i))};
        const struct ovs_interface *found =
            bsearch(&key, rows->interfaces, rows->n_interfaces, sizeof key, by_uuid);

        if (found)
            out->interfaces[out->n_interfaces++] = found;
    }
}

static int by_port_uuid(const void *a, const void *b)
{
    return strcmp(((const struct ovs_port *)a)->uuid, ((const struct ovs_port *)b)->uuid);
}

static void read_ports(struct arena *arena, json_t *rows, struct ovs_rows *out)
{
    json_t *row;
    size_t i;

    out->ports = arena_array(arena, struct ovs_port, json_array_size(rows) + 1);
    json_array_foreach(rows, i, row) read_port(arena, row, out, &out->ports[out->n_ports++]);
    qsort(out->ports, out->n_ports, sizeof *out->ports, by_port_uuid);
}

static void read_bridge(struct arena *arena, json_t *row, struct ovs_rows *out)
{
    struct ovs_bridge *bridge = &out->bridges[out->n_bridges++];
    struct strmap ids = map(arena, json_object_get(row, "external_ids"));
    json_t *ports = json_object_get(row, "ports");

    *bridge = (struct ovs_bridge){
        .uuid = uuid(arena, json_object_get(row, "_uuid")),
        .name = text(arena, json_object_get(row, "name")),
        .ours = same(word(&ids, OVS_OURS_KEY), "true"),
    };
    for (size_t i = 0; i < set_size(ports); i++) {
        struct ovs_port key = {.uuid = uuid(arena, set_item(ports, i))};
        struct ovs_port *port = bsearch(&key, out->ports, out->n_ports, sizeof key, by_port_uuid);

        if (port)
            port->bridge = bridge->name;
    }
}

void ovs_rows_read(struct arena *arena, json_t *results, struct ovs_rows *out)
{
    json_t *root = json_array_get(rows_of(results, 0), 0), *bridges = rows_of(results, 1), *row;
    struct strmap ids = map(arena, json_object_get(root, "external_ids"));
    size_t i;

    *out = (struct ovs_rows){
        .uuid = uuid(arena, json_object_get(root, "_uuid")),
        .datapath = word(&ids, OVS_DATAPATH_KEY),
        .next_cfg = number(json_object_get(root, "next_cfg"), 0),
        .cur_cfg = number(json_object_get(root, "cur_cfg"), 0),
        .bridges = arena_array(arena, struct ovs_bridge, json_array_size(bridges) + 1),
    };
    read_declared(arena, &ids, &out->declared);
    read_interfaces(arena, rows_of(results, 3), out);
    read_ports(arena, rows_of(results, 2), out);
    json_array_foreach(bridges, i, row) read_bridge(arena, row, out);
}

/* ---- looking at them ---- */

const struct ovs_bridge *ovs_bridge_find(const struct ovs_rows *rows, const char *name)
{
    for (size_t i = 0; i < rows->n_bridges; i++)
        if (same(rows->bridges[i].name, name))
            return &rows->bridges[i];
    return NULL;
}

const struct ovs_port *ovs_port_with(const struct ovs_rows *rows, const char *interface)
{
    for (size_t i = 0; i < rows->n_ports; i++)
        for (size_t j = 0; j < rows->ports[i].n_interfaces; j++)
            if (same(rows->ports[i].interfaces[j]->name, interface))
                return &rows->ports[i];
    return NULL;
}

static bool map_equal(const struct strmap *a, const struct strmap *b)
{
    for (size_t i = 0; i < a->n && a->n == b->n; i++)
        if (!same(a->v[i].key, b->v[i].key) || !same(a->v[i].value, b->v[i].value))
            return false;
    return a->n == b->n;
}

/* A set of interfaces has no order. */
static bool has_interface(const struct ovs_port *port, const struct ovs_interface *wanted)
{
    for (size_t i = 0; i < port->n_interfaces; i++) {
        const struct ovs_interface *have = port->interfaces[i];

        if (same(have->name, wanted->name) && same(have->type, wanted->type))
            return map_equal(&have->options, &wanted->options);
    }
    return false;
}

bool ovs_port_equal(const struct ovs_port *a, const struct ovs_port *b)
{
    if (!same(a->name, b->name) || !same(a->bridge, b->bridge) || !same(a->link, b->link) ||
        a->tag != b->tag || a->isolated != b->isolated || !same(a->bond_mode, b->bond_mode) ||
        !same(a->lacp, b->lacp) || a->updelay != b->updelay || a->downdelay != b->downdelay ||
        !map_equal(&a->other_config, &b->other_config) || a->n_interfaces != b->n_interfaces)
        return false;
    for (size_t i = 0; i < b->n_interfaces; i++)
        if (!has_interface(a, b->interfaces[i]))
            return false;
    return true;
}
