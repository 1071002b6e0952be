/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vm_move.c -- VMs that come and go: migration, recovery, import and export. */
#include "xe-cli/commands/commands.h"
#include "xe-cli/database.h"
#include "xe-cli/server.h"

/* --- migration --- */

struct migration {
    const char *host; /* NULL: of a dry run, all */
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

/* What each host says to taking the VM, but for the one where it runs. */
static struct error *preview_one(struct xe *xe, const struct xe_object *vm, void *ctx)
{
    const struct migration *m = ctx;
    struct xe_object_list hosts;
    struct xe_pair *v;
    size_t n = 0;

    TRY(objects_all(xe, "host", &hosts));
    v = arena_array(&xe->arena, struct xe_pair, hosts.n + 1);
    for (size_t i = 0; i < hosts.n; i++) {
        const struct xe_pair to = {"host", hosts.v[i].ref};
        const struct xe_params dest = {1, &to}, none = {0};
        struct error *e;

        if ((m->host && strcmp(m->host, hosts.v[i].ref) != 0) ||
            !strcmp(xe_member_text(vm->record, "resident_on"), hosts.v[i].ref))
            continue;
        e = xe_call(xe, NULL, "VM.assert_can_migrate", "rmbmmm", vm->ref, &dest, true, &none, &none,
                    &m->options);
        v[n++] = (struct xe_pair){
            xe_member_text(hosts.v[i].record, "name_label"),
            e ? arena_printf(&xe->arena, "Cannot take it [%s]", error_line(&xe->arena, e)) : "OK"};
    }
    out_text(&xe->out,
             arena_printf(&xe->arena, "VM %s could move to:", command_title(xe, "VM", vm->ref)));
    out_table(&xe->out, &(struct xe_params){n, v}, 1);
    return OK;
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
        .socket = xe->options->socket,
        .forwarded_for = xe->options->forwarded_for,
    };
    struct xe there = {.options = &options, .out = xe->out, .in = xe->in, .io = xe->io};
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

struct error *vm_migrate(struct xe *xe, const struct xe_command *c)
{
    static const char *const remote[] = {"remote-", "vif", "vdi", "vgpu"};
    struct migration m = {0};
    const char *name = args_get(&xe->params, "host");
    struct xe_object host;
    struct xe_command row = *c;
    bool dry_run;

    TRY(xe_flag(xe, "dry-run", false, &dry_run));
    if (!name)
        name = args_get(&xe->params, "host-uuid");
    if (!name)
        name = args_get(&xe->params, "host-name");
    row.optional = arena_printf(&xe->arena, "%s host-name vgpu: dry-run", c->optional);
    for (size_t i = 0; i < xe->params.n; i++)
        for (size_t k = 0; k < ARRAY_SIZE(remote); k++)
            if (!strncmp(xe->params.v[i].key, remote[k], strlen(remote[k])))
                return vm_migrate_remote(xe, &row, name);
    if (!name && !dry_run)
        return xe_fail(xe, "No destination host specified");
    if (name) {
        TRY(select_host(xe, name, &host));
        m.host = host.ref;
    }
    TRY(migrate_options(xe, &m.options));
    row.flags |= XE_CONTROL;
    if (dry_run)
        return command_each(xe, &row, "VM", preview_one, &m);
    return command_each(xe, &row, "VM", pool_migrate_one, &m);
}

/* --- recovery --- */

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

struct error *vm_recover(struct xe *xe, const struct xe_command *c)
{
    struct xe database;
    struct error *e = database_open(xe, &database);

    if (!e)
        e = recover_in(&database, c, xe->server->session(xe->server));
    return database_close(xe, &database, e);
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
    TRY(transfer_get(
        xe, arena_printf(&xe->arena, "Export of VM: %s", xe_member_text(vm->record, "uuid")), path,
        file));
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

struct error *vm_export(struct xe *xe, const struct xe_command *c)
{
    int number = 0;

    return command_each(xe, c, "VM", export_numbered, &number);
}

struct error *template_export(struct xe *xe, const struct xe_command *c)
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

struct error *vm_import(struct xe *xe, const struct xe_command *c)
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
