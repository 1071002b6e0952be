/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/transfer/import_plan.h"

#include <string.h>

#include "libxapi/base/log.h"
#include "xapid/db/row.h"
#include "xapid/main/xapid.h"
#include "xapid/ops/network/mac.h"
#include "xapid/ops/vm/checks.h"
#include "xapid/ops/vm/device.h"
#include "xapid/ops/vm/lifecycle.h"

/* Snapshots of snapshots of snapshots: more than this is a circle. */
#define MAX_CHAIN 1000
/* A disk of more is a mistake or an attack. */
#define MAX_DISK ((int64_t)1 << 50)

/*** records ***/

static const char *label(struct call *call, const struct manifest_object *o)
{
    return arena_printf(call->arena, "%s %s", o->class->name, o->id);
}

static struct error *wrong(struct call *call, const struct manifest_object *o, const char *why)
{
    return err_import_error(call, arena_printf(call->arena, "%s: %s.", label(call, o), why));
}

static bool has_refs(const struct type *type)
{
    return type->kind == TYPE_REF || (type->key && has_refs(type->key)) ||
           (type->elem && has_refs(type->elem));
}

/* Sets and maps of enums: what another version knows of an operation or a guidance need not stop
 * anybody. */
static bool is_list_of_words(const struct type *type)
{
    return (type->elem && type->elem->kind == TYPE_ENUM) ||
           (type->key && type->key->kind == TYPE_ENUM);
}

/* Fills a row from a record: all but references, which mean nothing here, and what is under way. */
static struct error *read_record(struct call *call, const struct manifest_object *o, void *row)
{
    struct row *head = row;

    row_defaults(o->class, row);
    for (int i = 0; i < o->class->n_fields; i++) {
        const struct field_desc *f = &api_fields[o->class->first_field + i];
        const struct wire *member = wire_member(o->record, f->name);
        struct error *e;

        if (!field_is_stored(f) || (f->flags & FIELD_INTERNAL) || !member || has_refs(f->type) ||
            strcmp(f->name, "current_operations") == 0)
            continue;
        e = wire_to_value(call->arena, f->type, member, f->name, (char *)row + f->offset);
        if (e && is_list_of_words(f->type)) {
            value_empty(f->type, (char *)row + f->offset);
            log_info("import: %s: its %s is left out (%s)", label(call, o), f->name,
                     error_line(call->arena, e));
        } else if (e) {
            return wrong(call, o,
                         arena_printf(call->arena, "its %s cannot be read (%s)", f->name,
                                      error_line(call->arena, e)));
        }
    }
    head->ref = o->ref;
    return OK;
}

static const char *new_uuid(struct call *call)
{
    return uuid_new(arena_alloc(call->arena, UUID_TEXT_SIZE));
}

/* Objects of one class, in the order of the file. */
static size_t of_class(struct call *call, const struct manifest *m, int class_id,
                       struct manifest_object ***out)
{
    struct manifest_object **by_place =
        arena_array(call->arena, struct manifest_object *, m->n + 1);
    size_t n = 0;

    for (size_t i = 0; i < m->n; i++)
        if (m->v[i].class && m->v[i].class->id == class_id)
            by_place[m->v[i].place] = &m->v[i];
    for (size_t i = 0; i < m->n; i++)
        if (by_place[i])
            by_place[n++] = by_place[i];
    *out = by_place;
    return n;
}

/*** what is here already ***/

static ref_t by_uuid(struct call *call, int class_id, const char *uuid)
{
    ref_t ref;

    return *uuid && !db_by_uuid(call, class_id, uuid, &ref) ? ref : REF_NULL;
}

/* Hosts are looked for by what never changes. */
static void find_hosts(struct call *call, const struct manifest *m)
{
    for (size_t i = 0; i < m->n; i++)
        if (m->v[i].class && m->v[i].class->id == CLASS_host)
            m->v[i].ref = by_uuid(call, CLASS_host, manifest_text(&m->v[i], "uuid"));
}

