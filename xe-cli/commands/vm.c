/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vm.c -- commands on VMs, templates and appliances. */
#include "libxapi/value/value.h"
#include "xe-cli/commands/commands.h"
#include "xe-cli/server.h"

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

static struct error *vm_create(struct xe *xe, const struct xe_command *c)
{
    const char *args;
    struct xe_command row = *c;

    TRY(create_memory(xe));
    TRY(create_args(xe, &args));
    row.show = SHOW_UUID;
    return command_instead(xe, &row, "VM.create", args);
}

static struct error *vm_destroy(struct xe *xe, const struct xe_command *c)
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
        return xe_fail(xe, "Do not use the sr-name-label or sr-uuid argument when installing from a "
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
static struct error *install_vendor_device(struct xe *xe, const char *vm,
                                           const struct wire *record)
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

static struct error *vm_install(struct xe *xe, const struct xe_command *c)
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

/* --- uninstall --- */

struct doomed {
    const char *vm;
    const struct wire *record;
    struct strings vdis; /* the last one may be the suspend image */
};

static const char *vdi_line(struct xe *xe, const struct wire *vdi)
{
    const struct wire *vbds = xe_member(vdi, "VBDs");

    return arena_printf(&xe->arena, "VDI: %s (%s) %s", xe_member_text(vdi, "uuid"),
                        xe_member_text(vdi, "name_label"),
                        vbds && vbds->n > 1 ? " ** WARNING: disk is shared by other VMs" : "");
}

/* Disks that belong to the VM: those whose VBD says "owner", and what it was suspended to. */
static struct error *doomed_vdis(struct xe *xe, struct doomed *d, struct buf *lines)
{
    struct strings vbds = xe_wire_set(&xe->arena, xe_member(d->record, "VBDs"));
    const char **v = arena_array(&xe->arena, const char *, vbds.n + 1);
    const struct wire *vbd, *vdi;
    size_t n = 0;

    for (size_t i = 0; i < vbds.n; i++) {
        TRY(object_get(xe, "VBD", vbds.v[i], &vbd));
        if (!xe_member(xe_member(vbd, "other_config"), "owner"))
            continue;
        TRY(object_get(xe, "VDI", xe_member_text(vbd, "VDI"), &vdi));
        if (!vdi)
            continue;
        buf_printf(lines, "%s\n", vdi_line(xe, vdi));
        v[n++] = xe_member_text(vbd, "VDI");
    }
    TRY(object_get(xe, "VDI", xe_member_text(d->record, "suspend_VDI"), &vdi));
    if (vdi) {
        buf_printf(lines, "%s\n", vdi_line(xe, vdi));
        v[n++] = xe_member_text(d->record, "suspend_VDI");
    }
    d->vdis = (struct strings){n, v};
    return OK;
}

static struct error *destroy_doomed(struct xe *xe, const struct doomed *d)
{
    if (strcmp(xe_member_text(d->record, "power_state"), "Halted") != 0)
        TRY(xe_call_task(xe, NULL, "VM.hard_shutdown", "r", d->vm));
    TRY(xe_call(xe, NULL, "VM.destroy", "r", d->vm));
    for (size_t i = 0; i < d->vdis.n; i++) {
        struct error *e = xe_call_task(xe, NULL, "VDI.destroy", "r", d->vdis.v[i]);

        /* Stopping a suspended VM has deleted its image already. */
        if (e && !error_is(e, "HANDLE_INVALID"))
            return e;
    }
    return OK;
}

struct error *vm_uninstall_these(struct xe *xe, const struct strings *vms)
{
    struct doomed *all = arena_array(&xe->arena, struct doomed, vms->n + 1);
    AUTO(buf) lines = {0};
    bool force;

    TRY(xe_flag(xe, "force", false, &force));
    for (size_t i = 0; i < vms->n; i++) {
        all[i].vm = vms->v[i];
        TRY(object_get(xe, "VM", vms->v[i], &all[i].record));
        buf_printf(&lines, "VM : %s (%s)\n", xe_member_text(all[i].record, "uuid"),
                   xe_member_text(all[i].record, "name_label"));
        TRY(doomed_vdis(xe, &all[i], &lines));
    }
    out_always(&xe->out, "The following items are about to be destroyed");
    fputs(lines.data ? lines.data : "", xe->out.out);
    if (!force && !xe_says_yes(xe))
        return OK;
    for (size_t i = 0; i < vms->n; i++)
        TRY(destroy_doomed(xe, &all[i]));
    out_always(&xe->out, "All objects destroyed");
    return OK;
}

struct ref_collection {
    size_t n, size;
    const char **v;
};

static void collect(struct xe *xe, struct ref_collection *c, const char *ref)
{
    if (c->n == c->size) {
        const char **v = arena_array(&xe->arena, const char *, c->size ? 2 * c->size : 16);

        if (c->n)
            memcpy(v, c->v, c->n * sizeof *v);
        c->size = c->size ? 2 * c->size : 16;
        c->v = v;
    }
    c->v[c->n++] = ref;
}

static struct error *collect_vm(struct xe *xe, const struct xe_object *vm, void *ctx)
{
    collect(xe, ctx, vm->ref);
    return OK;
}

static struct error *vm_uninstall(struct xe *xe, const struct xe_command *c)
{
    struct ref_collection refs = {0};
    size_t n;

    TRY(command_each(xe, c, "VM", collect_vm, &refs));
    n = refs.n;
    for (size_t i = 0; i < n; i++) {
        const struct wire *record;
        struct strings snapshots;

        TRY(object_get(xe, "VM", refs.v[i], &record));
        snapshots = xe_wire_set(&xe->arena, xe_member(record, "snapshots"));
        for (size_t k = 0; k < snapshots.n; k++)
            collect(xe, &refs, snapshots.v[k]);
    }
    return vm_uninstall_these(xe, &(struct strings){refs.n, refs.v});
}

static struct error *template_uninstall(struct xe *xe, const struct xe_command *c)
{
    struct xe_object vm;

    (void)c;
    TRY(command_vm_of_kind(xe, args_get(&xe->params, "template-uuid"), "template", &vm));
    return vm_uninstall_these(xe, &(struct strings){1, &vm.ref});
}

/* --- life cycle --- */

struct start {
    const char *verb; /* "start", "resume" */
    const char *host; /* NULL for any */
    bool paused, force;
};

static struct error *start_one(struct xe *xe, const struct xe_object *vm, void *ctx)
{
    const struct start *s = ctx;
    struct error *e;

    if (s->host)
        return xe_call_task(xe, NULL, arena_printf(&xe->arena, "VM.%s_on", s->verb), "rrbb",
                            vm->ref, s->host, s->paused, s->force);
    e = xe_call_task(xe, NULL, arena_printf(&xe->arena, "VM.%s", s->verb), "rbb", vm->ref,
                     s->paused, s->force);
    if (e && error_is(e, "NO_HOSTS_AVAILABLE")) {
        static const char *const lines[] = {
            "There are no suitable hosts to start this VM on.",
            "The following table provides per-host reasons for why the VM could not be started:",
            ""};

        out_list(&xe->out, &(struct strings){ARRAY_SIZE(lines), lines});
        TRY(vm_host_report(xe, vm->ref));
    }
    return e;
}

static struct error *start_each(struct xe *xe, const struct xe_command *c, const char *verb)
{
    const char *on = args_get(&xe->params, "on");
    struct start s = {.verb = verb};
    struct xe_object host;

    TRY(xe_flag(xe, "paused", false, &s.paused));
    TRY(xe_flag(xe, "force", false, &s.force));
    if (on) {
        TRY(select_host(xe, on, &host));
        s.host = host.ref;
    }
    return command_each(xe, c, "VM", start_one, &s);
}

static struct error *vm_start(struct xe *xe, const struct xe_command *c)
{
    return start_each(xe, c, "start");
}

static struct error *vm_resume(struct xe *xe, const struct xe_command *c)
{
    return start_each(xe, c, "resume");
}

static struct error *task_on_vm(struct xe *xe, const struct xe_object *vm, void *ctx)
{
    return xe_call_task(xe, NULL, ctx, "r", vm->ref);
}

static struct error *clean_or_hard(struct xe *xe, const struct xe_command *c, const char *clean,
                                   const char *hard)
{
    bool force;

    TRY(xe_flag(xe, "force", false, &force));
    return command_each(xe, c, "VM", task_on_vm, (void *)(force ? hard : clean));
}

static struct error *vm_shutdown(struct xe *xe, const struct xe_command *c)
{
    return clean_or_hard(xe, c, "VM.clean_shutdown", "VM.hard_shutdown");
}

static struct error *vm_reboot(struct xe *xe, const struct xe_command *c)
{
    return clean_or_hard(xe, c, "VM.clean_reboot", "VM.hard_reboot");
}

static struct error *appliance_shutdown(struct xe *xe, const struct xe_command *c)
{
    bool force;

    TRY(xe_flag(xe, "force", false, &force));
    return command_instead(
        xe, c, force ? "VM_appliance.hard_shutdown" : "VM_appliance.clean_shutdown", "self=uuid");
}

/* --- clone, copy, snapshot --- */

struct copying {
    const char *command;
    const char *sr;
    struct strings ignored;
    struct ref_collection made;
};

static struct error *copy_one(struct xe *xe, const struct xe_object *vm, void *ctx)
{
    struct copying *c = ctx;
    const char *name = args_get(&xe->params, "new-name-label"), *made = NULL;

    if (!strcmp(c->command, "vm-copy"))
        TRY(xe_call_task(xe, &made, "VM.copy", "rsr", vm->ref, name, c->sr));
    else if (!strcmp(c->command, "vm-snapshot"))
        TRY(xe_call_task(xe, &made, "VM.snapshot", "rsS", vm->ref, name, &c->ignored));
    else
        TRY(xe_call_task(xe, &made,
                         !strcmp(c->command, "vm-clone")        ? "VM.clone"
                         : !strcmp(c->command, "vm-checkpoint") ? "VM.checkpoint"
                                                                : "VM.snapshot_with_quiesce",
                         "rs", vm->ref, name));
    collect(xe, &c->made, made);
    return OK;
}

static struct error *ignored_vdis(struct xe *xe, struct strings *out)
{
    const char *given = args_get(&xe->params, "ignore-vdi-uuids");
    struct strings uuids = xe_split(xe, given ? given : "", ',');
    const char **v = arena_array(&xe->arena, const char *, uuids.n + 1);

    for (size_t i = 0; i < uuids.n; i++)
        TRY(xe_call_text(xe, &v[i], "VDI.get_by_uuid", "s", uuids.v[i]));
    *out = (struct strings){uuids.n, v};
    return OK;
}

static struct error *vm_copies(struct xe *xe, const struct xe_command *c)
{
    const char *description = args_get(&xe->params, "new-name-description");
    struct copying copying = {.command = c->name, .sr = "OpaqueRef:NULL"};

    TRY(ignored_vdis(xe, &copying.ignored));
    if (!strcmp(c->name, "vm-copy") && args_get(&xe->params, "sr-uuid"))
        TRY(command_ref(xe, "SR", "sr-uuid", &copying.sr));
    TRY(command_each(xe, c, "VM", copy_one, &copying));
    if (description && copying.made.n)
        TRY(xe_call(xe, NULL, "VM.set_name_description", "rs", copying.made.v[0], description));
    for (size_t i = 0; i < copying.made.n; i++)
        TRY(object_uuid(xe, "VM", copying.made.v[i], &copying.made.v[i]));
    out_list(&xe->out, &(struct strings){copying.made.n, copying.made.v});
    return OK;
}

/* --- migration --- */

struct migration {
    const char *host;
    struct xe_params options;
    const struct buf *send; /* parameters of VM.migrate_send after the VM */
    const char *made;
};

static struct error *migrate_options(struct xe *xe, struct xe_params *out)
{
    static const char *const flags[] = {"force", "live", "copy"};
    struct xe_pair *v = arena_array(&xe->arena, struct xe_pair, ARRAY_SIZE(flags) + 1);
    const char *compress = args_get(&xe->params, "compress");
    size_t n = 0;

    if (compress)
        v[n++] = (struct xe_pair){"compress", compress};
    for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
        bool on;

        TRY(xe_flag(xe, flags[i], false, &on));
        v[n++] = (struct xe_pair){flags[i], on ? "true" : "false"};
    }
    *out = (struct xe_params){n, v};
    return OK;
}

