/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * flows.c -- what may pass a guest's interface, as flows of its Open vSwitch bridge.
 *
 * A packet of a guarded port is looked at by our flows first, which are above anybody else's.  One
 * that may pass gets a mark in a register and begins anew in the first table: there ours do not
 * match any more, so it goes the way that all others go (NORMAL, and whatever somebody has added).
 *
 * Flows know ports by numbers, and an interface has none before Xen's script puts it into its
 * bridge, from where on a running guest can send.  So before an interface is plugged a gate is
 * closed: nothing passes from a port that the bridge does not have at that moment.  The gate goes
 * in the same change that makes the flows of the port that has come, or by itself after a while,
 * for a daemon can die.
 *
 * All flows of an interface have its name as their cookie; ovs-ofctl does a bridge's changes in one
 * bundle: there is no moment without.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libxapi/base/child.h"
#include "network-bridge/ovs/ovs.h"
#include "network-bridge/plan/ip.h"

#define COOKIE ((uint64_t)NET_GROUP << 32) /* with the interface below it */
#define COOKIE_MASK 0xffffffff00000000
#define MARK "set_field:0x78617069->reg15,resubmit(,0)"
#define TARGETS 250 /* the table where the target of an advertisement is looked at */
#define GATE_TIME 300
#define PORT_TEXT 32
#define LIST_LIMIT (64 << 20)
#define OFCTL_LIMIT (30 * USEC_PER_SEC)

enum {
    GATE_SHUT = 50000,
    GATE_OPEN,
    SHUT = 60000,
    PASS,
    REFUSE, /* of what would pass */
    EXCEPT, /* of what would be refused */
};

static struct error *wrong(struct arena *arena, const char *device, const char *what)
{
    return error_new(arena, "PIF_CONFIGURATION_ERROR", 2, device, what);
}

/* ---- names ---- */

/* Its domain's number, its own, and whether it is emulated, in 33 bits that are never all zero. */
static bool identity(const char *device, uint64_t *out)
{
    unsigned domid, number;
    char again[2 * NET_NAME_SIZE];

    if (sscanf(device, "vif%u.%u", &domid, &number) != 2 || domid > 0xffff || number > 0x7fff)
        return false;
    for (unsigned emulated = 0; emulated < 2; emulated++) {
        snprintf(again, sizeof again, "vif%u.%u%s", domid, number, emulated ? "-emu" : "");
        *out = (uint64_t)1 << 32 | domid << 16 | number << 1 | emulated;
        if (strcmp(again, device) == 0)
            return true;
    }
    return false;
}

static uint64_t cookie(uint64_t id)
{
    return COOKIE | (id & 0xffffffff);
}

static const char *name_of(struct arena *arena, uint64_t cookie)
{
    return arena_printf(arena, "vif%u.%u%s", (unsigned)(cookie >> 16 & 0xffff),
                        (unsigned)(cookie >> 1 & 0x7fff), cookie & 1 ? "-emu" : "");
}

/* ---- asking the switch ---- */

static struct error *ofctl(struct arena *arena, const char *const *argv, const char *input,
                           struct child_result *result)
{
    struct child_spec spec = {.argv = argv,
                              .timeout = OFCTL_LIMIT,
                              .output_limit = LIST_LIMIT,
                              .input = input,
                              .input_size = input ? strlen(input) : 0};

    TRY(child_run(arena, &spec, result));
    if (result->status == 0 && !result->timed_out && !result->truncated)
        return OK;
    return wrong(arena, "vif",
                 arena_printf(arena,
                              "Open vSwitch does not take the flows of guests' interfaces: %s",
                              result->timed_out ? arena_printf(arena, "%s does not end", argv[0])
                                                : result->errors));
}

struct port {
    const char *name, *number; /* a number, or LOCAL */
    bool shut;                 /* nothing is sent through it */
};

struct ports {
    size_t n, room;
    struct port *v;
};

/* " 3(vif1.0): addr:..." begins a port, "config:     NO_FWD" belongs to it. */
static void read_port_line(struct arena *arena, const char *line, struct ports *out)
{
    char number[PORT_TEXT], name[PORT_TEXT];

    if (sscanf(line, " %31[A-Z0-9](%31[^)]): addr", number, name) == 2) {
        out->v = arena_room(arena, out->v, out->n, &out->room, sizeof *out->v);
        out->v[out->n++] =
            (struct port){.name = arena_strdup(arena, name), .number = arena_strdup(arena, number)};
    } else if (out->n && strstr(line, "config:") && strstr(line, "NO_FWD")) {
        out->v[out->n - 1].shut = true;
    }
}

