/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* routes.h -- which path and method reaches which handler; the longest prefix wins. */
#pragma once

#include "xapid/http/http.h"

extern const struct http_route http_routes[];
