/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vlan.c -- VLANs: VLAN.create and destroy, and the older and the pool's ways to say so. */
#include "xapid/ops/network/vlan.h"

#include <string.h>

#include "xapid/db/ready.h"
#include "xapid/db/row.h"
#include "xapid/forward/forward.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/network/change.h"
#include "xapid/ops/network/pif.h"
#include "xapid/ops/network/rules.h"

/* 802.1Q keeps 4095 for itself. */
#define TAG_MAX 4094

/*** in a model ***/

/* The VLAN with that tag on a port; NULL where there is none. */
static const struct vlan *find_tag(struct net_model *m, ref_t tagged, int64_t tag)
{
    const struct vlan *vlan;
    size_t i = 0;

    while ((vlan = model_next(m, CLASS_vlan, &i)))
        if (ref_equal(vlan->tagged_pif, tagged) && vlan->tag == tag)
            return vlan;
    return NULL;
}

static const char *number(struct net_model *m, int64_t n)
{
    return arena_printf(m->arena, "%lld", (long long)n);
}

static struct error *check_vlan(struct net_model *m, const struct pif *pif, int64_t tag)
{
    const char *ref = call_ref(m->call, pif->ref);
    const struct vlan *other;

    TRY(pif_check_managed(m, pif));
    if (!ref_is_null(pif->bond_slave_of))
        return err_cannot_add_vlan_to_bond_slave(m->call, ref);
    if (pif->vlan >= 0)
        return err_pif_is_vlan(m->call, ref);
    if (model_tunnel_of(m, pif->ref))
        return err_is_tunnel_access_pif(m->call, ref);
    if (tag < 0 || tag > TAG_MAX)
        return err_vlan_tag_invalid(m->call, number(m, tag));
    other = find_tag(m, pif->ref, tag);
    return other ? err_pif_vlan_exists(m->call, call_ref(m->call, other->untagged_pif)) : OK;
}

struct error *model_add_vlan(struct net_model *m, ref_t tagged, int64_t tag, ref_t network,
                             struct vlan **out)
{
    const struct pif *base;
    struct pif *pif;

    TRY(MODEL_GET(m, pif, tagged, &base));
    TRY(check_vlan(m, base, tag));
    TRY(network_check_free(m, network));
    pif = model_add_pif(m, base, network);
    *out = model_add(m, CLASS_vlan);
    (*out)->tagged_pif = tagged;
    (*out)->untagged_pif = pif->ref;
    (*out)->tag = tag;
    pif->vlan = tag;
    pif->vlan_master_of = (*out)->ref;
    return base->currently_attached ? model_plug(m, pif) : OK;
}

/* True where another host has the network too: its machines are not ours to move. */
static bool is_shared(struct net_model *m, ref_t network)
{
    struct refs pifs = model_referrers(m, FIELD_pif_network, network);

    for (size_t i = 0; i < pifs.n; i++) {
        const struct pif *pif = model_find(m, CLASS_pif, pifs.v[i]);

        if (pif && !ref_equal(pif->host, m->host))
            return true;
    }
    return false;
}

void model_move_vifs(struct net_model *m, ref_t from, ref_t to)
{
    struct refs vifs = model_referrers(m, FIELD_vif_network, from);
    bool shared = is_shared(m, from);

    for (size_t i = 0; i < vifs.n; i++) {
        const struct vif *vif = model_find(m, CLASS_vif, vifs.v[i]);
        const struct vm *vm = vif ? model_find(m, CLASS_vm, vif->vm) : NULL;

        if (vm &&
            (ref_equal(vm->resident_on, m->host) || (!shared && ref_is_null(vm->resident_on))))
            ((struct vif *)model_edit(m, CLASS_vif, vif->ref))->network = to;
    }
}

static void remove_vlan(struct net_model *m, const struct vlan *vlan)
{
    ref_t pif = vlan->untagged_pif;

    model_remove(m, CLASS_vlan, vlan->ref);
    model_remove_pif(m, pif);
}

void model_move_vlan(struct net_model *m, const struct vlan *vlan, const struct pif *to)
{
    const struct vlan *other = find_tag(m, to->ref, vlan->tag);
    struct pif *upper = model_edit(m, CLASS_pif, vlan->untagged_pif);
    const struct pif *kept = other ? model_find(m, CLASS_pif, other->untagged_pif) : NULL;

    if (kept) {
        model_move_vifs(m, upper->network, kept->network);
        remove_vlan(m, vlan);
        return;
    }
    ((struct vlan *)model_edit(m, CLASS_vlan, vlan->ref))->tagged_pif = to->ref;
    upper->device = to->device;
    upper->mac = to->mac;
}

/*** VLAN.create, and the pool's ***/

struct creation {
    ref_t tagged, network, vlan, pif;
    int64_t tag;
};

static struct error *create(struct net_model *m, void *arg)
{
    struct creation *c = arg;
    struct vlan *vlan;

    TRY(model_add_vlan(m, c->tagged, c->tag, c->network, &vlan));
    c->vlan = vlan->ref;
    c->pif = vlan->untagged_pif;
    return OK;
}

static struct error *create_on(struct call *call, struct creation *c)
{
    ref_t host;

    TRY(pif_host(call, c->tagged, &host));
    return network_change(call, host, create, c);
}

struct error *vlan_create(struct call *call, const struct vlan_create_args *args, ref_t *result)
{
    struct creation c = {.tagged = args->tagged_pif, .network = args->network, .tag = args->tag};

