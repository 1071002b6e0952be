/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/vm/passthrough.h"

#include <string.h>

#include "libxapi/value/value.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/devices/sysfs.h"

#define PUSB_KEY "attached_pusb"
/* Of other_config:pci. */
#define PCI_LIMIT 64

/*** what is free ***/

/* The host's drivers have let go of it, or never had it. */
static bool pci_is_released(const struct pci *pci)
{
    return !*pci->driver_name || pci_driver_is_backend(pci->driver_name);
}

static bool pci_is_free(const struct pci *pci, ref_t vm)
{
    for (size_t i = 0; i < pci->attached_vms.n; i++)
        if (!ref_equal(pci->attached_vms.v[i], vm))
            return false;
    return true;
}

bool pgpu_can_run(const struct db_snap *snap, const struct pgpu *pgpu, ref_t type, ref_t vm)
{
    const struct pci *pci = root_get(snap_root(snap), CLASS_pci, pgpu->pci);

    return pci && refs_contain(&pgpu->enabled_vgpu_types, type) && pci_is_released(pci) &&
           pci_is_free(pci, vm);
}

bool vusb_has(const struct vusb *vusb, const struct pusb *pusb)
{
    const char *uuid = strmap_get(&vusb->other_config, PUSB_KEY);

    return vusb->currently_attached && uuid && strcmp(uuid, pusb->uuid) == 0;
}

/*** what a VM would get ***/

struct plan {
    size_t n_vgpus, n_vusbs, n_pcis;
    struct {
        ref_t vgpu, pgpu;
    } * vgpus;
    struct {
        ref_t vusb;
        const struct pusb *pusb;
    } * vusbs;
    ref_t *pcis; /* those of graphics processors too */
};

/* Referrers in a snapshot, in the arena. */
static struct refs referrers(struct arena *arena, const struct db_snap *snap, int field_id,
                             ref_t key)
{
    struct index_walk walk;
    size_t n = 0, room = 0;
    ref_t *v, ref;

    index_walk(snap_root(snap), &api_fields[field_id], key, &walk);
    while (index_next(&walk, &ref))
        room++;
    v = arena_array(arena, ref_t, room + 1);
    index_walk(snap_root(snap), &api_fields[field_id], key, &walk);
    while (n < room && index_next(&walk, &ref))
        v[n++] = ref;
    return (struct refs){n, v};
}

static bool is_planned(const struct plan *plan, ref_t pci)
{
    return refs_contain(&(struct refs){plan->n_pcis, plan->pcis}, pci);
}

static struct error *plan_vgpu(struct call *call, const struct db_snap *snap,
                               const struct host *host, const struct vm *vm,
                               const struct vgpu *vgpu, struct plan *plan)
{
    struct refs pgpus = referrers(call->arena, snap, FIELD_pgpu_gpu_group, vgpu->gpu_group);
    const struct vgpu_type *type = root_get(snap_root(snap), CLASS_vgpu_type, vgpu->type);

    for (size_t i = 0; i < pgpus.n; i++) {
        const struct pgpu *pgpu = root_get(snap_root(snap), CLASS_pgpu, pgpus.v[i]);

        if (!ref_equal(pgpu->host, host->ref) || is_planned(plan, pgpu->pci) ||
            !pgpu_can_run(snap, pgpu, vgpu->type, vm->ref))
            continue;
        plan->vgpus[plan->n_vgpus].vgpu = vgpu->ref;
        plan->vgpus[plan->n_vgpus++].pgpu = pgpu->ref;
        plan->pcis[plan->n_pcis++] = pgpu->pci;
        return OK;
    }
    if (type && type->implementation != VGPU_TYPE_IMPLEMENTATION_PASSTHROUGH)
        return err_vm_requires_vgpu(call, call_ref(call, vm->ref), call_ref(call, vgpu->gpu_group),
                                    call_ref(call, vgpu->type));
    return err_vm_requires_gpu(call, call_ref(call, vm->ref), call_ref(call, vgpu->gpu_group));
}

static struct error *plan_vusb(struct call *call, const struct db_snap *snap,
                               const struct host *host, const struct vm *vm,
                               const struct vusb *vusb, struct plan *plan)
{
    struct refs pusbs = referrers(call->arena, snap, FIELD_pusb_usb_group, vusb->usb_group);

    for (size_t i = 0; i < pusbs.n; i++) {
        const struct pusb *pusb = root_get(snap_root(snap), CLASS_pusb, pusbs.v[i]);

        if (!ref_equal(pusb->host, host->ref) || !pusb->passthrough_enabled)
            continue;
        plan->vusbs[plan->n_vusbs].vusb = vusb->ref;
        plan->vusbs[plan->n_vusbs++].pusb = pusb;
        return OK;
    }
    return err_vm_requires_vusb(call, call_ref(call, vm->ref), call_ref(call, vusb->usb_group));
}

