/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fields.c -- values of records as xe shows and takes them. */
#include "xe-cli/fields.h"

#include <string.h>
#include <strings.h>

#include "libxapi/value/value.h"

/* --- Spellings --- */

static const struct spelling {
    const char *enum_name, *value, *shown;
} spellings[] = {
    {"vm_power_state", "Halted", "halted"},
    {"vm_power_state", "Paused", "paused"},
    {"vm_power_state", "Running", "running"},
    {"vm_power_state", "Suspended", "suspended"},
    {"vm_operations", "assert_operation_valid", "assertoperationvalid"},
    {"vm_operations", "data_source_op", "data_sources_op"},
    {"host_allowed_operations", "vm_start", "VM.start"},
    {"host_allowed_operations", "vm_resume", "VM.resume"},
    {"host_allowed_operations", "vm_migrate", "VM.migrate"},
    {"storage_operations", "vdi_create", "VDI.create"},
    {"storage_operations", "vdi_introduce", "VDI.introduce"},
    {"storage_operations", "vdi_destroy", "VDI.destroy"},
    {"storage_operations", "vdi_resize", "VDI.resize"},
    {"storage_operations", "vdi_clone", "VDI.clone"},
    {"storage_operations", "vdi_snapshot", "VDI.snapshot"},
    {"storage_operations", "vdi_mirror", "VDI.mirror"},
    {"storage_operations", "vdi_enable_cbt", "VDI.enable_cbt"},
    {"storage_operations", "vdi_disable_cbt", "VDI.disable_cbt"},
    {"storage_operations", "vdi_set_on_boot", "VDI.set_on_boot"},
    {"storage_operations", "vdi_data_destroy", "VDI.data_destroy"},
    {"storage_operations", "vdi_list_changed_blocks", "VDI.list_changed_blocks"},
    {"storage_operations", "pbd_create", "PBD.create"},
    {"storage_operations", "pbd_destroy", "PBD.destroy"},
    {"task_allowed_operations", "cancel", "Cancel"},
    {"task_allowed_operations", "destroy", "Destroy"},
    {"console_protocol", "vt100", "VT100"},
    {"console_protocol", "rfb", "RFB"},
    {"console_protocol", "rdp", "RDP"},
    {"on_normal_exit", "destroy", "Destroy"},
    {"on_normal_exit", "restart", "Restart"},
    {"on_crash_behaviour", "destroy", "Destroy"},
    {"on_crash_behaviour", "coredump_and_destroy", "Core dump and destroy"},
    {"on_crash_behaviour", "restart", "Restart"},
    {"on_crash_behaviour", "coredump_and_restart", "Core dump and restart"},
    {"on_crash_behaviour", "preserve", "Preserve"},
    {"on_crash_behaviour", "rename_restart", "Rename restart"},
    {"on_softreboot_behavior", "destroy", "Destroy"},
    {"on_softreboot_behavior", "restart", "Restart"},
    {"on_softreboot_behavior", "preserve", "Preserve"},
    {"on_softreboot_behavior", "soft_reboot", "Soft reboot"},
    {"vdi_type", "system", "System"},
    {"vdi_type", "user", "User"},
    {"vdi_type", "ephemeral", "Ephemeral"},
    {"vdi_type", "suspend", "Suspend"},
    {"vdi_type", "crashdump", "Crashdump"},
    {"vdi_type", "ha_statefile", "HA statefile"},
    {"vdi_type", "metadata", "Metadata"},
    {"vdi_type", "redo_log", "Redo log"},
    {"vdi_type", "pvs_cache", "PVS cache"},
    {"vdi_type", "cbt_metadata", "CBT metadata"},
    {"allocation_algorithm", "breadth_first", "breadth-first"},
    {"allocation_algorithm", "depth_first", "depth-first"},
    {"domain_type", "pv_in_pvh", "pv-in-pvh"},
    {"tristate_type", "yes", "true"},
    {"tristate_type", "no", "false"},
    {"livepatch_status", "ok", "Ok."},
    {"livepatch_status", "ok_livepatch_complete", "Ok: Patch can be applied without reboot."},
    {"livepatch_status", "ok_livepatch_incomplete",
     "Ok: Patch can be applied, but a reboot will be required."},
    {"pvs_proxy_status", "incompatible_write_cache_mode", "incompatible-write-cache-mode"},
    {"pvs_proxy_status", "incompatible_protocol_version", "incompatible-protocol-version"},
};

