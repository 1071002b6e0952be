/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* check.h -- what must hold of every plan, whatever it is for. */
#pragma once

#include "network-bridge/net.h"
#include "network-bridge/sim/text.h"

/*
 * NULL, or what is wrong with a plan: it does not arrive, its undo does not return, or one of the
 * states in between is one from which no plan arrives.  'reached' is where it leads.
 */
const char *check_plan(struct arena *arena, const struct net_wanted *wanted,
                       const struct net_state *present, const struct net_plan *plan,
                       struct net_state *reached);

/* The programs of network-tool. */
int cases_main(void);
int random_main(uint64_t seed, int rounds);
int host_main(int argc, char **argv);
