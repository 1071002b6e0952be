/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* disk.c -- commands on disks (VDIs), on what attaches them (VBDs), and on the disks of VMs. */
#include <strings.h>

#include "libxapi/base/seam.h"
#include "libxapi/value/value.h"
#include "xe-cli/commands/commands.h"

/* --- disks and CDs of VMs --- */

struct vbds {
    size_t n;
    struct xe_object *v;
};

/* The VBDs of a VM whose type is 'type'. */
static struct error *vbds_of(struct xe *xe, const struct xe_object *vm, const char *type,
                             struct vbds *out)
{
    struct strings refs = xe_wire_set(&xe->arena, xe_member(vm->record, "VBDs"));

    *out = (struct vbds){0, arena_array(&xe->arena, struct xe_object, refs.n + 1)};
    for (size_t i = 0; i < refs.n; i++) {
        const struct wire *record;

        TRY(object_get(xe, "VBD", refs.v[i], &record));
        if (record && !strcmp(xe_member_text(record, "type"), type))
            out->v[out->n++] = (struct xe_object){refs.v[i], record};
    }
    return OK;
}

static struct error *show_one(struct xe *xe, const char *class, const struct xe_object *object,
                              const char *chosen, const char *defaults)
{
    return list_show(xe, xe_class_by_name(class), &(struct xe_object_list){1, object}, chosen,
                     defaults, false);
}

struct error *vm_disks_show(struct xe *xe, const struct xe_object *vm, bool cds)
{
    const char *what = cds ? "CD" : "Disk";
    struct vbds vbds;

    TRY(vbds_of(xe, vm, what, &vbds));
    for (size_t i = 0; i < vbds.n; i++) {
        struct xe_object vdi = {.ref = xe_member_text(vbds.v[i].record, "VDI")};

        out_message(&xe->out, arena_printf(&xe->arena, "%s %zu VBD:", what, i));
        TRY(show_one(xe, "vbd", &vbds.v[i], args_get(&xe->params, "vbd-params"),
                     cds ? "uuid vm-name-label userdevice empty"
                         : "uuid vm-name-label userdevice"));
        if (xe_member_bool(vbds.v[i].record, "empty"))
            continue;
        TRY(object_get(xe, "VDI", vdi.ref, &vdi.record));
        out_message(&xe->out, arena_printf(&xe->arena, "%s %zu VDI:", what, i));
        TRY(show_one(xe, "vdi", &vdi, args_get(&xe->params, "vdi-params"),
                     "uuid name-label virtual-size sr-name-label"));
    }
    return OK;
}

static struct error *disks_one(struct xe *xe, const struct xe_object *vm, void *ctx)
{
    (void)ctx;
    return vm_disks_show(xe, vm, false);
}

static struct error *cds_one(struct xe *xe, const struct xe_object *vm, void *ctx)
{
    (void)ctx;
    return vm_disks_show(xe, vm, true);
}

static struct error *vm_disk_list(struct xe *xe, const struct xe_command *c)
{
    return command_each(xe, c, "VM", disks_one, NULL);
}

static struct error *vm_cd_list(struct xe *xe, const struct xe_command *c)
{
    return command_each(xe, c, "VM", cds_one, NULL);
}

/* A member of a record that is written by hand. */
static void member(struct buf *out, const char *name, const char *value)
{
    codec_xmlrpc.member_begin(out, name, false);
    codec_xmlrpc.string(out, value);
    codec_xmlrpc.member_end(out);
}

static void member_bool(struct buf *out, const char *name, bool value)
{
    codec_xmlrpc.member_begin(out, name, false);
    buf_printf(out, "<value><boolean>%d</boolean></value>", value);
    codec_xmlrpc.member_end(out);
}

static void member_map(struct buf *out, const char *name, const struct xe_params *map)
{
    codec_xmlrpc.member_begin(out, name, false);
    xe_value_map(out, map);
    codec_xmlrpc.member_end(out);
}