const char *enum_shown(const struct enum_desc *e, const char *value)
{
    for (size_t i = 0; i < ARRAY_SIZE(spellings); i++)
        if (!strcmp(spellings[i].enum_name, e->name) && !strcmp(spellings[i].value, value))
            return spellings[i].shown;
    return value;
}

/* --- From the wire --- */

static struct error *uuid_of_ref(struct xe *xe, const struct type *type, const char *ref,
                                 const char **out)
{
    const struct wire *record = NULL;

    if (type->class_name && !ref_text_is_null(ref))
        TRY(object_get(xe, type->class_name, ref, &record));
    *out = record ? xe_member_text(record, "uuid") : XE_NOT_IN_DATABASE;
    return OK;
}

static struct error *scalar_shown(struct xe *xe, const struct type *type, const struct wire *w,
                                  const char **out)
{
    const char *text = xe_wire_text(&xe->arena, w);
    double d;

    *out = text;
    switch (type->kind) {
    case TYPE_REF:
        return uuid_of_ref(xe, type, text, out);
    case TYPE_ENUM:
        *out = enum_shown(type->enum_desc, text);
        return OK;
    case TYPE_BOOL:
        *out = !strcmp(text, "1") || !strcmp(text, "true") ? "true" : "false";
        return OK;
    case TYPE_FLOAT:
        if (w && w->kind != WIRE_DOUBLE && double_from_text(text, &d))
            *out = arena_printf(&xe->arena, "%.3f", d);
        return OK;
    default:
        return OK;
    }
}

static struct error *set_shown(struct xe *xe, const struct type *type, const struct wire *w,
                               struct field_value *out)
{
    size_t n = w && w->kind == WIRE_ARRAY ? w->n : 0;
    const char **v = arena_array(&xe->arena, const char *, n + 1);

    for (size_t i = 0; i < n; i++)
        TRY(scalar_shown(xe, type->elem, &w->v[i], &v[i]));
    out->kind = FIELD_SET;
    out->set = (struct strings){n, v};
    return OK;
}

/* current_operations is a map from tasks to operations: only the operations are shown. */
static bool is_operations(const struct type *type)
{
    return type->key->kind == TYPE_STRING && type->elem->kind == TYPE_ENUM;
}

static struct error *map_shown(struct xe *xe, const struct type *type, const struct wire *w,
                               struct field_value *out)
{
    size_t n = w && w->kind == WIRE_STRUCT ? w->n : 0;
    struct xe_pair *v = arena_array(&xe->arena, struct xe_pair, n + 1);
    const char **values = arena_array(&xe->arena, const char *, n + 1);

    for (size_t i = 0; i < n; i++) {
        struct wire key = {.kind = WIRE_STRING, .text = w->v[i].name};

        TRY(scalar_shown(xe, type->key, &key, &v[i].key));
        TRY(scalar_shown(xe, type->elem, &w->v[i], &v[i].value));
        values[i] = v[i].value;
    }
    out->kind = is_operations(type) ? FIELD_SET : FIELD_MAP;
    out->set = (struct strings){n, values};
    out->map = (struct xe_params){n, v};
    return OK;
}

