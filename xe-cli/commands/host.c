/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* host.c -- commands on hosts, their drivers, patches and updates. */
#include <openssl/evp.h>
#include <stdlib.h>
#include <time.h>

#include "libxapi/base/seam.h"
#include "libxapi/value/value.h"
#include "xe-cli/commands/commands.h"

/* Graphical clients keep a host disabled while they see their own mark. */
static struct error *enable_one(struct xe *xe, const struct xe_object *host, void *ctx)
{
    struct xe_params config = xe_wire_map(&xe->arena, xe_member(host->record, "other_config"));

    (void)ctx;
    if (args_get(&config, "MAINTENANCE_MODE"))
        TRY(xe_call(xe, NULL, "host.remove_from_other_config", "rs", host->ref,
                    "MAINTENANCE_MODE"));
    return xe_call(xe, NULL, "host.enable", "r", host->ref);
}

static struct error *host_enable(struct xe *xe, const struct xe_command *c)
{
    return command_each(xe, c, "host", enable_one, NULL);
}

/* What can do harm is asked about first. */
static struct error *host_careful(struct xe *xe, const struct xe_command *c)
{
    static const char *const forget[] = {
        "WARNING: A host should only be forgotten if it is physically unrecoverable;",
        "WARNING: if possible, Hosts should be 'ejected' from the Pool instead.",
        "WARNING: Once a host has been forgotten it will have to be re-installed.",
        "WARNING: This operation is irreversible."};
    static const char *const dead[] = {
        "WARNING: A host should only be declared dead if it is verified offline.",
        "WARNING: Performing this operation if the host is still online and has any",
        "WARNING: running VMs may lead to possible data loss and/or corruption."};
    bool forgets = !strcmp(c->name, "host-forget"), force;
    const char *const *lines = forgets ? forget : dead;
    size_t n = forgets ? ARRAY_SIZE(forget) : ARRAY_SIZE(dead);
    const char *host;

    TRY(xe_flag(xe, "force", false, &force));
    TRY(command_ref(xe, "host", "uuid", &host));
    for (size_t i = 0; !force && i < n; i++)
        out_always(&xe->out, lines[i]);
    if (!force && !xe_says_yes(xe))
        return OK;
    return xe_call(xe, NULL, forgets ? "host.destroy" : "host.declare_dead", "r", host);
}

static const char *joined(struct xe *xe, const struct wire *set, const char *sep)
{
    struct strings words = xe_wire_set(&xe->arena, set);
    AUTO(buf) text = {0};

    for (size_t i = 0; i < words.n; i++)
        buf_printf(&text, "%s%s", i ? sep : "", words.v[i]);
    return arena_strdup(&xe->arena, text.data ? text.data : "");
}

static struct error *host_evacuation_blockers(struct xe *xe, const struct xe_command *c)
{
    const struct xe_class *class = xe_class_by_name("vm");
    const struct wire *answer = NULL;
    const char *host;

    (void)c;
    TRY(command_ref(xe, "host", "uuid", &host));
    TRY(xe_call(xe, &answer, "host.get_vms_which_prevent_evacuation", "r", host));
    for (size_t i = 0; answer->kind == WIRE_STRUCT && i < answer->n; i++) {
        struct xe_object vm = {.ref = answer->v[i].name};
        struct xe_pair v[3];

        TRY(object_get(xe, "VM", vm.ref, &vm.record));
        TRY(field_shown(xe, class, xe_param_by_name(class, "uuid"), &vm, false, &v[0]));
        TRY(field_shown(xe, class, xe_param_by_name(class, "name-label"), &vm, false, &v[1]));
        v[2] = (struct xe_pair){"reason ( RO)", joined(xe, &answer->v[i], ",")};
        out_table(&xe->out, &(struct xe_params){3, v}, 1);
    }
    return OK;
}

static struct error *wlb_recommendations(struct xe *xe, const struct xe_command *c)
{
    const struct wire *answer = NULL;
    const char *host;
    struct xe_pair *v;

    (void)c;
    TRY(command_ref(xe, "host", "uuid", &host));
    TRY(xe_call(xe, &answer, "host.retrieve_wlb_evacuate_recommendations", "r", host));
    v = arena_array(&xe->arena, struct xe_pair, answer->n + 1);
    v[0] = (struct xe_pair){"VM", "[Host, RecID] / Error"};
    for (size_t i = 0; i < answer->n; i++)
        v[i + 1] = (struct xe_pair){command_title(xe, "VM", answer->v[i].name),
                                    joined(xe, &answer->v[i], " ")};
    out_table(&xe->out, &(struct xe_params){answer->n + 1, v}, 1);
    return OK;
}