static const struct pci *pci_by_id(struct call *call, const struct db_snap *snap,
                                   const struct host *host, const char *id)
{
    struct refs pcis = referrers(call->arena, snap, FIELD_pci_host, host->ref);

    for (size_t i = 0; i < pcis.n; i++) {
        const struct pci *pci = root_get(snap_root(snap), CLASS_pci, pcis.v[i]);

        if (strcmp(pci->pci_id, id) == 0)
            return pci;
    }
    return NULL;
}

static struct error *plan_pci(struct call *call, const struct db_snap *snap,
                              const struct host *host, const struct vm *vm, const char *id,
                              struct plan *plan)
{
    const struct pci *pci = pci_by_id(call, snap, host, id);
    const char *why = NULL;

    if (!pci)
        why = "the host has no such device";
    else if (!pci_is_free(pci, vm->ref) || is_planned(plan, pci->ref))
        why = "it is in use";
    else if (!pci_is_released(pci))
        why = "the host uses it itself; see PCI.disable_dom0_access";
    if (why)
        return err_operation_not_allowed(
            call, arena_printf(call->arena, "The VM cannot have the PCI device %s: %s.", id, why));
    plan->pcis[plan->n_pcis++] = pci->ref;
    return OK;
}

/* "0/0000:04:00.0,0/0000:05:00.0" */
static struct error *plan_pcis(struct call *call, const struct db_snap *snap,
                               const struct host *host, const struct vm *vm, struct plan *plan)
{
    const char *text = strmap_get(&vm->other_config, "pci");
    char *words = arena_strdup(call->arena, text ? text : ""), *save = NULL;
    size_t n = 0;

    for (char *w = strtok_r(words, ", ", &save); w; w = strtok_r(NULL, ", ", &save)) {
        const char *id = strchr(w, '/');

        if (!id || ++n > PCI_LIMIT)
            return err_invalid_value(call, "other_config:pci", text);
        TRY(plan_pci(call, snap, host, vm, id + 1, plan));
    }
    return OK;
}

static struct error *make_plan(struct call *call, const struct db_snap *snap,
                               const struct host *host, const struct vm *vm, struct plan *plan)
{
    struct refs vgpus = referrers(call->arena, snap, FIELD_vgpu_vm, vm->ref);
    struct refs vusbs = referrers(call->arena, snap, FIELD_vusb_vm, vm->ref);
    const char *iommu = strmap_get(&host->chipset_info, "iommu");

    *plan = (struct plan){0};
    plan->vgpus = arena_zalloc(call->arena, (vgpus.n + 1) * sizeof *plan->vgpus);
    plan->vusbs = arena_zalloc(call->arena, (vusbs.n + 1) * sizeof *plan->vusbs);
    plan->pcis = arena_array(call->arena, ref_t, vgpus.n + PCI_LIMIT + 1);
    for (size_t i = 0; i < vgpus.n; i++)
        TRY(plan_vgpu(call, snap, host, vm, root_get(snap_root(snap), CLASS_vgpu, vgpus.v[i]),
                      plan));
    TRY(plan_pcis(call, snap, host, vm, plan));
    if (plan->n_pcis && (!iommu || strcmp(iommu, "true") != 0))
        return err_vm_requires_iommu(call, call_ref(call, host->ref));
    for (size_t i = 0; i < vusbs.n; i++)
        TRY(plan_vusb(call, snap, host, vm, root_get(snap_root(snap), CLASS_vusb, vusbs.v[i]),
                      plan));
    return OK;
}

struct error *host_has_devices(struct call *call, const struct db_snap *snap,
                               const struct host *host, const struct vm *vm)
{
    struct plan plan;

    return make_plan(call, snap, host, vm, &plan);
}

/*** promises ***/

struct error *txn_vm_devices_reserve(struct txn *txn, ref_t host_ref, const struct vm *vm)
{
    const struct host *host;
    struct plan plan;

    TRY(TXN_GET(txn, host, host_ref, &host));
    txn_referrers(txn, FIELD_vgpu_vm, vm->ref);
    txn_referrers(txn, FIELD_vusb_vm, vm->ref);
    TRY(make_plan(txn_call(txn), txn_snap(txn), host, vm, &plan));
    for (size_t i = 0; i < plan.n_vgpus; i++)
        TXN_SET(txn, vgpu, plan.vgpus[i].vgpu, scheduled_to_be_resident_on, plan.vgpus[i].pgpu);
    for (size_t i = 0; i < plan.n_pcis; i++) {
        /* Relied upon: who else comes for it is a conflict. */
        const struct pci *pci = txn_find(txn, CLASS_pci, plan.pcis[i]);

        if (!refs_contain(&pci->attached_vms, vm->ref))
            txn_set_add(txn, FIELD_pci_attached_vms, pci->ref, &vm->ref);
    }
    for (size_t i = 0; i < plan.n_vusbs; i++) {
        txn_find(txn, CLASS_pusb, plan.vusbs[i].pusb->ref);
        TXN_SET(txn, vusb, plan.vusbs[i].vusb, currently_attached, true);
        txn_strmap_put(txn, FIELD_vusb_other_config, plan.vusbs[i].vusb, PUSB_KEY,
                       plan.vusbs[i].pusb->uuid);
    }
    return OK;
}

