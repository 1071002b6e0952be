/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * render.h -- the ports that declared links stand for, and the operations that make the database's
 * ports these.
 *
 *     bond     one port with its members; once it has a bridge and a member
 *     VLAN     a pair of patch ports: one in the bridge of what it tags on, which gives and takes
 *              the tag there, and one in its own bridge; once there are both
 *     tunnel   a port for each other end, none of which passes on what comes from another
 */
#pragma once

#include "network-bridge/ovs/rows.h"

struct ovs_ports {
    size_t n, room;
    struct ovs_port *v;
};

/* What 'declared' stands for, with the bridges and cards of 'rows'. */
void ovs_render(struct arena *arena, const struct ovs_rows *rows, const struct net_state *declared,
                struct ovs_ports *out);
/* True where the ports of a declared link are all there as they are to be, also where it has none.
 */
bool ovs_is_rendered(const struct ovs_rows *rows, const struct ovs_ports *wanted, const char *link);
/* Adds to 'operations' what makes the ports of declared links those that are wanted; false where
 * there was nothing to be done. */
bool ovs_converge(struct arena *arena, const struct ovs_rows *rows, const struct ovs_ports *wanted,
                  json_t *operations);

/* Single operations: a port into, and one out of, its bridge. */
void ovs_add_port(struct arena *arena, const struct ovs_rows *rows, const struct ovs_port *port,
                  json_t *operations);
void ovs_remove_port(const struct ovs_rows *rows, const struct ovs_port *port, json_t *operations);
