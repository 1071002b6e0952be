/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* management.c -- which of a host's ports carries its management address. */
#include "xapid/ops/network/management.h"

#include <string.h>

#include "xapid/forward/forward.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/network/change.h"
#include "xapid/ops/network/pif.h"
#include "xapid/ops/network/rules.h"

/*** host. ***/

static struct error *check_address(struct net_model *m, const struct pif *pif)
{
    const char *ref = call_ref(m->call, pif->ref);
    bool v4 = pif->primary_address_type == PRIMARY_ADDRESS_TYPE_IPV4;

    if (v4 && pif->ip_configuration_mode == IP_CONFIGURATION_MODE_NONE)
        return err_pif_has_no_network_configuration(m->call, ref);
    if (!v4 && pif->ipv6_configuration_mode == IPV6_CONFIGURATION_MODE_NONE)
        return err_pif_has_no_v6_network_configuration(m->call, ref);
    return OK;
}

static struct error *check_can_manage(struct net_model *m, const struct pif *pif)
{
    const struct pif *old = model_management(m);
    const char *ref = call_ref(m->call, pif->ref);

    TRY(pif_check_managed(m, pif));
    if (!ref_is_null(pif->bond_slave_of))
        return err_cannot_plug_bond_slave(m->call, ref);
    if (old && old->primary_address_type != pif->primary_address_type)
        return err_pif_incompatible_primary_address_type(m->call, ref);
    return check_address(m, pif);
}

/* The former one keeps its address, and is one of the host's others from now on. */
static struct error *reconfigure(struct net_model *m, void *arg)
{
    struct pif *pif = model_edit(m, CLASS_pif, *(const ref_t *)arg);
    const struct pif *old = model_management(m);

    TRY(MODEL_GET(m, pif, *(const ref_t *)arg, &pif));
    if (network_is_watched(m))
        return err_ha_is_enabled(m->call);
    TRY(check_can_manage(m, pif));
    if (old)
        ((struct pif *)model_edit(m, CLASS_pif, old->ref))->management = false;
    pif->management = true;
    return pif->currently_attached ? OK : model_plug(m, pif);
}

struct error *host_management_reconfigure(struct call *call,
                                          const struct host_management_reconfigure_args *args)
{
    ref_t ref = args->pif, host;

    TRY(pif_host(call, ref, &host));
    return network_change(call, host, reconfigure, &ref);
}

/* By the name of a device or of its bridge. */
static ref_t find_interface(struct call *call, const char *name)
{
    const struct pif *pif;
    struct net_model m;
    size_t i = 0;

    model_load(&m, call, NULL, call->xapid->host);
    while ((pif = model_next(&m, CLASS_pif, &i))) {
        const struct network *network = model_find(&m, CLASS_network, pif->network);

        if ((pif->vlan < 0 && strcmp(pif->device, name) == 0) ||
            (network && strcmp(network->bridge, name) == 0))
            return pif->ref;
    }
    return REF_NULL;
}

struct error *host_local_management_reconfigure(
    struct call *call, const struct host_local_management_reconfigure_args *args)
{
    ref_t ref = find_interface(call, args->interface);

    if (ref_is_null(ref))
        return err_pif_device_not_found(call);
    return network_change(call, call->xapid->host, reconfigure, &ref);
}

static struct error *disable(struct net_model *m, void *arg)
{
    const struct pif *old = model_management(m);

    (void)arg;
    if (old)
        ((struct pif *)model_edit(m, CLASS_pif, old->ref))->management = false;
    return OK;
}

struct error *host_management_disable(struct call *call)
{
    if (snap_root(call->snap)->tables[CLASS_host].count > 1)
        return err_slave_requires_management_interface(call);
    return network_change(call, call->xapid->host, disable, NULL);
}

bool host_has_management(const struct db_snap *snap, ref_t host)
{
    struct db_walk walk;
    const struct pif *pif;
    bool any = false;

    db_walk(snap, CLASS_pif, &walk);
    while ((pif = db_walk_next(&walk))) {
        if (ref_equal(pif->host, host) && pif->management)
            return true;
        any |= ref_equal(pif->host, host);
    }
    return !any;
}

/*** pool. ***/

/* Before any host is switched: each of them could be. */
static struct error *check_host(struct call *call, ref_t host, ref_t network, ref_t *out)
{
    const struct pif *pif;
    struct net_model m;

    model_load(&m, call, NULL, host);
    if (network_is_watched(&m))
        return err_ha_is_enabled(call);
    pif = model_pif_on(&m, network);
    if (!pif)
        return err_pif_not_present(call, call_ref(call, host), call_ref(call, network));
    *out = pif->ref;
    return check_can_manage(&m, pif);
}

/* All are checked first; this host, which leads the others there, comes last. */
struct error *pool_management_reconfigure(struct call *call,
                                          const struct pool_management_reconfigure_args *args)
{
    struct host_management_reconfigure_args mine = {REF_NULL}, *others;
    const struct network *network;
    const struct host *host;
    struct db_walk walk;
    size_t n = 0;

    TRY(DB_GET(call, network, args->network, &network));
    others = arena_array(call->arena, struct host_management_reconfigure_args,
                         snap_root(call->snap)->tables[CLASS_host].count + 1);
    db_walk(call->snap, CLASS_host, &walk);
    while ((host = db_walk_next(&walk))) {
        bool here = ref_equal(host->ref, call->xapid->host);

        TRY(check_host(call, host->ref, args->network, here ? &mine.pif : &others[n++].pif));
    }
    for (size_t i = 0; i < n; i++)
        TRY(forward_run(call, MSG_host_management_reconfigure, &others[i], NULL));
    return host_management_reconfigure(call, &mine);
}
