/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/host/cpu.h"

#include <string.h>

#include "libxapi/value/featureset.h"
#include "libxapi/value/value.h"
#include "xapid/ops/vm/checks.h"

static const char *const feature_keys[] = {"features_pv", "features_hvm", "features_pv_host",
                                           "features_hvm_host"};

static const char *text_of(const struct strmap *map, const char *key)
{
    const char *text = strmap_get(map, key);

    return text ? text : "";
}

static int64_t number_of(const struct strmap *map, const char *key)
{
    int64_t n = 0;

    return int_from_text(text_of(map, key), &n) ? n : 0;
}

/* The sum of what is counted, and of features what both have. */
static struct strmap joined(struct arena *arena, struct strmap a, const struct strmap *b)
{
    static const char *const counts[] = {"cpu_count", "socket_count"};

    for (size_t i = 0; i < ARRAY_SIZE(counts); i++)
        a = strmap_with(
            arena, a, counts[i],
            arena_printf(arena, "%lld",
                         (long long)(number_of(&a, counts[i]) + number_of(b, counts[i]))));
    for (size_t i = 0; i < ARRAY_SIZE(feature_keys); i++)
        a = strmap_with(
            arena, a, feature_keys[i],
            featureset_common(arena, text_of(&a, feature_keys[i]), text_of(b, feature_keys[i])));
    return a;
}

static struct strmap first_of(struct arena *arena, const struct strmap *info)
{
    static const char *const keys[] = {"vendor", "cpu_count", "socket_count"};
    struct strmap map = {0};

    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        map = strmap_with(arena, map, keys[i], text_of(info, keys[i]));
    for (size_t i = 0; i < ARRAY_SIZE(feature_keys); i++)
        map = strmap_with(arena, map, feature_keys[i], text_of(info, feature_keys[i]));
    return map;
}

/* Also while the daemon starts, and has not noted which it is. */
static const struct pool *the_pool(struct txn *txn)
{
    const struct pool *pool;
    struct db_walk walk;

    db_walk(txn_snap(txn), CLASS_pool, &walk);
    pool = db_walk_next(&walk);
    return pool ? txn_find(txn, CLASS_pool, pool->ref) : NULL;
}

void txn_pool_cpus(struct txn *txn, ref_t host_ref, const struct strmap *as, ref_t without)
{
    const struct field_desc *field = &api_fields[FIELD_pool_cpu_info];
    const struct pool *pool = the_pool(txn);
    struct strmap level = {0};
    struct db_walk walk;
    const struct host *host;

    db_walk(txn_snap(txn), CLASS_host, &walk);
    while ((host = db_walk_next(&walk))) {
        const struct strmap *info = ref_equal(host->ref, host_ref) ? as : &host->cpu_info;

        if (ref_equal(host->ref, without) || !txn_find(txn, CLASS_host, host->ref) || !info->n)
            continue;
        level = level.n ? joined(txn_arena(txn), level, info) : first_of(txn_arena(txn), info);
    }
    if (pool && level.n && !value_equal(field->type, &pool->cpu_info, &level))
        txn_set_value(txn, FIELD_pool_cpu_info, pool->ref, &level);
}

const char *vm_cpu_key(const struct vm *vm)
{
    return vm_domain_type(vm) == DOMAIN_TYPE_PV ? "features_pv" : "features_hvm";
}

void txn_vm_will_boot(struct txn *txn, const struct vm *vm)
{
    const struct pool *pool = the_pool(txn);
    struct arena *arena = txn_arena(txn);
    struct strmap flags = {0};

    if (!pool)
        return;
    flags = strmap_with(arena, flags, "vendor", text_of(&pool->cpu_info, "vendor"));
    flags = strmap_with(arena, flags, "features", text_of(&pool->cpu_info, vm_cpu_key(vm)));
    TXN_SET(txn, vm, vm->ref, last_boot_cpu_flags, flags);
}