static struct error *read_ports(struct arena *arena, const char *bridge, struct ports *out)
{
    const char *const argv[] = {"ovs-ofctl", "-O", "OpenFlow14", "dump-ports-desc", bridge, NULL};
    struct child_result result;

    *out = (struct ports){0};
    TRY(ofctl(arena, argv, NULL, &result));
    for (const char *p = result.output; *p; p += strspn(p, "\n")) {
        size_t size = strcspn(p, "\n");

        read_port_line(arena, arena_strndup(arena, p, size), out);
        p += size;
    }
    return OK;
}

static const struct port *find_port(const struct ports *ports, const char *name)
{
    for (size_t i = 0; i < ports->n; i++)
        if (strcmp(ports->v[i].name, name) == 0)
            return &ports->v[i];
    return NULL;
}

/* Cookies of our flows in a bridge, each once; only of gates, if so. */
static struct error *read_cookies(struct arena *arena, const char *bridge, bool gates,
                                  struct strings *out)
{
    const char *match =
        arena_printf(arena, "cookie=0x%" PRIx64 "/0x%" PRIx64, COOKIE, (uint64_t)COOKIE_MASK);
    const char *gate = arena_printf(arena, "priority=%d,", GATE_SHUT);
    const char *const argv[] = {"ovs-ofctl", "-O", "OpenFlow14", "dump-flows", bridge, match, NULL};
    struct child_result result;
    uint64_t last = 0, one;
    const char **v;
    size_t room = 0;

    TRY(ofctl(arena, argv, NULL, &result));
    for (const char *p = result.output; (p = strstr(p, "cookie=0x")); p++)
        room++;
    out->v = v = arena_array(arena, const char *, room + 1);
    out->n = 0;
    for (const char *p = result.output; (p = strstr(p, "cookie=0x")); p++) {
        const char *line = arena_strndup(arena, p, strcspn(p, "\n"));

        one = strtoull(line + strlen("cookie="), NULL, 16);
        if ((one & COOKIE_MASK) != COOKIE || one == last || (gates && !strstr(line, gate)))
            continue;
        last = one;
        v[out->n++] = name_of(arena, one);
    }
    return OK;
}

/* ---- flows ---- */

struct writing {
    struct buf *out;
    struct arena *arena;
    uint64_t id;
    const char *from; /* the beginning of each match: whose it is */
};

static void flow(struct writing *w, int priority, const char *match, const char *actions)
{
    buf_printf(w->out, "add cookie=0x%" PRIx64 ",priority=%d,%s%s,actions=%s\n", cookie(w->id),
               priority, w->from, match, actions);
}

/* An option of neighbour discovery that names a MAC names its own, where it is there. */
static void flow_neighbour(struct writing *w, const char *mac, const char *match,
                           const char *option, const char *actions)
{
    flow(w, EXCEPT, arena_printf(w->arena, "%s,%s=%s", match, option, mac), actions);
    flow(w, EXCEPT, arena_printf(w->arena, "%s,%s=00:00:00:00:00:00", match, option), actions);
}

static void flows_from(struct writing *w, const struct net_guard *g, const char *own,
                       const char *address)
{
    static const char targets[] = "resubmit(,250)";
    bool nobody = strcmp(address, "::") == 0;

    if (!ip_is_v6(address)) {
        flow(w, PASS, arena_printf(w->arena, "%s,ip,nw_src=%s", own, address), MARK);
        flow(w, PASS, arena_printf(w->arena, "%s,arp,arp_sha=%s,arp_spa=%s", own, g->mac, address),
             MARK);
        return;
    }
    if (!nobody)
        flow(w, PASS, arena_printf(w->arena, "%s,ipv6,ipv6_src=%s", own, address), MARK);
    flow_neighbour(w, g->mac,
                   arena_printf(w->arena, "%s,icmp6,icmp_type=135,ipv6_src=%s", own, address),
                   "nd_sll", MARK);
    flow_neighbour(w, g->mac,
                   arena_printf(w->arena, "%s,icmp6,icmp_type=136,ipv6_src=%s", own, address),
                   "nd_tll", targets);
}

