/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* pool.c -- messages of class pool that read facts or change the pool's record. */
#include <string.h>

#include "libxapi/value/value.h"
#include "xapid/auth/audit.h"
#include "xapid/db/ready.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/host/licence.h"
#include "xapid/ops/host/plugin.h"
#include "xapid/ops/message.h"

static struct error *check_pool(struct call *call, ref_t ref)
{
    const struct pool *pool;

    return DB_GET(call, pool, ref, &pool);
}

/* What was acknowledged is durable already; what nobody waited for is written now. */
struct error *pool_sync_database(struct call *call)
{
    db_flush_lazy(call->xapid->db);
    return OK;
}

struct error *pool_is_slave(struct call *call, const struct pool_is_slave_args *args, bool *result)
{
    const struct host *host;
    const struct pool *pool;

    TRY(DB_GET(call, host, args->host, &host));
    TRY(DB_GET(call, pool, call->xapid->pool, &pool));
    *result = !ref_equal(pool->master, call->xapid->host);
    return OK;
}

/*** licence ***/

struct error *pool_get_license_state(struct call *call,
                                     const struct pool_get_license_state_args *args,
                                     struct strmap *result)
{
    static const struct strpair state[] = {{"edition", LICENCE_EDITION}, {"expiry", "never"}};

    TRY(check_pool(call, args->self));
    *result = (struct strmap){ARRAY_SIZE(state), state};
    return OK;
}

struct error *pool_apply_edition(struct call *call, const struct pool_apply_edition_args *args)
{
    TRY(check_pool(call, args->self));
    return licence_check_edition(call, args->edition);
}

/*** settings ***/

/* Versions of TLS before 1.2 are never spoken. */
struct error *pool_disable_ssl_legacy(struct call *call,
                                      const struct pool_disable_ssl_legacy_args *args)
{
    return check_pool(call, args->self);
}

struct error *pool_set_igmp_snooping_enabled(struct call *call,
                                             const struct pool_set_igmp_snooping_enabled_args *args)
{
    TRY(check_pool(call, args->self));
    if (args->value)
        return err_operation_not_allowed(
            call, "Multicast snooping needs Open vSwitch as network backend of every host.");
    return OK;
}

struct error *pool_set_ext_auth_cache_enabled(
    struct call *call, const struct pool_set_ext_auth_cache_enabled_args *args)
{
    TRY(check_pool(call, args->self));
    return CALL_SET(call, pool, args->self, ext_auth_cache_enabled, args->value);
}

static struct error *check_positive(struct call *call, int64_t value)
{
    if (value > 0)
        return OK;
    return err_value_not_supported(
        call, "value", arena_printf(call->arena, "%lld", (long long)value), "it must be positive");
}

struct error *pool_set_ext_auth_cache_size(struct call *call,
                                           const struct pool_set_ext_auth_cache_size_args *args)
{
    TRY(check_pool(call, args->self));
    TRY(check_positive(call, args->value));
    return CALL_SET(call, pool, args->self, ext_auth_cache_size, args->value);
}

struct error *pool_set_ext_auth_cache_expiry(struct call *call,
                                             const struct pool_set_ext_auth_cache_expiry_args *args)
{
    TRY(check_pool(call, args->self));
    TRY(check_positive(call, args->value));
    return CALL_SET(call, pool, args->self, ext_auth_cache_expiry, args->value);
}

/*** directories ***/

struct error *pool_detect_nonhomogeneous_external_auth(
    struct call *call, const struct pool_detect_nonhomogeneous_external_auth_args *args)
{
    const struct host *master, *host;
    const struct pool *pool;
    struct db_walk walk;
    bool differ = false;

    TRY(DB_GET(call, pool, args->pool, &pool));
    TRY(DB_GET(call, host, pool->master, &master));
    db_walk(call->snap, CLASS_host, &walk);
    while ((host = db_walk_next(&walk)))
        differ = differ || strcmp(host->external_auth_type, master->external_auth_type) != 0 ||
                 strcmp(host->external_auth_service_name, master->external_auth_service_name) != 0;
    if (differ)
        alert_create(call, "EXTAUTH_IN_POOL_IS_NON_HOMOGENEOUS", CLS_POOL, pool->uuid, "");
    return OK;
}

/*** workload balancing: never configured ***/

static struct error *deconfigure_txn(struct txn *txn, void *arg)
{
    ref_t ref = *(const ref_t *)arg;
    const struct pool *pool;

    TRY(TXN_GET(txn, pool, ref, &pool));
    TXN_SET(txn, pool, ref, wlb_enabled, false);
    TXN_SET(txn, pool, ref, wlb_url, "");
    TXN_SET(txn, pool, ref, wlb_username, "");
    return OK;
}

struct error *pool_deconfigure_wlb(struct call *call)
{
    return db_update(call, deconfigure_txn, &call->xapid->pool);
}

struct error *pool_send_wlb_configuration(struct call *call,
                                          const struct pool_send_wlb_configuration_args *args)
{
    (void)args;
    return err_wlb_not_initialized(call);
}

struct error *pool_retrieve_wlb_configuration(struct call *call, struct strmap *result)
{
    (void)result;
    return err_wlb_not_initialized(call);
}

struct error *pool_retrieve_wlb_recommendations(struct call *call, struct map *result)
{
    (void)result;
    return err_wlb_not_initialized(call);
}

/*** others ***/

/* A leftover of backup policies, which are gone. */
struct error *pool_test_archive_target(struct call *call,
                                       const struct pool_test_archive_target_args *args,
                                       const char **result)
{
    (void)result;
    TRY(check_pool(call, args->self));
    return err_message_removed(call);
}

struct error *pool_has_extension(struct call *call, const struct pool_has_extension_args *args,
                                 bool *result)
{
    TRY(check_pool(call, args->self));
    *result = extension_exists(call, args->name);
    return OK;
}

struct error *pool_audit_log_append(struct call *call,
                                    const struct pool_audit_log_append_args *args)
{
    audit_append(call->xapid->audit, args->line);
    return OK;
}