static struct error *pool_migrate_one(struct xe *xe, const struct xe_object *vm, void *ctx)
{
    const struct migration *m = ctx;

    return xe_call_task(xe, NULL, "VM.pool_migrate", "rrm", vm->ref, m->host, &m->options);
}

static struct error *send_one(struct xe *xe, const struct xe_object *vm, void *ctx)
{
    struct migration *m = ctx;

    return xe_call_task(xe, &m->made, "VM.migrate_send", "rx", vm->ref, m->send);
}

/* "vdi:<uuid here>=<uuid there>" as a map of references. */
static struct error *pair_map(struct xe *here, struct xe *there, const char *prefix,
                              const char *from, const char *to, struct xe_params *out)
{
    struct xe_params given = args_map(&here->arena, &here->params, prefix);
    struct xe_pair *v = arena_array(&here->arena, struct xe_pair, given.n + 1);

    for (size_t i = 0; i < given.n; i++) {
        TRY(xe_call_text(here, &v[i].key, arena_printf(&here->arena, "%s.get_by_uuid", from), "s",
                         given.v[i].key));
        TRY(xe_call_text(there, &v[i].value, arena_printf(&here->arena, "%s.get_by_uuid", to), "s",
                         given.v[i].value));
    }
    *out = (struct xe_params){given.n, v};
    return OK;
}