static ref_t find_network(struct call *call, const struct manifest_object *o)
{
    const char *name = manifest_text(o, "name_label"), *bridge = manifest_text(o, "bridge");
    ref_t same_bridge = REF_NULL;
    const struct network *network;
    struct db_walk walk;

    db_walk(call->snap, CLASS_network, &walk);
    while ((network = db_walk_next(&walk))) {
        if (*name && strcmp(network->name_label, name) == 0)
            return network->ref;
        if (*bridge && strcmp(network->bridge, bridge) == 0)
            same_bridge = network->ref;
    }
    return same_bridge;
}

/* One of the same name that is to be made already; null if none is. */
static ref_t planned_network(const struct import_plan *p, const char *name)
{
    for (size_t i = 0; *name && i < p->n_networks; i++)
        if (strcmp(p->networks[i].name_label, name) == 0)
            return p->networks[i].ref;
    return REF_NULL;
}

static struct error *plan_networks(struct call *call, struct import_plan *p)
{
    struct manifest_object **v;
    size_t n = of_class(call, p->manifest, CLASS_network, &v);

    p->networks = arena_array(call->arena, struct network, n + 1);
    for (size_t i = 0; i < n; i++) {
        struct network *row = &p->networks[p->n_networks];

        v[i]->ref = find_network(call, v[i]);
        if (ref_is_null(v[i]->ref))
            v[i]->ref = planned_network(p, manifest_text(v[i], "name_label"));
        if (!ref_is_null(v[i]->ref))
            continue;
        v[i]->ref = ref_new();
        TRY(read_record(call, v[i], row));
        row->uuid = new_uuid(call);
        row->bridge = "";
        row->managed = true;
        row->purpose = (struct enums){0};
        if (row->mtu <= 0)
            row->mtu = 1500;
        p->n_networks++;
    }
    return OK;
}

/*** machines ***/

static struct import_vm *find_vm(const struct import_plan *p, ref_t ref)
{
    for (size_t i = 0; i < p->n_vms; i++)
        if (ref_equal(p->vms[i].row.ref, ref))
            return &p->vms[i];
    return NULL;
}

/* A template that comes with the product: the one that is here is taken. */
static bool is_supplied(struct call *call, struct manifest_object *o)
{
    const char *mark =
        manifest_find_text(wire_member(o->record, "other_config"), "default_template");
    const struct vm *vm;
    struct db_walk walk;

    if (!manifest_flag(o, "is_default_template") && strcmp(mark, "true") != 0)
        return false;
    db_walk(call->snap, CLASS_vm, &walk);
    while ((vm = db_walk_next(&walk))) {
        if (vm->is_default_template &&
            strcmp(vm->name_label, manifest_text(o, "name_label")) == 0) {
            o->ref = vm->ref;
            return true;
        }
    }
    return false;
}

/* Of another VM that is no snapshot, template or control domain, and stays. */
static bool seed_is_taken(struct call *call, const char *seed, ref_t replaced)
{
    const struct vm *vm;
    struct db_walk walk;

    db_walk(call->snap, CLASS_vm, &walk);
    while ((vm = db_walk_next(&walk))) {
        const char *other = strmap_get(&vm->other_config, "mac_seed");

        if (other && strcmp(other, seed) == 0 && !vm->is_a_template && !vm->is_a_snapshot &&
            !vm->is_control_domain && !ref_equal(vm->ref, replaced))
            return true;
    }
    return false;
}

/* The uuid it had: free, or that of an older one, or of any with force. */
static struct error *keep_identity(struct call *call, const struct import_plan *p,
                                   struct import_vm *vm)
{
    const char *seed = strmap_get(&vm->row.other_config, "mac_seed");
    const struct vm *old;
    uint8_t bytes[16];

    if (!uuid_from_text(vm->row.uuid, bytes))
        return wrong(call, vm->object, "its uuid is none");
    for (const struct import_vm *other = p->vms; other < vm; other++)
        if (strcmp(other->uuid ? other->uuid : other->row.uuid, vm->row.uuid) == 0)
            return wrong(call, vm->object, "another one in the file has the same uuid");
    vm->replaces = by_uuid(call, CLASS_vm, vm->row.uuid);
    old = db_find(call, CLASS_vm, vm->replaces);
    if (old) {
        if (old->version >= vm->row.version && !p->options->force)
            return err_vm_to_import_is_not_newer_version(
                call, call_ref(call, old->ref),
                arena_printf(call->arena, "%lld", (long long)old->version),
                arena_printf(call->arena, "%lld", (long long)vm->row.version));
        TRY(vm_check(call, call->snap, old, VM_OP_DESTROY));
        vm->uuid = vm->row.uuid;
        vm->row.uuid = new_uuid(call);
    }
    if (seed && !vm->row.is_a_template && !vm->row.is_a_snapshot && !p->options->force &&
        seed_is_taken(call, seed, vm->replaces))
        return err_duplicate_mac_seed(call, seed);
    return OK;
}

