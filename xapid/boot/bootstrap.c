/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/boot/bootstrap.h"

#include <inttypes.h>

#include "xapid/boot/parts.h"
#include "xapid/db/db.h"
#include "xapid/main/office.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/devices/refresh.h"
#include "xapid/ops/host/level.h"
#include "xapid/ops/network/change.h"
#include "xapid/ops/storage/sm.h"

static void who_am_i(struct call *call, struct boot *b)
{
    struct log_status status;
    struct log_member *members;
    size_t n;

    db_members(b->xapid->db, call->arena, &n, &members);
    db_status(b->xapid->db, &status);
    b->alone = n <= 1 && db_leads(b->xapid->db);
    b->member = status.id ? arena_printf(call->arena, "%016" PRIx64, status.id) : "";
}

struct error *bootstrap(struct call *call)
{
    struct xapid *xapid = call->xapid;
    struct boot b = {.xapid = xapid, .address = ""};

    who_am_i(call, &b);
    TRY(identity_find(call, &b));
    facts_read(call->arena, &b.facts);
    TRY(boot_read_hypervisor(call, &b));
    TRY(db_update(call, txn_boot_settle, &b));
    /* Always a change: afterwards everything is applied here that was in the log before. */
    TRY(db_update(call, txn_boot_refresh, &b));
    xapid->host = b.host;
    xapid->pool = b.pool;
    TRY(level_settle(call));
    office_read_epoch(xapid, call->snap);
    TRY(db_update(call, txn_boot_networks, &b));
    if (host_network_is_simulated(xapid->network))
        TRY(db_update(call, txn_boot_refresh_pifs, &b));
    TRY(devices_refresh(call));
    TRY(sm_rows_refresh(call));
    TRY(boot_storage(call, &b));
    return db_update(call, txn_boot_templates, &b);
}

bool bootstrap_recall(struct call *call)
{
    struct xapid *x = call->xapid;
    const char *path = arena_printf(call->arena, "%s/host-uuid", x->options.state_dir), *uuid;
    const struct pool *pool;
    struct db_walk walk;
    struct refs hosts;
    struct error *e = identity_read(call->arena, path, &uuid);

    db_walk(call->snap, CLASS_pool, &walk);
    pool = db_walk_next(&walk);
    hosts = e || !*uuid ? (struct refs){0}
                        : db_referrers(call, FIELD_host_uuid, index_key_string(uuid));
    if (!pool || !hosts.n)
        return false;
    x->host = hosts.v[0];
    x->pool = pool->ref;
    office_read_epoch(x, call->snap);
    return true;
}
