/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/network/offload.h"

#include "libxapi/base/log.h"
#include "libxapi/value/value.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/host/system.h"
#include "xapid/ops/network/change.h"

struct error *offload_tell(struct call *call, const char *device, const char *gro)
{
    if (host_network_is_simulated(call->xapid->network))
        return OK;
    return SYSTEM_RUN(call, NULL, "ethtool", "-K", device, "gro", gro);
}

void offload_settle(struct call *call)
{
    struct refs pifs = db_referrers(call, FIELD_pif_host, call->xapid->host);

    for (size_t i = 0; i < pifs.n; i++) {
        const struct pif *pif = db_find(call, CLASS_pif, pifs.v[i]);
        const char *gro = strmap_get(&pif->properties, "gro");
        struct error *e = gro ? offload_tell(call, pif->device, gro) : OK;

        if (e)
            log_error("receive offload of %s is not as recorded: %s", pif->device,
                      error_line(call->arena, e));
    }
}
