/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* storage.c -- commands on SRs, PBDs, disaster recovery and PVS. */
#include "xe-cli/commands/commands.h"

/* Storage that is not shared must be said to be some host's, unless there is only one. */
static struct error *sr_create(struct xe *xe, const struct xe_command *c)
{
    struct xe_object_list hosts;
    struct xe_command row = *c;
    bool shared;

    TRY(xe_flag(xe, "shared", false, &shared));
    TRY(objects_all(xe, "host", &hosts));
    if (!shared && hosts.n != 1 && !args_get(&xe->params, "host-uuid"))
        return xe_fail(xe, "Required parameter not found: host-uuid");
    row.show = SHOW_UUID;
    row.flags |= XE_TASK;
    return command_instead(xe, &row, "SR.create",
                           "host=@master/host-uuid device_config=device-config:%filenames "
                           "physical_size=physical-size%bytes name_label=name-label "
                           "name_description=name-description type=type content_type=content-type "
                           "shared=shared sm_config=sm-config:");
}

static void show_map(struct xe *xe, const struct wire *record, const char *field, const char *fmt,
                     size_t i)
{
    struct xe_params map = xe_wire_map(&xe->arena, xe_member(record, field));

    out_message(&xe->out, arena_printf(&xe->arena, "%s %zu%s", fmt, i,
                                       !strcmp(field, "extra_info") ? " extra information:"
                                       : !strcmp(fmt, "SR")         ? " configuration:"
                                                                    : ":"));
    out_table(&xe->out, &map, 1);
}

static const struct wire *probed_sr(const struct wire *result)
{
    const struct wire *sr = xe_member(result, "sr");

    return sr && sr->kind == WIRE_STRUCT && sr->n ? sr : NULL;
}

static void show_found_sr(struct xe *xe, const struct wire *result, size_t i)
{
    static const char *const fields[] = {"uuid",        "name_label", "name_description",
                                         "total_space", "free_space", "clustered",
                                         "health"};
    static const char *const names[] = {"uuid",        "name-label", "name-description",
                                        "total-space", "free-space", "clustered",
                                        "health"};
    const struct wire *sr = probed_sr(result);
    struct xe_pair v[ARRAY_SIZE(fields)];
    size_t n = 0;

    for (size_t k = 0; k < ARRAY_SIZE(fields); k++) {
        const struct wire *w = xe_member(sr, fields[k]);

        if (w && w->kind != WIRE_NIL)
            v[n++] = (struct xe_pair){names[k], xe_wire_text(&xe->arena, w)};
    }
    out_message(&xe->out, arena_printf(&xe->arena, "SR %zu:", i));
    out_table(&xe->out, &(struct xe_params){n, v}, 1);
    show_map(xe, result, "configuration", "SR", i);
    show_map(xe, result, "extra_info", "SR", i);
}

/* Configurations that are (not) enough to create an SR. */
static void show_configurations(struct xe *xe, const struct wire *results, bool complete)
{
    size_t i = 0;

    for (size_t k = 0; k < results->n; k++) {
        const struct wire *r = &results->v[k];

        if (probed_sr(r) || xe_member_bool(r, "complete") != complete)
            continue;
        if (i == 0)
            out_message(&xe->out, complete ? "Found the following complete configurations that can "
                                             "be used to create SRs:"
                                           : "Found the following incomplete configurations that "
                                             "may contain SRs:");
        show_map(xe, r, "configuration", "Configuration", i);
        show_map(xe, r, "extra_info", "Configuration", i);
        i++;
    }
}

static struct error *sr_probe_ext(struct xe *xe, const struct xe_command *c)
{
    const struct message_desc *m = api_message_by_name("SR.probe_ext");
    const struct wire *results = NULL;
    AUTO(buf) params = {0};
    size_t found = 0;

    (void)c;
    TRY(command_args(xe, m,
                     "host=@master/host-uuid device_config=device-config:%filenames type=type "
                     "sm_config=sm-config:",
                     NULL, &params));
    TRY(xe_call_params(xe, "SR.probe_ext", &params, false, &results));
    for (size_t i = 0; results->kind == WIRE_ARRAY && i < results->n; i++) {
        if (!probed_sr(&results->v[i]))
            continue;
        if (found == 0)
            out_message(&xe->out, "The following SRs were found:");
        show_found_sr(xe, &results->v[i], found++);
    }
    show_configurations(xe, results, true);
    show_configurations(xe, results, false);
    return OK;
}

