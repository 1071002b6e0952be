/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * within.c -- VM.migrate_send, as clients call it that were made for moves between pools: within
 * this pool the VM's disks move to where its new host sees them, one after the other
 * (VDI.pool_migrate), and then the VM does (VM.pool_migrate).  Each is an operation of its own,
 * after which all is whole: a call that fails in between leaves the VM where it was, with some of
 * its disks moved.
 *
 * Storage that only the new host sees, for a VM that runs, other pools, and copies are
 * NOT_IMPLEMENTED.
 */
#include "libxapi/value/value.h"
#include "xapid/auth/session.h"
#include "xapid/forward/forward.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/host/here.h"
#include "xapid/ops/migrate/migrate.h"
#include "xapid/ops/storage/check.h"
#include "xapid/ops/storage/vdi_move.h"
#include "xapid/ops/vm/lifecycle.h"

/* Of a destination: what host.migrate_receive answers, and nobody else reads. */
#define KEY_HOST "host"
#define KEY_NETWORK "network"

/*** the destination ***/

struct error *host_migrate_receive(struct call *call, const struct host_migrate_receive_args *args,
                                   struct strmap *result)
{
    const struct pool *pool = db_find(call, CLASS_pool, call->xapid->pool);
    const struct host *host, *master;
    const struct network *network;
    const char *address;

    TRY(DB_GET(call, host, args->host, &host));
    TRY(DB_GET(call, network, args->network, &network));
    TRY(migrate_address(call, args->host, args->network, &address));
    master = pool ? db_find(call, CLASS_host, pool->master) : NULL;
    *result = strmap_with(call->arena, (struct strmap){0}, KEY_HOST, call_ref(call, args->host));
    *result = strmap_with(call->arena, *result, KEY_NETWORK, call_ref(call, args->network));
    *result = strmap_with(
        call->arena, *result, "master",
        arena_printf(call->arena, "https://%s/", master ? master->address : host->address));
    if (call->session)
        *result =
            strmap_with(call->arena, *result, "session_id", call_ref(call, call->session->ref));
    return OK;
}

static struct error *read_destination(struct call *call, const struct strmap *dest, ref_t *host)
{
    const char *text = strmap_get(dest, KEY_HOST);

    if (!text || !ref_from_text(text, host))
        return err_invalid_value(call, "dest", text ? text : "");
    return db_find(call, CLASS_host, *host)
               ? OK
               : err_not_implemented(call, "VM.migrate_send to another pool");
}

struct pair { /* of the maps */
    ref_t key, value;
};

/*** the disks ***/

static const struct pair *find_pair(const struct map *map, ref_t key)
{
    const struct pair *p = map->v;

    for (size_t i = 0; i < map->n; i++)
        if (ref_equal(p[i].key, key))
            return &p[i];
    return NULL;
}

/* Where a disk is to be must be seen by the host that the VM goes to, and while it runs by that
 * from which it comes. */
static struct error *check_target(struct call *call, const struct vm *vm, ref_t host,
                                  const struct pair *p)
{
    const struct vdi *vdi;
    const struct sr *sr;

    TRY(DB_GET(call, vdi, p->key, &vdi));
    TRY(DB_GET(call, sr, p->value, &sr));
    if (!sr_is_plugged(call->snap, sr->ref, host))
        return err_vm_requires_sr(call, call_ref(call, vm->ref), call_ref(call, sr->ref));
    if (ref_equal(vdi->sr, sr->ref))
        return OK;
    TRY(vdi_move_check(call, vdi, sr->ref));
    return ref_is_null(vm->resident_on) || sr_is_plugged(call->snap, sr->ref, vm->resident_on)
               ? OK
               : err_not_implemented(
                     call, "VM.migrate_send of a running VM to storage that its host does not see");
}

/* Each of the VM's disks is mapped, or seen where it is. */
static struct error *check_disks(struct call *call, const struct vm *vm, ref_t host,
                                 const struct map *map)
{
    struct refs vbds = db_referrers(call, FIELD_vbd_vm, vm->ref);
    const struct pair *p = map->v;

    for (size_t i = 0; i < vbds.n; i++) {
        const struct vbd *vbd = db_find(call, CLASS_vbd, vbds.v[i]);
        const struct vdi *vdi = vbd->empty ? NULL : db_find(call, CLASS_vdi, vbd->vdi);

        if (vdi && vbd->type != VBD_TYPE_CD && !find_pair(map, vdi->ref) &&
            !sr_is_plugged(call->snap, vdi->sr, host))
            return err_vdi_not_in_map(call, call_ref(call, vdi->ref));
    }
    for (size_t i = 0; i < map->n; i++)
        TRY(check_target(call, vm, host, &p[i]));
    return OK;
}

