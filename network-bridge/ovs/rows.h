/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * rows.h -- what Open vSwitch's database says: its bridges, their ports, and the links that were
 * declared here.
 *
 * A link that is no device of the kernel (a bond, a VLAN, a tunnel) is declared in a line of text
 * in the external_ids of the database's one root row, from the step that makes it to the one that
 * removes it: there it can be without members, ends or a bridge, which a port cannot.  Its ports
 * follow from it (render.c) and carry its name.
 */
#pragma once

#include "libxapi/value/type.h"
#include "network-bridge/net.h"
#include "network-bridge/ovs/ovsdb.h"

#define OVS_LINK_KEY "xapid-link" /* of a port: the link that it follows from */
#define OVS_OURS_KEY "xapid"      /* of a bridge that is ours */
#define OVS_DATAPATH_KEY "xapid-datapath"

struct ovs_interface {
    const char *uuid, *name, *type, *error;
    struct strmap options; /* in the order of their keys */
};

struct ovs_port {
    const char *uuid, *name, *bridge;
    const char *link; /* "" for one that was not made from a declared link */
    int tag;          /* -1: none */
    bool isolated;    /* nothing passes between two such ports of a bridge */
    const char *bond_mode, *lacp;
    int updelay, downdelay;
    struct strmap other_config;
    size_t n_interfaces;
    const struct ovs_interface **interfaces;
};

struct ovs_bridge {
    const char *uuid, *name;
    bool ours;
};

struct ovs_rows {
    const char *uuid;     /* of the root */
    const char *datapath; /* the type that new bridges get */
    int64_t next_cfg, cur_cfg;
    size_t n_bridges, n_ports, n_interfaces;
    struct ovs_bridge *bridges;
    struct ovs_port *ports;
    struct ovs_interface *interfaces;
    struct net_state declared; /* its links: bonds, VLANs, tunnels, and cards that are a bond's */
};

/* The operations that ask for it. */
json_t *ovs_rows_query(void);
/* Reads their results; what makes no sense is passed over.  Everything is copied to the arena. */
void ovs_rows_read(struct arena *arena, json_t *results, struct ovs_rows *out);

const struct ovs_bridge *ovs_bridge_find(const struct ovs_rows *rows, const char *name);
/* The port with that interface; NULL where there is none. */
const struct ovs_port *ovs_port_with(const struct ovs_rows *rows, const char *interface);
/* Whether two ports are the same but for their rows. */
bool ovs_port_equal(const struct ovs_port *a, const struct ovs_port *b);

/* A declared link as the text in the database, and back; false for what is none. */
const char *ovs_link_text(struct arena *arena, const struct net_link *link);
bool ovs_link_parse(struct arena *arena, const char *text, struct net_link *out);