/* clang-format off */
static const struct xe_command rows[] = {
    ROW("sr-create", .required = "name-label type",
        .optional = "name-description host-uuid device-config: shared physical-size "
                    "content-type sm-config:", .run = sr_create,
        .help = "Create an SR: its storage is made ready and attached."),
    ROW("sr-introduce", .required = "name-label type uuid",
        .optional = "name-description shared content-type", .message = "SR.introduce",
        .args = "uuid=uuid name_label=name-label name_description=name-description type=type "
                "content_type=content-type shared=shared sm_config=sm-config:", .show = SHOW_UUID),
    ROW("sr-probe", .required = "type", .optional = "host-uuid device-config: sm-config:",
        .message = "SR.probe",
        .args = "host=@master/host-uuid device_config=device-config:%filenames type=type "
                "sm_config=sm-config:", .show = SHOW_TEXT),
    ROW("sr-probe-ext", .required = "type", .optional = "host-uuid device-config: sm-config:",
        .run = sr_probe_ext,
        .help = "Look for SRs on storage, or for what else must be given to find them."),
    ROW("sr-destroy", .required = "uuid", .flags = XE_TASK, .message = "SR.destroy",
        .args = "sr=uuid"),
    ROW("sr-forget", .required = "uuid", .message = "SR.forget", .args = "sr=uuid"),
    ROW("sr-scan", .required = "uuid", .flags = XE_TASK, .message = "SR.scan", .args = "sr=uuid"),
    ROW("sr-update", .required = "uuid", .message = "SR.update", .args = "sr=uuid"),
    ROW("sr-enable-database-replication", .required = "uuid",
        .message = "SR.enable_database_replication", .args = "sr=uuid"),
    ROW("sr-disable-database-replication", .required = "uuid",
        .message = "SR.disable_database_replication", .args = "sr=uuid"),
    ROW("sr-data-source-list", .flags = XE_SR | XE_SINGLE, .message = "SR.get_data_sources",
        .args = "sr=@", .show = SHOW_SOURCES),
    ROW("sr-data-source-record", .required = "data-source", .flags = XE_SR | XE_SINGLE,
        .message = "SR.record_data_source", .args = "sr=@ data_source=data-source"),
    ROW("sr-data-source-query", .required = "data-source", .flags = XE_SR | XE_SINGLE,
        .message = "SR.query_data_source", .args = "sr=@ data_source=data-source",
        .show = SHOW_TEXT),
    ROW("sr-data-source-forget", .required = "data-source", .flags = XE_SR | XE_SINGLE,
        .message = "SR.forget_data_source_archives", .args = "sr=@ data_source=data-source"),
    ROW("pbd-create", .required = "host-uuid sr-uuid", .optional = "device-config:",
        .message = "PBD.create",
        .args = ".host=host-uuid .SR=sr-uuid .device_config=device-config:", .show = SHOW_UUID),
    ROW("pbd-destroy", .required = "uuid", .message = "PBD.destroy", .args = "self=uuid"),
    ROW("pbd-plug", .required = "uuid", .message = "PBD.plug", .args = "self=uuid"),
    ROW("pbd-unplug", .required = "uuid", .message = "PBD.unplug", .args = "self=uuid"),
    ROW("lvhd-enable-thin-provisioning",
        .required = "sr-uuid initial-allocation allocation-quantum", .flags = XE_HOST,
        .message = "LVHD.enable_thin_provisioning",
        .args = "host=@ SR=sr-uuid initial_allocation=initial-allocation%bytes "
                "allocation_quantum=allocation-quantum%bytes"),
    ROW("drtask-create", .required = "type", .optional = "device-config: sr-whitelist",
        .message = "DR_task.create",
        .args = "type=type device_config=device-config: whitelist=sr-whitelist",
        .show = SHOW_UUID),
    ROW("drtask-destroy", .required = "uuid", .message = "DR_task.destroy", .args = "self=uuid"),
    ROW("pvs-site-introduce", .required = "name-label", .optional = "name-description pvs-uuid",
        .message = "PVS_site.introduce",
        .args = "name_label=name-label name_description=name-description PVS_uuid=pvs-uuid",
        .show = SHOW_UUID),
    ROW("pvs-site-forget", .required = "uuid", .message = "PVS_site.forget", .args = "self=uuid"),
    ROW("pvs-server-introduce", .required = "addresses first-port last-port pvs-site-uuid",
        .message = "PVS_server.introduce",
        .args = "addresses=addresses first_port=first-port last_port=last-port "
                "site=pvs-site-uuid", .show = SHOW_UUID),
    ROW("pvs-server-forget", .required = "uuid", .message = "PVS_server.forget",
        .args = "self=uuid"),
    ROW("pvs-proxy-create", .required = "pvs-site-uuid vif-uuid", .message = "PVS_proxy.create",
        .args = "site=pvs-site-uuid VIF=vif-uuid", .show = SHOW_UUID),
    ROW("pvs-proxy-destroy", .required = "uuid", .message = "PVS_proxy.destroy",
        .args = "self=uuid"),
    ROW("pvs-cache-storage-create", .required = "sr-uuid pvs-site-uuid size",
        .flags = XE_HOST | XE_SINGLE, .message = "PVS_cache_storage.create",
        .args = ".host=@ .SR=sr-uuid .site=pvs-site-uuid .size=size%bytes", .show = SHOW_UUID),
    ROW("pvs-cache-storage-destroy", .required = "uuid", .message = "PVS_cache_storage.destroy",
        .args = "self=uuid"),
};
/* clang-format on */

const struct xe_commands xe_storage_commands = {rows, ARRAY_SIZE(rows)};
