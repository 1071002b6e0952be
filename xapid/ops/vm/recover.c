/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * recover.c -- what must be there before VMs and appliances can be recovered into the pool of
 * another session: which storage repositories, and whether they are attached.
 *
 * The call's own session usually reads a copy of a database from a disk (VDI.open_database); the
 * other one is this pool's.
 */
#include "xapid/ops/vm/recover.h"

#include "libxapi/value/value.h"
#include "xapid/auth/rbac.h"
#include "xapid/auth/session.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/op.h"

/*** the pool into which is recovered ***/

struct error *recovery_target(struct call *call, ref_t session, struct recovery_target *out)
{
    struct call *target = &out->call;

    *target = (struct call){.arena = call->arena,
                            .xapid = call->xapid,
                            .session = session_find(call->xapid->sessions, session),
                            .task = call->task};
    if (!target->session || target->session->copy)
        return err_session_invalid(call, call_ref(call, session));
    target->originator = target->session->originator;
    call_refresh(target);
    return rbac_check_http(target, "put_import_metadata");
}

void recovery_target_release(struct recovery_target *target)
{
    call_release(&target->call);
}

/*** what is needed ***/

struct needed {
    struct refs srs; /* that are missing in the target */
    ref_t *v;
    ref_t vm; /* the first VM that needs one of them */
    struct call *target;
};

static bool is_attached(struct call *call, ref_t sr)
{
    struct refs pbds = db_referrers(call, FIELD_pbd_sr, sr);

    for (size_t i = 0; i < pbds.n; i++) {
        const struct pbd *pbd = db_find(call, CLASS_pbd, pbds.v[i]);

        if (pbd && pbd->currently_attached)
            return true;
    }
    return false;
}

/* The repository of the same uuid. */
static bool target_has(struct call *call, struct call *target, ref_t ref)
{
    const struct sr *sr = db_find(call, CLASS_sr, ref);
    ref_t there;

    return sr && db_by_uuid(target, CLASS_sr, sr->uuid, &there) == OK && is_attached(target, there);
}

/* An SR that is missing, once. */
static void need(struct call *call, struct needed *n, const struct vm *vm, ref_t vdi_ref)
{
    const struct vdi *vdi = db_find(call, CLASS_vdi, vdi_ref);

    if (!vdi || target_has(call, n->target, vdi->sr) || refs_contain(&n->srs, vdi->sr))
        return;
    if (!n->srs.n)
        n->vm = vm->ref;
    n->v[n->srs.n++] = vdi->sr;
}

static void need_of_vm(struct call *call, struct needed *n, const struct vm *vm)
{
    struct refs vbds = db_referrers(call, FIELD_vbd_vm, vm->ref);

    if (!n->v) {
        n->v = arena_array(call->arena, ref_t, snap_root(call->snap)->tables[CLASS_sr].count + 1);
        n->srs.v = n->v;
    }
    for (size_t i = 0; i < vbds.n; i++) {
        const struct vbd *vbd = db_find(call, CLASS_vbd, vbds.v[i]);

        if (vbd && vbd->type == VBD_TYPE_DISK && !vbd->empty)
            need(call, n, vm, vbd->vdi);
    }
    if (vm->power_state == VM_SUSPENDED)
        need(call, n, vm, vm->suspend_vdi);
}

static struct error *requires(struct call *call, const struct needed *n)
{
    return n->srs.n ? err_vm_requires_sr(call, call_ref(call, n->vm), call_ref(call, n->srs.v[0]))
                    : OK;
}

/*** a VM ***/

struct error *vm_check_recovery(struct call *call, const struct vm *vm, struct call *target)
{
    struct needed needed = {.target = target};

    if (!ref_is_null(vm->appliance))
        return err_vm_is_part_of_an_appliance(call, call_ref(call, vm->ref),
                                              call_ref(call, vm->appliance));
    need_of_vm(call, &needed, vm);
    return requires(call, &needed);
}

struct error *vm_assert_can_be_recovered(struct call *call,
                                         const struct vm_assert_can_be_recovered_args *args)
{
    AUTO(recovery_target) target = {0};
    const struct vm *vm;

    TRY(DB_GET(call, vm, args->self, &vm));
    TRY(recovery_target(call, args->session_to, &target));
    return vm_check_recovery(call, vm, &target.call);
}

struct error *vm_get_srs_required_for_recovery(
    struct call *call, const struct vm_get_srs_required_for_recovery_args *args,
    struct refs *result)
{
    AUTO(recovery_target) target = {0};
    struct needed needed = {.target = &target.call};
    const struct vm *vm;

    TRY(DB_GET(call, vm, args->self, &vm));
    TRY(recovery_target(call, args->session_to, &target));
    need_of_vm(call, &needed, vm);
    *result = needed.srs;
    return OK;
}

/*** an appliance ***/

static void need_of_appliance(struct call *call, struct needed *n, ref_t appliance)
{
    struct refs vms = db_referrers(call, FIELD_vm_appliance, appliance);

    for (size_t i = 0; i < vms.n; i++)
        need_of_vm(call, n, db_find(call, CLASS_vm, vms.v[i]));
}

struct error *appliance_check_recovery(struct call *call, ref_t appliance, struct call *target)
{
    struct needed needed = {.target = target};

    need_of_appliance(call, &needed, appliance);
    return requires(call, &needed);
}

struct error *vm_appliance_assert_can_be_recovered(
    struct call *call, const struct vm_appliance_assert_can_be_recovered_args *args)
{
    AUTO(recovery_target) target = {0};
    const struct vm_appliance *appliance;

    TRY(DB_GET(call, vm_appliance, args->self, &appliance));
    TRY(recovery_target(call, args->session_to, &target));
    return appliance_check_recovery(call, args->self, &target.call);
}

struct error *vm_appliance_get_srs_required_for_recovery(
    struct call *call, const struct vm_appliance_get_srs_required_for_recovery_args *args,
    struct refs *result)
{
    AUTO(recovery_target) target = {0};
    struct needed needed = {.target = &target.call};
    const struct vm_appliance *appliance;

    TRY(DB_GET(call, vm_appliance, args->self, &appliance));
    TRY(recovery_target(call, args->session_to, &target));
    need_of_appliance(call, &needed, args->self);
    *result = needed.srs;
    return OK;
}