/* As the rules of nftables (linux/guard.c) have it. */
static void flows_locked(struct writing *w, const struct net_guard *g)
{
    static const int neighbours[] = {134, 135, 136, 137};
    const char *own = arena_printf(w->arena, ",vlan_tci=0,dl_src=%s", g->mac), *from = w->from;

    flow(w, PASS, arena_printf(w->arena, "%s,udp,nw_src=0.0.0.0,tp_src=68,tp_dst=67", own), MARK);
    flow(w, PASS, arena_printf(w->arena, "%s,arp,arp_sha=%s,arp_spa=0.0.0.0", own, g->mac), MARK);
    for (size_t i = 0; i < ARRAY_SIZE(neighbours); i++)
        flow(w, REFUSE, arena_printf(w->arena, ",icmp6,icmp_type=%d", neighbours[i]), "drop");
    flows_from(w, g, own, "::");
    for (size_t i = 0; i < g->n_addresses; i++)
        if (strcmp(g->addresses[i], "0.0.0.0") != 0 && strcmp(g->addresses[i], "::") != 0)
            flows_from(w, g, own, g->addresses[i]);
    w->from = arena_printf(w->arena, "table=%d,%s", TARGETS, from);
    for (size_t i = 0; i < g->n_addresses; i++)
        if (ip_is_v6(g->addresses[i]))
            flow(w, PASS,
                 arena_printf(w->arena, ",icmp6,icmp_type=136,nd_target=%s", g->addresses[i]),
                 MARK);
}

/* Nothing from a port that is not there now: those that are pass, but for the ones that another
 * gate waits for.  Each has a mask of its own for the field of zeros, so that gates differ. */
static void flows_gate(struct writing *w, const struct ports *ports, const struct strings *awaited)
{
    w->from =
        arena_printf(w->arena, "hard_timeout=%d,reg15=0,metadata=0/0x%" PRIx64, GATE_TIME, w->id);
    flow(w, GATE_SHUT, "", "drop");
    for (size_t i = 0; i < ports->n; i++) {
        bool known = true;

        for (size_t j = 0; j < awaited->n; j++)
            known = known && strcmp(awaited->v[j], ports->v[i].name) != 0;
        if (known)
            flow(w, GATE_OPEN, arena_printf(w->arena, ",in_port=%s", ports->v[i].number), MARK);
    }
}

/* ---- into force ---- */

struct setting {
    struct arena *arena;
    struct ovs_rows rows;
    const struct net_guard *guards;
    size_t n;
    enum net_flows_when when;
};

/* In the bridge that has its port, and that which is to have it; where neither is known, in all. */
static bool concerns(const struct setting *s, const struct net_guard *g, const char *bridge)
{
    const struct ovs_port *port = ovs_port_with(&s->rows, g->device);
    const char *has = port ? port->bridge : "", *wanted = g->bridge ? g->bridge : "";

    return strcmp(has, bridge) == 0 || strcmp(wanted, bridge) == 0 || (!*has && !*wanted);
}

static void put_guard(const struct setting *s, const struct net_guard *g, const struct ports *ports,
                      const struct strings *awaited, struct buf *out)
{
    struct writing w = {.out = out, .arena = s->arena};
    const struct port *port = find_port(ports, g->device);

    if (!identity(g->device, &w.id))
        return; /* looked at before */
    buf_printf(out, "delete cookie=0x%" PRIx64 "/-1\n", cookie(w.id));
    if (g->mode == NET_GUARD_OPEN)
        return;
    if (port) {
        w.from = arena_printf(s->arena, "in_port=%s,reg15=0", port->number);
        flow(&w, SHUT, "", "drop");
        if (g->mode == NET_GUARD_LOCKED)
            flows_locked(&w, g);
    } else if (s->when == NET_FLOWS_BEFORE) {
        flows_gate(&w, ports, awaited);
    }
}

/* Whether something is sent through a port, a flow of the others cannot say: its settings do. */
static struct error *set_sending(const struct setting *s, const struct net_guard *g,
                                 const char *bridge, const struct ports *ports)
{
    const struct port *port = find_port(ports, g->device);
    bool shut = g->mode == NET_GUARD_SHUT;
    const char *const argv[] = {"ovs-ofctl",
                                "-O",
                                "OpenFlow14",
                                "mod-port",
                                bridge,
                                g->device,
                                shut ? "no-forward" : "forward",
                                NULL};
    struct child_result result;

    return port && port->shut != shut ? ofctl(s->arena, argv, NULL, &result) : OK;
}

