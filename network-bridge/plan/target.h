/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * target.h -- what is wanted, in the terms of the kernel: for each port and each bridge the link
 * that is to be there, under its name in this kernel.
 */
#pragma once

#include "network-bridge/net.h"

struct target {
    struct net_link link; /* 'mac' is "" where any will do */
    const struct net_port *port;
    const struct net_bridge *bridge; /* of the two one is NULL */
};

/* Lowest first: cards, bonds, VLANs, tunnels, bridges. */
struct targets {
    size_t n, n_notes;
    struct target *v;
    const char **notes;
};

/* Checks what is wanted and turns it into targets; errors as those of net_plan. */
MUST_CHECK struct error *targets_make(struct arena *arena, const struct net_wanted *wanted,
                                      const struct net_state *present, struct targets *out);
/* By the name of its link; NULL where there is none. */
const struct target *target_find(const struct targets *targets, const char *name);
/* PIF_CONFIGURATION_ERROR(device, text). */
MUST_CHECK struct error *net_error(struct arena *arena, const char *device, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