static struct error *move_disks(struct call *call, const struct map *map)
{
    const struct pair *p = map->v;

    /* Each on the host that can: those of a VM that does not run may be several hosts'. */
    for (size_t i = 0; i < map->n; i++) {
        struct vdi_pool_migrate_args args = {.vdi = p[i].key, .sr = p[i].value};
        ref_t same;

        TRY(forward_run(call, MSG_vdi_pool_migrate, &args, &same));
    }
    return OK;
}

/*** what stays as it is ***/

static struct error *networks_stay(struct call *call, const struct map *map)
{
    const struct pair *p = map->v;

    for (size_t i = 0; i < map->n; i++) {
        const struct network *network;
        const struct vif *vif;

        TRY(DB_GET(call, vif, p[i].key, &vif));
        TRY(DB_GET(call, network, p[i].value, &network));
        if (!ref_equal(vif->network, p[i].value))
            return err_not_implemented(call, "VM.migrate_send of an interface to another network");
    }
    return OK;
}

/*** the messages ***/

/* The checks of all of them. */
static struct error *check_send(struct call *call, const struct vm_assert_can_migrate_args *args,
                                ref_t *to)
{
    unsigned skip = args->vdi_map.n ? MIGRATE_ANY_STORAGE : 0;
    const struct host *host;
    const struct vm *vm;

    TRY(DB_GET(call, vm, args->vm, &vm));
    TRY(read_destination(call, &args->dest, to));
    if (migrate_option(&args->options, "copy"))
        return err_not_implemented(call, "VM.migrate_send of a copy");
    TRY(check_disks(call, vm, *to, &args->vdi_map));
    TRY(networks_stay(call, &args->vif_map));
    if (args->vgpu_map.n)
        return err_not_implemented(call, "VM.migrate_send with virtual GPUs");
    TRY(vm_check_unless_busy(call, vm, VM_OP_MIGRATE_SEND));
    TRY(DB_GET(call, host, *to, &host));
    if (ref_is_null(vm->resident_on) || ref_equal(*to, vm->resident_on))
        return OK;
    if (migrate_option(&args->options, "force"))
        skip |= MIGRATE_ANY_PROCESSOR;
    return migrate_check(call, call->snap, vm, host, skip);
}

struct error *vm_assert_can_migrate(struct call *call,
                                    const struct vm_assert_can_migrate_args *args)
{
    ref_t to;

    return check_send(call, args, &to);
}

/* All is known from the database: the two sides' checks are the same. */
struct error *vm_assert_can_migrate_sender(struct call *call,
                                           const struct vm_assert_can_migrate_sender_args *args)
{
    return vm_assert_can_migrate(call,
                                 &(struct vm_assert_can_migrate_args){.vm = args->vm,
                                                                      .dest = args->dest,
                                                                      .live = args->live,
                                                                      .vdi_map = args->vdi_map,
                                                                      .vif_map = args->vif_map,
                                                                      .options = args->options,
                                                                      .vgpu_map = args->vgpu_map});
}

struct error *vm_migrate_send(struct call *call, const struct vm_migrate_send_args *args,
                              ref_t *result)
{
    const char *network = strmap_get(&args->dest, KEY_NETWORK);
    struct strmap options = args->options;
    const struct vm *vm;
    ref_t to;

    TRY(check_send(call,
                   &(struct vm_assert_can_migrate_args){.vm = args->vm,
                                                        .dest = args->dest,
                                                        .live = args->live,
                                                        .vdi_map = args->vdi_map,
                                                        .vif_map = args->vif_map,
                                                        .options = args->options,
                                                        .vgpu_map = args->vgpu_map},
                   &to));
    TRY(DB_GET(call, vm, args->vm, &vm));
    *result = args->vm;
    if (!ref_is_null(vm->resident_on))
        TRY(host_is_here(call, vm->resident_on));
    TRY(move_disks(call, &args->vdi_map));
    TRY(DB_GET(call, vm, args->vm, &vm));
    /* One that does not run is on no host; one whose disks have moved needs no new domain. */
    if (ref_is_null(vm->resident_on) || (args->vdi_map.n && ref_equal(to, vm->resident_on)))
        return OK;
    options = strmap_with(call->arena, options, "live", args->live ? "true" : "false");
    if (network)
        options = strmap_with(call->arena, options, "network", network);
    return vm_pool_migrate(
        call, &(struct vm_pool_migrate_args){.vm = args->vm, .host = to, .options = options});
}
