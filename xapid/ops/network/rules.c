/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/network/rules.h"

#include <arpa/inet.h>
#include <string.h>

#include "libxapi/value/value.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/rows.h"

struct error *pif_check_managed(struct net_model *m, const struct pif *pif)
{
    return pif->managed ? OK : err_pif_unmanaged(m->call, call_ref(m->call, pif->ref));
}

struct error *pif_check_not_management(struct net_model *m, const struct pif *pif)
{
    return pif->management ? err_pif_is_management_interface(m->call, call_ref(m->call, pif->ref))
                           : OK;
}

struct error *network_check_free(struct net_model *m, ref_t ref)
{
    const struct pif *pif = model_pif_on(m, ref);
    const struct network *network;

    TRY(MODEL_GET(m, network, ref, &network));
    if (!network->managed)
        return err_network_unmanaged(m->call, call_ref(m->call, ref));
    return pif ? err_network_already_connected(m->call, call_ref(m->call, ref),
                                               call_ref(m->call, pif->ref))
               : OK;
}

struct error *network_check_idle(struct net_model *m, ref_t network)
{
    struct refs vifs = model_referrers(m, FIELD_vif_network, network);

    for (size_t i = 0; i < vifs.n; i++) {
        const struct vif *vif = model_find(m, CLASS_vif, vifs.v[i]);
        const struct vm *vm = vif ? model_find(m, CLASS_vm, vif->vm) : NULL;

        if (vm && vif->currently_attached && ref_equal(vm->resident_on, m->host))
            return err_vif_in_use(m->call, call_ref(m->call, network), call_ref(m->call, vif->ref));
    }
    return OK;
}

bool network_is_watched(struct net_model *m)
{
    const struct pool *pool = model_find(m, CLASS_pool, m->call->xapid->pool);

    return pool && pool->ha_enabled;
}

/*** addresses ***/

static bool is_ip(int family, const char *text)
{
    uint8_t bytes[16];

    return inet_pton(family, text, bytes) == 1;
}

struct error *check_ip(struct call *call, int family, const char *name, const char *text)
{
    return is_ip(family, text) ? OK : err_invalid_ip_address_specified(call, name);
}

struct error *check_ip_list(struct call *call, const char *name, const char *text)
{
    while (*(text += strspn(text, ", "))) {
        size_t size = strcspn(text, ", ");

        if (!is_ip_address(arena_strndup(call->arena, text, size)))
            return err_invalid_ip_address_specified(call, name);
        text += size;
    }
    return OK;
}

struct error *check_cidr(struct call *call, int family, const char *name, const char *text)
{
    const char *slash = strchr(text, '/');
    int64_t bits;

    if (slash && is_ip(family, arena_strndup(call->arena, text, (size_t)(slash - text))) &&
        int_from_text(slash + 1, &bits) && bits >= 0 && bits <= (family == AF_INET ? 32 : 128))
        return OK;
    return err_invalid_cidr_address_specified(call, name);
}
