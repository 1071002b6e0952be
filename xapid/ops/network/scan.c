/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* scan.c -- cards that come and go: PIF.scan, introduce, forget, and what a first start finds. */
#include "xapid/ops/network/scan.h"

#include <ctype.h>
#include <string.h>

#include "libxapi/base/log.h"
#include "libxapi/base/seam.h"
#include "libxapi/value/value.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/host/here.h"
#include "xapid/ops/network/change.h"
#include "xapid/ops/network/mac.h"
#include "xapid/ops/network/observe.h"
#include "xapid/ops/network/pif.h"
#include "xapid/ops/network/rules.h"
#include "xapid/ops/network/wanted.h"

#define NETWORK_MTU 1500

/*** the network of a card ***/

/* "xenbr0" of eth0, "breno1" of eno1: the same on every host of the pool. */
static const char *bridge_of(struct arena *arena, const char *device)
{
    bool numbered = strncmp(device, "eth", 3) == 0 && isdigit((unsigned char)device[3]);
    const char *name =
        numbered ? arena_printf(arena, "xenbr%s", device + 3) : arena_printf(arena, "br%s", device);

    return arena_strndup(arena, name, NET_NAME_SIZE - 1);
}

static ref_t network_of(struct net_model *m, const char *device)
{
    const char *bridge = bridge_of(m->arena, device);
    const struct network *row;
    struct network *network;
    struct db_walk walk;

    db_walk(m->txn ? txn_snap(m->txn) : m->call->snap, CLASS_network, &walk);
    while ((row = db_walk_next(&walk)))
        if (strcmp(row->bridge, bridge) == 0 && model_find(m, CLASS_network, row->ref))
            return row->ref;
    network = model_add(m, CLASS_network);
    network->name_label = arena_printf(m->arena, "Pool-wide network associated with %s", device);
    network->bridge = bridge;
    network->mtu = NETWORK_MTU;
    network->managed = true;
    return network->ref;
}

static const char *mac_of(const struct net_link *card)
{
    return *card->permanent ? card->permanent : card->mac;
}

static struct pif *add_card(struct net_model *m, const struct net_link *card, const char *device)
{
    struct pif_metrics *metrics = model_add(m, CLASS_pif_metrics);
    struct pif *pif = model_add(m, CLASS_pif);

    metrics->last_updated = clock_wall();
    pif->pci = observe_card(m->call, card, metrics);
    pif->metrics = metrics->ref;
    pif->device = device;
    pif->network = network_of(m, device);
    pif->host = m->host;
    pif->mac = mac_of(card);
    pif->mtu = card->mtu;
    pif->vlan = -1;
    pif->physical = true;
    pif->currently_attached = false;
    return pif;
}

/*** scan ***/

static bool is_known(struct net_model *m, const struct net_link *card)
{
    const struct pif *pif;
    size_t i = 0;

    while ((pif = model_next(m, CLASS_pif, &i)))
        if (ref_equal(pif->host, m->host) && pif->physical &&
            (strcmp(pif->mac, mac_of(card)) == 0 || strcmp(pif->device, card->name) == 0))
            return true;
    return false;
}

/* What has hardware behind it or, in a container, the name of a card. */
static bool is_card(const struct net_link *link)
{
    return link->kind == NET_OTHER && (link->physical || strncmp(link->name, "eth", 3) == 0);
}

/* New cards come up without an address, as at the host's next start. */
static struct error *scan(struct net_model *m, void *arg)
{
    const struct net_state *state = arg;

    for (size_t i = 0; i < state->n_links; i++)
        if (is_card(&state->links[i]) && !is_known(m, &state->links[i]))
            add_card(m, &state->links[i], state->links[i].name)->currently_attached = true;
    return OK;
}

struct error *pif_scan(struct call *call, const struct pif_scan_args *args)
{
    struct net_state state;

    TRY(host_check_here(call, args->host));
    TRY(host_network_read(call, &state));
    TRY(network_change(call, args->host, scan, &state));
    call_refresh(call);
    return observe(call, &state);
}

/*** introduce ***/

struct introduction {
    const struct pif_introduce_args *args;
    const struct net_link *card;
    ref_t pif;
};

static struct error *introduce(struct net_model *m, void *arg)
{
    struct introduction *i = arg;
    const char *device = *i->args->device ? i->args->device : i->card->name;
    struct pif *pif;

    if (model_pif_named(m, device))
        return err_duplicate_pif_device_name(m->call, device);
    if (is_known(m, i->card))
        return err_duplicate_pif_device_name(m->call, i->card->name);
    pif = add_card(m, i->card, device);
    pif->managed = i->args->managed;
    i->pif = pif->ref;
    return OK;
}

