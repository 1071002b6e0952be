/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* refresh_pci.c -- records of PCI functions and graphics processors. */
#include <string.h>

#include "libxapi/value/value.h"
#include "xapid/db/row.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/devices/hidden.h"
#include "xapid/ops/devices/refresh.h"
#include "xapid/ops/devices/sysfs.h"
#include "xapid/ops/rows.h"

/* What was found, with the row of each function. */
struct found {
    const char *names; /* pci.ids */
    struct strings hidden;
    size_t n;
    struct pci_facts *v;
    ref_t *refs;
};

static void set_changed(struct txn *txn, int field_id, const void *row, const void *value)
{
    const struct field_desc *f = &api_fields[field_id];

    if (!value_equal(f->type, (const char *)row + f->offset, value))
        txn_set_value(txn, field_id, ((const struct row *)row)->ref, value);
}

#define CHANGE(txn, class, row, field, ...)                                                        \
    set_changed((txn), FIELD_##class##_##field, (row),                                             \
                &(__typeof__(((struct class *)0)->field)[1]){__VA_ARGS__})

/*** names ***/

static const char *or_number(struct arena *arena, const char *name, const char *what,
                             const char *number)
{
    if (name)
        return name;
    return *number ? arena_printf(arena, "%s %s", what, number) : "";
}

static void fill_pci(struct arena *arena, const struct found *found, const struct pci_facts *p,
                     struct pci *out)
{
    const char *names = found->names;

    out->class_id = p->class_id;
    out->class_name =
        or_number(arena, pci_ids_class(arena, names, p->class_id), "Class", p->class_id);
    out->vendor_id = p->vendor_id;
    out->vendor_name =
        or_number(arena, pci_ids_vendor(arena, names, p->vendor_id), "Vendor", p->vendor_id);
    out->device_id = p->device_id;
    out->device_name = or_number(arena, pci_ids_device(arena, names, p->vendor_id, p->device_id),
                                 "Device", p->device_id);
    out->pci_id = p->id;
    out->subsystem_vendor_id = p->subvendor_id;
    out->subsystem_vendor_name =
        or_number(arena, pci_ids_vendor(arena, names, p->subvendor_id), "Vendor", p->subvendor_id);
    out->subsystem_device_id = p->subdevice_id;
    out->subsystem_device_name = or_number(arena, NULL, "Device", p->subdevice_id);
    out->driver_name = p->driver;
}

/*** PCI functions ***/

static bool same_function(const struct pci *row, const struct pci_facts *p)
{
    return strcmp(row->pci_id, p->id) == 0 && strcmp(row->vendor_id, p->vendor_id) == 0 &&
           strcmp(row->device_id, p->device_id) == 0;
}

static size_t find_id(const struct found *found, const char *id)
{
    for (size_t i = 0; i < found->n; i++)
        if (strcmp(found->v[i].id, id) == 0)
            return i;
    return found->n;
}

/* The other functions of the same device, which share its reset; virtual ones are on their own. */
static struct refs dependencies(struct arena *arena, const struct found *found, size_t self)
{
    ref_t *v = arena_array(arena, ref_t, found->n + 1);
    size_t n = 0;

    for (size_t i = 0; i < found->n; i++)
        if (i != self && !*found->v[i].parent && !*found->v[self].parent &&
            strncmp(found->v[i].id, found->v[self].id, strlen("0000:00:00")) == 0)
            v[n++] = found->refs[i];
    return (struct refs){n, v};
}