/* A VBD for a disk or CD, plugged in at once where the VM runs. */
static struct error *attach(struct xe *xe, const char *vm, const char *vdi, const char *device,
                            bool cd)
{
    const struct xe_params owner = {1, &(struct xe_pair){"owner", ""}}, nothing = {0};
    const struct wire *vbd = NULL;
    AUTO(buf) params = {0};

    buf_puts(&params, "<param>");
    codec_xmlrpc.struct_begin(&params);
    member(&params, "VM", vm);
    member(&params, "VDI", vdi);
    member(&params, "userdevice", device);
    member_bool(&params, "bootable", false);
    member(&params, "mode", cd ? "RO" : "RW");
    member(&params, "type", cd ? "CD" : "Disk");
    member_bool(&params, "unpluggable", true);
    member_bool(&params, "empty", false);
    member_map(&params, "other_config", cd ? &nothing : &owner);
    member(&params, "qos_algorithm_type", "");
    member_map(&params, "qos_algorithm_params", &nothing);
    codec_xmlrpc.struct_end(&params);
    buf_puts(&params, "</param>");
    TRY(xe_call_params(xe, "VBD.create", &params, false, &vbd));
    /* It is attached from the next start on at the latest. */
    error_ignore(xe_call(xe, NULL, "VBD.plug", "r", xe_wire_text(&xe->arena, vbd)));
    return OK;
}

struct new_disk {
    const char *sr, *device;
    int64_t size;
};

/* The VDI, made so that SRs that care know for which VM it is. */
static struct error *new_vdi(struct xe *xe, const struct new_disk *d, const char *vm_uuid,
                             const char **vdi)
{
    const struct xe_params hint = {1, &(struct xe_pair){"vmhint", vm_uuid}}, nothing = {0};
    const struct wire *made = NULL;
    char size[INT_TEXT_SIZE];
    AUTO(buf) params = {0};

    int_to_text(d->size, size);
    buf_puts(&params, "<param>");
    codec_xmlrpc.struct_begin(&params);
    member(&params, "name_label", "Created by xe");
    member(&params, "name_description", "Created by xe");
    member(&params, "SR", d->sr);
    member(&params, "virtual_size", size);
    member(&params, "type", "user");
    member_bool(&params, "sharable", false);
    member_bool(&params, "read_only", false);
    member_map(&params, "other_config", &nothing);
    member_map(&params, "xenstore_data", &nothing);
    member_map(&params, "sm_config", &hint);
    codec_xmlrpc.struct_end(&params);
    buf_puts(&params, "</param>");
    TRY(xe_call_params(xe, "VDI.create", &params, false, &made));
    *vdi = xe_wire_text(&xe->arena, made);
    return OK;
}

static struct error *disk_add_one(struct xe *xe, const struct xe_object *vm, void *ctx)
{
    const struct new_disk *d = ctx;
    const char *vdi;
    struct error *e;

    TRY(new_vdi(xe, d, xe_member_text(vm->record, "uuid"), &vdi));
    e = attach(xe, vm->ref, vdi, d->device, false);
    if (e)
        /* Nobody would find the disk; why it could not be attached is what counts. */
        error_ignore(xe_call(xe, NULL, "VDI.destroy", "r", vdi));
    return e;
}

static struct error *vm_disk_add(struct xe *xe, const struct xe_command *c)
{
    struct new_disk d = {.device = args_get(&xe->params, "device")};

    TRY(xe_bytes(xe, "disk-size", args_get(&xe->params, "disk-size"), &d.size));
    if (args_get(&xe->params, "sr-uuid"))
        TRY(command_ref(xe, "SR", "sr-uuid", &d.sr));
    else
        TRY(command_default_sr(xe, &d.sr));
    if (!*d.sr)
        return xe_fail(xe, "No default Pool SR set; you must specify an SR on the commandline");
    return command_each(xe, c, "VM", disk_add_one, &d);
}

static struct error *disk_remove_one(struct xe *xe, const struct xe_object *vm, void *ctx)
{
    struct strings refs = xe_wire_set(&xe->arena, xe_member(vm->record, "VBDs"));