struct error *wire_shown(struct xe *xe, const struct type *type, const struct wire *w,
                         struct field_value *out)
{
    *out = (struct field_value){.kind = FIELD_TEXT, .text = ""};
    switch (type->kind) {
    case TYPE_SET:
        return set_shown(xe, type, w, out);
    case TYPE_MAP:
        return map_shown(xe, type, w, out);
    case TYPE_OPTION:
        if (!w || w->kind == WIRE_NIL)
            return OK;
        return wire_shown(xe, type->elem, w, out);
    default:
        return scalar_shown(xe, type, w, &out->text);
    }
}

/* --- Paths --- */

static struct error *path_value(struct xe *xe, const struct class_desc *class, const char *path,
                                const struct wire *record, struct field_value *out);

/* The rest of a path for each object of a set of references. */
static struct error *path_of_each(struct xe *xe, const struct class_desc *class, const char *path,
                                  const struct wire *refs, struct field_value *out)
{
    size_t n = refs && refs->kind == WIRE_ARRAY ? refs->n : 0, used = 0;
    const char **v = arena_array(&xe->arena, const char *, n + 1);

    for (size_t i = 0; i < n; i++) {
        const struct wire *record = NULL;
        struct field_value one;

        TRY(object_get(xe, class->name, xe_wire_text(&xe->arena, &refs->v[i]), &record));
        TRY(path_value(xe, class, path, record, &one));
        v[used++] = one.missing ? XE_NOT_IN_DATABASE : one.text;
    }
    *out = (struct field_value){.kind = FIELD_SET, .set = {used, v}};
    return OK;
}

/* A field that was removed from the API; older servers still send it. */
static void untyped_shown(struct xe *xe, const struct wire *w, struct field_value *out)
{
    *out = (struct field_value){.text = xe_wire_text(&xe->arena, w), .missing = !w};
    if (w && w->kind == WIRE_STRUCT) {
        out->kind = FIELD_MAP;
        out->map = xe_wire_map(&xe->arena, w);
    } else if (w && w->kind == WIRE_ARRAY) {
        out->kind = FIELD_SET;
        out->set = xe_wire_set(&xe->arena, w);
    }
}

static struct error *path_value(struct xe *xe, const struct class_desc *class, const char *path,
                                const struct wire *record, struct field_value *out)
{
    const char *next = strchr(path, '>');
    const char *name = next ? arena_strndup(&xe->arena, path, (size_t)(next - path)) : path;
    const struct field_desc *f = api_field_by_name(class, name);
    const struct wire *w = xe_member(record, name), *inner = NULL;
    const struct class_desc *to;

    *out = (struct field_value){.kind = FIELD_TEXT, .text = "", .missing = !record};
    if (!record)
        return OK;
    if (!f) {
        untyped_shown(xe, w, out);
        return OK;
    }
    if (!next)
        return wire_shown(xe, f->type, w, out);
    if (f->type->kind == TYPE_SET) {
        to = &api_classes[f->type->elem->class_id];
        return path_of_each(xe, to, next + 1, w, out);
    }
    to = &api_classes[f->type->class_id];
    TRY(object_get(xe, to->name, xe_wire_text(&xe->arena, w), &inner));
    return path_value(xe, to, next + 1, inner, out);
}

/* --- Functions behind "!name" --- */

typedef struct error *field_fn(struct xe *xe, const struct xe_object *object,
                               struct field_value *out);

static void text_value(struct field_value *out, const char *text)
{
    *out = (struct field_value){.kind = FIELD_TEXT, .text = text};
}

/* What a data source says now, in 1024ths; missing if nobody knows. */
static struct error *data_source(struct xe *xe, const char *method, const char *ref,
                                 const char *name, double *value)
{
    const char *text = NULL;

    TRY(xe_call_text(xe, &text, method, "rs", ref, name));
    if (!double_from_text(text, value))
        return error_internal(&xe->arena, "%s is no number", text);
    return OK;
}

static struct error *rate(struct xe *xe, const char *method, const char *ref, const char *name,
                          struct field_value *out)
{
    double value = 0;

