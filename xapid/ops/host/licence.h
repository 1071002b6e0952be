/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * licence.h -- there is one edition, and it forbids nothing; clients look for every key all the
 * same, and take one that is missing as forbidden.
 */
#pragma once

#include "libxapi/value/type.h"

#define LICENCE_EDITION "free/libre"

/* pool.restrictions and host.license_params. */
extern const struct strmap licence_features;

struct call;
/* INVALID_EDITION for any but the one (or its other name, "free"). */
MUST_CHECK struct error *licence_check_edition(struct call *call, const char *edition);
