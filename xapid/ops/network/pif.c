/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* pif.c -- ports of hosts: up and down, their addresses and settings. */
#include "xapid/ops/network/pif.h"

#include <arpa/inet.h>
#include <string.h>

#include "libxapi/value/value.h"
#include "xapid/db/ready.h"
#include "xapid/db/row.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/host/here.h"
#include "xapid/ops/network/change.h"
#include "xapid/ops/network/offload.h"
#include "xapid/ops/network/rules.h"
#include "xapid/ops/network/wanted.h"
#include "xapid/ops/rows.h"

struct error *pif_host(struct call *call, ref_t ref, ref_t *host)
{
    const struct pif *pif;

    TRY(DB_GET(call, pif, ref, &pif));
    *host = pif->host;
    return OK;
}

/* A change of the host that the PIF is on. */
static struct error *change_of(struct call *call, ref_t pif, net_change_fn *fn, const void *args)
{
    ref_t host;

    TRY(pif_host(call, pif, &host));
    return network_change(call, host, fn, (void *)args);
}

/*** pieces of records ***/

void pif_clear_addresses(struct pif *pif)
{
    pif->ip_configuration_mode = IP_CONFIGURATION_MODE_NONE;
    pif->ip = pif->netmask = pif->gateway = pif->dns = "";
    pif->ipv6_configuration_mode = IPV6_CONFIGURATION_MODE_NONE;
    pif->ipv6 = (struct strings){0};
    pif->ipv6_gateway = "";
}

void pif_move_addresses(struct pif *from, struct pif *to)
{
    to->ip_configuration_mode = from->ip_configuration_mode;
    to->ip = from->ip;
    to->netmask = from->netmask;
    to->gateway = from->gateway;
    to->dns = from->dns;
    to->ipv6_configuration_mode = from->ipv6_configuration_mode;
    to->ipv6 = from->ipv6;
    to->ipv6_gateway = from->ipv6_gateway;
    to->primary_address_type = from->primary_address_type;
    to->management = from->management;
    to->disallow_unplug = from->disallow_unplug;
    to->other_config = from->other_config;
    pif_clear_addresses(from);
    from->management = false;
    from->disallow_unplug = false;
}

static ref_t add_metrics(struct net_model *m, const struct pif *base)
{
    const struct pif_metrics *of = model_find(m, CLASS_pif_metrics, base->metrics);
    struct pif_metrics *metrics = model_add(m, CLASS_pif_metrics);

    metrics->pci_bus_path = "N/A";
    if (of) {
        metrics->carrier = of->carrier;
        metrics->speed = of->speed;
        metrics->duplex = of->duplex;
        metrics->last_updated = of->last_updated;
    }
    return metrics->ref;
}

struct pif *model_add_pif(struct net_model *m, const struct pif *base, ref_t network)
{
    const struct network *row = model_find(m, CLASS_network, network);
    struct pif *pif = model_add(m, CLASS_pif);

    pif->device = base->device;
    pif->network = network;
    pif->host = m->host;
    pif->mac = base->mac;
    pif->mtu = row ? row->mtu : base->mtu;
    pif->vlan = -1;
    pif->currently_attached = false;
    pif->metrics = add_metrics(m, base);
    return pif;
}

void model_remove_pif(struct net_model *m, ref_t ref)
{
    const struct pif *pif = model_find(m, CLASS_pif, ref);

    model_remove(m, CLASS_pif_metrics, pif->metrics);
    model_remove(m, CLASS_pif, ref);
}

/*** plug and unplug ***/

static void set_attached(struct net_model *m, struct pif *pif, bool attached)
{
    const struct network *network = model_find(m, CLASS_network, pif->network);
    const struct bond *bond = model_bond_of(m, pif->ref);
    struct refs members = bond ? model_members(m, bond->ref) : (struct refs){0};

    pif->currently_attached = attached;
    if (attached && network)
        pif->mtu = network->mtu;
    for (size_t i = 0; i < members.n; i++)
        ((struct pif *)model_edit(m, CLASS_pif, members.v[i]))->currently_attached = attached;
}

