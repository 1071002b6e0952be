/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* conflict.h -- what stands in the way of the targets, and may not be touched. */
#pragma once

#include "network-bridge/plan/target.h"

/* Whether a link can become the target without being made anew. */
bool link_fits(const struct net_state *present, const struct net_link *link,
               const struct net_link *target);
/* A link on it or in it that is neither wanted nor made here; NULL where there is none. */
const struct net_link *link_foreign_user(const struct net_state *state,
                                         const struct targets *targets, const char *name);
/* An error for the first target that cannot be reached without touching what is not ours. */
MUST_CHECK struct error *conflicts_check(struct arena *arena, const struct targets *targets,
                                         const struct net_state *present);
