/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* pool_settings.c -- settings of the pool that are checked, and recorded. */
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "libxapi/base/seam.h"
#include "libxapi/value/value.h"
#include "xapid/db/ready.h"
#include "xapid/db/row.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/host/here.h"

#define SECONDS_A_DAY ((int64_t)86400)
#define URL_LIMIT 2048
#define PASSWORD_LIMIT 1024

static struct error *check_pool(struct call *call, ref_t ref)
{
    const struct pool *pool;

    return DB_GET(call, pool, ref, &pool);
}

/*** HTTPS only ***/

/* Connections look at the record of the host they come to. */
struct error *host_set_https_only(struct call *call, const struct host_set_https_only_args *args)
{
    return CALL_SET(call, host, args->self, https_only, args->value);
}

static struct error *https_only_txn(struct txn *txn, void *arg)
{
    bool value = *(const bool *)arg;
    const struct host *host;
    struct db_walk walk;

    db_walk(txn_snap(txn), CLASS_host, &walk);
    while ((host = db_walk_next(&walk)))
        if (host->https_only != value)
            TXN_SET(txn, host, host->ref, https_only, value);
    return OK;
}

struct error *pool_set_https_only(struct call *call, const struct pool_set_https_only_args *args)
{
    bool value = args->value;

    TRY(check_pool(call, args->self));
    return db_update(call, https_only_txn, &value);
}

/*** logins at the same time ***/

static struct error *check_threads(struct call *call, int64_t value)
{
    if (value > 0 && value <= INT32_MAX)
        return OK;
    return err_value_not_supported(
        call, "value", arena_printf(call->arena, "%lld", (long long)value), "it must be positive");
}

struct error *pool_set_local_auth_max_threads(
    struct call *call, const struct pool_set_local_auth_max_threads_args *args)
{
    TRY(check_pool(call, args->self));
    TRY(check_threads(call, args->value));
    return CALL_SET(call, pool, args->self, local_auth_max_threads, args->value);
}

struct error *pool_set_ext_auth_max_threads(struct call *call,
                                            const struct pool_set_ext_auth_max_threads_args *args)
{
    TRY(check_pool(call, args->self));
    TRY(check_threads(call, args->value));
    return CALL_SET(call, pool, args->self, ext_auth_max_threads, args->value);
}

/*** telemetry: collected by a program beside xapid, which reads this ***/

static int64_t days_between(enum telemetry_frequency frequency)
{
    return frequency == TELEMETRY_FREQUENCY_DAILY    ? 1
           : frequency == TELEMETRY_FREQUENCY_WEEKLY ? 7
                                                     : 31;
}

struct error *pool_set_telemetry_next_collection(
    struct call *call, const struct pool_set_telemetry_next_collection_args *args)
{
    const struct pool *pool;
    usec_t latest;

    TRY(DB_GET(call, pool, args->self, &pool));
    latest = clock_wall() + days_between(pool->telemetry_frequency) * SECONDS_A_DAY * USEC_PER_SEC;
    if (args->value > latest) {
        char text[DATE_TEXT_SIZE];

        return err_telemetry_next_collection_too_late(call, date_to_text(args->value, text));
    }
    return CALL_SET(call, pool, args->self, telemetry_next_collection, args->value);
}

/* A new secret in place of the old one. */
static ref_t replace_secret(struct txn *txn, ref_t old, const char *value)
{
    char uuid[UUID_TEXT_SIZE];
    struct secret row;

    if (!ref_is_null(old) && txn_find(txn, CLASS_secret, old))
        txn_destroy(txn, CLASS_secret, old);
    if (!value)
        return REF_NULL;
    row_defaults(&api_classes[CLASS_secret], &row);
    row.ref = ref_new();
    row.uuid = arena_strdup(txn_arena(txn), uuid_new(uuid));
    row.value = value;
    txn_create(txn, CLASS_secret, &row);
    return row.ref;
}

static struct error *telemetry_txn(struct txn *txn, void *arg)
{
    ref_t ref = *(const ref_t *)arg;
    char uuid[UUID_TEXT_SIZE];
    const struct pool *pool;

    TRY(TXN_GET(txn, pool, ref, &pool));
    TXN_SET(
        txn, pool, ref, telemetry_uuid,
        replace_secret(txn, pool->telemetry_uuid, arena_strdup(txn_arena(txn), uuid_new(uuid))));
    return OK;
}

struct error *pool_reset_telemetry_uuid(struct call *call,
                                        const struct pool_reset_telemetry_uuid_args *args)
{
    ref_t self = args->self;

    return db_update(call, telemetry_txn, &self);
}

/*** updates ***/

struct rhythm {
    ref_t pool;
    enum update_sync_frequency frequency;
    int64_t day;
};

static struct error *rhythm_txn(struct txn *txn, void *arg)
{
    const struct rhythm *r = arg;
    const struct pool *pool;

    TRY(TXN_GET(txn, pool, r->pool, &pool));
    TXN_SET(txn, pool, r->pool, update_sync_frequency, r->frequency);
    TXN_SET(txn, pool, r->pool, update_sync_day, r->day);
    return OK;
}

