/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bond.c -- bonds: several cards as one.
 *
 * What the members had goes to the combined port: VLANs, tunnels, machines, the address and with it
 * the management interface; and goes back to the primary member when the bond ends.
 */
#include <string.h>

#include "libxapi/value/value.h"
#include "xapid/db/db.h"
#include "xapid/ops/network/change.h"
#include "xapid/ops/network/mac.h"
#include "xapid/ops/network/pif.h"
#include "xapid/ops/network/rules.h"
#include "xapid/ops/network/vlan.h"

#define MEMBERS_MIN 2
/* Of lacp-aggregation-key. */
#define KEY_MAX 65535

/*** properties: only lacp has any ***/

static bool is_one_of(const char *value, const char *a, const char *b)
{
    return strcmp(value, a) == 0 || strcmp(value, b) == 0;
}

static bool property_is_good(enum bond_mode mode, const char *name, const char *value)
{
    int64_t key;

    if (mode != BOND_MODE_LACP)
        return false;
    if (strcmp(name, "hashing_algorithm") == 0)
        return is_one_of(value, "src_mac", "tcpudp_ports");
    if (strcmp(name, "lacp-time") == 0)
        return is_one_of(value, "slow", "fast");
    if (strcmp(name, "lacp-fallback-ab") == 0)
        return is_one_of(value, "true", "false");
    return strcmp(name, "lacp-aggregation-key") == 0 && int_from_text(value, &key) && key >= 0 &&
           key <= KEY_MAX;
}

static struct error *check_property(struct net_model *m, enum bond_mode mode, const char *name,
                                    const char *value)
{
    if (property_is_good(mode, name, value))
        return OK;
    return err_invalid_value(m->call, "properties", arena_printf(m->arena, "%s = %s", name, value));
}

static struct strmap with_defaults(struct arena *arena, enum bond_mode mode, struct strmap given)
{
    static const struct strpair defaults[] = {
        {"hashing_algorithm", "tcpudp_ports"}, {"lacp-time", "slow"}, {"lacp-fallback-ab", "true"}};

    for (size_t i = 0; i < ARRAY_SIZE(defaults) && mode == BOND_MODE_LACP; i++)
        if (!strmap_get(&given, defaults[i].key))
            given = strmap_with(arena, given, defaults[i].key, defaults[i].value);
    return given;
}

/*** create: what is asked for ***/

struct creation {
    const struct bond_create_args *args;
    ref_t bond;
};

static bool has_address(const struct pif *pif)
{
    return pif->ip_configuration_mode != IP_CONFIGURATION_MODE_NONE ||
           pif->ipv6_configuration_mode != IPV6_CONFIGURATION_MODE_NONE;
}

static struct error *check_member(struct net_model *m, ref_t ref)
{
    const char *text = call_ref(m->call, ref);
    const struct pif *pif;

    TRY(MODEL_GET(m, pif, ref, &pif));
    if (!ref_is_null(pif->bond_slave_of) || model_bond_of(m, ref))
        return err_pif_already_bonded(m->call, text);
    if (pif->vlan >= 0)
        return err_pif_vlan_exists(m->call, text);
    if (model_tunnel_of(m, ref))
        return err_is_tunnel_access_pif(m->call, text);
    return pif_check_managed(m, pif);
}

static const struct pif *member_of(struct net_model *m, const struct refs *members, size_t i)
{
    return model_find(m, CLASS_pif, members->v[i]);
}

/* The management interface; else the card whose MAC is asked for; else the first by name. */
static const struct pif *primary_of(struct net_model *m, const struct bond_create_args *a)
{
    const struct pif *best = NULL;

    for (size_t i = 0; i < a->members.n; i++) {
        const struct pif *pif = member_of(m, &a->members, i);

        if (pif->management)
            return pif;
        if (*a->mac && strcasecmp(pif->mac, a->mac) == 0)
            best = pif;
    }
    for (size_t i = 0; i < a->members.n && !best; i++)
        best = member_of(m, &a->members, i);
    for (size_t i = 0; i < a->members.n && (!*a->mac || strcasecmp(best->mac, a->mac) != 0); i++)
        if (strcmp(member_of(m, &a->members, i)->device, best->device) < 0)
            best = member_of(m, &a->members, i);
    return best;
}

