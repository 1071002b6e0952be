/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * files.h -- the static files of the web root, for everybody; 'ctx' is the struct xapid.
 *
 * A directory shows its index.html.  Nothing outside the web root is ever read, by ".." or by a
 * symbolic link.
 */
#pragma once

#include "xapid/http/http.h"

/* GET /: 403 without a web root and for what lies outside it, 404 for what does not exist. */
void files_get(struct http_request *request, void *ctx);
/* Answers with a file that is open for reading, which is closed afterwards. */
void files_send(struct http_request *request, int fd, int64_t size, const char *type);
/* OPTIONS /: what browsers ask before a call from a page of another origin. */
void files_options(struct http_request *request, void *ctx);
