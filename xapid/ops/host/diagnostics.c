/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* diagnostics.c -- class Diagnostics: what the daemon's own memory and database look like. */
#include <malloc.h>

#include "libxapi/value/value.h"
#include "xapid/db/db.h"
#include "xapid/http/count.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/host/here.h"

/* Gives memory that is not in use back to the system. */
struct error *diagnostics_gc_compact(struct call *call,
                                     const struct diagnostics_gc_compact_args *args)
{
    TRY(host_check_here(call, args->host));
    malloc_trim(0);
    return OK;
}

static const char *number(struct call *call, uint64_t n)
{
    return arena_printf(call->arena, "%llu", (unsigned long long)n);
}

struct error *diagnostics_gc_stats(struct call *call, const struct diagnostics_gc_stats_args *args,
                                   struct strmap *result)
{
    struct mallinfo2 info = mallinfo2();
    const struct strpair pairs[] = {
        {"heap_bytes", number(call, info.arena)},
        {"heap_used_bytes", number(call, info.uordblks)},
        {"heap_free_bytes", number(call, info.fordblks)},
        {"heap_free_at_end_bytes", number(call, info.keepcost)},
        {"mapped_blocks", number(call, info.hblks)},
        {"mapped_bytes", number(call, info.hblkhd)},
    };

    TRY(host_check_here(call, args->host));
    *result = (struct strmap){ARRAY_SIZE(pairs), arena_memdup(call->arena, pairs, sizeof pairs)};
    return OK;
}

/* Nobody waits for a lock on the database: what there is to tell is how far its log has come. */
struct error *diagnostics_db_stats(struct call *call, struct strmap *result)
{
    const struct db_root *root = snap_root(call->snap);
    struct log_status status;
    uint64_t rows = 0;

    db_status(call->xapid->db, &status);
    for (int i = 0; i < CLASS_COUNT; i++)
        rows += root->tables[i].count;
    {
        const struct strpair pairs[] = {
            {"revision", number(call, root->revision)},
            {"rows", number(call, rows)},
            {"log_last_index", number(call, status.last_index)},
            {"log_applied_index", number(call, status.applied_index)},
            {"log_term", number(call, status.term)},
            {"writable", status.writable ? "true" : "false"},
        };

        *result =
            (struct strmap){ARRAY_SIZE(pairs), arena_memdup(call->arena, pairs, sizeof pairs)};
    }
    return OK;
}

/*** what came over the network ***/

struct wanted {
    const char *method, *path; /* NULL: any */
    const char *columns;       /* between commas; NULL: all */
};

static bool has_column(const struct wanted *w, const char *name)
{
    size_t n = strlen(name);

    for (const char *p = w->columns; p; p = strchr(p, ',')) {
        p += *p == ',';
        if (strncmp(p, name, n) == 0 && (!p[n] || p[n] == ','))
            return true;
    }
    return !w->columns;
}

static struct strings stats_row(struct call *call, const struct wanted *w,
                                const struct http_route_count *count)
{
    const struct strpair all[] = {
        {"method", count->method},
        {"uri", count->prefix},
        {"requests", number(call, count->requests)},
        {"connections", number(call, count->last)},
        {"framed", number(call, count->bodies)},
    };
    const char **v = arena_array(call->arena, const char *, ARRAY_SIZE(all));
    size_t n = 0;

    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        if (has_column(w, all[i].key))
            v[n++] = all[i].value;
    return (struct strings){n, v};
}

struct error *diagnostics_network_stats(struct call *call,
                                        const struct diagnostics_network_stats_args *args,
                                        struct set *result)
{
    const struct wanted w = {strmap_get(&args->params, "method"), strmap_get(&args->params, "uri"),
                             strmap_get(&args->params, "params")};
    const struct http_route_count *counts;
    struct strings *rows;
    size_t n, used = 0;

    TRY(host_check_here(call, args->host));
    n = http_routes_used(call->arena, call->xapid->http, &counts);
    rows = arena_array(call->arena, struct strings, n + 1);
    for (size_t i = 0; i < n; i++)
        if ((!w.method || strcasecmp(w.method, counts[i].method) == 0) &&
            (!w.path || strcasecmp(w.path, counts[i].prefix) == 0))
            rows[used++] = stats_row(call, &w, &counts[i]);
    *result = (struct set){used, rows};
    return OK;
}