    for (size_t i = 0; i < refs.n; i++) {
        const struct wire *vbd;

        TRY(object_get(xe, "VBD", refs.v[i], &vbd));
        if (strcmp(xe_member_text(vbd, "userdevice"), ctx) != 0)
            continue;
        TRY(xe_call(xe, NULL, "VBD.destroy", "r", refs.v[i]));
        return xe_call(xe, NULL, "VDI.destroy", "r", xe_member_text(vbd, "VDI"));
    }
    return xe_fail(xe, "Disk not found");
}

static struct error *vm_disk_remove(struct xe *xe, const struct xe_command *c)
{
    return command_each(xe, c, "VM", disk_remove_one, (void *)args_get(&xe->params, "device"));
}

/* CDs of that name: VDIs of SRs that hold CDs. */
static struct error *cds_named(struct xe *xe, const char *name, struct strings *out)
{
    struct xe_object_list vdis;
    const char **v;
    size_t n = 0;

    TRY(objects_all(xe, "VDI", &vdis));
    v = arena_array(&xe->arena, const char *, vdis.n + 1);
    for (size_t i = 0; i < vdis.n; i++) {
        const struct wire *sr;

        if (strcmp(xe_member_text(vdis.v[i].record, "name_label"), name) != 0)
            continue;
        TRY(object_get(xe, "SR", xe_member_text(vdis.v[i].record, "SR"), &sr));
        if (!strcmp(xe_member_text(sr, "content_type"), "iso"))
            v[n++] = vdis.v[i].ref;
    }
    *out = (struct strings){n, v};
    return OK;
}

static struct error *cd_add_one(struct xe *xe, const struct xe_object *vm, void *ctx)
{
    return attach(xe, vm->ref, ctx, args_get(&xe->params, "device"), true);
}

static struct error *vm_cd_add(struct xe *xe, const struct xe_command *c)
{
    const char *name = args_get(&xe->params, "cd-name");
    struct strings cds;

    TRY(cds_named(xe, name, &cds));
    if (cds.n == 0)
        return xe_fail(xe, "CD %s not found!", name);
    return command_each(xe, c, "VM", cd_add_one, (void *)cds.v[0]);
}

/* "<EMPTY>" stands for the name of the CD in an empty drive. */
static struct error *cd_remove_one(struct xe *xe, const struct xe_object *vm, void *ctx)
{
    struct vbds vbds;

    TRY(vbds_of(xe, vm, "CD", &vbds));
    for (size_t i = 0; i < vbds.n; i++) {
        const struct wire *vdi;

        TRY(object_get(xe, "VDI", xe_member_text(vbds.v[i].record, "VDI"), &vdi));
        if (!strcmp(vdi ? xe_member_text(vdi, "name_label") : "<EMPTY>", ctx))
            return xe_call(xe, NULL, "VBD.destroy", "r", vbds.v[i].ref);
    }
    return xe_fail(xe, "Disk not found");
}

static struct error *vm_cd_remove(struct xe *xe, const struct xe_command *c)
{
    return command_each(xe, c, "VM", cd_remove_one, (void *)args_get(&xe->params, "cd-name"));
}

static struct error *cd_eject_one(struct xe *xe, const struct xe_object *vm, void *ctx)
{
    struct vbds vbds;

    (void)ctx;
    TRY(vbds_of(xe, vm, "CD", &vbds));
    if (vbds.n == 0)
        return xe_fail(xe, "No CDs found");
    if (vbds.n > 1)
        return xe_fail(xe, "Two or more CDs found. Please use vbd-eject");
    return xe_call(xe, NULL, "VBD.eject", "r", vbds.v[0].ref);
}

static struct error *vm_cd_eject(struct xe *xe, const struct xe_command *c)
{
    return command_each(xe, c, "VM", cd_eject_one, NULL);
}

static struct error *cd_insert_one(struct xe *xe, const struct xe_object *vm, void *ctx)
{
    const char *empty = NULL;
    struct vbds vbds;