/* A machine of its own.  Snapshots have the seed of what they are snapshots of: the same old seed
 * becomes the same new one. */
static void give_identity(struct call *call, const struct import_plan *p, struct import_vm *vm)
{
    const char *old = strmap_get(&vm->row.other_config, "mac_seed"), *seed = NULL;

    vm->row.uuid = new_uuid(call);
    for (const struct import_vm *other = p->vms; old && !seed && other < vm; other++)
        if (strcmp(
                manifest_find_text(wire_member(other->object->record, "other_config"), "mac_seed"),
                old) == 0)
            seed = strmap_get(&other->row.other_config, "mac_seed");
    vm->row.other_config =
        strmap_with(call->arena, vm->row.other_config, "mac_seed", seed ? seed : new_uuid(call));
    if (*vm->row.generation_id)
        vm->row.generation_id = new_uuid(call);
}

/* What is of a moment, a host or a pool that is not this one. */
static void reset_state(struct call *call, struct vm *row)
{
    row->domid = -1;
    row->domarch = "";
    row->is_default_template = false;
    row->is_control_domain = false;
    row->requires_reboot = false;
    row->pending_guidances = row->pending_guidances_recommended = row->pending_guidances_full =
        (struct enums){0};
    row->ha_always_run = false;
    row->ha_restart_priority = "";
    row->is_vmss_snapshot = false;
    row->other_config = strmap_without(call->arena, row->other_config, "default_template");
    if (row->power_state != VM_SUSPENDED) {
        row->power_state = VM_HALTED;
        row->last_booted_record = "";
    }
}

static struct error *check_settings(struct call *call, const struct import_vm *vm)
{
    if (vm->row.is_a_snapshot)
        return OK;
    TRY(vm_check_vcpus(call, &vm->row));
    TRY(vm_check_shadow_multiplier(call, vm->row.hvm_shadow_multiplier));
    TRY(vm_check_memory(call, &vm->row));
    return vm_check_platform(call, &vm->row);
}

static struct error *read_metrics(struct call *call, const struct import_plan *p,
                                  struct import_vm *vm)
{
    struct manifest_object *metrics, *guest;

    TRY(manifest_follow(call, p->manifest, vm->object, "metrics", CLASS_vm_metrics, &metrics));
    TRY(manifest_follow(call, p->manifest, vm->object, "guest_metrics", CLASS_vm_guest_metrics,
                        &guest));
    row_defaults(&api_classes[CLASS_vm_metrics], &vm->metrics);
    if (metrics)
        TRY(read_record(call, metrics, &vm->metrics));
    vm->metrics.ref = vm->row.metrics = ref_new();
    vm->metrics.uuid = new_uuid(call);
    if (!guest)
        return OK;
    TRY(read_record(call, guest, &vm->guest_metrics));
    vm->has_guest_metrics = true;
    vm->guest_metrics.ref = vm->row.guest_metrics = ref_new();
    vm->guest_metrics.uuid = new_uuid(call);
    vm->guest_metrics.live = false;
    return OK;
}

static struct error *plan_vm(struct call *call, struct import_plan *p, struct manifest_object *o)
{
    struct import_vm *vm = &p->vms[p->n_vms];
    struct manifest_object *affinity;

    *vm = (struct import_vm){.object = o};
    o->ref = ref_new();
    TRY(read_record(call, o, &vm->row));
    TRY(manifest_follow(call, p->manifest, o, "affinity", CLASS_host, &affinity));
    vm->row.affinity = affinity ? affinity->ref : REF_NULL;
    reset_state(call, &vm->row);
    TRY(check_settings(call, vm));
    if (p->options->restore)
        TRY(keep_identity(call, p, vm));
    else
        give_identity(call, p, vm);
    vm->row.memory_overhead = vm_memory_overhead(&vm->row);
    TRY(read_metrics(call, p, vm));
    p->n_vms++;
    return OK;
}

