/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/allowed.h"

#include "xapid/ops/devices/vusb.h"
#include "xapid/ops/network/check.h"
#include "xapid/ops/storage/check.h"
#include "xapid/ops/vm/lifecycle.h"

#define BIT(n) (1ull << (n))

struct allowed_ctx {
    struct xapid *xapid;
    const struct db_snap *snap;
};

/* An operation whose message does nothing yet is not offered. */
static uint64_t if_done(int message, uint64_t bits)
{
    return api_messages[message].flags & MESSAGE_PENDING ? 0 : bits;
}

/*** classes whose checks live elsewhere ***/

static uint64_t of_vm(const struct allowed_ctx *c, const void *row)
{
    return vm_allowed(c->xapid, c->snap, row, true);
}

static uint64_t of_vdi(const struct allowed_ctx *c, const void *row)
{
    return vdi_allowed(c->snap, row);
}

static uint64_t of_sr(const struct allowed_ctx *c, const void *row)
{
    return sr_allowed(c->snap, row);
}

static uint64_t of_vbd(const struct allowed_ctx *c, const void *row)
{
    return vbd_allowed(c->snap, row);
}

static uint64_t of_vif(const struct allowed_ctx *c, const void *row)
{
    return vif_allowed(c->snap, row);
}

static uint64_t of_vusb(const struct allowed_ctx *c, const void *row)
{
    return vusb_allowed(c->snap, row);
}

/*** the others ***/

static uint64_t of_task(const struct allowed_ctx *c, const void *row)
{
    const struct task *task = row;

    (void)c;
    return task->status == TASK_PENDING ? BIT(TASK_OP_CANCEL) : 0;
}

static uint64_t of_host(const struct allowed_ctx *c, const void *row)
{
    const struct host *host = row;
    const struct host_metrics *m = root_get(snap_root(c->snap), CLASS_host_metrics, host->metrics);
    uint64_t down = if_done(MSG_host_shutdown, BIT(HOST_OP_SHUTDOWN)) |
                    if_done(MSG_host_reboot, BIT(HOST_OP_REBOOT));
    uint64_t evacuate = if_done(MSG_host_evacuate, BIT(HOST_OP_EVACUATE));
    uint64_t running = current_bits(&host->current_operations);

    if (m && !m->live)
        return *host->power_on_mode ? if_done(MSG_host_power_on, BIT(HOST_OP_POWER_ON)) : 0;
    if (running & (BIT(HOST_OP_SHUTDOWN) | BIT(HOST_OP_REBOOT)))
        return 0;
    if (running & BIT(HOST_OP_EVACUATE))
        evacuate = down = 0;
    if (!host->enabled)
        return evacuate | down | if_done(MSG_host_enable, BIT(HOST_OP_ENABLE));
    return evacuate | BIT(HOST_OP_PROVISION) | BIT(HOST_OP_VM_START) | BIT(HOST_OP_VM_RESUME) |
           if_done(MSG_vm_pool_migrate, BIT(HOST_OP_VM_MIGRATE));
}

static uint64_t of_pool(const struct allowed_ctx *c, const void *row)
{
    const struct pool *pool = row;
    uint64_t mask;

    if (pool->current_operations.n)
        return 0;
    mask = pool->ha_enabled ? if_done(MSG_pool_disable_ha, BIT(POOL_OP_HA_DISABLE))
                            : if_done(MSG_pool_enable_ha, BIT(POOL_OP_HA_ENABLE));
    if (snap_root(c->snap)->tables[CLASS_host].count > 1)
        mask |= if_done(MSG_pool_designate_new_master, BIT(POOL_OP_DESIGNATE_NEW_MASTER)) |
                if_done(MSG_pool_eject, BIT(POOL_OP_EJECT));
    return mask;
}

static uint64_t of_appliance(const struct allowed_ctx *c, const void *row)
{
    const struct vm_appliance *appliance = row;
    unsigned states = 0;
    struct index_walk walk;
    uint64_t mask = 0;
    ref_t ref;

    if (appliance->current_operations.n)
        return 0;
    index_walk(snap_root(c->snap), &api_fields[FIELD_vm_appliance], appliance->ref, &walk);
    while (index_next(&walk, &ref))
        states |=
            1u << ((const struct vm *)root_get(snap_root(c->snap), CLASS_vm, ref))->power_state;
    if (states & 1u << VM_HALTED)
        mask |= if_done(MSG_vm_appliance_start, BIT(APPLIANCE_OP_START));
    if (states & 1u << VM_RUNNING)
        mask |= if_done(MSG_vm_appliance_clean_shutdown, BIT(APPLIANCE_OP_CLEAN_SHUTDOWN));
    if (states & ~(1u << VM_HALTED))
        mask |= if_done(MSG_vm_appliance_hard_shutdown, BIT(APPLIANCE_OP_HARD_SHUTDOWN)) |
                if_done(MSG_vm_appliance_shutdown, BIT(APPLIANCE_OP_SHUTDOWN));
    return mask;
}

/* Classes that are not here offer nothing. */
static const struct {
    int class_id;
    uint64_t (*mask)(const struct allowed_ctx *c, const void *row);
} classes[] = {
    {CLASS_vm, of_vm},     {CLASS_vdi, of_vdi},   {CLASS_sr, of_sr},
    {CLASS_vbd, of_vbd},   {CLASS_vif, of_vif},   {CLASS_task, of_task},
    {CLASS_host, of_host}, {CLASS_pool, of_pool}, {CLASS_vm_appliance, of_appliance},
    {CLASS_vusb, of_vusb},
};

const struct enums *allowed_operations(struct arena *arena, struct xapid *xapid,
                                       struct db_snap *snap, const void *row)
{
    struct allowed_ctx c = {xapid, snap};
    struct enums *out = arena_new(arena, struct enums);
    uint64_t mask = 0;
    size_t n = 0;
    int *v;

    for (size_t i = 0; i < ARRAY_SIZE(classes); i++)
        if (classes[i].class_id == ((const struct row *)row)->row_class)
            mask = classes[i].mask(&c, row);
    v = arena_array(arena, int, (size_t)__builtin_popcountll(mask) + 1);
    for (int bit = 0; mask >> bit; bit++)
        if (mask >> bit & 1)
            v[n++] = bit;
    *out = (struct enums){n, v};
    return out;
}
