/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * model.h -- what Linux does when a step is done: the thing itself, what it refuses, and what
 * happens beside it (a link that goes down loses its routes, a card in a bond comes up, ...).
 *
 * The plan is made by doing its steps on the model one by one; the simulated kernel is the same
 * model with a file.  tests/network/linux.py holds it against the real one.
 */
#pragma once

#include "network-bridge/net.h"

struct model {
    struct arena *arena;
    bool vswitch; /* as in the state */
    size_t n_links, n_addresses, n_routes;
    size_t room_links, room_addresses, room_routes;
    struct net_link **links;
    struct net_address *addresses;
    struct net_route *routes;
    struct net_dns dns;
};

/* A model that begins with 'state', which it shares the strings of.  Lives in the arena. */
void model_init(struct model *model, struct arena *arena, const struct net_state *state);
/* A copy of what it has come to. */
void model_state(const struct model *model, struct arena *arena, struct net_state *out);
/* By name; NULL where there is none. */
struct net_link *model_link(const struct model *model, const char *name);
/* Does a step.  NULL, or why it is refused: a piece of a sentence, and nothing has changed. */
MUST_CHECK const char *model_step(struct model *model, const struct net_step *step);
