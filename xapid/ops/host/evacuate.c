/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * evacuate.c -- whether a host's VMs could go elsewhere.
 *
 * VMs cannot move to another host yet, so each one that runs here stands in the way.
 */
#include <string.h>

#include "libxapi/base/buf.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/vm/squeezer.h"

/* Entries of map ref VM set string: why a VM has to stay, as an error's code and parameters. */
struct obstacle {
    ref_t vm;
    struct strings why;
};

struct obstacles {
    size_t n;
    struct obstacle *v;
};

static struct error *find_obstacles(struct call *call, ref_t host, struct obstacles *out)
{
    const struct host *row;
    struct refs vms;

    TRY(DB_GET(call, host, host, &row));
    vms = db_referrers(call, FIELD_vm_resident_on, host);
    *out = (struct obstacles){0, arena_array(call->arena, struct obstacle, vms.n + 1)};
    for (size_t i = 0; i < vms.n; i++) {
        const struct vm *vm = db_find(call, CLASS_vm, vms.v[i]);
        const char **why = arena_array(call->arena, const char *, 2);

        if (!vm || vm->is_control_domain)
            continue;
        why[0] = "NO_HOSTS_AVAILABLE";
        why[1] = call_ref(call, vms.v[i]);
        out->v[out->n++] = (struct obstacle){vms.v[i], {2, why}};
    }
    return OK;
}

/* All reasons in one text: fields joined by commas, VMs by bars. */
static struct error *check_evacuation(struct call *call, ref_t host)
{
    struct obstacles found;
    struct buf text = {0};
    struct error *e;

    TRY(find_obstacles(call, host, &found));
    if (!found.n)
        return OK;
    for (size_t i = 0; i < found.n; i++) {
        if (i)
            buf_putc(&text, '|');
        buf_printf(&text, "%s,%s", found.v[i].why.v[0], found.v[i].why.v[1]);
    }
    e = err_cannot_evacuate_host(call, text.data);
    buf_release(&text);
    return e;
}

struct error *host_assert_can_evacuate(struct call *call,
                                       const struct host_assert_can_evacuate_args *args)
{
    return check_evacuation(call, args->host);
}

/* A host without VMs is empty already. */
struct error *host_evacuate(struct call *call, const struct host_evacuate_args *args)
{
    const struct network *network;

    if (args->evacuate_batch_size < 0)
        return err_invalid_value(
            call, "evacuate_batch_size",
            arena_printf(call->arena, "%lld", (long long)args->evacuate_batch_size));
    if (!ref_is_null(args->network))
        TRY(DB_GET(call, network, args->network, &network));
    return check_evacuation(call, args->host);
}

struct error *host_get_vms_which_prevent_evacuation(
    struct call *call, const struct host_get_vms_which_prevent_evacuation_args *args,
    struct map *result)
{
    struct obstacles found;

    TRY(find_obstacles(call, args->self, &found));
    *result = (struct map){found.n, found.v};
    return OK;
}

/* Of other hosts that is not known here. */
struct error *host_get_uncooperative_resident_vms(
    struct call *call, const struct host_get_uncooperative_resident_vms_args *args,
    struct refs *result)
{
    const struct host *host;

    TRY(DB_GET(call, host, args->self, &host));
    *result = ref_equal(args->self, call->xapid->host)
                  ? squeezer_uncooperative(call->xapid->squeezer, call->arena)
                  : (struct refs){0};
    return OK;
}

struct error *host_get_uncooperative_domains(struct call *call,
                                             const struct host_get_uncooperative_domains_args *args,
                                             struct strings *result)
{
    const struct host *host;
    struct refs vms = {0};
    const char **uuids;

    TRY(DB_GET(call, host, args->self, &host));
    if (ref_equal(args->self, call->xapid->host))
        vms = squeezer_uncooperative(call->xapid->squeezer, call->arena);
    uuids = arena_array(call->arena, const char *, vms.n + 1);
    *result = (struct strings){0, uuids};
    for (size_t i = 0; i < vms.n; i++) {
        const struct vm *vm = db_find(call, CLASS_vm, vms.v[i]);

        if (vm)
            uuids[result->n++] = vm->uuid;
    }
    return OK;
}

/*** updates ***/

static struct strings reason(struct call *call, const char *code, const char *param)
{
    const char **v = arena_array(call->arena, const char *, 2);

    v[0] = code;
    v[1] = param;
    return (struct strings){param ? 2 : 1, v};
}

/* Why a host of the pool cannot be updated now: it is not there, or, where it has to boot, its VMs
 * have nowhere to go. */
struct error *pool_check_update_readiness(struct call *call,
                                          const struct pool_check_update_readiness_args *args,
                                          struct set *result)
{
    size_t n = 0, room = snap_root(call->snap)->tables[CLASS_host].count + 1 +
                         snap_root(call->snap)->tables[CLASS_vm].count;
    struct strings *v = arena_array(call->arena, struct strings, room);
    const struct pool *pool;
    const struct host *host;
    struct db_walk walk;

    TRY(DB_GET(call, pool, args->self, &pool));
    if (pool->ha_enabled)
        v[n++] = reason(call, "HA_IS_ENABLED", NULL);
    db_walk(call->snap, CLASS_host, &walk);
    while ((host = db_walk_next(&walk))) {
        const struct host_metrics *m = db_find(call, CLASS_host_metrics, host->metrics);
        struct obstacles found;

        if (!m || !m->live)
            v[n++] = reason(call, "HOST_OFFLINE", call_ref(call, host->ref));
        if (!args->requires_reboot)
            continue;
        TRY(find_obstacles(call, host->ref, &found));
        for (size_t i = 0; i < found.n && n < room; i++)
            v[n++] = found.v[i].why;
    }
    *result = (struct set){n, v};
    return OK;
}
