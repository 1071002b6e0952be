/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vm.c -- commands on VMs, templates and appliances; vm_make.c and vm_move.c have those that make
 * VMs and that take them elsewhere.
 */
#include "xe-cli/commands/commands.h"

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
    bool paused, force, dry_run;
};

static struct error *start_one(struct xe *xe, const struct xe_object *vm, void *ctx)
{
    const struct start *s = ctx;
    struct error *e;

    if (s->dry_run)
        return vm_start_preview(xe, vm);
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
    struct xe_command row = *c;
    struct xe_object host;

    TRY(xe_flag(xe, "paused", false, &s.paused));
    TRY(xe_flag(xe, "force", false, &s.force));
    TRY(xe_flag(xe, "dry-run", false, &s.dry_run));
    if (on) {
        TRY(select_host(xe, on, &host));
        s.host = host.ref;
    }
    row.optional = arena_printf(&xe->arena, "%s dry-run", c->optional);
    return command_each(xe, &row, "VM", start_one, &s);
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

/* --- console --- */

static struct error *say_and_fail(struct xe *xe, const char *text)
{
    out_error(&xe->out, "%s\n", text);
    return error_new(&xe->arena, XE_EXIT, 1, "1");
}

static struct error *console(struct xe *xe, const struct xe_command *c)
{
    struct xe_object_list vms;
    struct strings consoles;

    TRY(select_objects(xe, "VM", SELECT_CONTROL, command_words(xe, c), &vms));
    if (vms.n != 1)
        return say_and_fail(xe, vms.n ? "Multiple VMs found: please narrow your request to one VM."
                                      : "No VM found");
    consoles = xe_wire_set(&xe->arena, xe_member(vms.v[0].record, "consoles"));
    for (size_t i = 0; i < consoles.n; i++) {
        const struct wire *record;
        const char *path;

        TRY(object_get(xe, "console", consoles.v[i], &record));
        path = strstr(xe_member_text(record, "location"), "/console");
        if (!path || strcmp(xe_member_text(record, "protocol"), "vt100") != 0)
            continue;
        out_always(&xe->out,
                   arena_printf(&xe->arena,
                                "Connecting to console on VM %s. Press Ctrl + ']' to quit.",
                                xe_member_text(vms.v[0].record, "name_label")));
        return xe->io->console(xe, path);
    }
    return say_and_fail(xe, "No text console available");
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
    ROW("vm-start", .optional = "force on paused",
        .flags = XE_STANDARD | XE_VM | XE_CONTROL, .run = vm_start,
        .help = "Start VMs, on a given host if on= names one. With --dry-run only tell where each "
                "would start, and why not on the other hosts."),
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
                "another pool. With --dry-run only tell which hosts could take them."),
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
    ROW("vm-recover", .required = "uuid", .optional = "database: force", .run = vm_recover,
        .help = "Recover a VM from the database in a VDI: database:vdi-uuid=."),
    ROW("vm-assert-can-be-recovered", .required = "uuid", .optional = "database:",
        .run = vm_recover,
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
    ROW("appliance-recover", .required = "uuid", .optional = "database: force", .run = vm_recover,
        .help = "Recover an appliance from the database in a VDI: database:vdi-uuid=."),
    ROW("appliance-assert-can-be-recovered", .required = "uuid", .optional = "database:",
        .run = vm_recover,
        .help = "Check whether the storage needed to recover an appliance is there: "
                "database:vdi-uuid=."),
    ROW("console", .flags = XE_VM, .run = console,
        .help = "Join the terminal to the text console of a VM. Ctrl-] ends it."),
};
/* clang-format on */

const struct xe_commands xe_vm_commands = {rows, ARRAY_SIZE(rows)};