/* A snapshot of a machine that does not come along is a template. */
static struct error *tie_snapshot(struct call *call, struct import_plan *p, struct import_vm *vm)
{
    struct manifest_object *of = NULL, *parent = NULL;
    const struct import_vm *whole, *above;

    vm->family = vm->row.ref;
    if (vm->row.is_a_snapshot)
        TRY(manifest_follow(call, p->manifest, vm->object, "snapshot_of", CLASS_vm, &of));
    whole = of ? find_vm(p, of->ref) : NULL;
    vm->row.is_a_snapshot = whole != NULL;
    if (whole && manifest_flag(whole->object, "is_a_snapshot"))
        return wrong(call, vm->object, "it is a snapshot of a snapshot");
    if (whole)
        vm->family = vm->row.snapshot_of = whole->row.ref;
    TRY(manifest_follow(call, p->manifest, vm->object, "parent", CLASS_vm, &parent));
    above = parent ? find_vm(p, parent->ref) : NULL;
    vm->row.parent = above ? above->row.ref : REF_NULL;
    return OK;
}

static struct error *check_parents(struct call *call, const struct import_plan *p)
{
    for (size_t i = 0; i < p->n_vms; i++) {
        const struct import_vm *at = &p->vms[i];
        int steps = 0;

        for (; at && steps < MAX_CHAIN; steps++)
            at = ref_is_null(at->row.parent) ? NULL : find_vm(p, at->row.parent);
        if (at)
            return wrong(call, p->vms[i].object, "its parents form a circle");
    }
    return OK;
}

/* Parents lie in one family: all of one goes into the database at once. */
static void cut_foreign_parents(const struct import_plan *p)
{
    for (size_t i = 0; i < p->n_vms; i++) {
        const struct import_vm *above = find_vm(p, p->vms[i].row.parent);

        if (above && !ref_equal(above->family, p->vms[i].family))
            p->vms[i].row.parent = REF_NULL;
    }
}

static struct error *plan_vms(struct call *call, struct import_plan *p)
{
    struct manifest_object **v;
    size_t n = of_class(call, p->manifest, CLASS_vm, &v);

    p->vms = arena_array(call->arena, struct import_vm, n + 1);
    for (size_t i = 0; i < n; i++)
        if (!manifest_flag(v[i], "is_control_domain") && !is_supplied(call, v[i]))
            TRY(plan_vm(call, p, v[i]));
    if (n == 0 && !p->options->metadata)
        return err_import_error(call, "There is no VM in the file.");
    for (size_t i = 0; i < p->n_vms; i++)
        TRY(tie_snapshot(call, p, &p->vms[i]));
    TRY(check_parents(call, p));
    cut_foreign_parents(p);
    return OK;
}

/*** disks ***/

static bool sr_is_iso(const struct sr *sr)
{
    return sr && strcmp(sr->content_type, "iso") == 0;
}

/* A CD: the same image in any ISO library. */
static ref_t find_iso(struct call *call, const struct manifest_object *o)
{
    const char *uuid = manifest_text(o, "uuid"), *location = manifest_text(o, "location");
    ref_t same_location = REF_NULL;
    const struct vdi *vdi;
    struct db_walk walk;

    db_walk(call->snap, CLASS_vdi, &walk);
    while ((vdi = db_walk_next(&walk))) {
        if (!sr_is_iso(db_find(call, CLASS_sr, vdi->sr)))
            continue;
        if (strcmp(vdi->uuid, uuid) == 0)
            return vdi->ref;
        if (*location && strcmp(vdi->location, location) == 0)
            same_location = vdi->ref;
    }
    return same_location;
}

/* A disk that was brought here by other means: as told, by its uuid, or by its place in its
 * repository. */
static struct error *find_disk(struct call *call, const struct import_plan *p,
                               struct manifest_object *o)
{
    const char *uuid = manifest_text(o, "uuid"), *told = strmap_get(&p->options->vdi, uuid);
    const char *location = manifest_text(o, "location");
    struct manifest_object *sr;
    struct refs in_sr;