/* Exit codes are part of this command: 2 for "no", 3 for no answer. */
static struct error *host_healthcheck(struct xe *xe, const struct xe_command *c)
{
    const char *well = "";
    struct error *e = xe_call_text(xe, &well, "host.ha_xapi_healthcheck", "");

    (void)c;
    if (e) {
        out_error(&xe->out, "Host.ha_xapi_healthcheck threw exception: %s\n",
                  error_line(&xe->arena, e));
        return error_new(&xe->arena, XE_EXIT, 1, "3");
    }
    if (strcmp(well, "true") != 0) {
        out_error(&xe->out, "Host.ha_xapi_healthcheck reports false\n");
        return error_new(&xe->arena, XE_EXIT, 1, "2");
    }
    out_always(&xe->out, "xapi is healthy.");
    return OK;
}

/* --- editions and licences --- */

/* The host of host-uuid= (or uuid=), or else the one connected to. */
static struct error *this_or(struct xe *xe, const char *param, struct xe_object *out)
{
    if (args_get(&xe->params, param))
        return command_object(xe, "host", param, out);
    TRY(object_this_host(xe, &out->ref));
    return object_get(xe, "host", out->ref, &out->record);
}

static struct error *host_all_editions(struct xe *xe, const struct xe_command *c)
{
    struct xe_object host;
    struct strings editions;

    (void)c;
    TRY(this_or(xe, "uuid", &host));
    editions = xe_wire_set(&xe->arena, xe_member(host.record, "editions"));
    out_list(&xe->out, &editions);
    return OK;
}

static struct error *host_license_view(struct xe *xe, const struct xe_command *c)
{
    struct xe_object host;
    struct xe_params params;
    struct xe_pair *v;
    size_t n = 0;

    (void)c;
    TRY(this_or(xe, "host-uuid", &host));
    params = xe_wire_map(&xe->arena, xe_member(host.record, "license_params"));
    v = arena_array(&xe->arena, struct xe_pair, params.n + 1);
    for (size_t i = 0; i < params.n; i++)
        if (strcmp(params.v[i].key, "sku_type") != 0)
            v[n++] = params.v[i];
    out_table(&xe->out, &(struct xe_params){n, v}, 1);
    return OK;
}

static struct error *host_license_add(struct xe *xe, const struct xe_command *c)
{
    const char *text, *file = args_get(&xe->params, "license-file");
    struct xe_object host;
    unsigned char *base64;
    size_t len;

    (void)c;
    TRY(this_or(xe, "host-uuid", &host));
    TRY(xe->io->load(xe, "license file", file, &text));
    len = strlen(text);
    base64 = arena_alloc(&xe->arena, 4 * (len / 3 + 1) + 1);
    EVP_EncodeBlock(base64, (const unsigned char *)text, (int)len);
    TRY(xe_call(xe, NULL, "host.license_add", "rs", host.ref, (const char *)base64));
    out_always(&xe->out, "License applied.");
    return OK;
}

static struct error *host_cpu_info(struct xe *xe, const struct xe_command *c)
{
    struct xe_object host;
    struct xe_params info;

    (void)c;
    TRY(this_or(xe, "uuid", &host));
    info = xe_wire_map(&xe->arena, xe_member(host.record, "cpu_info"));
    out_table(&xe->out, &info, 1);
    return OK;
}

static struct error *host_cpu_features(struct xe *xe, const struct xe_command *c)
{
    struct xe_object host;
    struct xe_params info;
    const char *features;

    (void)c;
    TRY(this_or(xe, "uuid", &host));
    info = xe_wire_map(&xe->arena, xe_member(host.record, "cpu_info"));
    features = args_get(&info, "features");
    if (!features)
        features = args_get(&info, "features_hvm_host");
    if (!features)
        return xe_fail(xe, "The features of this host's CPUs are not known");
    out_message(&xe->out, features);
    return OK;
}

/* --- files --- */

struct host_file {
    const char *command, *name;
    size_t n; /* hosts selected */
};

static const char *logs_name(struct xe *xe)
{
    time_t now = (time_t)(clock_wall() / USEC_PER_SEC);
    char text[64];
    struct tm tm;

    gmtime_r(&now, &tm);
    strftime(text, sizeof text, "logs-%Y-%m-%dT%H%M%SZ", &tm);
    return arena_strdup(&xe->arena, text);
}