static void write_pci(struct txn *txn, const struct found *found, size_t i, const struct pci *old)
{
    const struct pci_facts *p = &found->v[i];
    size_t parent = find_id(found, p->parent);
    char uuid[UUID_TEXT_SIZE];
    struct pci row;

    row_defaults(&api_classes[CLASS_pci], &row);
    fill_pci(txn_arena(txn), found, p, &row);
    row.ref = found->refs[i];
    row.uuid = uuid_new(uuid);
    row.host = txn_call(txn)->xapid->host;
    row.physical_function = parent < found->n ? found->refs[parent] : REF_NULL;
    row.dependencies = dependencies(txn_arena(txn), found, i);
    if (!old) {
        txn_create(txn, CLASS_pci, &row);
        return;
    }
    CHANGE(txn, pci, old, class_id, row.class_id);
    CHANGE(txn, pci, old, class_name, row.class_name);
    CHANGE(txn, pci, old, vendor_name, row.vendor_name);
    CHANGE(txn, pci, old, device_name, row.device_name);
    CHANGE(txn, pci, old, subsystem_vendor_id, row.subsystem_vendor_id);
    CHANGE(txn, pci, old, subsystem_vendor_name, row.subsystem_vendor_name);
    CHANGE(txn, pci, old, subsystem_device_id, row.subsystem_device_id);
    CHANGE(txn, pci, old, subsystem_device_name, row.subsystem_device_name);
    CHANGE(txn, pci, old, driver_name, row.driver_name);
    CHANGE(txn, pci, old, physical_function, row.physical_function);
    CHANGE(txn, pci, old, dependencies, row.dependencies);
}

static struct error *pci_txn(struct txn *txn, void *arg)
{
    struct found *found = arg;
    struct refs known = txn_referrers(txn, FIELD_pci_host, txn_call(txn)->xapid->host);
    const struct pci **old = arena_array(txn_arena(txn), const struct pci *, found->n + 1);

    for (size_t i = 0; i < found->n; i++)
        found->refs[i] = ref_new();
    for (size_t k = 0; k < known.n; k++) {
        const struct pci *row = txn_find(txn, CLASS_pci, known.v[k]);
        size_t i = row ? find_id(found, row->pci_id) : found->n;

        if (i < found->n && same_function(row, &found->v[i])) {
            found->refs[i] = row->ref;
            old[i] = row;
        } else if (row) {
            txn_destroy(txn, CLASS_pci, row->ref);
        }
    }
    for (size_t i = 0; i < found->n; i++)
        write_pci(txn, found, i, old[i]);
    return OK;
}

/*** graphics processors ***/

const char *gpu_kind(struct arena *arena, const struct pci *pci)
{
    return arena_printf(arena, "%s/%s", pci->vendor_id, pci->device_id);
}

static bool is_display(const struct pci *pci)
{
    return strncmp(pci->class_id, "03", 2) == 0;
}

/* NULL where there is none yet. */
static const struct vgpu_type *passthrough_type(const struct db_snap *snap)
{
    const struct vgpu_type *type;
    struct db_walk walk;

    db_walk(snap, CLASS_vgpu_type, &walk);
    while ((type = db_walk_next(&walk)))
        if (strcmp(type->identifier, PASSTHROUGH_TYPE) == 0)
            return type;
    return NULL;
}

static struct error *make_type_txn(struct txn *txn, void *arg)
{
    char uuid[UUID_TEXT_SIZE];
    struct vgpu_type row;

    (void)arg;
    TRY(txn_take_turns(txn));
    if (passthrough_type(txn_snap(txn)))
        return OK;
    row_defaults(&api_classes[CLASS_vgpu_type], &row);
    row.ref = ref_new();
    row.uuid = uuid_new(uuid);
    row.model_name = "passthrough";
    row.implementation = VGPU_TYPE_IMPLEMENTATION_PASSTHROUGH;
    row.identifier = PASSTHROUGH_TYPE;
    txn_create(txn, CLASS_vgpu_type, &row);
    return OK;
}

/* The group of cards of that kind alone. */
static const struct gpu_group *group_of_kind(const struct db_snap *snap, const char *kind)
{
    const struct gpu_group *group;
    struct db_walk walk;

    db_walk(snap, CLASS_gpu_group, &walk);
    while ((group = db_walk_next(&walk)))
        if (group->gpu_types.n == 1 && strcmp(group->gpu_types.v[0], kind) == 0)
            return group;
    return NULL;
}

