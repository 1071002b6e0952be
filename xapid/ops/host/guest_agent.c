/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * guest_agent.c -- the pool's settings for guest agents, which these read in xenstore below
 * /guest_agent_features.
 *
 * xenstore is empty after a boot: each start writes it anew from the pool's record.
 */
#include <string.h>
#include <strings.h>

#include "libxapi/base/log.h"
#include "libxapi/value/value.h"
#include "xapid/db/ready.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/host/here.h"
#include "xapid/ops/host/setting.h"
#include "xapid/ops/host/settle.h"
#include "xapid/ops/host/system.h"

#define TOP "/guest_agent_features"
#define PARAMETERS TOP "/Guest_agent_auto_update/parameters"
#define URL_LIMIT 2048

static const struct setting {
    const char *key, *path;
} settings[] = {
    {"auto_update_enabled", PARAMETERS "/enabled"},
    {"auto_update_url", PARAMETERS "/update_url"},
};

static const struct setting *setting_of(const char *key)
{
    for (size_t i = 0; i < ARRAY_SIZE(settings); i++)
        if (strcmp(settings[i].key, key) == 0)
            return &settings[i];
    return NULL;
}

static struct error *check(struct call *call, const char *key, const char *value)
{
    if (!setting_of(key))
        return err_invalid_value(call, "key", key);
    if (strcmp(key, "auto_update_enabled") == 0
            ? strcmp(value, "true") != 0 && strcmp(value, "false") != 0
            : (strncasecmp(value, "http://", 7) != 0 && strncasecmp(value, "https://", 8) != 0) ||
                  strlen(value) > URL_LIMIT)
        return err_invalid_value(call, key, value);
    return OK;
}

/* As agents want it. */
static const char *told(const char *value)
{
    return strcmp(value, "true") == 0 ? "1" : strcmp(value, "false") == 0 ? "0" : value;
}

static struct error *tell(struct call *call, const struct strmap *config)
{
    /* A host that is made up has no xenstore. */
    if (system_is_simulated(call) && !system_program(call, "xenstore-write"))
        return OK;
    for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
        const char *value = strmap_get(config, settings[i].key);

        if (value) {
            TRY(SYSTEM_RUN(call, NULL, "xenstore-write", settings[i].path, told(value)));
            continue;
        }
        /* One that is not there cannot be taken away, and need not. */
        error_ignore(SYSTEM_RUN(call, NULL, "xenstore-rm", settings[i].path));
    }
    if (!config->n)
        return OK;
    /* Every guest may read it. */
    return SYSTEM_RUN(call, NULL, "xenstore-chmod", "-r", TOP, "r0");
}

struct error *guest_agents_tell(struct call *call)
{
    const struct pool *pool;

    TRY(DB_GET(call, pool, call->xapid->pool, &pool));
    return tell(call, &pool->guest_agent_config);
}

struct new_config {
    ref_t pool;
    struct strmap config;
};

static struct error *tell_new(struct call *call, void *arg)
{
    const struct new_config *new = arg;

    return tell(call, &new->config);
}

static struct error *record(struct txn *txn, void *arg)
{
    const struct new_config *new = arg;
    const struct pool *pool;

    TRY(TXN_GET(txn, pool, new->pool, &pool));
    TXN_SET(txn, pool, new->pool, guest_agent_config, new->config);
    return OK;
}

static struct error *change(struct call *call, struct new_config new)
{
    return host_change(call,
                       &(struct host_change){HOST_SETTING_GUEST_AGENTS, tell_new, record, &new});
}

struct error *pool_add_to_guest_agent_config(struct call *call,
                                             const struct pool_add_to_guest_agent_config_args *args)
{
    const struct pool *pool;

    TRY(DB_GET(call, pool, args->self, &pool));
    TRY(check(call, args->key, args->value));
    if (strmap_get(&pool->guest_agent_config, args->key))
        return err_map_duplicate_key(call, "pool", "guest_agent_config", call_ref(call, args->self),
                                     args->key);
    return change(call,
                  (struct new_config){args->self, strmap_with(call->arena, pool->guest_agent_config,
                                                              args->key, args->value)});
}

struct error *pool_remove_from_guest_agent_config(
    struct call *call, const struct pool_remove_from_guest_agent_config_args *args)
{
    const struct pool *pool;

    TRY(DB_GET(call, pool, args->self, &pool));
    return change(
        call, (struct new_config){
                  args->self, strmap_without(call->arena, pool->guest_agent_config, args->key)});
}

struct error *host_apply_guest_agent_config(struct call *call,
                                            const struct host_apply_guest_agent_config_args *args)
{
    TRY(host_check_here(call, args->host));
    return guest_agents_tell(call);
}

void guest_agent_settle(struct call *call)
{
    const struct pool *pool = db_find(call, CLASS_pool, call->xapid->pool);
    struct error *e;

    if (!pool || !pool->guest_agent_config.n)
        return;
    e = tell(call, &pool->guest_agent_config);
    if (e)
        log_error("guest agents are not told their settings: %s", error_line(call->arena, e));
}
