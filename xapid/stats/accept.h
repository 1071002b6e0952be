/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* accept.h -- which of the two forms of statistics a client would rather have. */
#pragma once

#include <stdbool.h>

/* By an Accept header: JSON where it is wanted at least as much as XML; XML where neither is. */
bool accept_prefers_json(const char *accept);
