/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* pool.c -- commands on the pool, clusters and repositories. */
#include "xe-cli/commands/commands.h"

#define FUSE_TIME "10.000" /* seconds until a host that changes its pool restarts its daemon */

static struct error *pool_join(struct xe *xe, const struct xe_command *c)
{
    static const char *const refused[] = {
        "Host cannot contact destination host: connection refused.",
        "Check destination host has services running and accessible from this host."};
    struct error *e;
    bool force;

    TRY(xe_flag(xe, "force", false, &force));
    e = command_instead(xe, c, force ? "pool.join_force" : "pool.join",
                        "master_address=master-address master_username=master-username "
                        "master_password=master-password");
    if (e && error_is(e, "POOL_JOINING_HOST_CONNECTION_FAILED")) {
        out_list(&xe->out, &(struct strings){ARRAY_SIZE(refused), refused});
        return OK;
    }
    TRY(e);
    out_text(&xe->out,
             "Host agent will restart and attempt to join pool in " FUSE_TIME " seconds...");
    return OK;
}

/* Disks on SRs that only this host can reach. */
static struct error *warn_local_disks(struct xe *xe, const char *host)
{
    struct xe_object_list vdis;
    bool any = false;

    TRY(objects_all(xe, "VDI", &vdis));
    for (size_t i = 0; i < vdis.n; i++) {
        const struct wire *sr, *pbd, *r = vdis.v[i].record;
        struct strings pbds;

        TRY(object_get(xe, "SR", xe_member_text(r, "SR"), &sr));
        pbds = xe_wire_set(&xe->arena, xe_member(sr, "PBDs"));
        if (pbds.n != 1)
            continue;
        TRY(object_get(xe, "PBD", pbds.v[0], &pbd));
        if (strcmp(xe_member_text(pbd, "host"), host) != 0)
            continue;
        if (!any)
            out_always(&xe->out, "The following VDI objects will be destroyed:");
        any = true;
        out_always(&xe->out, arena_printf(&xe->arena, "VDI: %s (%s)", xe_member_text(r, "uuid"),
                                          xe_member_text(r, "name_label")));
    }
    return OK;
}

static struct error *pool_eject(struct xe *xe, const struct xe_command *c)
{
    const char *host;
    bool force;

    (void)c;
    TRY(xe_flag(xe, "force", false, &force));
    TRY(command_ref(xe, "host", "host-uuid", &host));
    if (!force) {
        out_always(&xe->out, "WARNING: Ejecting a host from the pool will reinitialise that host's "
                             "local SRs.");
        out_always(&xe->out, "WARNING: Any data contained with the local SRs will be lost.");
        TRY(warn_local_disks(xe, host));
        if (!xe_says_yes(xe))
            return OK;
    }
    TRY(xe_call(xe, NULL, "pool.eject", "r", host));
    out_text(&xe->out,
             "Specified host will attempt to restart as a master of a new pool in " FUSE_TIME
             " seconds...");
    return OK;
}

static struct error *pool_emergency(struct xe *xe, const struct xe_command *c)
{
    const char *address = args_get(&xe->params, "master-address");

    if (!strcmp(c->name, "pool-emergency-reset-master")) {
        TRY(xe_call(xe, NULL, "pool.emergency_reset_master", "s", address));
        out_text(&xe->out,
                 arena_printf(&xe->arena,
                              "Host agent will restart and become slave of %s in " FUSE_TIME
                              " seconds...",
                              address));
        return OK;
    }
    TRY(xe_call(xe, NULL, "pool.emergency_transition_to_master", ""));
    out_text(&xe->out,
             "Host agent will restart and transition to master in " FUSE_TIME " seconds...");
    return OK;
}

static struct error *pool_database(struct xe *xe, const struct xe_command *c)
{
    const char *file = args_get(&xe->params, "file-name");
    bool dry_run = args_get(&xe->params, "dry-run") != NULL;

