/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* commands.h -- what the files of commands/ share. */
#pragma once

#include <string.h>

#include "xe-cli/fields.h"
#include "xe-cli/list.h"
#include "xe-cli/select.h"
#include "xe-cli/table.h"
#include "xe-cli/transfer.h"
#include "xe-cli/xe.h"

/* Adds a parameter as if it had been given. */
void command_give(struct xe *xe, const char *name, const char *value);
/* Runs a row with another message in its place. */
MUST_CHECK struct error *command_instead(struct xe *xe, const struct xe_command *c,
                                         const char *message, const char *args);
/* The object whose uuid a parameter gives. */
MUST_CHECK struct error *command_object(struct xe *xe, const char *class, const char *param,
                                        struct xe_object *out);
MUST_CHECK struct error *command_ref(struct xe *xe, const char *class, const char *param,
                                     const char **ref);
/* Runs 'op' on what the row's selectors select. */
MUST_CHECK struct error *command_each(
    struct xe *xe, const struct xe_command *c, const char *class,
    struct error *(*op)(struct xe *xe, const struct xe_object *object, void *ctx), void *ctx);
/* A VM that must be a snapshot or template: "snapshot" or "template". */
MUST_CHECK struct error *command_vm_of_kind(struct xe *xe, const char *uuid, const char *kind,
                                            struct xe_object *out);
/* The pool's default SR; "" if it has none. */
MUST_CHECK struct error *command_default_sr(struct xe *xe, const char **ref);
/* "uuid (name)" of an object; the reference itself if it is gone. */
const char *command_title(struct xe *xe, const char *class, const char *ref);

/* vm.c: deletes VMs with their disks, after a question; "All objects destroyed". */
MUST_CHECK struct error *vm_uninstall_these(struct xe *xe, const struct strings *vms);
/* vm_move.c: exports one VM to a file. */
MUST_CHECK struct error *vm_export_one(struct xe *xe, const struct xe_object *vm, const char *file);
/* disk.c: the disks or CDs of one VM. */
MUST_CHECK struct error *vm_disks_show(struct xe *xe, const struct xe_object *vm, bool cds);
/* disk.c: for each host whether a VM can start there, or why not. */
MUST_CHECK struct error *vm_host_report(struct xe *xe, const char *vm);
/* disk.c: tells where the VM would start now, and what each host says to it. */
MUST_CHECK struct error *vm_start_preview(struct xe *xe, const struct xe_object *vm);

/* Commands in other files than their row. */
struct error *vm_create(struct xe *xe, const struct xe_command *c);
struct error *vm_destroy(struct xe *xe, const struct xe_command *c);
struct error *vm_install(struct xe *xe, const struct xe_command *c);
struct error *vm_migrate(struct xe *xe, const struct xe_command *c);
struct error *vm_recover(struct xe *xe, const struct xe_command *c);
struct error *vm_export(struct xe *xe, const struct xe_command *c);
struct error *template_export(struct xe *xe, const struct xe_command *c);
struct error *vm_import(struct xe *xe, const struct xe_command *c);