static struct error *host_file_one(struct xe *xe, const struct xe_object *host, void *ctx)
{
    const char *entries = args_get(&xe->params, "entries"), *output;
    const struct host_file *f = ctx;
    const char *name = f->name;

    if (!strcmp(f->command, "host-restore"))
        return transfer_put(xe, "host backup upload",
                            arena_printf(&xe->arena, "/host_restore?ref=%s", host->ref), name,
                            NULL);
    if (!strcmp(f->command, "host-backup"))
        return transfer_get(xe, "host backup download",
                            arena_printf(&xe->arena, "/host_backup?ref=%s", host->ref), name);
    if (!strcmp(f->command, "host-logs-download")) {
        if (f->n > 1)
            name =
                arena_printf(&xe->arena, "%s-%s", name, xe_member_text(host->record, "name_label"));
        return transfer_get(xe, "host logs download",
                            arena_printf(&xe->arena, "/host_logs_download?ref=%s", host->ref),
                            name);
    }
    output = args_get(&xe->params, "output");
    if (!output)
        output = "tar.bz2";
    if (!xe_word_in("tar.bz2 tar zip", output))
        return xe_fail(xe, "Invalid output format. Must be 'tar', 'zip' or 'tar.bz2'");
    return transfer_get(xe, "system-status download",
                        arena_printf(&xe->arena, "/system-status?ref=%s&entries=%s&output=%s",
                                     host->ref, transfer_encode(xe, entries ? entries : ""),
                                     output),
                        name);
}

static struct error *host_file(struct xe *xe, const struct xe_command *c)
{
    struct host_file f = {.command = c->name, .name = args_get(&xe->params, "file-name")};
    struct xe_command row = *c;
    struct xe_object_list hosts;

    if (!f.name)
        f.name = args_get(&xe->params, "filename");
    if (!f.name)
        f.name = logs_name(xe);
    if (strcmp(c->name, "host-logs-download") != 0)
        row.flags |= XE_SINGLE;
    TRY(select_objects(xe, "host", 0, command_words(xe, c), &hosts));
    f.n = hosts.n;
    return command_each(xe, &row, "host", host_file_one, &f);
}

/* Everything that is not a parameter of the command goes to the server as an option. */
static struct xe_params other_params(struct xe *xe, const char *own)
{
    struct xe_pair *v = arena_array(&xe->arena, struct xe_pair, xe->params.n + 1);
    size_t n = 0;

    for (size_t i = 0; i < xe->params.n; i++)
        if (!xe_word_in(own, xe->params.v[i].key) && !args_standard(xe->params.v[i].key))
            v[n++] = xe->params.v[i];
    return (struct xe_params){n, v};
}

static struct error *bugreport_one(struct xe *xe, const struct xe_object *host, void *ctx)
{
    struct xe_params options = other_params(xe, "host url");
    const char *url = args_get(&xe->params, "url");

    (void)ctx;
    return xe_call(xe, NULL, "host.bugreport_upload", "rsm", host->ref, url ? url : "", &options);
}

static struct error *host_bugreport(struct xe *xe, const struct xe_command *c)
{
    return command_each(xe, c, "host", bugreport_one, NULL);
}

static struct error *host_crashdump_upload(struct xe *xe, const struct xe_command *c)
{
    struct xe_params options = other_params(xe, "uuid url");
    const char *url = args_get(&xe->params, "url"), *ref;

    (void)c;
    TRY(command_ref(xe, "host_crashdump", "uuid", &ref));
    return xe_call(xe, NULL, "host_crashdump.upload", "rsm", ref, url ? url : "", &options);
}

/* --- drivers, diagnostics --- */

static struct error *hostdriver_select(struct xe *xe, const struct xe_command *c)
{
    const char *name = args_get(&xe->params, "variant-name");
    struct xe_object driver;
    struct strings variants;

    (void)c;
    TRY(command_object(xe, "Host_driver", "uuid", &driver));
    variants = xe_wire_set(&xe->arena, xe_member(driver.record, "variants"));
    for (size_t i = 0; i < variants.n; i++) {
        const struct wire *variant;

        TRY(object_get(xe, "Driver_variant", variants.v[i], &variant));
        if (!strcmp(xe_member_text(variant, "name"), name))
            return xe_call(xe, NULL, "Host_driver.select", "rr", driver.ref, variants.v[i]);
    }
    return xe_fail(xe, "This driver has no variant named %s", name);
}

static struct error *net_stats_one(struct xe *xe, const struct xe_object *host, void *ctx)
{
    static const char *const names[] = {"method",   "uri",         "params",
                                        "requests", "connections", "framed"};
    struct xe_pair v[ARRAY_SIZE(names)];
    const struct wire *rows = NULL;
    struct xe_params params = {0, v};

