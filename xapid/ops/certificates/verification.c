/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * verification.c -- whether certificates are checked: those of others (TLS verification), and those
 * of clients in place of a password; and the pool's secret.
 *
 * Members of a pool know each other by their fingerprints, always.  TLS verification is about the
 * other connections that a host makes.
 */
#include <string.h>

#include "libxapi/base/buf.h"
#include "xapid/auth/auth.h"
#include "xapid/db/ready.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/certificates/store.h"
#include "xapid/ops/host/level.h"
#include "xapid/ops/message.h"

/*** TLS verification ***/

static struct error *enable_txn(struct txn *txn, void *arg)
{
    struct call *call = txn_call(txn);
    const struct pool *pool;
    const struct host *host;
    struct db_walk walk;

    (void)arg;
    TRY(TXN_GET(txn, pool, call->xapid->pool, &pool));
    if (pool->ha_enabled)
        return err_ha_is_enabled(call);
    TXN_SET(txn, pool, pool->ref, tls_verification_enabled, true);
    db_walk(txn_snap(txn), CLASS_host, &walk);
    while ((host = db_walk_next(&walk)))
        if (txn_find(txn, CLASS_host, host->ref))
            TXN_SET(txn, host, host->ref, tls_verification_enabled, true);
    return OK;
}

struct error *pool_enable_tls_verification(struct call *call)
{
    return db_update(call, enable_txn, NULL);
}

static struct error *disable_here_txn(struct txn *txn, void *arg)
{
    struct call *call = txn_call(txn);
    const struct host *host;
    struct buf body = {0};

    (void)arg;
    TRY(TXN_GET(txn, host, call->xapid->host, &host));
    if (!host->tls_verification_enabled)
        return OK;
    TXN_SET(txn, host, host->ref, tls_verification_enabled, false);
    buf_puts(&body, "<body><host>");
    buf_xml(&body, host->name_label);
    buf_puts(&body, "</host></body>");
    txn_alert(txn, "TLS_VERIFICATION_EMERGENCY_DISABLED", CLS_HOST, host->uuid,
              arena_strdup(txn_arena(txn), body.data));
    buf_release(&body);
    return OK;
}

struct error *host_emergency_disable_tls_verification(struct call *call)
{
    return db_update(call, disable_here_txn, NULL);
}

static struct error *reenable_here_txn(struct txn *txn, void *arg)
{
    struct call *call = txn_call(txn);
    const struct pool *pool;
    const struct host *host;

    (void)arg;
    TRY(TXN_GET(txn, pool, call->xapid->pool, &pool));
    TRY(TXN_GET(txn, host, call->xapid->host, &host));
    if (!pool->tls_verification_enabled)
        return err_tls_verification_not_enabled_in_pool(call);
    TXN_SET(txn, host, host->ref, tls_verification_enabled, true);
    return OK;
}

struct error *host_emergency_reenable_tls_verification(struct call *call)
{
    return db_update(call, reenable_here_txn, NULL);
}

/*** clients ***/

struct setting {
    ref_t pool;
    bool enabled;
    const char *name;
};

static struct error *clients_txn(struct txn *txn, void *arg)
{
    const struct setting *s = arg;
    const struct pool *pool;

    TRY(TXN_GET(txn, pool, s->pool, &pool));
    TXN_SET(txn, pool, s->pool, client_certificate_auth_enabled, s->enabled);
    TXN_SET(txn, pool, s->pool, client_certificate_auth_name, s->name);
    return OK;
}

/* As it stands in certificates; a '*' would match what nobody meant. */
static bool is_dns_name(const char *name)
{
    size_t n = strlen(name);

    return n && n <= 253 && name[0] != '.' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") == n;
}

struct error *pool_enable_client_certificate_auth(
    struct call *call, const struct pool_enable_client_certificate_auth_args *args)
{
    if (!is_dns_name(args->name))
        return err_invalid_value(call, "name", args->name);
    TRY(db_update(call, clients_txn, &(struct setting){args->self, true, args->name}));
    return certificates_write(call);
}

struct error *pool_disable_client_certificate_auth(
    struct call *call, const struct pool_disable_client_certificate_auth_args *args)
{
    TRY(db_update(call, clients_txn, &(struct setting){args->self, false, ""}));
    return certificates_write(call);
}

/*** the pool's secret ***/

/* One write; each host's file follows it, for local programs that read it. */
struct error *pool_rotate_secret(struct call *call)
{
    const struct pool *pool;

    TRY(DB_GET(call, pool, call->xapid->pool, &pool));
    if (pool->ha_enabled)
        return err_ha_is_enabled(call);
    TRY(level_check_no_upgrade(call));
    return auth_rotate_pool_secret(call);
}