    TRY(create_on(call, &c));
    *result = c.vlan;
    return OK;
}

/* The untagged PIF of that name on a host; null where there is none. */
static ref_t port_named(struct call *call, ref_t host, const char *device)
{
    struct net_model m;
    const struct pif *pif;

    model_load(&m, call, NULL, host);
    pif = model_pif_named(&m, device);
    return pif ? pif->ref : REF_NULL;
}

struct error *pif_create_vlan(struct call *call, const struct pif_create_vlan_args *args,
                              ref_t *result)
{
    struct creation c = {.network = args->network, .tag = args->vlan};
    const struct host *host;

    TRY(DB_GET(call, host, args->host, &host));
    c.tagged = port_named(call, args->host, args->device);
    if (ref_is_null(c.tagged))
        return err_pif_device_not_found(call);
    TRY(create_on(call, &c));
    *result = c.pif;
    return OK;
}

/* One for each of the ports, each made by the host that the port is on. */
static struct error *create_all(struct call *call, const struct refs *ports, ref_t network,
                                int64_t tag, struct refs *result)
{
    ref_t *made = arena_array(call->arena, ref_t, ports->n + 1);

    for (size_t i = 0; i < ports->n; i++) {
        struct vlan_create_args args = {.tagged_pif = ports->v[i], .tag = tag, .network = network};
        const struct vlan *vlan;
        ref_t ref;

        TRY(forward_run(call, MSG_vlan_create, &args, &ref));
        call_refresh(call);
        TRY(DB_GET(call, vlan, ref, &vlan));
        made[i] = vlan->untagged_pif;
    }
    *result = (struct refs){ports->n, made};
    return OK;
}

struct error *pool_create_vlan(struct call *call, const struct pool_create_vlan_args *args,
                               struct refs *result)
{
    ref_t *ports =
        arena_array(call->arena, ref_t, snap_root(call->snap)->tables[CLASS_host].count + 1);
    const struct network *network;
    const struct host *host;
    struct db_walk walk;
    size_t n = 0;

    TRY(DB_GET(call, network, args->network, &network));
    db_walk(call->snap, CLASS_host, &walk);
    while ((host = db_walk_next(&walk))) {
        ports[n] = port_named(call, host->ref, args->device);
        if (ref_is_null(ports[n++]))
            return err_pif_device_not_found(call);
    }
    return create_all(call, &(struct refs){n, ports}, args->network, args->vlan, result);
}

struct error *pool_create_vlan_from_pif(struct call *call,
                                        const struct pool_create_vlan_from_pif_args *args,
                                        struct refs *result)
{
    const struct pif *pif;
    struct refs ports;

    TRY(DB_GET(call, pif, args->pif, &pif));
    /* On the other hosts the port of the same network. */
    ports = db_referrers(call, FIELD_pif_network, pif->network);
    return create_all(call, &ports, args->network, args->vlan, result);
}

struct error *vlan_pool_introduce(struct call *call, const struct vlan_pool_introduce_args *args,
                                  ref_t *result)
{
    char uuid[UUID_TEXT_SIZE];
    const struct pif *tagged;
    struct vlan row;

    TRY(DB_GET(call, pif, args->tagged_pif, &tagged));
    row_defaults(&api_classes[CLASS_vlan], &row);
    row.ref = *result = ref_new();
    row.uuid = uuid_new(uuid);
    row.tagged_pif = args->tagged_pif;
    row.untagged_pif = args->untagged_pif;
    row.tag = args->tag;
    row.other_config = args->other_config;
    return db_update(call, db_create_txn, &(struct db_create){CLASS_vlan, &row});
}

/*** destroy ***/

static struct error *destroy(struct net_model *m, void *arg)
{
    const struct vlan *vlan;
    const struct pif *pif;

    TRY(MODEL_GET(m, vlan, *(const ref_t *)arg, &vlan));
    TRY(MODEL_GET(m, pif, vlan->untagged_pif, &pif));
    TRY(pif_check_not_management(m, pif));
    if (model_has_tunnel(m, pif->ref))
        return err_pif_tunnel_still_exists(m->call, call_ref(m->call, pif->ref));
    if (pif->disallow_unplug)
        return err_pif_does_not_allow_unplug(m->call, call_ref(m->call, pif->ref));
    if (network_check_idle(m, pif->network))
        return err_vlan_in_use(m->call, pif->device, number(m, vlan->tag));
    remove_vlan(m, vlan);
    return OK;
}

static struct error *destroy_on(struct call *call, ref_t vlan, ref_t pif)
{
    ref_t host;

    TRY(pif_host(call, pif, &host));
    return network_change(call, host, destroy, &vlan);
}

struct error *vlan_destroy(struct call *call, const struct vlan_destroy_args *args)
{
    const struct vlan *vlan;

    TRY(DB_GET(call, vlan, args->self, &vlan));
    return destroy_on(call, args->self, vlan->tagged_pif);
}

struct error *pif_destroy(struct call *call, const struct pif_destroy_args *args)
{
    const struct pif *pif;

    TRY(DB_GET(call, pif, args->self, &pif));
    if (ref_is_null(pif->vlan_master_of))
        return err_pif_is_physical(call, call_ref(call, args->self));
    return destroy_on(call, pif->vlan_master_of, args->self);
}
