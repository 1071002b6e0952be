/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/boot/parts.h"

#include <string.h>

#include "libxapi/base/seam.h"
#include "xapid/db/db.h"
#include "xapid/db/row.h"
#include "xapid/main/xapid.h"

const char *boot_address(const struct boot *b)
{
    if (*b->address)
        return b->address;
    return *b->facts.nic.ip ? b->facts.nic.ip : "127.0.0.1";
}

static void add_pool(struct txn *txn, struct boot *b)
{
    static const struct strpair config[] = {{"memory-ratio-hvm", "0.25"},
                                            {"memory-ratio-pv", "0.25"}};
    struct pool pool;

    row_defaults(&api_classes[CLASS_pool], &pool);
    pool.ref = b->pool = ref_new();
    pool.uuid = boot_new_uuid(txn_arena(txn));
    pool.master = b->host;
    pool.other_config = (struct strmap){ARRAY_SIZE(config), config};
    pool.ha_cluster_stack = "xhad";
    txn_create(txn, CLASS_pool, &pool);
}

static ref_t add_vm_metrics(struct txn *txn, const struct boot *b)
{
    struct vm_metrics metrics;

    row_defaults(&api_classes[CLASS_vm_metrics], &metrics);
    metrics.ref = ref_new();
    metrics.uuid = boot_new_uuid(txn_arena(txn));
    metrics.vcpus_number = b->control_vcpus;
    metrics.start_time = b->hv.boot_time;
    metrics.last_updated = clock_wall();
    metrics.current_domain_type = DOMAIN_TYPE_PV;
    txn_create(txn, CLASS_vm_metrics, &metrics);
    return metrics.ref;
}

static ref_t add_control_domain(struct txn *txn, const struct boot *b)
{
    struct arena *arena = txn_arena(txn);
    struct vm vm;

    row_defaults(&api_classes[CLASS_vm], &vm);
    vm.ref = ref_new();
    vm.uuid = boot_uuid(arena, b, "control domain");
    vm.name_label = arena_printf(arena, "Control domain on host: %s", b->facts.hostname);
    vm.name_description = "The domain which manages physical devices and manages other domains";
    vm.power_state = VM_RUNNING;
    vm.user_version = 1;
    vm.resident_on = b->host;
    vm.affinity = b->host;
    vm.actions_after_shutdown = ON_EXIT_DESTROY;
    vm.actions_after_reboot = ON_EXIT_DESTROY;
    vm.actions_after_crash = ON_CRASH_DESTROY;
    vm.domid = 0;
    vm.domarch = "x64";
    vm.is_control_domain = true;
    vm.metrics = add_vm_metrics(txn, b);
    vm.domain_type = DOMAIN_TYPE_PV;
    vm.has_vendor_device = false;
    vm.generation_id = "";
    txn_create(txn, CLASS_vm, &vm);
    return vm.ref;
}

static ref_t add_host_metrics(struct txn *txn)
{
    struct host_metrics metrics;

    row_defaults(&api_classes[CLASS_host_metrics], &metrics);
    metrics.ref = ref_new();
    metrics.uuid = boot_new_uuid(txn_arena(txn));
    metrics.live = true;
    metrics.last_updated = clock_wall();
    txn_create(txn, CLASS_host_metrics, &metrics);
    return metrics.ref;
}

static void add_host(struct txn *txn, struct boot *b)
{
    struct host host;

    row_defaults(&api_classes[CLASS_host], &host);
    host.ref = b->host;
    host.uuid = b->uuid;
    host.name_label = b->facts.hostname;
    host.name_description = "Default install";
    host.hostname = b->facts.hostname;
    host.address = boot_address(b);
    host.enabled = true;
    host.metrics = add_host_metrics(txn);
    host.control_domain = add_control_domain(txn, b);
    host.ssl_legacy = false;
    host.timezone = b->facts.timezone;
    txn_create(txn, CLASS_host, &host);
}

static void add_host_state(struct txn *txn, struct boot *b)
{
    struct host_state state;

    row_defaults(&api_classes[CLASS_host_state], &state);
    state.ref = b->state = ref_new();
    state.host = b->host;
    state.member = b->member;
    txn_create(txn, CLASS_host_state, &state);
}

static const struct pool *the_pool(const struct db_snap *snap)
{
    struct db_walk walk;

    db_walk(snap, CLASS_pool, &walk);
    return db_walk_next(&walk);
}

/* Its rows are removed, or will be, and nobody would remove them a second time. */
static bool has_left(struct txn *txn, const struct boot *b)
{
    const struct departed *row;
    struct db_walk walk;

    db_walk(txn_snap(txn), CLASS_departed, &walk);
    while ((row = db_walk_next(&walk)))
        if (*b->member && strcmp(row->member, b->member) == 0)
            return true;
    return false;
}

/* Finds this host and its pool; makes both in an empty database, and the host in that of a pool it
 * has joined. */
struct error *txn_boot_settle(struct txn *txn, void *arg)
{
    struct boot *b = arg;
    struct refs hosts = txn_referrers(txn, FIELD_host_uuid, index_key_string(b->uuid));
    const struct pool *pool = the_pool(txn_snap(txn));
    struct refs states;

    if (has_left(txn, b))
        return error_internal(txn_call(txn)->arena, "this host belongs to its pool no longer");
    if (!pool && !b->alone)
        return error_internal(txn_call(txn)->arena, "the pool's database has no pool");
    if (!pool || (!hosts.n && !b->alone)) {
        b->host = ref_new();
        add_host(txn, b);
        if (!pool)
            add_pool(txn, b);
        else
            b->pool = pool->ref;
        add_host_state(txn, b);
        return OK;
    }
    if (hosts.n != 1)
        return error_internal(txn_call(txn)->arena,
                              "the database knows no host %s: it belongs to another one, or "
                              "host-uuid was changed",
                              b->uuid);
    b->host = hosts.v[0];
    b->pool = pool->ref;
    states = txn_referrers(txn, FIELD_host_state_host, b->host);
    if (states.n)
        b->state = states.v[0];
    else
        add_host_state(txn, b);
    return OK;
}
