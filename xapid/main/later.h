/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* later.h -- the answer of handlers that the XenAPI has and xapid does not have yet. */
#pragma once

#include "xapid/http/http.h"

/* 501, and the task given as task_id fails with NOT_IMPLEMENTED, so that nobody waits for it. 'ctx'
 * is the struct xapid. */
void later_answer(struct http_request *request, void *ctx);