    if (!strcmp(c->name, "pool-dump-database"))
        return transfer_get(xe, "dump database", "/pool/xmldbdump", file);
    if (!dry_run && !args_get(&xe->params, "force"))
        return xe_fail(xe, "This operation will restore the database backup to this host, making "
                           "it the master. All slave hosts are assumed dead and they will be "
                           "forgotten. This operation must be forced (use --force).");
    TRY(transfer_put(
        xe, "restore database",
        arena_printf(&xe->arena, "/pool/xmldbdump?dry_run=%s", dry_run ? "true" : "false"), file,
        NULL));
    out_text(&xe->out, dry_run ? "Dry-run backup restore successful"
                               : "Host will reboot with restored database in 30.000 seconds...");
    return OK;
}

/* --- high availability --- */

static struct error *pool_ha_hypothetical(struct xe *xe, const struct xe_command *c)
{
    struct xe_pair *v = arena_array(&xe->arena, struct xe_pair, xe->params.n + 1);
    struct xe_params configuration = {0, v};
    size_t priorities = 0;
    const char *n = NULL;

    (void)c;
    for (size_t i = 0; i < xe->params.n; i++) {
        const struct xe_pair *p = &xe->params.v[i];

        if (!strcmp(p->key, "vm-uuid"))
            TRY(xe_call_text(xe, &v[configuration.n++].key, "VM.get_by_uuid", "s", p->value));
        else if (!strcmp(p->key, "restart-priority"))
            v[priorities++].value = p->value;
    }
    if (priorities != configuration.n)
        return xe_fail(xe,
                       "Call requires an equal number of vm-uuid and restart-priority arguments");
    TRY(xe_call_text(xe, &n, "pool.ha_compute_hypothetical_max_host_failures_to_tolerate", "m",
                     &configuration));
    out_text(&xe->out, n);
    return OK;
}

/* The VMs that run on any of the hosts. */
static struct error *vms_on(struct xe *xe, const struct strings *hosts, struct strings *out)
{
    struct xe_object_list vms;
    const char **v;
    size_t n = 0;

    TRY(objects_all(xe, "VM", &vms));
    v = arena_array(&xe->arena, const char *, vms.n + 1);
    for (size_t i = 0; i < vms.n; i++)
        for (size_t k = 0; k < hosts->n; k++)
            if (!xe_member_bool(vms.v[i].record, "is_control_domain") &&
                !strcmp(xe_member_text(vms.v[i].record, "resident_on"), hosts->v[k]))
                v[n++] = vms.v[i].ref;
    *out = (struct strings){n, v};
    return OK;
}

static struct error *pool_ha_plan(struct xe *xe, const struct xe_command *c)
{
    struct strings uuids = xe_split(xe, args_get(&xe->params, "host-uuids"), ','), hosts, vms;
    const char **v = arena_array(&xe->arena, const char *, uuids.n + 1);
    const struct wire *plan = NULL;
    struct xe_pair *rows;

    (void)c;
    for (size_t i = 0; i < uuids.n; i++)
        TRY(xe_call_text(xe, &v[i], "host.get_by_uuid", "s", uuids.v[i]));
    hosts = (struct strings){uuids.n, v};
    TRY(vms_on(xe, &hosts, &vms));
    TRY(xe_call(xe, &plan, "pool.ha_compute_vm_failover_plan", "SS", &hosts, &vms));
    rows = arena_array(&xe->arena, struct xe_pair, plan->n + 1);
    rows[0] = (struct xe_pair){"VM", "Destination Host or Error"};
    for (size_t i = 0; i < plan->n; i++) {
        const char *host = xe_member_text(&plan->v[i], "host");
        const char *error = xe_member_text(&plan->v[i], "error_code");

        rows[i + 1].key = command_title(xe, "VM", plan->v[i].name);
        rows[i + 1].value = *host ? command_title(xe, "host", host) : *error ? error : "UNKNOWN";
    }
    out_table(&xe->out, &(struct xe_params){plan->n + 1, rows}, 1);
    return OK;
}

/* --- workload balancing --- */

static struct error *wlb_recommendations(struct xe *xe, const struct xe_command *c)
{
    const struct wire *answer = NULL;
    struct xe_pair *rows;