static const char *lower(struct arena *arena, const char *text)
{
    char *copy = arena_strdup(arena, text);

    for (char *p = copy; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    return copy;
}

struct error *pif_introduce(struct call *call, const struct pif_introduce_args *args, ref_t *result)
{
    const char *mac = lower(call->arena, args->mac);
    struct introduction i = {.args = args};
    struct net_state state;

    TRY(host_check_here(call, args->host));
    if (*mac && !mac_is_good(mac))
        return err_mac_invalid(call, mac);
    TRY(host_network_read(call, &state));
    i.card = net_card_find(&state, mac, args->device);
    if (!i.card)
        return err_could_not_find_network_interface_with_specified_device_name_and_mac_address(
            call, args->device, mac);
    TRY(network_change(call, args->host, introduce, &i));
    *result = i.pif;
    return OK;
}

/*** forget ***/

static struct error *forget(struct net_model *m, void *arg)
{
    const struct pif_forget_args *a = arg;
    const struct pif *pif;

    TRY(MODEL_GET(m, pif, a->self, &pif));
    if (!pif->physical)
        return err_pif_is_not_physical(m->call, call_ref(m->call, a->self));
    if (!ref_is_null(pif->bond_slave_of))
        return err_pif_already_bonded(m->call, call_ref(m->call, a->self));
    if (model_has_vlan(m, a->self))
        return err_pif_vlan_still_exists(m->call, call_ref(m->call, a->self));
    if (model_has_tunnel(m, a->self))
        return err_pif_tunnel_still_exists(m->call, call_ref(m->call, a->self));
    TRY(pif_check_not_management(m, pif));
    if (pif->currently_attached)
        TRY(network_check_idle(m, pif->network));
    model_remove_pif(m, a->self);
    return OK;
}

struct error *pif_forget(struct call *call, const struct pif_forget_args *args)
{
    ref_t host;

    TRY(pif_host(call, args->self, &host));
    return network_change(call, host, forget, (void *)args);
}

/*** a first start ***/

/* The link that the way out of the host begins with; NULL where there is none. */
static const struct net_link *way_out(const struct net_state *state)
{
    for (size_t i = 0; i < state->n_routes; i++)
        if (strcmp(state->routes[i].to, "0.0.0.0/0") == 0)
            return net_link_find(state, state->routes[i].device);
    for (size_t i = 0; i < state->n_addresses; i++)
        if (strcmp(state->addresses[i].device, "lo") != 0)
            return net_link_find(state, state->addresses[i].device);
    return NULL;
}

/* The card itself, or that of a bridge. */
static const struct net_link *management_card(const struct net_state *state)
{
    const struct net_link *link = way_out(state);

    if (!link || is_card(link))
        return link;
    for (size_t i = 0; i < state->n_links; i++)
        if (is_card(&state->links[i]) && strcmp(state->links[i].master, link->name) == 0)
            return &state->links[i];
    return NULL;
}

/* The first IPv4 address of a link, as it is now: one that lasts was set by somebody, others came
 * from DHCP. */
static void take_address(struct net_model *m, const struct net_state *state,
                         const struct net_link *link, struct pif *pif)
{
    for (size_t i = 0; i < state->n_addresses; i++) {
        const struct net_address *a = &state->addresses[i];
        const char *slash = strchr(a->address, '/');
        int64_t bits;

        if (strcmp(a->device, link->name) != 0 || strchr(a->address, ':') || !slash ||
            !int_from_text(slash + 1, &bits))
            continue;
        pif->ip_configuration_mode =
            a->lasting ? IP_CONFIGURATION_MODE_STATIC : IP_CONFIGURATION_MODE_DHCP;
        pif->ip = arena_strndup(m->arena, a->address, (size_t)(slash - a->address));
        pif->netmask = netmask_text(m->arena, (int)bits);
        break;
    }
}

/* What the host is reached by, and its way out. */
static void take_management(struct net_model *m, const struct net_state *state, struct pif *pif)
{
    pif->management = true;
    pif->ip_configuration_mode = IP_CONFIGURATION_MODE_DHCP;
    take_address(m, state, way_out(state), pif);
    for (size_t i = 0; i < state->n_routes; i++)
        if (strcmp(state->routes[i].to, "0.0.0.0/0") == 0)
            pif->gateway = state->routes[i].via;
    for (size_t i = 0; i < state->dns.n_servers; i++)
        pif->dns = arena_printf(m->arena, "%s%s%s", pif->dns, i ? "," : "", state->dns.servers[i]);
}

static struct error *adopt(struct net_model *m, void *arg)
{
    const struct net_state *state = arg;
    const struct net_link *management = management_card(state);
    size_t i = 0;

    if (model_next(m, CLASS_pif, &i))
        return OK;
    for (i = 0; i < state->n_links; i++) {
        const struct net_link *link = &state->links[i];
        struct pif *pif;

        if (!is_card(link))
            continue;
        pif = add_card(m, link, link->name);
        pif->currently_attached = true;
        if (link == management)
            take_management(m, state, pif);
        else
            take_address(m, state, link, pif);
    }
    return OK;
}

struct error *network_adopt(struct call *call)
{
    struct net_state state;

    if (host_network_is_simulated(call->xapid->network))
        return OK;
    TRY(host_network_read(call, &state));
    return network_record(call, call->xapid->host, adopt, &state);
}