struct error *model_plug(struct net_model *m, struct pif *pif)
{
    const struct tunnel *tunnel = model_tunnel_of(m, pif->ref);
    const struct pif *transport = tunnel ? model_find(m, CLASS_pif, tunnel->transport_pif) : NULL;

    if (!ref_is_null(pif->bond_slave_of))
        return err_cannot_plug_bond_slave(m->call, call_ref(m->call, pif->ref));
    if (transport && (!transport->currently_attached ||
                      transport->ip_configuration_mode == IP_CONFIGURATION_MODE_NONE))
        return err_transport_pif_not_configured(m->call, call_ref(m->call, transport->ref));
    set_attached(m, pif, true);
    return OK;
}

void model_unplug(struct net_model *m, struct pif *pif)
{
    const struct tunnel *tunnel;
    size_t i = 0;

    set_attached(m, pif, false);
    while ((tunnel = model_next(m, CLASS_tunnel, &i)))
        if (ref_equal(tunnel->transport_pif, pif->ref))
            set_attached(m, model_edit(m, CLASS_pif, tunnel->access_pif), false);
}

static struct error *plug(struct net_model *m, void *arg)
{
    const struct pif_plug_args *a = arg;
    const struct pif *pif;

    TRY(MODEL_GET(m, pif, a->self, &pif));
    TRY(pif_check_managed(m, pif));
    return model_plug(m, model_edit(m, CLASS_pif, a->self));
}

struct error *pif_plug(struct call *call, const struct pif_plug_args *args)
{
    return change_of(call, args->self, plug, args);
}

struct error *pif_bring_up(struct call *call, ref_t pif)
{
    return pif_plug(call, &(struct pif_plug_args){.self = pif});
}

static struct error *unplug(struct net_model *m, void *arg)
{
    const struct pif_unplug_args *a = arg;
    const struct pif *pif;

    TRY(MODEL_GET(m, pif, a->self, &pif));
    TRY(pif_check_managed(m, pif));
    TRY(pif_check_not_management(m, pif));
    if (pif->disallow_unplug)
        return err_pif_does_not_allow_unplug(m->call, call_ref(m->call, a->self));
    TRY(network_check_idle(m, pif->network));
    if (!ref_is_null(pif->bond_slave_of))
        return err_pif_already_bonded(m->call, call_ref(m->call, a->self));
    model_unplug(m, model_edit(m, CLASS_pif, a->self));
    return OK;
}

struct error *pif_unplug(struct call *call, const struct pif_unplug_args *args)
{
    return change_of(call, args->self, unplug, args);
}

/*** addresses ***/

/* A port that is part of another one has no address of its own. */
static struct error *check_can_have_address(struct net_model *m, const struct pif *pif, bool none)
{
    TRY(pif_check_managed(m, pif));
    if (!none && !ref_is_null(pif->bond_slave_of))
        return err_pif_already_bonded(m->call, call_ref(m->call, pif->ref));
    return OK;
}

/* The management interface needs an address of its primary family. */
static struct error *check_keeps_address(struct net_model *m, const struct pif *pif, bool none,
                                         enum primary_address_type family)
{
    return none && pif->primary_address_type == family ? pif_check_not_management(m, pif) : OK;
}

static struct error *check_ipv4(struct call *call, const struct pif_reconfigure_ip_args *a)
{
    if (a->mode == IP_CONFIGURATION_MODE_STATIC) {
        TRY(check_ip(call, AF_INET, "IP", a->ip));
        if (netmask_bits(a->netmask) < 0)
            return err_invalid_ip_address_specified(call, "netmask");
    }
    if (*a->gateway)
        TRY(check_ip(call, AF_INET, "gateway", a->gateway));
    return check_ip_list(call, "DNS", a->dns);
}

static struct error *reconfigure_ip(struct net_model *m, void *arg)
{
    const struct pif_reconfigure_ip_args *a = arg;
    bool none = a->mode == IP_CONFIGURATION_MODE_NONE;
    bool fixed = a->mode == IP_CONFIGURATION_MODE_STATIC;
    struct pif *pif = model_edit(m, CLASS_pif, a->self);

