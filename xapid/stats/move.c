/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/stats/move.h"

#include "libxapi/base/log.h"
#include "xapid/stats/table.h"

bool stats_vm_pack(struct stats *stats, const char *uuid, struct buf *out)
{
    const struct object *o;

    if (!stats)
        return false;
    MUTEX_GUARD(&stats->table.lock);
    o = table_find(&stats->table, OWNER_VM, uuid);
    if (o)
        rrd_encode(out, o->rrd);
    return o != NULL;
}

void stats_vm_unpack(struct stats *stats, const char *uuid, const void *data, size_t size)
{
    const char *why = "it is too large";
    struct rrd *rrd = stats && size <= STATS_MOVE_MAX ? rrd_decode(data, size, &why) : NULL;

    if (rrd)
        stats_replace(stats, OWNER_VM, uuid, rrd);
    else
        log_warning("statistics of VM %s that came with it: %s; its history begins anew", uuid,
                    why);
}
