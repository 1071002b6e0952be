/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/transfer/inventory.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "libxapi/base/seam.h"
#include "xapid/main/xapid.h"

#define FIRST_ROOM 64

/*** the table ***/

static size_t slot_of(const struct inventory *inv, ref_t ref)
{
    size_t i = (size_t)((ref.hi ^ ref.lo * 0x9e3779b97f4a7c15ull) % inv->n_slots);

    while (inv->slots[i] && !ref_equal(inv->v[inv->slots[i] - 1].row->ref, ref))
        i = (i + 1) % inv->n_slots;
    return i;
}

const char *inventory_id(const struct inventory *inv, ref_t ref)
{
    size_t i;

    if (ref_is_null(ref) || !inv->n)
        return NULL;
    i = slot_of(inv, ref);
    return inv->slots[i] ? inv->v[inv->slots[i] - 1].id : NULL;
}

static void grow(struct call *call, struct inventory *inv)
{
    struct inventory_entry *old = inv->v;

    inv->room = MAX(2 * inv->room, (size_t)FIRST_ROOM);
    inv->v = arena_array(call->arena, struct inventory_entry, inv->room);
    if (inv->n)
        memcpy(inv->v, old, inv->n * sizeof *old);
    inv->n_slots = 2 * inv->room;
    inv->slots = arena_array(call->arena, uint32_t, inv->n_slots);
    for (size_t i = 0; i < inv->n; i++)
        inv->slots[slot_of(inv, inv->v[i].row->ref)] = (uint32_t)i + 1;
}

/* False for a row that is there already, or none. */
static bool add(struct call *call, struct inventory *inv, const void *row)
{
    const struct row *r = row;

    if (!r || inventory_id(inv, r->ref))
        return false;
    if (inv->n == inv->room)
        grow(call, inv);
    inv->v[inv->n] = (struct inventory_entry){r, arena_printf(call->arena, "Ref:%zu", inv->n)};
    inv->n++;
    inv->slots[slot_of(inv, r->ref)] = (uint32_t)inv->n;
    return true;
}

static void add_ref(struct call *call, struct inventory *inv, int class_id, ref_t ref)
{
    add(call, inv, db_find(call, class_id, ref));
}

/*** what belongs together ***/

static void add_vdi(struct call *call, struct inventory *inv, ref_t ref)
{
    const struct vdi *vdi = db_find(call, CLASS_vdi, ref);

    if (add(call, inv, vdi))
        add_ref(call, inv, CLASS_sr, vdi->sr);
}

static void add_vbds(struct call *call, struct inventory *inv, ref_t vm)
{
    struct refs vbds = db_referrers(call, FIELD_vbd_vm, vm);

    for (size_t i = 0; i < vbds.n; i++) {
        const struct vbd *vbd = db_find(call, CLASS_vbd, vbds.v[i]);

        add(call, inv, vbd);
        add_vdi(call, inv, vbd->vdi);
    }
}

static void add_vifs(struct call *call, struct inventory *inv, ref_t vm)
{
    struct refs vifs = db_referrers(call, FIELD_vif_vm, vm);

    for (size_t i = 0; i < vifs.n; i++) {
        const struct vif *vif = db_find(call, CLASS_vif, vifs.v[i]);

        add(call, inv, vif);
        add_ref(call, inv, CLASS_network, vif->network);
    }
}

static void add_vgpus(struct call *call, struct inventory *inv, ref_t vm)
{
    struct refs vgpus = db_referrers(call, FIELD_vgpu_vm, vm);

    for (size_t i = 0; i < vgpus.n; i++) {
        const struct vgpu *vgpu = db_find(call, CLASS_vgpu, vgpus.v[i]);

        add(call, inv, vgpu);
        add_ref(call, inv, CLASS_vgpu_type, vgpu->type);
        add_ref(call, inv, CLASS_gpu_group, vgpu->gpu_group);
    }
}

static void add_vtpms(struct call *call, struct inventory *inv, ref_t vm)
{
    struct refs vtpms = db_referrers(call, FIELD_vtpm_vm, vm);

    for (size_t i = 0; i < vtpms.n; i++)
        add_ref(call, inv, CLASS_vtpm, vtpms.v[i]);
}

static bool keeps_memory(const struct inventory *inv, const struct vm *vm)
{
    return inv->options.preserve_power_state && vm->power_state == VM_SUSPENDED;
}