/* The network named, or that of the host's management interface. */
static struct error *remote_network(struct xe *there, const char *name, const struct wire *host,
                                    const char **out)
{
    struct strings pifs = xe_wire_set(&there->arena, xe_member(host, "PIFs"));
    struct xe_object_list all;

    if (!name) {
        for (size_t i = 0; i < pifs.n; i++) {
            const struct wire *pif;

            TRY(object_get(there, "PIF", pifs.v[i], &pif));
            *out = xe_member_text(pif, "network");
            if (xe_member_bool(pif, "management"))
                return OK;
        }
        return xe_fail(there, "Could not find management PIF on host %s",
                       xe_member_text(host, "uuid"));
    }
    TRY(objects_all(there, "network", &all));
    for (size_t i = 0; i < all.n; i++) {
        const struct wire *r = all.v[i].record;

        *out = all.v[i].ref;
        if (!strcmp(xe_member_text(r, "bridge"), name) ||
            !strcmp(xe_member_text(r, "name_label"), name) ||
            !strcmp(xe_member_text(r, "uuid"), name))
            return OK;
    }
    return xe_fail(there, "Failed to find network: %s", name);
}

static struct error *remote_host(struct xe *there, const char *name, struct xe_object *out)
{
    struct xe_object_list all;

    if (name)
        return select_host(there, name, out);
    TRY(objects_all(there, "host", &all));
    if (!all.n)
        return xe_fail(there, "Failed to find host: %s", "any");
    *out = all.v[0];
    return OK;
}

static void add_map_param(struct buf *params, const struct xe_params *map)
{
    buf_puts(params, "<param>");
    xe_value_map(params, map);
    buf_puts(params, "</param>");
}

static struct error *migrate_to_pool(struct xe *xe, struct xe *there, const struct xe_command *c,
                                     const char *host_name)
{
    struct migration m = {0};
    struct xe_params vdis, vifs, vgpus, token;
    const struct wire *answer = NULL;
    struct xe_object host;
    const char *network = NULL, *uuid;
    AUTO(buf) send = {0};
    bool copy;

    TRY(migrate_options(xe, &m.options));
    TRY(remote_host(there, host_name, &host));
    TRY(remote_network(there, args_get(&xe->params, "remote-network"), host.record, &network));
    TRY(pair_map(xe, there, "vdi", "VDI", "SR", &vdis));
    TRY(pair_map(xe, there, "vif", "VIF", "network", &vifs));
    TRY(pair_map(xe, there, "vgpu", "VGPU", "GPU_group", &vgpus));
    TRY(xe_call(there, &answer, "host.migrate_receive", "rrm", host.ref, network, &m.options));
    token = xe_wire_map(&xe->arena, answer);
    add_map_param(&send, &token);
    buf_puts(&send, "<param><value><boolean>1</boolean></value></param>");
    add_map_param(&send, &vdis);
    add_map_param(&send, &vifs);
    add_map_param(&send, &m.options);
    add_map_param(&send, &vgpus);
    m.send = &send;
    TRY(command_each(xe, c, "VM", send_one, &m));
    TRY(xe_flag(xe, "copy", false, &copy));
    if (!copy)
        return OK;
    TRY(object_uuid(there, "VM", m.made, &uuid));
    out_text(&xe->out, uuid);
    return OK;
}