    TRY(vbds_of(xe, vm, "CD", &vbds));
    for (size_t i = 0; i < vbds.n; i++) {
        if (!xe_member_bool(vbds.v[i].record, "empty"))
            continue;
        if (empty)
            return xe_fail(xe, "Two or more empty CD devices found. Please use vbd-insert");
        empty = vbds.v[i].ref;
    }
    if (!empty)
        return error_new(&xe->arena, "VM_NO_EMPTY_CD_VBD", 1, vm->ref);
    return xe_call(xe, NULL, "VBD.insert", "rr", empty, (const char *)ctx);
}

static struct error *vm_cd_insert(struct xe *xe, const struct xe_command *c)
{
    const char *name = args_get(&xe->params, "cd-name");
    struct strings cds;

    TRY(cds_named(xe, name, &cds));
    if (cds.n == 0)
        return xe_fail(xe, "CD %s not found", name);
    if (cds.n > 1)
        return xe_fail(xe, "Multiple CDs named %s found. Please use vbd-insert and specify uuids",
                       name);
    return command_each(xe, c, "VM", cd_insert_one, (void *)cds.v[0]);
}

static struct error *cd_list(struct xe *xe, const struct xe_command *c)
{
    struct xe_object_list vdis;
    struct xe_object *v;
    size_t n = 0;

    (void)c;
    TRY(objects_all(xe, "VDI", &vdis));
    v = arena_array(&xe->arena, struct xe_object, vdis.n + 1);
    for (size_t i = 0; i < vdis.n; i++) {
        const struct wire *sr;

        TRY(object_get(xe, "SR", xe_member_text(vdis.v[i].record, "SR"), &sr));
        if (!strcmp(xe_member_text(sr, "content_type"), "iso"))
            v[n++] = vdis.v[i];
    }
    return list_show(xe, xe_class_by_name("vdi"), &(struct xe_object_list){n, v},
                     args_get(&xe->params, "params"), "name-label uuid", false);
}

/* --- VBDs --- */

static struct error *vbd_create(struct xe *xe, const struct xe_command *c)
{
    const char *type = args_get(&xe->params, "type");
    bool empty = !args_get(&xe->params, "vdi-uuid");
    struct xe_command row = *c;

    if (empty && (!type || !strcasecmp(type, "disk")))
        return xe_fail(xe, "Empty VBDs can only be made for type=CD");
    row.show = SHOW_UUID;
    return command_instead(
        xe, &row, "VBD.create",
        arena_printf(&xe->arena,
                     ".VM=vm-uuid .VDI=vdi-uuid .userdevice=device .bootable=bootable "
                     ".mode=mode?RW .type=type?Disk .unpluggable=unpluggable?true .empty='%s'",
                     empty ? "true" : "false"));
}

/* A guest that does not let go yet may do so within the time given. */
static struct error *vbd_unplug(struct xe *xe, const struct xe_command *c)
{
    const char *text = args_get(&xe->params, "timeout"), *vbd, *call;
    usec_t deadline = clock_mono();
    double timeout = 0;
    struct error *e;
    bool force;

    (void)c;
    if (text)
        TRY(xe_float(xe, "timeout", text, &timeout));
    TRY(xe_flag(xe, "force", false, &force));
    TRY(command_ref(xe, "VBD", "uuid", &vbd));
    deadline += (usec_t)(MIN(timeout, 1e6) * (double)USEC_PER_SEC);
    call = force ? "VBD.unplug_force" : "VBD.unplug";
    e = xe_call(xe, NULL, call, "r", vbd);
    while ((error_is(e, "DEVICE_DETACH_REJECTED") || error_is(e, "DEVICE_DETACH_TIMEOUT")) &&
           clock_mono() < deadline) {
        clock_sleep(MIN(5 * USEC_PER_SEC, deadline - clock_mono()));
        e = xe_call(xe, NULL, call, "r", vbd);
        if (error_is(e, "DEVICE_ALREADY_DETACHED"))
            return OK;
    }
    return e;
}

