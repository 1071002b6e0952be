/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/network/observe.h"

#include <string.h>

#include "libxapi/base/seam.h"
#include "libxapi/value/value.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/network/change.h"
#include "xapid/ops/network/wanted.h"

/*** addresses ***/

static bool is_ipv6(const char *address)
{
    return strchr(address, ':') != NULL;
}

static const char *gateway_of(const struct net_state *state, const char *device, bool v6)
{
    for (size_t i = 0; i < state->n_routes; i++) {
        const struct net_route *r = &state->routes[i];

        if (strcmp(r->device, device) == 0 && strcmp(r->to, v6 ? "::/0" : "0.0.0.0/0") == 0)
            return r->via;
    }
    return "";
}

static const char *dns_of(struct arena *arena, const struct net_state *state)
{
    const char *out = "";

    for (size_t i = 0; i < state->dns.n_servers; i++)
        out = arena_printf(arena, "%s%s%s", out, *out ? "," : "", state->dns.servers[i]);
    return out;
}

/* The first IPv4 address of an interface; NULL where there is none. */
static const char *address_of(const struct net_state *state, const char *device)
{
    for (size_t i = 0; i < state->n_addresses; i++)
        if (strcmp(state->addresses[i].device, device) == 0 &&
            !is_ipv6(state->addresses[i].address))
            return state->addresses[i].address;
    return NULL;
}

static void observe_ipv4(struct net_model *m, const struct net_state *state, struct pif *pif,
                         const char *bridge)
{
    const char *address = address_of(state, bridge), *slash;
    int64_t bits = 0;

    if (pif->ip_configuration_mode != IP_CONFIGURATION_MODE_DHCP)
        return;
    /* A simulated network has nobody who gives addresses: those of the machine stay. */
    if (!address && host_network_is_simulated(m->call->xapid->network))
        return;
    slash = address ? strchr(address, '/') : NULL;
    if (!slash || !int_from_text(slash + 1, &bits)) {
        pif->ip = pif->netmask = pif->gateway = "";
        return;
    }
    pif->ip = arena_strndup(m->arena, address, (size_t)(slash - address));
    pif->netmask = netmask_text(m->arena, (int)bits);
    pif->gateway = gateway_of(state, bridge, false);
    pif->dns = dns_of(m->arena, state);
}

static void observe_ipv6(struct net_model *m, const struct net_state *state, struct pif *pif,
                         const char *bridge)
{
    const char **v = arena_array(m->arena, const char *, state->n_addresses + 1);
    size_t n = 0;

    if (pif->ipv6_configuration_mode != IPV6_CONFIGURATION_MODE_DHCP &&
        pif->ipv6_configuration_mode != IPV6_CONFIGURATION_MODE_AUTOCONF)
        return;
    for (size_t i = 0; i < state->n_addresses; i++)
        if (strcmp(state->addresses[i].device, bridge) == 0 && is_ipv6(state->addresses[i].address))
            v[n++] = state->addresses[i].address;
    pif->ipv6 = (struct strings){n, v};
    pif->ipv6_gateway = gateway_of(state, bridge, true);
}

/* The address at which clients and other hosts reach this one. */
static const char *management_address(struct arena *arena, const struct pif *pif)
{
    if (pif->primary_address_type == PRIMARY_ADDRESS_TYPE_IPV4)
        return pif->ip;
    return pif->ipv6.n ? arena_strndup(arena, pif->ipv6.v[0], strcspn(pif->ipv6.v[0], "/")) : "";
}

static void observe_host(struct net_model *m)
{
    const struct pif *pif = model_management(m);
    const char *address = pif ? management_address(m->arena, pif) : "";
    struct host *host = model_edit(m, CLASS_host, m->host);

    if (host && *address)
        host->address = address;
}

/*** bonds and tunnels ***/

static void observe_bond(struct net_model *m, const struct net_state *state, struct pif *pif,
                         ref_t ref)
{
    const struct net_link *link = net_link_find(state, pif->device);
    struct refs members = model_members(m, ref);
    struct bond *bond = model_edit(m, CLASS_bond, ref);

    bond->links_up = 0;
    for (size_t i = 0; i < members.n; i++) {
        const struct pif *member = model_find(m, CLASS_pif, members.v[i]);
        const struct net_link *card = net_card_find(state, "", member->device);

        bond->links_up += card && card->carrier;
    }
    if (link && *link->mac)
        pif->mac = link->mac;
}