    TRY(data_source(xe, method, ref, name, &value));
    text_value(out, arena_printf(&xe->arena, "%.3f", value / 1024.0));
    return OK;
}

static struct error *device_rate(struct xe *xe, const struct xe_object *o, const char *fmt_kind,
                                 const char *end, struct field_value *out)
{
    return rate(
        xe, "VM.query_data_source", xe_member_text(o->record, "VM"),
        arena_printf(&xe->arena, "%s_%s_%s", fmt_kind, xe_member_text(o->record, "device"), end),
        out);
}

static struct error *vif_rx(struct xe *xe, const struct xe_object *o, struct field_value *out)
{
    return device_rate(xe, o, "vif", "rx", out);
}

static struct error *vif_tx(struct xe *xe, const struct xe_object *o, struct field_value *out)
{
    return device_rate(xe, o, "vif", "tx", out);
}

static struct error *vbd_read(struct xe *xe, const struct xe_object *o, struct field_value *out)
{
    return device_rate(xe, o, "vbd", "read", out);
}

static struct error *vbd_write(struct xe *xe, const struct xe_object *o, struct field_value *out)
{
    return device_rate(xe, o, "vbd", "write", out);
}

static struct error *pif_rate(struct xe *xe, const struct xe_object *o, const char *end,
                              struct field_value *out)
{
    return rate(xe, "host.query_data_source", xe_member_text(o->record, "host"),
                arena_printf(&xe->arena, "pif_%s_%s", xe_member_text(o->record, "device"), end),
                out);
}

static struct error *pif_rx(struct xe *xe, const struct xe_object *o, struct field_value *out)
{
    return pif_rate(xe, o, "rx", out);
}

static struct error *pif_tx(struct xe *xe, const struct xe_object *o, struct field_value *out)
{
    return pif_rate(xe, o, "tx", out);
}

static struct error *pif_metrics(struct xe *xe, const struct xe_object *o, const struct wire **m)
{
    return object_get(xe, "PIF_metrics", xe_member_text(o->record, "metrics"), m);
}

static struct error *pif_speed(struct xe *xe, const struct xe_object *o, struct field_value *out)
{
    const struct wire *m;

    TRY(pif_metrics(xe, o, &m));
    text_value(out, arena_printf(&xe->arena, "%s Mbit/s",
                                 xe_wire_text(&xe->arena, xe_member(m, "speed"))));
    out->missing = !m;
    return OK;
}

static struct error *pif_duplex(struct xe *xe, const struct xe_object *o, struct field_value *out)
{
    const struct wire *m;

    TRY(pif_metrics(xe, o, &m));
    text_value(out, xe_member_bool(m, "duplex")    ? "full"
                    : xe_member_bool(m, "carrier") ? "half"
                                                   : "unknown");
    out->missing = !m;
    return OK;
}

static struct error *vm_memory_target(struct xe *xe, const struct xe_object *o,
                                      struct field_value *out)
{
    double value = 0;
    struct error *e = data_source(xe, "VM.query_data_source", o->ref, "memory_target", &value);

    if (e && error_is(e, "VM_BAD_POWER_STATE"))
        e = OK;
    text_value(out, arena_printf(&xe->arena, "%.0f", value));
    return e;
}

static struct error *vm_boot_record(struct xe *xe, const struct xe_object *o,
                                    struct field_value *out)
{
    text_value(out,
               arena_printf(&xe->arena, "'%s'", xe_member_text(o->record, "last_booted_record")));
    return OK;
}

static struct error *vm_vcpus_utilisation(struct xe *xe, const struct xe_object *o,
                                          struct field_value *out)
{
    const struct wire *m;
    struct xe_pair *v;
    int64_t n = 0;

