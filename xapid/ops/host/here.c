/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/host/here.h"

#include "libxapi/base/log.h"
#include "xapid/main/xapid.h"

struct error *host_check(struct call *call, ref_t ref)
{
    const struct host *host;

    return DB_GET(call, host, ref, &host);
}

struct error *host_is_here(struct call *call, ref_t ref)
{
    if (ref_equal(ref, call->xapid->host))
        return OK;
    call->elsewhere = ref;
    return err_cannot_contact_host(call, call_ref(call, ref));
}

struct error *host_check_here(struct call *call, ref_t ref)
{
    TRY(host_check(call, ref));
    return host_is_here(call, ref);
}

const struct host *host_here(struct call *call)
{
    return db_find(call, CLASS_host, call->xapid->host);
}

void hosts_each(struct call *call, struct error *(*fn)(struct call *call, ref_t host, void *arg),
                void *arg, const char **failed)
{
    ref_t *hosts =
        arena_array(call->arena, ref_t, snap_root(call->snap)->tables[CLASS_host].count + 1);
    const struct host *host;
    struct db_walk walk;
    size_t n = 0;

    db_walk(call->snap, CLASS_host, &walk);
    while ((host = db_walk_next(&walk)))
        hosts[n++] = host->ref;
    *failed = "";
    for (size_t i = 0; i < n; i++) {
        struct error *e = fn(call, hosts[i], arg);

        if (!e)
            continue;
        log_error("host %s: %s", call_ref(call, hosts[i]), error_line(call->arena, e));
        *failed = arena_printf(call->arena, "%s%s%s", *failed, **failed ? "," : "",
                               call_ref(call, hosts[i]));
    }
}
