/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * standing.h -- whether the pool goes on without its coordinator: said where clients look,
 * pool.other_config:failover, and by an alert when it ends.
 */
#pragma once

#include "libxapi/base/arena.h"

struct xapid;

/* What is to be said. */
struct standing_facts {
    size_t hosts, voters;
    const char *coordinator; /* its name */
    const char *witness;     /* the name of the pool's; NULL: it has none */
};

/* A sentence that begins with "yes" or "no"; NULL for a host that is alone.  Pure. */
const char *standing_text(struct arena *arena, const struct standing_facts *facts);

/* On the coordinator, now and then: keeps the record up to date. */
void standing_look(struct xapid *xapid);