    TRY(MODEL_GET(m, pif, a->self, &pif));
    TRY(check_can_have_address(m, pif, none));
    TRY(check_ipv4(m->call, a));
    TRY(check_keeps_address(m, pif, none, PRIMARY_ADDRESS_TYPE_IPV4));
    pif->ip_configuration_mode = a->mode;
    pif->ip = fixed ? a->ip : "";
    pif->netmask = fixed ? a->netmask : "";
    pif->gateway = fixed ? a->gateway : "";
    pif->dns = fixed ? a->dns : "";
    return OK;
}

struct error *pif_reconfigure_ip(struct call *call, const struct pif_reconfigure_ip_args *args)
{
    return change_of(call, args->self, reconfigure_ip, args);
}

static struct error *check_ipv6(struct call *call, const struct pif_reconfigure_ipv6_args *a)
{
    if (a->mode == IPV6_CONFIGURATION_MODE_STATIC)
        TRY(check_cidr(call, AF_INET6, "IPv6", a->ipv6));
    if (*a->gateway)
        TRY(check_ip(call, AF_INET6, "gateway", a->gateway));
    return check_ip_list(call, "DNS", a->dns);
}

static struct error *reconfigure_ipv6(struct net_model *m, void *arg)
{
    const struct pif_reconfigure_ipv6_args *a = arg;
    bool none = a->mode == IPV6_CONFIGURATION_MODE_NONE;
    bool fixed = a->mode == IPV6_CONFIGURATION_MODE_STATIC;
    struct pif *pif = model_edit(m, CLASS_pif, a->self);

    TRY(MODEL_GET(m, pif, a->self, &pif));
    TRY(check_can_have_address(m, pif, none));
    TRY(check_ipv6(m->call, a));
    TRY(check_keeps_address(m, pif, none, PRIMARY_ADDRESS_TYPE_IPV6));
    pif->ipv6_configuration_mode = a->mode;
    pif->ipv6 = fixed ? (struct strings){1, &a->ipv6} : (struct strings){0};
    pif->ipv6_gateway = fixed ? a->gateway : "";
    if (fixed && *a->dns)
        pif->dns = a->dns;
    return OK;
}

struct error *pif_reconfigure_ipv6(struct call *call, const struct pif_reconfigure_ipv6_args *args)
{
    return change_of(call, args->self, reconfigure_ipv6, args);
}

static struct error *primary_txn(struct txn *txn, void *arg)
{
    const struct pif_set_primary_address_type_args *a = arg;
    struct call *call = txn_call(txn);
    const struct pif *pif;

    TRY(TXN_GET(txn, pif, a->self, &pif));
    if (pif->management)
        return err_pif_is_management_interface(call, call_ref(call, a->self));
    if (a->primary_address_type == PRIMARY_ADDRESS_TYPE_IPV4 &&
        pif->ip_configuration_mode == IP_CONFIGURATION_MODE_NONE)
        return err_pif_has_no_network_configuration(call, call_ref(call, a->self));
    if (a->primary_address_type == PRIMARY_ADDRESS_TYPE_IPV6 &&
        pif->ipv6_configuration_mode == IPV6_CONFIGURATION_MODE_NONE)
        return err_pif_has_no_v6_network_configuration(call, call_ref(call, a->self));
    TXN_SET(txn, pif, a->self, primary_address_type, a->primary_address_type);
    return OK;
}

struct error *pif_set_primary_address_type(struct call *call,
                                           const struct pif_set_primary_address_type_args *args)
{
    return db_update(call, primary_txn, (void *)args);
}

/*** settings ***/

struct error *pif_set_disallow_unplug(struct call *call,
                                      const struct pif_set_disallow_unplug_args *args)
{
    return CALL_SET(call, pif, args->self, disallow_unplug, args->value);
}