    if (told)
        return db_by_uuid(call, CLASS_vdi, told, &o->ref);
    o->ref = by_uuid(call, CLASS_vdi, uuid);
    TRY(manifest_follow(call, p->manifest, o, "SR", CLASS_sr, &sr));
    if (!ref_is_null(o->ref) || !sr || !*location)
        return OK;
    in_sr = db_referrers(call, FIELD_vdi_sr, by_uuid(call, CLASS_sr, manifest_text(sr, "uuid")));
    for (size_t i = 0; i < in_sr.n; i++) {
        const struct vdi *vdi = db_find(call, CLASS_vdi, in_sr.v[i]);

        if (strcmp(vdi->location, location) == 0)
            o->ref = vdi->ref;
    }
    return OK;
}

static struct error *plan_disk(struct call *call, struct import_plan *p, struct manifest_object *o)
{
    struct import_disk *disk = &p->disks[p->n_disks];
    struct vdi_plan plan = {.how = VDI_EMPTY, .sr = p->options->sr, .own_fields = true};
    struct vdi row;

    TRY(read_record(call, o, &row));
    if (row.virtual_size <= 0 || row.virtual_size > MAX_DISK)
        return wrong(
            call, o,
            arena_printf(call->arena, "a size of %lld bytes is none", (long long)row.virtual_size));
    o->ref = plan.vdi = ref_new();
    plan.name_label = row.name_label;
    plan.name_description = row.name_description;
    plan.virtual_size = row.virtual_size;
    plan.type = row.type;
    plan.sharable = row.sharable;
    plan.read_only = row.read_only;
    plan.other_config = row.other_config;
    plan.xenstore_data = row.xenstore_data;
    plan.tags = row.tags;
    *disk = (struct import_disk){.id = o->id,
                                 .vdi = o->ref,
                                 .size = row.virtual_size,
                                 .is_a_snapshot = row.is_a_snapshot,
                                 .snapshot_time = row.snapshot_time};
    disk_plans_add(call->arena, &p->made, &plan);
    p->n_disks++;
    return OK;
}

/* VDIs that a device of a machine or a memory image needs. */
struct needs {
    bool *disk, *cd; /* by the object's number */
};

static struct error *find_needed(struct call *call, const struct import_plan *p, struct needs *need)
{
    const struct manifest *m = p->manifest;
    struct manifest_object *vdi;

    need->disk = arena_array(call->arena, bool, m->n + 1);
    need->cd = arena_array(call->arena, bool, m->n + 1);
    for (size_t i = 0; i < m->n; i++) {
        const struct manifest_object *o = &m->v[i];

        if (!o->class || (o->class->id != CLASS_vbd && o->class->id != CLASS_vm))
            continue;
        if (o->class->id == CLASS_vm) {
            if (strcmp(manifest_text(o, "power_state"), "Suspended") != 0)
                continue;
            TRY(manifest_follow(call, m, o, "suspend_VDI", CLASS_vdi, &vdi));
        } else {
            TRY(manifest_follow(call, m, o, "VDI", CLASS_vdi, &vdi));
        }
        if (!vdi)
            continue;
        if (strcmp(manifest_text(o, "type"), "CD") == 0)
            need->cd[vdi - m->v] = true;
        else
            need->disk[vdi - m->v] = true;
    }
    return OK;
}

static struct error *tie_disks(struct call *call, struct import_plan *p)
{
    for (size_t i = 0; i < p->n_disks; i++) {
        struct manifest_object *of;
        const struct manifest_object *o = manifest_find(p->manifest, p->disks[i].id);

        TRY(manifest_follow(call, p->manifest, o, "snapshot_of", CLASS_vdi, &of));
        if (of && !ref_equal(of->ref, o->ref))
            p->disks[i].snapshot_of = of->ref;
    }
    return OK;
}

static struct error *plan_disks(struct call *call, struct import_plan *p)
{
    const struct manifest *m = p->manifest;
    struct manifest_object *sr;
    struct needs need;

    TRY(find_needed(call, p, &need));
    p->disks = arena_array(call->arena, struct import_disk, m->n + 1);
    for (size_t i = 0; i < m->n; i++) {
        struct manifest_object *o = &m->v[i];

        if (!need.disk[i] && !need.cd[i])
            continue;
        TRY(manifest_follow(call, m, o, "SR", CLASS_sr, &sr));
        if (!need.disk[i] || (sr && strcmp(manifest_text(sr, "content_type"), "iso") == 0))
            o->ref = find_iso(call, o);
        else if (p->options->metadata)
            TRY(find_disk(call, p, o));
        else
            TRY(plan_disk(call, p, o));
    }
    return tie_disks(call, p);
}

