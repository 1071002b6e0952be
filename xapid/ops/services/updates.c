/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * updates.c -- packages of updates and patches: their records.
 *
 * A host takes its packages from its distribution, so none of these can be installed: what would do
 * that looks at its arguments and fails with the interface's own error.  Records can only have come
 * with a database from elsewhere; they can be cleared away.
 */
#include "libxapi/value/value.h"
#include "xapid/db/ready.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/rows.h"

static const char why[] = "The hosts of this pool take their updates from their distribution; "
                          "update packages are not installed.";

/*** pool_update ***/

struct error *pool_update_introduce(struct call *call,
                                    const struct pool_update_introduce_args *args, ref_t *result)
{
    const struct vdi *vdi;

    (void)result;
    TRY(DB_GET(call, vdi, args->vdi, &vdi));
    return err_invalid_update(call, why);
}

/* UPDATE_ALREADY_APPLIED where the host has it. */
static struct error *check_new(struct call *call, ref_t update, ref_t host_ref)
{
    const struct pool_update *row;
    const struct host *host;

    TRY(DB_GET(call, pool_update, update, &row));
    TRY(DB_GET(call, host, host_ref, &host));
    return refs_contain(&host->updates, update)
               ? err_update_already_applied(call, call_ref(call, update))
               : OK;
}

struct error *pool_update_precheck(struct call *call, const struct pool_update_precheck_args *args,
                                   enum livepatch_status *result)
{
    (void)result;
    TRY(check_new(call, args->self, args->host));
    return err_update_precheck_failed_unknown_error(call, call_ref(call, args->self), why);
}

struct error *pool_update_apply(struct call *call, const struct pool_update_apply_args *args)
{
    TRY(check_new(call, args->self, args->host));
    return err_update_apply_failed(call, why);
}

struct error *pool_update_pool_apply(struct call *call,
                                     const struct pool_update_pool_apply_args *args)
{
    size_t n_hosts = snap_root(call->snap)->tables[CLASS_host].count, n = 0;
    ref_t *without = arena_array(call->arena, ref_t, n_hosts + 1);
    const struct pool_update *row;
    const struct host *host;
    struct db_walk walk;

    TRY(DB_GET(call, pool_update, args->self, &row));
    db_walk(call->snap, CLASS_host, &walk);
    while ((host = db_walk_next(&walk)))
        if (!refs_contain(&host->updates, args->self))
            without[n++] = host->ref;
    return n ? error_of_refs(call, "UPDATE_POOL_APPLY_FAILED", &(struct refs){n, without})
             : err_update_already_applied_in_pool(call, call_ref(call, args->self));
}

/* The disk that holds the package, if it is still there. */
static struct error *destroy_disk(struct call *call, ref_t vdi)
{
    return db_find(call, CLASS_vdi, vdi) ? vdi_destroy(call, &(struct vdi_destroy_args){vdi}) : OK;
}

struct error *pool_update_pool_clean(struct call *call,
                                     const struct pool_update_pool_clean_args *args)
{
    const struct pool_update *row;

    TRY(DB_GET(call, pool_update, args->self, &row));
    return destroy_disk(call, row->vdi); /* the record loses the reference */
}

static struct error *destroy_update_txn(struct txn *txn, void *arg)
{
    ref_t ref = *(const ref_t *)arg;
    const struct pool_update *row;

    TRY(TXN_GET(txn, pool_update, ref, &row));
    if (txn_referrers(txn, FIELD_host_updates, ref).n)
        return err_update_is_applied(txn_call(txn));
    txn_destroy(txn, CLASS_pool_update, ref);
    return OK;
}

struct error *pool_update_destroy(struct call *call, const struct pool_update_destroy_args *args)
{
    const struct pool_update *row;
    ref_t ref = args->self, vdi;

    TRY(DB_GET(call, pool_update, ref, &row));
    vdi = row->vdi;
    TRY(db_update(call, destroy_update_txn, &ref));
    return destroy_disk(call, vdi);
}

/* Nothing is installed, whatever the record says. */
struct error *pool_update_resync_host(struct call *call,
                                      const struct pool_update_resync_host_args *args)
{
    const struct host *host;

    TRY(DB_GET(call, host, args->host, &host));
    return host->updates.n ? CALL_SET(call, host, args->host, updates, (struct refs){0}) : OK;
}

/*** pool_patch ***/

static struct error *check_patch(struct call *call, ref_t patch, ref_t host_ref)
{
    const struct pool_patch *row;
    const struct host *host;

    TRY(DB_GET(call, pool_patch, patch, &row));
    return DB_GET(call, host, host_ref, &host);
}

struct error *pool_patch_precheck(struct call *call, const struct pool_patch_precheck_args *args,
                                  const char **result)
{
    (void)result;
    TRY(check_patch(call, args->self, args->host));
    return err_patch_precheck_failed_unknown_error(call, call_ref(call, args->self), why);
}

struct error *pool_patch_apply(struct call *call, const struct pool_patch_apply_args *args,
                               const char **result)
{
    (void)result;
    TRY(check_patch(call, args->self, args->host));
    return err_patch_apply_failed(call, why);
}

struct error *pool_patch_pool_apply(struct call *call,
                                    const struct pool_patch_pool_apply_args *args)
{
    const struct pool_patch *row;

    TRY(DB_GET(call, pool_patch, args->self, &row));
    return err_patch_apply_failed(call, why);
}

/* No host keeps files of patches. */
struct error *pool_patch_clean(struct call *call, const struct pool_patch_clean_args *args)
{
    const struct pool_patch *row;

    return DB_GET(call, pool_patch, args->self, &row);
}

struct error *pool_patch_pool_clean(struct call *call,
                                    const struct pool_patch_pool_clean_args *args)
{
    const struct pool_patch *row;

    return DB_GET(call, pool_patch, args->self, &row);
}

struct error *pool_patch_clean_on_host(struct call *call,
                                       const struct pool_patch_clean_on_host_args *args)
{
    return check_patch(call, args->self, args->host);
}

static struct error *destroy_patch_txn(struct txn *txn, void *arg)
{
    ref_t ref = *(const ref_t *)arg;
    struct refs on_hosts = txn_referrers(txn, FIELD_host_patch_pool_patch, ref);
    const struct pool_patch *row;

    TRY(TXN_GET(txn, pool_patch, ref, &row));
    for (size_t i = 0; i < on_hosts.n; i++) {
        const struct host_patch *on_host = txn_find(txn, CLASS_host_patch, on_hosts.v[i]);

        if (on_host && on_host->applied)
            return err_patch_is_applied(txn_call(txn));
    }
    for (size_t i = 0; i < on_hosts.n; i++)
        txn_destroy(txn, CLASS_host_patch, on_hosts.v[i]);
    txn_destroy(txn, CLASS_pool_patch, ref);
    return OK;
}

struct error *pool_patch_destroy(struct call *call, const struct pool_patch_destroy_args *args)
{
    ref_t ref = args->self;

    return db_update(call, destroy_patch_txn, &ref);
}

/*** host_patch ***/

struct error *host_patch_destroy(struct call *call, const struct host_patch_destroy_args *args)
{
    (void)args;
    return err_message_deprecated(call);
}

struct error *host_patch_apply(struct call *call, const struct host_patch_apply_args *args,
                               const char **result)
{
    (void)args;
    (void)result;
    return err_message_deprecated(call);
}
