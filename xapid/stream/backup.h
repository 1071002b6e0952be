/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * backup.h -- GET /host_backup and PUT /host_restore: this host's own files as an archive, and back
 * (xapid/ops/host/backup.h).  'ref', where it is given, must be this host.
 */
#pragma once

#include "xapid/http/http.h"

/* 'ctx' is the struct xapid; backup_put is for a route without a body limit (-1). */
void backup_get(struct http_request *request, void *ctx);
void backup_put(struct http_request *request, void *ctx);
