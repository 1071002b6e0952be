/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* worlds.h -- a host that is alone and a pool that it could join, as databases made by hand. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "xapid/db/db.h"
#include "xapid/db/row.h"

struct world {
    struct db_root *root;
    ref_t host, pool, network, sr;
};

static inline ref_t ref_of(uint64_t n)
{
    return (ref_t){0x77, n};
}

/* A row with its defaults; to be put. */
#define NEW_ROW(class, name)                                                                       \
    struct class name;                                                                             \
    row_defaults(&api_classes[CLASS_##class], &name)
#define PUT(world, class, row)                                                                     \
    root_put((world)->root, row_new(&api_classes[CLASS_##class], (row)), 1)

static const struct strpair versions[] = {
    {"product_version", "8.3.0"}, {"product_brand", "xapid"}, {"platform_version", "3.4.0"},
    {"xapi_build", "xapid 1"},    {"db_schema", "5.909"},     {"network_backend", "bridge"}};
static const struct strpair processor[] = {{"vendor", "GenuineIntel"}};

static inline void put_host(struct world *w, uint64_t base, const char *uuid)
{
    NEW_ROW(host, host);
    NEW_ROW(pif, pif);

    host.ref = w->host = ref_of(base);
    host.uuid = uuid;
    host.enabled = true;
    host.api_version_major = 2;
    host.api_version_minor = 23;
    host.software_version = (struct strmap){ARRAY_SIZE(versions), versions};
    host.cpu_info = (struct strmap){ARRAY_SIZE(processor), processor};
    PUT(w, host, &host);
    pif.ref = ref_of(base + 1);
    pif.uuid = "pif";
    pif.host = w->host;
    pif.network = w->network;
    pif.vlan = -1;
    pif.management = true;
    pif.physical = true;
    PUT(w, pif, &pif);
}

/* References begin at 'base', so that two worlds have none in common. */
static inline void world_new(struct world *w, uint64_t base, const char *uuid)
{
    NEW_ROW(network, network);
    NEW_ROW(pool, pool);
    NEW_ROW(sr, sr);

    w->root = root_new();
    w->root->revision = 1;
    network.ref = w->network = ref_of(base + 10);
    network.uuid = "network";
    network.bridge = "xenbr0";
    PUT(w, network, &network);
    put_host(w, base, uuid);
    pool.ref = w->pool = ref_of(base + 11);
    pool.uuid = "pool";
    pool.master = w->host;
    PUT(w, pool, &pool);
    sr.ref = w->sr = ref_of(base + 12);
    sr.uuid = base == 100 ? "sr-100" : "sr";
    sr.type = "ext";
    PUT(w, sr, &sr);
}