void inventory_add_vm(struct call *call, struct inventory *inv, const struct vm *vm)
{
    struct refs snapshots;

    if (!add(call, inv, vm))
        return;
    add_ref(call, inv, CLASS_host, vm->affinity);
    add_ref(call, inv, CLASS_host, vm->resident_on);
    add_ref(call, inv, CLASS_vm_metrics, vm->metrics);
    add_ref(call, inv, CLASS_vm_guest_metrics, vm->guest_metrics);
    if (!inv->options.no_vbd)
        add_vbds(call, inv, vm->ref);
    if (!inv->options.no_vif)
        add_vifs(call, inv, vm->ref);
    if (!inv->options.no_vgpu)
        add_vgpus(call, inv, vm->ref);
    if (!inv->options.no_vtpm)
        add_vtpms(call, inv, vm->ref);
    if (keeps_memory(inv, vm))
        add_vdi(call, inv, vm->suspend_vdi);
    if (!inv->options.snapshots)
        return;
    snapshots = db_referrers(call, FIELD_vm_snapshot_of, vm->ref);
    for (size_t i = 0; i < snapshots.n; i++)
        inventory_add_vm(call, inv, db_find(call, CLASS_vm, snapshots.v[i]));
}

/*** writing ***/

static void write_ref(struct buf *out, const struct inventory *inv, ref_t ref)
{
    const char *id = inventory_id(inv, ref);

    codec_xmlrpc.string(out, id ? id : "OpaqueRef:NULL");
}

/* Those that are in it. */
static void write_refs(struct buf *out, const struct inventory *inv, const struct refs *refs)
{
    bool first = true;

    codec_xmlrpc.array_begin(out);
    for (size_t i = 0; i < refs->n; i++) {
        if (!inventory_id(inv, refs->v[i]))
            continue;
        if (!first)
            codec_xmlrpc.array_next(out);
        write_ref(out, inv, refs->v[i]);
        first = false;
    }
    codec_xmlrpc.array_end(out);
}

static bool has_refs(const struct type *type)
{
    return type->kind == TYPE_REF || (type->key && has_refs(type->key)) ||
           (type->elem && has_refs(type->elem));
}

/* The value of a field as it is to be written: what is of this moment only is left out. */
static void write_field(struct call *call, struct buf *out, const struct inventory *inv,
                        const struct row *row, const struct field_desc *f)
{
    const struct codec_env env = {.arena = call->arena};
    char *empty = arena_zalloc(call->arena, f->type->size);

    value_empty(f->type, empty);
    if (f->flags & FIELD_DERIVED) {
        struct refs refs = db_derived(call->arena, call->snap, f, row->ref);

        write_refs(out, inv, &refs);
    } else if (f->type->kind == TYPE_REF) {
        write_ref(out, inv, *(const ref_t *)field_in(row, f));
    } else if (f->type->kind == TYPE_SET && f->type->elem->kind == TYPE_REF) {
        write_refs(out, inv, field_in(row, f));
    } else if ((f->flags & FIELD_COMPUTED) || has_refs(f->type) ||
               strcmp(f->name, "current_operations") == 0) {
        codec_xmlrpc.value(out, &env, f->type, empty);
    } else {
        codec_xmlrpc.value(out, &env, f->type, field_in(row, f));
    }
}

/* A machine as it will be where it is imported. */
static const struct row *as_exported(struct call *call, const struct inventory *inv,
                                     const struct row *row)
{
    struct vm *vm;

    if (row->row_class != CLASS_vm)
        return row;
    vm = arena_memdup(call->arena, row, sizeof *vm);
    if (vm->power_state == VM_SUSPENDED && !keeps_memory(inv, vm))
        vm->power_state = VM_HALTED;
    if (vm->power_state != VM_SUSPENDED)
        vm->suspend_vdi = REF_NULL;
    /* A snapshot without what it is one of is a template. */
    vm->is_a_snapshot = vm->is_a_snapshot && inventory_id(inv, vm->snapshot_of);
    return (const struct row *)vm;
}

static void write_record(struct call *call, struct buf *out, const struct inventory *inv,
                         const struct row *row)
{
    const struct class_desc *class = &api_classes[row->row_class];
    const struct row *shown = as_exported(call, inv, row);
    bool first = true;

    codec_xmlrpc.struct_begin(out);
    for (int i = 0; i < class->n_fields; i++) {
        const struct field_desc *f = &api_fields[class->first_field + i];

        if (f->flags & (FIELD_INTERNAL | FIELD_PSEUDO))
            continue;
        codec_xmlrpc.member_begin(out, f->name, first);
        write_field(call, out, inv, shown, f);
        codec_xmlrpc.member_end(out);
        first = false;
    }
    codec_xmlrpc.struct_end(out);
}

