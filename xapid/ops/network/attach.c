/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* attach.c -- networks brought up on a host ahead of need: network.attach and its relatives. */
#include "xapid/main/xapid.h"
#include "xapid/ops/host/here.h"
#include "xapid/ops/network/change.h"

struct error *network_attach(struct call *call, const struct network_attach_args *args)
{
    TRY(host_check_here(call, args->host));
    return network_make_ready(call, args->network);
}

struct error *network_attach_for_vm(struct call *call,
                                    const struct network_attach_for_vm_args *args)
{
    struct refs vifs;
    const struct vm *vm;

    TRY(host_check_here(call, args->host));
    TRY(DB_GET(call, vm, args->vm, &vm));
    vifs = db_referrers(call, FIELD_vif_vm, args->vm);
    for (size_t i = 0; i < vifs.n; i++) {
        const struct vif *vif = db_find(call, CLASS_vif, vifs.v[i]);

        if (vif)
            TRY(network_make_ready(call, vif->network));
    }
    return OK;
}

/* What nobody uses goes by itself. */
struct error *network_detach_for_vm(struct call *call,
                                    const struct network_detach_for_vm_args *args)
{
    const struct vm *vm;

    TRY(host_check_here(call, args->host));
    TRY(DB_GET(call, vm, args->vm, &vm));
    network_look_after(call);
    return OK;
}
