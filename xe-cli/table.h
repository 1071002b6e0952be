/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * table.h -- the commands that are not made from records.c, one row each.
 *
 * A row with 'message' needs no code.  'args' says where each parameter of the message comes from,
 * "param=source", separated by blanks; parameters that are not named get their empty value:
 *
 *   vdi=uuid              the command's parameter "uuid", by the type of the message's parameter:
 *                         a uuid becomes a reference, an enum is taken in xe's spelling, "a,b" a
 * set size=disk-size%bytes  with KiB, MiB, GiB, TiB      name=filename%base  a path's last part
 *   cert=filename%file    the text of a file           MAC=mac%mac         "random" makes one up
 *   force=force?true      with a default
 *   config=config:        a map of all "config:key=value"; with %files "config:key:file=path" and
 *                         with %filenames "config:key-filename=path" stand for the file's text
 *   IP=IP%nocase          in any case
 *   force='true'          this text
 *   vm=@                  the object that was selected (XE_VM, XE_HOST, XE_SR)
 *   self=@pool            the pool, the coordinator's host (@master), the host connected to
 * (@this); self=@pool/uuid       or the object whose uuid the parameter gives .name_label=name a
 * member of the record that is the message's only parameter; fields that are not named and have no
 * default are sent empty
 */
#pragma once

#include "xe-cli/xe.h"

enum command_flags {
    XE_STANDARD = 1 << 0,  /* in the short help */
    XE_UNLISTED = 1 << 1,  /* in no help */
    XE_VM = 1 << 2,        /* VMs are selected */
    XE_HOST = 1 << 3,      /* hosts are selected */
    XE_SR = 1 << 4,        /* SRs are selected */
    XE_CONTROL = 1 << 5,   /* control domains can be selected */
    XE_TEMPLATES = 1 << 6, /* templates and snapshots can be selected */
    XE_SINGLE = 1 << 7,    /* never several */
    XE_TASK = 1 << 8,      /* runs as a task, whose progress can be shown */
    XE_LOCAL = 1 << 9,     /* for a host that may have no coordinator */
    XE_FORCED = 1 << 10,   /* refused without --force */
};

enum command_show {
    SHOW_NOTHING,
    SHOW_UUID,    /* the uuid of the reference that is answered, or uuids of a set */
    SHOW_TEXT,    /* the value, a line; a set: a line each */
    SHOW_MESSAGE, /* the same, left out with --minimal */
    SHOW_TABLE,   /* a map as one record */
    SHOW_ROWS,    /* a set of sets: a line each, joined with "; " */
    SHOW_SOURCES, /* data sources, as records */
};

struct xe_command {
    const char *name;
    const char *required, *optional; /* parameters, separated by blanks; NULL for none */
    unsigned flags;
    const char *message, *args;
    enum command_show show;
    struct error *(*run)(struct xe *xe, const struct xe_command *command);
    const char *help; /* NULL: the message's documentation */
};

struct xe_commands {
    const struct xe_command *v;
    size_t n;
};

/* One table for each file of commands/. */
extern const struct xe_commands xe_vm_commands, xe_snapshot_commands, xe_disk_commands,
    xe_storage_commands, xe_network_commands, xe_host_commands, xe_pool_commands,
    xe_device_commands, xe_other_commands;

/* All tables. */
extern const struct xe_commands *const xe_command_tables[];
extern const size_t xe_n_command_tables;

const struct xe_command *command_by_name(const char *name);

/* A command made from a class: <class>-list, <class>-param-get, ... */
struct xe_class;
struct class_command {
    const struct xe_class *class;
    const char *verb; /* "list" */
    struct error *(*run)(struct xe *xe, const struct xe_class *class);
    const char *required;
};
bool class_command_by_name(const char *name, struct class_command *out);
/* The verbs a class has, at most 7. */
size_t class_commands(const struct xe_class *class, struct class_command out[7]);

/* Checks the parameters that must be given and runs a command; all but help and completion. */
MUST_CHECK struct error *command_run(struct xe *xe);

/* Makes a message's parameters as 'args' says; 'selected' for "@", may be NULL. */
MUST_CHECK struct error *command_args(struct xe *xe, const struct message_desc *m, const char *args,
                                      const char *selected, struct buf *params);
/* Shows an answer as 'show' says. */
MUST_CHECK struct error *command_show(struct xe *xe, const struct type *type,
                                      enum command_show show, const struct wire *value);

/* Sends a row's message for an object (NULL where none is selected) and shows the answer. */
MUST_CHECK struct error *command_message(struct xe *xe, const struct xe_command *c,
                                         const char *selected);

/* The words of a command's own parameters, which select nothing. */
const char *command_words(struct xe *xe, const struct xe_command *c);
unsigned command_select_flags(const struct xe_command *c);

#define ROW(command, ...)                                                                          \
    {                                                                                              \
        .name = (command), ##__VA_ARGS__                                                           \
    }