    (void)c;
    TRY(xe_call(xe, &answer, "pool.retrieve_wlb_recommendations", ""));
    rows = arena_array(&xe->arena, struct xe_pair, answer->n + 1);
    rows[0] = (struct xe_pair){"VM", "Host, OptID, RecID, Reason"};
    for (size_t i = 0; i < answer->n; i++) {
        struct strings words = xe_wire_set(&xe->arena, &answer->v[i]);
        AUTO(buf) text = {0};

        for (size_t k = 0; k < words.n; k++)
            buf_printf(&text, "%s%s", k ? " " : "", words.v[k]);
        rows[i + 1].key = command_title(xe, "VM", answer->v[i].name);
        rows[i + 1].value = arena_strdup(&xe->arena, text.data ? text.data : "");
    }
    out_table(&xe->out, &(struct xe_params){answer->n + 1, rows}, 1);
    return OK;
}

static struct error *pool_wlb_file(struct xe *xe, const struct xe_command *c)
{
    const char *file = args_get(&xe->params, "filename");
    AUTO(buf) path = {0};

    file = file ? file : "";
    if (!strcmp(c->name, "pool-retrieve-wlb-diagnostics"))
        return transfer_get(xe, "WLB diagnostics download", "/wlb_diagnostics", file);
    buf_printf(&path, "/wlb_report?report=%s",
               transfer_encode(xe, args_get(&xe->params, "report")));
    for (size_t i = 0; i < xe->params.n; i++) {
        const struct xe_pair *p = &xe->params.v[i];

        if (!args_standard(p->key) && !xe_word_in("report filename", p->key))
            buf_printf(&path, "&%s=%s", transfer_encode(xe, p->key), transfer_encode(xe, p->value));
    }
    return transfer_get(xe, "WLB report", path.data, file);
}

/* --- others --- */

static struct error *pool_sync_bundle(struct xe *xe, const struct xe_command *c)
{
    (void)c;
    return transfer_put(xe, "upload bundle", "/bundle", args_get(&xe->params, "filename"), NULL);
}

static struct error *pool_cpu_features(struct xe *xe, const struct xe_command *c)
{
    struct xe_params info, shown;
    struct xe_object pool;
    struct xe_pair v[2];

    (void)c;
    TRY(object_pool(xe, &pool));
    info = xe_wire_map(&xe->arena, xe_member(pool.record, "cpu_info"));
    shown = (struct xe_params){0, v};
    for (size_t i = 0; i < info.n && shown.n < ARRAY_SIZE(v); i++)
        if (!strncmp(info.v[i].key, "features_", 9))
            v[shown.n++] = info.v[i];
    out_table(&xe->out, &shown, 1);
    return OK;
}

