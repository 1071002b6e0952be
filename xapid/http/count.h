/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* count.h -- what a server was asked since it began. */
#pragma once

#include "libxapi/base/arena.h"

struct http_server;

struct http_route_count {
    const char *method, *prefix;
    uint64_t requests;
    uint64_t last;   /* of these: after which the client wanted the connection closed */
    uint64_t bodies; /* of these: with a body that was read as a whole first */
};

/* One for each route, in the table's order; returns how many. */
size_t http_routes_used(struct arena *arena, struct http_server *server,
                        const struct http_route_count **out);
