/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * import.h -- PUT /import and /import_metadata: machines out of an archive.
 *
 * The answer's head goes out before the archive is read, so what becomes of it is told by the task,
 * whose result is the list of machines.
 */
#pragma once

#include "xapid/http/http.h"
#include "xapid/transfer/flow.h"
#include "xapid/transfer/import_plan.h"

/* 'ctx' is the struct xapid; for routes without a body limit (-1). */
void import_vm(struct http_request *request, void *ctx);
void import_metadata(struct http_request *request, void *ctx);

/* Imports what a source gives; the machines, but not their snapshots, in the call's arena.  Nothing
 * is left of an import that fails, unless it was forced. */
MUST_CHECK struct error *import_from(struct call *call, struct source *from,
                                     const struct import_options *options, struct refs *vms);
/* The same of records alone, from the text of their ova.xml; the options say 'metadata'. */
MUST_CHECK struct error *import_records(struct call *call, const char *text, size_t n,
                                        const struct import_options *options, struct refs *vms);