static void member_text(struct buf *out, const char *name, const char *text, bool first)
{
    codec_xmlrpc.member_begin(out, name, first);
    codec_xmlrpc.string(out, text ? text : "");
    codec_xmlrpc.member_end(out);
}

static void member_int(struct buf *out, const char *name, int64_t value)
{
    codec_xmlrpc.member_begin(out, name, false);
    codec_xmlrpc.integer(out, value);
    codec_xmlrpc.member_end(out);
}

static const char *date_text(struct arena *arena)
{
    time_t now = (time_t)(clock_wall() / USEC_PER_SEC);
    char text[32];
    struct tm tm;

    gmtime_r(&now, &tm);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm);
    return arena_strdup(arena, text);
}

static void write_version(struct call *call, struct buf *out)
{
    const struct host *host = db_find(call, CLASS_host, call->xapid->host);
    struct strmap none = {0};
    const struct strmap *software = host ? &host->software_version : &none;

    codec_xmlrpc.struct_begin(out);
    member_text(out, "hostname", host ? host->hostname : "", true);
    member_text(out, "date", date_text(call->arena), false);
    member_text(out, "product_version", strmap_get(software, "product_version"), false);
    member_text(out, "product_brand", strmap_get(software, "product_brand"), false);
    member_text(out, "build_number", strmap_get(software, "build_number"), false);
    member_int(out, "xapi_major", host ? host->api_version_major : 0);
    member_int(out, "xapi_minor", host ? host->api_version_minor : 0);
    member_int(out, "export_vsn", MANIFEST_VERSION);
    codec_xmlrpc.struct_end(out);
}

void inventory_write(struct call *call, const struct inventory *inv, struct buf *out)
{
    buf_puts(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>");
    codec_xmlrpc.struct_begin(out);
    codec_xmlrpc.member_begin(out, "version", true);
    write_version(call, out);
    codec_xmlrpc.member_end(out);
    codec_xmlrpc.member_begin(out, "objects", false);
    codec_xmlrpc.array_begin(out);
    for (size_t i = 0; i < inv->n; i++) {
        const struct row *row = inv->v[i].row;

        if (i)
            codec_xmlrpc.array_next(out);
        codec_xmlrpc.struct_begin(out);
        member_text(out, "class", api_classes[row->row_class].name, true);
        member_text(out, "id", inv->v[i].id, false);
        codec_xmlrpc.member_begin(out, "snapshot", false);
        write_record(call, out, inv, row);
        codec_xmlrpc.member_end(out);
        codec_xmlrpc.struct_end(out);
    }
    codec_xmlrpc.array_end(out);
    codec_xmlrpc.member_end(out);
    codec_xmlrpc.struct_end(out);
}

/*** disks ***/

static bool is_a_disk(struct call *call, const struct inventory *inv, const struct vdi *vdi)
{
    const struct sr *sr = db_find(call, CLASS_sr, vdi->sr);

    if (sr && strcmp(sr->content_type, "iso") == 0)
        return false;
    for (size_t i = 0; i < inv->n; i++) {
        const struct vbd *vbd = (const struct vbd *)inv->v[i].row;
        const struct vm *vm = (const struct vm *)inv->v[i].row;

        if (vbd->row_class == CLASS_vbd && ref_equal(vbd->vdi, vdi->ref) &&
            vbd->type != VBD_TYPE_CD)
            return true;
        if (vm->row_class == CLASS_vm && keeps_memory(inv, vm) &&
            ref_equal(vm->suspend_vdi, vdi->ref))
            return true;
    }
    return false;
}

static int by_id(const void *a, const void *b)
{
    return strcmp(((const struct inventory_disk *)a)->id, ((const struct inventory_disk *)b)->id);
}

size_t inventory_disks(struct call *call, const struct inventory *inv, struct inventory_disk **out)
{
    size_t n = 0;

    *out = arena_array(call->arena, struct inventory_disk, inv->n + 1);
    for (size_t i = 0; i < inv->n; i++) {
        const struct vdi *vdi = (const struct vdi *)inv->v[i].row;

        if (vdi->row_class == CLASS_vdi && is_a_disk(call, inv, vdi))
            (*out)[n++] =
                (struct inventory_disk){inv->v[i].id, vdi->ref, vdi->sr, vdi->virtual_size};
    }
    qsort(*out, n, sizeof **out, by_id);
    return n;
}
