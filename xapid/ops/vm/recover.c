/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * recover.c -- what must be there before VMs and appliances can be recovered into the pool of
 * another session: which storage repositories, and whether they are attached.
 *
 * The session is one of this pool: sessions on a database that was read from a disk do not exist
 * yet, so that here source and target are the same.
 */
#include "libxapi/value/value.h"
#include "xapid/auth/session.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/op.h"

struct needed {
    struct refs srs;
    ref_t *v;
    ref_t vm; /* the first VM that needs one of them */
};

static struct error *check_session(struct call *call, ref_t ref)
{
    const struct auth_session *session = session_find(call->xapid->sessions, ref);

    if (!session)
        return err_session_invalid(call, call_ref(call, ref));
    session_unref(session);
    return OK;
}

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

/* An SR that is missing, once. */
static void need(struct call *call, struct needed *n, const struct vm *vm, ref_t vdi_ref)
{
    const struct vdi *vdi = db_find(call, CLASS_vdi, vdi_ref);

    if (!vdi || is_attached(call, vdi->sr) || refs_contain(&n->srs, vdi->sr))
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

static struct error *needed_by_vm(struct call *call, ref_t self, ref_t session, struct needed *out)
{
    const struct vm *vm;

    *out = (struct needed){0};
    TRY(DB_GET(call, vm, self, &vm));
    TRY(check_session(call, session));
    need_of_vm(call, out, vm);
    return OK;
}

struct error *vm_assert_can_be_recovered(struct call *call,
                                         const struct vm_assert_can_be_recovered_args *args)
{
    struct needed needed;
    const struct vm *vm;

    TRY(needed_by_vm(call, args->self, args->session_to, &needed));
    TRY(DB_GET(call, vm, args->self, &vm));
    if (!ref_is_null(vm->appliance))
        return err_vm_is_part_of_an_appliance(call, call_ref(call, vm->ref),
                                              call_ref(call, vm->appliance));
    return requires(call, &needed);
}

struct error *vm_get_srs_required_for_recovery(
    struct call *call, const struct vm_get_srs_required_for_recovery_args *args,
    struct refs *result)
{
    struct needed needed;

    TRY(needed_by_vm(call, args->self, args->session_to, &needed));
    *result = needed.srs;
    return OK;
}

/*** an appliance ***/

static struct error *needed_by_appliance(struct call *call, ref_t self, ref_t session,
                                         struct needed *out)
{
    const struct vm_appliance *appliance;
    struct refs vms;

    *out = (struct needed){0};
    TRY(DB_GET(call, vm_appliance, self, &appliance));
    TRY(check_session(call, session));
    vms = db_referrers(call, FIELD_vm_appliance, self);
    for (size_t i = 0; i < vms.n; i++)
        need_of_vm(call, out, db_find(call, CLASS_vm, vms.v[i]));
    return OK;
}

struct error *vm_appliance_assert_can_be_recovered(
    struct call *call, const struct vm_appliance_assert_can_be_recovered_args *args)
{
    struct needed needed;

    TRY(needed_by_appliance(call, args->self, args->session_to, &needed));
    return requires(call, &needed);
}

struct error *vm_appliance_get_srs_required_for_recovery(
    struct call *call, const struct vm_appliance_get_srs_required_for_recovery_args *args,
    struct refs *result)
{
    struct needed needed;

    TRY(needed_by_appliance(call, args->self, args->session_to, &needed));
    *result = needed.srs;
    return OK;
}
