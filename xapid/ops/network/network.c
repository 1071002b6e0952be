/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* network.c -- networks: create, destroy, purposes, default filtering. */
#include <string.h>

#include "libxapi/value/value.h"
#include "xapid/db/ready.h"
#include "xapid/db/row.h"
#include "xapid/ops/rows.h"
#include "xapid/ops/blob.h"
#include "xapid/ops/network/bridge.h"

/* Length of an interface's name in Linux. */
#define BRIDGE_NAME_MAX 15
#define DEFAULT_MTU 1500

/*** create ***/

static bool bridge_is_used(struct txn *txn, const char *bridge)
{
    const struct network *network;
    struct db_walk walk;

    db_walk(txn_snap(txn), CLASS_network, &walk);
    while ((network = db_walk_next(&walk)))
        if (strcmp(network->bridge, bridge) == 0)
            return true;
    return false;
}

/* Names of xapid and of backend interfaces. */
static bool is_reserved(const char *bridge)
{
    static const char *const prefixes[] = {"xen", "xapi", "vif", "tap", "eth"};

    for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++)
        if (strncmp(bridge, prefixes[i], strlen(prefixes[i])) == 0)
            return true;
    return false;
}

const char *network_free_bridge(struct txn *txn, int skip)
{
    for (int i = 0;; i++) {
        const char *name = arena_printf(txn_arena(txn), "xapi%d", i);

        if (!bridge_is_used(txn, name) && skip-- == 0)
            return name;
    }
}

static struct error *choose_bridge(struct txn *txn, struct network *row)
{
    struct call *call = txn_call(txn);

    if (*row->bridge) {
        if (bridge_is_used(txn, row->bridge))
            return err_bridge_name_exists(call, row->bridge);
        if (strlen(row->bridge) > BRIDGE_NAME_MAX || (row->managed && is_reserved(row->bridge)))
            return err_invalid_value(call, "bridge", row->bridge);
        return OK;
    }
    if (!row->managed)
        return err_invalid_value(call, "bridge", row->bridge);
    row->bridge = network_free_bridge(txn, 0);
    return OK;
}

static struct error *create_txn(struct txn *txn, void *arg)
{
    struct network row = *(const struct network *)arg;

    TRY(choose_bridge(txn, &row));
    txn_create(txn, CLASS_network, &row);
    return OK;
}

/* An older network with the same bridge: two that are created at once cannot see each other. */
static bool lost_race(struct call *call, ref_t ref)
{
    const struct network *self = db_find(call, CLASS_network, ref), *other;
    struct db_walk walk;

    db_walk(call->snap, CLASS_network, &walk);
    while (self && (other = db_walk_next(&walk)))
        if (!ref_equal(other->ref, ref) && strcmp(other->bridge, self->bridge) == 0 &&
            other->row_created < self->row_created)
            return true;
    return false;
}

struct error *network_create(struct call *call, const struct network_create_args *args,
                             ref_t *result)
{
    struct network row = *args->args;
    char uuid[UUID_TEXT_SIZE];

    row.ref = ref_new();
    row.uuid = uuid_new(uuid);
    if (row.mtu <= 0)
        row.mtu = DEFAULT_MTU;
    TRY(db_update(call, create_txn, &row));
    while (lost_race(call, row.ref)) {
        struct db_destroy gone = {CLASS_network, row.ref};

        TRY(db_update(call, db_destroy_txn, &gone));
        row.ref = ref_new();
        TRY(db_update(call, create_txn, &row));
    }
    *result = row.ref;
    return OK;
}

/* For the rows of a host that joins: with the bridge they have there, used or not. */
struct error *network_pool_introduce(struct call *call,
                                     const struct network_pool_introduce_args *args, ref_t *result)
{
    char uuid[UUID_TEXT_SIZE];
    struct network row;

    TRY(check_room(call, CLASS_network));
    row_defaults(&api_classes[CLASS_network], &row);
    row.ref = ref_new();
    row.uuid = uuid_new(uuid);
    row.name_label = args->name_label;
    row.name_description = args->name_description;
    row.mtu = args->mtu > 0 ? args->mtu : DEFAULT_MTU;
    row.other_config = args->other_config;
    row.bridge = args->bridge;
    row.managed = args->managed;
    row.purpose = args->purpose;
    TRY(db_update(call, db_create_txn, &(struct db_create){CLASS_network, &row}));
    *result = row.ref;
    return OK;
}

