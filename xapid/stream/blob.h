/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * blob.h -- GET and PUT /blob: the data of a blob, named by ref or uuid.
 *
 * Public blobs are read by everybody.  An upload needs its length; a client that does not say
 * "Expect: 100-continue" is answered before its data is read, for some wait for that: what became
 * of the data shows in the blob, and in the client's task (task_id).
 */
#pragma once

#include "xapid/http/http.h"

/* 'ctx' is the struct xapid; blob_put is for a route without a body limit (-1). */
void blob_get(struct http_request *request, void *ctx);
void blob_put(struct http_request *request, void *ctx);
