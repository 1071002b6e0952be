/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * follow.c -- the network of a member follows the coordinator's.
 *
 * Each bond, VLAN and tunnel is a change of its own (change.h): one that cannot be made is in no
 * other's way.  Bonds come first, since VLANs and tunnels ride on them.
 */
#include "xapid/ops/network/follow.h"

#include "libxapi/base/log.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/host/here.h"
#include "xapid/ops/network/change.h"

/* Both sides as they are now. */
struct sides {
    struct call *call;
    struct net_model here, there;
    const char *why; /* what is there cannot be here */
};

/* False where this host is the coordinator, or not in a pool. */
static bool look(struct sides *s, struct call *call)
{
    const struct pool *pool = db_find(call, CLASS_pool, call->xapid->pool);

    if (!pool || ref_equal(pool->master, call->xapid->host))
        return false;
    *s = (struct sides){.call = call};
    model_load(&s->here, call, NULL, call->xapid->host);
    model_load(&s->there, call, NULL, pool->master);
    return true;
}

/* The PIF here on the network of one there; NULL where there is none. */
static const struct pif *twin(struct sides *s, ref_t there)
{
    const struct pif *pif = model_find(&s->there, CLASS_pif, there);

    return pif ? model_pif_on(&s->here, pif->network) : NULL;
}

/* Cards with the names of the bond's there, that are in no bond here. */
static struct refs free_cards(struct sides *s, ref_t bond)
{
    struct refs theirs = model_members(&s->there, bond);
    ref_t *refs = arena_array(s->call->arena, ref_t, theirs.n + 1);
    size_t n = 0;

    for (size_t i = 0; i < theirs.n; i++) {
        const struct pif *card = model_find(&s->there, CLASS_pif, theirs.v[i]);
        const struct pif *mine = card ? model_pif_named(&s->here, card->device) : NULL;

        if (mine && ref_is_null(mine->bond_slave_of))
            refs[n++] = mine->ref;
    }
    return (struct refs){n, refs};
}

static struct error *make_bond(struct sides *s, const void *row, ref_t network)
{
    const struct bond *bond = row;
    struct bond_create_args args = {.network = network,
                                    .members = free_cards(s, bond->ref),
                                    .mac = "",
                                    .mode = bond->mode,
                                    .properties = bond->properties};
    ref_t made;

    if (args.members.n < 2) {
        s->why = "this host has no two free cards with the names of the coordinator's";
        return OK;
    }
    return bond_create(s->call, &args, &made);
}

static struct error *make_vlan(struct sides *s, const void *row, ref_t network)
{
    const struct vlan *vlan = row;
    const struct pif *base = twin(s, vlan->tagged_pif);
    struct vlan_create_args args = {.tag = vlan->tag, .network = network};
    ref_t made;

    if (!base) {
        s->why = "this host has no card on the network it rides on";
        return OK;
    }
    args.tagged_pif = base->ref;
    return vlan_create(s->call, &args, &made);
}

static struct error *make_tunnel(struct sides *s, const void *row, ref_t network)
{
    const struct tunnel *tunnel = row;
    const struct pif *base = twin(s, tunnel->transport_pif);
    struct tunnel_create_args args = {.network = network, .protocol = tunnel->protocol};
    ref_t made;

    if (!base) {
        s->why = "this host has no card on the network it rides on";
        return OK;
    }
    args.transport_pif = base->ref;
    return tunnel_create(s->call, &args, &made);
}

/* What there is of one sort: which PIF its network is known by, and how one is made. */
struct sort {
    int class_id;
    const char *name;
    ref_t (*upper)(const void *row);
    struct error *(*make)(struct sides *s, const void *row, ref_t network);
};

static ref_t upper_of_bond(const void *row)
{
    return ((const struct bond *)row)->master;
}

static ref_t upper_of_vlan(const void *row)
{
    return ((const struct vlan *)row)->untagged_pif;
}

static ref_t upper_of_tunnel(const void *row)
{
    return ((const struct tunnel *)row)->access_pif;
}

static const struct sort bonds = {CLASS_bond, "bond", upper_of_bond, make_bond};
static const struct sort vlans = {CLASS_vlan, "VLAN", upper_of_vlan, make_vlan};
static const struct sort tunnels = {CLASS_tunnel, "tunnel", upper_of_tunnel, make_tunnel};

static struct error *make_one(struct sides *s, const struct sort *sort, const void *row)
{
    const struct pif *upper = model_find(&s->there, CLASS_pif, sort->upper(row));
    const struct network *network = upper ? db_find(s->call, CLASS_network, upper->network) : NULL;
    struct error *e;

    if (!network || twin(s, upper->ref))
        return OK;
    s->why = NULL;
    e = sort->make(s, row, network->ref);
    if (e || s->why)
        log_warning("the coordinator's %s on network %s (%s) is not made here: %s", sort->name,
                    network->uuid, network->name_label, e ? error_line(s->call->arena, e) : s->why);
    else
        log_info("the coordinator's %s on network %s (%s) is here too", sort->name, network->uuid,
                 network->name_label);
    return e;
}

/* The first error, if there was one; the others are tried all the same. */
static struct error *make_all(struct call *call, const struct sort *sort)
{
    struct error *first = OK;
    struct sides s, now;
    const void *row;
    size_t i = 0;

    call_refresh(call);
    if (!look(&s, call))
        return OK;
    while ((row = model_next(&s.there, sort->class_id, &i))) {
        struct error *e;

        call_refresh(call);
        if (!look(&now, call))
            break;
        e = make_one(&now, sort, row);
        if (!first)
            first = e;
    }
    return first;
}

void network_follow(struct call *call)
{
    error_ignore(make_all(call, &bonds)); /* the log has it */
    error_ignore(make_all(call, &vlans));
    error_ignore(make_all(call, &tunnels));
}

struct error *host_sync_vlans(struct call *call, const struct host_sync_vlans_args *args)
{
    TRY(host_check_here(call, args->host));
    return make_all(call, &vlans);
}

struct error *host_sync_tunnels(struct call *call, const struct host_sync_tunnels_args *args)
{
    TRY(host_check_here(call, args->host));
    return make_all(call, &tunnels);
}

struct error *host_signal_networking_change(struct call *call)
{
    network_look_after(call);
    return OK;
}