    (void)ctx;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (args_get(&xe->params, names[i]))
            v[params.n++] = (struct xe_pair){names[i], args_get(&xe->params, names[i])};
    TRY(xe_call(xe, &rows, "Diagnostics.network_stats", "rm", host->ref, &params));
    for (size_t i = 0; rows->kind == WIRE_ARRAY && i < rows->n; i++)
        out_message(&xe->out, joined(xe, &rows->v[i], " | "));
    return OK;
}

static struct error *diagnostic_net_stats(struct xe *xe, const struct xe_command *c)
{
    struct xe_command row = *c;

    row.optional = "uri method params requests connections framed";
    return command_each(xe, &row, "host", net_stats_one, NULL);
}

static struct error *diagnostic_timing_stats(struct xe *xe, const struct xe_command *c)
{
    struct xe_object_list hosts;

    (void)c;
    TRY(objects_all(xe, "host", &hosts));
    for (size_t i = 0; i < hosts.n; i++) {
        const struct wire *answer = NULL;
        struct error *e =
            xe_call(xe, &answer, "host.get_diagnostic_timing_stats", "r", hosts.v[i].ref);
        struct xe_params stats = e ? (struct xe_params){0} : xe_wire_map(&xe->arena, answer);
        struct xe_pair *v = arena_array(&xe->arena, struct xe_pair, stats.n + 3);
        size_t n = 2;

        v[0] = (struct xe_pair){"host-uuid", xe_member_text(hosts.v[i].record, "uuid")};
        v[1] = (struct xe_pair){"host-name-label", xe_member_text(hosts.v[i].record, "name_label")};
        if (e)
            v[n++] = (struct xe_pair){"Error", error_line(&xe->arena, e)};
        for (size_t k = 0; k < stats.n; k++)
            v[n++] = stats.v[k];
        out_table(&xe->out, &(struct xe_params){n, v}, 1);
    }
    return OK;
}

struct licence {
    const char *host, *uuid, *edition, *expiry;
    usec_t date;
};

static int by_date(const void *a, const void *b)
{
    usec_t x = ((const struct licence *)a)->date, y = ((const struct licence *)b)->date;

    return (x > y) - (x < y);
}

static struct error *diagnostic_license_status(struct xe *xe, const struct xe_command *c)
{
    struct xe_object_list hosts;
    struct licence *all;

    (void)c;
    TRY(objects_all(xe, "host", &hosts));
    all = arena_array(&xe->arena, struct licence, hosts.n + 1);
    for (size_t i = 0; i < hosts.n; i++) {
        const struct wire *r = hosts.v[i].record;
        struct xe_params params = xe_wire_map(&xe->arena, xe_member(r, "license_params"));
        const char *expiry = args_get(&params, "expiry");

        all[i] = (struct licence){xe_member_text(r, "hostname"),
                                  arena_strndup(&xe->arena, xe_member_text(r, "uuid"), 8),
                                  xe_member_text(r, "edition"), expiry ? expiry : "-", INT64_MAX};
        if (expiry && !date_from_text(expiry, &all[i].date))
            all[i].date = INT64_MAX;
    }
    qsort(all, hosts.n, sizeof *all, by_date);
    out_message(&xe->out, arena_printf(&xe->arena, "%-24s %-8s %-20s %-20s %s", "Hostname", "UUID",
                                       "Edition", "Expiry", "Days left"));
    for (size_t i = 0; i < hosts.n; i++)
        out_message(&xe->out,
                    arena_printf(&xe->arena, "%-24s %-8s %-20s %-20s %s", all[i].host, all[i].uuid,
                                 all[i].edition, all[i].expiry,
                                 all[i].date == INT64_MAX
                                     ? "-"
                                     : arena_printf(&xe->arena, "%.1f",
                                                    (double)(all[i].date - clock_wall()) /
                                                        (86400.0 * (double)USEC_PER_SEC))));
    return OK;
}

/* --- patches and updates --- */

static struct error *name_update_vdi(struct xe *xe, const char *update)
{
    const struct wire *record = NULL;

    TRY(xe_call(xe, &record, "pool_update.get_record", "r", update));
    return xe_call(xe, NULL, "VDI.set_name_label", "rs", xe_member_text(record, "vdi"),
                   arena_printf(&xe->arena, "Update: %s", xe_member_text(record, "name_label")));
}