/* --- VDIs --- */

static struct error *vdi_resize(struct xe *xe, const struct xe_command *c)
{
    const char *online = args_get(&xe->params, "online");

    return command_instead(xe, c,
                           online && !strcmp(online, "true") ? "VDI.resize_online" : "VDI.resize",
                           "vdi=uuid size=disk-size%bytes");
}

static struct error *vdi_clone(struct xe *xe, const struct xe_command *c)
{
    struct xe_params driver = args_map(&xe->arena, &xe->params, "driver-params");
    const char *name = args_get(&xe->params, "new-name-label");
    const char *description = args_get(&xe->params, "new-name-description");
    const char *vdi, *made = NULL, *uuid;

    (void)c;
    TRY(command_ref(xe, "VDI", "uuid", &vdi));
    TRY(xe_call_task(xe, &made, "VDI.clone", "rm", vdi, &driver));
    if (name)
        TRY(xe_call(xe, NULL, "VDI.set_name_label", "rs", made, name));
    if (description)
        TRY(xe_call(xe, NULL, "VDI.set_name_description", "rs", made, description));
    TRY(object_uuid(xe, "VDI", made, &uuid));
    out_text(&xe->out, uuid);
    return OK;
}

static struct error *vdi_copy(struct xe *xe, const struct xe_command *c)
{
    struct xe_command row = *c;

    if (!args_get(&xe->params, "sr-uuid") == !args_get(&xe->params, "into-vdi-uuid"))
        return xe_fail(xe,
                       "Please specify one but not both of: a destination sr-uuid (a new VDI is "
                       "made there), or a destination into-vdi-uuid (the blocks are copied "
                       "into it)");
    row.show = SHOW_UUID;
    return command_instead(xe, &row, "VDI.copy",
                           "vdi=uuid sr=sr-uuid base_vdi=base-vdi-uuid into_vdi=into-vdi-uuid");
}

static struct error *vdi_path(struct xe *xe, const char *handler, const char **out)
{
    const char *format = args_get(&xe->params, "format"), *base = args_get(&xe->params, "base");
    const char *vdi;

    TRY(command_ref(xe, "VDI", "uuid", &vdi));
    *out = arena_printf(&xe->arena, "%s?vdi=%s%s%s%s%s", handler, vdi, format ? "&format=" : "",
                        format ? transfer_encode(xe, format) : "", base ? "&base=" : "",
                        base ? transfer_encode(xe, base) : "");
    return OK;
}

static struct error *vdi_import(struct xe *xe, const struct xe_command *c)
{
    const char *path;

    (void)c;
    TRY(vdi_path(xe, "/import_raw_vdi", &path));
    return transfer_put(xe, "VDI import", path, args_get(&xe->params, "filename"), NULL);
}

static struct error *vdi_export(struct xe *xe, const struct xe_command *c)
{
    const char *path;

    (void)c;
    TRY(vdi_path(xe, "/export_raw_vdi", &path));
    return transfer_get(xe, "VDI export", path, args_get(&xe->params, "filename"));
}

/* --- diagnostics --- */

static struct error *vbds_by_use(struct xe *xe, const struct strings *vbds, bool active)
{
    bool any = false;

    for (size_t i = 0; i < vbds->n; i++) {
        struct xe_object vbd = {.ref = vbds->v[i]};

        TRY(object_get(xe, "VBD", vbd.ref, &vbd.record));
        if (!vbd.record || xe_member_bool(vbd.record, "currently_attached") != active)
            continue;
        if (!any)
            out_text(&xe->out, active ? "active VBDs:" : "inactive VBDs:");
        any = true;
        TRY(show_one(xe, "vbd", &vbd, NULL, "uuid userdevice device empty mode type storage-lock"));
    }
    if (!any && active)
        out_text(&xe->out, "no active VBDs.");
    return OK;
}

static struct error *diagnostic_vdi_status(struct xe *xe, const struct xe_command *c)
{
    struct xe_object vdi;
    struct strings vbds;