void txn_vm_devices_attached(struct txn *txn, ref_t vm)
{
    struct refs vgpus = txn_referrers(txn, FIELD_vgpu_vm, vm);

    for (size_t i = 0; i < vgpus.n; i++) {
        const struct vgpu *vgpu = txn_find(txn, CLASS_vgpu, vgpus.v[i]);
        const struct pgpu *pgpu = txn_find(txn, CLASS_pgpu, vgpu->scheduled_to_be_resident_on);

        if (!pgpu)
            continue;
        TXN_SET(txn, vgpu, vgpu->ref, currently_attached, true);
        TXN_SET(txn, vgpu, vgpu->ref, resident_on, pgpu->ref);
        TXN_SET(txn, vgpu, vgpu->ref, pci, pgpu->pci);
        TXN_SET(txn, vgpu, vgpu->ref, scheduled_to_be_resident_on, REF_NULL);
    }
}

void txn_vusb_detached(struct txn *txn, ref_t ref)
{
    const struct vusb *vusb = txn_find(txn, CLASS_vusb, ref);

    if (!vusb || !vusb->currently_attached)
        return;
    TXN_SET(txn, vusb, ref, currently_attached, false);
    if (strmap_get(&vusb->other_config, PUSB_KEY))
        txn_strmap_remove(txn, FIELD_vusb_other_config, ref, PUSB_KEY);
}

void txn_vm_devices_free(struct txn *txn, ref_t vm)
{
    struct refs vgpus = txn_referrers(txn, FIELD_vgpu_vm, vm);
    struct refs vusbs = txn_referrers(txn, FIELD_vusb_vm, vm);
    struct refs pcis = txn_referrers(txn, FIELD_pci_attached_vms, vm);

    for (size_t i = 0; i < vgpus.n; i++) {
        TXN_SET(txn, vgpu, vgpus.v[i], currently_attached, false);
        TXN_SET(txn, vgpu, vgpus.v[i], resident_on, REF_NULL);
        TXN_SET(txn, vgpu, vgpus.v[i], scheduled_to_be_resident_on, REF_NULL);
        TXN_SET(txn, vgpu, vgpus.v[i], pci, REF_NULL);
    }
    for (size_t i = 0; i < vusbs.n; i++)
        txn_vusb_detached(txn, vusbs.v[i]);
    for (size_t i = 0; i < pcis.n; i++)
        txn_set_remove(txn, FIELD_pci_attached_vms, pcis.v[i], &vm);
}

/*** for the hypervisor ***/

static const struct pusb *pusb_of(struct call *call, const struct vusb *vusb)
{
    struct refs pusbs = db_referrers(call, FIELD_pusb_usb_group, vusb->usb_group);

    for (size_t i = 0; i < pusbs.n; i++) {
        const struct pusb *pusb = db_find(call, CLASS_pusb, pusbs.v[i]);

        if (vusb_has(vusb, pusb))
            return pusb;
    }
    return NULL;
}

/* Its present number on the bus. */
static const struct usb_facts *facts_of(const struct pusb *pusb, size_t n,
                                        const struct usb_facts *v)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(v[i].path, pusb->path) == 0 && strcmp(v[i].vendor_id, pusb->vendor_id) == 0 &&
            strcmp(v[i].product_id, pusb->product_id) == 0)
            return &v[i];
    return NULL;
}

static struct error *usbs_config(struct call *call, const struct vm *vm,
                                 struct hv_domain_config *out)
{
    struct refs vusbs = db_referrers(call, FIELD_vusb_vm, vm->ref);
    struct hv_usb *usbs = arena_array(call->arena, struct hv_usb, vusbs.n + 1);
    struct usb_facts *facts;
    size_t n_facts;

    out->usbs = usbs;
    if (!vusbs.n)
        return OK;
    n_facts = sysfs_usb(call->arena, call->xapid->options.sysfs_dir, &facts);
    for (size_t i = 0; i < vusbs.n; i++) {
        const struct vusb *vusb = db_find(call, CLASS_vusb, vusbs.v[i]);
        const struct pusb *pusb = pusb_of(call, vusb);
        const struct usb_facts *found = pusb ? facts_of(pusb, n_facts, facts) : NULL;

        /* One that was unplugged stays so over a reboot. */
        if (!vusb->currently_attached)
            continue;
        if (!found)
            return err_vm_requires_vusb(call, call_ref(call, vm->ref),
                                        call_ref(call, vusb->usb_group));
        usbs[out->n_usbs++] = (struct hv_usb){vusb->uuid, found->bus, found->address};
    }
    return OK;
}

struct error *vm_devices_config(struct call *call, const struct vm *vm,
                                struct hv_domain_config *out)
{
    struct refs pcis = db_referrers(call, FIELD_pci_attached_vms, vm->ref);
    const char **ids = arena_array(call->arena, const char *, pcis.n + 1);

    for (size_t i = 0; i < pcis.n; i++)
        ids[i] = ((const struct pci *)db_find(call, CLASS_pci, pcis.v[i]))->pci_id;
    out->n_pcis = pcis.n;
    out->pcis = ids;
    return usbs_config(call, vm, out);
}