static struct error *set_in_bridge(const struct setting *s, const char *bridge)
{
    const char *const argv[] = {"ovs-ofctl", "-O",   "OpenFlow14", "--bundle",
                                "add-flows", bridge, "-",          NULL};
    struct strings awaited = {0};
    struct child_result result;
    AUTO(buf) text = {0};
    struct ports ports;

    TRY(read_ports(s->arena, bridge, &ports));
    if (s->when == NET_FLOWS_BEFORE) /* after the ports: one of them that is waited for is told */
        TRY(read_cookies(s->arena, bridge, true, &awaited));
    for (size_t i = 0; i < s->n; i++)
        if (concerns(s, &s->guards[i], bridge))
            put_guard(s, &s->guards[i], &ports, &awaited, &text);
    TRY(ofctl(s->arena, argv, text.data, &result));
    for (size_t i = 0; i < s->n; i++)
        if (concerns(s, &s->guards[i], bridge))
            TRY(set_sending(s, &s->guards[i], bridge, &ports));
    return OK;
}

static bool is_concerned(const struct setting *s, const char *bridge)
{
    for (size_t i = 0; i < s->n; i++)
        if (concerns(s, &s->guards[i], bridge))
            return true;
    return false;
}

static struct error *load(struct arena *arena, const char *socket, struct ovs_rows *out)
{
    struct ovs_net net = {.socket = (char *)(socket ? socket : OVS_SOCKET)};
    AUTO(ovsdb) db = {0};
    const char *why = ovs_load(&net, &db, arena, out);

    return why ? wrong(
                     arena, "vif",
                     arena_printf(arena, "the flows of guests' interfaces cannot be set: %s", why))
               : OK;
}

/* What has been plugged is a port now, or what it sends would not be seen. */
static struct error *check_ports(const struct setting *s)
{
    for (size_t i = 0; i < s->n; i++) {
        const struct net_guard *g = &s->guards[i];
        const struct ovs_port *port = ovs_port_with(&s->rows, g->device);

        if (g->mode != NET_GUARD_OPEN && !strchr(g->device, '-') && !(port && *port->bridge))
            return wrong(s->arena, g->device,
                         "it has been plugged, but is no port of a bridge of Open vSwitch, so "
                         "what may pass it cannot be limited");
    }
    return OK;
}

/* The datapath goes by what it has been told before, until the switch has looked at all of that
 * again. */
static struct error *wait_for_datapath(struct arena *arena)
{
    static const char *const argv[] = {"ovs-appctl", "revalidator/wait", NULL};
    struct child_result result;

    return ofctl(arena, argv, NULL, &result);
}

struct error *net_flows_set(struct arena *arena, const char *socket, const struct net_guard *guards,
                            size_t n, enum net_flows_when when)
{
    struct setting s = {.arena = arena, .guards = guards, .n = n, .when = when};
    uint64_t id;

    for (size_t i = 0; i < n; i++) {
        TRY(net_guard_check(arena, &guards[i]));
        if (!identity(guards[i].device, &id))
            return wrong(arena, guards[i].device, "it is not a name for a guest's interface");
    }
    TRY(load(arena, socket, &s.rows));
    if (when == NET_FLOWS_PLUGGED)
        TRY(check_ports(&s));
    for (size_t i = 0; i < s.rows.n_bridges; i++)
        if (is_concerned(&s, s.rows.bridges[i].name))
            TRY(set_in_bridge(&s, s.rows.bridges[i].name));
    return wait_for_datapath(arena);
}

static bool contains(const struct strings *list, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(list->v[i], name) == 0)
            return true;
    return false;
}

struct error *net_flows_list(struct arena *arena, const char *socket, struct strings *out)
{
    struct ovs_rows rows;

    *out = (struct strings){0};
    TRY(load(arena, socket, &rows));
    for (size_t i = 0; i < rows.n_bridges; i++) {
        struct strings here;
        const char **v;

        TRY(read_cookies(arena, rows.bridges[i].name, false, &here));
        v = arena_array(arena, const char *, out->n + here.n + 1);
        if (out->n)
            memcpy(v, out->v, out->n * sizeof *v);
        out->v = v;
        for (size_t j = 0; j < here.n; j++)
            if (!contains(out, out->n, here.v[j]))
                v[out->n++] = here.v[j];
    }
    return OK;
}
