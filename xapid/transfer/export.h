/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* export.h -- GET /export and /export_metadata: machines as an archive, with and without their
 * disks. */
#pragma once

#include "xapid/http/http.h"

/* 'ctx' is the struct xapid; for routes without a body limit (-1). */
void export_vm(struct http_request *request, void *ctx);
void export_metadata(struct http_request *request, void *ctx);
