/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What ovsdb-server may answer, and the ports that follow from the links it says are declared. */
#include <assert.h>
#include <string.h>

#include "network-bridge/ovs/render.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The same end, whatever the pieces that it comes in. */
static long frame(const char *s, size_t n)
{
    struct ovsdb_scan at_once = {0}, by_pieces = {0};
    long whole = ovsdb_frame(&at_once, s, n), end = 0;

    for (size_t i = 1; i <= n && end == 0; i++)
        end = ovsdb_frame(&by_pieces, s, i);
    assert(end == whole && whole <= (long)n);
    return whole;
}

static void follow(struct arena *arena, struct ovs_rows *rows)
{
    OVSDB_JSON *operations = json_array();
    struct ovs_ports wanted;

    ovs_render(arena, rows, &rows->declared, &wanted);
    ovs_converge(arena, rows, &wanted, operations);
    for (size_t i = 0; i < rows->declared.n_links; i++) {
        const struct net_link *link = &rows->declared.links[i];
        struct net_link again;

        if (ovs_link_parse(arena, ovs_link_text(arena, link), &again)) /* "mac mtu" is none */
            assert(strcmp(again.name, link->name) == 0 && again.kind == link->kind);
        ovs_is_rendered(rows, &wanted, link->name);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(arena) arena = {0};
    const char *s = arena_strndup(&arena, (const char *)data, size), *why = NULL;
    long end = frame(s, size);
    OVSDB_JSON *reply = end > 0 ? json_loadb(s, (size_t)end, 0, NULL) : NULL;
    json_t *results = ovsdb_results(&arena, reply, &why);
    struct ovs_rows rows;

    assert((results != NULL) != (why != NULL));
    if (!results)
        return 0;
    ovs_rows_read(&arena, results, &rows);
    follow(&arena, &rows);
    return 0;
}
