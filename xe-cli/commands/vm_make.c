/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vm_make.c -- VMs made: vm-create, vm-install; and vm-destroy. */
#include "libxapi/value/value.h"
#include "xe-cli/commands/commands.h"

#define MIB ((int64_t)1 << 20)

/* --- vm-create --- */

/* A parameter that a new VM can be given: a settable field of the record, whole or by key. */
static struct error *create_param(struct xe *xe, const struct xe_class *vm, const char *name,
                                  struct param_name *out)
{
    const struct field_desc *f;

    TRY(list_resolve(xe, vm, name, out));
    f = api_field_by_name(api_class_by_name("VM"), out->param->path);
    if (!f || !(f->flags & (FIELD_RW | FIELD_CONFIG)) || (out->key && f->type->kind != TYPE_MAP))
        return xe_fail(xe, "Field '%s' is read-only.", out->param->name);
    return OK;
}

/* Memory that was given, or else what fits below what was. */
static struct error *create_memory(struct xe *xe)
{
    static const char *const names[] = {"memory-static-max", "memory-dynamic-max",
                                        "memory-dynamic-min", "memory-static-min"};
    int64_t value[ARRAY_SIZE(names)] = {256 * MIB, 256 * MIB, 128 * MIB, 128 * MIB};

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        const char *text = args_get(&xe->params, names[i]);
        char number[INT_TEXT_SIZE];

        if (text) {
            TRY(xe_bytes(xe, names[i], text, &value[i]));
            continue;
        }
        if (i == 1)
            value[i] = value[0];
        else if (i > 1)
            value[i] = MIN(value[i], value[i - 1]);
        int_to_text(value[i], number);
        command_give(xe, names[i], arena_strdup(&xe->arena, number));
    }
    return OK;
}

static const char *const create_defaults =
    ".VCPUs_max='1' .VCPUs_at_startup='1' .actions_after_softreboot='soft_reboot' "
    ".actions_after_shutdown='destroy' .actions_after_reboot='restart' "
    ".actions_after_crash='destroy' .HVM_shadow_multiplier='1' .power_state='Halted' "
    ".domain_type='unspecified'";

/* The row's args: what was given, then what was not. */
static struct error *create_args(struct xe *xe, const char **args)
{
    const struct xe_class *vm = xe_class_by_name("vm");
    AUTO(buf) buf = {0};

    for (size_t i = 0; i < xe->params.n; i++) {
        const char *key = xe->params.v[i].key;
        struct param_name n;

        if (args_standard(key))
            continue;
        TRY(create_param(xe, vm, key, &n));
        buf_printf(&buf, ".%s=%s%s%s ", n.param->path, n.param->name, n.key ? ":" : "",
                   n.param->flags & XE_BYTES ? "%bytes" : "");
    }
    buf_puts(&buf, create_defaults);
    *args = arena_strdup(&xe->arena, buf.data);
    return OK;
}

struct error *vm_create(struct xe *xe, const struct xe_command *c)
{
    const char *args;
    struct xe_command row = *c;

    TRY(create_memory(xe));
    TRY(create_args(xe, &args));
    row.show = SHOW_UUID;
    return command_instead(xe, &row, "VM.create", args);
}

struct error *vm_destroy(struct xe *xe, const struct xe_command *c)
{
    struct xe_object vm;

    (void)c;
    TRY(command_object(xe, "VM", "uuid", &vm));
    if (xe_member_bool(vm.record, "is_control_domain"))
        return error_new(&xe->arena, "OPERATION_NOT_ALLOWED", 1,
                         "You cannot destroy a control domain via the CLI");
    return xe_call(xe, NULL, "VM.destroy", "r", vm.ref);
}

/* --- vm-install --- */

static struct error *template_by_name(struct xe *xe, const char *name, struct xe_object *out)
{
    const struct xe_class *vm = xe_class_by_name("vm");
    struct xe_object_list all;

    TRY(objects_all(xe, "VM", &all));
    TRY(list_filter(xe, vm, "name-label", name, &all));
    TRY(list_filter(xe, vm, "is-a-template", "true", &all));
    TRY(list_filter(xe, vm, "is-control-domain", "false", &all));
    if (all.n == 0)
        return xe_fail(xe, "No templates matched");
    if (all.n > 1)
        return xe_fail(xe, "More than one matching template found");
    *out = all.v[0];
    return OK;
}

static struct error *install_template(struct xe *xe, struct xe_object *out)
{
    const char *uuid = args_get(&xe->params, "template-uuid");
    const char *name = args_get(&xe->params, "template-name-label");
    const char *either = args_get(&xe->params, "template");
    struct error *e;

    if (!name)
        name = args_get(&xe->params, "template-name");
    if (uuid) {
        e = object_by_uuid(xe, "VM", uuid, out);
        return e && error_is(e, "UUID_INVALID") ? xe_fail(xe, "Cannot find template") : e;
    }
    if (name)
        return template_by_name(xe, name, out);
    if (!either)
        return xe_fail(xe, "Template must be specified by parameter 'template-uuid', "
                           "'template-name', 'template-name-label' or 'template'");
    e = object_by_uuid(xe, "VM", either, out);
    return e && error_is(e, "UUID_INVALID") ? template_by_name(xe, either, out) : e;
}

/* The SR that was asked for, by uuid, name or both; "" if none was. */
static struct error *install_sr(struct xe *xe, const struct xe_object *template, const char **sr)
{
    const char *name = args_get(&xe->params, "sr-name-label");
    const char *uuid = args_get(&xe->params, "sr-uuid");
    const struct wire *found = NULL;
    struct strings named;

