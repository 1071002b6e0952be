/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* screenshot.h -- /vncsnapshot: what a machine's screen shows, as a picture.  'ctx' is the struct
 * xapid. */
#pragma once

#include "xapid/http/http.h"

/* GET /vncsnapshot?uuid=|ref=: a JPEG file; 503 where no screen answers within SCREENSHOT_TIME. */
void screenshot_get(struct http_request *request, void *ctx);

#define SCREENSHOT_TIME (30 * USEC_PER_SEC)
