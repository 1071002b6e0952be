/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vlan.h -- within ops/network: VLANs of a model. */
#pragma once

#include "xapid/ops/network/model.h"

/* A new VLAN on a port, with the PIF of its network; up where the port is up. */
MUST_CHECK struct error *model_add_vlan(struct net_model *m, ref_t tagged, int64_t tag,
                                        ref_t network, struct vlan **out);
/* The VLAN goes on another port; where that one has its tag already it goes, and the machines on
 * its network with it. */
void model_move_vlan(struct net_model *m, const struct vlan *vlan, const struct pif *to);
/* The VIFs on a network that are this host's own affair go to another network. */
void model_move_vifs(struct net_model *m, ref_t from, ref_t to);
