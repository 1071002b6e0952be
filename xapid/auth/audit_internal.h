/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* audit_internal.h -- what the three files of the audit log share. */
#pragma once

#include <stdio.h>

#include "libxapi/base/buf.h"
#include "libxapi/value/type.h"
#include "xapid/auth/audit.h"

struct db_snap;

/* Adds text with control characters, quotes and backslashes escaped, cut to 'limit' bytes. */
void audit_quote(struct buf *out, const char *text, size_t limit);
/* Adds "('name' 'human name' 'uuid' 'reference')..." for the arguments; 'snap' may be NULL. */
void audit_put_args(struct buf *out, const struct db_snap *snap, const struct message_desc *m,
                    const void *args);
/* Queues a line, without its end; drops it when the queue is full. */
void audit_queue(struct audit *audit, const char *line, size_t size);

#define AUDIT_MAX_FILES 100
/* Opens the files there are, oldest first; closed by the caller.  Returns their number. */
int audit_open_files(struct audit *audit, FILE *out[AUDIT_MAX_FILES]);