    *sr = "";
    if ((name || uuid) && xe_member_bool(template->record, "is_a_snapshot"))
        return xe_fail(xe,
                       "Do not use the sr-name-label or sr-uuid argument when installing from a "
                       "snapshot. By default, it will install each new disk on the same SR as "
                       "the corresponding snapshot disks.");
    if (uuid)
        TRY(command_ref(xe, "SR", "sr-uuid", sr));
    if (!name)
        return OK;
    TRY(xe_call(xe, &found, "SR.get_by_name_label", "s", name));
    named = xe_wire_set(&xe->arena, found);
    if (named.n == 0)
        return xe_fail(xe, "No SR with that name-label found");
    if (uuid && !strings_contain(&named, *sr))
        return xe_fail(
            xe, "SR specified via sr-uuid doesn't have the name specified via sr-name-label");
    if (!uuid && named.n > 1)
        return xe_fail(xe, "Multiple SRs with that name-label found");
    *sr = uuid ? *sr : named.v[0];
    return OK;
}

/* other_config:disks with every <disk sr="..."> pointing to one SR. */
static const char *disks_on(struct xe *xe, const char *xml, const char *uuid)
{
    AUTO(buf) out = {0};
    bool in_disk = false;

    while (*xml) {
        if (!strncmp(xml, "<disk", 5))
            in_disk = true;
        else if (*xml == '>')
            in_disk = false;
        if (in_disk && !strncmp(xml, " sr=", 4) && (xml[4] == '"' || xml[4] == '\'')) {
            const char *end = strchr(xml + 5, xml[4]);

            if (end) {
                buf_printf(&out, " sr=\"%s\"", uuid);
                xml = end + 1;
                continue;
            }
        }
        buf_putc(&out, *xml++);
    }
    return arena_strdup(&xe->arena, out.data ? out.data : "");
}

static struct error *install_disks(struct xe *xe, const char *vm, const struct wire *record,
                                   const char *sr)
{
    struct xe_params config = xe_wire_map(&xe->arena, xe_member(record, "other_config"));
    const char *disks = args_get(&config, "disks"), *uuid;

    if (!disks)
        return OK;
    if (!*sr)
        TRY(command_default_sr(xe, &sr));
    if (!*sr)
        return xe_fail(xe, "Failed to find a valid default SR for the Pool. Please provide an "
                           "sr-name-label or sr-uuid parameter.");
    TRY(object_uuid(xe, "SR", sr, &uuid));
    TRY(xe_call(xe, NULL, "VM.remove_from_other_config", "rs", vm, "disks"));
    return xe_call(xe, NULL, "VM.add_to_other_config", "rss", vm, "disks",
                   disks_on(xe, disks, uuid));
}

/* A template for Windows may recommend the device through which Windows Update finds drivers. */
static struct error *install_vendor_device(struct xe *xe, const char *vm, const struct wire *record)
{
    const char *at = strstr(xe_member_text(record, "recommendations"), "\"has-vendor-device\"");
    bool wanted = false;
    struct xe_object pool;
    const char *end;

    if (at) {
        end = strchr(at, '>');
        at = strstr(at, "value=\"true\"");
        wanted = at && end && at < end;
    }
    TRY(object_pool(xe, &pool));
    wanted = wanted && !xe_member_bool(pool.record, "policy_no_vendor_device");
    if (wanted == xe_member_bool(record, "has_vendor_device"))
        return OK;
    return xe_call(xe, NULL, "VM.set_has_vendor_device", "rb", vm, wanted);
}

static struct error *install_steps(struct xe *xe, const struct xe_object *template, const char *vm,
                                   const char *sr)
{
    const struct wire *record = NULL;
    const char *host, *uuid;

    TRY(xe_call(xe, NULL, "VM.set_name_description", "rs", vm, "Installed via xe CLI"));
    TRY(xe_call(xe, &record, "VM.get_record", "r", vm));
    if (*sr && strcmp(xe_member_text(record, "suspend_SR"), sr) != 0)
        TRY(xe_call(xe, NULL, "VM.set_suspend_SR", "rr", vm, sr));
    TRY(install_disks(xe, vm, record, sr));
    TRY(install_vendor_device(xe, vm, record));
    TRY(xe_call_task(xe, NULL, "VM.provision", "r", vm));
    if (args_get(&xe->params, "copy-bios-strings-from")) {
        TRY(command_ref(xe, "host", "copy-bios-strings-from", &host));
        TRY(xe_call(xe, NULL, "VM.copy_bios_strings", "rr", vm, host));
    }
    (void)template;
    TRY(object_uuid(xe, "VM", vm, &uuid));
    out_text(&xe->out, uuid);
    return OK;
}

struct error *vm_install(struct xe *xe, const struct xe_command *c)
{
    const char *name = args_get(&xe->params, "new-name-label"), *sr, *vm = NULL;
    struct xe_object template;
    struct error *e;

    (void)c;
    TRY(install_template(xe, &template));
    if (!xe_member_bool(template.record, "is_a_template"))
        return xe_fail(xe, "Can only install from templates");
    TRY(install_sr(xe, &template, &sr));
    if (*sr)
        TRY(xe_call_task(xe, &vm, "VM.copy", "rsr", template.ref, name, sr));
    else
        TRY(xe_call_task(xe, &vm, "VM.clone", "rs", template.ref, name));
    e = install_steps(xe, &template, vm, sr);
    if (e)
        /* A VM that is only half there is of no use; what went wrong before is what counts. */
        error_ignore(xe_call(xe, NULL, "VM.destroy", "r", vm));
    return e;
}