static struct error *make_group_txn(struct txn *txn, void *arg)
{
    const struct pci *pci = arg;
    struct arena *arena = txn_arena(txn);
    const char *kind = gpu_kind(arena, pci);
    char uuid[UUID_TEXT_SIZE];
    struct gpu_group row;

    TRY(txn_take_turns(txn));
    if (group_of_kind(txn_snap(txn), kind))
        return OK;
    row_defaults(&api_classes[CLASS_gpu_group], &row);
    row.ref = ref_new();
    row.uuid = uuid_new(uuid);
    row.name_label = arena_printf(arena, "Group of %s %s GPUs", pci->vendor_name, pci->device_name);
    row.gpu_types = (struct strings){1, &kind};
    txn_create(txn, CLASS_gpu_group, &row);
    return OK;
}

/* A card that shows the host's own screen can be given away only once the host lets go of it. */
static void fill_pgpu(struct arena *arena, const struct found *found, const struct pci *pci,
                      const struct vgpu_type *type, struct pgpu *out)
{
    size_t i = find_id(found, pci->pci_id);
    struct {
        ref_t key;
        int64_t value;
    } *capacity = arena_alloc(arena, sizeof *capacity);
    bool whole;

    out->is_system_display_device = i < found->n && found->v[i].boot_display;
    out->dom0_access = hidden_access(&found->hidden, pci->pci_id, pci->driver_name);
    whole = !out->is_system_display_device || pci_driver_is_backend(pci->driver_name);
    capacity->key = type->ref;
    capacity->value = 1;
    out->supported_vgpu_types =
        (struct refs){whole, arena_memdup(arena, &type->ref, sizeof(ref_t))};
    out->supported_vgpu_max_capacities = (struct map){whole, capacity};
}

static void make_pgpu(struct txn *txn, const struct found *found, const struct pci *pci,
                      const struct vgpu_type *type)
{
    const struct gpu_group *group = group_of_kind(txn_snap(txn), gpu_kind(txn_arena(txn), pci));
    char uuid[UUID_TEXT_SIZE];
    struct pgpu row;

    row_defaults(&api_classes[CLASS_pgpu], &row);
    fill_pgpu(txn_arena(txn), found, pci, type, &row);
    row.ref = ref_new();
    row.uuid = uuid_new(uuid);
    row.pci = pci->ref;
    row.host = pci->host;
    row.gpu_group = group ? group->ref : REF_NULL;
    row.enabled_vgpu_types = row.supported_vgpu_types;
    txn_create(txn, CLASS_pgpu, &row);
}

/* Types that came are enabled, those that went are not any more. */
static void update_pgpu(struct txn *txn, const struct found *found, const struct pci *pci,
                        const struct vgpu_type *type, const struct pgpu *old)
{
    struct pgpu now;

    fill_pgpu(txn_arena(txn), found, pci, type, &now);
    CHANGE(txn, pgpu, old, is_system_display_device, now.is_system_display_device);
    CHANGE(txn, pgpu, old, dom0_access, now.dom0_access);
    if (value_equal(api_fields[FIELD_pgpu_supported_vgpu_types].type, &old->supported_vgpu_types,
                    &now.supported_vgpu_types))
        return;
    TXN_SET(txn, pgpu, old->ref, supported_vgpu_types, now.supported_vgpu_types);
    TXN_SET(txn, pgpu, old->ref, enabled_vgpu_types, now.supported_vgpu_types);
    TXN_SET(txn, pgpu, old->ref, supported_vgpu_max_capacities, now.supported_vgpu_max_capacities);
}

static struct error *pgpus_txn(struct txn *txn, void *arg)
{
    const struct vgpu_type *type = passthrough_type(txn_snap(txn));
    ref_t here = txn_call(txn)->xapid->host;
    struct refs pcis = txn_referrers(txn, FIELD_pci_host, here);
    struct refs pgpus = txn_referrers(txn, FIELD_pgpu_host, here);