/*** devices ***/

static void disk_joins_family(struct import_plan *p, ref_t vdi, ref_t family)
{
    for (size_t i = 0; i < p->n_disks; i++)
        if (ref_equal(p->disks[i].vdi, vdi) && ref_is_null(p->disks[i].family))
            p->disks[i].family = family;
}

static struct error *check_device(struct call *call, const struct import_plan *p, struct vbd *row)
{
    int number = vbd_device_number(row->userdevice);

    if (number < 0)
        return err_invalid_device(call, row->userdevice);
    row->userdevice = arena_printf(call->arena, "%d", number);
    for (size_t i = 0; i < p->n_vbds; i++)
        if (ref_equal(p->vbds[i].vm, row->vm) &&
            strcmp(p->vbds[i].userdevice, row->userdevice) == 0)
            return err_device_already_exists(call, row->userdevice);
    return OK;
}

/* False where the device is left out: its disk is not here. */
static struct error *choose_disk(struct call *call, const struct import_plan *p,
                                 const struct import_vm *vm, const struct manifest_object *o,
                                 struct vbd *row, bool *keep)
{
    struct manifest_object *vdi;

    TRY(manifest_follow(call, p->manifest, o, "VDI", CLASS_vdi, &vdi));
    row->vdi = vdi ? vdi->ref : REF_NULL;
    *keep = true;
    if (row->type == VBD_TYPE_CD) {
        row->mode = VBD_RO;
        row->empty = ref_is_null(row->vdi);
        return OK;
    }
    if (row->empty && row->type == VBD_TYPE_FLOPPY)
        return OK;
    *keep = !ref_is_null(row->vdi);
    row->empty = false;
    if (!*keep && (vm->row.power_state == VM_SUSPENDED || row->currently_attached))
        return err_import_error_attached_disks_not_found(call);
    if (!*keep)
        log_info("import: %s is left out, its disk is not here", label(call, o));
    return OK;
}

static struct error *plan_vbd(struct call *call, struct import_plan *p,
                              const struct manifest_object *o)
{
    struct vbd *row = &p->vbds[p->n_vbds];
    struct manifest_object *vm_object;
    const struct import_vm *vm;
    bool keep;

    TRY(manifest_follow(call, p->manifest, o, "VM", CLASS_vm, &vm_object));
    vm = vm_object ? find_vm(p, vm_object->ref) : NULL;
    if (!vm)
        return OK;
    TRY(read_record(call, o, row));
    row->vm = vm->row.ref;
    TRY(choose_disk(call, p, vm, o, row, &keep));
    if (!keep)
        return OK;
    row->ref = ref_new();
    row->uuid = new_uuid(call);
    TRY(check_device(call, p, row));
    row->currently_attached = row->currently_attached && vm->row.power_state == VM_SUSPENDED;
    row->device = row->currently_attached ? row->device : "";
    row->storage_lock = false;
    row->status_code = 0;
    row->status_detail = "";
    row->runtime_properties = (struct strmap){0};
    disk_joins_family(p, row->vdi, vm->family);
    p->vbd_families[p->n_vbds++] = vm->family;
    return OK;
}

