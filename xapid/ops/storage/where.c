/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* where.c -- which host must do what is done with a storage repository or a disk. */
#include "xapid/main/xapid.h"
#include "xapid/ops/host/here.h"
#include "xapid/ops/storage/check.h"

bool host_lives(const struct db_snap *snap, ref_t ref)
{
    const struct db_root *root = snap_root(snap);
    const struct host *host = root_get(root, CLASS_host, ref);
    const struct host_metrics *metrics =
        host ? root_get(root, CLASS_host_metrics, host->metrics) : NULL;

    return metrics && metrics->live;
}

bool sr_is_plugged(const struct db_snap *snap, ref_t sr, ref_t host)
{
    const struct db_root *root = snap_root(snap);
    struct index_walk walk;
    ref_t ref;

    index_walk(root, &api_fields[FIELD_pbd_sr], sr, &walk);
    while (index_next(&walk, &ref)) {
        const struct pbd *pbd = root_get(root, CLASS_pbd, ref);

        if (pbd->currently_attached && ref_equal(pbd->host, host))
            return true;
    }
    return false;
}

ref_t sr_seen_by(const struct db_snap *snap, ref_t sr)
{
    const struct db_root *root = snap_root(snap);
    struct index_walk walk;
    ref_t ref;

    index_walk(root, &api_fields[FIELD_pbd_sr], sr, &walk);
    while (index_next(&walk, &ref)) {
        const struct pbd *pbd = root_get(root, CLASS_pbd, ref);

        if (pbd->currently_attached && host_lives(snap, pbd->host))
            return pbd->host;
    }
    return REF_NULL;
}

ref_t srs_seen_by(struct call *call, ref_t a, ref_t b)
{
    struct refs pbds = db_referrers(call, FIELD_pbd_sr, b);
    ref_t other = REF_NULL;

    for (size_t i = 0; i < pbds.n; i++) {
        const struct pbd *pbd = db_find(call, CLASS_pbd, pbds.v[i]);

        if (!pbd->currently_attached || !sr_is_plugged(call->snap, a, pbd->host))
            continue;
        if (ref_equal(pbd->host, call->xapid->host))
            return pbd->host;
        if (ref_is_null(other) || host_lives(call->snap, pbd->host))
            other = pbd->host;
    }
    return other;
}

struct error *sr_is_here(struct call *call, const struct db_snap *snap, ref_t sr)
{
    const struct db_root *root = snap_root(snap);
    struct index_walk walk;
    ref_t ref, other = REF_NULL;

    index_walk(root, &api_fields[FIELD_pbd_sr], sr, &walk);
    while (index_next(&walk, &ref)) {
        const struct pbd *pbd = root_get(root, CLASS_pbd, ref);

        if (!pbd->currently_attached)
            continue;
        if (ref_equal(pbd->host, call->xapid->host))
            return OK;
        if (ref_is_null(other) || host_lives(snap, pbd->host))
            other = pbd->host;
    }
    return ref_is_null(other) ? OK : host_is_here(call, other);
}

struct error *vdi_is_here(struct call *call, const struct db_snap *snap, const struct vdi *vdi)
{
    const struct db_root *root = snap_root(snap);
    struct index_walk walk;
    ref_t ref;

    index_walk(root, &api_fields[FIELD_vbd_vdi], vdi->ref, &walk);
    while (index_next(&walk, &ref)) {
        const struct vbd *vbd = root_get(root, CLASS_vbd, ref);
        const struct vm *vm = root_get(root, CLASS_vm, vbd->vm);

        if (vbd->currently_attached && vm && !ref_is_null(vm->resident_on))
            return host_is_here(call, vm->resident_on);
    }
    return sr_is_here(call, snap, vdi->sr);
}