    TRY(object_get(xe, "VM_metrics", xe_member_text(o->record, "metrics"), &m));
    if (!int_from_text(xe_wire_text(&xe->arena, xe_member(m, "VCPUs_number")), &n) || n < 0 ||
        n > 4096)
        n = 0;
    v = arena_array(&xe->arena, struct xe_pair, (size_t)n + 1);
    for (int64_t i = 0; i < n; i++) {
        double value = 0;

        TRY(data_source(xe, "VM.query_data_source", o->ref,
                        arena_printf(&xe->arena, "cpu%d", (int)i), &value));
        v[i].key = arena_printf(&xe->arena, "%d", (int)i);
        v[i].value = arena_printf(&xe->arena, "%.3f", value);
    }
    *out = (struct field_value){.kind = FIELD_MAP, .map = {(size_t)n, v}};
    return OK;
}

static struct error *host_cpu_utilisation(struct xe *xe, const struct xe_object *o,
                                          struct field_value *out)
{
    double value = 0;

    TRY(data_source(
        xe, "host.query_data_source", xe_member_text(o->record, "host"),
        arena_printf(&xe->arena, "cpu%s", xe_wire_text(&xe->arena, xe_member(o->record, "number"))),
        &value));
    text_value(out, arena_printf(&xe->arena, "%.3f", value));
    return OK;
}

/* A VDI of another pool's database names its pool itself. */
static struct error *vdi_metadata_of_pool(struct xe *xe, const struct xe_object *o,
                                          struct field_value *out)
{
    const char *pool = xe_member_text(o->record, "metadata_of_pool"), *uuid = "";
    struct xe_object own;

    text_value(out, "");
    out->missing = ref_text_is_null(pool);
    if (out->missing)
        return OK;
    TRY(object_pool(xe, &own));
    if (!strcmp(own.ref, pool))
        uuid = xe_member_text(own.record, "uuid");
    else
        TRY(xe_call_text(xe, &uuid, "VDI.read_database_pool_uuid", "r", o->ref));
    out->text = uuid;
    out->missing = !*uuid;
    return OK;
}

static struct error *vbd_vdi_name(struct xe *xe, const struct xe_object *o, struct field_value *out)
{
    const struct wire *vdi;

    text_value(out, "<EMPTY>");
    if (xe_member_bool(o->record, "empty"))
        return OK;
    TRY(object_get(xe, "VDI", xe_member_text(o->record, "VDI"), &vdi));
    out->text = xe_member_text(vdi, "name_label");
    out->missing = !vdi;
    return OK;
}

static struct error *vbd_attachable(struct xe *xe, const struct xe_object *o,
                                    struct field_value *out)
{
    struct error *e = xe_call(xe, NULL, "VBD.assert_attachable", "r", o->ref);

    text_value(out, e ? arena_printf(&xe->arena, "false (error: %s)", error_line(&xe->arena, e))
                      : "true");
    return OK;
}

static struct error *sr_host(struct xe *xe, const struct xe_object *o, struct field_value *out)
{
    const struct wire *pbds = xe_member(o->record, "PBDs"), *pbd = NULL, *host = NULL;
    size_t n = pbds && pbds->kind == WIRE_ARRAY ? pbds->n : 0;

    text_value(out, "<shared>");
    if (n > 1)
        return OK;
    if (n == 1)
        TRY(object_get(xe, "PBD", xe_wire_text(&xe->arena, &pbds->v[0]), &pbd));
    TRY(object_get(xe, "host", xe_member_text(pbd, "host"), &host));
    out->text = xe_member_text(host, "name_label");
    out->missing = !host;
    return OK;
}

static struct error *vgpu_compatibility(struct xe *xe, const struct xe_object *o,
                                        struct field_value *out)
{
    struct xe_params map = xe_wire_map(&xe->arena, xe_member(o->record, "compatibility_metadata"));
    const char **v = arena_array(&xe->arena, const char *, map.n + 1);