static struct error *check_together(struct net_model *m, const struct bond_create_args *a,
                                    const struct pif *primary)
{
    for (size_t i = 0; i < a->members.n; i++) {
        const struct pif *pif = member_of(m, &a->members, i);

        for (size_t k = 0; k < i; k++)
            if (ref_equal(a->members.v[k], a->members.v[i]))
                return err_pif_already_bonded(m->call, call_ref(m->call, pif->ref));
        if (!ref_equal(pif->host, m->host))
            return err_pif_cannot_bond_cross_host(m->call);
        if (!value_equal(api_fields[FIELD_pif_properties].type, &pif->properties,
                         &primary->properties))
            return err_incompatible_pif_properties(m->call);
    }
    for (size_t i = 0; i < a->members.n; i++) {
        const struct pif *pif = member_of(m, &a->members, i);

        if (pif != primary && has_address(pif))
            return err_pif_bond_more_than_one_ip(m->call);
        if (pif->primary_address_type != primary->primary_address_type)
            return err_pif_incompatible_primary_address_type(m->call, call_ref(m->call, pif->ref));
    }
    return OK;
}

static struct error *check_bond(struct net_model *m, const struct bond_create_args *a)
{
    if (*a->mac && !mac_is_good(a->mac))
        return err_mac_invalid(m->call, a->mac);
    for (size_t i = 0; i < a->properties.n; i++)
        TRY(check_property(m, a->mode, a->properties.v[i].key, a->properties.v[i].value));
    for (size_t i = 0; i < a->members.n; i++)
        TRY(check_member(m, a->members.v[i]));
    if (a->members.n < MEMBERS_MIN)
        return err_pif_bond_needs_more_members(m->call);
    TRY(check_together(m, a, primary_of(m, a)));
    if (primary_of(m, a)->management && network_is_watched(m))
        return err_ha_cannot_change_bond_status_of_mgmt_iface(m->call);
    return network_check_free(m, a->network);
}

/*** create: the records ***/

static const char *free_device(struct net_model *m)
{
    for (int i = 0;; i++) {
        const char *device = arena_printf(m->arena, "bond%d", i);

        if (!model_pif_named(m, device))
            return device;
    }
}

/* What rides on a port goes to another one. */
static void move_riders(struct net_model *m, const struct pif *from, const struct pif *to)
{
    const struct vlan *vlan;
    const struct tunnel *tunnel;
    size_t i = 0;

    while ((vlan = model_next(m, CLASS_vlan, &i))) {
        if (!ref_equal(vlan->tagged_pif, from->ref))
            continue;
        model_move_vlan(m, vlan, to);
        i = 0; /* rows may have gone */
    }
    i = 0;
    while ((tunnel = model_next(m, CLASS_tunnel, &i)))
        if (ref_equal(tunnel->transport_pif, from->ref))
            ((struct tunnel *)model_edit(m, CLASS_tunnel, tunnel->ref))->transport_pif = to->ref;
    model_move_vifs(m, from->network, to->network);
}

static struct error *create(struct net_model *m, void *arg)
{
    struct creation *c = arg;
    const struct bond_create_args *a = c->args;
    struct pif *primary, *master;
    struct bond *bond;
    bool attached = false;