    (void)c;
    TRY(command_object(xe, "VDI", "uuid", &vdi));
    TRY(show_one(xe, "vdi", &vdi, NULL,
                 "uuid name-label sr-uuid mode read-only sharable "
                 "storage-lock"));
    vbds = xe_wire_set(&xe->arena, xe_member(vdi.record, "VBDs"));
    TRY(vbds_by_use(xe, &vbds, true));
    return vbds_by_use(xe, &vbds, false);
}

/* Why a VM cannot start on a host, in a few words where the error is a well-known one. */
static const char *reason(struct xe *xe, const struct error *e)
{
    static const struct {
        const char *code, *text;
    } plain[] = {
        {"HOST_DISABLED", "Host disabled (use 'xe host-enable' to re-enable)"},
        {"HOST_NOT_LIVE", "Host down"},
        {"HOST_NOT_ENOUGH_FREE_MEMORY", "Not enough free memory"},
        {"VM_HVM_REQUIRED", "HVM not supported"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(plain); i++)
        if (error_is(e, plain[i].code))
            return plain[i].text;
    if (error_is(e, "VM_REQUIRES_SR") && e->n_params > 1)
        return arena_printf(&xe->arena, "VM requires access to SR: %s",
                            command_title(xe, "SR", e->params[1]));
    if (error_is(e, "VM_REQUIRES_NETWORK") && e->n_params > 1)
        return arena_printf(&xe->arena, "VM requires access to network: %s",
                            command_title(xe, "network", e->params[1]));
    return error_line(&xe->arena, e);
}

struct error *vm_host_report(struct xe *xe, const char *vm)
{
    struct xe_object_list hosts;
    struct xe_pair *v;

    TRY(objects_all(xe, "host", &hosts));
    v = arena_array(&xe->arena, struct xe_pair, hosts.n + 1);
    for (size_t i = 0; i < hosts.n; i++) {
        struct error *e = xe_call(xe, NULL, "VM.assert_can_boot_here", "rr", vm, hosts.v[i].ref);

        v[i].key = xe_member_text(hosts.v[i].record, "name_label");
        v[i].value = e ? arena_printf(&xe->arena, "Cannot start here [%s]", reason(xe, e)) : "OK";
    }
    out_table(&xe->out, &(struct xe_params){hosts.n, v}, 1);
    return OK;
}

/* The server names possible hosts with the best one first; memory is looked at for each. */
static struct error *best_host(struct xe *xe, const char *vm, const char **host)
{
    const struct wire *answer;
    struct strings hosts;

    *host = NULL;
    TRY(xe_call(xe, &answer, "VM.get_possible_hosts", "r", vm));
    hosts = xe_wire_set(&xe->arena, answer);
    for (size_t i = 0; i < hosts.n && !*host; i++)
        if (!xe_call(xe, NULL, "VM.assert_can_boot_here", "rr", vm, hosts.v[i]))
            *host = hosts.v[i];
    return OK;
}

struct error *vm_start_preview(struct xe *xe, const struct xe_object *vm)
{
    const char *title = command_title(xe, "VM", vm->ref), *host;

    TRY(best_host(xe, vm->ref, &host));
    out_text(&xe->out, host
                           ? arena_printf(&xe->arena, "VM %s would start on host %s.", title,
                                          command_title(xe, "host", host))
                           : arena_printf(&xe->arena,
                                          "VM %s would not start: no host can run it now.", title));
    return vm_host_report(xe, vm->ref);
}

static struct error *diagnostic_vm_status(struct xe *xe, const struct xe_command *c)
{
    struct xe_object vm;
    struct strings vbds;
    struct error *e;

    (void)c;
    TRY(command_object(xe, "VM", "uuid", &vm));
    TRY(show_one(xe, "vm", &vm, NULL, "uuid name-label power-state possible-hosts"));
    out_text(&xe->out, "Checking to see whether disks are attachable");
    vbds = xe_wire_set(&xe->arena, xe_member(vm.record, "VBDs"));
    for (size_t i = 0; i < vbds.n; i++) {
        struct xe_object vbd = {.ref = vbds.v[i]};

        TRY(object_get(xe, "VBD", vbd.ref, &vbd.record));
        TRY(show_one(xe, "vbd", &vbd, NULL,
                     "uuid userdevice device vdi-uuid empty mode type storage-lock attachable"));
    }
    out_text(&xe->out, "Checking to see whether VM can boot on each host");
    TRY(vm_host_report(xe, vm.ref));
    e = xe_call(xe, NULL, "VM.assert_agile", "r", vm.ref);
    out_text(&xe->out, e ? arena_printf(&xe->arena, "VM is not agile because: %s", reason(xe, e))
                         : "VM is agile.");
    return OK;
}

/* clang-format off */
static const struct xe_command rows[] = {
    ROW("vm-disk-list", .optional = "vbd-params vdi-params", .flags = XE_STANDARD | XE_VM,
        .run = vm_disk_list, .help = "List the disks of VMs."),
    ROW("vm-cd-list", .optional = "vbd-params vdi-params", .flags = XE_STANDARD | XE_VM,
        .run = vm_cd_list, .help = "List the CDs of VMs."),
    ROW("vm-disk-add", .required = "disk-size device", .optional = "sr-uuid",
        .flags = XE_STANDARD | XE_VM, .run = vm_disk_add,
        .help = "Make a new disk and attach it to VMs."),
    ROW("vm-disk-remove", .required = "device", .flags = XE_STANDARD | XE_VM,
        .run = vm_disk_remove, .help = "Detach a disk from VMs and delete it."),
    ROW("vm-cd-add", .required = "cd-name device", .flags = XE_STANDARD | XE_VM, .run = vm_cd_add,
        .help = "Add a CD drive with a CD in it to VMs."),
    ROW("vm-cd-remove", .required = "cd-name", .flags = XE_STANDARD | XE_VM, .run = vm_cd_remove,
        .help = "Remove a CD drive from VMs."),
    ROW("vm-cd-eject", .flags = XE_STANDARD | XE_VM, .run = vm_cd_eject,
        .help = "Take the CD out of the drive of VMs."),
    ROW("vm-cd-insert", .required = "cd-name", .flags = XE_STANDARD | XE_VM, .run = vm_cd_insert,
        .help = "Put a CD into the empty drive of VMs."),
    ROW("cd-list", .optional = "params", .flags = XE_STANDARD, .run = cd_list,
        .help = "List the CDs (ISO images) of all CD SRs."),
    ROW("vbd-create", .required = "vm-uuid device",
        .optional = "vdi-uuid bootable type mode unpluggable", .run = vbd_create,
        .help = "Attach a disk to a VM, or give it an empty CD drive."),
    ROW("vbd-destroy", .required = "uuid", .message = "VBD.destroy", .args = "self=uuid"),
    ROW("vbd-plug", .required = "uuid", .message = "VBD.plug", .args = "self=uuid"),
    ROW("vbd-unplug", .required = "uuid", .optional = "timeout force", .run = vbd_unplug,
        .help = "Detach a disk from a running VM; with timeout= wait that many seconds for "
                "the guest."),
    ROW("vbd-eject", .required = "uuid", .message = "VBD.eject", .args = "vbd=uuid"),
    ROW("vbd-insert", .required = "uuid vdi-uuid", .message = "VBD.insert",
        .args = "vbd=uuid vdi=vdi-uuid"),
    ROW("vbd-pause", .required = "uuid", .flags = XE_UNLISTED, .message = "VBD.pause",
        .args = "self=uuid", .show = SHOW_TEXT),
    ROW("vbd-unpause", .required = "uuid token", .flags = XE_UNLISTED, .message = "VBD.unpause",
        .args = "self=uuid token=token"),
    ROW("vdi-create", .required = "sr-uuid name-label virtual-size",
        .optional = "sm-config: sharable tags: type", .message = "VDI.create",
        .args = ".SR=sr-uuid .name_label=name-label .virtual_size=virtual-size%bytes "
                ".type=type?user .sharable=sharable .sm_config=sm-config: .tags=tags:",
        .show = SHOW_UUID),
    ROW("vdi-introduce", .required = "uuid sr-uuid type location",
        .optional = "name-description sharable read-only managed other-config: "
                    "xenstore-data: sm-config: name-label", .message = "VDI.introduce",
        .args = "uuid=uuid SR=sr-uuid name_label=name-label "
                "name_description=name-description type=type sharable=sharable "
                "read_only=read-only other_config=other-config: location=location "
                "xenstore_data=xenstore-data: sm_config=sm-config: managed=managed",
        .show = SHOW_UUID),
    ROW("vdi-destroy", .required = "uuid", .message = "VDI.destroy", .args = "self=uuid"),
    ROW("vdi-forget", .required = "uuid", .message = "VDI.forget", .args = "vdi=uuid"),
    ROW("vdi-update", .required = "uuid", .message = "VDI.update", .args = "vdi=uuid"),
    ROW("vdi-unlock", .required = "uuid", .optional = "force", .flags = XE_FORCED,
        .message = "VDI.force_unlock", .args = "vdi=uuid"),
    ROW("vdi-resize", .required = "uuid disk-size", .optional = "online", .run = vdi_resize,
        .help = "Change the size of a disk; with online=true while it is in use."),
    ROW("vdi-clone", .required = "uuid",
        .optional = "driver-params- new-name-label new-name-description", .run = vdi_clone,
        .help = "Clone a disk on its SR."),
    ROW("vdi-snapshot", .required = "uuid", .optional = "driver-params-", .flags = XE_TASK,
        .message = "VDI.snapshot", .args = "vdi=uuid driver_params=driver-params:",
        .show = SHOW_UUID),
    ROW("vdi-copy", .required = "uuid", .optional = "sr-uuid base-vdi-uuid into-vdi-uuid",
        .flags = XE_TASK, .run = vdi_copy, .help = "Copy a disk to an SR, or into another disk."),
    ROW("vdi-pool-migrate", .required = "uuid sr-uuid", .optional = "dest-img-format",
        .flags = XE_TASK, .message = "VDI.pool_migrate",
        .args = "vdi=uuid sr=sr-uuid options=options:", .show = SHOW_UUID),
    ROW("vdi-generate-config", .required = "host-uuid uuid", .flags = XE_UNLISTED,
        .message = "VDI.generate_config", .args = "host=host-uuid vdi=uuid", .show = SHOW_TEXT),
    ROW("vdi-enable-cbt", .required = "uuid", .message = "VDI.enable_cbt", .args = "self=uuid"),
    ROW("vdi-disable-cbt", .required = "uuid", .message = "VDI.disable_cbt", .args = "self=uuid"),
    ROW("vdi-data-destroy", .required = "uuid", .message = "VDI.data_destroy",
        .args = "self=uuid"),
    ROW("vdi-list-changed-blocks", .required = "vdi-from-uuid vdi-to-uuid",
        .message = "VDI.list_changed_blocks", .args = "vdi_from=vdi-from-uuid vdi_to=vdi-to-uuid",
        .show = SHOW_TEXT),
    ROW("vdi-import", .required = "uuid filename", .optional = "format progress",
        .run = vdi_import, .help = "Write a file's content to a disk."),
    ROW("vdi-export", .required = "uuid filename", .optional = "format base progress",
        .run = vdi_export, .help = "Write a disk's content to a file."),
    ROW("diagnostic-vdi-status", .required = "uuid", .run = diagnostic_vdi_status,
        .help = "Show what uses a disk."),
    ROW("diagnostic-vm-status", .required = "uuid", .flags = XE_STANDARD,
        .run = diagnostic_vm_status,
        .help = "Show which hosts a VM can start on, and why not on the others."),
};
/* clang-format on */

const struct xe_commands xe_disk_commands = {rows, ARRAY_SIZE(rows)};
