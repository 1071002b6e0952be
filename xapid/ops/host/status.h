/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * status.h -- a report on the state of this host, for those who look for a fault: what can be in
 * it, and the archive with it.
 */
#pragma once

#include "libxapi/value/type.h"
#include "xapid/db/db.h"
#include "xapid/ops/host/archive.h"

/* What can be in a report, as the XML that clients of XenServer know. */
const char *status_capabilities(struct arena *arena);
/* The entries of a list between commas; all that are there by default where it is empty.
 * INVALID_VALUE("entries", name) for one that there is not. */
MUST_CHECK struct error *status_entries(struct call *call, const char *list, uint64_t *out);
/* The entries that are logs. */
uint64_t status_logs(void);
/*
 * Writes a report with these entries.  What cannot be had is said in its place.  Secrets are taken
 * out.  SYSTEM_STATUS_RETRIEVAL_FAILED where the archive cannot be written, TASK_CANCELLED.
 */
MUST_CHECK struct error *status_write(struct call *call, uint64_t entries, struct archive *a);