/* A task's result is a value, "<value>OpaqueRef:...</value>". */
static const char *result_ref(struct xe *xe, const char *result)
{
    const struct wire *value = NULL;

    return xmlrpc_read_value(&xe->arena, result, strlen(result), &value)
               ? xe_wire_text(&xe->arena, value)
               : result;
}

static struct error *patch_upload(struct xe *xe, const struct xe_command *c)
{
    const char *result = "", *sr, *patch, *uuid;
    const struct wire *record = NULL;

    (void)c;
    TRY(command_default_sr(xe, &sr));
    TRY(transfer_put(xe, "host patch upload",
                     arena_printf(&xe->arena, "/pool_patch_upload?sr_id=%s", sr),
                     args_get(&xe->params, "file-name"), &result));
    patch = result_ref(xe, result);
    TRY(xe_call(xe, &record, "pool_patch.get_record", "r", patch));
    TRY(name_update_vdi(xe, xe_member_text(record, "pool_update")));
    TRY(object_uuid(xe, "pool_patch", patch, &uuid));
    out_always(&xe->out, uuid);
    return OK;
}

static struct error *update_upload(struct xe *xe, const struct xe_command *c)
{
    const char *result = "", *sr, *vdi, *update = NULL, *uuid;
    struct error *e;

    (void)c;
    if (args_get(&xe->params, "sr-uuid"))
        TRY(command_ref(xe, "SR", "sr-uuid", &sr));
    else
        TRY(command_default_sr(xe, &sr));
    if (!*sr)
        return xe_fail(xe, "No sr-uuid parameter was given, and the pool's default SR is "
                           "unspecified or invalid. Please explicitly specify the SR to use in "
                           "the sr-uuid parameter, or set the pool's default SR.");
    TRY(transfer_put(xe, "host patch upload",
                     arena_printf(&xe->arena, "/import_raw_vdi?sr_id=%s", sr),
                     args_get(&xe->params, "file-name"), &result));
    vdi = result_ref(xe, result);
    e = xe_call_text(xe, &update, "pool_update.introduce", "r", vdi);
    if (e) {
        /* What is no update is of no use as a disk. */
        error_ignore(xe_call(xe, NULL, "VDI.destroy", "r", vdi));
        return e;
    }
    TRY(name_update_vdi(xe, update));
    TRY(object_uuid(xe, "pool_update", update, &uuid));
    out_always(&xe->out, uuid);
    return OK;
}