static struct error *vm_migrate_remote(struct xe *xe, const struct xe_command *c, const char *host)
{
    struct xe_options options = {
        .server = args_get(&xe->params, "remote-master"),
        .user = args_get(&xe->params, "remote-username"),
        .password = args_get(&xe->params, "remote-password"),
    };
    struct xe there = {.options = &options, .out = xe->out, .in = xe->in};
    struct error *e;

    if (!options.server || !options.user || !options.password)
        return xe_fail(xe, "Storage XenMotion requires remote-master, remote-username, and "
                           "remote-password to be specified. Please see 'xe help vm-migrate' for "
                           "help.");
    there.connect = xe->connect;
    there.connect_ctx = xe->connect_ctx;
    out_message(&xe->out, "Performing a Storage XenMotion migration. Your VM's VDIs will be "
                          "migrated with the VM.");
    e = migrate_to_pool(xe, &there, c, host);
    if (e)
        e = error_copy(&xe->arena, e);
    xe_server_close(there.server);
    arena_release(&there.arena);
    return e;
}

static struct error *vm_migrate(struct xe *xe, const struct xe_command *c)
{
    static const char *const remote[] = {"remote-", "vif", "vdi", "vgpu"};
    struct migration m = {0};
    const char *name = args_get(&xe->params, "host");
    struct xe_object host;
    struct xe_command row = *c;

    if (!name)
        name = args_get(&xe->params, "host-uuid");
    if (!name)
        name = args_get(&xe->params, "host-name");
    row.optional = arena_printf(&xe->arena, "%s host-name vgpu:", c->optional);
    for (size_t i = 0; i < xe->params.n; i++)
        for (size_t k = 0; k < ARRAY_SIZE(remote); k++)
            if (!strncmp(xe->params.v[i].key, remote[k], strlen(remote[k])))
                return vm_migrate_remote(xe, &row, name);
    if (!name)
        return xe_fail(xe, "No destination host specified");
    TRY(select_host(xe, name, &host));
    m.host = host.ref;
    TRY(migrate_options(xe, &m.options));
    row.flags |= XE_CONTROL;
    return command_each(xe, &row, "VM", pool_migrate_one, &m);
}

/* --- lists --- */

static struct error *vif_list_one(struct xe *xe, const struct xe_object *vm, void *ctx)
{
    struct strings refs = xe_wire_set(&xe->arena, xe_member(vm->record, "VIFs"));
    struct xe_object *v = arena_array(&xe->arena, struct xe_object, refs.n + 1);
    size_t n = 0;

    (void)ctx;
    for (size_t i = 0; i < refs.n; i++) {
        v[n].ref = refs.v[i];
        TRY(object_get(xe, "VIF", refs.v[i], &v[n].record));
        n += v[n].record != NULL;
    }
    return list_show(xe, xe_class_by_name("vif"), &(struct xe_object_list){n, v},
                     args_get(&xe->params, "params"),
                     "uuid device MAC network-uuid network-name-label vm-name-label", false);
}

static struct error *vm_vif_list(struct xe *xe, const struct xe_command *c)
{
    struct xe_command row = *c;

    row.optional = "params";
    command_give(xe, "multiple", "true");
    return command_each(xe, &row, "VM", vif_list_one, NULL);
}

static struct error *crashdump_list_one(struct xe *xe, const struct xe_object *vm, void *ctx)
{
    struct strings refs = xe_wire_set(&xe->arena, xe_member(vm->record, "crash_dumps"));
    struct xe_object *v = arena_array(&xe->arena, struct xe_object, refs.n + 1);

    (void)ctx;
    for (size_t i = 0; i < refs.n; i++) {
        v[i].ref = refs.v[i];
        TRY(object_get(xe, "crashdump", refs.v[i], &v[i].record));
    }
    return list_show(xe, xe_class_by_api("crashdump"), &(struct xe_object_list){refs.n, v}, "all",
                     "", false);
}

static struct error *vm_crashdump_list(struct xe *xe, const struct xe_command *c)
{
    return command_each(xe, c, "VM", crashdump_list_one, NULL);
}

static struct error *bios_one(struct xe *xe, const struct xe_object *vm, void *ctx)
{
    struct xe_params bios = xe_wire_map(&xe->arena, xe_member(vm->record, "bios_strings"));
    const char *vendor = args_get(&bios, "bios-vendor");

    (void)ctx;
    if (!bios.n)
        out_message(&xe->out, "The BIOS strings of this VM have not yet been set.");
    else if (vendor && !strcmp(vendor, "Xen"))
        out_message(&xe->out, "This VM is BIOS-generic.");
    else
        out_message(&xe->out, "This VM is BIOS-customized.");
    return OK;
}

