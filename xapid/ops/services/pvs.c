/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* pvs.c -- provisioning sites: their servers, the caches set aside for them, proxies of interfaces.
 */
#include <string.h>

#include "libxapi/value/value.h"
#include "xapid/db/ready.h"
#include "xapid/db/row.h"
#include "xapid/ops/rows.h"

#define CACHE_MIN ((int64_t)1 << 30)
#define ADDRESSES_LIMIT 256

/*** sites ***/

struct error *pvs_site_introduce(struct call *call, const struct pvs_site_introduce_args *args,
                                 ref_t *result)
{
    char uuid[UUID_TEXT_SIZE];
    struct pvs_site row;

    TRY(check_room(call, CLASS_pvs_site));
    row_defaults(&api_classes[CLASS_pvs_site], &row);
    row.ref = ref_new();
    row.uuid = uuid_new(uuid);
    row.name_label = args->name_label;
    row.name_description = args->name_description;
    row.pvs_uuid = args->pvs_uuid;
    TRY(db_update(call, db_create_txn, &(struct db_create){CLASS_pvs_site, &row}));
    *result = row.ref;
    return OK;
}

static struct refs running_proxies(struct txn *txn, ref_t site)
{
    struct refs all = txn_referrers(txn, FIELD_pvs_proxy_site, site);
    ref_t *v = arena_array(txn_arena(txn), ref_t, all.n + 1);
    size_t n = 0;

    for (size_t i = 0; i < all.n; i++) {
        const struct pvs_proxy *proxy = txn_find(txn, CLASS_pvs_proxy, all.v[i]);

        if (proxy && proxy->currently_attached)
            v[n++] = proxy->ref;
    }
    return (struct refs){n, v};
}

static void destroy_all(struct txn *txn, int class_id, const struct refs *refs)
{
    for (size_t i = 0; i < refs->n; i++)
        txn_destroy(txn, class_id, refs->v[i]);
}

/* What is of no use without the site goes with it. */
static struct error *forget_site_txn(struct txn *txn, void *arg)
{
    ref_t ref = *(const ref_t *)arg;
    struct refs running = running_proxies(txn, ref);
    struct refs servers = txn_referrers(txn, FIELD_pvs_server_site, ref);
    struct refs proxies = txn_referrers(txn, FIELD_pvs_proxy_site, ref);
    struct refs caches = txn_referrers(txn, FIELD_pvs_cache_storage_site, ref);
    const struct pvs_site *site;

    TRY(TXN_GET(txn, pvs_site, ref, &site));
    if (running.n)
        return error_of_refs(txn_call(txn), "PVS_SITE_CONTAINS_RUNNING_PROXIES", &running);
    if (servers.n)
        return error_of_refs(txn_call(txn), "PVS_SITE_CONTAINS_SERVERS", &servers);
    destroy_all(txn, CLASS_pvs_proxy, &proxies);
    destroy_all(txn, CLASS_pvs_cache_storage, &caches);
    txn_destroy(txn, CLASS_pvs_site, ref);
    return OK;
}

struct error *pvs_site_forget(struct call *call, const struct pvs_site_forget_args *args)
{
    ref_t ref = args->self;

    return db_update(call, forget_site_txn, &ref);
}

struct error *pvs_site_set_pvs_uuid(struct call *call,
                                    const struct pvs_site_set_pvs_uuid_args *args)
{
    return CALL_SET(call, pvs_site, args->self, pvs_uuid, args->value);
}

/*** servers ***/

static struct error *check_addresses_free(struct txn *txn, const struct strings *addresses)
{
    const struct pvs_server *server;
    struct db_walk walk;

    db_walk(txn_snap(txn), CLASS_pvs_server, &walk);
    while ((server = db_walk_next(&walk)))
        for (size_t i = 0; i < addresses->n; i++)
            if (strings_contain(&server->addresses, addresses->v[i]))
                return err_pvs_server_address_in_use(txn_call(txn), addresses->v[i]);
    return OK;
}

static struct error *introduce_server_txn(struct txn *txn, void *arg)
{
    const struct pvs_server *row = arg;
    const struct pvs_site *site;

    TRY(txn_take_turns(txn));
    TRY(TXN_GET(txn, pvs_site, row->site, &site));
    TRY(check_addresses_free(txn, &row->addresses));
    txn_create(txn, CLASS_pvs_server, row);
    return OK;
}

static struct error *check_server(struct call *call, const struct pvs_server_introduce_args *args)
{
    char last[INT_TEXT_SIZE];

    if (args->addresses.n > ADDRESSES_LIMIT)
        return err_invalid_value(call, "addresses", "too many");
    for (size_t i = 0; i < args->addresses.n; i++)
        if (!is_ip_address(args->addresses.v[i]))
            return err_invalid_ip_address_specified(call, "addresses");
    TRY(check_port(call, "first_port", args->first_port));
    TRY(check_port(call, "last_port", args->last_port));
    if (args->first_port <= args->last_port)
        return OK;
    int_to_text(args->last_port, last);
    return err_value_not_supported(call, "last_port", arena_strdup(call->arena, last),
                                   "The last port cannot come before the first.");
}