struct error *pool_configure_update_sync(struct call *call,
                                         const struct pool_configure_update_sync_args *args)
{
    struct rhythm r = {args->self, args->update_sync_frequency, args->update_sync_day};

    TRY(check_pool(call, args->self));
    if (r.frequency == UPDATE_SYNC_FREQUENCY_DAILY)
        r.day = 0;
    else if (r.day < 0 || r.day > 6)
        return err_invalid_update_sync_day(call,
                                           arena_printf(call->arena, "%lld", (long long)r.day));
    return db_update(call, rhythm_txn, &r);
}

/* Nothing here downloads from repositories, so nothing can do so by itself. */
struct error *pool_set_update_sync_enabled(struct call *call,
                                           const struct pool_set_update_sync_enabled_args *args)
{
    const struct pool *pool;

    TRY(DB_GET(call, pool, args->self, &pool));
    if (!args->value)
        return CALL_SET(call, pool, args->self, update_sync_enabled, false);
    return pool->repositories.n ? err_can_not_periodic_sync_updates(call)
                                : err_no_repositories_configured(call);
}

/* Which repositories count. */
struct repositories {
    ref_t pool;
    struct refs all;   /* of set */
    ref_t add, remove; /* or one of these */
};

static struct error *repositories_txn(struct txn *txn, void *arg)
{
    const struct repositories *r = arg;
    const struct repository *repository;
    const struct pool *pool;

    TRY(TXN_GET(txn, pool, r->pool, &pool));
    for (size_t i = 0; i < r->all.n; i++)
        TRY(TXN_GET(txn, repository, r->all.v[i], &repository));
    if (!ref_is_null(r->add)) {
        TRY(TXN_GET(txn, repository, r->add, &repository));
        txn_set_add(txn, FIELD_pool_repositories, r->pool, &r->add);
    } else if (!ref_is_null(r->remove)) {
        TRY(TXN_GET(txn, repository, r->remove, &repository));
        txn_set_remove(txn, FIELD_pool_repositories, r->pool, &r->remove);
    } else {
        TXN_SET(txn, pool, r->pool, repositories, r->all);
    }
    return OK;
}

struct error *pool_set_repositories(struct call *call,
                                    const struct pool_set_repositories_args *args)
{
    return db_update(call, repositories_txn,
                     &(struct repositories){.pool = args->self, .all = args->value});
}

struct error *pool_add_repository(struct call *call, const struct pool_add_repository_args *args)
{
    return db_update(call, repositories_txn,
                     &(struct repositories){.pool = args->self, .add = args->value});
}

struct error *pool_remove_repository(struct call *call,
                                     const struct pool_remove_repository_args *args)
{
    return db_update(call, repositories_txn,
                     &(struct repositories){.pool = args->self, .remove = args->value});
}

struct proxy {
    ref_t pool;
    const char *url, *user, *password;
};

static struct error *proxy_txn(struct txn *txn, void *arg)
{
    const struct proxy *p = arg;
    const struct pool *pool;

    TRY(TXN_GET(txn, pool, p->pool, &pool));
    TXN_SET(txn, pool, p->pool, repository_proxy_url, p->url);
    TXN_SET(txn, pool, p->pool, repository_proxy_username, p->user);
    TXN_SET(txn, pool, p->pool, repository_proxy_password,
            replace_secret(txn, pool->repository_proxy_password, *p->user ? p->password : NULL));
    return OK;
}

static bool printable(const char *text)
{
    for (; *text; text++)
        if (!isprint((unsigned char)*text))
            return false;
    return true;
}

/* "http://" or "https://" and something behind it, without credentials, which have places of their
 * own. */
static bool is_proxy_url(const char *url)
{
    size_t scheme = strncasecmp(url, "http://", 7) == 0    ? 7
                    : strncasecmp(url, "https://", 8) == 0 ? 8
                                                           : 0;

    return scheme && url[scheme] && strlen(url) <= URL_LIMIT && printable(url) &&
           !strpbrk(url, " @\"'<>\\");
}

struct error *pool_configure_repository_proxy(
    struct call *call, const struct pool_configure_repository_proxy_args *args)
{
    TRY(check_pool(call, args->self));
    if (!is_proxy_url(args->url))
        return err_invalid_repository_proxy_url(call, args->url);
    if (!*args->username != !*args->password || strchr(args->username, ':') ||
        strlen(args->username) > PASSWORD_LIMIT || strlen(args->password) > PASSWORD_LIMIT ||
        !printable(args->username) || !printable(args->password))
        return err_invalid_repository_proxy_credential(call);
    return db_update(call, proxy_txn,
                     &(struct proxy){args->self, args->url, args->username, args->password});
}

struct error *pool_disable_repository_proxy(struct call *call,
                                            const struct pool_disable_repository_proxy_args *args)
{
    TRY(check_pool(call, args->self));
    return db_update(call, proxy_txn, &(struct proxy){args->self, "", "", ""});
}

/*** networks ***/

/* There is no controller to be forgotten; there can be none, either. */
struct error *pool_set_vswitch_controller(struct call *call,
                                          const struct pool_set_vswitch_controller_args *args)
{
    if (*args->address)
        return err_operation_not_allowed(
            call, "A controller needs Open vSwitch as network backend of every host.");
    return OK;
}

/*** the redo log ***/

/* The log that the members share is all that is written; there is no other to be stopped. */
struct error *pool_disable_redo_log(struct call *call)
{
    (void)call;
    return OK;
}
