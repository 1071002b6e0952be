/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* world.h -- a daemon without doors: database in memory, one host, a local SR in a folder of its
 * own.  For tests of operations. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "xapid/main/xapid.h"
#include "xapid/ops/op.h"

#define MIB ((int64_t)1024 * 1024)

struct world {
    struct arena arena;
    struct xapid xapid;
    struct call call;
    char dir[64];
    const char *storage; /* folder of the SR */
    ref_t sr;
};

void world_open(struct world *w);
void world_close(struct world *w);
/* What a restart of the daemon does: attachments go and come back, operations are recovered. */
void world_restart(struct world *w);

/* Fails the test with the error's text. */
void world_must(struct world *w, struct error *e);
/* Fails the test unless the error has this code. */
void world_fails(struct world *w, struct error *e, const char *code);

/* Makes each op_step of "<intent>/<step>" fail; NULL: none. */
void world_fault(struct world *w, const char *step);
/* The steps that were reached since the world was made, "<intent>/<step>"; at most 'max'. */
size_t world_steps(struct world *w, const char **out, size_t max);

/* A row made with defaults in the database. */
ref_t world_vm(struct world *w, const char *name);
ref_t world_disk(struct world *w, const char *name, int64_t size);
size_t world_count(struct world *w, int class_id);
/* Files in the SR's folder whose name ends so. */
size_t world_files(struct world *w, const char *ending);
/* No intent and no current_operations anywhere. */
void world_is_quiet(struct world *w);