static struct error *vm_is_bios_customized(struct xe *xe, const struct xe_command *c)
{
    return command_each(xe, c, "VM", bios_one, NULL);
}

static struct error *wlb_one(struct xe *xe, const struct xe_object *vm, void *ctx)
{
    const struct wire *answer = NULL;
    struct xe_pair *v;

    (void)ctx;
    TRY(xe_call(xe, &answer, "VM.retrieve_wlb_recommendations", "r", vm->ref));
    v = arena_array(&xe->arena, struct xe_pair, answer->n + 1);
    v[0] = (struct xe_pair){"Host(Uuid)", "Stars, RecID, ZeroScoreReason"};
    for (size_t i = 0; i < answer->n; i++) {
        struct strings words = xe_wire_set(&xe->arena, &answer->v[i]);
        AUTO(buf) text = {0};

        for (size_t k = 0; k < words.n; k++)
            buf_printf(&text, "%s%s", k ? " " : "", words.v[k]);
        v[i + 1].key = command_title(xe, "host", answer->v[i].name);
        v[i + 1].value = arena_strdup(&xe->arena, text.data ? text.data : "");
    }
    out_table(&xe->out, &(struct xe_params){answer->n + 1, v}, 1);
    return OK;
}

static struct error *wlb_recommendations(struct xe *xe, const struct xe_command *c)
{
    return command_each(xe, c, "VM", wlb_one, NULL);
}

/* --- recovery --- */

/* What is in a database on a VDI is reached through a session of its own. */
static struct error *recover_in(struct xe *database, const struct xe_command *c,
                                const char *session_to)
{
    const char *class = !strncmp(c->name, "vm-", 3) ? "VM" : "VM_appliance", *ref;
    bool force;

    TRY(xe_flag(database, "force", false, &force));
    TRY(command_ref(database, class, "uuid", &ref));
    if (strstr(c->name, "assert"))
        return xe_call(database, NULL,
                       arena_printf(&database->arena, "%s.assert_can_be_recovered", class), "rr",
                       ref, session_to);
    return xe_call(database, NULL, arena_printf(&database->arena, "%s.recover", class), "rrb", ref,
                   session_to, force);
}

static struct error *recover(struct xe *xe, const struct xe_command *c)
{
    struct xe_params given = args_map(&xe->arena, &xe->params, "database");
    const char *uuid = args_get(&given, "vdi-uuid"), *vdi, *session = NULL;
    struct xe database = {.options = xe->options, .params = xe->params, .out = xe->out};
    struct error *e;

    if (!uuid)
        return xe_fail(xe, "A parameter of the form 'database:vdi-uuid=<uuid>' must be specified "
                           "to run this command.");
    TRY(xe_call_text(xe, &vdi, "VDI.get_by_uuid", "s", uuid));
    TRY(xe_call_text(xe, &session, "VDI.open_database", "r", vdi));
    e = xe_server_open(xe, xe->options, session, &database.server);
    if (!e)
        e = recover_in(&database, c, xe->server->session(xe->server));
    if (!e)
        e = xe_call(&database, NULL, "session.logout", "");
    if (e)
        e = error_copy(&xe->arena, e);
    xe_server_close(database.server);
    arena_release(&database.arena);
    return e;
}

/* --- import and export --- */

static const char *flag_text(bool flag)
{
    return flag ? "true" : "false";
}

static const char *compression(const char *text)
{
    if (!text)
        return "";
    if (!strcmp(text, "true") || !strcmp(text, "gzip"))
        return "gzip";
    return !strcmp(text, "zstd") ? "zstd" : "";
}

struct error *vm_export_one(struct xe *xe, const struct xe_object *vm, const char *file)
{
    const char *excluded = args_get(&xe->params, "excluded-device-types"), *path;
    bool metadata, snapshots, power;

    TRY(xe_flag(xe, "metadata", false, &metadata));
    TRY(xe_flag(xe, "include-snapshots", metadata, &snapshots));
    TRY(xe_flag(xe, "preserve-power-state", false, &power));
    path = arena_printf(&xe->arena,
                        "%s?ref=%s&use_compression=%s&preserve_power_state=%s&export_snapshots=%s"
                        "%s%s",
                        metadata ? "/export_metadata" : "/export", vm->ref,
                        compression(args_get(&xe->params, "compress")), flag_text(power),
                        flag_text(snapshots), excluded ? "&excluded_device_types=" : "",
                        excluded ? transfer_encode(xe, excluded) : "");
    TRY(transfer_get(xe,
                     arena_printf(&xe->arena, "Export of VM: %s",
                                  xe_member_text(vm->record, "uuid")),
                     path, file));
    if (*file)
        out_always(&xe->out, "Export succeeded");
    return OK;
}

static struct error *export_numbered(struct xe *xe, const struct xe_object *vm, void *ctx)
{
    const char *file = args_get(&xe->params, "filename");
    int *number = ctx;

    ++*number;
    if (*number > 1)
        file = arena_printf(&xe->arena, "%s%d", file, *number);
    return vm_export_one(xe, vm, file);
}

static struct error *vm_export(struct xe *xe, const struct xe_command *c)
{
    int number = 0;

    return command_each(xe, c, "VM", export_numbered, &number);
}

static struct error *template_export(struct xe *xe, const struct xe_command *c)
{
    struct xe_object vm;

    (void)c;
    TRY(command_vm_of_kind(xe, args_get(&xe->params, "template-uuid"), "template", &vm));
    return vm_export_one(xe, &vm, args_get(&xe->params, "filename"));
}

