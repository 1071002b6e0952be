/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* select.h -- which VMs, hosts or SRs a command is for: vm=, host=, sr=, or any parameter. */
#pragma once

#include "xe-cli/fields.h"

enum select_flags {
    SELECT_CONTROL = 1 << 0,   /* control domains too */
    SELECT_TEMPLATES = 1 << 1, /* templates and snapshots too */
    SELECT_SINGLE = 1 << 2,    /* --multiple is of no use */
};

/* Those chosen by the command line; 'ignore' names the command's own parameters. */
MUST_CHECK struct error *select_objects(struct xe *xe, const char *class, unsigned flags,
                                        const char *ignore, struct xe_object_list *out);

/*
 * Runs 'op' on each object chosen: one, or several with --multiple.  With several, failures are
 * collected and the others go on.
 */
MUST_CHECK struct error *select_each(
    struct xe *xe, const char *class, unsigned flags, const char *ignore,
    struct error *(*op)(struct xe *xe, const struct xe_object *object, void *ctx), void *ctx);
/* A host by uuid, name or (as the stock command does not) host name. */
MUST_CHECK struct error *select_host(struct xe *xe, const char *name, struct xe_object *out);
