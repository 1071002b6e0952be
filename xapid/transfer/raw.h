/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * raw.h -- PUT /import_raw_vdi and GET /export_raw_vdi: the contents of a disk as a stream, as it
 * is or in the format of others.
 *
 * The answer's head goes out before an upload's body is read, so what happens to the data is told
 * by the task: the client's (task_id), which always ends, or one of our own.  An upload of which
 * not a byte comes (some clients send one to look for redirects) touches nothing.
 */
#pragma once

#include "xapid/http/http.h"

/* 'ctx' is the struct xapid; for routes without a body limit (-1). */
void raw_import(struct http_request *request, void *ctx);
void raw_export(struct http_request *request, void *ctx);