    for (size_t i = 0; i < pgpus.n; i++) {
        const struct pgpu *row = txn_find(txn, CLASS_pgpu, pgpus.v[i]);

        if (row && !txn_find(txn, CLASS_pci, row->pci))
            txn_destroy(txn, CLASS_pgpu, row->ref);
    }
    for (size_t i = 0; i < pcis.n; i++) {
        const struct pci *pci = txn_find(txn, CLASS_pci, pcis.v[i]);
        struct refs rows;

        if (!pci || !is_display(pci))
            continue;
        rows = txn_referrers(txn, FIELD_pgpu_pci, pci->ref);
        if (rows.n)
            update_pgpu(txn, arg, pci, type, txn_find(txn, CLASS_pgpu, rows.v[0]));
        else
            make_pgpu(txn, arg, pci, type);
    }
    return OK;
}

/*** groups ***/

static struct refs with_all(struct arena *arena, struct refs sum, const struct refs *more)
{
    ref_t *v = arena_array(arena, ref_t, sum.n + more->n + 1);
    size_t n = 0;

    for (; n < sum.n; n++)
        v[n] = sum.v[n];
    for (size_t i = 0; i < more->n; i++)
        if (!refs_contain(&sum, more->v[i]))
            v[n++] = more->v[i];
    return (struct refs){n, v};
}

static struct error *groups_txn(struct txn *txn, void *arg)
{
    const struct gpu_group *group;
    struct db_walk walk;

    (void)arg;
    db_walk(txn_snap(txn), CLASS_gpu_group, &walk);
    while ((group = db_walk_next(&walk))) {
        struct refs pgpus = txn_referrers(txn, FIELD_pgpu_gpu_group, group->ref);
        struct refs supported = {0}, enabled = {0};

        if (!txn_find(txn, CLASS_gpu_group, group->ref))
            continue;
        for (size_t i = 0; i < pgpus.n; i++) {
            const struct pgpu *pgpu = txn_find(txn, CLASS_pgpu, pgpus.v[i]);

            supported = with_all(txn_arena(txn), supported, &pgpu->supported_vgpu_types);
            enabled = with_all(txn_arena(txn), enabled, &pgpu->enabled_vgpu_types);
        }
        CHANGE(txn, gpu_group, group, supported_vgpu_types, supported);
        CHANGE(txn, gpu_group, group, enabled_vgpu_types, enabled);
    }
    return OK;
}

struct error *gpu_groups_refresh(struct call *call)
{
    return db_update(call, groups_txn, NULL);
}

/*** all ***/

/* The kinds of cards that have no group yet get one first. */
static struct error *prepare_gpus(struct call *call)
{
    struct refs pcis = db_referrers(call, FIELD_pci_host, call->xapid->host);

    for (size_t i = 0; i < pcis.n; i++) {
        const struct pci *pci = db_find(call, CLASS_pci, pcis.v[i]);

        if (!pci || !is_display(pci))
            continue;
        if (!passthrough_type(call->snap))
            TRY(db_update(call, make_type_txn, NULL));
        if (!group_of_kind(call->snap, gpu_kind(call->arena, pci)) &&
            !db_referrers(call, FIELD_pgpu_pci, pci->ref).n)
            TRY(db_update(call, make_group_txn, (void *)pci));
    }
    return OK;
}

struct error *devices_refresh_pci(struct call *call)
{
    const char *root = call->xapid->options.sysfs_dir;
    struct found found = {.names = pci_ids_text(call->arena, root)};

    TRY(hidden_read(call, &found.hidden));
    found.n = sysfs_pci(call->arena, root, &found.v);
    found.refs = arena_array(call->arena, ref_t, found.n + 1);
    TRY(db_update(call, pci_txn, &found));
    TRY(prepare_gpus(call));
    TRY(db_update(call, pgpus_txn, &found));
    return gpu_groups_refresh(call);
}

struct error *devices_refresh(struct call *call)
{
    TRY(devices_refresh_pci(call));
    return devices_refresh_usb(call);
}
