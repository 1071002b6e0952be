/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xapid/ops/vm/dump.h"

#include <string.h>

#include "libxapi/codec/codec.h"

/* State, identity and place in the snapshot tree. */
static const int not_settings[] = {
    FIELD_vm_uuid,
    FIELD_vm_current_operations,
    FIELD_vm_power_state,
    FIELD_vm_suspend_vdi,
    FIELD_vm_resident_on,
    FIELD_vm_scheduled_to_be_resident_on,
    FIELD_vm_memory_overhead,
    FIELD_vm_memory_target,
    FIELD_vm_domid,
    FIELD_vm_domarch,
    FIELD_vm_is_control_domain,
    FIELD_vm_is_default_template,
    FIELD_vm_metrics,
    FIELD_vm_guest_metrics,
    FIELD_vm_last_booted_record,
    FIELD_vm_is_a_snapshot,
    FIELD_vm_snapshot_of,
    FIELD_vm_snapshot_time,
    FIELD_vm_transportable_snapshot_id,
    FIELD_vm_snapshot_info,
    FIELD_vm_snapshot_metadata,
    FIELD_vm_parent,
    FIELD_vm_is_vmss_snapshot,
    FIELD_vm_blobs,
    FIELD_vm_generation_id,
    FIELD_vm_requires_reboot,
    FIELD_vm_pending_guidances,
    FIELD_vm_pending_guidances_recommended,
    FIELD_vm_pending_guidances_full,
};

static bool is_setting(const struct field_desc *f)
{
    if (!field_is_stored(f))
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(not_settings); i++)
        if (f->id == not_settings[i])
            return false;
    return true;
}

const char *vm_dump(struct arena *arena, const struct vm *vm)
{
    const struct class_desc *class = &api_classes[CLASS_vm];
    const struct codec_env env = {.arena = arena};
    AUTO(buf) b = {0};
    bool first = true;

    codec_xmlrpc.struct_begin(&b);
    for (int i = 0; i < class->n_fields; i++) {
        const struct field_desc *f = &api_fields[class->first_field + i];

        if (!is_setting(f))
            continue;
        codec_xmlrpc.member_begin(&b, f->name, first);
        codec_xmlrpc.value(&b, &env, f->type, field_in(vm, f));
        codec_xmlrpc.member_end(&b);
        first = false;
    }
    codec_xmlrpc.struct_end(&b);
    return arena_strndup(arena, b.data, b.len);
}

/* Null for what is gone; sets of references lose it. */
static void drop_dangling(struct arena *arena, const struct db_snap *snap, const struct type *type,
                          void *value)
{
    if (type->kind == TYPE_REF) {
        ref_t *ref = value;

        if (type->class_id >= 0 && !root_get(snap_root(snap), type->class_id, *ref))
            *ref = REF_NULL;
    } else if (type->kind == TYPE_SET && type->elem->kind == TYPE_REF) {
        struct refs *refs = value;
        ref_t *kept = arena_array(arena, ref_t, refs->n + 1);
        size_t n = 0;

        for (size_t i = 0; i < refs->n; i++)
            if (type->elem->class_id < 0 ||
                root_get(snap_root(snap), type->elem->class_id, refs->v[i]))
                kept[n++] = refs->v[i];
        *refs = (struct refs){n, kept};
    }
}

bool vm_undump(struct arena *arena, const struct db_snap *snap, const char *text, size_t *n,
               struct vm_setting **out)
{
    const struct class_desc *class = &api_classes[CLASS_vm];
    const struct wire *wire;

    *n = 0;
    if (!*text || !xmlrpc_read_value(arena, text, strlen(text), &wire) || wire->kind != WIRE_STRUCT)
        return false;
    *out = arena_array(arena, struct vm_setting, class->n_fields);
    for (int i = 0; i < class->n_fields; i++) {
        const struct field_desc *f = &api_fields[class->first_field + i];
        const struct wire *member = is_setting(f) ? wire_member(wire, f->name) : NULL;
        void *value = arena_zalloc(arena, f->type->size);

        /* An enum value that a later version wrote: the present one stays. */
        if (!member || wire_to_value(arena, f->type, member, f->name, value))
            continue;
        drop_dangling(arena, snap, f->type, value);
        (*out)[(*n)++] = (struct vm_setting){f, value};
    }
    return true;
}
