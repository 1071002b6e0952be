/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ovs.h -- Open vSwitch's part among itself: a kernel whose bridges, bonds, VLANs and tunnels are
 * in its database, and whose cards, addresses and routes are Linux's.
 */
#pragma once

#include "network-bridge/net.h"
#include "network-bridge/ovs/render.h"

#define OVS_SOCKET "/run/openvswitch/db.sock" /* where Debian has it */

struct ovs_net {
    struct net_kernel kernel;
    struct net_kernel *host; /* Linux */
    char *socket, *run;
    /* ovs-vswitchd did not take a change in time.  Until it does, steps are done in the database
     * alone (it follows when it is back), so that a plan can be taken back; a new one begins with
     * reading, and there it is waited for again. */
    bool late;
};

/* ovs.c.  Each returns NULL, or why not. */
MUST_CHECK const char *ovs_load(struct ovs_net *net, struct ovsdb *db, struct arena *arena,
                                struct ovs_rows *out);
/* Does the operations, which are taken over, and waits until ovs-vswitchd has done what they ask
 * for; '*done' where they were done, also where it has not. */
MUST_CHECK const char *ovs_commit(struct ovs_net *net, struct ovsdb *db, struct arena *arena,
                                  const struct ovs_rows *rows, json_t *operations, bool *done);

/* read.c */
MUST_CHECK struct error *ovs_read(struct ovs_net *net, struct arena *arena, struct net_state *out);