/* Only cards and bonds have properties, and members those of their bond. */
static struct error *set_property(struct net_model *m, void *arg)
{
    const struct pif_set_property_args *a = arg;
    struct pif *pif = model_edit(m, CLASS_pif, a->self);
    const struct bond *bond = model_bond_of(m, a->self);
    struct refs members = bond ? model_members(m, bond->ref) : (struct refs){0};

    TRY(MODEL_GET(m, pif, a->self, &pif));
    TRY(pif_check_managed(m, pif));
    if (strcmp(a->name, "gro") != 0)
        return err_invalid_value(m->call, "name", a->name);
    if (strcmp(a->value, "on") != 0 && strcmp(a->value, "off") != 0)
        return err_invalid_value(m->call, "value", a->value);
    if ((!pif->physical && !bond) || !ref_is_null(pif->bond_slave_of))
        return err_cannot_change_pif_properties(m->call, call_ref(m->call, a->self));
    pif->properties = strmap_with(m->arena, pif->properties, a->name, a->value);
    for (size_t i = 0; i < members.n; i++)
        ((struct pif *)model_edit(m, CLASS_pif, members.v[i]))->properties = pif->properties;
    return OK;
}

struct error *pif_set_property(struct call *call, const struct pif_set_property_args *args)
{
    const struct pif *pif;
    struct net_model m;

    TRY(DB_GET(call, pif, args->self, &pif));
    TRY(host_check_here(call, pif->host));
    model_load(&m, call, NULL, pif->host);
    TRY(set_property(&m, (void *)args));
    /* The card first, for it may refuse; every start tells it what is recorded. */
    TRY(offload_tell(call, pif->device, args->value));
    return network_record(call, m.host, set_property, (void *)args);
}

/*** records alone ***/

static struct error *introduce(struct call *call, const struct pif_db_introduce_args *a,
                               ref_t *result)
{
    const struct network *network;
    char uuid[UUID_TEXT_SIZE];
    struct pif row;

    TRY(DB_GET(call, network, a->network, &network));
    TRY(host_check(call, a->host));
    TRY(check_room(call, CLASS_pif));
    row_defaults(&api_classes[CLASS_pif], &row);
    row.ref = *result = ref_new();
    row.uuid = uuid_new(uuid);
    row.device = a->device;
    row.network = a->network;
    row.host = a->host;
    row.mac = a->mac;
    row.mtu = a->mtu;
    row.vlan = a->vlan;
    row.physical = a->physical;
    row.currently_attached = false;
    row.ip_configuration_mode = a->ip_configuration_mode;
    row.ip = a->ip;
    row.netmask = a->netmask;
    row.gateway = a->gateway;
    row.dns = a->dns;
    row.bond_slave_of = a->bond_slave_of;
    row.vlan_master_of = a->vlan_master_of;
    row.management = a->management;
    row.other_config = a->other_config;
    row.disallow_unplug = a->disallow_unplug;
    row.ipv6_configuration_mode = a->ipv6_configuration_mode;
    row.ipv6 = a->ipv6;
    row.ipv6_gateway = a->ipv6_gateway;
    row.primary_address_type = a->primary_address_type;
    row.managed = a->managed;
    row.properties = a->properties;
    return db_update(call, db_create_txn, &(struct db_create){CLASS_pif, &row});
}

struct error *pif_db_introduce(struct call *call, const struct pif_db_introduce_args *args,
                               ref_t *result)
{
    return introduce(call, args, result);
}

/* The two have the same parameters. */
struct error *pif_pool_introduce(struct call *call, const struct pif_pool_introduce_args *args,
                                 ref_t *result)
{
    _Static_assert(sizeof(struct pif_pool_introduce_args) == sizeof(struct pif_db_introduce_args),
                   "the same parameters");
    struct pif_db_introduce_args same;

    memcpy(&same, args, sizeof same);
    return introduce(call, &same, result);
}

struct error *pif_db_forget(struct call *call, const struct pif_db_forget_args *args)
{
    return db_update(call, db_destroy_txn, &(struct db_destroy){CLASS_pif, args->self});
}