    for (size_t i = 0; i < map.n; i++)
        v[i] = arena_printf(&xe->arena, "%s:(%zu bytes)", map.v[i].key, strlen(map.v[i].value));
    *out = (struct field_value){.kind = FIELD_SET, .set = {map.n, v}};
    return OK;
}

static struct error *vgpu_max_resolution(struct xe *xe, const struct xe_object *o,
                                         struct field_value *out)
{
    text_value(out,
               arena_printf(&xe->arena, "%sx%s",
                            xe_wire_text(&xe->arena, xe_member(o->record, "max_resolution_x")),
                            xe_wire_text(&xe->arena, xe_member(o->record, "max_resolution_y"))));
    return OK;
}

static struct error *variant_is(struct xe *xe, const struct xe_object *o, const char *field,
                                struct field_value *out)
{
    const struct wire *driver;

    TRY(object_get(xe, "Host_driver", xe_member_text(o->record, "driver"), &driver));
    text_value(out, !strcmp(xe_member_text(driver, field), o->ref) ? "true" : "false");
    return OK;
}

static struct error *variant_active(struct xe *xe, const struct xe_object *o,
                                    struct field_value *out)
{
    return variant_is(xe, o, "active_variant", out);
}

static struct error *variant_selected(struct xe *xe, const struct xe_object *o,
                                      struct field_value *out)
{
    return variant_is(xe, o, "selected_variant", out);
}

static const struct {
    const char *name;
    field_fn *fn;
} functions[] = {
    {"vif_rx", vif_rx},
    {"vif_tx", vif_tx},
    {"vbd_read", vbd_read},
    {"vbd_write", vbd_write},
    {"pif_rx", pif_rx},
    {"pif_tx", pif_tx},
    {"pif_speed", pif_speed},
    {"pif_duplex", pif_duplex},
    {"vm_memory_target", vm_memory_target},
    {"vm_boot_record", vm_boot_record},
    {"vm_vcpus_utilisation", vm_vcpus_utilisation},
    {"host_cpu_utilisation", host_cpu_utilisation},
    {"vdi_metadata_of_pool", vdi_metadata_of_pool},
    {"vbd_vdi_name", vbd_vdi_name},
    {"vbd_attachable", vbd_attachable},
    {"sr_host", sr_host},
    {"vgpu_compatibility", vgpu_compatibility},
    {"vgpu_max_resolution", vgpu_max_resolution},
    {"variant_active", variant_active},
    {"variant_selected", variant_selected},
};

static field_fn *function_of(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(functions); i++)
        if (!strcmp(functions[i].name, name))
            return functions[i].fn;
    return NULL;
}

bool field_function_exists(const char *name)
{
    return function_of(name) != NULL;
}

/* --- Parameters --- */

/* "=VM.get_possible_hosts" */
static struct error *message_value(struct xe *xe, const char *name, const struct xe_object *object,
                                   struct field_value *out)
{
    const struct message_desc *m = api_message_by_name(name);
    const struct wire *w = NULL;

    if (!m)
        return error_internal(&xe->arena, "there is no %s", name);
    TRY(xe_call(xe, &w, name, m->n_params ? "r" : "", object->ref));
    return wire_shown(xe, m->result, w, out);
}

/* "@host>https_only": the value that all hosts have, missing if they differ. */
static struct error *agreed_value(struct xe *xe, const char *path, struct field_value *out)
{
    const char *next = strchr(path, '>');
    const char *name = arena_strndup(&xe->arena, path, (size_t)(next - path));
    const struct class_desc *class = api_class_by_name(name);
    struct xe_object_list all;

    TRY(objects_all(xe, name, &all));
    *out = (struct field_value){.missing = true, .text = ""};
    for (size_t i = 0; i < all.n; i++) {
        struct field_value one;

        TRY(path_value(xe, class, next + 1, all.v[i].record, &one));
        if (i && strcmp(one.text, out->text) != 0) {
            out->missing = true;
            return OK;
        }
        *out = one;
    }
    return OK;
}