static void observe_tunnel(struct net_model *m, const struct net_state *state, const char *device,
                           ref_t ref)
{
    struct tunnel *tunnel = model_edit(m, CLASS_tunnel, ref);
    const struct net_link *link = net_link_find(state, device);

    tunnel->status =
        strmap_with(m->arena, tunnel->status, "active", link && link->up ? "true" : "false");
}

static void observe_pif(struct net_model *m, const struct net_state *state, struct pif *pif)
{
    const struct network *network = model_find(m, CLASS_network, pif->network);
    const struct bond *bond = model_bond_of(m, pif->ref);
    const struct tunnel *tunnel = model_tunnel_of(m, pif->ref);

    if (network && pif->currently_attached) {
        observe_ipv4(m, state, pif, network->bridge);
        observe_ipv6(m, state, pif, network->bridge);
    }
    if (bond)
        observe_bond(m, state, pif, bond->ref);
    if (tunnel)
        observe_tunnel(m, state, pif->device, tunnel->ref);
}

void observe_addresses(struct net_model *m, const struct net_state *state)
{
    const struct pif *pif;
    size_t i = 0;

    while ((pif = model_next(m, CLASS_pif, &i)))
        if (ref_equal(pif->host, m->host))
            observe_pif(m, state, model_edit(m, CLASS_pif, pif->ref));
    observe_host(m);
}

/*** links ***/

/* The PCI function behind a card; NULL where there is none. */
static const struct pci *pci_of(struct call *call, const struct net_link *card)
{
    struct refs all = db_referrers(call, FIELD_pci_host, call->xapid->host);

    for (size_t i = 0; i < all.n && *card->pci_bus_path; i++) {
        const struct pci *pci = db_find(call, CLASS_pci, all.v[i]);

        if (pci && strcmp(pci->pci_id, card->pci_bus_path) == 0)
            return pci;
    }
    return NULL;
}

ref_t observe_card(struct call *call, const struct net_link *card, struct pif_metrics *metrics)
{
    const struct pci *pci = pci_of(call, card);

    metrics->carrier = card->carrier;
    metrics->speed = card->carrier ? card->speed : 0;
    metrics->duplex = card->full_duplex;
    metrics->pci_bus_path = *card->pci_bus_path ? card->pci_bus_path : "N/A";
    metrics->vendor_id = pci ? pci->vendor_id : "";
    metrics->vendor_name = pci ? pci->vendor_name : "";
    metrics->device_id = pci ? pci->device_id : "";
    metrics->device_name = pci ? pci->device_name : "";
    return pci ? pci->ref : REF_NULL;
}

/* Nobody waits for these. */
static void write_metrics(struct db *db, const struct pif_metrics *old,
                          const struct pif_metrics *now)
{
    static const int fields[] = {FIELD_pif_metrics_carrier,   FIELD_pif_metrics_speed,
                                 FIELD_pif_metrics_duplex,    FIELD_pif_metrics_pci_bus_path,
                                 FIELD_pif_metrics_vendor_id, FIELD_pif_metrics_vendor_name,
                                 FIELD_pif_metrics_device_id, FIELD_pif_metrics_device_name};
    usec_t time = clock_wall();
    bool changed = false;

    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        const struct field_desc *f = &api_fields[fields[i]];
        const char *value = (const char *)now + f->offset;

        if (value_equal(f->type, (const char *)old + f->offset, value))
            continue;
        db_set_lazily(db, f->id, old->ref, value);
        changed = true;
    }
    if (changed)
        db_set_lazily(db, FIELD_pif_metrics_last_updated, old->ref, &time);
}

static void observe_metrics(struct call *call, const struct net_state *state)
{
    bool simulated = host_network_is_simulated(call->xapid->network);
    struct refs pifs = db_referrers(call, FIELD_pif_host, call->xapid->host);

    for (size_t i = 0; i < pifs.n; i++) {
        const struct pif *pif = db_find(call, CLASS_pif, pifs.v[i]);
        const struct pif_metrics *old = db_find(call, CLASS_pif_metrics, pif->metrics);
        const struct net_link *card =
            pif->physical ? net_card_find(state, simulated ? "" : pif->mac, pif->device) : NULL;
        struct pif_metrics now;

        if (!old || !card)
            continue;
        now = *old;
        observe_card(call, card, &now);
        write_metrics(call->xapid->db, old, &now);
    }
}

static struct error *observe_change(struct net_model *m, void *arg)
{
    observe_addresses(m, arg);
    return OK;
}

struct error *observe(struct call *call, const struct net_state *state)
{
    TRY(network_record(call, call->xapid->host, observe_change, (void *)state));
    observe_metrics(call, state);
    return OK;
}
