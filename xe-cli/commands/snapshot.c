/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* snapshot.c -- commands on snapshots of VMs. */
#include "xe-cli/commands/commands.h"

/* "snapshot-uuid" or "uuid". */
static struct error *the_snapshot(struct xe *xe, struct xe_object *out)
{
    const char *uuid = args_get(&xe->params, "snapshot-uuid");

    if (!uuid)
        uuid = args_get(&xe->params, "uuid");
    if (!uuid)
        return xe_fail(xe, "Required parameter not found: snapshot-uuid or uuid.");
    return command_vm_of_kind(xe, uuid, "snapshot", out);
}

static struct error *snapshot_revert(struct xe *xe, const struct xe_command *c)
{
    struct xe_object snapshot;

    (void)c;
    TRY(the_snapshot(xe, &snapshot));
    return xe_call_task(xe, NULL, "VM.revert", "r", snapshot.ref);
}

static struct error *snapshot_copies(struct xe *xe, const struct xe_command *c)
{
    const char *description = args_get(&xe->params, "new-name-description");
    const char *name = args_get(&xe->params, "new-name-label"), *made = NULL, *uuid;
    const char *sr = "OpaqueRef:NULL";
    struct xe_object snapshot;

    TRY(the_snapshot(xe, &snapshot));
    if (args_get(&xe->params, "sr-uuid"))
        TRY(command_ref(xe, "SR", "sr-uuid", &sr));
    if (!strcmp(c->name, "snapshot-copy"))
        TRY(xe_call_task(xe, &made, "VM.copy", "rsr", snapshot.ref, name, sr));
    else
        TRY(xe_call_task(xe, &made, "VM.clone", "rs", snapshot.ref, name));
    if (description)
        TRY(xe_call(xe, NULL, "VM.set_name_description", "rs", made, description));
    TRY(object_uuid(xe, "VM", made, &uuid));
    out_text(&xe->out, uuid);
    return OK;
}

static struct error *snapshot_destroy(struct xe *xe, const struct xe_command *c)
{
    struct xe_object snapshot;

    (void)c;
    TRY(the_snapshot(xe, &snapshot));
    if (strcmp(xe_member_text(snapshot.record, "power_state"), "Halted") != 0)
        TRY(xe_call_task(xe, NULL, "VM.hard_shutdown", "r", snapshot.ref));
    return xe_call(xe, NULL, "VM.destroy", "r", snapshot.ref);
}

static struct error *snapshot_uninstall(struct xe *xe, const struct xe_command *c)
{
    struct xe_object snapshot;

    (void)c;
    TRY(the_snapshot(xe, &snapshot));
    return vm_uninstall_these(xe, &(struct strings){1, &snapshot.ref});
}

static struct error *snapshot_disk_list(struct xe *xe, const struct xe_command *c)
{
    struct xe_object snapshot;

    (void)c;
    TRY(the_snapshot(xe, &snapshot));
    return vm_disks_show(xe, &snapshot, false);
}

static struct error *snapshot_export(struct xe *xe, const struct xe_command *c)
{
    struct xe_object snapshot;

    (void)c;
    TRY(the_snapshot(xe, &snapshot));
    return vm_export_one(xe, &snapshot, args_get(&xe->params, "filename"));
}

static struct error *snapshot_reset_powerstate(struct xe *xe, const struct xe_command *c)
{
    struct xe_object snapshot;

    (void)c;
    TRY(the_snapshot(xe, &snapshot));
    return xe_call(xe, NULL, "VM.power_state_reset", "r", snapshot.ref);
}

/* clang-format off */
static const struct xe_command rows[] = {
    ROW("snapshot-revert", .optional = "uuid snapshot-uuid", .flags = XE_STANDARD,
        .run = snapshot_revert, .help = "Take a VM back to a snapshot."),
    ROW("snapshot-clone", .required = "new-name-label", .optional = "uuid new-name-description",
        .flags = XE_STANDARD, .run = snapshot_copies,
        .help = "Make a template from a snapshot, sharing its disks."),
    ROW("snapshot-copy", .required = "new-name-label",
        .optional = "uuid new-name-description sr-uuid", .flags = XE_STANDARD,
        .run = snapshot_copies,
        .help = "Make a template from a snapshot with full copies of its disks."),
    ROW("snapshot-destroy", .optional = "uuid snapshot-uuid", .run = snapshot_destroy,
        .help = "Delete a snapshot's record. Its disks are left alone; snapshot-uninstall "
                "deletes them too."),
    ROW("snapshot-uninstall", .optional = "uuid snapshot-uuid force", .flags = XE_STANDARD,
        .run = snapshot_uninstall,
        .help = "Delete a snapshot together with its disks. Asks first, unless --force is given."),
    ROW("snapshot-disk-list", .optional = "uuid snapshot-uuid vbd-params vdi-params",
        .flags = XE_STANDARD, .run = snapshot_disk_list, .help = "List the disks of a snapshot."),
    ROW("snapshot-export-to-template", .required = "filename snapshot-uuid",
        .optional = "preserve-power-state compress metadata excluded-device-types",
        .flags = XE_STANDARD, .run = snapshot_export,
        .help = "Export a snapshot to a file, as a template."),
    ROW("snapshot-reset-powerstate", .optional = "uuid snapshot-uuid force",
        .flags = XE_STANDARD | XE_FORCED, .run = snapshot_reset_powerstate,
        .help = "Mark a snapshot as halted, whatever it is."),
};
/* clang-format on */

const struct xe_commands xe_snapshot_commands = {rows, ARRAY_SIZE(rows)};
