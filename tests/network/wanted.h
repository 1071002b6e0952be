/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* wanted.h -- what is wanted of a network, as lines of text; README.md has the form. */
#pragma once

#include "network-bridge/net.h"

/* Reads it; an error names the line that is none. */
MUST_CHECK struct error *wanted_parse(struct arena *arena, const char *text,
                                      struct net_wanted *out);