/* clang-format off */
static const struct xe_command rows[] = {
    ROW("pool-join", .required = "master-address master-username master-password",
        .optional = "force", .run = pool_join, .help = "Make this host a member of another pool."),
    ROW("pool-eject", .required = "host-uuid", .run = pool_eject,
        .help = "Make a member of the pool a host of its own again; its local disks are lost."),
    ROW("pool-emergency-reset-master", .required = "master-address", .flags = XE_LOCAL,
        .run = pool_emergency, .help = "Tell a member where its coordinator is now."),
    ROW("pool-emergency-transition-to-master", .optional = "force", .flags = XE_LOCAL,
        .run = pool_emergency, .help = "Make this host the coordinator of its pool."),
    ROW("pool-recover-slaves", .message = "pool.recover_slaves", .show = SHOW_TEXT),
    ROW("pool-designate-new-master", .required = "host-uuid",
        .message = "pool.designate_new_master", .args = "host=host-uuid"),
    ROW("pool-management-reconfigure", .required = "network-uuid",
        .message = "pool.management_reconfigure", .args = "network=network-uuid"),
    ROW("pool-sync-database", .message = "pool.sync_database"),
    ROW("pool-dump-database", .required = "file-name", .run = pool_database,
        .help = "Download the pool's database."),
    ROW("pool-restore-database", .required = "file-name", .optional = "dry-run",
        .run = pool_database, .help = "Replace the pool's database by a downloaded one."),
    ROW("pool-ha-enable", .optional = "heartbeat-sr-uuids ha-config:",
        .message = "pool.enable_ha",
        .args = "heartbeat_srs=heartbeat-sr-uuids configuration=ha-config:"),
    ROW("pool-ha-disable", .message = "pool.disable_ha"),
    ROW("pool-ha-prevent-restarts-for", .required = "seconds", .flags = XE_UNLISTED,
        .message = "pool.ha_prevent_restarts_for", .args = "seconds=seconds"),
    ROW("pool-ha-compute-max-host-failures-to-tolerate",
        .message = "pool.ha_compute_max_host_failures_to_tolerate", .show = SHOW_TEXT),
    ROW("pool-ha-compute-hypothetical-max-host-failures-to-tolerate",
        .optional = "vm-uuid restart-priority", .run = pool_ha_hypothetical,
        .help = "Compute how many hosts may fail if VMs had other restart priorities."),
    ROW("pool-ha-compute-vm-failover-plan", .required = "host-uuids", .flags = XE_UNLISTED,
        .run = pool_ha_plan, .help = "Show where VMs would be restarted if hosts failed."),
    ROW("pool-enable-external-auth", .required = "auth-type service-name",
        .optional = "uuid config:", .message = "pool.enable_external_auth",
        .args = "pool=@pool/uuid config=config: service_name=service-name auth_type=auth-type"),
    ROW("pool-disable-external-auth", .optional = "uuid config:",
        .message = "pool.disable_external_auth", .args = "pool=@pool/uuid config=config:"),
    ROW("pool-external-auth-set-ldaps", .required = "ldaps", .optional = "uuid force",
        .message = "pool.external_auth_set_ldaps",
        .args = "pool=@pool/uuid ldaps=ldaps force=force"),
    ROW("pool-initialize-wlb",
        .required = "wlb_url wlb_username wlb_password xenserver_username xenserver_password",
        .message = "pool.initialize_wlb",
        .args = "wlb_url=wlb_url wlb_username=wlb_username wlb_password=wlb_password "
                "xenserver_username=xenserver_username xenserver_password=xenserver_password"),
    ROW("pool-deconfigure-wlb", .message = "pool.deconfigure_wlb"),
    ROW("pool-send-wlb-configuration", .optional = "config:",
        .message = "pool.send_wlb_configuration", .args = "config=config:"),
    ROW("pool-retrieve-wlb-configuration", .message = "pool.retrieve_wlb_configuration",
        .show = SHOW_TABLE),
    ROW("pool-retrieve-wlb-recommendations", .run = wlb_recommendations,
        .help = "Show what workload balancing recommends for the pool."),
    ROW("pool-retrieve-wlb-report", .required = "report", .optional = "filename",
        .run = pool_wlb_file, .help = "Download a report of workload balancing."),
    ROW("pool-retrieve-wlb-diagnostics", .optional = "filename", .run = pool_wlb_file,
        .help = "Download the log of workload balancing."),
    ROW("pool-send-test-post", .required = "dest-host dest-port body",
        .message = "pool.send_test_post", .args = "host=dest-host port=dest-port body=body",
        .show = SHOW_MESSAGE),
    ROW("pool-install-ca-certificate", .required = "filename",
        .message = "pool.install_ca_certificate", .args = "name=filename%base cert=filename%file"),
    ROW("pool-uninstall-ca-certificate", .required = "name", .optional = "force",
        .message = "pool.uninstall_ca_certificate", .args = "name=name force=force"),
    ROW("pool-certificate-install", .required = "filename", .message = "pool.certificate_install",
        .args = "name=filename%base cert=filename%file"),
    ROW("pool-certificate-uninstall", .required = "name", .message = "pool.certificate_uninstall",
        .args = "name=name"),
    ROW("pool-certificate-list", .message = "pool.certificate_list", .show = SHOW_TEXT),
    ROW("pool-certificate-sync", .message = "pool.certificate_sync"),
    ROW("pool-crl-install", .required = "filename", .message = "pool.crl_install",
        .args = "name=filename%base cert=filename%file"),
    ROW("pool-crl-uninstall", .required = "name", .message = "pool.crl_uninstall",
        .args = "name=name"),
    ROW("pool-crl-list", .message = "pool.crl_list", .show = SHOW_TEXT),
    ROW("pool-install-trusted-certificate", .required = "filename ca", .optional = "uuid purpose",
        .message = "pool.install_trusted_certificate",
        .args = "self=@pool/uuid ca=ca cert=filename%file purpose=purpose"),
    ROW("pool-uninstall-trusted-certificate", .required = "certificate-uuid", .optional = "uuid",
        .message = "pool.uninstall_trusted_certificate",
        .args = "self=@pool/uuid certificate=certificate-uuid"),
    ROW("pool-enable-tls-verification", .message = "pool.enable_tls_verification"),
    ROW("pool-enable-client-certificate-auth", .required = "name",
        .message = "pool.enable_client_certificate_auth", .args = "self=@pool/uuid name=name"),
    ROW("pool-disable-client-certificate-auth", .message = "pool.disable_client_certificate_auth",
        .args = "self=@pool/uuid"),
    ROW("pool-enable-redo-log", .required = "sr-uuid", .message = "pool.enable_redo_log",
        .args = "sr=sr-uuid"),
    ROW("pool-disable-redo-log", .message = "pool.disable_redo_log"),
    ROW("pool-set-vswitch-controller", .required = "address", .flags = XE_UNLISTED,
        .message = "pool.set_vswitch_controller", .args = "address=address"),
    ROW("pool-disable-ssl-legacy", .optional = "uuid", .message = "pool.disable_ssl_legacy",
        .args = "self=@pool/uuid"),
    ROW("pool-enable-local-storage-caching", .required = "uuid",
        .message = "pool.enable_local_storage_caching", .args = "self=@pool/uuid"),
    ROW("pool-disable-local-storage-caching", .required = "uuid",
        .message = "pool.disable_local_storage_caching", .args = "self=@pool/uuid"),
    ROW("pool-enable-binary-storage", .flags = XE_UNLISTED,
        .message = "pool.enable_binary_storage"),
    ROW("pool-disable-binary-storage", .flags = XE_UNLISTED,
        .message = "pool.disable_binary_storage"),
    ROW("pool-enable-ssh", .message = "pool.enable_ssh", .args = "self=@pool"),
    ROW("pool-disable-ssh", .message = "pool.disable_ssh", .args = "self=@pool"),
    ROW("pool-apply-edition", .required = "edition",
        .optional = "uuid license-server-address license-server-port",
        .message = "pool.apply_edition", .args = "self=@pool/uuid edition=edition"),
    ROW("pool-secret-rotate", .message = "pool.rotate_secret"),
    ROW("pool-sync-updates", .optional = "force token token-id username password",
        .flags = XE_TASK, .message = "pool.sync_updates",
        .args = "self=@pool force=force token=token token_id=token-id username=username "
                "password=password", .show = SHOW_TEXT),
    ROW("pool-sync-bundle", .required = "filename", .run = pool_sync_bundle,
        .help = "Upload a bundle of updates."),
    ROW("pool-configure-repository-proxy", .required = "proxy-url",
        .optional = "proxy-username proxy-password", .message = "pool.configure_repository_proxy",
        .args = "self=@pool url=proxy-url username=proxy-username password=proxy-password"),
    ROW("pool-disable-repository-proxy", .message = "pool.disable_repository_proxy",
        .args = "self=@pool"),
    ROW("pool-configure-update-sync", .required = "update-sync-frequency update-sync-day",
        .message = "pool.configure_update_sync",
        .args = "self=@pool update_sync_frequency=update-sync-frequency "
                "update_sync_day=update-sync-day"),
    ROW("pool-set-update-sync-enabled", .required = "value",
        .message = "pool.set_update_sync_enabled", .args = "self=@pool value=value"),
    ROW("pool-reset-telemetry-uuid", .message = "pool.reset_telemetry_uuid", .args = "self=@pool"),
    ROW("pool-get-guest-secureboot-readiness", .message = "pool.get_guest_secureboot_readiness",
        .args = "self=@pool", .show = SHOW_TEXT),
    ROW("pool-get-cpu-features", .run = pool_cpu_features,
        .help = "Show the CPU features that all hosts of the pool have."),
    ROW("repository-introduce", .required = "name-label binary-url source-url update",
        .optional = "name-description gpgkey-path", .message = "Repository.introduce",
        .args = "name_label=name-label name_description=name-description "
                "binary_url=binary-url source_url=source-url update=update "
                "gpgkey_path=gpgkey-path", .show = SHOW_UUID),
    ROW("repository-introduce-bundle", .required = "name-label", .optional = "name-description",
        .message = "Repository.introduce_bundle",
        .args = "name_label=name-label name_description=name-description", .show = SHOW_UUID),
    ROW("repository-introduce-remote-pool", .required = "name-label binary-url certificate-file",
        .optional = "name-description", .message = "Repository.introduce_remote_pool",
        .args = "name_label=name-label name_description=name-description "
                "binary_url=binary-url certificate=certificate-file%file", .show = SHOW_UUID),
    ROW("repository-forget", .required = "uuid", .message = "Repository.forget",
        .args = "self=uuid"),
    ROW("repository-set-gpgkey-path", .required = "uuid gpgkey-path",
        .message = "Repository.set_gpgkey_path", .args = "self=uuid value=gpgkey-path"),
    ROW("cluster-create", .required = "pif-uuid",
        .optional = "cluster-stack pool-auto-join token-timeout token-timeout-coefficient",
        .flags = XE_UNLISTED, .message = "Cluster.create",
        .args = "PIF=pif-uuid cluster_stack=cluster-stack?corosync "
                "pool_auto_join=pool-auto-join?true token_timeout=token-timeout?20 "
                "token_timeout_coefficient=token-timeout-coefficient?1", .show = SHOW_UUID),
    ROW("cluster-destroy", .required = "uuid", .message = "Cluster.destroy", .args = "self=uuid"),
    ROW("cluster-pool-create", .required = "network-uuid",
        .optional = "cluster-stack token-timeout token-timeout-coefficient",
        .message = "Cluster.pool_create",
        .args = "network=network-uuid cluster_stack=cluster-stack?corosync "
                "token_timeout=token-timeout?20 "
                "token_timeout_coefficient=token-timeout-coefficient?1", .show = SHOW_UUID),
    ROW("cluster-pool-destroy", .required = "cluster-uuid", .message = "Cluster.pool_destroy",
        .args = "self=cluster-uuid"),
    ROW("cluster-pool-force-destroy", .required = "cluster-uuid",
        .message = "Cluster.pool_force_destroy", .args = "self=cluster-uuid"),
    ROW("cluster-pool-resync", .required = "cluster-uuid", .message = "Cluster.pool_resync",
        .args = "self=cluster-uuid"),
    ROW("cluster-host-create", .required = "cluster-uuid host-uuid pif-uuid",
        .flags = XE_UNLISTED, .message = "Cluster_host.create",
        .args = "cluster=cluster-uuid host=host-uuid pif=pif-uuid", .show = SHOW_UUID),
    ROW("cluster-host-destroy", .required = "uuid", .message = "Cluster_host.destroy",
        .args = "self=uuid"),
    ROW("cluster-host-enable", .required = "uuid", .message = "Cluster_host.enable",
        .args = "self=uuid"),
    ROW("cluster-host-disable", .required = "uuid", .message = "Cluster_host.disable",
        .args = "self=uuid"),
    ROW("cluster-host-force-destroy", .required = "uuid", .message = "Cluster_host.force_destroy",
        .args = "self=uuid"),
};
/* clang-format on */

const struct xe_commands xe_pool_commands = {rows, ARRAY_SIZE(rows)};
