/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tunnel.c -- networks between hosts over another network.
 *
 * VXLAN is Linux's own.  GRE between more than two hosts needs Open vSwitch.
 */
#include <openssl/sha.h>
#include <string.h>

#include "xapid/main/xapid.h"
#include "xapid/ops/network/change.h"
#include "xapid/ops/network/pif.h"
#include "xapid/ops/network/rules.h"

struct creation {
    const struct tunnel_create_args *args;
    ref_t tunnel;
};

static struct error *check_transport(struct net_model *m, const struct pif *pif)
{
    const char *ref = call_ref(m->call, pif->ref);

    TRY(pif_check_managed(m, pif));
    if (!ref_is_null(pif->bond_slave_of))
        return err_cannot_add_tunnel_to_bond_slave(m->call, ref);
    if (model_tunnel_of(m, pif->ref))
        return err_is_tunnel_access_pif(m->call, ref);
    return pif->ip_configuration_mode == IP_CONFIGURATION_MODE_NONE
               ? err_transport_pif_not_configured(m->call, ref)
               : OK;
}

static const char *free_device(struct net_model *m)
{
    for (int i = 0;; i++) {
        const char *device = arena_printf(m->arena, "tunnel%d", i);

        if (!model_pif_named(m, device))
            return device;
    }
}

/* The same at each run, and on no other host. */
static const char *mac_of(struct net_model *m, const char *device)
{
    const char *text = arena_printf(m->arena, "%s %s", call_ref(m->call, m->host), device);
    uint8_t d[SHA256_DIGEST_LENGTH];

    SHA256((const uint8_t *)text, strlen(text), d);
    return arena_printf(m->arena, "02:%02x:%02x:%02x:%02x:%02x", d[0], d[1], d[2], d[3], d[4]);
}

static struct error *create(struct net_model *m, void *arg)
{
    struct creation *c = arg;
    const struct pif *transport;
    struct tunnel *tunnel;
    struct pif *pif;

    TRY(MODEL_GET(m, pif, c->args->transport_pif, &transport));
    TRY(check_transport(m, transport));
    TRY(network_check_free(m, c->args->network));
    pif = model_add_pif(m, transport, c->args->network);
    pif->device = free_device(m);
    pif->mac = mac_of(m, pif->device);
    tunnel = model_add(m, CLASS_tunnel);
    tunnel->access_pif = pif->ref;
    tunnel->transport_pif = transport->ref;
    tunnel->protocol = c->args->protocol;
    c->tunnel = tunnel->ref;
    return transport->currently_attached ? model_plug(m, pif) : OK;
}

struct error *tunnel_create(struct call *call, const struct tunnel_create_args *args, ref_t *result)
{
    struct creation c = {.args = args};
    ref_t host;

    TRY(pif_host(call, args->transport_pif, &host));
    if (args->protocol == TUNNEL_PROTOCOL_GRE && !host_network_is_vswitch(call->xapid->network))
        return error_new(call->arena, "OPENVSWITCH_NOT_ACTIVE", 1,
                         "GRE among hosts needs Open vSwitch; protocol=vxlan works without");
    TRY(network_change(call, host, create, &c));
    *result = c.tunnel;
    return OK;
}

static struct error *destroy(struct net_model *m, void *arg)
{
    const struct tunnel *tunnel;
    const struct pif *pif;

    TRY(MODEL_GET(m, tunnel, *(const ref_t *)arg, &tunnel));
    TRY(MODEL_GET(m, pif, tunnel->access_pif, &pif));
    TRY(pif_check_not_management(m, pif));
    TRY(network_check_idle(m, pif->network));
    model_remove(m, CLASS_tunnel, tunnel->ref);
    model_remove_pif(m, pif->ref);
    return OK;
}

struct error *tunnel_destroy(struct call *call, const struct tunnel_destroy_args *args)
{
    ref_t ref = args->self, host;
    const struct tunnel *tunnel;

    TRY(DB_GET(call, tunnel, ref, &tunnel));
    TRY(pif_host(call, tunnel->access_pif, &host));
    return network_change(call, host, destroy, &ref);
}