    TRY(check_bond(m, a));
    primary = model_edit(m, CLASS_pif, primary_of(m, a)->ref);
    bond = model_add(m, CLASS_bond);
    master = model_add_pif(m, primary, a->network);
    master->device = free_device(m);
    master->mac = *a->mac ? a->mac : primary->mac;
    master->properties = primary->properties;
    bond->master = master->ref;
    bond->primary_slave = primary->ref;
    bond->mode = a->mode;
    bond->properties = with_defaults(m->arena, a->mode, a->properties);
    bond->auto_update_mac = !*a->mac;
    for (size_t i = 0; i < a->members.n; i++) {
        struct pif *member = model_edit(m, CLASS_pif, a->members.v[i]);

        attached |= member->currently_attached;
        member->bond_slave_of = bond->ref;
        move_riders(m, member, master);
    }
    pif_move_addresses(primary, master);
    c->bond = bond->ref;
    return attached ? model_plug(m, master) : OK;
}

struct error *bond_create(struct call *call, const struct bond_create_args *args, ref_t *result)
{
    struct creation c = {.args = args};
    const struct network *network;
    ref_t host;

    TRY(DB_GET(call, network, args->network, &network));
    if (!args->members.n)
        return err_pif_bond_needs_more_members(call);
    TRY(pif_host(call, args->members.v[0], &host));
    TRY(network_change(call, host, create, &c));
    *result = c.bond;
    return OK;
}

/*** destroy ***/

static struct error *destroy(struct net_model *m, void *arg)
{
    ref_t ref = *(const ref_t *)arg;
    struct refs members = model_members(m, ref);
    const struct bond *bond;
    struct pif *master, *primary;

    TRY(MODEL_GET(m, bond, ref, &bond));
    TRY(MODEL_GET(m, pif, bond->master, &master));
    TRY(pif_check_managed(m, master));
    if (master->management && network_is_watched(m))
        return err_ha_cannot_change_bond_status_of_mgmt_iface(m->call);
    primary = model_edit(m, CLASS_pif, bond->primary_slave);
    if (!primary && members.n)
        primary = model_edit(m, CLASS_pif, members.v[0]);
    if (!primary)
        return err_handle_invalid(m->call, "PIF", call_ref(m->call, bond->primary_slave));
    for (size_t i = 0; i < members.n; i++)
        ((struct pif *)model_edit(m, CLASS_pif, members.v[i]))->bond_slave_of = REF_NULL;
    master = model_edit(m, CLASS_pif, bond->master);
    pif_move_addresses(master, primary);
    move_riders(m, master, primary);
    model_remove(m, CLASS_bond, ref);
    model_remove_pif(m, master->ref);
    return OK;
}

/* On the host of the bond's combined port. */
static struct error *change_of(struct call *call, ref_t ref, net_change_fn *fn, void *arg)
{
    const struct bond *bond;
    ref_t host;

    TRY(DB_GET(call, bond, ref, &bond));
    TRY(pif_host(call, bond->master, &host));
    return network_change(call, host, fn, arg);
}

struct error *bond_destroy(struct call *call, const struct bond_destroy_args *args)
{
    ref_t ref = args->self;

    return change_of(call, ref, destroy, &ref);
}

/*** settings ***/

static struct error *set_mode(struct net_model *m, void *arg)
{
    const struct bond_set_mode_args *a = arg;
    struct bond *bond = model_edit(m, CLASS_bond, a->self);

    TRY(MODEL_GET(m, bond, a->self, &bond));
    bond->mode = a->value;
    bond->properties = with_defaults(m->arena, a->value, (struct strmap){0});
    return OK;
}

struct error *bond_set_mode(struct call *call, const struct bond_set_mode_args *args)
{
    return change_of(call, args->self, set_mode, (void *)args);
}

static struct error *set_property(struct net_model *m, void *arg)
{
    const struct bond_set_property_args *a = arg;
    struct bond *bond = model_edit(m, CLASS_bond, a->self);

    TRY(MODEL_GET(m, bond, a->self, &bond));
    TRY(check_property(m, bond->mode, a->name, a->value));
    bond->properties = strmap_with(m->arena, bond->properties, a->name, a->value);
    return OK;
}

struct error *bond_set_property(struct call *call, const struct bond_set_property_args *args)
{
    return change_of(call, args->self, set_property, (void *)args);
}
