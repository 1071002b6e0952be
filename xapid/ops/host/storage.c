/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* storage.c -- what this host has to do with storage besides its PBDs. */
#include "xapid/db/ready.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/host/here.h"
#include "xapid/ops/storage/attach.h"

struct error *host_get_sm_diagnostics(struct call *call,
                                      const struct host_get_sm_diagnostics_args *args,
                                      const char **result)
{
    struct buf text = {0};

    TRY(host_check_here(call, args->host));
    srs_describe(call, &text);
    *result = arena_strndup(call->arena, text.len ? text.data : "", text.len);
    buf_release(&text);
    return OK;
}

/*** reads of shared disks kept on local storage: no driver here can do that ***/

static struct error *check_disabled(struct call *call, ref_t ref)
{
    const struct host *host;

    TRY(DB_GET(call, host, ref, &host));
    return host->enabled ? err_host_not_disabled(call) : OK;
}

static struct error *switch_off(struct call *call, ref_t ref, void *arg)
{
    (void)arg;
    TRY(check_disabled(call, ref));
    return CALL_SET(call, host, ref, local_cache_sr, REF_NULL);
}

struct error *host_enable_local_storage_caching(
    struct call *call, const struct host_enable_local_storage_caching_args *args)
{
    const struct sr *sr;

    TRY(host_check(call, args->host));
    TRY(DB_GET(call, sr, args->sr, &sr));
    TRY(check_disabled(call, args->host));
    return err_sr_operation_not_supported(call, call_ref(call, args->sr));
}

struct error *host_disable_local_storage_caching(
    struct call *call, const struct host_disable_local_storage_caching_args *args)
{
    return switch_off(call, args->host, NULL);
}

static struct error *cannot(struct call *call, ref_t ref, void *arg)
{
    (void)arg;
    TRY(check_disabled(call, ref));
    return err_operation_not_allowed(call, "No storage of this host can cache reads.");
}

struct error *pool_enable_local_storage_caching(
    struct call *call, const struct pool_enable_local_storage_caching_args *args)
{
    const struct pool *pool;
    const char *failed;

    TRY(DB_GET(call, pool, args->self, &pool));
    hosts_each(call, cannot, NULL, &failed);
    return error_new(call->arena, "HOSTS_FAILED_TO_ENABLE_CACHING", 1, failed);
}

struct error *pool_disable_local_storage_caching(
    struct call *call, const struct pool_disable_local_storage_caching_args *args)
{
    const struct pool *pool;
    const char *failed;

    TRY(DB_GET(call, pool, args->self, &pool));
    hosts_each(call, switch_off, NULL, &failed);
    return *failed ? error_new(call->arena, "HOSTS_FAILED_TO_DISABLE_CACHING", 1, failed) : OK;
}