static struct error *raw_value(struct xe *xe, const struct xe_class *class,
                               const struct xe_param *param, const struct xe_object *object,
                               struct field_value *out)
{
    const char *path = param->path;

    switch (path[0]) {
    case '=':
        return message_value(xe, path + 1, object, out);
    case '@':
        return agreed_value(xe, path + 1, out);
    case '!':
        return function_of(path + 1)(xe, object, out);
    default:
        return path_value(xe, api_class_by_name(class->api), path, object->record, out);
    }
}

/* What takes a call of its own may fail for reasons of its own: then it is just not known. */
static bool may_be_unknown(const struct xe_param *param)
{
    return param->path[0] == '=' || (param->path[0] == '!' && param->missing);
}

struct error *field_value(struct xe *xe, const struct xe_class *class, const struct xe_param *param,
                          const struct xe_object *object, struct field_value *out)
{
    struct error *e = raw_value(xe, class, param, object, out);

    if (e && may_be_unknown(param) && !error_is(e, "CANNOT_CONTACT_HOST")) {
        *out = (struct field_value){.missing = true, .text = ""};
        e = OK;
    }
    if (!e && !strcmp(param->path, "vswitch_controller") && !*out->text)
        out->missing = true;
    return e;
}

static const char *joined_set(struct xe *xe, const struct strings *set, const char *sep)
{
    AUTO(buf) buf = {0};

    for (size_t i = 0; i < set->n; i++) {
        buf_puts(&buf, i ? sep : "");
        buf_puts(&buf, set->v[i]);
    }
    return arena_strndup(&xe->arena, buf.data ? buf.data : "", buf.len);
}

static const char *joined_map(struct xe *xe, const struct xe_params *map)
{
    AUTO(buf) buf = {0};

    for (size_t i = 0; i < map->n; i++)
        buf_printf(&buf, "%s%s: %s", i ? "; " : "", map->v[i].key, map->v[i].value);
    return arena_strndup(&xe->arena, buf.data ? buf.data : "", buf.len);
}

struct error *field_text(struct xe *xe, const struct xe_class *class, const struct xe_param *param,
                         const struct xe_object *object, const char **out)
{
    struct field_value value;

    TRY(field_value(xe, class, param, object, &value));
    if (value.missing)
        *out = param->missing          ? param->missing
               : param->path[0] == '=' ? "<unknown>"
                                       : XE_NOT_IN_DATABASE;
    else if (value.kind == FIELD_SET)
        *out = joined_set(xe, &value.set, param->flags & XE_COMMA ? ", " : "; ");
    else if (value.kind == FIELD_MAP)
        *out = joined_map(xe, &value.map);
    else
        *out = value.text;
    return OK;
}

static const char *access_text(unsigned flags)
{
    if (flags & XE_SET)
        return flags & XE_RW ? "(SRW)" : "(SRO)";
    if (flags & XE_MAP)
        return flags & XE_RW ? "(MRW)" : "(MRO)";
    return flags & XE_RW ? "( RW)" : "( RO)";
}

struct error *field_shown(struct xe *xe, const struct xe_class *class, const struct xe_param *param,
                          const struct xe_object *object, bool in_list, struct xe_pair *out)
{
    out->key = arena_printf(&xe->arena, "%s %s%s", param->name, access_text(param->flags),
                            param->flags & XE_DEPRECATED ? " [DEPRECATED]" : "");
    out->value = "<expensive field>";
    if (in_list && (param->flags & XE_EXPENSIVE))
        return OK;
    return field_text(xe, class, param, object, &out->value);
}

const struct field_desc *field_of_param(const struct xe_class *class, const struct xe_param *param)
{
    const char *name = param->path;

    if (strchr("=@!", name[0]) || strchr(name, '>'))
        name = param->stem ? param->stem : "";
    return api_field_by_name(api_class_by_name(class->api), name);
}