static struct error *plan_vif(struct call *call, struct import_plan *p,
                              const struct manifest_object *o)
{
    struct vif *row = &p->vifs[p->n_vifs];
    struct manifest_object *vm_object, *network;
    const struct import_vm *vm;
    int number;

    TRY(manifest_follow(call, p->manifest, o, "VM", CLASS_vm, &vm_object));
    vm = vm_object ? find_vm(p, vm_object->ref) : NULL;
    if (!vm)
        return OK;
    TRY(read_record(call, o, row));
    TRY(manifest_follow(call, p->manifest, o, "network", CLASS_network, &network));
    if (!network)
        return wrong(call, o, "it is on no network");
    number = vif_device_number(row->device);
    if (number < 0)
        return err_invalid_device(call, row->device);
    row->device = arena_printf(call->arena, "%d", number);
    for (size_t i = 0; i < p->n_vifs; i++)
        if (ref_equal(p->vifs[i].vm, vm->row.ref) && strcmp(p->vifs[i].device, row->device) == 0)
            return err_device_already_exists(call, row->device);
    if (!p->options->restore || !*row->mac) {
        row->mac = vif_mac_from_seed(call->arena, strmap_get(&vm->row.other_config, "mac_seed"),
                                     row->device);
        row->mac_autogenerated = true;
    }
    if (!mac_is_good(row->mac))
        return err_mac_invalid(call, row->mac);
    row->ref = ref_new();
    row->uuid = new_uuid(call);
    row->vm = vm->row.ref;
    row->network = network->ref;
    row->currently_attached = row->currently_attached && vm->row.power_state == VM_SUSPENDED;
    row->status_code = 0;
    row->status_detail = "";
    row->runtime_properties = (struct strmap){0};
    p->vif_families[p->n_vifs++] = vm->family;
    return OK;
}

/* A machine whose memory does not come along is halted. */
static struct error *tie_memory(struct call *call, struct import_plan *p)
{
    for (size_t i = 0; i < p->n_vms; i++) {
        struct import_vm *vm = &p->vms[i];
        struct manifest_object *image = NULL;

        if (vm->row.power_state != VM_SUSPENDED)
            continue;
        TRY(manifest_follow(call, p->manifest, vm->object, "suspend_VDI", CLASS_vdi, &image));
        vm->row.suspend_vdi = image ? image->ref : REF_NULL;
        disk_joins_family(p, vm->row.suspend_vdi, vm->family);
        if (ref_is_null(vm->row.suspend_vdi)) {
            vm->row.power_state = VM_HALTED;
            vm->row.last_booted_record = "";
        }
    }
    return OK;
}

static struct error *plan_devices(struct call *call, struct import_plan *p)
{
    struct manifest_object **v;
    size_t n;

    TRY(tie_memory(call, p));
    n = of_class(call, p->manifest, CLASS_vbd, &v);
    p->vbds = arena_array(call->arena, struct vbd, n + 1);
    p->vbd_families = arena_array(call->arena, ref_t, n + 1);
    for (size_t i = 0; i < n; i++)
        TRY(plan_vbd(call, p, v[i]));
    n = of_class(call, p->manifest, CLASS_vif, &v);
    p->vifs = arena_array(call->arena, struct vif, n + 1);
    p->vif_families = arena_array(call->arena, ref_t, n + 1);
    for (size_t i = 0; i < n; i++)
        TRY(plan_vif(call, p, v[i]));
    return OK;
}

/* Devices that cannot be made here.  Without its TPM a guest may not boot again: that is for its
 * owner to say. */
static struct error *refuse_devices(struct call *call, const struct import_plan *p)
{
    for (size_t i = 0; i < p->manifest->n; i++) {
        const struct manifest_object *o = &p->manifest->v[i];

        if (!o->class)
            continue;
        if (o->class->id == CLASS_vtpm && !p->options->force)
            return wrong(call, o, "a TPM cannot be imported yet; with force it is left out");
        if (o->class->id == CLASS_vtpm || o->class->id == CLASS_vgpu)
            log_warning("import: %s is left out", label(call, o));
    }
    return OK;
}

/* Disks of no device are not made, networks of no device neither. */
static bool network_is_used(const struct import_plan *p, ref_t network)
{
    for (size_t i = 0; i < p->n_vifs; i++)
        if (ref_equal(p->vifs[i].network, network))
            return true;
    return false;
}

static void drop_unused_networks(struct import_plan *p)
{
    size_t n = 0;

    for (size_t i = 0; i < p->n_networks; i++)
        if (network_is_used(p, p->networks[i].ref))
            p->networks[n++] = p->networks[i];
    p->n_networks = n;
}

struct error *import_plan_make(struct call *call, struct manifest *manifest,
                               const struct import_options *options, struct import_plan *out)
{
    *out = (struct import_plan){.options = options, .manifest = manifest};
    find_hosts(call, manifest);
    TRY(plan_networks(call, out));
    TRY(plan_vms(call, out));
    TRY(plan_disks(call, out));
    TRY(plan_devices(call, out));
    TRY(refuse_devices(call, out));
    drop_unused_networks(out);
    return OK;
}