/* clang-format off */
static const struct xe_command rows[] = {
    ROW("host-disable", .optional = "auto-enable", .flags = XE_HOST, .message = "host.disable",
        .args = "host=@ auto_enable=auto-enable?true"),
    ROW("host-enable", .flags = XE_HOST, .run = host_enable,
        .help = "Let VMs start on hosts again."),
    ROW("host-shutdown", .flags = XE_HOST, .message = "host.shutdown", .args = "host=@"),
    ROW("host-reboot", .flags = XE_HOST, .message = "host.reboot", .args = "host=@"),
    ROW("host-power-on", .flags = XE_HOST, .message = "host.power_on", .args = "host=@"),
    ROW("host-prepare-for-poweroff", .optional = "uuid", .flags = XE_UNLISTED,
        .message = "host.prepare_for_poweroff", .args = "host=@this/uuid"),
    ROW("host-sync-data", .flags = XE_HOST, .message = "host.sync_data", .args = "host=@"),
    ROW("host-evacuate", .optional = "network-uuid batch-size",
        .flags = XE_HOST | XE_SINGLE | XE_TASK, .message = "host.evacuate",
        .args = "host=@ network=network-uuid evacuate_batch_size=batch-size"),
    ROW("host-get-vms-which-prevent-evacuation", .required = "uuid",
        .run = host_evacuation_blockers,
        .help = "List the VMs that cannot leave a host, and why."),
    ROW("host-retrieve-wlb-evacuate-recommendations", .required = "uuid", .flags = XE_UNLISTED,
        .run = wlb_recommendations,
        .help = "Show where workload balancing would move a host's VMs."),
    ROW("host-dmesg", .flags = XE_HOST, .message = "host.dmesg", .args = "host=@",
        .show = SHOW_TEXT),
    ROW("host-forget", .required = "uuid", .run = host_careful,
        .help = "Remove a host that is beyond repair from the pool."),
    ROW("host-declare-dead", .required = "uuid", .run = host_careful,
        .help = "Tell the pool that a host is off, so that its VMs can be started elsewhere."),
    ROW("host-call-plugin", .required = "host-uuid plugin fn", .optional = "args:",
        .message = "host.call_plugin",
        .args = "host=host-uuid plugin=plugin fn=fn args=args:%files", .show = SHOW_TEXT),
    ROW("host-set-hostname-live", .required = "host-uuid host-name", .flags = XE_HOST,
        .message = "host.set_hostname_live", .args = "host=host-uuid hostname=host-name"),
    ROW("host-set-power-on-mode", .required = "power-on-mode", .optional = "power-on-config",
        .flags = XE_HOST, .message = "host.set_power_on_mode",
        .args = "self=@ power_on_mode=power-on-mode power_on_config=power-on-config:"),
    ROW("host-send-debug-keys", .required = "host-uuid keys", .flags = XE_LOCAL,
        .message = "host.send_debug_keys", .args = "host=host-uuid keys=keys"),
    ROW("host-syslog-reconfigure", .required = "host-uuid", .message = "host.syslog_reconfigure",
        .args = "host=host-uuid"),
    ROW("host-management-reconfigure", .required = "pif-uuid",
        .message = "host.management_reconfigure", .args = "pif=pif-uuid"),
    ROW("host-management-disable", .flags = XE_LOCAL, .message = "host.management_disable"),
    ROW("host-emergency-management-reconfigure", .required = "interface", .flags = XE_LOCAL,
        .message = "host.local_management_reconfigure", .args = "interface=interface"),
    ROW("host-emergency-ha-disable", .optional = "force soft", .flags = XE_LOCAL | XE_FORCED,
        .message = "host.emergency_ha_disable", .args = "soft=soft"),
    ROW("host-emergency-reset-server-certificate", .flags = XE_LOCAL,
        .message = "host.emergency_reset_server_certificate"),
    ROW("host-emergency-disable-tls-verification", .flags = XE_LOCAL,
        .message = "host.emergency_disable_tls_verification"),
    ROW("host-emergency-reenable-tls-verification", .flags = XE_LOCAL,
        .message = "host.emergency_reenable_tls_verification"),
    ROW("host-emergency-clear-mandatory-guidance", .flags = XE_LOCAL,
        .message = "host.emergency_clear_mandatory_guidance"),
    ROW("host-is-in-emergency-mode", .flags = XE_LOCAL, .message = "host.is_in_emergency_mode",
        .show = SHOW_MESSAGE),
    ROW("host-shutdown-agent", .flags = XE_LOCAL, .message = "host.shutdown_agent"),
    ROW("host-signal-networking-change", .flags = XE_UNLISTED | XE_LOCAL,
        .message = "host.signal_networking_change"),
    ROW("host-notify", .required = "type", .optional = "params", .flags = XE_UNLISTED | XE_LOCAL,
        .message = "host.notify", .args = "ty=type params=params"),
    ROW("host-update-firewalld-service-status", .flags = XE_LOCAL,
        .message = "host.update_firewalld_service_status"),
    ROW("host-ha-xapi-healthcheck", .flags = XE_UNLISTED | XE_LOCAL, .run = host_healthcheck,
        .help = "Ask the management daemon whether it is well."),
    ROW("host-compute-free-memory", .flags = XE_HOST | XE_SINGLE,
        .message = "host.compute_free_memory", .args = "host=@", .show = SHOW_MESSAGE),
    ROW("host-compute-memory-overhead", .flags = XE_HOST | XE_SINGLE,
        .message = "host.compute_memory_overhead", .args = "host=@", .show = SHOW_MESSAGE),
    ROW("host-data-source-list", .flags = XE_HOST | XE_SINGLE, .message = "host.get_data_sources",
        .args = "host=@", .show = SHOW_SOURCES),
    ROW("host-data-source-record", .required = "data-source", .flags = XE_HOST | XE_SINGLE,
        .message = "host.record_data_source", .args = "host=@ data_source=data-source"),
    ROW("host-data-source-query", .required = "data-source", .flags = XE_HOST | XE_SINGLE,
        .message = "host.query_data_source", .args = "host=@ data_source=data-source",
        .show = SHOW_TEXT),
    ROW("host-data-source-forget", .required = "data-source", .flags = XE_HOST | XE_SINGLE,
        .message = "host.forget_data_source_archives", .args = "host=@ data_source=data-source"),
    ROW("host-get-server-certificate", .flags = XE_HOST | XE_SINGLE,
        .message = "host.get_server_certificate", .args = "host=@", .show = SHOW_MESSAGE),
    ROW("host-refresh-server-certificate", .required = "host", .flags = XE_HOST | XE_SINGLE,
        .message = "host.refresh_server_certificate", .args = "host=@"),
    ROW("host-reset-server-certificate", .flags = XE_HOST | XE_SINGLE,
        .message = "host.reset_server_certificate", .args = "host=@"),
    ROW("host-server-certificate-install", .required = "certificate private-key",
        .optional = "certificate-chain", .flags = XE_HOST | XE_SINGLE,
        .message = "host.install_server_certificate",
        .args = "host=@ certificate=certificate%file private_key=private-key%file "
                "certificate_chain=certificate-chain%file"),
    ROW("host-get-sm-diagnostics", .required = "uuid", .message = "host.get_sm_diagnostics",
        .args = "host=uuid", .show = SHOW_MESSAGE),
    ROW("host-get-thread-diagnostics", .required = "uuid",
        .message = "host.get_thread_diagnostics", .args = "host=uuid", .show = SHOW_MESSAGE),
    ROW("host-sm-dp-destroy", .required = "uuid dp", .optional = "allow-leak",
        .message = "host.sm_dp_destroy", .args = "host=uuid dp=dp allow_leak=allow-leak"),
    ROW("host-enable-display", .required = "uuid", .message = "host.enable_display",
        .args = "host=uuid", .show = SHOW_MESSAGE),
    ROW("host-disable-display", .required = "uuid", .message = "host.disable_display",
        .args = "host=uuid", .show = SHOW_MESSAGE),
    ROW("host-enable-external-auth", .required = "host-uuid auth-type service-name",
        .optional = "config:", .flags = XE_UNLISTED | XE_FORCED,
        .message = "host.enable_external_auth",
        .args = "host=host-uuid config=config: service_name=service-name auth_type=auth-type"),
    ROW("host-disable-external-auth", .required = "host-uuid", .optional = "config:",
        .flags = XE_UNLISTED | XE_FORCED, .message = "host.disable_external_auth",
        .args = "host=host-uuid config=config:"),
    ROW("host-external-auth-set-ldaps", .required = "host-uuid ldaps", .optional = "force",
        .flags = XE_UNLISTED, .message = "host.external_auth_set_ldaps",
        .args = "host=host-uuid ldaps=ldaps force=force"),
    ROW("host-enable-local-storage-caching", .required = "sr-uuid", .flags = XE_HOST,
        .message = "host.enable_local_storage_caching", .args = "host=@ sr=sr-uuid"),
    ROW("host-disable-local-storage-caching", .flags = XE_HOST,
        .message = "host.disable_local_storage_caching", .args = "host=@"),
    ROW("host-enable-ssh", .flags = XE_HOST, .message = "host.enable_ssh", .args = "self=@"),
    ROW("host-disable-ssh", .flags = XE_HOST, .message = "host.disable_ssh", .args = "self=@"),
    ROW("host-refresh-pack-info", .required = "host-uuid", .flags = XE_UNLISTED,
        .message = "host.refresh_pack_info", .args = "host=host-uuid"),
    ROW("host-apply-edition", .required = "edition",
        .optional = "host-uuid license-server-address license-server-port",
        .message = "host.apply_edition", .args = "host=@this/host-uuid edition=edition"),
    ROW("host-all-editions", .run = host_all_editions,
        .help = "List the editions that can be applied."),
    ROW("host-apply-updates", .required = "hash", .flags = XE_HOST | XE_SINGLE,
        .message = "host.apply_updates", .args = "self=@ hash=hash", .show = SHOW_ROWS),
    ROW("host-license-add", .required = "license-file", .optional = "host-uuid",
        .run = host_license_add, .help = "Apply a licence file."),
    ROW("host-license-remove", .optional = "host-uuid", .message = "host.license_remove",
        .args = "host=@this/host-uuid"),
    ROW("host-license-view", .optional = "host-uuid", .run = host_license_view,
        .help = "Show a host's licence."),
    ROW("host-cpu-info", .optional = "uuid", .run = host_cpu_info,
        .help = "Show what is known of a host's CPUs."),
    ROW("host-get-cpu-features", .optional = "uuid", .run = host_cpu_features,
        .help = "Show the feature flags of a host's CPUs."),
    ROW("host-get-system-status-capabilities", .flags = XE_HOST | XE_LOCAL,
        .message = "host.get_system_status_capabilities", .args = "host=@", .show = SHOW_TEXT),
    ROW("host-get-system-status", .required = "filename", .optional = "entries output",
        .flags = XE_HOST, .run = host_file, .help = "Download a status report of a host."),
    ROW("host-logs-download", .optional = "file-name", .flags = XE_HOST, .run = host_file,
        .help = "Download the logs of hosts."),
    ROW("host-backup", .required = "file-name", .flags = XE_HOST, .run = host_file,
        .help = "Download a backup of a host's control domain."),
    ROW("host-restore", .required = "file-name", .flags = XE_HOST, .run = host_file,
        .help = "Upload a backup of a host's control domain."),
    ROW("host-bugreport-upload", .optional = "url http_proxy", .flags = XE_HOST,
        .run = host_bugreport, .help = "Upload a bug report of hosts to a support server."),
    ROW("host-crashdump-destroy", .required = "uuid", .message = "host_crashdump.destroy",
        .args = "self=uuid"),
    ROW("host-crashdump-upload", .required = "uuid", .optional = "url http_proxy",
        .run = host_crashdump_upload, .help = "Upload a host's crash dump to a support server."),
    ROW("hostdriver-select", .required = "uuid variant-name", .run = hostdriver_select,
        .help = "Choose the variant of a driver by name."),
    ROW("hostdriver-deselect", .required = "uuid", .optional = "force",
        .message = "Host_driver.deselect", .args = "self=uuid"),
    ROW("hostdriver-rescan", .flags = XE_HOST, .message = "Host_driver.rescan", .args = "host=@"),
    ROW("hostdriver-variant-select", .required = "uuid", .message = "Driver_variant.select",
        .args = "self=uuid"),
    ROW("diagnostic-compact", .flags = XE_HOST | XE_SINGLE, .message = "Diagnostics.gc_compact",
        .args = "host=@"),
    ROW("diagnostic-gc-stats", .flags = XE_HOST | XE_SINGLE, .message = "Diagnostics.gc_stats",
        .args = "host=@", .show = SHOW_TABLE),
    ROW("diagnostic-db-stats", .message = "Diagnostics.db_stats", .show = SHOW_TABLE),
    ROW("diagnostic-net-stats", .optional = "uri method params", .flags = XE_HOST | XE_SINGLE,
        .run = diagnostic_net_stats, .help = "Show how long network requests took."),
    ROW("diagnostic-timing-stats", .run = diagnostic_timing_stats,
        .help = "Show how long the parts of the hosts' work took."),
    ROW("diagnostic-license-status", .run = diagnostic_license_status,
        .help = "Show the licences of all hosts, those that expire first on top."),
    ROW("patch-apply", .required = "uuid host-uuid", .message = "pool_patch.apply",
        .args = "self=uuid host=host-uuid", .show = SHOW_TEXT),
    ROW("patch-precheck", .required = "uuid host-uuid", .message = "pool_patch.precheck",
        .args = "self=uuid host=host-uuid", .show = SHOW_TEXT),
    ROW("patch-pool-apply", .required = "uuid", .message = "pool_patch.pool_apply",
        .args = "self=uuid"),
    ROW("patch-clean", .required = "uuid", .message = "pool_patch.clean", .args = "self=uuid"),
    ROW("patch-pool-clean", .required = "uuid", .message = "pool_patch.pool_clean",
        .args = "self=uuid"),
    ROW("patch-destroy", .required = "uuid", .message = "pool_patch.destroy", .args = "self=uuid"),
    ROW("patch-upload", .required = "file-name", .run = patch_upload, .help = "Upload a patch."),
    ROW("update-introduce", .required = "vdi-uuid", .message = "pool_update.introduce",
        .args = "vdi=vdi-uuid", .show = SHOW_UUID),
    ROW("update-precheck", .required = "uuid", .flags = XE_HOST,
        .message = "pool_update.precheck", .args = "self=uuid host=@", .show = SHOW_TEXT),
    ROW("update-apply", .required = "uuid", .flags = XE_HOST, .message = "pool_update.apply",
        .args = "self=uuid host=@"),
    ROW("update-pool-apply", .required = "uuid", .message = "pool_update.pool_apply",
        .args = "self=uuid"),
    ROW("update-pool-clean", .required = "uuid", .message = "pool_update.pool_clean",
        .args = "self=uuid"),
    ROW("update-destroy", .required = "uuid", .message = "pool_update.destroy",
        .args = "self=uuid"),
    ROW("update-resync-host", .required = "host-uuid", .flags = XE_UNLISTED,
        .message = "pool_update.resync_host", .args = "host=host-uuid"),
    ROW("update-upload", .required = "file-name", .optional = "sr-uuid", .run = update_upload,
        .help = "Upload an update to an SR and introduce it."),
};
/* clang-format on */

const struct xe_commands xe_host_commands = {rows, ARRAY_SIZE(rows)};