static struct error *import_path(struct xe *xe, const char *sr, const char **out)
{
    struct xe_params vdis = args_map(&xe->arena, &xe->params, "vdi");
    bool metadata, preserve, force, dry_run;
    AUTO(buf) path = {0};

    TRY(xe_flag(xe, "metadata", false, &metadata));
    TRY(xe_flag(xe, "preserve", false, &preserve));
    TRY(xe_flag(xe, "force", false, &force));
    TRY(xe_flag(xe, "dry-run", false, &dry_run));
    if (dry_run && !metadata) {
        out_error(&xe->out, "Only metadata import function support dry-run\n");
        return error_new(&xe->arena, XE_EXIT, 1, "1");
    }
    buf_printf(&path, "%s?restore=%s&force=%s&dry_run=%s&sr_id=%s",
               metadata ? "/import_metadata" : "/import", flag_text(preserve), flag_text(force),
               flag_text(dry_run), sr);
    for (size_t i = 0; i < vdis.n; i++)
        buf_printf(&path, "&vdi:%s=%s", transfer_encode(xe, vdis.v[i].key),
                   transfer_encode(xe, vdis.v[i].value));
    *out = arena_strdup(&xe->arena, path.data);
    return OK;
}

static struct error *show_imported(struct xe *xe, const struct wire *refs)
{
    struct strings vms = xe_wire_set(&xe->arena, refs);
    AUTO(buf) line = {0};

    for (size_t i = 0; i < vms.n; i++) {
        const char *uuid;

        TRY(object_uuid(xe, "VM", vms.v[i], &uuid));
        buf_printf(&line, "%s%s", i ? "," : "", uuid);
    }
    out_always(&xe->out, line.data ? line.data : "");
    return OK;
}

static struct error *vm_import(struct xe *xe, const struct xe_command *c)
{
    const char *file = args_get(&xe->params, "filename"), *url = args_get(&xe->params, "url");
    const char *sr, *path = NULL, *result = NULL;
    const struct wire *vms = NULL;
    bool preserve, force;

    (void)c;
    if (url && file) {
        out_error(&xe->out, "Invalid arguments. The 'url' and 'filename' parameters should not "
                            "both be specified.\n");
        return error_new(&xe->arena, XE_EXIT, 1, "1");
    }
    if (!url && !file)
        return error_new(&xe->arena, XE_USAGE, 2, "Required parameter not found", "filename");
    if (args_get(&xe->params, "sr-uuid"))
        TRY(command_ref(xe, "SR", "sr-uuid", &sr));
    else
        TRY(command_default_sr(xe, &sr));
    if (!*sr)
        return xe_fail(xe, "No SR specified and Pool default SR is null");
    if (url) {
        TRY(xe_flag(xe, "preserve", false, &preserve));
        TRY(xe_flag(xe, "force", false, &force));
        TRY(xe_call(xe, &vms, "VM.import", "srbb", url, sr, preserve, force));
        return show_imported(xe, vms);
    }
    TRY(import_path(xe, sr, &path));
    TRY(transfer_put(xe, "VM import", path, file, &result));
    if (!xmlrpc_read_value(&xe->arena, result, strlen(result), &vms))
        vms = NULL;
    return show_imported(xe, vms);
}