/*** destroy ***/

static bool is_system(const struct network *network)
{
    const char *value = strmap_get(&network->other_config, "is_host_internal_management_network");

    return value && strcmp(value, "true") == 0;
}

static struct error *destroy_txn(struct txn *txn, void *arg)
{
    ref_t ref = *(const ref_t *)arg;
    struct refs vifs = txn_referrers(txn, FIELD_vif_network, ref);
    struct refs pifs = txn_referrers(txn, FIELD_pif_network, ref);
    ref_t *attached = arena_array(txn_arena(txn), ref_t, vifs.n + 1);
    const struct network *network;
    size_t n = 0;

    TRY(TXN_GET(txn, network, ref, &network));
    for (size_t i = 0; i < vifs.n; i++) {
        const struct vif *vif = txn_find(txn, CLASS_vif, vifs.v[i]);

        if (vif && (vif->currently_attached || vif->current_operations.n))
            attached[n++] = vif->ref;
    }
    if (n)
        return error_of_refs(txn_call(txn), "NETWORK_CONTAINS_VIF", &(struct refs){n, attached});
    if (pifs.n)
        return error_of_refs(txn_call(txn), "NETWORK_CONTAINS_PIF", &pifs);
    if (is_system(network))
        return err_cannot_destroy_system_network(txn_call(txn), call_ref(txn_call(txn), ref));
    for (size_t i = 0; i < vifs.n; i++)
        txn_destroy(txn, CLASS_vif, vifs.v[i]);
    txn_blobs_destroy(txn, &network->blobs);
    txn_destroy(txn, CLASS_network, ref);
    return OK;
}

struct error *network_destroy(struct call *call, const struct network_destroy_args *args)
{
    ref_t ref = args->self;

    return db_update(call, destroy_txn, &ref);
}

/*** purposes ***/

static bool has_purpose(const struct network *network, enum network_purpose purpose)
{
    for (size_t i = 0; i < network->purpose.n; i++)
        if (network->purpose.v[i] == (int)purpose)
            return true;
    return false;
}

static struct error *add_purpose_txn(struct txn *txn, void *arg)
{
    const struct network_add_purpose_args *a = arg;
    enum network_purpose other =
        a->value == NETWORK_PURPOSE_NBD ? NETWORK_PURPOSE_INSECURE_NBD : NETWORK_PURPOSE_NBD;
    const struct network *network;
    struct db_walk walk;
    int value = (int)a->value;

    TRY(TXN_GET(txn, network, a->self, &network));
    /* The two exclude each other in the whole pool. */
    db_walk(txn_snap(txn), CLASS_network, &walk);
    while ((network = db_walk_next(&walk))) {
        txn_find(txn, CLASS_network, network->ref);
        if (has_purpose(network, other))
            return err_network_incompatible_purposes(txn_call(txn),
                                                     enum_name(&enum_network_purpose, value),
                                                     enum_name(&enum_network_purpose, (int)other));
    }
    txn_set_add(txn, FIELD_network_purpose, a->self, &value);
    return OK;
}

struct error *network_add_purpose(struct call *call, const struct network_add_purpose_args *args)
{
    return db_update(call, add_purpose_txn, (void *)args);
}

struct error *network_remove_purpose(struct call *call,
                                     const struct network_remove_purpose_args *args)
{
    int value = (int)args->value;
    struct db_member member = {FIELD_network_purpose, args->self, &value, NULL};

    return db_update(call, db_set_remove_txn, &member);
}

/*** filtering ***/

static struct error *locking_txn(struct txn *txn, void *arg)
{
    const struct network_set_default_locking_mode_args *a = arg;
    struct refs vifs = txn_referrers(txn, FIELD_vif_network, a->network);
    struct call *call = txn_call(txn);

    for (size_t i = 0; i < vifs.n; i++) {
        const struct vif *vif = txn_find(txn, CLASS_vif, vifs.v[i]);

        if (vif && vif->currently_attached && vif->locking_mode == VIF_LOCKING_MODE_NETWORK_DEFAULT)
            return err_vif_in_use(call, call_ref(call, a->network), call_ref(call, vif->ref));
    }
    TXN_SET(txn, network, a->network, default_locking_mode, a->value);
    return OK;
}

struct error *network_set_default_locking_mode(
    struct call *call, const struct network_set_default_locking_mode_args *args)
{
    return db_update(call, locking_txn, (void *)args);
}