/* --- From text --- */

static struct error *enum_of_text(struct xe *xe, const struct type *type, const char *text,
                                  const char **out)
{
    const struct enum_desc *e = type->enum_desc;
    AUTO(buf) buf = {0};

    for (int i = 0; i < e->n; i++) {
        if (!strcasecmp(e->names[i], text) || !strcasecmp(enum_shown(e, e->names[i]), text)) {
            *out = e->names[i];
            return OK;
        }
    }
    for (int i = 0; i < e->n; i++)
        buf_printf(&buf, "%s'%s'", i == 0 ? "" : i + 1 < e->n ? ", " : " or ", e->names[i]);
    return xe_fail(xe, "Expected %s, got %s", buf.data ? buf.data : "nothing", text);
}

static struct error *ref_of_text(struct xe *xe, const struct type *type, const char *uuid,
                                 const char **ref)
{
    *ref = "OpaqueRef:NULL";
    if (!*uuid)
        return OK;
    return xe_call_text(xe, ref, arena_printf(&xe->arena, "%s.get_by_uuid", type->class_name), "s",
                        uuid);
}

static struct error *number_of_text(struct xe *xe, const char *name, const struct type *type,
                                    const char *text, bool bytes, struct buf *out)
{
    char number[DOUBLE_TEXT_SIZE];
    int64_t i;
    double d;

    if (type->kind == TYPE_FLOAT) {
        TRY(xe_float(xe, name, text, &d));
        double_to_text(d, 16, number);
        buf_printf(out, "<value><double>%s</double></value>", number);
        return OK;
    }
    if (bytes)
        TRY(xe_bytes(xe, name, text, &i));
    else
        TRY(xe_int(xe, name, text, &i));
    int_to_text(i, number);
    buf_printf(out, "<value>%s</value>", number);
    return OK;
}

static struct error *set_of_text(struct xe *xe, const char *name, const struct type *type,
                                 const char *text, struct buf *out)
{
    struct strings words = xe_split(xe, text, ',');

    codec_xmlrpc.array_begin(out);
    for (size_t i = 0; i < words.n; i++) {
        if (i)
            codec_xmlrpc.array_next(out);
        TRY(value_of_text(xe, name, type->elem, words.v[i], false, out));
    }
    codec_xmlrpc.array_end(out);
    return OK;
}

static struct error *date_of_text(struct xe *xe, const char *name, const char *text,
                                  struct buf *out)
{
    usec_t date;
    char shown[DATE_TEXT_SIZE];

    if (!date_from_text(text, &date))
        return xe_fail(xe, "Failed to parse parameter '%s': expecting a date (20250131T12:00:00Z)",
                       name);
    buf_printf(out, "<value><dateTime.iso8601>%s</dateTime.iso8601></value>",
               date_to_text(date, shown));
    return OK;
}

struct error *value_of_text(struct xe *xe, const char *name, const struct type *type,
                            const char *text, bool bytes, struct buf *out)
{
    const char *word = text;
    bool b;

    switch (type->kind) {
    case TYPE_INT:
    case TYPE_FLOAT:
        return number_of_text(xe, name, type, text, bytes, out);
    case TYPE_BOOL:
        TRY(xe_bool(xe, name, text, &b));
        buf_printf(out, "<value><boolean>%d</boolean></value>", b);
        return OK;
    case TYPE_DATETIME:
        return date_of_text(xe, name, text, out);
    case TYPE_SET:
        return set_of_text(xe, name, type, text, out);
    case TYPE_MAP:
        xe_value_map(out, &(struct xe_params){0});
        return OK;
    case TYPE_REF:
        TRY(ref_of_text(xe, type, text, &word));
        break;
    case TYPE_ENUM:
        TRY(enum_of_text(xe, type, text, &word));
        break;
    default:
        break;
    }
    codec_xmlrpc.string(out, word);
    return OK;
}