/* clang-format off */
static const struct xe_command rows[] = {
    ROW("vm-install", .required = "new-name-label",
        .optional = "sr-name-label sr-uuid template copy-bios-strings-from", .flags = XE_STANDARD,
        .run = vm_install,
        .help = "Create a VM from a template: its disks are copied or cloned and made as the "
                "template says."),
    ROW("vm-create", .required = "name-label", .optional = "name-description",
        .flags = XE_UNLISTED, .run = vm_create,
        .help = "Create a bare VM. Any settable VM parameter can be given as well."),
    ROW("vm-destroy", .required = "uuid", .run = vm_destroy,
        .help = "Delete a VM's record. Its disks are left alone; vm-uninstall deletes them too."),
    ROW("vm-uninstall", .optional = "force", .flags = XE_STANDARD | XE_VM, .run = vm_uninstall,
        .help = "Delete VMs together with their disks and snapshots. Asks first, unless "
                "--force is given."),
    ROW("template-uninstall", .required = "template-uuid", .optional = "force",
        .flags = XE_STANDARD, .run = template_uninstall,
        .help = "Delete a template together with its disks. Asks first, unless --force is given."),
    ROW("vm-start", .optional = "force on paused", .flags = XE_STANDARD | XE_VM | XE_CONTROL,
        .run = vm_start, .help = "Start VMs, on a given host if on= names one."),
    ROW("vm-resume", .optional = "force on", .flags = XE_STANDARD | XE_VM, .run = vm_resume,
        .help = "Resume suspended VMs, on a given host if on= names one."),
    ROW("vm-shutdown", .optional = "force", .flags = XE_STANDARD | XE_VM, .run = vm_shutdown,
        .help = "Ask VMs to shut down, or stop them at once with --force."),
    ROW("vm-reboot", .optional = "force", .flags = XE_STANDARD | XE_VM, .run = vm_reboot,
        .help = "Ask VMs to reboot, or reset them at once with --force."),
    ROW("vm-suspend", .flags = XE_STANDARD | XE_VM | XE_TASK, .message = "VM.suspend",
        .args = "vm=@"),
    ROW("vm-pause", .flags = XE_STANDARD | XE_VM, .message = "VM.pause", .args = "vm=@"),
    ROW("vm-unpause", .flags = XE_STANDARD | XE_VM, .message = "VM.unpause", .args = "vm=@"),
    ROW("vm-reset-powerstate", .optional = "force", .flags = XE_STANDARD | XE_VM | XE_FORCED,
        .message = "VM.power_state_reset", .args = "vm=@"),
    ROW("vm-restart-device-models", .flags = XE_STANDARD | XE_VM,
        .message = "VM.restart_device_models", .args = "self=@"),
    ROW("vm-migrate",
        .optional = "live host host-uuid remote-master remote-username remote-password "
                    "remote-network force copy compress vif: vdi: image-format:",
        .flags = XE_STANDARD | XE_VM, .run = vm_migrate,
        .help = "Move running VMs to another host of the pool, or a VM with its disks to "
                "another pool."),
    ROW("vm-clone", .required = "new-name-label", .optional = "new-name-description",
        .flags = XE_STANDARD | XE_VM | XE_TEMPLATES, .run = vm_copies,
        .help = "Clone VMs, on their own SRs and as fast as these can."),
    ROW("vm-copy", .required = "new-name-label", .optional = "new-name-description sr-uuid",
        .flags = XE_STANDARD | XE_VM | XE_TEMPLATES | XE_SINGLE, .run = vm_copies,
        .help = "Copy a VM with full copies of its disks, to another SR if one is given."),
    ROW("vm-snapshot", .required = "new-name-label",
        .optional = "new-name-description ignore-vdi-uuids", .flags = XE_STANDARD | XE_VM,
        .run = vm_copies, .help = "Snapshot VMs with their disks."),
    ROW("vm-snapshot-with-quiesce", .required = "new-name-label",
        .optional = "new-name-description", .flags = XE_STANDARD | XE_VM, .run = vm_copies,
        .help = "Snapshot VMs with their file systems quiesced."),
    ROW("vm-checkpoint", .required = "new-name-label", .optional = "new-name-description",
        .flags = XE_STANDARD | XE_VM, .run = vm_copies,
        .help = "Snapshot VMs with their disks and memory."),
    ROW("vm-compute-maximum-memory", .required = "total", .optional = "approximate",
        .flags = XE_STANDARD | XE_VM, .message = "VM.maximise_memory",
        .args = "self=@ total=total%bytes approximate=approximate", .show = SHOW_TEXT),
    ROW("vm-compute-memory-overhead", .flags = XE_VM | XE_CONTROL,
        .message = "VM.compute_memory_overhead", .args = "vm=@", .show = SHOW_MESSAGE),
    ROW("vm-copy-bios-strings", .required = "host-uuid", .flags = XE_VM,
        .message = "VM.copy_bios_strings", .args = "vm=@ host=host-uuid"),
    ROW("vm-is-bios-customized", .flags = XE_VM, .run = vm_is_bios_customized,
        .help = "Tell whether a VM has BIOS strings of its own."),
    ROW("vm-vcpu-hotplug", .required = "new-vcpus", .flags = XE_VM,
        .message = "VM.set_VCPUs_number_live", .args = "self=@ nvcpu=new-vcpus"),
    ROW("vm-vif-list", .flags = XE_STANDARD | XE_VM, .run = vm_vif_list,
        .help = "List the network interfaces of VMs."),
    ROW("vm-crashdump-list", .flags = XE_VM, .run = vm_crashdump_list,
        .help = "List the crash dumps of VMs."),
    ROW("vm-query-services", .flags = XE_STANDARD | XE_UNLISTED | XE_VM,
        .message = "VM.query_services", .args = "self=@", .show = SHOW_TABLE),
    ROW("vm-memory-balloon", .required = "target", .flags = XE_UNLISTED | XE_VM | XE_CONTROL,
        .message = "VM.set_memory_dynamic_range",
        .args = "self=@ min=target%bytes max=target%bytes"),
    ROW("vm-memory-dynamic-range-set", .required = "min max",
        .flags = XE_VM | XE_CONTROL | XE_TEMPLATES, .message = "VM.set_memory_dynamic_range",
        .args = "self=@ min=min%bytes max=max%bytes"),
    ROW("vm-memory-static-range-set", .required = "min max",
        .flags = XE_VM | XE_CONTROL | XE_TEMPLATES, .message = "VM.set_memory_static_range",
        .args = "self=@ min=min%bytes max=max%bytes"),
    ROW("vm-memory-limits-set", .required = "static-min static-max dynamic-min dynamic-max",
        .flags = XE_VM | XE_CONTROL | XE_TEMPLATES, .message = "VM.set_memory_limits",
        .args = "self=@ static_min=static-min%bytes static_max=static-max%bytes "
                "dynamic_min=dynamic-min%bytes dynamic_max=dynamic-max%bytes"),
    ROW("vm-memory-set", .required = "memory", .flags = XE_VM | XE_CONTROL | XE_TEMPLATES,
        .message = "VM.set_memory", .args = "self=@ value=memory%bytes"),
    ROW("vm-memory-target-set", .required = "target", .flags = XE_VM | XE_CONTROL,
        .message = "VM.set_memory_dynamic_range",
        .args = "self=@ min=target%bytes max=target%bytes"),
    ROW("vm-memory-target-wait", .flags = XE_UNLISTED | XE_VM | XE_CONTROL,
        .message = "VM.wait_memory_target_live", .args = "self=@"),
    ROW("vm-memory-shadow-multiplier-set", .required = "multiplier", .flags = XE_VM,
        .message = "VM.set_shadow_multiplier_live", .args = "self=@ multiplier=multiplier"),
    ROW("vm-call-plugin", .required = "vm-uuid plugin fn", .optional = "args:",
        .message = "VM.call_plugin", .args = "vm=vm-uuid plugin=plugin fn=fn args=args:%files",
        .show = SHOW_TEXT),
    ROW("vm-call-host-plugin", .required = "vm-uuid plugin fn", .optional = "args:",
        .message = "VM.call_host_plugin",
        .args = "vm=vm-uuid plugin=plugin fn=fn args=args:%files", .show = SHOW_TEXT),
    ROW("vm-data-source-list", .flags = XE_VM | XE_CONTROL | XE_SINGLE,
        .message = "VM.get_data_sources", .args = "self=@", .show = SHOW_SOURCES),
    ROW("vm-data-source-record", .required = "data-source",
        .flags = XE_VM | XE_CONTROL | XE_SINGLE, .message = "VM.record_data_source",
        .args = "self=@ data_source=data-source"),
    ROW("vm-data-source-query", .required = "data-source",
        .flags = XE_VM | XE_CONTROL | XE_SINGLE, .message = "VM.query_data_source",
        .args = "self=@ data_source=data-source", .show = SHOW_TEXT),
    ROW("vm-data-source-forget", .required = "data-source",
        .flags = XE_VM | XE_CONTROL | XE_SINGLE, .message = "VM.forget_data_source_archives",
        .args = "self=@ data_source=data-source"),
    ROW("vm-retrieve-wlb-recommendations", .flags = XE_VM | XE_SINGLE, .run = wlb_recommendations,
        .help = "Show which hosts workload balancing recommends for a VM."),
    ROW("vm-recover", .required = "uuid", .optional = "database: force", .run = recover,
        .help = "Recover a VM from the database in a VDI: database:vdi-uuid=."),
    ROW("vm-assert-can-be-recovered", .required = "uuid", .optional = "database:", .run = recover,
        .help = "Check whether the storage needed to recover a VM is there: database:vdi-uuid=."),
    ROW("vm-set-uefi-mode", .required = "uuid mode", .message = "VM.set_uefi_mode",
        .args = "self=uuid mode=mode", .show = SHOW_TEXT),
    ROW("vm-get-secureboot-readiness", .required = "uuid",
        .message = "VM.get_secureboot_readiness", .args = "self=uuid", .show = SHOW_TEXT),
    ROW("vm-update-secureboot-certificates-on-boot", .required = "mark", .flags = XE_VM,
        .message = "VM.update_secureboot_certificates_on_boot", .args = "self=@ mark=mark"),
    ROW("vm-sysprep", .required = "filename", .optional = "timeout", .flags = XE_VM | XE_SINGLE,
        .message = "VM.sysprep", .args = "self=@ unattend=filename%file timeout=timeout?0"),
    ROW("vm-import",
        .optional = "filename preserve sr-uuid force host-username host-password type "
                    "remote-config dry-run metadata url vdi:", .flags = XE_STANDARD,
        .run = vm_import, .help = "Import VMs from a file, or from another place with url=."),
    ROW("vm-export", .required = "filename",
        .optional = "preserve-power-state compress metadata excluded-device-types "
                    "include-snapshots", .flags = XE_STANDARD | XE_VM, .run = vm_export,
        .help = "Export VMs to files."),
    ROW("template-export", .required = "filename template-uuid",
        .optional = "compress metadata excluded-device-types", .flags = XE_STANDARD,
        .run = template_export, .help = "Export a template to a file."),
    ROW("vm-group-create", .required = "name-label placement", .optional = "name-description",
        .message = "VM_group.create",
        .args = ".name_label=name-label .name_description=name-description .placement=placement",
        .show = SHOW_UUID),
    ROW("vm-group-destroy", .required = "uuid", .message = "VM_group.destroy",
        .args = "self=uuid"),
    ROW("vmss-create", .required = "name-label type frequency",
        .optional = "name-description enabled schedule: retained-snapshots",
        .message = "VMSS.create",
        .args = ".name_label=name-label .name_description=name-description "
                ".enabled=enabled?true .type=type .retained_snapshots=retained-snapshots?7 "
                ".frequency=frequency .schedule=schedule:", .show = SHOW_UUID),
    ROW("vmss-destroy", .required = "uuid", .message = "VMSS.destroy", .args = "self=uuid"),
    ROW("appliance-create", .required = "name-label", .optional = "name-description",
        .message = "VM_appliance.create",
        .args = ".name_label=name-label .name_description=name-description", .show = SHOW_UUID),
    ROW("appliance-destroy", .required = "uuid", .message = "VM_appliance.destroy",
        .args = "self=uuid"),
    ROW("appliance-start", .required = "uuid", .optional = "paused", .flags = XE_TASK,
        .message = "VM_appliance.start", .args = "self=uuid paused=paused"),
    ROW("appliance-shutdown", .required = "uuid", .optional = "force", .run = appliance_shutdown,
        .help = "Shut down all VMs of an appliance, at once with --force."),
    ROW("appliance-recover", .required = "uuid", .optional = "database: force", .run = recover,
        .help = "Recover an appliance from the database in a VDI: database:vdi-uuid=."),
    ROW("appliance-assert-can-be-recovered", .required = "uuid", .optional = "database:",
        .run = recover,
        .help = "Check whether the storage needed to recover an appliance is there: "
                "database:vdi-uuid=."),
};
/* clang-format on */

const struct xe_commands xe_vm_commands = {rows, ARRAY_SIZE(rows)};