struct error *pvs_server_introduce(struct call *call, const struct pvs_server_introduce_args *args,
                                   ref_t *result)
{
    char uuid[UUID_TEXT_SIZE];
    struct pvs_server row;

    TRY(check_server(call, args));
    TRY(check_room(call, CLASS_pvs_server));
    row_defaults(&api_classes[CLASS_pvs_server], &row);
    row.ref = ref_new();
    row.uuid = uuid_new(uuid);
    row.addresses = args->addresses;
    row.first_port = args->first_port;
    row.last_port = args->last_port;
    row.site = args->site;
    TRY(db_update(call, introduce_server_txn, &row));
    *result = row.ref;
    return OK;
}

struct error *pvs_server_forget(struct call *call, const struct pvs_server_forget_args *args)
{
    return db_update(call, db_destroy_txn, &(struct db_destroy){CLASS_pvs_server, args->self});
}

/*** caches ***/

static struct error *create_cache_txn(struct txn *txn, void *arg)
{
    const struct pvs_cache_storage *row = arg;
    struct refs others = txn_referrers(txn, FIELD_pvs_cache_storage_site, row->site);
    struct call *call = txn_call(txn);
    const struct pvs_site *site;
    const struct host *host;
    const struct sr *sr;

    TRY(TXN_GET(txn, host, row->host, &host));
    TRY(TXN_GET(txn, sr, row->sr, &sr));
    TRY(TXN_GET(txn, pvs_site, row->site, &site));
    for (size_t i = 0; i < others.n; i++) {
        const struct pvs_cache_storage *other = txn_find(txn, CLASS_pvs_cache_storage, others.v[i]);

        if (other && ref_equal(other->host, row->host))
            return err_pvs_cache_storage_already_present(call, call_ref(call, row->site),
                                                         call_ref(call, row->host));
    }
    txn_create(txn, CLASS_pvs_cache_storage, row);
    return OK;
}

struct error *pvs_cache_storage_create(struct call *call,
                                       const struct pvs_cache_storage_create_args *args,
                                       ref_t *result)
{
    const struct pvs_cache_storage *given = args->args;
    char uuid[UUID_TEXT_SIZE], size[INT_TEXT_SIZE];
    struct pvs_cache_storage row;

    if (given->size < CACHE_MIN) {
        int_to_text(given->size, size);
        return err_value_not_supported(call, "size", arena_strdup(call->arena, size),
                                       "A cache has at least 1 GiB.");
    }
    row_defaults(&api_classes[CLASS_pvs_cache_storage], &row);
    row.ref = ref_new();
    row.uuid = uuid_new(uuid);
    row.host = given->host;
    row.sr = given->sr;
    row.site = given->site;
    row.size = given->size;
    TRY(db_update(call, create_cache_txn, &row));
    *result = row.ref;
    return OK;
}

/* On the host of a cache: those that read through it. */
static bool is_in_use(struct txn *txn, const struct pvs_cache_storage *cache)
{
    struct refs running = running_proxies(txn, cache->site);

    for (size_t i = 0; i < running.n; i++) {
        const struct pvs_proxy *proxy = txn_find(txn, CLASS_pvs_proxy, running.v[i]);
        const struct vif *vif = proxy ? txn_find(txn, CLASS_vif, proxy->vif) : NULL;
        const struct vm *vm = vif ? txn_find(txn, CLASS_vm, vif->vm) : NULL;

        if (vm && ref_equal(vm->resident_on, cache->host))
            return true;
    }
    return false;
}

static struct error *destroy_cache_txn(struct txn *txn, void *arg)
{
    ref_t ref = *(const ref_t *)arg;
    const struct pvs_cache_storage *row;

    TRY(TXN_GET(txn, pvs_cache_storage, ref, &row));
    if (is_in_use(txn, row))
        return err_pvs_cache_storage_is_in_use(txn_call(txn), call_ref(txn_call(txn), ref));
    txn_destroy(txn, CLASS_pvs_cache_storage, ref);
    return OK;
}

struct error *pvs_cache_storage_destroy(struct call *call,
                                        const struct pvs_cache_storage_destroy_args *args)
{
    ref_t ref = args->self;

    return db_update(call, destroy_cache_txn, &ref);
}

/*** proxies ***/

static struct error *create_proxy_txn(struct txn *txn, void *arg)
{
    const struct pvs_proxy *row = arg;
    struct refs others = txn_referrers(txn, FIELD_pvs_proxy_vif, row->vif);
    const struct pvs_site *site;
    const struct vif *vif;

    TRY(TXN_GET(txn, pvs_site, row->site, &site));
    TRY(TXN_GET(txn, vif, row->vif, &vif));
    if (strcmp(vif->device, "0") != 0)
        return err_pvs_vif_must_be_first_device(txn_call(txn));
    if (others.n)
        return error_of_refs(txn_call(txn), "PVS_PROXY_ALREADY_PRESENT", &others);
    txn_create(txn, CLASS_pvs_proxy, row);
    return OK;
}

struct error *pvs_proxy_create(struct call *call, const struct pvs_proxy_create_args *args,
                               ref_t *result)
{
    char uuid[UUID_TEXT_SIZE];
    struct pvs_proxy row;

    TRY(check_room(call, CLASS_pvs_proxy));
    row_defaults(&api_classes[CLASS_pvs_proxy], &row);
    row.ref = ref_new();
    row.uuid = uuid_new(uuid);
    row.site = args->site;
    row.vif = args->vif;
    TRY(db_update(call, create_proxy_txn, &row));
    *result = row.ref;
    return OK;
}

struct error *pvs_proxy_destroy(struct call *call, const struct pvs_proxy_destroy_args *args)
{
    return db_update(call, db_destroy_txn, &(struct db_destroy){CLASS_pvs_proxy, args->self});
}
